//! The conformance suite of the ABI (`engine/conformance`) against whole guests.
//!
//! The scripts at the heads of its modules are explained in `engine/tests/suite/mod.rs`.
//! Here time is the machine's own: `pass` is left out, and so is a `read` that shows
//! nothing yet, because who is slow may find that something has come.

use std::path::Path;

use atoll_9p::client::blocking::Connection;

use super::{build, connect, refusal, shows, wait_until};
use crate::fixture::{Guest, Place, backends};

/// Those whose scripts do not depend on what has not happened yet (`faults`), nor on a
/// host whose files can be written (`namespace`).
const MODULES: [&str; 2] = ["calls", "files"];

fn toml(name: &str, script: &[&str]) -> String {
    let said = |verb: &str| script.iter().find_map(|l| l.strip_prefix(verb));
    let atoms: Vec<&str> = said("atoms ").unwrap_or("a").split(' ').collect();
    let mut out = format!(
        "[guest]\nname = \"suite-{name}\"\nversion = \"1\"\nmemory = \"16MiB\"\n\
         on_fault = \"restart\"\n[sponsor]\nmemory = \"6MiB\"\n\
         [export]\nwrite = [\"{}\"]\n",
        atoms.join("\", \"")
    );
    for atom in atoms {
        // Long enough for an emulated machine on a busy host.
        let limits = "deadline = \"250ms\"\n[atom.params]\ngreeting = \"hello\"\n";
        out += &format!("[[atom]]\nname = \"{atom}\"\npath = \"m.wat\"\n{limits}");
    }
    out
}

#[test]
fn the_conformance_suite_runs_on_every_machine() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/conformance");
    for name in MODULES {
        let source = std::fs::read_to_string(suite.join(name).with_extension("wat")).unwrap();
        let script: Vec<&str> = source.lines().filter_map(|l| l.strip_prefix(";;! ")).collect();
        let image = build(&toml(name, &script), &source);
        for on in backends() {
            let (place, guest) = (Place::new(), format!("suite-{name}"));
            let run = Guest::start_image(&place, &guest, &image, on, &[]);
            let connection = connect(&place, &guest);
            let end = script.last().and_then(|l| l.strip_prefix("end "));
            let last = script.iter().rposition(|l| l.starts_with("write ")).unwrap();
            for (n, line) in script.iter().enumerate() {
                // The guest may be gone before it could answer the last command.
                let answers = end.is_none() || n < last;
                if let Err(got) = step(&connection, line, answers) {
                    panic!("{on}: {name}: {line}: {got}\n{}", run.said());
                }
            }
            drop(connection);
            if let Some(status) = end {
                let (code, said) = run.wait();
                let want = format!("it ended with status {status}");
                assert!(code == Some(1) && said.contains(&want), "{on}: {said}");
                for log in script[last..].iter().filter_map(|l| l.strip_prefix("log ")) {
                    assert!(said.contains(log), "{on}: {said}");
                }
            } else {
                run.stop();
            }
            place.assert_empty();
        }
    }
}

/// Does what a line says, if the guest still `answers`. The error is what was found in the
/// place of what should be.
fn step(c: &Connection, line: &str, answers: bool) -> Result<(), String> {
    let mut words = line.splitn(3, ' ');
    let (verb, file) = (words.next().unwrap(), words.next().unwrap_or_default());
    let (text, path) = (words.next().unwrap_or_default(), format!("export/{file}"));
    let rest = line.split_once(' ').map_or("", |(_, rest)| rest);
    let want = |good: bool, got: String| if good { Ok(()) } else { Err(got) };
    match verb {
        "atoms" | "pass" | "end" => Ok(()),
        "write" if !answers => {
            let _ = c.write(&path, text.as_bytes());
            Ok(())
        }
        _ if !answers => Ok(()),
        "write" => {
            let (text, fault) = text.split_once(" => ").unwrap_or((text, ""));
            let (name, why) = refusal(c.write(&path, text.as_bytes()));
            let got = if fault.contains(' ') { format!("{name} {why}") } else { name };
            want(got == fault, got)
        }
        "read" if text.is_empty() => Ok(()),
        "read" if text.starts_with("=> ") => {
            let (name, _) = refusal(c.read(&path).map(drop));
            want(text == format!("=> {name}"), name)
        }
        "read" => {
            // What comes in pieces is shown in pieces, each of them once.
            let mut got = String::new();
            while got.is_empty() || (text.starts_with(&got) && text != got) {
                got += &wait_until(c, &path, |got| !got.is_empty());
            }
            want(got == text, got)
        }
        "list" => {
            let names = c.list(&path).map_err(|e| e.to_string())?;
            let names: Vec<_> = names.into_iter().map(|n| n.name).collect();
            want(text.split(' ').eq(names.iter().map(String::as_str)), names.join(" "))
        }
        "tail" => {
            let got = shows(c, &path);
            want(got.lines().any(|l| l.ends_with(text)), got)
        }
        "log" => {
            wait_until(c, "log", |log| log.lines().any(|l| l.contains(rest)));
            Ok(())
        }
        "nolog" => want(!shows(c, "log").lines().any(|l| l.contains(rest)), String::new()),
        _ => Err(format!("no verb {verb}")),
    }
}
