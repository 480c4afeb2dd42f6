//! Many clients, bad clients, and storms of both.

mod common;

use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::ops::What;
use atoll_9p::wire::NOTAG;
use atoll_config::payload::{Budget, Payload};
use atoll_runtime::fake::{Fake, Faults, Peer, World, drive_until, step_all};
use atoll_runtime::platform::{Platform, Signal, Stream};
use common::*;

fn many(sessions: u32) -> World<'static> {
    let budget = Budget { sessions, ..hello().budget };
    world(Payload { budget, ..hello() })
}

fn base(w: &mut World<'_>) {
    let core = w.rt.guest(ONE).expect("a guest");
    let used = core.sponsor.used;
    assert_eq!((used.memory, used.messages, core.queued()), (1024 + 256, 0, 0));
    assert_eq!(w.rt.deadline(), None);
}

#[test]
fn there_is_a_limit_on_sessions() {
    let mut w = many(3);
    let mut peers: Vec<Peer> = (0..4).map(|_| Peer::open(&mut w.fake)).collect();
    step_all(&mut w.rt, &mut w.fake);
    let open: Vec<bool> = peers.iter().map(|p| w.fake.is_open(p.conn)).collect();
    assert_eq!(open, [true, true, true, false]);
    w.fake.hang_up(peers[0].conn);
    step_all(&mut w.rt, &mut w.fake);
    let mut late = Peer::open(&mut w.fake);
    assert_eq!(w.cat(&mut late, "name").expect("a file"), "hello\n");
    assert_eq!(w.cat(&mut peers[1], "name").expect("a file"), "hello\n");
}

#[test]
fn a_connection_that_is_announced_twice_is_one() {
    let mut w = many(2);
    let mut p = Peer::open(&mut w.fake);
    w.fake.signal(Signal::Opened(Stream::Control, p.conn));
    assert_eq!(w.cat(&mut p, "name").expect("a file"), "hello\n");
    let mut q = Peer::open(&mut w.fake);
    assert_eq!(w.cat(&mut q, "name").expect("a file"), "hello\n");
}

#[test]
fn who_hangs_up_takes_all_that_waited_with_it() {
    let mut w = many(16);
    let mut peers: Vec<Peer> = (0..10).map(|_| Peer::open(&mut w.fake)).collect();
    for p in &mut peers {
        for file in ["log", "export/greeter/events", "export/clock/tick"] {
            let fid = p.open_file(file);
            for _ in 0..20 {
                p.read_next(fid);
            }
        }
        w.drive(p);
    }
    assert!(w.rt.deadline().is_some());
    peers.iter().for_each(|p| w.fake.hang_up(p.conn));
    step_all(&mut w.rt, &mut w.fake);
    base(&mut w);
    assert_eq!(w.fake.idles, 0);
}

#[test]
fn a_broken_client_is_answered_and_closed_and_nobody_else_notices() {
    let mut w = many(16);
    let mut good = Peer::open(&mut w.fake);
    for bytes in [&[0xff; 16][..], &[0; 7], &[6, 0, 0, 0, 100, 0, 0]] {
        let conn = w.fake.open(Stream::Control);
        w.fake.push(conn, bytes);
        assert_eq!(w.cat(&mut good, "name").expect("a file"), "hello\n");
        assert!(!w.fake.take(conn).is_empty(), "it says why");
        assert!(!w.fake.is_open(conn));
    }
    // Part of a message, and then nothing more.
    let conn = w.fake.open(Stream::Control);
    w.fake.push(conn, &[100, 0, 0, 0, 100]);
    assert_eq!(w.cat(&mut good, "name").expect("a file"), "hello\n");
    w.fake.hang_up(conn);
    step_all(&mut w.rt, &mut w.fake);
}

#[test]
fn a_guest_itself_speaks_the_languages_of_linux_alone() {
    let mut w = many(16);
    let conn = w.fake.open(Stream::Control);
    for (version, want) in [
        ("9P2000", "unknown"),
        ("9P2000.u", "unknown"),
        ("9P2000.L", "9P2000.L"),
        ("9P2000.L.atoll", "9P2000.L.atoll"),
    ] {
        let mut ask = Vec::new();
        Tmsg::Version { msize: 4096, version }.encode(NOTAG, &mut ask);
        w.fake.push(conn, &ask);
        step_all(&mut w.rt, &mut w.fake);
        let answer = w.fake.take(conn);
        assert_eq!(Rmsg::decode(&answer), Ok(Rmsg::Version { msize: 4096, version: want }));
    }
}

