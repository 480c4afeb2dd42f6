//! What a guest's `stats` say of its pace: `runtime/MODEL.md` names these tests.

mod common;

use atoll_9p::ops::What;
use atoll_runtime::fake::{End, Fake};
use atoll_runtime::platform::Platform;
use common::checkpoint::*;
use common::script::*;
use common::*;

fn one() -> Guest {
    Guest::new(atoms(&[("a", "")]))
}

/// The figures of `stats` whose names begin like this.
fn figures(g: &mut Guest, prefix: &str) -> Vec<(String, u64)> {
    let text = g.w.cat(&mut g.p, "stats").expect("a file");
    let lines = text.lines().filter_map(|l| l.split_once(' '));
    let ours = lines.filter(|(name, _)| name.starts_with(prefix));
    ours.map(|(name, n)| (name.into(), n.parse().expect("a number"))).collect()
}

/// Goes on until nothing is left to do, and each turn takes so many nanoseconds.
fn slowly(g: &mut Guest, ns: u64) {
    loop {
        while let Some(signal) = g.w.fake.poll() {
            g.w.rt.signal(signal, &mut g.w.fake);
        }
        if !g.w.rt.step(&mut g.w.fake) {
            return;
        }
        g.w.fake.now += ns;
    }
}

#[test]
fn stats_say_how_long_dispatches_took() {
    let mut g = one();
    let before: u64 = figures(&mut g, "took_").iter().map(|f| f.1).sum();
    g.p.start("export/a/ctl", What::Write(b"send a x; send a y".to_vec()));
    g.p.pump(&mut g.w.fake);
    for _ in 0..8 {
        slowly(&mut g, 5 * MS);
        g.p.pump(&mut g.w.fake);
    }
    // The command had a turn of its own, and the messages one together.
    let slow: Vec<_> = figures(&mut g, "took_").into_iter().filter(|f| f.0 != "took_1us").collect();
    assert_eq!(slow, [("took_4096us".into(), 2), ("took_8192us".into(), 1)]);
    // Each is counted once, however it ended.
    g.tell("a", "fail");
    g.tell("a", "log no more");
    let c = core(&mut g).counters;
    let all: u64 = figures(&mut g, "took_").iter().map(|f| f.1).sum();
    assert_eq!(all, c.dispatches + c.refused + c.abandoned);
    assert!(before > 0 && all > before + 3, "{before} {all}");
}

#[test]
fn stats_say_how_many_events_wait() {
    // One that is to go on from a checkpoint dispatches nothing before it has one.
    let mut fake = Fake::new(7);
    fake.holds = true;
    let mut held = Guest::on(fake, atoms(&[("a", ""), ("b", "")]));
    assert_eq!(figures(&mut held, "waiting"), [("waiting".into(), 2)]);
    let mut g = Guest::new(atoms(&[("a", ""), ("b", "")]));
    assert_eq!(figures(&mut g, "waiting"), [("waiting".into(), 0)]);
    g.tell("a", "send b x; send b y");
    assert_eq!(figures(&mut g, "waiting"), [("waiting".into(), 0)]);
}

#[test]
fn who_goes_on_from_a_checkpoint_has_the_pace_of_its_machine() {
    let mut g = one();
    let checkpoint = cut(&mut g);
    g.tell("a", "log one");
    g.tell("a", "log two");
    let before = (core(&mut g).counters.dispatches, figures(&mut g, "took_"));
    assert_eq!(go_on(&mut g, &checkpoint), Ok(()));
    assert!(core(&mut g).counters.dispatches < before.0);
    let after = core(&mut g).pace.figures();
    let after: Vec<_> = after.into_iter().map(|(name, n)| (name.into_owned(), n)).collect();
    assert_eq!(after, before.1);
    // And no state has it.
    let mut other = one();
    other.w.fake.now = SECOND;
    assert_eq!(go_on(&mut other, &checkpoint), Ok(()));
    let mut again = one();
    assert_eq!(go_on(&mut again, &checkpoint), Ok(()));
    assert_eq!(state(&mut other), state(&mut again));
}
