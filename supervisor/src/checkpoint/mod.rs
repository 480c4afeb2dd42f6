//! Checkpoints of running guests, in files.
//!
//! A guest gives and takes them through its tree (`checkpoint/new`,
//! `checkpoint/restore`), so everybody who may speak to it can do what is done here.
//! What is added is care: a file has its name only when all of it is there and was
//! checked, and a file is checked before any guest hears of it.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use atoll_9p::fault::Errno;
use atoll_9p::types::OpenFlags;
use atoll_config::checkpoint::{Bad, Reader};
use atoll_config::payload::Hash;

use crate::conn::{self, Conn};

mod files;
mod keeper;
pub mod state;

pub use files::{Source, Target};
pub use keeper::Keeper;
pub use state::State;

/// Bytes that are taken from a file at one time.
const PIECE: usize = 64 << 10;

/// Why there is no checkpoint, or it was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the file holds is not one.
    #[error("{0}")]
    Bad(#[from] Bad),
    /// It is of another payload than the image: found, and wanted.
    #[error("it was taken of another guest: its payload is {}, the image's {}", brief(.0), brief(.1))]
    Payload(Hash, Hash),
    /// It builds on another one.
    #[error("it holds only what changed since another checkpoint, and that is not here")]
    Increment,
    /// What was asked for builds on another one than was named: found, and named.
    #[error("the guest tells what changed since {}, and not since {}: take all of it again", brief(.0), brief(.1))]
    Base(Hash, Hash),
    /// The guest has no such file.
    #[error("this guest cannot be written down: it has no atoms (see `can` in its manifest)")]
    Cannot,
    /// The guest could not be asked, or refused.
    #[error(transparent)]
    Conn(#[from] conn::Error),
    /// What the guest gave is no checkpoint.
    #[error("what the guest gave is no checkpoint: {0}")]
    Given(Bad),
    /// A file could not be read or written.
    #[error("{what}")]
    Io {
        /// What was tried, with its name.
        what: String,
        /// What the system said.
        #[source]
        why: io::Error,
    },
}

/// Enough of a hash to tell two apart.
fn brief(hash: &Hash) -> String {
    hash.to_string().chars().take(16).collect()
}

/// Opens one of the guest's files that are about checkpoints.
async fn open(conn: &mut Conn, path: &str, flags: OpenFlags) -> Result<(), Error> {
    match conn.walk(path).await {
        Err(conn::Error::Refused(fault)) if fault.errno == Errno::ENOENT => Err(Error::Cannot),
        done => Ok(done?),
    }?;
    Ok(conn.open_file(flags).await?)
}

/// Takes a checkpoint of a guest into a file, which gets its name when all is there. With a
/// base it is what has changed since that, which must be the last that was taken. `told`
/// hears how many bytes there are, time and again.
pub async fn take(
    conn: &mut Conn,
    mut to: Target,
    base: Option<Hash>,
    told: &mut dyn FnMut(u64),
) -> Result<Hash, Error> {
    let path = if base.is_some() { "checkpoint/since" } else { "checkpoint/new" };
    open(conn, path, OpenFlags::RDONLY).await?;
    let (mut reader, mut offset) = (Reader::new(), 0);
    loop {
        let bytes = conn.read_now(offset).await?;
        if bytes.is_empty() {
            break;
        }
        reader.feed(&bytes, &mut ()).map_err(Error::Given)?;
        // Given up before its end, it is no base of the next one.
        if let (Some(base), Some(header)) = (base, reader.header())
            && let Some(found) = header.base.filter(|found| *found != base)
        {
            return Err(Error::Base(found, base));
        }
        to.write(&bytes)?;
        offset += bytes.len() as u64;
        told(offset);
    }
    let (_, hash) = reader.finish().map_err(Error::Given)?;
    to.finish()?;
    // The guest lets go of what it kept; it may be gone, and that changes nothing.
    let _ = conn.clunk().await;
    Ok(hash)
}

/// Gives a checkpoint to a guest, which is what it was then, or what it has been. `told`
/// hears how many bytes it has, time and again.
pub async fn give(conn: &mut Conn, from: &Source, told: &mut dyn FnMut(u64)) -> Result<(), Error> {
    open(conn, "checkpoint/restore", OpenFlags::WRONLY).await?;
    let (mut buf, mut offset) = (vec![0; PIECE], 0);
    loop {
        let n = from.file.read_at(&mut buf, offset).map_err(|why| from.cannot("read", why))?;
        let mut rest = buf.get(..n).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        while !rest.is_empty() {
            let taken = conn.write_now(offset, rest).await?;
            offset += taken as u64;
            told(offset);
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
    let _ = conn.clunk().await;
    Ok(())
}

/// Reads a file in pieces that are handed on.
fn pieces(mut from: impl Read, mut f: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
    let mut buf = vec![0; PIECE];
    loop {
        match from.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(n) => f(buf.get(..n).unwrap_or_default())?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(Error::Io { what: "cannot be read".into(), why }),
        }
    }
}
