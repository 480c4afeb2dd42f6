//! What a guest said, on the disk of its host.
//!
//! The log is cut into segments, each a file named by the position of its first byte:
//! how many bytes were written before it, since ever. The newest few are kept. Positions
//! go on from run to run, so a reader that comes back finds its place again, or learns
//! how much it lost; and one that wants no more than the end reads no more than that.
//!
//! There is one [`Writer`], the shim of the guest. A [`Reader`] is any other process: it
//! believes no more of the folder than names that are numbers and files that are files.
//! It costs nothing; who waits for more has a [`Watch`], which the system tells of new bytes.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

mod reader;
mod watch;
mod writer;

pub use reader::{Piece, Reader};
pub use watch::Watch;
pub use writer::Writer;

/// The folder of the log in a guest's folder.
pub const FOLDER: &str = "log";
/// Bytes of a segment. The line that passes this ends it.
pub const SEGMENT: u64 = 256 << 10;
/// Segments that are kept.
pub const KEPT: usize = 4;
/// The most segments that a reader looks at: a folder with more is no log.
const MAX_SEGMENTS: usize = 64;
/// No log is that long.
const MAX_POSITION: u64 = 1 << 60;

/// The position that a file's name stands for. All names are of one length, so they are
/// listed in order.
fn position(name: &str) -> Option<u64> {
    let is = name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
    is.then(|| name.parse().ok()).flatten().filter(|at| *at <= MAX_POSITION)
}

fn segment(folder: &Path, at: u64) -> PathBuf {
    folder.join(format!("{at:020}"))
}

/// The segments of a log, oldest first: where each begins, and its length.
fn segments(folder: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Some(at) = entry.file_name().to_str().and_then(position) else { continue };
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            // The writer has just taken it away.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if !meta.is_file() {
            continue;
        }
        if found.len() >= MAX_SEGMENTS {
            return Err(io::Error::other("there are more segments than a log has"));
        }
        found.push((at, meta.len()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Options to open a segment, which is no link to something else.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn all(reader: &Reader, mut at: u64, max: usize) -> (u64, u64, Vec<u8>) {
        let (mut lost, mut bytes) = (0, Vec::new());
        loop {
            match reader.read(at, max).unwrap() {
                Piece::Gap(n) => {
                    (at, lost) = (at + n, lost + n);
                }
                Piece::Bytes(b) if b.is_empty() => return (at, lost, bytes),
                Piece::Bytes(b) => {
                    assert!(b.len() <= max);
                    at += b.len() as u64;
                    bytes.extend(b);
                }
            }
        }
    }

    #[test]
    fn what_was_written_is_read_over_segments_and_runs() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("log");
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let mut wrote = Vec::new();
        for run in 0..3 {
            let mut writer = Writer::open(&folder).unwrap();
            assert_eq!(writer.position(), wrote.len() as u64);
            for i in 0..200 {
                let mut line = line.clone();
                line[..8].copy_from_slice(format!("{run:03}-{i:03} ").as_bytes());
                writer.write(&line).unwrap();
                wrote.extend(line);
            }
        }
        let reader = Reader::open(&folder);
        for max in [777, 1 << 20] {
            assert_eq!(all(&reader, 0, max), (600_000, 0, wrote.clone()));
            assert_eq!(all(&reader, 599_990, max), (600_000, 0, wrote[599_990..].to_vec()));
            assert_eq!(all(&reader, 300_123, max), (600_000, 0, wrote[300_123..].to_vec()));
        }
        assert_eq!((reader.oldest().unwrap(), reader.newest().unwrap()), (0, 600_000));
    }

    #[test]
    fn who_comes_late_learns_how_much_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path()).unwrap();
        let line = [[b'y'; 4095].as_slice(), b"\n"].concat();
        let total = 20 * SEGMENT;
        for _ in 0..total / 4096 {
            writer.write(&line).unwrap();
        }
        let reader = Reader::open(dir.path());
        let (oldest, newest) = (reader.oldest().unwrap(), reader.newest().unwrap());
        assert_eq!(newest, total);
        assert!(newest - oldest <= SEGMENT * KEPT as u64, "{oldest} {newest}");
        assert!(newest - oldest > SEGMENT * (KEPT as u64 - 2));
        let (at, lost, bytes) = all(&reader, 0, 1 << 16);
        assert_eq!((at, lost, bytes.len() as u64), (total, oldest, total - oldest));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), KEPT);
        // A position that nothing has is the end.
        assert_eq!(reader.read(total + 5, 10).unwrap(), Piece::Bytes(Vec::new()));
    }

    #[test]
    fn a_segment_that_is_missing_is_a_gap_and_strange_files_are_none() {
        let dir = tempfile::tempdir().unwrap();
        for (at, text) in [(0, "abc"), (3, "def"), (10, "ghi")] {
            std::fs::write(segment(dir.path(), at), text).unwrap();
        }
        for name in ["x", "12", "0000000000000000000x", "99999999999999999999"] {
            std::fs::write(dir.path().join(name), "no").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", segment(dir.path(), 13)).unwrap();
        std::fs::create_dir(segment(dir.path(), 14)).unwrap();
        let reader = Reader::open(dir.path());
        assert_eq!(all(&reader, 1, 100), (13, 4, b"bcdefghi".to_vec()));
        assert_eq!(reader.read(7, 9).unwrap(), Piece::Gap(3));
        // The next run goes on behind all that.
        let mut writer = Writer::open(dir.path()).unwrap();
        writer.write(b"new").unwrap();
        assert_eq!(all(&reader, 10, 100), (16, 0, b"ghinew".to_vec()));
    }

    #[test]
    fn nothing_was_said_where_there_is_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let reader = Reader::open(&dir.path().join("log"));
        assert_eq!((reader.oldest().unwrap(), reader.newest().unwrap()), (0, 0));
        assert_eq!(reader.read(0, 10).unwrap(), Piece::Bytes(Vec::new()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reader_that_waits_is_told_of_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("log");
        let reader = Reader::open(&folder);
        let wrote = tokio::task::spawn_blocking(move || {
            // The folder is not there yet, either.
            std::thread::sleep(Duration::from_millis(20));
            let mut writer = Writer::open(&folder).unwrap();
            for i in 0..1000 {
                writer.write(format!("{i} {}\n", "z".repeat(600)).as_bytes()).unwrap();
                if i % 100 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            writer.position()
        });
        let (watch, local) = (Watch::default(), tokio::task::LocalSet::new());
        let (mut at, mut last) = (0, Vec::new());
        while !last.starts_with(b"999 ") {
            local.run_until(watch.wait(&reader, at)).await.unwrap();
            match reader.read(at, 1 << 16).unwrap() {
                Piece::Gap(n) => at += n,
                Piece::Bytes(bytes) => {
                    assert!(!bytes.is_empty(), "woken for nothing");
                    at += bytes.len() as u64;
                    let mut lines = bytes.split_inclusive(|b| *b == b'\n');
                    last = lines.next_back().unwrap_or_default().to_vec();
                }
            }
        }
        assert_eq!(wrote.await.unwrap(), at);
    }
}
