//! What a guest stores, as its host keeps it: `runtime/MODEL.md` names these tests.

mod common;

use std::collections::BTreeMap;

use atoll_9p::ops::What;
use atoll_9p::ram::{self, Ram};
use atoll_config::kept::{HEADER, Head};
use atoll_runtime::component::ComponentId;
use atoll_runtime::fake::{End, Fake, Faults};
use common::checkpoint::*;
use common::script::*;
use proptest::prelude::*;

/// A host's folder: the file of what is stored, as it was left.
fn folder(stored: &[u8]) -> Ram {
    let mut ram = Ram::default();
    ram.put(".store", stored).expect("room");
    ram
}

/// What a host has, up to the last group that is there as a whole.
fn whole(ram: &Ram) -> Vec<u8> {
    let bytes = ram.content(".store").expect("a file");
    let (mut at, mut end) = (0, 0);
    while let Ok(Some(Head { len, more, .. })) = Head::parse(&bytes[at..]) {
        if bytes.len() < at + HEADER + len {
            break;
        }
        at += HEADER + len;
        end = if more { end } else { at };
    }
    bytes[..end].to_vec()
}

fn machine() -> Fake {
    let mut fake = Fake::new(3);
    fake.keeps = true;
    fake
}

/// Two atoms, of which the first says what it has stored as soon as it starts.
fn payload() -> atoll_config::payload::Payload<'static> {
    atoms(&[("a", "start get k, record 0"), ("b", "")])
}

/// A guest that starts anew, with what a host has.
fn anew(ram: Ram) -> Guest {
    let mut g = Guest::on(machine(), payload());
    assert_eq!(seen(), [""; 0], "nothing starts before its store is there");
    g.disk = Some(Disk::open(&mut g.w.fake, ram));
    g.drive();
    g
}

/// The same after the machine was lost.
fn lost(g: Guest) -> Guest {
    let disk = g.disk.expect("a host");
    anew(folder(&whole(&disk.tree)))
}

fn last(lines: &[String]) -> &str {
    lines.last().expect("a line")
}

#[test]
fn what_was_synced_is_there_when_the_guest_starts_anew() {
    let mut g = anew(folder(b""));
    assert_eq!(seen(), ["0 get ENOENT", "0 record ENOENT"]);
    let rest = g.used();
    assert_eq!(
        g.tell("a", "put k one; put gone x; append first; sync"),
        ["0 append 0", "0 sync = 1", "0 #1 0 0 "]
    );
    g.tell("a", "del gone; put k two; append second");
    g.tell("b", "put k other; sync");
    assert!(g.try_tell("a", "put k three; refuse").is_err());
    let stored = (g.used().0 - rest.0, g.used().1);
    let mut g = lost(g);
    assert_eq!(seen(), ["0 get two", "0 record first"]);
    assert_eq!((g.used().0 - rest.0, g.used().1), stored, "charged as it was");
    assert_eq!(
        g.tell("a", "get gone; record 1; record 2"),
        ["0 get ENOENT", "0 record second", "0 record ENOENT"]
    );
    assert_eq!(g.tell("b", "get k"), ["1 get other"]);
    // And once more, over what was added since.
    g.tell("a", "append third; del k; sync");
    let mut g = lost(g);
    assert_eq!(seen(), ["0 get ENOENT", "0 record first"]);
    assert_eq!(g.tell("a", "record 2"), ["0 record third"]);
}

#[test]
fn who_asks_a_guest_that_waits_for_its_store_waits_too() {
    let mut g = Guest::on(machine(), payload());
    let asked = g.p.start("export/a/ctl", What::Write(b"get k".to_vec()));
    g.drive();
    assert_eq!(g.p.result(asked), None);
    let stored = {
        let mut other = anew(folder(b""));
        other.tell("a", "put k one; sync");
        whole(&other.disk.expect("a host").tree)
    };
    g.disk = Some(Disk::open(&mut g.w.fake, folder(&stored)));
    g.drive();
    assert_eq!(g.p.result(asked), Some(Ok(vec![])));
    assert_eq!(seen(), ["0 get one", "0 record ENOENT", "0 get one"]);
}

