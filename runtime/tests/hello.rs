//! A guest as its clients see it.

mod common;

use atoll_9p::fault::Errno;
use atoll_9p::ops::What;
use atoll_9p::record::{Of, Record};
use atoll_runtime::fake::{Fake, Peer, drive_until};
use atoll_runtime::platform::{Exit, Memory, Signal};
use atoll_runtime::records::{Account, Component, Mem, State, Stats, Status};
use common::*;

#[test]
fn its_tree_is_listed_and_read() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    let root = w.ls(&mut p, "").expect("a directory");
    assert_eq!(
        root,
        "name\nversion\nctl\nstatus\nstats\nmem\nsponsor\nns\nlog\ncomponent/\nexport/\nrec/\n"
    );
    assert_eq!(w.ls(&mut p, "export").expect("a directory"), "motd\nabout/\ngreeter/\nclock/\n");
    assert_eq!(w.cat(&mut p, "export/motd").expect("a file"), "Everything here is a file.\n");
    assert_eq!(w.cat(&mut p, "export/about/license").expect("a file"), "MIT OR Apache-2.0\n");
    assert_eq!(w.cat(&mut p, "export/nothing").expect_err("no file").errno, Errno::ENOENT);
    assert_eq!(w.cat(&mut p, "name").expect("a file"), "hello\n");
    assert_eq!(w.cat(&mut p, "version").expect("a file"), "1\n");
    assert_eq!(w.cat(&mut p, "ns").expect("a file"), "");
    assert_eq!(
        w.cat(&mut p, "mem").expect("a file"),
        "total 4194304\nused 1048576\npeak 2097152\n"
    );
    let status = w.cat(&mut p, "status").expect("a file");
    assert!(status.starts_with("state running\nuptime_ms 0\npayload 0707"), "{status}");
    let about = w.cat(&mut p, "component/greeter/status").expect("a file");
    assert!(about.starts_with("kind greeter\nstate_version 1\n"), "{about}");
    assert_eq!(w.cat(&mut p, "export/clock/now").expect("a file"), "2023-11-14T22:13:20.000Z\n");
}

#[test]
fn a_mount_table_is_shown_as_ns_prints_it() {
    let mut w = world(reader(""));
    let mut p = Peer::open(&mut w.fake);
    assert_eq!(w.cat(&mut p, "ns").expect("a file"), "mount /host/data /data\n");
}

#[test]
fn a_command_changes_the_state_and_tells_those_who_wait() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    let events = p.open_file("export/greeter/events");
    let tag = p.read_next(events);
    w.drive(&mut p);
    assert_eq!(p.answer(tag), None, "nothing has happened yet");
    let steps = w.cat(&mut p, "export/greeter/greeting").expect("a file");
    assert_eq!(steps, "Hello, world!\n");
    w.echo(&mut p, "export/greeter/ctl", "greet  wide world \n").expect("a good command");
    assert_eq!(p.answer(tag), Some(Ok(b"greet wide world\n".to_vec())));
    assert_eq!(w.cat(&mut p, "export/greeter/greeting").expect("a file"), "Hello, wide world!\n");
    assert_eq!(w.cat(&mut p, "export/greeter/count").expect("a file"), "1\n");
    w.echo(&mut p, "export/greeter/ctl", "reset").expect("a good command");
    assert_eq!(w.cat(&mut p, "export/greeter/greeting").expect("a file"), "Hello, world!\n");
    assert_eq!(w.fake.idles, 0);
}

#[test]
fn a_bad_command_echoes_its_line_and_changes_nothing() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    let long = format!("greet {}", "x".repeat(65));
    for line in ["greet", "shout world", "reset now", &long, "", "greet a\nreset"] {
        let fault = w.echo(&mut p, "export/greeter/ctl", line).expect_err("a bad command");
        assert_eq!(fault.errno, Errno::EINVAL, "{line}");
        let first: String = line.chars().take(30).collect();
        assert!(line.contains('\n') || fault.text().contains(&first), "{fault}");
    }
    assert_eq!(w.cat(&mut p, "export/greeter/count").expect("a file"), "0\n");
    assert_eq!(w.cat(&mut p, "export/greeter/greeting").expect("a file"), "Hello, world!\n");
}

