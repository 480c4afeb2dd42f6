//! What is kept of runs that are over: how each ended, the record of one that failed, and
//! the end of its log.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::folder::Folder;
use super::{End, Error};
use crate::guestlog::{Piece, Reader};

/// Runs that are kept.
const RUNS: usize = 16;
/// Bytes of a log that are kept, at most.
const LOG: u64 = 64 << 10;

/// Keeps what is known of a run, and lets go of the oldest.
pub(super) fn keep(folder: &Folder, end: &End, record: Option<&str>) -> Result<(), Error> {
    let at = folder.history(end.run);
    for path in [&folder.histories(), &at] {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::Io(path.into(), e));
            }
            _ => {}
        }
    }
    let put = |name: &str, bytes: &[u8]| {
        let path = at.join(name);
        // What must not be lost is `end.json` of the guest's folder; this is for people.
        std::fs::write(&path, bytes).map_err(|e| Error::Io(path, e))
    };
    if let Some(record) = record {
        put("record", record.as_bytes())?;
    }
    put("log", &tail(&folder.log(), end.log))?;
    // Last: where it is, all is.
    let text = end.to_json().map_err(|e| Error::Bad(at.clone(), e))?;
    put("end.json", text.as_bytes())?;
    let _ = prune(&folder.histories());
    Ok(())
}

/// The end of a log.
fn tail(folder: &Path, end: u64) -> Vec<u8> {
    let reader = Reader::open(folder);
    let (mut at, mut bytes) = (end.saturating_sub(LOG), Vec::new());
    let whole = at == 0;
    while let Ok(piece) = reader.read(at, LOG as usize) {
        match piece {
            Piece::Gap(n) => {
                at += n;
                bytes.clear();
            }
            Piece::Bytes(more) if more.is_empty() => break,
            Piece::Bytes(more) => {
                at += more.len() as u64;
                bytes.extend(more);
            }
        }
    }
    if !whole {
        // The first line is most likely not whole.
        let from = bytes.iter().position(|b| *b == b'\n').map_or(0, |n| n + 1);
        bytes.drain(..from);
    }
    bytes
}

fn prune(folder: &Path) -> io::Result<()> {
    let mut runs: Vec<u64> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let run = name.to_str().and_then(|n| Some((n, n.parse::<u64>().ok()?)));
        // What has another name is not ours to remove.
        runs.extend(run.filter(|(name, run)| run.to_string() == *name).map(|(_, run)| run));
    }
    runs.sort_unstable();
    for run in runs.iter().take(runs.len().saturating_sub(RUNS)) {
        std::fs::remove_dir_all(folder.join(run.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guestlog::Writer;
    use crate::shim::{FORMAT, How};

    #[test]
    fn the_newest_runs_are_kept_with_the_ends_of_their_logs() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(&dir.path().join("a")).unwrap();
        let mut end = End {
            format: FORMAT,
            name: "a".into(),
            run: 0,
            epoch: 1,
            how: How::Crashed,
            why: "panic".into(),
            asked: false,
            started: 1,
            ended: 2,
            cpu: 3,
            log: 0,
        };
        let line = format!("{}\n", "x".repeat(99));
        for run in 1..=20 {
            let mut log = Writer::open(&folder.log()).unwrap();
            (0..100).for_each(|_| log.write(line.as_bytes()).unwrap());
            (end.run, end.log) = (run, log.position());
            keep(&folder, &end, (run % 2 == 0).then_some("panic\n")).unwrap();
        }
        let mut kept: Vec<u64> = std::fs::read_dir(folder.histories())
            .unwrap()
            .map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        kept.sort_unstable();
        assert_eq!(kept, (5..=20).collect::<Vec<_>>());
        let last = folder.history(20);
        let log = std::fs::read_to_string(last.join("log")).unwrap();
        assert!(log.len() as u64 <= LOG && log.len() as u64 > LOG - 100);
        assert!(log.lines().all(|l| l.len() == 99));
        assert_eq!(std::fs::read_to_string(last.join("record")).unwrap(), "panic\n");
        assert!(!folder.history(19).join("record").exists());
        let text = std::fs::read(last.join("end.json")).unwrap();
        assert_eq!(End::from_json(&text).unwrap(), end);
    }
}