#[test]
fn a_guest_does_not_start_without_what_it_had_stored() {
    let stored = {
        let mut g = anew(folder(b""));
        g.tell("a", "put-long k 40000; sync");
        whole(&g.disk.expect("a host").tree)
    };
    let mut small = payload();
    small.budget.memory = 40_000;
    let cut = stored[..stored.len() - 1].to_vec();
    for (payload, ram, why) in [
        (payload(), Ram::default(), "no such file"),
        (payload(), folder(b"AKPTxxxx and more of no use at all"), "not what was stored"),
        (payload(), folder(&cut), "in the middle of a frame"),
        (small, folder(&stored), "larger than the guest's budget"),
    ] {
        let mut g = Guest::on(machine(), payload);
        g.disk = Some(Disk::open(&mut g.w.fake, ram));
        g.drive();
        assert_eq!(core(&mut g).exit(), Some(1), "{why}");
        let said = g.w.fake.log.join("\n");
        assert!(said.contains("what was stored cannot be had") && said.contains(why), "{said}");
        assert_eq!(seen(), [""; 0]);
    }
}

#[test]
fn a_host_without_room_refuses_the_sync_and_nothing_is_lost() {
    let mut ram = Ram::new(ram::Budget { bytes: 2000, ..ram::Budget::default() });
    ram.put(".store", b"").expect("room");
    let mut g = anew(ram);
    let rest = g.used();
    g.tell("a", "put k one; sync");
    let lines = g.tell("a", "put-long long 3000; sync");
    assert!(last(&lines).ends_with("ENOSPC"), "{lines:?}");
    assert!(g.w.fake.log.iter().any(|l| l.contains("store: the host does not keep it now")));
    // What waits is paid for, and read all the same.
    assert!(g.used().0 > rest.0 + 6000);
    assert!(last(&g.tell("a", "sync")).ends_with("ENOSPC"));
    assert_eq!(g.tell("a", "get k"), ["0 get one"]);
    let had = folder(&whole(&g.hang_up()));
    // There is room again, on a connection that is another.
    g.disk = Some(Disk::open(&mut g.w.fake, had));
    g.drive();
    assert!(last(&g.tell("a", "del long; sync")).ends_with(" 0 0 "));
    assert_eq!(g.used().0, rest.0 + 64 + 4);
    lost(g);
    assert_eq!(last(&seen()[..1]), "0 get one");
}

#[test]
fn what_the_host_has_not_got_yet_is_paid_for() {
    let mut g = anew(folder(b""));
    g.disk.as_mut().expect("a host").silent = true;
    let before = g.used();
    g.tell("a", "put k one");
    assert_eq!(g.used().0, before.0 + 2 * (64 + 4));
    for n in 0.. {
        let lines = g.tell("a", &format!("put-long {n} 8000"));
        if lines == ["0 put-long ENOSPC"] {
            break;
        }
        assert!(n < 40);
    }
    // That something is taken away is never refused.
    assert_eq!(g.tell("a", "del k; get k"), ["0 get ENOENT"]);
    g.disk.as_mut().expect("a host").silent = false;
    g.drive();
    g.tell("a", "put k two; sync");
    lost(g);
    assert_eq!(seen()[0], "0 get two");
}

#[test]
fn a_spawned_atom_and_a_host_that_keeps_nothing_have_no_sync() {
    let mut g = anew(folder(b""));
    seen();
    g.tell("a", "spawn s start put k one,sync");
    assert_eq!(seen(), [""; 0]);
    assert!(g.tell("a", "send s sync").contains(&"2 sync EOPNOTSUPP".into()));
    let mut none = Guest::new(payload());
    seen();
    assert_eq!(none.tell("a", "put k one; sync"), ["0 sync EOPNOTSUPP"]);
    assert_eq!(whole(&g.disk.expect("a host").tree), b"", "nothing is kept of it");
}

