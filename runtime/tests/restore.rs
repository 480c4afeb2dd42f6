//! Checkpoints as a host asks for them, through the guest's files: `runtime/MODEL.md` names
//! these tests.

mod common;

use atoll_9p::client::Tag;
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::Tmsg;
use atoll_9p::ops::What;
use atoll_9p::ram::Ram;
use atoll_9p::types::OpenFlags;
use atoll_config::checkpoint::Whole;
use atoll_config::payload::{Hash, OnFault, Payload};
use atoll_runtime::Runtime;
use atoll_runtime::fake::{Fake, Peer, World};
use atoll_runtime::native::BUILT_IN;
use atoll_runtime::platform::Memory;
use atoll_runtime::snapshot::Incoming;
use common::checkpoint::*;
use common::script::*;
use common::*;

const NEW: &str = "checkpoint/new";
const SINCE: &str = "checkpoint/since";
const RESTORE: &str = "checkpoint/restore";
const WANTED: &str = "checkpoint/wanted";

fn two() -> Guest {
    Guest::new(atoms(&[("a", "start random"), ("b", "")]))
}

/// The same guest, which waits for a checkpoint.
fn held() -> Guest {
    let mut fake = Fake::new(7);
    (fake.holds, fake.now) = (true, 5 * SECOND);
    Guest::on(fake, atoms(&[("a", "start random"), ("b", "")]))
}

fn read(g: &mut Guest, path: &str) -> Result<Vec<u8>, Fault> {
    g.w.run(&mut g.p, path, What::Read { max: 1 << 20 }).expect("an answer")
}

fn write(g: &mut Guest, path: &str, bytes: &[u8]) -> Result<(), Fault> {
    let done = g.w.run(&mut g.p, path, What::Write(bytes.to_vec())).expect("an answer");
    g.drive();
    done.map(drop)
}

/// One plain request and its answer.
fn ask(g: &mut Guest, m: &Tmsg<'_>) -> Result<Vec<u8>, Errno> {
    let tag = g.p.ask(m);
    g.drive();
    g.p.answer(tag).expect("an answer").map_err(|f| f.errno)
}

/// Opens a file: its fid.
fn open(g: &mut Guest, path: &str, flags: OpenFlags) -> Result<u32, Errno> {
    let fid = g.p.fid();
    g.p.client.walk(0, fid, path).expect("a short path");
    ask(g, &Tmsg::Lopen { fid, flags }).map(|_| fid)
}

fn errno(done: Result<impl Sized, Fault>) -> Errno {
    done.map(drop).expect_err("a refusal").errno
}

/// The next lines of an open stream.
fn lines(g: &mut Guest, tag: Tag) -> Option<String> {
    g.drive();
    g.p.answer(tag).map(|a| String::from_utf8(a.expect("lines")).expect("text"))
}

#[test]
fn what_is_read_is_what_becomes_of_who_it_is_written_to() {
    let mut a = two();
    a.tell("a", "put k one; grow 9000; fill 8000 some bytes; emit a line; sleep 20; spawn s");
    a.tell("b", "mask -9223372036854775808; add 8 3");
    a.wait(7);
    let checkpoint = read(&mut a, NEW).expect("a checkpoint");
    let mut b = held();
    assert_eq!(write(&mut b, RESTORE, &checkpoint), Ok(()));
    // Everybody is told but who will not be.
    assert_eq!(seen(), ["0 !63 - 0", "2 !63 - 0"]);
    assert_eq!(b.tell("b", "unmask -1").last().map(String::as_str), Some("1 !63 - 0"));
    assert_eq!(b.tell("a", "get k; add 8 0"), ["0 get one", "0 add 3"]);
    assert_eq!(b.tell("a", "sum"), a.tell("a", "sum"));
    // What was left of the sleep is left of it, whatever the machine's time is.
    assert_eq!(b.w.rt.deadline().map(|t| t.0), Some(5 * SECOND + 13));
    b.wait(12);
    assert_eq!(seen(), [] as [String; 0]);
    b.wait(1);
    assert_eq!(seen(), ["0 #1 20 0 "]);
    let said = "0.000000 checkpoint: the guest goes on from 7 ns";
    assert!(b.w.fake.log.iter().any(|line| line == said), "{:?}", b.w.fake.log);
}

