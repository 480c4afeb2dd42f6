//! A guest with an atom to begin with: a Rust package that counts, tests itself, and
//! shows each thing that most atoms need once.

use std::path::Path;

/// The guest's configuration.
pub(super) fn skeleton(name: &str) -> String {
    format!(
        r#"# A guest with an atom. `cargo xtask check`, `plan`, `build` and `run` take this file.

[guest]
name = "{name}"
version = "1"
memory = "8MiB"             # of its machine: 2MiB to 3GiB
#platforms = ["qemu"]       # where it may run; everywhere when not given
#on_fault = "stop"          # an atom that fails ends the guest ("restart": it is made anew;
#                            "restore": the guest goes back to its last checkpoint)

# An atom; its files are at export/{name}/.
[[atom]]
name = "{name}"
path = "atom"               # a Rust package's folder, or a .c, .wat or .wasm file
#memory = "1MiB"            # the most that its memory may grow to
#stack = "64KiB"
#deadline = "10ms"          # an event that takes longer is abandoned

# What it is told at its start. A duration such as "250ms" is told in nanoseconds.
[atom.params]
first = 0
"#
    )
}

/// The files of the package, and their paths in it. `sdk` is the folder of `atoll-atom`.
pub(super) fn package(name: &str, sdk: &Path) -> [(&'static str, String); 3] {
    let sdk = toml_text(&sdk.to_string_lossy());
    let manifest = format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
publish = false

[lib]
crate-type = ["cdylib", "rlib"]
doctest = false

[dependencies]
atoll-atom = {{ path = {sdk} }}

[profile.release]
opt-level = "s"

# A workspace of its own, wherever it lies.
[workspace]
"#
    );
    [
        ("Cargo.toml", manifest),
        (".gitignore", "/target\n".to_owned()),
        ("src/lib.rs", SOURCE.replace("NAME", name)),
    ]
}

/// A text as TOML writes it.
fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The atom. It must compile and pass its tests as it is.
const SOURCE: &str = r#"//! NAME: what it is for.
//!
//! `cargo test` in this folder tests it without a guest; `cargo xtask run NAME` runs it.
#![no_std]
#![forbid(unsafe_code)]

use atoll_atom::prelude::*;

/// The state: all that is there between two events.
#[derive(Debug)]
pub struct Atom {
    count: i64,
}

#[atom(events(events = 4096))]
impl Atom {
    /// What guest.toml says in [atom.params].
    #[start]
    fn start(params: Params<'_>) -> Result<Atom> {
        Ok(Atom { count: params.parse("first", 0)? })
    }

    /// export/NAME/count, computed when somebody reads it.
    #[text]
    fn count(&self) -> i64 {
        self.count
    }

    /// `add N`, written to export/NAME/ctl; who reads export/NAME/events sees the sum.
    #[command(ctl)]
    fn add(&mut self, n: i64) -> Result<()> {
        let count = self.count.checked_add(n).ok_or(Error::invalid("the sum is too large"))?;
        Self::EVENTS.emit(count)?;
        self.count = count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_atom::fake::World;

    #[test]
    fn it_counts() {
        let mut world = World::new(1);
        world.start::<Atom>("NAME", "first 40\n").unwrap();
        world.command("NAME", "ctl", "add 2").unwrap();
        assert_eq!(world.read("NAME", "count").unwrap(), "42");
    }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_config::text::{AtomSource, Checked, Files, Language, parse};

    /// A folder in which the package is.
    struct There;

    impl Files for There {
        fn atom(&mut self, path: &str) -> Result<AtomSource, (String, String)> {
            Ok(AtomSource { language: Language::Rust, path: path.into() })
        }

        fn read(&mut self, path: &str, _most: u64) -> Result<Vec<u8>, (String, String)> {
            Err((path.to_owned(), String::new()))
        }
    }

    fn checked(text: &str) -> Checked {
        parse("guest.toml", text, &mut There).unwrap_or_else(|r| panic!("{}", r.render(false, 100)))
    }

    #[test]
    fn what_new_writes_is_correct_as_it_is_and_with_all_that_is_commented_out() {
        let text = skeleton("tally");
        let guest = checked(&text);
        assert_eq!((guest.name.as_str(), guest.atoms.len()), ("tally", 1));
        assert_eq!(guest.atoms[0].params, "first 0\n");
        let uncomment = |l: &str| match l.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{l}\n"),
        };
        let all: String = text.lines().map(uncomment).collect();
        assert_eq!(checked(&all).atoms[0].limits, guest.atoms[0].limits);
        let package = package("tally", Path::new("/a \"b\"/atom"));
        assert!(package[0].1.contains("path = \"/a \\\"b\\\"/atom\""));
        assert!(package.iter().all(|(_, text)| !text.contains("NAME")));
    }
}