/// A checkpoint with `k one`, of a guest that then went on to `k two`; and what its host has.
fn before_and_after() -> (Vec<u8>, Vec<u8>) {
    let mut g = anew(folder(b""));
    g.tell("a", "put k one; put only-then x; append first; sync");
    let checkpoint = cut(&mut g);
    g.tell("a", "put k two; del only-then; append second; put only-now y; sync");
    (checkpoint, whole(&g.disk.expect("a host").tree))
}

const THEN: [&str; 4] = ["0 get one", "0 get x", "0 get ENOENT", "0 record ENOENT"];
const LOOK: &str = "get k; get only-then; get only-now; record 1";

#[test]
fn a_guest_that_goes_back_takes_its_store_along() {
    let (checkpoint, stored) = before_and_after();
    // It runs, and goes back.
    let mut g = anew(folder(&stored));
    seen();
    go_on(&mut g, &checkpoint).expect("a good checkpoint");
    g.drive();
    assert!(last(&g.tell("a", "sync")).ends_with(" 0 0 "));
    let used = g.used();
    let mut g = lost(g);
    assert_eq!(seen(), ["0 get one", "0 record first"]);
    assert_eq!(g.tell("a", LOOK), THEN);
    assert_eq!(g.used(), used);
    // It is started to go on from there, with what the host had then, or with nothing: a fork.
    for had in [&stored[..], b""] {
        let mut fake = machine();
        fake.holds = true;
        let mut g = Guest::on(fake, payload());
        g.disk = Some(Disk::open(&mut g.w.fake, folder(had)));
        g.drive();
        assert_eq!(seen(), [""; 0]);
        go_on(&mut g, &checkpoint).expect("a good checkpoint");
        g.drive();
        seen();
        g.tell("a", "put later z; sync");
        let mut g = lost(g);
        seen();
        assert_eq!(g.tell("a", LOOK), THEN);
        assert_eq!(g.tell("a", "get later"), ["0 get z"]);
    }
}

#[test]
fn a_sync_that_was_under_way_comes_after_the_checkpoint_too() {
    let mut g = anew(folder(b""));
    g.disk.as_mut().expect("a host").silent = true;
    seen();
    g.tell("a", "put k one; sync");
    let checkpoint = cut(&mut g);
    let mut b = anew(folder(b""));
    seen();
    go_on(&mut b, &checkpoint).expect("a good checkpoint");
    assert_eq!(b.tell("b", "log on"), ["0 #1 0 0 "]);
    lost(b);
    assert_eq!(seen()[0], "0 get one");
    // Where nobody keeps it, it fails.
    let mut c = Guest::new(payload());
    seen();
    go_on(&mut c, &checkpoint).expect("a good checkpoint");
    c.drive();
    assert_eq!(seen(), ["0 #1 0 EOPNOTSUPP"]);
}