#[test]
fn two_hundred_clients_are_served() {
    let mut w = many(200);
    let mut peers: Vec<Peer> = (0..200).map(|_| Peer::open(&mut w.fake)).collect();
    let mut waiting = Vec::new();
    for p in &mut peers {
        let fid = p.open_file("export/greeter/events");
        waiting.push(p.read_next(fid));
    }
    let all = |w: &mut World<'_>, peers: &mut Vec<Peer>| {
        let mut ends: Vec<_> =
            peers.iter_mut().map(|p| p as &mut dyn atoll_runtime::fake::End).collect();
        w.drive_all(&mut ends);
    };
    all(&mut w, &mut peers);
    w.echo(&mut peers[0], "export/greeter/ctl", "greet all").expect("a good command");
    all(&mut w, &mut peers);
    for (p, tag) in peers.iter_mut().zip(waiting) {
        assert_eq!(p.answer(tag), Some(Ok(b"greet all\n".to_vec())));
    }
}

/// Clients take turns: one with hundreds of requests does not hold off one with one.
#[test]
fn a_burst_is_answered_and_does_not_hold_others_off() {
    let mut w = many(16);
    let (mut a, mut b) = (Peer::open(&mut w.fake), Peer::open(&mut w.fake));
    w.drive_all(&mut [&mut a, &mut b]);
    let ops: Vec<usize> = (0..200).map(|_| a.start("name", What::Read { max: 99 })).collect();
    let op = b.start("version", What::Read { max: 99 });
    atoll_runtime::fake::End::pump(&mut a, &mut w.fake);
    atoll_runtime::fake::End::pump(&mut b, &mut w.fake);
    while let Some(s) = w.fake.poll() {
        w.rt.signal(s, &mut w.fake);
    }
    (0..2).for_each(|_| assert!(w.rt.step(&mut w.fake)));
    atoll_runtime::fake::End::pump(&mut b, &mut w.fake);
    assert!(b.outstanding() > 0 && !b.client.output().is_empty(), "its walk was answered");
    w.drive_all(&mut [&mut a, &mut b]);
    assert_eq!(b.result(op), Some(Ok(b"1\n".to_vec())));
    assert!(ops.into_iter().all(|op| a.result(op) == Some(Ok(b"hello\n".to_vec()))));
}

/// Opening and closing before the guest gets to it leaves no turns behind.
#[test]
fn turns_of_clients_that_are_gone_are_gone() {
    let mut w = many(16);
    step_all(&mut w.rt, &mut w.fake);
    for _ in 0..1000 {
        let mut p = Peer::open(&mut w.fake);
        atoll_runtime::fake::End::pump(&mut p, &mut w.fake);
        while let Some(s) = w.fake.poll() {
            w.rt.signal(s, &mut w.fake);
        }
        w.fake.hang_up(p.conn);
        while let Some(s) = w.fake.poll() {
            w.rt.signal(s, &mut w.fake);
        }
    }
    assert!(!w.rt.step(&mut w.fake), "nothing is left to do");
    base(&mut w);
}

/// A client that stops reading stops itself: what is held for it is bounded, others
/// go on, and once it reads again it misses nothing.
#[test]
fn a_client_that_does_not_read_stops_itself() {
    let mut w = many(16);
    w.fake.room = 1000;
    let (mut deaf, mut good) = (Peer::open(&mut w.fake), Peer::open(&mut w.fake));
    w.drive_all(&mut [&mut deaf, &mut good]);
    deaf.deaf = true;
    let tags: Vec<_> =
        (0..2000).map(|_| deaf.ask(&Tmsg::Getattr { fid: 0, mask: u64::MAX })).collect();
    w.drive_all(&mut [&mut deaf, &mut good]);
    let requests = w.rt.guest(ONE).expect("a guest").counters.requests;
    assert!(requests < 300, "{requests} were handled for somebody who does not read");
    assert_eq!(w.cat(&mut good, "name").expect("a file"), "hello\n");
    deaf.deaf = false;
    w.drive_all(&mut [&mut deaf, &mut good]);
    assert!(tags.into_iter().all(|t| deaf.answer(t) == Some(Ok(Vec::new()))));
}

