//! The folder that every server serves: private, in memory, and gone afterwards.
//!
//! A process of its own waits to remove it ([`sweep`]), so that it goes too when
//! this one is killed.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::load::content;
use crate::{proc, processes};

/// The word on the command line that makes this program the one that removes.
pub const SWEEP: &str = "__sweep";

/// The file whose attributes are asked for.
pub const SMALL: (&str, &[u8]) = ("small", b"a file of 22 bytes...\n");
/// A file of [`content`], and its length: more than fits into a core's own caches.
pub const DATA: (&str, u64) = ("data", 16 << 20);
/// The length of that file in a guest, where it is a part of the image.
pub const GUEST_DATA: u64 = 256 << 10;
/// A file to write over, and its length.
pub const OUT: (&str, u64) = ("out", 16 << 20);
/// A folder of small files, and their number.
pub const MANY: (&str, u64) = ("many", 10_000);

/// The name of one of them.
pub fn of_many(n: u64) -> String {
    format!("file-{n:05}")
}

/// A folder with the files above.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
    in_memory: bool,
    sweeper: Child,
}

impl Place {
    /// Makes it, in memory if there is a `/dev/shm` that may be used.
    pub fn new() -> Result<Place> {
        let place = Place::empty()?;
        place.fill().with_context(|| format!("cannot fill {}", place.root.display()))?;
        Ok(place)
    }

    /// One without files to serve.
    pub fn empty() -> Result<Place> {
        let shm = Path::new("/dev/shm");
        let named = |dir: &Path| tempfile::Builder::new().prefix("atoll-bench-").tempdir_in(dir);
        let is_tmpfs = rustix::fs::statfs(shm).is_ok_and(|s| s.f_type == 0x0102_1994);
        let (dir, in_memory) = match named(shm) {
            Ok(dir) if is_tmpfs => (dir, true),
            _ => (named(&std::env::temp_dir()).context("cannot make a folder")?, false),
        };
        let sweeper = Command::new(proc::own()?)
            .args([SWEEP.as_ref(), dir.path()])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start this program again")?;
        Ok(Place { root: dir.keep(), in_memory, sweeper })
    }

    fn fill(&self) -> Result<()> {
        let files = self.files();
        std::fs::create_dir(&files)?;
        std::fs::write(files.join(SMALL.0), SMALL.1)?;
        std::fs::write(files.join(DATA.0), content::block(0, DATA.1 as usize))?;
        std::fs::write(files.join(OUT.0), vec![0; OUT.1 as usize])?;
        let many = files.join(MANY.0);
        std::fs::create_dir(&many)?;
        for n in 0..MANY.1 {
            std::fs::write(many.join(of_many(n)), b"")?;
        }
        Ok(())
    }

    /// The folder to serve.
    pub fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// A path for a socket.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.sock"))
    }

    /// A folder for others' sockets.
    pub fn sockets(&self) -> &Path {
        &self.root
    }

    /// A folder that no server serves.
    pub fn scratch(&self) -> Result<PathBuf> {
        let path = self.root.join("scratch");
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Whether it is in memory.
    pub fn in_memory(&self) -> bool {
        self.in_memory
    }

    /// Whether what was written so far of [`OUT`] is what was sent: every page is
    /// still empty, or right.
    pub fn check_written(&self) -> Result<()> {
        let bytes = std::fs::read(self.files().join(OUT.0))?;
        ensure!(bytes.len() as u64 == OUT.1, "the file written to has {} bytes", bytes.len());
        let mut written = 0;
        for (i, page) in bytes.chunks(content::PAGE).enumerate() {
            if page.iter().any(|b| *b != 0) {
                let offset = (i * content::PAGE) as u64;
                let right = page.iter().zip(offset..).all(|(b, o)| *b == content::byte_at(o));
                ensure!(right, "the page at {offset} holds something else than was written");
                written += 1;
            }
        }
        ensure!(written > 0, "nothing was written");
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        let _ = self.sweeper.wait();
    }
}

/// Waits for the end of whoever started this, ends the guests whose sockets are in the folder,
/// which outlive everybody, and removes it.
pub fn sweep(dir: &Path) -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    processes::kill(dir)?;
    std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}
