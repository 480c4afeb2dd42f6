//! Files that stay open when the host's connection is another one, or the machine:
//! `runtime/MODEL.md` names these tests.

mod common;

use std::collections::BTreeMap;

use atoll_9p::ram::Ram;
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Clones, Command, Files, Synth, Verb};
use atoll_9p::tree::Tree;
use atoll_config::checkpoint::Whole;
use atoll_runtime::fake::{Fake, Host};
use common::checkpoint::{core, cut, go_on, state};
use common::script::*;

const LONG: &str = "/b/c/d/e/f/g/h/i/j/k/l/m/n/o";

fn payload() -> atoll_config::payload::Payload<'static> {
    atoms(&[("a", ""), ("b", "")])
}

/// A guest, and a host that serves it a tree.
struct Both<T: Tree> {
    g: Guest,
    host: Host<T>,
}

impl<T: Tree> Both<T> {
    fn new(tree: T) -> Both<T> {
        let mut g = Guest::new(payload());
        let host = Host::open(&mut g.w.fake, tree);
        let mut both = Both { g, host };
        both.drive();
        both
    }

    fn drive(&mut self) {
        self.g.w.drive_all(&mut [&mut self.g.p, &mut self.host]);
    }

    fn tell(&mut self, atom: &str, line: &str) -> Vec<String> {
        let what = atoll_9p::ops::What::Write(line.as_bytes().to_vec());
        let op = self.g.p.start(&format!("export/{atom}/ctl"), what);
        self.drive();
        self.g.p.result(op).expect("an answer").expect("a good command");
        seen()
    }

    /// What the last call of a command gave.
    fn last(&mut self, line: &str) -> String {
        let line = self.tell("a", line).pop().expect("a line");
        // Without who it is, and which call that was.
        line.splitn(3, ' ').nth(2).expect("an outcome").into()
    }

    /// The host's connection is another.
    fn reconnect(&mut self) {
        self.g.w.fake.hang_up(self.host.conn);
        self.g.drive();
        self.host.again(&mut self.g.w.fake);
        self.drive();
    }

    /// A client asks something, and everybody does what there is to do.
    fn nudge(&mut self) {
        self.g.p.start("export/b/ctl", atoll_9p::ops::What::Write(b"close 9".to_vec()));
        self.drive();
    }

    /// The guest goes on from a checkpoint on another machine, to which the host connects.
    fn moved(mut self) -> Both<T> {
        let checkpoint = cut(&mut self.g);
        let mut fake = Fake::new(7);
        fake.now = 12_345;
        let g = Guest::on(fake, payload());
        let mut both = Both { g, host: self.host };
        go_on(&mut both.g, &checkpoint).expect("a good checkpoint");
        both.host.again(&mut both.g.w.fake);
        both.drive();
        both
    }
}

fn ram() -> Ram {
    let mut ram = Ram::default();
    for (i, _) in LONG.match_indices('/').skip(1).chain([(LONG.len(), "")]) {
        if i == 2 {
            ram.mkdir("data").expect("a directory");
            ram.mkdir("data/a").expect("a directory");
        }
        ram.mkdir(&format!("data/a{}", &LONG[..i])).expect("a directory");
    }
    ram.put(&format!("data/a{LONG}/deep"), b"far down").expect("a file");
    ram.put("data/f", b"hello").expect("a file");
    ram.put("data/g", b"gone soon").expect("a file");
    ram
}

