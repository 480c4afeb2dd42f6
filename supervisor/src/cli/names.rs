//! What a shell completes beside our own words: the names of guests, asked of the
//! supervisor while somebody types. Where nobody answers, nothing is completed.

use std::ffi::OsStr;
use std::time::Duration;

use atoll_9p::types::OpenFlags;
use clap_complete::env::Shells;
use clap_complete::{ArgValueCompleter, CompletionCandidate, Shell};

use crate::address::{self, Address, SUPERVISOR};
use crate::conn::{Conn, Error};

/// The variable by which a shell asks this program for completions.
pub(super) const VARIABLE: &str = "ATOLL_COMPLETE";
/// How long a person who typed waits for an answer.
const LIMIT: Duration = Duration::from_millis(500);
/// Characters of a hash that tell an image from others.
const HASH: usize = 12;

/// Completes the names of the supervisor's guests.
pub(super) fn guests() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| matching(begun, from_supervisor("guests")))
}

/// Completes what stands for a tree: guests, those of `atoll run` too, and the supervisor.
pub(super) fn trees() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let mut all = from_supervisor("guests");
        all.extend(sockets());
        all.push(SUPERVISOR.into());
        matching(begun, all)
    })
}

/// Completes the hashes of images.
pub(super) fn images() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let mut all = from_supervisor("images");
        all.iter_mut().for_each(|hash| hash.truncate(HASH));
        matching(begun, all)
    })
}

fn matching(begun: &OsStr, mut all: Vec<String>) -> Vec<CompletionCandidate> {
    let begun = begun.to_string_lossy();
    all.retain(|name| name.starts_with(&*begun));
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(CompletionCandidate::new).collect()
}

/// The names in a directory of the supervisor's, or none.
fn from_supervisor(dir: &str) -> Vec<String> {
    let asked = async {
        let address = Address::supervisor().ok()?;
        let list = async {
            let mut conn = Conn::open(&address, LIMIT).await?;
            conn.walk(dir).await?;
            conn.open_file(OpenFlags::RDONLY).await?;
            conn.list().await
        };
        let names: Result<_, Error> = list.await;
        Some(names.ok()?.into_iter().map(|n| n.name).collect())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.ok().and_then(|r| r.block_on(asked)).unwrap_or_default()
}

/// The guests that have a socket.
fn sockets() -> Vec<String> {
    let entries = std::fs::read_dir(address::socket_dir()).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| Some(e.file_name().to_str()?.strip_suffix(".sock")?.into()));
    names.collect()
}

/// The script that has a shell ask this program.
pub(super) fn script(shell: Shell) -> std::io::Result<Vec<u8>> {
    let name = shell.to_string();
    let found = Shells::builtins();
    let found = found.completer(&name).ok_or(std::io::ErrorKind::Unsupported)?;
    // Called by its path, it is to be asked there, and not for an older one on the PATH.
    let program = std::env::args_os().next().unwrap_or_default();
    let program = match program.to_str() {
        Some(path) if path.contains('/') => std::path::absolute(path)?.display().to_string(),
        _ => "atoll".into(),
    };
    let mut script = Vec::new();
    found.write_registration(VARIABLE, "atoll", "atoll", &program, &mut script)?;
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script_that_asks() {
        for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh] {
            let script = String::from_utf8(script(shell).unwrap()).unwrap();
            assert!(script.contains(VARIABLE) && script.contains("atoll"), "{shell}: {script}");
        }
    }

    #[test]
    fn what_was_begun_is_completed() {
        let all = ["web", "db", "web-2", "web"].map(String::from).to_vec();
        let found = matching(OsStr::new("we"), all.clone());
        let found: Vec<_> = found.iter().map(|c| c.get_value().to_str().unwrap()).collect();
        assert_eq!(found, ["web", "web-2"]);
        assert!(matching(OsStr::new("x"), all).is_empty());
    }
}