#[test]
fn a_guest_that_is_to_go_on_does_nothing_before() {
    let mut a = two();
    a.tell("a", "random");
    let checkpoint = read(&mut a, NEW).expect("a checkpoint");
    let mut b = held();
    assert_eq!(seen(), [] as [String; 0]);
    assert_eq!(b.w.rt.deadline(), None);
    assert_eq!(errno(b.try_tell("a", "random")), Errno::EBUSY);
    assert_eq!(errno(read(&mut b, "export/a/text")), Errno::EBUSY);
    assert_eq!(errno(read(&mut b, NEW)), Errno::EBUSY);
    let refused = write(&mut b, RESTORE, &checkpoint[..checkpoint.len() - 1]);
    assert_eq!(refused, Ok(()), "nobody knows yet that no more comes");
    let mut flipped = checkpoint.clone();
    flipped[200] ^= 1;
    assert_eq!(errno(write(&mut b, RESTORE, &flipped)), Errno::EINVAL);
    assert_eq!(errno(read(&mut b, "export/a/text")), Errno::EBUSY);
    assert_eq!(write(&mut b, RESTORE, &checkpoint), Ok(()));
    // It has started long ago.
    assert_eq!(seen(), ["0 !63 - 0", "1 !63 - 0"]);
    let next = a.tell("a", "random");
    assert_eq!(b.tell("a", "random"), next);
}

#[test]
fn an_increment_on_its_base_is_the_whole() {
    let mut g = two();
    g.tell("a", "grow 40000; fill 9000 x; spawn s; put k v");
    assert_eq!(errno(read(&mut g, SINCE)), Errno::ENODATA);
    let whole = |bytes: &[u8]| Whole::read(bytes, 1 << 20).expect("a good checkpoint");
    let mut base = whole(&read(&mut g, NEW).expect("a checkpoint"));
    let acts = [
        "fill 30000 some bytes; del k",
        "fill 9000 y; kill s; spawn t",
        // Nothing has changed but the number of a dispatch.
        "random",
        "trap",
        "grow 9000; fill 10000 z; send t grow 5000",
        "fill 0 abc",
    ];
    for (i, act) in acts.into_iter().enumerate() {
        let _ = g.try_tell("a", act);
        if i % 2 == 0 {
            // One that is given up is no base, and what had changed by then has changed.
            let fid = open(&mut g, NEW, OpenFlags::RDONLY).expect("a checkpoint");
            assert!(ask(&mut g, &Tmsg::Read { fid, offset: 0, count: 100 }).is_ok());
            assert_eq!(ask(&mut g, &Tmsg::Clunk { fid }), Ok(vec![]));
        }
        let cut = read(&mut g, SINCE).expect("an increment");
        let since = whole(&cut);
        assert_eq!(since.header.base, Some(base.hash));
        if act == "random" {
            assert!(since.components.values().all(|c| c.chunks.is_empty()), "{since:?}");
        }
        base = base.compose(since).expect("its base");
        // All of the same guest; but the requests that ask for it are counted.
        let all = whole(&bytes(&core(&mut g).cut(false).expect("a checkpoint")));
        assert_eq!(base.components, all.components, "after {act}");
        // An increment alone is nothing to go on from.
        assert_eq!(errno(write(&mut g, RESTORE, &cut)), Errno::EINVAL);
    }
    let (bytes, _) = base.write();
    assert_eq!(write(&mut held(), RESTORE, &bytes), Ok(()));
}