/// What was open is read, written and walked from as before.
fn goes_on(then: impl Fn(Both<Ram>) -> Both<Ram>) {
    let mut both = Both::new(ram());
    let rest = both.g.used();
    // Emptied and made when it is opened, and not when that is done again.
    assert_eq!(both.last("open /data/new 578"), "0 0 [0]");
    assert_eq!(both.last("write 0 0 text"), "0 0 [4]");
    // A directory that is only walked from, and a file below it: 18 names together.
    assert_eq!(both.last("open /data/a 2097152"), "0 0 [1]");
    assert_eq!(both.last(&format!("walk 1 {}/deep 0", &LONG[1..])), "0 0 [2]");
    assert_eq!(both.last("open /data 0"), "0 0 [3]");
    assert_eq!(both.last("open /data/f 0"), "0 0 [4]");
    assert_eq!(both.last("open /data/g 0"), "0 0 [5]");
    // A file that is closed again has no place any more.
    assert_eq!(both.tell("a", "close 5"), ["0 close closed"]);
    let used = both.g.used();
    for _ in 0..2 {
        both = then(both);
        assert_eq!(both.g.used(), used);
        assert_eq!(both.last("read 0 0 9"), "0 0 text");
        assert_eq!(both.last("write 0 0 next"), "0 0 [4]");
        assert_eq!(both.last("read 0 0 9"), "0 0 next");
        assert_eq!(both.last("write 0 0 text"), "0 0 [4]");
        assert_eq!(both.last("read 2 4 9"), "0 0 down");
        assert!(both.last("stat 3").starts_with("0 0 "));
        assert_eq!(both.last("walk 3 f 0"), "0 0 [5]");
        assert_eq!(both.tell("a", "close 5"), ["0 close closed"]);
        assert_eq!(both.last("walk 1 b/c 0"), "0 0 [5]");
        assert_eq!(both.tell("a", "close 5"), ["0 close closed"]);
        // All that are asked for at one time, in order, while the file is being found.
        let all = both.tell("a", "read 4 0 1; read 4 1 1; stat 4; read 4 2 3");
        let outcomes: Vec<_> = all.iter().filter_map(|l| l.split(" 0 0 ").nth(1)).collect();
        assert_eq!([outcomes[0], outcomes[1], outcomes[3]], ["h", "e", "llo"]);
        assert_eq!(both.host.fids(), 6);
    }
    both.tell("a", "close 0; close 1; close 2; close 3; close 4");
    both.drive();
    assert_eq!((both.g.used(), both.host.fids()), (rest, 1));
}

#[test]
fn what_was_open_goes_on_over_another_connection() {
    goes_on(|mut both| {
        both.reconnect();
        both
    });
}

#[test]
fn what_was_open_goes_on_on_another_machine() {
    goes_on(Both::moved);
}

#[test]
fn what_was_open_goes_on_where_the_guest_goes_back() {
    goes_on(|mut both| {
        let checkpoint = cut(&mut both.g);
        // What it opens and closes afterwards was never so.
        assert_eq!(both.tell("a", "close 0; close 3").len(), 2);
        assert_eq!(both.last("open /data/g 0"), "0 0 [0]");
        go_on(&mut both.g, &checkpoint).expect("a good checkpoint");
        both.drive();
        both
    });
}

/// Files of all kinds, and calls about them that were never sent, in a state whose bytes are
/// changed one by one: it is refused and changes nothing, or is a guest within its budget,
/// whatever its files lead to.
#[test]
fn what_a_state_says_of_open_files_is_a_claim() {
    let mut a = Both::new(ram());
    assert_eq!(a.last("open /data/f 2"), "0 0 [0]");
    assert_eq!(a.last("open /data/a 2097152"), "0 0 [1]");
    assert_eq!(a.last(&format!("walk 1 {}/deep 0", &LONG[1..])), "0 0 [2]");
    a.g.w.fake.hang_up(a.host.conn);
    a.g.drive();
    a.tell("a", "read 0 1 3; stat 1; write 0 0 J; walk 1 b 0; open /data/g 0");
    let good = Whole::read(&cut(&mut a.g), 1 << 20).expect("a good checkpoint");
    let mut b = Both::new(ram());
    let (mut refused, mut taken) = (0, 0);
    for at in 0..good.state.len() {
        for with in [1, 0x80, 0xff] {
            let mut bad = good.clone();
            bad.state[at] ^= with;
            let was = state(&mut b.g);
            if go_on(&mut b.g, &bad.write().0).is_err() {
                assert!(was == state(&mut b.g), "byte {at}");
                refused += 1;
                continue;
            }
            taken += 1;
            b.nudge();
            seen();
            if b.g.w.rt.exit().is_some() {
                b = Both::new(ram());
                continue;
            }
            let sponsor = core(&mut b.g).sponsor;
            assert!(sponsor.used.memory <= sponsor.limit.memory, "byte {at}");
        }
    }
    assert!(refused > 100 && taken > 100, "{refused} {taken}");
    // Who was given all that is as good as new.
    go_on(&mut b.g, &good.write().0).expect("a good checkpoint");
    b.nudge();
    let good =
        seen().iter().filter(|line| line.starts_with("0 #") && line.contains(" 0 0 ")).count();
    assert_eq!(good, 5);
    assert_eq!(b.host.fids(), 6);
}

