//! A lab for a person: it stays until it is told to go, in a process of its own, and any
//! number of programs talk to that process over a socket.
//!
//! A request is one line of JSON: `{"run": SCRIPT}`, `{"open": ADDRESS}`, `"status"`,
//! `"log"` or `"down"`. The answer to `run` is frames (below); to `open` a line, `ok` or
//! what is wrong, and then the stream; to others a line of JSON. A connection that is
//! closed while its script runs interrupts that.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

mod client;
mod keeper;

pub use client::{Session, all, clean};
pub use keeper::keep;

use super::snapshot;

/// The folder with a socket for each lab that is up. It is reached by a descriptor:
/// a checkout may be at a place too long for a socket's address.
#[derive(Debug)]
struct Place {
    folder: File,
    path: PathBuf,
}

impl Place {
    fn new() -> Result<Place> {
        let path = snapshot::folder().join("up");
        std::fs::create_dir_all(&path)?;
        let path = path.canonicalize()?;
        Ok(Place { folder: File::open(&path)?, path })
    }

    /// Where the socket of a lab is, for a person.
    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The same, as an address.
    fn address(&self, name: &str) -> PathBuf {
        Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string()).join(name)
    }
}

/// Names of labs are names of files.
fn check(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.len() <= 32 && name.chars().all(good),
        "a lab's name is up to 32 letters, digits, `-` and `_`, not `{name}`"
    );
    Ok(())
}

/// A part of the answer to `run`: a byte that says what, four bytes of length (little
/// end first), and so many bytes.
#[derive(Debug)]
enum Frame {
    /// Something that the script wrote.
    Output(Vec<u8>),
    /// Its status.
    End(i32),
    /// Why there is no status.
    Failed(String),
}

/// No output is longer.
const LONGEST: u32 = 16 << 20;

impl Frame {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let (kind, bytes) = match self {
            Frame::Output(bytes) => (b'o', bytes.clone()),
            Frame::End(status) => (b'e', status.to_string().into_bytes()),
            Frame::Failed(why) => (b'x', why.clone().into_bytes()),
        };
        to.write_all(&[kind])?;
        to.write_all(&(bytes.len() as u32).to_le_bytes())?;
        to.write_all(&bytes)
    }

    fn read(from: &mut impl Read) -> Result<Frame> {
        let (mut kind, mut size) = ([0; 1], [0; 4]);
        from.read_exact(&mut kind).context("the lab has gone")?;
        from.read_exact(&mut size)?;
        let size = u32::from_le_bytes(size);
        ensure!(size <= LONGEST, "a frame of {size} bytes");
        let mut bytes = vec![0; size as usize];
        from.read_exact(&mut bytes)?;
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        Ok(match kind {
            [b'e'] => Frame::End(text().parse()?),
            [b'x'] => Frame::Failed(text()),
            _ => Frame::Output(bytes),
        })
    }
}
