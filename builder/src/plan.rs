//! Everything that follows from a configuration, before anything is compiled.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use atoll_config::payload::{Hash, Sealed};
use atoll_config::text::{self, BadGuest, Checked};

use crate::flavour::Flavour;
use crate::repo::Repo;

/// What will be built, and from what.
#[derive(Debug)]
pub struct Plan {
    /// The `guest.toml`.
    pub file: PathBuf,
    /// What it says.
    pub guest: Checked,
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
        let payload = guest.payload().seal();
        let payload_hash = Sealed::parse(&payload)?.hash;
        let checked = ms(start);
        let start = Instant::now();
        let flavour = Flavour::of(repo, &guest.kinds())?;
        let ms = [checked, ms(start)];
        Ok(Plan { file: file.to_owned(), guest, payload, payload_hash, flavour, ms })
    }
}

/// Reads and checks a configuration; its diagnostics name it as a person would.
pub fn check(repo: &Repo, file: &Path) -> Result<Checked, BadGuest> {
    // A relative name is what an editor or a terminal can jump to.
    let here = std::env::current_dir().unwrap_or_else(|_| repo.root.clone());
    text::load(file.strip_prefix(here).unwrap_or(file))
}
