//! Everything that follows from a configuration, before anything is compiled.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use atoll_config::image::Platform;
use atoll_config::payload::{Hash, Payload, Sealed};
use atoll_config::text::{self, BadGuest, Checked, Modules};

use crate::atoms::{self, native};
use crate::flavour::Flavour;
use crate::repo::Repo;
use crate::ui::Ui;

/// What will be built, and from what.
#[derive(Debug)]
pub struct Plan {
    /// The `guest.toml`.
    pub file: PathBuf,
    /// What it says.
    pub guest: Checked,
    /// The modules of its atoms.
    pub modules: Modules,
    /// The sealed payload.
    pub payload: Vec<u8>,
    /// Its hash.
    pub payload_hash: Hash,
    /// The kernel.
    pub flavour: Flavour,
    /// Milliseconds to check the configuration, to compile atoms to Wasm, and to find
    /// the flavour's key.
    pub ms: [f64; 3],
}

/// Milliseconds since then.
pub fn ms(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e5).round() / 1e2
}

impl Plan {
    /// Reads and checks a configuration, makes Wasm of its atoms where that is not
    /// there, and finds its kernel.
    pub fn of(repo: &Repo, file: &Path, ui: Ui) -> Result<Plan> {
        let start = Instant::now();
        let guest = check(repo, file)?;
        let checked = ms(start);
        let start = Instant::now();
        let modules = atoms::modules(repo, &guest.atoms, ui)?;
        let payload = guest.payload(&modules).seal();
        let payload_hash = Sealed::parse(&payload)?.hash;
        let compiled = ms(start);
        let start = Instant::now();
        // A guest that never runs on a machine of its own needs a kernel only to be an
        // image; which one does not matter.
        let atoms = !guest.atoms.is_empty()
            && [Platform::Qemu, Platform::Xen].iter().any(|p| guest.platforms.contains(p));
        let flavour = Flavour::of(repo, &guest.kinds(), atoms, &guest.platforms)?;
        let ms = [checked, compiled, ms(start)];
        Ok(Plan { file: file.to_owned(), guest, modules, payload, payload_hash, flavour, ms })
    }

    /// The native code of its modules, sealed, made where it is not there; None for a
    /// guest without atoms.
    pub fn code(&self, repo: &Repo, ui: Ui) -> Result<Option<Vec<u8>>> {
        native::code(repo, &self.modules.list, ui)
    }

    /// The same, if all of it is there.
    pub fn kept_code(&self, repo: &Repo) -> Option<Option<Vec<u8>>> {
        native::kept(repo, &self.modules.list)
    }

    /// The payload, before it is sealed.
    pub fn value(&self) -> Payload<'_> {
        self.guest.payload(&self.modules)
    }
}

/// Reads and checks a configuration; its diagnostics name it as a person would.
pub fn check(repo: &Repo, file: &Path) -> Result<Checked, BadGuest> {
    // A relative name is what an editor or a terminal can jump to.
    let here = std::env::current_dir().unwrap_or_else(|_| repo.root.clone());
    text::load(file.strip_prefix(here).unwrap_or(file))
}