/// What a client sees of a fixed script; the same through any wire.
fn script(fake: Fake) -> Vec<String> {
    let mut w = world_of(hello(), atoll_runtime::native::BUILT_IN, fake);
    let mut p = Peer::open(&mut w.fake);
    let events = p.open_file("export/greeter/events");
    let tag = p.read_next(events);
    let mut seen = Vec::new();
    for i in 0..5 {
        w.echo(&mut p, "export/greeter/ctl", &format!("greet n{i}")).expect("a good command");
        seen.push(w.cat(&mut p, "export/greeter/greeting").expect("a file"));
        seen.push(w.ls(&mut p, "export").expect("a directory"));
        seen.push(format!("{:?}", w.cat(&mut p, "export/none")));
    }
    seen.push(format!("{:?}", p.answer(tag)));
    w.fake.hang_up(p.conn);
    drive_until(&mut w.rt, &mut w.fake, SECOND, &mut []);
    base(&mut w);
    seen
}

#[test]
fn a_client_cannot_tell_a_bad_wire_from_a_good_one() {
    let good = script(Fake::new(0));
    for seed in 0..100 {
        assert_eq!(script(Fake::new(seed).with(Faults::HARMLESS)), good, "seed {seed}");
    }
}

/// Everything at once: clients that come, ask for anything, stop reading, hang up
/// or are cut off. At the end nobody is connected and nothing is held.
fn storm(seed: u64) -> (Vec<String>, u64, u64) {
    let faults = Faults { close: 3, ..Faults::HARMLESS };
    let mut w = world_of(hello(), atoll_runtime::native::BUILT_IN, Fake::new(seed).with(faults));
    w.fake.room = 500;
    let mut peers: Vec<Peer> = Vec::new();
    for _ in 0..60 {
        match w.fake.below(8) {
            0 | 1 => peers.push(Peer::open(&mut w.fake)),
            2 if !peers.is_empty() => {
                let at = w.fake.below(peers.len());
                w.fake.hang_up(peers.swap_remove(at).conn);
            }
            3 => {
                let bytes: Vec<u8> = (0..20).map(|_| w.fake.below(256) as u8).collect();
                let conn = w.fake.open(Stream::Control);
                w.fake.push(conn, &bytes);
            }
            4 => {
                let at = w.fake.now + w.fake.below(3) as u64 * 700 * MS;
                let mut ends: Vec<_> =
                    peers.iter_mut().map(|p| p as &mut dyn atoll_runtime::fake::End).collect();
                drive_until(&mut w.rt, &mut w.fake, at, &mut ends);
            }
            _ => {
                let at = w.fake.below(peers.len());
                let kind = w.fake.below(6);
                let Some(p) = peers.get_mut(at) else { continue };
                match kind {
                    0 => p.deaf = !p.deaf,
                    1 => _ = p.start("export/greeter/ctl", What::Write(b"greet x".to_vec())),
                    2 => _ = p.start("export/greeter/ctl", What::Write(b"nonsense".to_vec())),
                    3 => _ = p.start("export", What::List { max: 999 }),
                    _ => {
                        let file = ["export/clock/tick", "log", "export/greeter/events"];
                        let fid = p.open_file(file[kind % 3]);
                        p.read_next(fid);
                        p.read_next(fid);
                    }
                }
            }
        }
        let mut ends: Vec<_> =
            peers.iter_mut().map(|p| p as &mut dyn atoll_runtime::fake::End).collect();
        w.drive_all(&mut ends);
        let s = w.rt.guest(ONE).expect("a guest").sponsor;
        assert!(s.used.memory <= s.limit.memory && s.used.messages <= s.limit.messages);
    }
    w.fake.faults = Faults::default();
    for conn in w.fake.open_conns(Stream::Control) {
        w.fake.hang_up(conn);
    }
    drive_until(&mut w.rt, &mut w.fake, 100 * SECOND, &mut []);
    base(&mut w);
    assert_eq!(w.fake.open_conns(Stream::Control), []);
    let c = w.rt.guest(ONE).expect("a guest").counters;
    (w.fake.log, c.requests, c.dispatches)
}

#[test]
fn storms_leave_nothing_behind() {
    (0..300).for_each(|seed| drop(storm(seed)));
}

#[test]
fn the_same_seed_gives_the_same_storm() {
    (0..20).for_each(|seed| assert_eq!(storm(seed), storm(seed)));
}
