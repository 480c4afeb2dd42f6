//! A value of XenStore, read and written as a file by `atoll xenstore-fs`, and by xenstored's
//! own protocol, which is what `xenstore-read` speaks.
//!
//! Either has its connection already, and the file is open. Each read is one of the value as it
//! is then: between two of them it changes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use atoll_xen::dom0::Store;
use atoll_xen::store::{Answer, NO_TRANSACTION, Request};

use super::dom0::{PATIENCE, note};
use super::{ATOLL, Seen};
use crate::load::frame::{self, Frame, NO_FID, NO_TAG, READ_DATA, answer, ty};

/// Parts of one round, in which the two follow each other, and trips of one part.
const PARTS: usize = 16;
const TRIPS: usize = 16;
/// Where it is served.
const SOCKET: &str = "/run/bench-xenstore";
/// The node, and how many bytes its value has.
const NODE: &str = "/tool/bench";
const BYTES: usize = 32;

/// xenstore-fs, until it is dropped.
struct Tree(Child);

impl Tree {
    fn start() -> Result<Tree> {
        let mut atoll = Command::new(ATOLL);
        atoll.args(["xenstore-fs", "--quiet", "--socket", SOCKET]);
        atoll.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Tree(atoll.spawn().context("cannot start atoll")?))
    }

    fn connect(&mut self) -> Result<UnixStream> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(socket) = UnixStream::connect(Path::new(SOCKET)) {
                return Ok(socket);
            }
            ensure!(self.0.try_wait()?.is_none(), "atoll xenstore-fs has ended");
            ensure!(Instant::now() < until, "atoll xenstore-fs does not serve");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_file(SOCKET);
    }
}

pub(super) fn run(runs: usize) -> Result<Seen> {
    let mut bare = Store::open()?;
    let mut value = [b'a'; BYTES];
    bare.ask(NO_TRANSACTION, &Request::Write(NODE, &value))?;
    let mut tree = Tree::start()?;
    let mut file = open(tree.connect()?)?;
    let mut seen = Seen::new();
    for round in 0..=runs {
        let mut took = [0.0; 4];
        for part in 0..PARTS {
            value[part % BYTES] = b'a' + (round % 26) as u8;
            bare.ask(NO_TRANSACTION, &Request::Write(NODE, &value))?;
            for step in 0..4 {
                // None is always the first.
                let i = (part + step) % 4;
                let begin = Instant::now();
                for _ in 0..TRIPS {
                    match i {
                        0 => ensure!(read(&mut file)? == value, "the file has another value"),
                        1 => ensure!(ask(&mut bare)? == value, "the node has another value"),
                        2 => write(&mut file, &value)?,
                        _ => drop(bare.ask(NO_TRANSACTION, &Request::Write(NODE, &value))?),
                    }
                }
                took[i] += begin.elapsed().as_secs_f64() * 1e6 / (TRIPS * PARTS) as f64;
            }
            // What was written as a file is there.
            write(&mut file, &[b'z'; BYTES])?;
            ensure!(ask(&mut bare)? == [b'z'; BYTES], "what was written has not come");
            bare.ask(NO_TRANSACTION, &Request::Write(NODE, &value))?;
        }
        // The first round fills caches and is not counted.
        if round > 0 {
            for (name, took) in ["read", "bare read", "write", "bare write"].iter().zip(took) {
                note(&mut seen, name, took);
            }
        }
    }
    bare.ask(NO_TRANSACTION, &Request::Rm(NODE))?;
    Ok(seen)
}

/// Opens the value as fid 1.
fn open(mut socket: UnixStream) -> Result<UnixStream> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let version = Frame::new(ty::TVERSION, NO_TAG).u32(8192).str("9P2000.L").done();
    answer(&call(&mut socket, &version)?, ty::TVERSION, 6)?;
    let attach = Frame::new(ty::TATTACH, 0).u32(0).u32(NO_FID).str("").str("").u32(0).done();
    answer(&call(&mut socket, &attach)?, ty::TATTACH, 13)?;
    let names: Vec<&str> = NODE.split('/').skip(1).chain(["value"]).collect();
    let walked = call(&mut socket, &frame::walk(0, 0, 1, &names))?;
    ensure!(answer(&walked, ty::TWALK, 2)?.len() == 2 + 13 * names.len(), "there is no {NODE}");
    // To be read and written.
    answer(&call(&mut socket, &frame::lopen(0, 1, 2))?, ty::TLOPEN, 17)?;
    Ok(socket)
}

/// Sends a request, and gives its answer, which the server sends as one piece.
fn call(socket: &mut UnixStream, request: &[u8]) -> Result<Vec<u8>> {
    socket.write_all(request)?;
    let mut reply = vec![0; 1024];
    let mut has = 0;
    loop {
        let n = socket.read(&mut reply[has..])?;
        ensure!(n > 0, "atoll xenstore-fs has hung up");
        has += n;
        let size = reply.first_chunk().map_or(0, |b| u32::from_le_bytes(*b)) as usize;
        ensure!(size <= reply.len(), "an answer of {size} bytes");
        if has >= 4 && has >= size {
            reply.truncate(size.max(frame::HEADER));
            return Ok(reply);
        }
    }
}

fn read(file: &mut UnixStream) -> Result<Vec<u8>> {
    let reply = call(file, &frame::read(0, 1, 0, 4096))?;
    answer(&reply, ty::TREAD, 4)?;
    Ok(reply.get(READ_DATA..).unwrap_or_default().to_vec())
}

fn write(file: &mut UnixStream, value: &[u8]) -> Result<()> {
    answer(&call(file, &frame::write(0, 1, 0, value))?, ty::TWRITE, 4)?;
    Ok(())
}

fn ask(store: &mut Store) -> Result<Vec<u8>> {
    match store.ask(NO_TRANSACTION, &Request::Read(NODE))? {
        Answer::Value(value) => Ok(value.to_vec()),
        other => bail!("no value: {other:?}"),
    }
}
