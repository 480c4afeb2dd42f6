//! The floor: a process at the other end of a socket that does nothing but answer.
//!
//! It knows no fids and no tree, allocates nothing, and looks at no more of a
//! request than it must: its size, its type, its tag, and where to read. What it
//! does per request every server must do: take bytes from a socket, give bytes to
//! it, and for a Tread copy them out of the file's pages. Its answers are mostly
//! zeros, but of the length that a server's have.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::frame::{self, GETATTR, HEADER, OFFSET_AT, READ_DATA, ty};

/// The word on the command line that makes this program an echo.
pub const ECHO: &str = "__echo";

/// Answers are sent when there are so many bytes of them.
const BATCH: usize = 32 << 10;

/// Listens at a socket and answers every connection, for ever. Reads are of the
/// file at `data`; every file is said to be `size` bytes long.
pub fn run(socket: &OsStr, data: &OsStr, size: &str) -> Result<()> {
    let listener = UnixListener::bind(socket)
        .with_context(|| format!("cannot listen at {}", socket.display()))?;
    let data = File::open(data).with_context(|| format!("cannot open {}", data.display()))?;
    let data = Arc::new(data);
    let size = size.parse().context("a size")?;
    for stream in listener.incoming() {
        let (stream, data) = (stream?, data.clone());
        // A connection that breaks off is its client's doing.
        std::thread::spawn(move || serve(stream, &data, size));
    }
    Ok(())
}

fn serve(mut stream: UnixStream, data: &File, size: u64) -> Result<()> {
    let mut input = vec![0; 64 << 10];
    let mut out = vec![0; 2 * BATCH];
    let mut have = 0;
    loop {
        let n = stream.read(&mut input[have..])?;
        if n == 0 {
            return Ok(());
        }
        have += n;
        let (mut at, mut filled) = (0, 0);
        while let Some(request) = whole(&input[at..have]) {
            at += request.len();
            filled += answer(request, data, size, &mut out, filled)?;
            if filled >= BATCH {
                stream.write_all(&out[..filled])?;
                filled = 0;
            }
        }
        stream.write_all(&out[..filled])?;
        input.copy_within(at..have, 0);
        have -= at;
    }
}

fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let size = bytes.first_chunk().map(|b| u32::from_le_bytes(*b) as usize)?;
    bytes.get(..size.max(HEADER))
}

/// Puts an answer at that place of `out`; how long it is.
fn answer(request: &[u8], data: &File, size: u64, out: &mut Vec<u8>, at: usize) -> Result<usize> {
    let ty = request[4];
    let count = if ty == ty::TREAD { frame::u32_at(request, OFFSET_AT + 8) as usize } else { 0 };
    let len = match ty {
        ty::TGETATTR => GETATTR.1,
        ty::TREAD => READ_DATA + count,
        ty::TWALK => HEADER + 2 + 13 * usize::from(request[HEADER + 8]),
        ty::TCLUNK => HEADER,
        ty::TLOPEN => HEADER + 17,
        ty::TATTACH => HEADER + 13,
        ty::TVERSION => request.len(),
        other => bail!("no answer to type {other}"),
    };
    if out.len() < at + len {
        out.resize(at + len, 0);
    }
    let answer = &mut out[at..at + len];
    answer[..4].copy_from_slice(&(len as u32).to_le_bytes());
    answer[4] = ty + 1;
    answer[5..HEADER].copy_from_slice(&request[5..HEADER]);
    let body = &mut answer[HEADER..];
    match ty {
        ty::TVERSION => body.copy_from_slice(&request[HEADER..]),
        ty::TREAD => {
            body[..4].copy_from_slice(&(count as u32).to_le_bytes());
            data.read_exact_at(&mut body[4..], frame::u64_at(request, OFFSET_AT))?;
        }
        _ => body.fill(0),
    }
    match ty {
        // valid[8] qid[13] mode[4] uid[4] gid[4] nlink[8] rdev[8] size[8]
        ty::TGETATTR => body[49..57].copy_from_slice(&size.to_le_bytes()),
        ty::TWALK => body[0] = request[HEADER + 8],
        _ => {}
    }
    Ok(len)
}