#[test]
fn only_what_is_exported_for_writing_takes_commands() {
    let writes = |writable: &[&'static str]| {
        let payload = atoll_config::payload::Payload { writable: writable.to_vec(), ..hello() };
        let mut w = world(payload);
        let mut p = Peer::open(&mut w.fake);
        w.echo(&mut p, "export/greeter/ctl", "greet you").map_err(|f| f.errno)
    };
    for yes in [&[""][..], &["greeter"], &["greeter/ctl"], &["clock", "greeter"]] {
        assert_eq!(writes(yes), Ok(()), "{yes:?}");
    }
    for no in [
        &[][..],
        &["clock"],
        &["greeter/greeting"],
        &["greet"],
        &["greeter/ctl/x"],
        &["ctl"],
        &["/greeter/"],
    ] {
        assert_eq!(writes(no), Err(Errno::EACCES), "{no:?}");
    }
}

#[test]
fn the_guests_log_is_followed() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    let log = p.open_file("log");
    let tag = p.read_next(log);
    w.drive(&mut p);
    assert_eq!(p.answer(tag), None);
    // A line of the machine's own wakes the reader too, whenever it comes.
    w.fake.machine_log.push("virtio: a line".into());
    w.drive(&mut p);
    assert_eq!(p.answer(tag), Some(Ok(b"virtio: a line\n".to_vec())));
    let tag = p.read_next(log);
    w.drive(&mut p);
    w.rt.guest(ONE).expect("a guest").say("embedder", "two\nlines");
    w.drive(&mut p);
    assert_eq!(p.answer(tag), Some(Ok(b"0.000000 embedder: two lines\n".to_vec())));
    assert_eq!(w.fake.log, ["0.000000 embedder: two lines"]);
}

#[test]
fn the_log_shows_when_something_was_said() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    drive_until(&mut w.rt, &mut w.fake, 90 * SECOND, &mut [&mut p]);
    w.fake.signal(Signal::Stop);
    w.drive(&mut p);
    assert_eq!(w.fake.log, ["90.000000 machine: stop"]);
}

#[test]
fn what_is_a_record_is_bytes_too() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    assert_eq!(
        w.ls(&mut p, "rec").expect("a directory"),
        "status\nstats\nmem\nsponsor\ncomponent/\nschema\n"
    );
    let mut bytes = |path: &str| {
        let path = format!("rec/{path}");
        w.run(&mut p, &path, What::Read { max: 4096 }).expect("an answer").expect("a file")
    };
    let status = Status::from_wire(&bytes("status")).expect("a status");
    assert_eq!((status.state, status.payload, status.components), (State::Running, [7; 32], 2));
    let mem = Mem::from_wire(&bytes("mem")).expect("a mem");
    assert_eq!(mem, Mem { total: 4 << 20, used: 1 << 20, peak: 2 << 20 });
    let stats = Stats::from_wire(&bytes("stats")).expect("stats");
    assert!(stats.requests > 0 && stats.machine.0.contains(&("wires".into(), 1)), "{stats:?}");
    let account = Account::from_wire(&bytes("sponsor")).expect("an account");
    assert_eq!(account.messages, Of { used: 0, limit: 256 });
    let greeter = bytes("component/greeter/status");
    let greeter = Component::from_wire(&greeter).expect("a component's status");
    assert_eq!((&*greeter.kind, greeter.state_version), ("greeter", 1));
    let schema = String::from_utf8(bytes("schema")).expect("text");
    assert!(schema.starts_with("file status\nrecord status 1\nfield state choice<"), "{schema}");
    // The text says the same.
    let text = w.cat(&mut p, "component/greeter/status").expect("a file");
    assert_eq!(Component::from_text(&text).expect("a component's status"), greeter);
    let text = w.cat(&mut p, "stats").expect("a file");
    assert!(Stats::from_text(&text).expect("stats").requests > stats.requests, "{text}");
}

#[test]
fn figures_are_those_of_the_moment() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    w.fake.memory = Memory { total: 9, used: 8, peak: 7 };
    assert_eq!(w.cat(&mut p, "mem").expect("a file"), "total 9\nused 8\npeak 7\n");
    let stats = w.cat(&mut p, "stats").expect("a file");
    assert!(stats.contains("\nwires 1\n") && stats.contains("abandoned 0\n"), "{stats}");
    let _second = Peer::open(&mut w.fake);
    assert!(w.cat(&mut p, "stats").expect("a file").contains("\nwires 2\n"));
    let sponsor = w.cat(&mut p, "sponsor").expect("a file");
    assert!(sponsor.starts_with("memory 1280 of 524288\nmessages 0 of 256\ncpu_ns "), "{sponsor}");
}