/// Lets guest and host do a little.
fn a_little(g: &mut Guest, n: u8) {
    for _ in 0..n {
        atoll_runtime::fake::step_all(&mut g.w.rt, &mut g.w.fake);
        g.p.pump(&mut g.w.fake);
        if let Some(disk) = &mut g.disk {
            disk.pump(&mut g.w.fake);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Puts this many bytes under each of some keys, in one dispatch.
    Put(Vec<(u8, u16)>),
    Del(u8),
    Append(u16),
    Sync,
    /// Goes back to the last checkpoint.
    Back,
    Checkpoint,
    HangUp,
    /// The machine is lost after so much.
    Lost(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec((0..5u8, 0..3000u16), 1..4).prop_map(Step::Put),
        2 => (0..5u8).prop_map(Step::Del),
        2 => (0..2000u16).prop_map(Step::Append),
        3 => Just(Step::Sync),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Back),
        1 => Just(Step::HangUp),
        2 => (0..12u8).prop_map(Step::Lost),
    ]
}

/// What is stored: values by key, and records.
type Stored = (BTreeMap<Vec<u8>, Vec<u8>>, Vec<Vec<u8>>);

fn stored(g: &mut Guest) -> Stored {
    core(g).stored(ComponentId(0)).expect("a component")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn what_is_there_is_what_was_there_at_some_instant_and_no_older_than_the_last_sync(
        steps in proptest::collection::vec((step(), 0..6u8), 1..25),
        bad_wire in any::<bool>(),
    ) {
        let mut fake = machine();
        if bad_wire {
            fake.faults = Faults::HARMLESS;
        }
        let mut g = Guest::on(fake, atoms(&[("a", "")]));
        g.disk = Some(Disk::open(&mut g.w.fake, folder(b"")));
        g.drive();
        // All that it may be after a loss: the last that was sure, and what came since.
        let mut may = vec![stored(&mut g)];
        let mut checkpoint = None;
        for (step, after) in steps {
            let start = |g: &mut Guest, line: String| {
                let asked = g.p.start("export/a/ctl", What::Write(line.into_bytes()));
                // One at a time: of two that come together only the last would be seen here.
                loop {
                    atoll_runtime::fake::step_all(&mut g.w.rt, &mut g.w.fake);
                    let busy = g.p.pump(&mut g.w.fake);
                    if g.p.result(asked).is_some() {
                        break;
                    }
                    match g.w.fake.next_signal() {
                        Some(late) => g.w.fake.now = g.w.fake.now.max(late.0),
                        None if busy => {}
                        None => break,
                    }
                }
            };
            match step {
                Step::Put(all) => {
                    let puts = all.iter().map(|(k, n)| format!("put-long {k} {n}"));
                    start(&mut g, puts.collect::<Vec<_>>().join("; "));
                }
                Step::Del(k) => start(&mut g, format!("del {k}")),
                Step::Append(n) => start(&mut g, format!("append {}", "x".repeat(n.into()))),
                Step::Sync => {
                    g.drive();
                    seen();
                    let done = g.tell("a", "sync");
                    if done.last().is_some_and(|l| l.ends_with(" 0 0 ")) {
                        may = vec![stored(&mut g)];
                    }
                }
                Step::Checkpoint => checkpoint = Some(cut(&mut g)),
                Step::Back => {
                    if let Some(checkpoint) = &checkpoint {
                        go_on(&mut g, checkpoint).expect("a good checkpoint");
                        // As when that comes by a request, something is sent afterwards.
                        start(&mut g, "log back".into());
                    }
                }
                Step::HangUp => {
                    let disk = g.disk.take().expect("a host");
                    g.w.fake.hang_up(disk.conn);
                    g.disk = Some(Disk::open(&mut g.w.fake, disk.tree));
                }
                Step::Lost(n) => {
                    a_little(&mut g, n);
                    may.push(stored(&mut g));
                    let disk = g.disk.take().expect("a host");
                    let had = whole(&disk.tree);
                    let mut fake = machine();
                    fake.faults = g.w.fake.faults;
                    g = Guest::on(fake, atoms(&[("a", "")]));
                    g.disk = Some(Disk::open(&mut g.w.fake, folder(&had)));
                    g.drive();
                    let now = stored(&mut g);
                    prop_assert!(may.contains(&now), "{now:?} is none of {may:?}");
                    (may, checkpoint) = (vec![now], checkpoint);
                }
            }
            seen();
            may.push(stored(&mut g));
            a_little(&mut g, after);
            may.push(stored(&mut g));
        }
        g.drive();
        let (used, stored) = (g.used(), stored(&mut g));
        let disk = g.disk.take().expect("a host");
        let mut again = Guest::on(machine(), atoms(&[("a", "")]));
        again.disk = Some(Disk::open(&mut again.w.fake, folder(&whole(&disk.tree))));
        again.drive();
        let there = self::stored(&mut again);
        prop_assert_eq!(there, stored);
        prop_assert_eq!(again.used().0, used.0, "every charge was given back");
    }
}