#[test]
fn bytes_that_are_no_checkpoint_change_nothing() {
    let mut g = two();
    g.tell("a", "grow 9000; fill 8000 some bytes; sleep 20; lock 1; put k v; spawn s");
    g.tell("b", "lock 1; ask a; send a random");
    let good = cut(&mut g);
    g.tell("a", "put k w; fill 8000 other");
    let was = state(&mut g);
    let mut refused = |bytes: &[u8]| {
        let mut incoming = Incoming::default();
        match incoming.feed(core(&mut g), bytes) {
            Ok(whole) => assert!(!whole && incoming.take().is_none()),
            Err(fault) => {
                // The second is what a script says whose state asks for too much.
                assert!([Errno::EINVAL, Errno::ENOMEM].contains(&fault.errno), "{fault}");
                assert!(incoming.take().is_none());
                assert_eq!(errno(incoming.feed(core(&mut g), &[0])), fault.errno);
            }
        }
        assert_eq!(state(&mut g), was);
    };
    for end in 0..good.len() {
        refused(&good[..end]);
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        refused(&bad);
    }
    refused(&[&good[..], &[0]].concat());
    // Sound in itself, and of something else.
    let whole = || Whole::read(&good, 1 << 20).expect("a good checkpoint");
    let change = |f: fn(&mut Whole)| {
        let mut other = whole();
        f(&mut other);
        other.write().0
    };
    for (f, why) in [
        ((|w| w.header.payload = Hash([8; 32])) as fn(&mut Whole), "another payload"),
        (|w| w.header.base = Some(Hash([8; 32])), "only what changed"),
        (|w| w.version += 1, "its state has version"),
        (|w| w.state.truncate(w.state.len() - 1), "its bytes end"),
        (|w| w.state.push(0), "1 bytes follow"),
        (|w| w.state.clear(), "its bytes end"),
        (|w| w.state.resize(9 << 20, 0), "its state is larger"),
        (|w| drop(w.components.remove(&1)), "out of order"),
        (|w| drop(w.components.pop_last()), "is missing"),
        (|w| drop(w.components.insert(7, Default::default())), "out of order"),
        (|w| w.components.get_mut(&0).unwrap().memory += 4096, "bytes of memory"),
        (|w| w.components.get_mut(&0).unwrap().name = "b".into(), "another name"),
    ] {
        let bad = change(f);
        let fault = write(&mut g, RESTORE, &bad).expect_err("a refusal");
        assert!(fault.text().contains(why), "{why}: {fault}");
        assert_eq!(fault.errno, Errno::EINVAL);
        assert_eq!(state(&mut g), was);
    }
    assert_eq!(write(&mut g, RESTORE, &good), Ok(()));
    seen();
    assert_eq!(g.tell("a", "get k"), ["0 get v"]);
}

#[test]
fn a_guest_that_runs_becomes_another_and_its_clients_stay() {
    let mut g = two();
    let mut ram = Ram::default();
    ram.mkdir("data").expect("a directory");
    g.disk = Some(Disk::open(&mut g.w.fake, ram));
    g.tell("a", "emit one; emit two; put k v");
    let checkpoint = read(&mut g, NEW).expect("a checkpoint");
    let (log, events) = (g.p.open_file("atom/a/log"), g.p.open_file("export/a/events"));
    let tag = g.p.read_next(events);
    assert_eq!(lines(&mut g, tag).as_deref(), Some("one\ntwo\n"));
    g.tell("a", "emit three; put k w; open /data/f 66; spawn s");
    let tag = g.p.read_next(events);
    assert_eq!(lines(&mut g, tag).as_deref(), Some("three\n"));
    g.disk.as_mut().expect("a host").silent = true;
    g.tell("a", "cat /data/f 0 9");
    let waits = g.p.read_next(events);
    g.drive();
    seen();
    assert_eq!(write(&mut g, RESTORE, &checkpoint), Ok(()));
    // What it had asked of the host is nobody's, and what it had open is closed.
    g.disk.as_mut().expect("a host").silent = false;
    g.drive();
    assert_eq!(seen(), ["0 !63 - 0", "1 !63 - 0", "0 watched 2 true"]);
    assert_eq!(g.disk.as_ref().map(Disk::fids), Some(1));
    assert_eq!(lines(&mut g, waits).as_deref(), Some("gap 1\n"));
    let tag = g.p.read_next(events);
    assert_eq!(lines(&mut g, tag).as_deref(), Some("one\ntwo\n"));
    let tag = g.p.read_next(log);
    assert_eq!(lines(&mut g, tag).as_deref(), Some("gap 1\n"));
    assert_eq!(g.tell("a", "get k; emit four; close 0"), ["0 get v", "0 close EBADF"]);
    let tag = g.p.read_next(events);
    assert_eq!(lines(&mut g, tag).as_deref(), Some("four\n"));
    assert_eq!(g.tell("a", "ls /data").last().map(String::as_str), Some("0 #1 0 0 f\n"));
    for fid in [log, events] {
        assert_eq!(ask(&mut g, &Tmsg::Clunk { fid }), Ok(vec![]));
    }
    assert_eq!(seen(), ["0 watched 2 false"]);
}

