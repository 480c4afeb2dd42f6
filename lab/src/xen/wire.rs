//! A wire between two hosts: what one says to a socket of its own reaches a program on the
//! other. `xl migrate` asks for no more, and finds a host behind it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use anyhow::Result;

use super::Lab;

/// Two hosts that are joined, until one of both ends ends.
#[derive(Debug)]
pub struct Wire {
    carrying: JoinHandle<io::Result<(u64, u64)>>,
}

impl Wire {
    /// Joins whoever connects to a socket at this path, on one host, with what socat knows
    /// by this address on the other.
    pub fn new(from: &Lab, path: &str, to: &Lab, address: &str) -> Result<Wire> {
        let there = to.open(address)?;
        let here = from.open(&listener(path))?;
        from.ok(&awaited(path))?;
        let carrying = std::thread::spawn(move || join(here.socket()?, there.socket()?));
        Ok(Wire { carrying })
    }

    /// Waits for its end: bytes that went there, and back.
    pub fn wait(self) -> Result<(u64, u64)> {
        let carried = self.carrying.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        Ok(carried?)
    }
}

/// What socat knows the near end by.
pub fn listener(path: &str) -> String {
    format!("UNIX-LISTEN:{path},unlink-early")
}

/// A script that ends when the near end is there.
pub fn awaited(path: &str) -> String {
    format!("until [ -S {path} ]; do usleep 20000; done")
}

/// Carries bytes both ways until both ends have ended: how many.
pub fn join(here: UnixStream, there: UnixStream) -> io::Result<(u64, u64)> {
    std::thread::scope(|scope| {
        let back = scope.spawn(|| carry(&there, &here));
        let out = carry(&here, &there);
        let back = back.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        Ok((out?, back?))
    })
}

fn carry(mut from: &UnixStream, mut to: &UnixStream) -> io::Result<u64> {
    let (mut bytes, mut buf) = (0, vec![0; 256 << 10]);
    loop {
        let n = match from.read(&mut buf) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        if n == 0 || to.write_all(buf.get(..n).unwrap_or_default()).is_err() {
            // Streams of a lab end both ways at once.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return Ok(bytes);
        }
        bytes += n as u64;
    }
}
