//! From `guest.toml` to a checked value, with every mistake shown at once.
//!
//! Two steps, so that neither can be skipped: [`raw`] knows which keys exist and
//! of which TOML type they are, [`check`] knows what the values mean. Both keep
//! the span of everything they read and go on after a mistake, because a person
//! who fixes a file wants all its problems, not the first one. That is why the
//! raw step walks the parsed table itself instead of deriving `Deserialize`:
//! serde stops at the first error.

mod atoms;
mod budget;
mod check;
mod checked;
mod diag;
mod files;
mod modules;
mod params;
mod paths;
mod raw;
mod suggest;
mod units;
mod walk;

use std::path::{Path, PathBuf};

pub use checked::{Checked, CheckedAtom, CheckedComponent, CheckedFile, CheckedImport, OwnedValue};
pub use diag::{Place, Problem, Report};
pub use files::{AtomSource, Files, Folder, Language, NoFiles};
pub use modules::{Modules, NO_MODULES, OwnedModule};
pub use suggest::help as suggestion;
pub use units::{show_size, show_span};

/// The largest `guest.toml` that is read, in bytes.
pub const MAX_TEXT: u64 = 1 << 20;

/// Why a guest's configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum BadGuest {
    /// The file itself cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said, and what to do.
        why: String,
    },
    /// The file has mistakes.
    #[error(transparent)]
    Report(Box<Report>),
}

/// Reads and checks a `guest.toml`, with its files beside it.
pub fn load(path: &Path) -> Result<Checked, BadGuest> {
    let read = |why: String| BadGuest::Read { path: path.to_owned(), why };
    let len = std::fs::metadata(path).map_err(|e| read(e.to_string()))?.len();
    if len > MAX_TEXT {
        return Err(read(format!(
            "{len} bytes are too many for a guest.toml (at most {MAX_TEXT})"
        )));
    }
    let bytes = std::fs::read(path).map_err(|e| read(e.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        read(format!(
            "it is not UTF-8 from byte {} on; save it as UTF-8",
            e.utf8_error().valid_up_to()
        ))
    })?;
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    parse(&path.display().to_string(), &text, &mut Folder::new(folder))
        .map_err(|r| BadGuest::Report(Box::new(r)))
}

/// Checks the text of a `guest.toml`. `name` is what the diagnostics call it.
pub fn parse(name: &str, text: &str, files: &mut dyn Files) -> Result<Checked, Report> {
    let mut problems = Vec::new();
    let raw = raw::read(text, &mut problems);
    let checked = raw.and_then(|raw| check::check(&raw, files, &mut problems));
    match checked {
        Some(checked) if problems.is_empty() => Ok(checked),
        _ => Err(Report::new(name, text, problems)),
    }
}

#[cfg(test)]
mod tests;