/// The machine is asked for its CPU time once a step while it is busy, and for its
/// figures only when a request may show them.
#[test]
fn the_machine_is_not_asked_more_than_needed() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    w.cat(&mut p, "name").expect("a file");
    let (cpu, stats) = (w.fake.cpu_asked, w.fake.stats_asked);
    let core = w.rt.guest(ONE).expect("a guest");
    let (requests, used) = (core.counters.requests, core.sponsor.cpu);
    let ops: Vec<usize> = (0..50).map(|_| p.start("name", What::Read { max: 99 })).collect();
    w.drive(&mut p);
    assert!(ops.into_iter().all(|op| p.result(op).is_some()));
    let core = w.rt.guest(ONE).expect("a guest");
    let done = core.counters.requests - requests;
    assert_eq!(core.sponsor.cpu - used, done * w.fake.cost, "every step is charged, to the full");
    assert!(w.fake.cpu_asked - cpu <= done + 20, "{} for {done}", w.fake.cpu_asked - cpu);
    assert!(w.fake.stats_asked - stats <= done);
}

#[test]
fn stop_ends_it_with_the_status_asked_for() {
    for (line, status) in [("stop", 0), ("stop 7", 7), ("stop 63", 63)] {
        let mut w = world(hello());
        let mut p = Peer::open(&mut w.fake);
        let op = p.start("ctl", What::Write(line.as_bytes().to_vec()));
        w.drive(&mut p);
        assert_eq!(p.result(op), Some(Ok(Vec::new())));
        assert_eq!(w.rt.exit(), Some(Exit { status }));
        assert_eq!(w.rt.serve(&mut w.fake), Exit { status });
        assert_eq!(w.fake.idles, 0);
    }
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    for line in ["stop 64", "stop -1", "stop x", "stop 1 2", "stop 99999999999999999999"] {
        let fault = w.echo(&mut p, "ctl", line).expect_err("a bad command");
        assert!(fault.errno == Errno::EINVAL && fault.text().contains(line), "{fault}");
    }
    assert_eq!(w.rt.exit(), None);
}

#[test]
fn the_last_answer_and_the_last_line_are_delivered_before_the_end() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    let log = p.open_file("log");
    let tag = p.read_next(log);
    w.drive(&mut p);
    let ctl = p.fid();
    p.client.walk(0, ctl, "ctl").expect("a short path");
    let flags = atoll_9p::types::OpenFlags::WRONLY;
    p.ask(&atoll_9p::msg::Tmsg::Lopen { fid: ctl, flags });
    let write =
        p.ask(&atoll_9p::msg::Tmsg::Write { fid: ctl, offset: 0, data: b"stop 3", op: None });
    atoll_runtime::fake::End::pump(&mut p, &mut w.fake);
    assert_eq!(w.rt.serve(&mut w.fake), Exit { status: 3 });
    atoll_runtime::fake::End::pump(&mut p, &mut w.fake);
    assert_eq!(p.answer(write), Some(Ok(Vec::new())));
    assert_eq!(p.answer(tag), Some(Ok(b"0.000000 ctl: stop 3\n".to_vec())));
}

#[test]
fn a_client_that_never_reads_cannot_keep_it_from_ending() {
    let mut w = world(hello());
    w.fake.room = 100;
    let mut p = Peer::open(&mut w.fake);
    p.deaf = true;
    for _ in 0..200 {
        p.open_file("export/greeter/greeting");
    }
    w.drive(&mut p);
    w.fake.signal(Signal::Stop);
    assert_eq!(w.rt.serve(&mut w.fake), Exit { status: 0 });
    assert_eq!(w.fake.now, 100 * MS);
    assert!(w.fake.idles <= 2);
}

#[test]
fn nothing_is_dispatched_once_it_has_ended() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    let tick = p.open_file("export/clock/tick");
    p.read_next(tick);
    w.drive(&mut p);
    assert!(w.rt.deadline().is_some());
    w.echo(&mut p, "ctl", "stop").expect("a good command");
    assert_eq!(w.rt.deadline(), None);
    let before = w.rt.guest(ONE).expect("a guest").counters.dispatches;
    assert!(w.echo(&mut p, "export/greeter/ctl", "greet late").is_err());
    assert_eq!(w.rt.guest(ONE).expect("a guest").counters.dispatches, before);
    assert!(w.cat(&mut p, "status").expect("a file").starts_with("state stopping\n"));
}

#[test]
fn a_guest_from_its_start_to_its_end() {
    let mut fake = Fake::new(1);
    let mut p = Peer::open(&mut fake);
    atoll_runtime::fake::End::pump(&mut p, &mut fake);
    fake.signal(Signal::Stop);
    assert_eq!(atoll_runtime::run(hello(), HASH, &mut fake), Ok(Exit { status: 0 }));
}