#[test]
fn what_the_host_had_not_answered_is_asked_again_or_fails() {
    let mut a = two();
    let disk = || {
        let mut ram = Ram::default();
        ram.mkdir("data").expect("a directory");
        ram
    };
    a.disk = Some(Disk::open(&mut a.w.fake, disk()));
    a.drive();
    a.tell("a", "open /data/f 66; open /data/g 66");
    a.tell("a", "echo /data/g -1 text");
    a.disk.as_mut().expect("a host").silent = true;
    a.tell("b", "cat /data/g 0 9; lose; cat /data/g 0 3");
    a.tell("a", "cat /data/g 0 9; echo /data/g 0 new; ls /data; read 0 0 9; open /data/g 0");
    let checkpoint = read(&mut a, NEW).expect("a checkpoint");
    let mut b = held();
    b.disk = Some(Disk::open(&mut b.w.fake, a.hang_up()));
    seen();
    assert_eq!(write(&mut b, RESTORE, &checkpoint), Ok(()));
    let mut happened = seen();
    happened.sort();
    assert_eq!(
        happened,
        [
            "0 !63 - 0",
            "0 #10 0 ESTALE",
            "0 #6 0 0 text",
            "0 #7 0 ESTALE",
            "0 #8 0 0 f\ng\n",
            "0 #9 0 0 ",
            "1 !63 - 0",
            "1 #5 0 0 tex",
        ]
    );
    let tell = |b: &mut Guest, line| b.tell("a", line).pop().expect("a line");
    assert_eq!(tell(&mut b, "read 0 0 9"), "0 #11 0 0 ");
    assert_eq!(tell(&mut b, "read 1 0 9"), "0 #12 0 0 text");
    assert_eq!(tell(&mut b, "close 0; close 0"), "0 close EBADF");
    assert_eq!(tell(&mut b, "open /data/g 0"), "0 #13 0 0 [0]");
    assert_eq!(tell(&mut b, "read 0 0 9"), "0 #14 0 0 text");
}

#[test]
fn a_guest_that_never_had_a_host_asks_the_first_one() {
    let mut a = two();
    a.tell("a", "cat /data/g 0 9; echo /data/g -1 text");
    let checkpoint = read(&mut a, NEW).expect("a checkpoint");
    let mut b = held();
    assert_eq!(write(&mut b, RESTORE, &checkpoint), Ok(()));
    seen();
    let mut ram = Ram::default();
    ram.mkdir("data").expect("a directory");
    b.disk = Some(Disk::open(&mut b.w.fake, ram));
    b.drive();
    // The write was never sent, so it is done, once.
    assert_eq!(seen(), ["0 #1 0 ENOENT", "0 #2 0 ENOENT"]);
}

