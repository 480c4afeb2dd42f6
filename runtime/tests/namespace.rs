//! What a guest reads through its imports, and what a host can do to it.

mod common;

use atoll_9p::fault::Errno;
use atoll_9p::synth::{Files, Synth, Verb};
use atoll_config::payload::{Budget, Import, Payload};
use atoll_runtime::fake::{End, Fake, Faults, Host, Peer, World};
use atoll_runtime::platform::Stream;
use common::*;

const BIG: &[u8] = &[b'x'; 100_000];
const FITS: &[u8] = &[b'y'; 60_000];

#[derive(Default)]
struct State {
    written: Vec<String>,
}

const PUT: &[Verb] = &[Verb::new("put", "X", 1)];

fn tree() -> Files<'static, State> {
    let mut t = Synth::new();
    let data = t.dir(t.root(), "data");
    t.bytes(data, "hello", b"from the host\n");
    t.bytes(data, "big", BIG);
    t.bytes(data, "fits", FITS);
    t.bytes(data, "empty", b"");
    let sub = t.dir(data, "sub");
    t.bytes(sub, "leaf", b"leaf");
    t.ctl(data, "ctl", PUT, |s: &mut State, c| {
        s.written.push(c.rest.into());
        Ok(())
    });
    let secret = t.dir(t.root(), "other");
    t.bytes(secret, "secret", b"secret");
    Files { synth: t, state: State::default() }
}

struct All {
    w: World<'static>,
    p: Peer,
    h: Host<Files<'static, State>>,
}

impl All {
    fn new(payload: Payload<'static>) -> All {
        All::with(payload, Fake::new(3))
    }

    fn with(payload: Payload<'static>, fake: Fake) -> All {
        let mut w = world_of(payload, atoll_runtime::native::BUILT_IN, fake);
        let p = Peer::open(&mut w.fake);
        let h = Host::open(&mut w.fake, tree());
        All { w, p, h }
    }

    fn drive(&mut self) {
        self.w.drive_all(&mut [&mut self.p, &mut self.h]);
    }

    fn status(&mut self) -> String {
        self.drive();
        self.w.cat(&mut self.p, "export/reader/status").expect("a file")
    }

    fn ask(&mut self, line: &str) -> String {
        self.w.echo(&mut self.p, "export/reader/ctl", line).expect("a good command");
        self.status()
    }

    fn content(&mut self) -> String {
        self.w.cat(&mut self.p, "export/reader/content").expect("a file")
    }

    /// Nothing is under way any more, and nothing was lost.
    fn at_rest(&mut self) {
        let used = self.w.rt.guest(ONE).expect("a guest").sponsor.used;
        assert_eq!((used.memory, used.messages), (1024, 0));
        assert_eq!(self.h.fids(), 1, "the root alone");
    }
}

#[test]
fn files_and_directories_are_read() {
    let mut a = All::new(reader("/data/hello"));
    assert_eq!(a.status(), "done /data/hello 14\n");
    assert_eq!(a.content(), "from the host\n");
    assert_eq!(a.ask("list /data"), "done /data 30\n");
    assert_eq!(a.content(), "hello\nbig\nfits\nempty\nsub/\nctl\n".to_string());
    assert_eq!(a.ask("read /data/sub/../sub/./leaf"), "done /data/sub/../sub/./leaf 4\n");
    assert_eq!(a.ask("read /data/empty"), "done /data/empty 0\n");
    assert_eq!(a.ask("read /data/fits"), "done /data/fits 60000\n");
    assert_eq!(a.content().len(), FITS.len());
    a.at_rest();
}

#[test]
fn what_cannot_be_read_says_why() {
    let mut a = All::new(reader(""));
    assert_eq!(a.status(), "idle\n");
    assert_eq!(a.ask("read /data/none"), "failed /data/none: no such file\n");
    assert_eq!(a.ask("read /data/sub"), "failed /data/sub: is a directory\n");
    assert_eq!(a.ask("list /data/hello"), "failed /data/hello: not a directory\n");
    let big = "failed /data/big: more than the 65536 bytes that were asked for\n";
    assert_eq!(a.ask("read /data/big"), big);
    for path in ["/nowhere/x", "/data/../other/secret", "/database", "data/hello"] {
        let text = format!("failed {path}: no import is mounted there\n");
        assert_eq!(a.ask(&format!("read {path}")), text);
    }
    let deep = format!("/data{}", "/d".repeat(17));
    assert!(a.ask(&format!("read {deep}")).contains("more than 16 names"));
    let long = format!("/data/{}", "n".repeat(5000));
    assert!(a.ask(&format!("read {long}")).contains("name too long"));
    assert_eq!(a.ask("read /data/hello"), "done /data/hello 14\n");
    a.at_rest();
}

#[test]
fn a_path_that_fits_no_message_breaks_nothing() {
    let mut a = All::new(Payload { memory: 1 << 20, ..reader("") });
    let long = format!("/data/{}", "n".repeat(4050));
    assert!(a.ask(&format!("read {long}")).contains("fits no message"));
    assert_eq!(a.ask("read /data/hello"), "done /data/hello 14\n");
    a.at_rest();
}

