//! How much goes through a vchan: a file that is read, one message after the other, and bytes
//! that are sent as fast as they come back.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use atoll_xen::dom0::{Store, Stream, Vchan};
use atoll_xen::vchan::Takes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::dom0::{PATIENCE, attach, call, control, domid, note, open};
use super::{ECHO, FILES, Seen};
use crate::load::frame::{self, READ_DATA, answer, ty};
use crate::p9::place::{DATA, GUEST_DATA};

/// Bytes of one round.
const BYTES: u64 = 8 << 20;
/// Bytes of one message: what the rings hold.
const MSIZE: u32 = 64 << 10;
/// Bytes of one read.
const READ: u64 = 32 << 10;

pub(super) fn run(runs: usize) -> Result<Seen> {
    let mut nine = open(FILES)?;
    attach(&mut nine, MSIZE)?;
    let walked = call(&mut nine, &frame::walk(0, 0, 1, &["export", DATA.0]))?;
    ensure!(answer(&walked, ty::TWALK, 2)?.len() == 2 + 2 * 13, "there is no {}", DATA.0);
    answer(&call(&mut nine, &frame::lopen(0, 1, 0))?, ty::TLOPEN, 17)?;
    let id = domid(ECHO)?;
    let mut store = Store::open()?;
    let mut echo = Vchan::open(&mut store, id, &control(id), Takes::Fresh)?;
    let mut seen = Seen::new();
    for round in 0..=runs {
        let mut rates = [0.0; 2];
        // Neither is always the first.
        for i in [round % 2, 1 - round % 2] {
            rates[i] = if i == 0 { read(&mut nine)? } else { there_and_back(&mut echo)? };
        }
        // The first round fills caches and is not counted.
        if round > 0 {
            note(&mut seen, "read", rates[0]);
            note(&mut seen, "echo", rates[1]);
        }
    }
    Ok(seen)
}

fn rate(begin: Instant) -> f64 {
    BYTES as f64 / 1e6 / begin.elapsed().as_secs_f64()
}

/// Reads the file again and again.
fn read(nine: &mut Stream) -> Result<f64> {
    let begin = Instant::now();
    let mut all = 0;
    while all < BYTES {
        let reply = call(nine, &frame::read(0, 1, all % GUEST_DATA, READ as u32))?;
        answer(&reply, ty::TREAD, 4)?;
        ensure!(reply.len() as u64 == READ_DATA as u64 + READ, "a read of {} bytes", reply.len());
        all += READ;
    }
    Ok(rate(begin))
}

/// Sends, and receives what comes back.
fn there_and_back(echo: &mut Vchan) -> Result<f64> {
    let (out, mut buf) = (vec![b'e'; MSIZE as usize], vec![0; MSIZE as usize]);
    let begin = Instant::now();
    let (mut sent, mut got) = (0, 0);
    while got < BYTES {
        let room = (BYTES - sent).min(out.len() as u64) as usize;
        let wrote = if room > 0 { echo.try_write(&out[..room])? } else { None };
        sent += wrote.unwrap_or(0) as u64;
        let read = echo.try_read(&mut buf)?;
        ensure!(read != Some(0), "the echo has ended");
        got += read.unwrap_or(0) as u64;
        if wrote.is_none() && read.is_none() {
            let patience = Timespec::try_from(PATIENCE)?;
            let mut fds = [PollFd::new(&*echo, PollFlags::IN)];
            let ready = poll(&mut fds, Some(&patience)).context("cannot wait for the echo")?;
            ensure!(ready > 0, "the echo is silent after {got} of {BYTES} bytes");
            echo.acknowledge()?;
        }
    }
    Ok(rate(begin))
}