#[test]
fn who_keeps_checkpoints_hears_what_the_guest_wants() {
    let mut g = two();
    let ctl = |g: &mut Guest, line: &str| write(g, "ctl", line.as_bytes());
    for line in ["checkpoint", "restore 3"] {
        let fault = ctl(&mut g, line).expect_err("nobody keeps any");
        assert_eq!(fault.errno, Errno(6));
        assert!(fault.text().contains("--state DIR"), "{fault}");
    }
    assert_eq!(errno(ctl(&mut g, "restore")), Errno::EINVAL);
    let wanted = g.p.open_file(WANTED);
    let tag = g.p.read_next(wanted);
    assert_eq!(lines(&mut g, tag), None);
    assert_eq!(ctl(&mut g, "checkpoint"), Ok(()));
    assert_eq!(lines(&mut g, tag).as_deref(), Some("checkpoint 1\n"));
    let first = read(&mut g, NEW).expect("a checkpoint");
    for line in ["checkpoint", "restore 1"] {
        assert_eq!(ctl(&mut g, line), Ok(()));
    }
    let tag = g.p.read_next(wanted);
    assert_eq!(lines(&mut g, tag).as_deref(), Some("checkpoint 2\nrestore 1\n"));
    // A number is given once, also by a guest that was put back.
    assert_eq!(write(&mut g, RESTORE, &first), Ok(()));
    assert_eq!(ctl(&mut g, "checkpoint"), Ok(()));
    let tag = g.p.read_next(wanted);
    assert_eq!(lines(&mut g, tag).as_deref(), Some("checkpoint 3\n"));
    // A guest that goes on elsewhere knows the numbers that it gave.
    let last = read(&mut g, NEW).expect("a checkpoint");
    let mut b = held();
    let wanted = b.p.open_file(WANTED);
    let tag = b.p.read_next(wanted);
    assert_eq!(write(&mut b, RESTORE, &last), Ok(()));
    assert_eq!(ctl(&mut b, "checkpoint"), Ok(()));
    assert_eq!(lines(&mut b, tag).as_deref(), Some("checkpoint 4\n"));
}

#[test]
fn a_guest_that_is_told_to_stop_waits_for_its_last_checkpoint() {
    let ctl = |g: &mut Guest, line: &str| write(g, "ctl", line.as_bytes());
    // Nobody keeps any: it ends at once.
    let mut g = two();
    assert_eq!(ctl(&mut g, "stop 3"), Ok(()));
    assert_eq!(core(&mut g).exit(), Some(3));

    let mut g = two();
    let wanted = g.p.open_file(WANTED);
    let tag = g.p.read_next(wanted);
    assert_eq!(errno(ctl(&mut g, "stop 64")), Errno::EINVAL);
    assert_eq!(ctl(&mut g, "stop 3"), Ok(()));
    assert_eq!(lines(&mut g, tag).as_deref(), Some("stop 1 3\n"));
    // It goes on meanwhile, and what it does is in the checkpoint.
    assert_eq!(g.tell("a", "put k v; get k").last().map(String::as_str), Some("0 get v"));
    let last = read(&mut g, NEW).expect("a checkpoint");
    assert_eq!(core(&mut g).exit(), None);
    assert_eq!(ctl(&mut g, "stop 3"), Ok(()));
    assert_eq!(core(&mut g).exit(), Some(3));
    // Who goes on from it is not about to end.
    let mut b = held();
    let wanted = b.p.open_file(WANTED);
    let tag = b.p.read_next(wanted);
    assert_eq!(write(&mut b, RESTORE, &last), Ok(()));
    assert_eq!(b.tell("a", "get k").last().map(String::as_str), Some("0 get v"));
    assert_eq!(ctl(&mut b, "stop"), Ok(()));
    assert_eq!(lines(&mut b, tag).as_deref(), Some("stop 2 0\n"));
    // Nor does it wait for long: he who says it twice has had enough.
    assert_eq!(ctl(&mut b, "stop 1"), Ok(()));
    assert_eq!(core(&mut b).exit(), Some(1));
    // One that rests has nothing to keep.
    let mut c = held();
    let wanted = c.p.open_file(WANTED);
    c.p.read_next(wanted);
    assert_eq!(ctl(&mut c, "stop 4"), Ok(()));
    assert_eq!(core(&mut c).exit(), Some(4));
}

/// A guest that goes back when a dispatch is abandoned.
fn goes_back() -> Guest {
    Guest::new(Payload { on_fault: OnFault::Restore, ..atoms(&[("a", ""), ("b", "")]) })
}

