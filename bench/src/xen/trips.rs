//! A file's attributes, asked for over a vchan, and as many bytes that come back as they are.
//!
//! Both cross the same border, to domains with the same kernel and as much memory, by the same
//! client. A question and its answer have 19 and 160 bytes; the echo has 90 each way.

use std::time::Instant;

use anyhow::{Result, ensure};
use atoll_xen::dom0::Stream;

use super::dom0::{attach, call, note, open, trip};
use super::{ECHO, FILES, Seen};
use crate::load::frame::{self, GETATTR, HEADER, answer, ty};
use crate::p9::place::SMALL;

/// Parts of one round, in which the two follow each other, and trips of one part.
const PARTS: usize = 16;
const TRIPS: usize = 16;
/// What the echo is sent.
const BYTES: usize = (GETATTR.0 + GETATTR.1).div_ceil(2);

pub(super) fn run(runs: usize) -> Result<Seen> {
    let (mut nine, mut echo) = (open(FILES)?, open(ECHO)?);
    attach(&mut nine, 8192)?;
    let walked = call(&mut nine, &frame::walk(0, 0, 1, &["export", SMALL.0]))?;
    ensure!(answer(&walked, ty::TWALK, 2)?.len() == 2 + 2 * 13, "there is no {}", SMALL.0);
    let ask = frame::getattr(0, 1);
    let mut got = vec![0; GETATTR.1];
    let (bytes, mut back) = (vec![b'e'; BYTES], vec![0; BYTES]);
    let mut seen = Seen::new();
    for round in 0..=runs {
        let mut took = [0.0; 2];
        for part in 0..PARTS {
            // Neither is always the first.
            for i in [part % 2, 1 - part % 2] {
                took[i] += if i == 0 {
                    many(&mut nine, &ask, &mut got)?
                } else {
                    many(&mut echo, &bytes, &mut back)?
                };
            }
        }
        let size = frame::u64_at(answer(&got, ty::TGETATTR, GETATTR.1 - HEADER)?, 49);
        ensure!(size == SMALL.1.len() as u64, "attributes of another file: {size} bytes long");
        ensure!(back == bytes, "the echo is another");
        // The first round fills caches and is not counted.
        if round > 0 {
            note(&mut seen, "getattr", took[0]);
            note(&mut seen, "echo", took[1]);
        }
    }
    Ok(seen)
}

/// Microseconds of one trip, as a part of the mean of a round.
fn many(stream: &mut Stream, request: &[u8], out: &mut [u8]) -> Result<f64> {
    let begin = Instant::now();
    for _ in 0..TRIPS {
        trip(stream, request, out)?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / (TRIPS * PARTS) as f64)
}
