//! Those who read.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{options, segment, segments};

/// What there is at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes; none at the end.
    Bytes(Vec<u8>),
    /// So many bytes are lost: go on behind them.
    Gap(u64),
}

/// Reads a guest's log. It holds nothing open.
#[derive(Clone, Debug)]
pub struct Reader {
    folder: PathBuf,
}

impl Reader {
    /// A reader of a log's folder, which need not be there yet.
    pub fn open(folder: &Path) -> Reader {
        Reader { folder: folder.into() }
    }

    fn segments(&self) -> io::Result<Vec<(u64, u64)>> {
        match segments(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            done => done,
        }
    }

    /// The position of the oldest byte that is kept.
    pub fn oldest(&self) -> io::Result<u64> {
        Ok(self.segments()?.first().map_or(0, |s| s.0))
    }

    /// The position behind the newest byte.
    pub fn newest(&self) -> io::Result<u64> {
        Ok(self.segments()?.last().map_or(0, |(at, len)| at.saturating_add(*len)))
    }

    /// Reads at most `max` bytes at a position.
    pub fn read(&self, at: u64, max: usize) -> io::Result<Piece> {
        for (from, len) in self.segments()? {
            if from > at {
                return Ok(Piece::Gap(from - at));
            }
            let inside = at - from;
            if inside >= len {
                continue;
            }
            let file = match options().read(true).open(segment(&self.folder, from)) {
                Ok(file) => file,
                // The writer has just taken it away: what comes next tells of the gap.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let most = usize::try_from(len - inside).map_or(max, |n| n.min(max));
            let mut bytes = vec![0; most];
            let n = file.read_at(&mut bytes, inside)?;
            bytes.truncate(n);
            return Ok(Piece::Bytes(bytes));
        }
        Ok(Piece::Bytes(Vec::new()))
    }

    /// The folder of the log.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}