#[test]
fn a_fault_puts_the_whole_guest_back() {
    let mut g = goes_back();
    let wanted = g.p.open_file(WANTED);
    let tag = g.p.read_next(wanted);
    g.tell("a", "put k old");
    g.tell("b", "put k old");
    let kept = read(&mut g, NEW).expect("a checkpoint");
    g.tell("a", "put k new");
    seen();
    // One atom fails, and both are as they were; until then nothing happens.
    assert!(g.try_tell("b", "put k new; trap").is_err());
    assert_eq!(lines(&mut g, tag).as_deref(), Some("back\n"));
    assert!(g.w.fake.log.iter().any(|l| l.contains("the guest goes back")));
    assert_eq!(errno(write(&mut g, "ctl", b"checkpoint")), Errno::EBUSY);
    assert_eq!(errno(read(&mut g, NEW)), Errno::EBUSY);
    assert_eq!(errno(g.try_tell("a", "get k")), Errno::EBUSY);
    assert_eq!(write(&mut g, RESTORE, &kept), Ok(()));
    assert_eq!(g.tell("a", "get k").last().map(String::as_str), Some("0 get old"));
    assert_eq!(g.tell("b", "get k"), ["1 get old"]);
    // It goes on, and back again; to the same one eight times at most.
    for _ in 0..7 {
        let tag = g.p.read_next(wanted);
        assert!(g.try_tell("b", "trap").is_err());
        assert!(lines(&mut g, tag).expect("a line").ends_with("back\n"));
        assert_eq!(write(&mut g, RESTORE, &kept), Ok(()));
    }
    assert!(read(&mut g, NEW).is_ok());
    for _ in 0..8 {
        assert!(g.try_tell("b", "trap").is_err());
        assert_eq!(write(&mut g, RESTORE, &kept), Ok(()));
    }
    assert!(g.w.rt.exit().is_none());
    assert!(g.try_tell("b", "trap").is_err());
    assert_eq!(g.w.rt.exit().map(|e| e.status), Some(1));
}

#[test]
fn a_guest_without_a_checkpoint_stops_at_a_fault() {
    for (keeper, says) in [(false, "nobody keeps checkpoints"), (true, "it has no checkpoint")] {
        let mut g = goes_back();
        if keeper {
            let wanted = g.p.open_file(WANTED);
            g.p.read_next(wanted);
        } else {
            read(&mut g, NEW).expect("a checkpoint");
        }
        assert!(g.try_tell("a", "trap").is_err());
        assert_eq!(g.w.rt.exit().map(|e| e.status), Some(1));
        assert!(g.w.fake.log.iter().any(|l| l.contains(says)), "{:?}", g.w.fake.log);
    }
}

