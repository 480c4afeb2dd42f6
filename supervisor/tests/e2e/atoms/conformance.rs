//! The conformance suite of the ABI (`engine/conformance`) against whole guests.
//!
//! The scripts at the heads of its modules are explained in `engine/tests/suite/mod.rs`.
//! Here time is the machine's own: `pass` is left out, and so is a `read` that shows
//! nothing yet, because who is slow may find that something has come. The files that a script
//! wants of its host are those of a folder that `atoll export` serves, as another guest would.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use atoll_9p::client::blocking::Connection;

use super::{build, connect, refusal, shows, wait_until};
use crate::fixture::{Guest, PATIENCE, Place, backends};

/// The groups of the suite.
const MODULES: [&str; 4] = ["calls", "files", "faults", "namespace"];
/// Whom the guest imports files from.
const FILES: &str = "files";

pub(super) fn toml(name: &str, script: &[&str]) -> String {
    let said = |verb: &str| script.iter().find_map(|l| l.strip_prefix(verb));
    let atoms: Vec<&str> = said("atoms ").unwrap_or("a").split(' ').collect();
    let budget: u64 = said("budget ").map_or(6 << 20, |b| b.parse().unwrap());
    let mut out = format!(
        "[guest]\nname = \"suite-{name}\"\nversion = \"1\"\nmemory = \"16MiB\"\n\
         on_fault = \"restart\"\n[sponsor]\nmemory = \"{}KiB\"\n\
         [export]\nwrite = [\"{}\"]\n",
        budget >> 10,
        atoms.join("\", \"")
    );
    if wants_files(script) {
        out += "[[import]]\nname = \"data\"\nat = \"/data\"\n";
    }
    for atom in atoms {
        // Long enough for an emulated machine on a busy host.
        let limits = "deadline = \"250ms\"\n[atom.params]\ngreeting = \"hello\"\n";
        out += &format!("[[atom]]\nname = \"{atom}\"\npath = \"m.wat\"\n{limits}");
    }
    out
}

fn wants_files(script: &[&str]) -> bool {
    script.iter().any(|l| l.starts_with("host "))
}

/// A folder that is served at the place of another guest.
pub(super) struct Host {
    child: Child,
    dir: tempfile::TempDir,
    /// Where its socket is. That folder was made here, and is to be empty at the end.
    sockets: PathBuf,
}

impl Host {
    pub(super) fn start(place: &Place, script: &[&str]) -> Host {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("export");
        for file in script.iter().filter_map(|l| l.strip_prefix("host ")) {
            let (path, text) = file.split_once(' ').unwrap();
            let file = root.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let socket = place.socket(FILES);
        let sockets = socket.parent().unwrap().to_path_buf();
        std::fs::DirBuilder::new().mode(0o700).create(&sockets).unwrap();
        let mut export = place.atoll();
        export.arg("export").arg(dir.path()).arg("--socket").arg(&socket).arg("--quiet");
        let child = export.stderr(Stdio::inherit()).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while !socket.exists() {
            assert!(Instant::now() < until, "nobody serves {}", socket.display());
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Host { child, dir, sockets }
    }

    /// Where one of its files lies.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("export").join(name)
    }

    /// Ends it as Ctrl-C does, so that it takes its socket along.
    pub(super) fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap();
        std::fs::remove_dir(&self.sockets).unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // After a failed assertion only.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
            let host = wants_files(&script).then(|| Host::start(&place, &script));
            let import = format!("data={FILES}");
            let more: &[&str] = if host.is_some() { &["--import", &import] } else { &[] };
            let run = Guest::start_image(&place, &guest, &image, on, more);
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
            if let Some(host) = host {
                host.stop();
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
        "atoms" | "budget" | "host" | "pass" | "end" => Ok(()),
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
            // A host lists its files in an order of its own.
            want(in_order(&got) == in_order(text), got)
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

/// A text whose lines end with `|`, those of a listing, with these in order.
fn in_order(text: &str) -> Vec<&str> {
    let (head, listed) = text.split_once(" 0 ").unwrap_or((text, ""));
    let mut lines: Vec<&str> = listed.split_inclusive('|').collect();
    lines.sort_unstable();
    [&[head], &lines[..]].concat()
}
