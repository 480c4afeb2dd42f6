//! Everything that follows from a configuration, before anything is compiled.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use atoll_config::payload::{Hash, Payload, Sealed};
use atoll_config::text::{self, BadGuest, Checked, Modules};

use crate::flavour::Flavour;
use crate::repo::Repo;

/// What will be built, and from what.
#[derive(Debug)]
pub struct Plan {
    /// The `guest.toml`.
    pub file: PathBuf,
    /// What it says.
    pub guest: Checked,
    /// The modules of its atoms.
    pub modules: Modules,
    /// Their native code, sealed.
    pub code: Option<Vec<u8>>,
    /// The sealed payload.
    pub payload: Vec<u8>,
    /// Its hash.
    pub payload_hash: Hash,
    /// The kernel.
    pub flavour: Flavour,
    /// Milliseconds to check the configuration and to find the flavour's key.
    pub ms: [f64; 2],
}

/// Milliseconds since then.
pub fn ms(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e5).round() / 1e2
}

impl Plan {
    /// Reads and checks a configuration and finds its kernel.
    pub fn of(repo: &Repo, file: &Path) -> Result<Plan> {
        let start = Instant::now();
        let guest = check(repo, file)?;
        let modules = modules(&guest)?;
        let payload = guest.payload(&modules).seal();
        let payload_hash = Sealed::parse(&payload)?.hash;
        let checked = ms(start);
        let start = Instant::now();
        let flavour = Flavour::of(repo, &guest.kinds())?;
        let ms = [checked, ms(start)];
        let file = file.to_owned();
        Ok(Plan { file, guest, modules, code: None, payload, payload_hash, flavour, ms })
    }

    /// The payload, before it is sealed.
    pub fn value(&self) -> Payload<'_> {
        self.guest.payload(&self.modules)
    }
}

/// The modules of a guest's atoms.
fn modules(guest: &Checked) -> Result<Modules> {
    match guest.atoms.first() {
        None => Ok(Modules::default()),
        Some(atom) => bail!("atom `{}`: this builder cannot compile atoms yet", atom.name),
    }
}

/// Reads and checks a configuration; its diagnostics name it as a person would.
pub fn check(repo: &Repo, file: &Path) -> Result<Checked, BadGuest> {
    // A relative name is what an editor or a terminal can jump to.
    let here = std::env::current_dir().unwrap_or_else(|_| repo.root.clone());
    text::load(file.strip_prefix(here).unwrap_or(file))
}
