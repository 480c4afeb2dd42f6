//! The loop: keeps a number of requests in flight for a while, and counts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::frame;
use super::link::Link;

/// What to ask for, and what must come back. A *slot* is a request in flight; its
/// number is the request's tag.
pub trait Work {
    /// Opens files, and makes room for that many slots.
    fn begin(&mut self, link: &mut Link, depth: usize) -> Result<()>;

    /// Makes the next request of a slot.
    fn turn(&mut self, slot: usize);

    /// That request.
    fn ask(&self, slot: usize) -> &[u8];

    /// Checks the answer to it. How much that was: operations, bytes, entries.
    fn hear(&mut self, slot: usize, frame: &[u8]) -> Result<u64>;

    /// Whether a slot may stop here: what was begun is done.
    fn rests(&self, _slot: usize) -> bool {
        true
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Done {
    /// Operations, bytes or entries, as the work counts.
    pub units: u64,
    /// Answers.
    pub answers: u64,
    /// Seconds.
    pub seconds: f64,
}

/// Keeps `depth` requests in flight for that long, and then hears out the rest.
pub fn run(link: &mut Link, work: &mut dyn Work, depth: usize, time: Duration) -> Result<Done> {
    let mut state = Loop { due: (0..depth).collect(), flying: vec![false; depth] };
    for slot in 0..depth {
        work.turn(slot);
    }
    link.within(time, |link| state.go(link, work, time))
        .with_context(|| format!("at depth {depth}"))
}

struct Loop {
    /// Slots whose next request is to be sent.
    due: Vec<usize>,
    flying: Vec<bool>,
}

impl Loop {
    fn go(&mut self, link: &mut Link, work: &mut dyn Work, time: Duration) -> Result<Done> {
        let begin = Instant::now();
        let mut done = Done::default();
        let mut flying = 0;
        let mut over = false;
        loop {
            flying += self.due.len();
            self.send(link, work)?;
            if flying == 0 {
                done.seconds = begin.elapsed().as_secs_f64();
                return Ok(done);
            }
            link.receive()?;
            while let Some(range) = link.take()? {
                let slot = usize::from(frame::tag(link.bytes(range.clone())));
                if !self.flying.get_mut(slot).is_some_and(std::mem::take) {
                    bail!("an answer to a request that is not in flight: tag {slot}");
                }
                done.units += work.hear(slot, link.bytes(range))?;
                done.answers += 1;
                flying -= 1;
                if !over || !work.rests(slot) {
                    work.turn(slot);
                    self.due.push(slot);
                }
            }
            over = over || begin.elapsed() >= time;
        }
    }

    fn send(&mut self, link: &mut Link, work: &dyn Work) -> Result<()> {
        for slot in &self.due {
            self.flying[*slot] = true;
            link.put(work.ask(*slot))?;
        }
        link.flush()?;
        self.due.clear();
        Ok(())
    }
}