#[test]
fn a_file_that_is_another_or_gone_is_stale_and_the_others_go_on() {
    for moves in [false, true] {
        let mut both = Both::new(ram());
        for file in ["f", "g", "a"] {
            both.last(&format!("open /data/{file} 0"));
        }
        let root = both.host.tree.root();
        let data = both.host.tree.walk(root, "data").expect("it is there").0;
        for name in ["f", "g"] {
            both.host.tree.remove(data, name, atoll_9p::tree::Remove::File).expect("a file");
        }
        both.host.tree.put("data/f", b"another").expect("a file");
        // What is open is there, whatever its name is now.
        assert_eq!(both.last("read 0 0 9"), "0 0 hello");
        if moves {
            both = both.moved();
        } else {
            both.reconnect();
        }
        for fd in 0..2 {
            for _ in 0..2 {
                assert_eq!(both.last(&format!("read {fd} 0 9")), "0 ESTALE");
                assert_eq!(both.last(&format!("write {fd} 0 9")), "0 ESTALE");
                assert_eq!(both.last(&format!("stat {fd}")), "0 ESTALE");
                // It stays so, and a guest that moves again knows it.
                both = both.moved();
            }
        }
        assert!(both.last("stat 2").starts_with("0 0 "));
        assert_eq!(both.host.fids(), 2);
        assert_eq!(both.tell("a", "close 0; close 1; close 2").len(), 3);
        both.drive();
        assert_eq!(both.host.fids(), 1);
    }
}

#[test]
fn what_only_reads_is_asked_again_and_what_was_never_sent_is_sent() {
    let mut both = Both::new(ram());
    both.last("open /data/f 2; open /data 0");
    both.host.silent = true;
    both.tell("a", "read 0 1 3; stat 0; write 0 0 H; walk 1 f 0");
    both.g.w.fake.hang_up(both.host.conn);
    // Who hangs up fails what was under way; what is asked then waits.
    both.g.drive();
    assert_eq!(seen(), ["0 #3 0 EPIPE", "0 #4 0 EPIPE", "0 #5 0 EPIPE", "0 #6 0 EPIPE"]);
    both.tell("a", "read 0 1 3; stat 0; write 0 0 J; walk 1 f 0");
    let mut both = both.moved();
    both.host.silent = false;
    both.drive();
    let mut all = seen();
    all.sort();
    assert_eq!(all[0], "0 #10 0 0 [2]");
    assert_eq!(all[1], "0 #7 0 0 ell");
    assert!(all[2].starts_with("0 #8 0 0 "), "{all:?}");
    assert_eq!(all[3], "0 #9 0 0 [1]");
    assert_eq!(both.host.tree.content("data/f").expect("a file"), b"Jello");
    // Those were sent: reads are asked again, and of the others nobody knows.
    both.host.silent = true;
    both.tell("a", "read 0 1 3; stat 0; write 0 0 K; walk 1 f 0");
    let mut both = both.moved();
    both.host.silent = false;
    both.drive();
    let mut all = seen();
    all.sort();
    assert_eq!(all[0], "0 #11 0 0 ell");
    assert!(all[1].starts_with("0 #12 0 0 "), "{all:?}");
    assert_eq!(all[2..], ["0 #13 0 ESTALE", "0 #14 0 ESTALE"]);
}

