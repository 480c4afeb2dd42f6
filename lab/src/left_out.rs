//! What a test does that this machine cannot run: it says why, and passes.
//!
//! That is kind to whoever has no QEMU, and a trap where results are believed: a test that
//! never ran looks like one that found nothing. So under `CI`, which `cargo xtask ci` sets
//! too, it fails. `scripts/setup.sh` installs what is missing. What only root can try is no
//! lack of the machine, and says so itself.

use std::ffi::OsStr;
use std::fmt::Display;
use std::path::PathBuf;

/// Says why a test is left out, which returns then.
///
/// # Panics
///
/// Nothing may be left out: `CI` is set, and not to `false` or `0`.
pub fn left_out(why: impl Display) {
    said(std::env::var_os("CI").as_deref(), &why);
}

/// Another project's program, which tests may want of a Debian package; also from where
/// Debian has it for root. Without it the test is left out.
///
/// # Panics
///
/// Nothing may be left out: see [`left_out`].
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        left_out(format_args!("{name} is not installed (Debian's package {package})"));
    }
    found
}

#[allow(clippy::panic)]
fn said(ci: Option<&OsStr>, why: &dyn Display) {
    let may = ci.is_none_or(|word| ["", "false", "0"].iter().any(|no| word == *no));
    // An error with all of its causes.
    if !may {
        panic!("under CI nothing is left out: {why:#}");
    }
    eprintln!("skipped: {why:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elsewhere_it_is_said() {
        for word in [None, Some(""), Some("false"), Some("0")] {
            said(word.map(OsStr::new), &"no machine");
        }
    }

    #[test]
    fn under_ci_it_is_a_failure() {
        for word in ["true", "1", "yes"] {
            let out = std::panic::catch_unwind(|| said(Some(OsStr::new(word)), &"no machine"));
            let why = out.unwrap_err();
            assert_eq!(
                why.downcast_ref::<String>().unwrap(),
                "under CI nothing is left out: no machine"
            );
        }
    }
}
