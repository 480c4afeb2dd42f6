//! A counter: the least that an atom can be and still have something to lose.
//!
//! The number lies in the atom's memory and nowhere else. What a checkpoint must not
//! lose is therefore the memory, and who counts must not notice that there was one.
#![no_std]
#![forbid(unsafe_code)]

use atoll_atom::abi::RESTORED;
use atoll_atom::prelude::*;

/// The state.
#[derive(Debug)]
pub struct Counter {
    count: i64,
    first: i64,
}

#[atom(events(events = 4096))]
impl Counter {
    #[start]
    fn start(params: Params<'_>) -> Result<Counter> {
        let first = params.parse("first", 0)?;
        Ok(Counter { count: first, first })
    }

    #[text]
    fn count(&self) -> i64 {
        self.count
    }

    #[command(ctl)]
    fn add(&mut self, n: i64) -> Result<()> {
        let count = self.count.checked_add(n).ok_or(Error::invalid("the sum is too large"))?;
        self.set(count)
    }

    #[command(ctl)]
    fn set(&mut self, n: i64) -> Result<()> {
        Self::EVENTS.emit(n)?;
        self.count = n;
        Ok(())
    }

    #[command(ctl)]
    fn reset(&mut self) -> Result<()> {
        self.set(self.first)
    }

    /// `add 1`, so often, so many milliseconds apart: something that is under way when
    /// somebody makes a checkpoint.
    #[command(ctl)]
    async fn every(this: This<Self>, ms: u32, times: u32) -> Result<()> {
        for _ in 0..times {
            sleep(Duration::from_millis(u64::from(ms))).await;
            this.with(|counter| counter.add(1))?;
        }
        Ok(())
    }

    /// Another atom's way to count: it sends what is to be added, and may ask.
    #[on_message]
    fn count_on(&mut self, n: i64) -> Result<()> {
        self.add(n)
    }

    #[on_ask]
    fn count_and_tell(&mut self, n: i64) -> Result<i64> {
        self.add(n)?;
        Ok(self.count)
    }

    #[on_interrupt(RESTORED)]
    fn restored(&mut self) {
        atoll_atom::info!("goes on at {}", self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_atom::fake::World;

    fn world() -> World {
        let mut world = World::new(1);
        world.start::<Counter>("counter", "first 10\n").unwrap();
        world
    }

    #[test]
    fn it_counts() {
        let mut world = world();
        world.command("counter", "ctl", "add 5").unwrap();
        world.command("counter", "ctl", "add -20").unwrap();
        assert_eq!(world.read("counter", "count").unwrap(), "-5");
        world.command("counter", "ctl", "set 3").unwrap();
        world.command("counter", "ctl", "reset").unwrap();
        assert_eq!(world.read("counter", "count").unwrap(), "10");
        assert_eq!(world.lines("counter", "events").unwrap(), ["15", "-5", "3", "10"]);
    }

    #[test]
    fn what_it_does_not_know_is_refused_with_a_word_of_help() {
        let mut world = world();
        for (line, text) in [
            ("add", "add N"),
            ("add x", "add N"),
            ("add 1 2", "add N"),
            ("reset 1", "reset"),
            ("jump", "add N | set N | reset | every MS TIMES"),
            ("", "add N | set N | reset | every MS TIMES"),
            ("add 9223372036854775807", "the sum is too large"),
        ] {
            let e = world.command("counter", "ctl", line).unwrap_err();
            assert_eq!((e.errno, e.text()), (Errno::EINVAL, text), "{line}");
        }
        assert_eq!(world.read("counter", "count").unwrap(), "10");
        assert_eq!(world.lines("counter", "events").unwrap(), [""; 0]);
    }

    #[test]
    fn others_count_too() {
        let mut world = world();
        let counter = world.start::<Counter>("other", "").unwrap();
        world.send(counter, &4i64).unwrap();
        let asked = world.ask(counter, &5i64).unwrap();
        world.run();
        assert_eq!(world.reply::<i64>(asked), Some(Ok(9)));
        let asked = world.ask(counter, &i64::MAX).unwrap();
        world.run();
        let refused = world.reply::<i64>(asked).unwrap().unwrap_err();
        assert_eq!(refused.errno, Errno::EINVAL);
        assert_eq!(world.read("other", "count").unwrap(), "9");
        assert_eq!(world.read("counter", "count").unwrap(), "10");
    }

    #[test]
    fn what_is_under_way_goes_on_after_a_checkpoint() {
        let mut world = world();
        world.command("counter", "ctl", "every 100 5").unwrap();
        world.pass(Duration::from_millis(250));
        assert_eq!(world.read("counter", "count").unwrap(), "12");
        world.restored(Duration::from_secs(3600));
        world.pass(Duration::from_millis(1000));
        assert_eq!(world.read("counter", "count").unwrap(), "15");
        assert_eq!(world.log(), ["counter: goes on at 12"]);
    }

    #[test]
    fn a_bad_parameter_is_no_start() {
        let mut world = World::new(1);
        let e = world.start::<Counter>("counter", "first ten\n").unwrap_err();
        assert!(e.text().contains("parameter first"), "{e}");
    }
}