/// A tree with a stream and a directory of clones.
struct Lines {
    stream: Stream,
    calls: BTreeMap<u64, String>,
}

const VERBS: &[Verb] = &[Verb::new("dial", "NUMBER", 1)];

fn synth() -> Files<'static, Lines> {
    let mut t = Synth::new();
    let data = t.dir(t.root(), "data");
    t.stream(data, "events", |lines: &mut Lines| &mut lines.stream);
    let clones = Clones::new(
        8,
        |lines: &mut Lines, n| {
            lines.calls.insert(n, String::new());
            Ok(())
        },
        |lines: &mut Lines, n| drop(lines.calls.remove(&n)),
    )
    .keep(8);
    let call = t.clone_dir(data, "call", clones);
    t.each_ctl(call, "ctl", VERBS, |lines, n, c: &Command<'_>| {
        lines.calls.insert(n, c.arg(0).into());
        Ok(())
    });
    Files { synth: t, state: Lines { stream: Stream::new(16), calls: BTreeMap::new() } }
}

#[test]
fn a_stream_goes_on_behind_what_was_read_and_says_what_was_lost() {
    let mut both = Both::new(synth());
    assert_eq!(both.last("open /data/events 0"), "0 0 [0]");
    let push = |both: &mut Both<_>, line: &str| {
        let files: &mut Files<'_, Lines> = &mut both.host.tree;
        files.state.stream.push(line);
        let data = files.walk(files.synth.root(), "data").expect("a directory").0;
        let events = files.walk(data, "events").expect("a file").0;
        both.host.wake(events);
    };
    push(&mut both, "one");
    push(&mut both, "two");
    assert_eq!(both.last("read 0 0 4"), "0 0 one\n");
    both.reconnect();
    // Where it was, and not at the end.
    assert_eq!(both.last("read 0 0 99"), "0 0 two\n");
    both = both.moved();
    push(&mut both, "three");
    assert_eq!(both.last("read 0 0 99"), "0 0 three\n");
    // One that waits for a line goes on waiting elsewhere.
    both.tell("a", "read 0 0 99");
    both = both.moved();
    push(&mut both, "four");
    both.drive();
    assert_eq!(seen(), ["0 #5 0 0 four\n"]);
    both.reconnect();
    for line in ["five", "six", "seven", "eight"] {
        push(&mut both, line);
    }
    both = both.moved();
    assert_eq!(both.last("read 0 0 99"), "0 0 gap 1\n");
    assert_eq!(both.last("read 0 0 99"), "0 0 six\nseven\neight\n");
}

#[test]
fn a_clone_file_is_the_file_that_it_led_to() {
    let mut both = Both::new(synth());
    assert_eq!(both.last("open /data/call/clone 2"), "0 0 [0]");
    assert_eq!(both.last("open /data/call/clone 2"), "0 0 [1]");
    assert_eq!(both.last("open /data/call/clone 1"), "0 0 [2]");
    let number = |both: &mut Both<_>, fd| both.last(&format!("read {fd} 0 9"));
    let (first, second) = (number(&mut both, 0), number(&mut both, 1));
    assert_ne!(first, second);
    let dials = |both: &Both<Files<'static, Lines>>| {
        both.host.tree.state.calls.values().cloned().collect::<Vec<_>>()
    };
    for moves in [false, true] {
        if moves {
            both = both.moved();
        } else {
            both.reconnect();
        }
        assert_eq!((number(&mut both, 0), number(&mut both, 1)), (first.clone(), second.clone()));
        // Nobody could ask that one for its number.
        assert_eq!(both.last("write 2 0 dial 5"), "0 ESTALE");
        both.last(&format!("write 1 0 dial {moves}"));
        assert_eq!(dials(&both), ["", &moves.to_string(), ""]);
    }
}