#[test]
fn one_checkpoint_is_under_way_at_a_time_and_takes_what_there_is() {
    let mut g = two();
    let new = open(&mut g, NEW, OpenFlags::RDONLY).expect("a checkpoint");
    for (path, flags) in
        [(NEW, OpenFlags::RDONLY), (SINCE, OpenFlags::RDONLY), (RESTORE, OpenFlags::WRONLY)]
    {
        assert_eq!(open(&mut g, path, flags), Err(Errno::EBUSY));
    }
    // It shows the guest as it was, piece by piece and again.
    let at = |g: &mut Guest, offset| ask(g, &Tmsg::Read { fid: new, offset, count: 50 });
    let first = at(&mut g, 0).expect("bytes");
    g.tell("a", "put k v");
    assert_eq!(at(&mut g, 0), Ok(first.clone()));
    assert_eq!(at(&mut g, 10).expect("bytes")[..40], first[10..]);
    assert_eq!(at(&mut g, 1 << 40), Ok(vec![]));
    assert_eq!(ask(&mut g, &Tmsg::Clunk { fid: new }), Ok(vec![]));
    let fid = open(&mut g, RESTORE, OpenFlags::WRONLY).expect("nothing is under way");
    assert_eq!(open(&mut g, NEW, OpenFlags::RDONLY), Err(Errno::EBUSY));
    let good = cut(&mut g);
    let write = |g: &mut Guest, offset: usize, data: &[u8]| {
        ask(g, &Tmsg::Write { fid, offset: offset as u64, data, op: None }).map(drop)
    };
    assert_eq!(write(&mut g, 0, &good[..100]), Ok(()));
    assert_eq!(write(&mut g, 200, &good[200..210]), Err(Errno::EINVAL));
    assert_eq!(write(&mut g, 50, &good[50..100]), Ok(()), "what is there is there");
    assert_eq!(write(&mut g, 100, &good[100..]), Ok(()));
    assert_eq!(seen(), ["0 !63 - 0", "1 !63 - 0"]);
    assert_eq!(write(&mut g, good.len(), b"x"), Err(Errno::EINVAL));
    assert_eq!(write(&mut g, 100, &good[100..]), Ok(()));
    assert_eq!(seen(), [] as [String; 0]);
    // A client that goes leaves nothing behind.
    g.clients_anew();
    for (path, flags) in
        [(NEW, OpenFlags::WRONLY), (RESTORE, OpenFlags::RDONLY), (RESTORE, OpenFlags::RDWR)]
    {
        assert!(open(&mut g, path, flags).is_err() || flags == OpenFlags::RDWR, "{path}");
    }
    g.clients_anew();
    g.w.fake.memory = Memory { total: 4 << 20, used: (4 << 20) - 100, peak: 0 };
    let fault = read(&mut g, NEW).expect_err("there is no memory");
    assert_eq!(fault.errno, Errno::ENOMEM);
    assert_eq!(errno(self::write(&mut g, RESTORE, &good)), Errno::EINVAL);
    g.w.fake.memory.used = 0;
    assert!(read(&mut g, NEW).is_ok());
    assert_eq!(g.w.echo(&mut g.p, "ctl", "stop"), Ok(()));
}

#[test]
fn built_in_components_go_on_too() {
    let payload = || -> Payload<'static> {
        let mut payload = atoms(&[("a", "")]);
        payload.components.push(component("clock", "clock", &[]));
        payload.components.push(component("greeter", "greeter", &[]));
        payload.on_fault = OnFault::Stop;
        payload
    };
    let mut a = Guest::on(Fake::new(1), payload());
    let tick = a.p.open_file("export/clock/tick");
    let tag = a.p.read_next(tick);
    a.wait(1500 * MS);
    assert!(lines(&mut a, tag).is_some());
    let checkpoint = read(&mut a, NEW).expect("a checkpoint");
    let mut fake = Fake::new(7);
    (fake.holds, fake.now, fake.wall) = (true, 7 * MS, 9 * SECOND);
    let mut b = Guest::on(fake, payload());
    assert_eq!(write(&mut b, RESTORE, &checkpoint), Ok(()));
    // Nobody reads here: the clock hears that and rests.
    assert_eq!(b.w.rt.deadline(), None);
    assert_eq!(b.w.cat(&mut b.p, "export/clock/uptime").as_deref(), Ok("1.500\n"));
    // The time of day is that of the machine.
    let now = b.w.cat(&mut b.p, "export/clock/now").expect("a file");
    assert_eq!(now, "1970-01-01T00:00:09.007Z\n");
    let tick = b.p.open_file("export/clock/tick");
    let tag = b.p.read_next(tick);
    b.wait(499 * MS);
    assert_eq!(lines(&mut b, tag), None);
    b.wait(MS);
    assert_eq!(lines(&mut b, tag).as_deref(), Some("2 1970-01-01T00:00:09.507Z\n"));
}

#[test]
fn a_guest_without_atoms_has_no_such_files() {
    let mut w = World { rt: Runtime::new(BUILT_IN, None), fake: Fake::new(1) };
    w.rt.add(hello(), HASH, 0, &mut w.fake).expect("a sound payload");
    let mut p = Peer::open(&mut w.fake);
    assert_eq!(errno(w.cat(&mut p, NEW)), Errno::ENOENT);
    assert_eq!(errno(w.echo(&mut p, "ctl", "checkpoint")), Errno::EINVAL);
}
