//! The conformance suite of the ABI (`engine/conformance`) against whole guests.
//!
//! The scripts at the heads of its modules are explained in `engine/tests/suite/mod.rs`.
//! Here time is the machine's own: `pass` is left out, and so is a `read` that shows
//! nothing yet, because who is slow may find that something has come.

use super::{build, connect, refusal, shows, wait_until};
use crate::fixture::{Guest, Place, backends};

use atoll_9p::client::blocking::Connection;

const MODULES: [(&str, &str); 2] = [
    ("calls", include_str!("../../../../engine/conformance/calls.wat")),
    ("files", include_str!("../../../../engine/conformance/files.wat")),
];

fn toml(name: &str, atoms: &[&str]) -> String {
    let mut out = format!(
        "[guest]\nname = \"suite-{name}\"\nversion = \"1\"\nmemory = \"16MiB\"\n\
         on_fault = \"restart\"\n[export]\nwrite = [\"{}\"]\n",
        atoms.join("\", \"")
    );
    for atom in atoms {
        let params = "[atom.params]\ngreeting = \"hello\"\n";
        out += &format!("[[atom]]\nname = \"{atom}\"\npath = \"m.wat\"\n{params}");
    }
    out
}

#[test]
fn the_conformance_suite_runs_on_every_machine() {
    for (name, source) in MODULES {
        let script: Vec<&str> = source.lines().filter_map(|l| l.strip_prefix(";;! ")).collect();
        let atoms = script.iter().find_map(|l| l.strip_prefix("atoms ")).unwrap();
        let image = build(&toml(name, &atoms.split(' ').collect::<Vec<_>>()), source);
        for on in backends() {
            let (place, guest) = (Place::new(), format!("suite-{name}"));
            let run = Guest::start_image(&place, &guest, &image, on, &[]);
            let connection = connect(&place, &guest);
            let mut status = None;
            for line in &script {
                match line.strip_prefix("end ") {
                    Some(text) => status = Some(text),
                    None => {
                        if let Err(got) = step(&connection, line) {
                            panic!("{on}: {name}: {line}: {got}\n{}", shows(&connection, "log"));
                        }
                    }
                }
            }
            drop(connection);
            match status {
                Some(status) => {
                    let (code, said) = run.wait();
                    let want = format!("it ended with status {status}");
                    assert!(code == Some(1) && said.contains(&want), "{on}: {said}");
                }
                None => drop(run.stop()),
            }
            place.assert_empty();
        }
    }
}

/// Does what a line says. The error is what was found in the place of what should be.
fn step(c: &Connection, line: &str) -> Result<(), String> {
    let mut words = line.splitn(3, ' ');
    let (verb, file) = (words.next().unwrap(), words.next().unwrap_or_default());
    let (text, path) = (words.next().unwrap_or_default(), format!("export/{file}"));
    let rest = line.split_once(' ').map_or("", |(_, rest)| rest);
    let want = |good: bool, got: String| if good { Ok(()) } else { Err(got) };
    match verb {
        "atoms" | "pass" => Ok(()),
        // The last command: the guest may be gone before it could answer.
        "write" if text == "F" => {
            let _ = c.write(&path, text.as_bytes());
            Ok(())
        }
        "write" => {
            let (text, fault) = text.split_once(" => ").unwrap_or((text, ""));
            let (name, why) = refusal(c.write(&path, text.as_bytes()));
            let got = if fault.contains(' ') { format!("{name} {why}") } else { name };
            want(got == fault, got)
        }
        "read" if text.is_empty() => Ok(()),
        "read" => want(wait_until(c, &path, |got| !got.is_empty()) == text, "another text".into()),
        "list" => {
            let names = c.list(&path).map_err(|e| e.to_string())?;
            let names: Vec<_> = names.into_iter().map(|n| n.name).collect();
            want(text.split(' ').eq(names.iter().map(String::as_str)), names.join(" "))
        }
        "tail" => {
            let got = shows(c, &path);
            want(got.lines().any(|l| l.ends_with(text)), got)
        }
        "log" | "nolog" => {
            let found = shows(c, "log").lines().any(|l| l.contains(rest));
            want(found == (verb == "log"), String::new())
        }
        _ => Err(format!("no verb {verb}")),
    }
}