#[test]
fn an_unknown_mount_needs_no_host_to_fail() {
    let mut w = world(reader("/nowhere"));
    let mut p = Peer::open(&mut w.fake);
    let status = w.cat(&mut p, "export/reader/status").expect("a file");
    assert_eq!(status, "failed /nowhere: no import is mounted there\n");
}

#[test]
fn a_call_waits_for_its_host() {
    let mut w = world(reader("/data/hello"));
    let mut p = Peer::open(&mut w.fake);
    w.drive(&mut p);
    assert_eq!(w.cat(&mut p, "export/reader/status").expect("a file"), "reading /data/hello\n");
    let fault = w.echo(&mut p, "export/reader/ctl", "read /data/x").expect_err("busy");
    assert_eq!(fault.errno, Errno::EBUSY);
    let h = Host::open(&mut w.fake, tree());
    let mut a = All { w, p, h };
    assert_eq!(a.status(), "done /data/hello 14\n");
    a.at_rest();
}

#[test]
fn a_host_that_goes_away_fails_what_is_under_way() {
    let mut a = All::new(reader(""));
    a.drive();
    a.h.silent = true;
    assert_eq!(a.ask("read /data/hello"), "reading /data/hello\n");
    a.w.fake.hang_up(a.h.conn);
    assert_eq!(a.status(), "failed /data/hello: the host closed the connection\n");
    a.h.silent = false;
    a.h.again(&mut a.w.fake);
    assert_eq!(a.ask("read /data/hello"), "done /data/hello 14\n");
    a.at_rest();
}

#[test]
fn a_newer_host_takes_the_older_ones_place() {
    let mut a = All::new(reader(""));
    a.drive();
    a.h.silent = true;
    a.ask("read /data/hello");
    let old = a.h.conn;
    a.h.silent = false;
    a.h.again(&mut a.w.fake);
    assert_eq!(a.status(), "failed /data/hello: the host closed the connection\n");
    assert!(!a.w.fake.is_open(old) && a.w.fake.is_open(a.h.conn));
    assert_eq!(a.ask("read /data/hello"), "done /data/hello 14\n");
    a.at_rest();
}

#[test]
fn a_host_that_sends_garbage_is_closed_and_said_so() {
    let garbage: [&[u8]; 5] = [
        &[0xff; 64],
        &[3, 0, 0, 0, 9, 9, 9],
        &[7, 0, 0, 0, 101, 0xff, 0xff],
        &[8, 0, 0, 0, 121, 7, 0, 0],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ];
    for bytes in garbage {
        let mut a = All::new(reader(""));
        a.drive();
        a.h.silent = true;
        a.ask("read /data/hello");
        a.w.fake.push(a.h.conn, bytes);
        assert_eq!(a.status(), "failed /data/hello: the host closed the connection\n");
        assert!(!a.w.fake.is_open(a.h.conn));
        assert!(a.w.fake.log.last().is_some_and(|l| l.contains(" host: host: the server")));
        a.h.silent = false;
        a.h.again(&mut a.w.fake);
        assert_eq!(a.ask("read /data/hello"), "done /data/hello 14\n");
        a.at_rest();
    }
}

#[test]
fn a_result_is_charged_as_it_comes() {
    let budget = Budget { memory: 20 << 10, ..reader("").budget };
    let mut a = All::new(Payload { budget, ..reader("") });
    let text = "failed /data/fits: the result is larger than the guest's budget\n";
    assert_eq!(a.ask("read /data/fits"), text);
    assert_eq!(a.ask("read /data/hello"), "done /data/hello 14\n");
    a.at_rest();
}

#[test]
fn the_same_is_read_through_a_bad_wire() {
    for seed in 0..100 {
        let mut a = All::with(reader("/data/fits"), Fake::new(seed).with(Faults::HARMLESS));
        assert_eq!(a.status(), "done /data/fits 60000\n", "seed {seed}");
        assert_eq!(a.ask("list /data"), "done /data 30\n", "seed {seed}");
        a.at_rest();
    }
}

#[test]
fn a_host_that_floods_does_not_hold_off_the_clients() {
    let mut a = All::new(reader(""));
    a.drive();
    // Half a message of the largest size, and then nothing.
    let mut frame = 16_000u32.to_le_bytes().to_vec();
    frame.resize(15_000, 0);
    a.w.fake.push(a.h.conn, &frame);
    a.p.start("name", atoll_9p::ops::What::Read { max: 99 });
    a.p.pump(&mut a.w.fake);
    let before = a.w.rt.guest(ONE).expect("a guest").counters.requests;
    while let Some(s) = atoll_runtime::platform::Platform::poll(&mut a.w.fake) {
        a.w.rt.signal(s, &mut a.w.fake);
    }
    a.w.rt.step(&mut a.w.fake);
    a.w.rt.step(&mut a.w.fake);
    assert_eq!(a.w.rt.guest(ONE).expect("a guest").counters.requests, before + 1);
    assert_eq!(a.w.fake.open_conns(Stream::Host), [a.h.conn]);
}

#[test]
fn the_longest_mount_that_covers_a_path_wins() {
    let imports =
        vec![Import { name: "other", at: "/data" }, Import { name: "data", at: "/data/inner/" }];
    let mut a = All::new(Payload { imports, ..reader("") });
    assert_eq!(a.ask("read /data/inner/hello"), "done /data/inner/hello 14\n");
    assert_eq!(a.ask("read /data/secret"), "done /data/secret 6\n");
}
