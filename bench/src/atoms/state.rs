//! Checkpoints of a guest of 4 MiB of which a tenth has changed, and the way back.
//!
//! The guest is asked as every host asks it, over a socket, and its CPU time is counted.
//! Nothing that it holds packs, so every byte is there to be looked at, packed in vain,
//! hashed and sent; the floor does these with the same bytes in one go.

use anyhow::{Context, Result, ensure};
use atoll_config::checkpoint::{CHUNK, Whole};

use super::worker::Follows;
use super::{Bench, samples};
use crate::figure::Figure;
use crate::product;
use crate::tender;
use crate::urgent::Urgent;

/// Pages of the guest's memory that it can write, and a tenth of its memory.
const ALL: u32 = 1000;
const TENTH: u32 = 102;
/// Milliseconds of CPU time.
const GOAL_TAKE: f64 = 2.0;
const GOAL_GIVE: f64 = 5.0;
/// Of the guest's own counting of time: a round does each so often.
const TIMES: u32 = 8;

/// Measures.
pub(super) fn run(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let image = bench.scratch.path().join("state.img");
    product::Builder::find(bench.root)?
        .build(&bench.root.join("bench/atoms/state"), Some(&image))?;
    let mut guest = tender::start(&bench.tender, &image)?;
    guest.nine.version().context("the tender's guest did not answer")?;
    guest.nine.attach()?;
    let mut done = Follows::default();
    done.ask(&mut guest.nine, "a", &format!("dirty {ALL}"))?;
    let whole = guest.nine.read("checkpoint/new")?;
    ensure!(whole.len() > ALL as usize * CHUNK, "a checkpoint of {} bytes", whole.len());
    let (mut take, mut give, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    let _urgent = Urgent::new();
    for round in 0..=bench.runs {
        (bench.say)(&format!("checkpoints: round {round} of {}", bench.runs));
        let (mut took, mut gave, mut packed) = (0.0, 0.0, 0.0);
        for _ in 0..TIMES {
            done.ask(&mut guest.nine, "a", &format!("dirty {TENTH}"))?;
            let before = guest.running.used_by_all();
            let since = guest.nine.read("checkpoint/since")?;
            took += guest.running.used_by_all().since(&before);
            let chunks = TENTH as usize * CHUNK;
            ensure!(since.len() > chunks && since.len() < chunks * 2, "{} bytes", since.len());
            let before = guest.running.used_by_all();
            guest.nine.write_all("checkpoint/restore", &whole)?;
            gave += guest.running.used_by_all().since(&before);
            packed += self::floor(&since)?;
            // A base for what changes next.
            guest.nine.read("checkpoint/new")?;
        }
        // What was given is what there is: it is the same as before.
        let again = guest.nine.read("checkpoint/new")?;
        let memory = |bytes: &[u8]| -> Result<_> {
            Ok(Whole::read(bytes, 1 << 30)?.components.remove(&0).map(|c| c.chunks))
        };
        ensure!(memory(&again)? == memory(&whole)?, "it is another guest than was given");
        // The first round fills caches and is not counted.
        if round > 0 {
            for (sum, out) in [(took, &mut take), (gave, &mut give), (packed, &mut floor)] {
                out.push(sum / f64::from(TIMES));
            }
        }
    }
    let floor = samples(floor)?;
    let mut out = Vec::new();
    for (case, values, goal) in [
        ("checkpoint of 4 MiB, 10 % changed", take, GOAL_TAKE),
        ("restore of 4 MiB", give, GOAL_GIVE),
    ] {
        let spread = samples(values)?;
        let mut figure = Figure::new("atoms", case, "CPU time", "ms", spread.median).at_most(goal);
        if goal == GOAL_TAKE {
            figure = figure.beside("unpack, pack and hash alone", floor.median);
        }
        out.extend(figure.with(spread));
    }
    Ok(out)
}

/// Milliseconds of CPU time for what is to be done with the bytes whoever does it.
fn floor(bytes: &[u8]) -> Result<f64> {
    let now = || {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 / 1e6
    };
    let before = now();
    let (again, _) = Whole::read(bytes, 1 << 30)?.write();
    let used = now() - before;
    ensure!(again == bytes, "packed otherwise than it was");
    Ok(used)
}
