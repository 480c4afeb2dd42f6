//! What 9P2000.L.atoll adds: reads of streams that can be taken up again, and writes
//! that are done once.

mod common;

use atoll_9p::dialect::Dialect;
use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::ram::Ram;
use atoll_9p::server::Limits;
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Files, Synth};
use atoll_9p::tree::Tree;
use atoll_9p::types::{OpId, OpenFlags, seq};
use common::*;

const RD: OpenFlags = OpenFlags::RDONLY;

fn log() -> Files<'static, Stream> {
    let mut synth = Synth::new();
    let root = synth.root();
    synth.stream(root, "log", |s: &mut Stream| s);
    synth.bytes(root, "plain", b"plain bytes");
    Files { synth, state: Stream::new(64) }
}

fn attached<T: Tree>(t: &mut T, version: &str) -> Peer<T> {
    let mut p = Peer::new(Limits::default());
    p.greet(t, 8192, version);
    p.ask(t, &attach(0));
    p
}

fn read(fid: u32, offset: u64, count: u32) -> Tmsg<'static> {
    Tmsg::Read { fid, offset, count }
}

/// The data of an Rread, and the position behind it.
fn got(f: &[u8]) -> (String, Option<u64>) {
    match Rmsg::decode(f).unwrap() {
        Rmsg::Read { data, next } => (String::from_utf8(data.to_vec()).unwrap(), next),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sequenced_read_tells_where_to_go_on() {
    let mut t = log();
    t.state.push("one");
    t.state.push("two");
    let mut p = attached(&mut t, "9P2000.L.atoll");
    p.open(&mut t, 1, "log", RD);
    let (text, next) = got(&p.ask(&mut t, &read(1, seq::READ | seq::HERE, 5)));
    assert_eq!(text, "one\n");
    let next = next.unwrap();
    assert_eq!(next & seq::READ, 0);
    // On another connection, from there on and from there on again.
    let mut q = attached(&mut t, "9P2000.L.atoll");
    q.open(&mut t, 1, "log", RD);
    for _ in 0..2 {
        let (text, _) = got(&q.ask(&mut t, &read(1, seq::READ | next, 99)));
        assert_eq!(text, "two\n");
    }
    // What is not there any more is a gap.
    (0..40).for_each(|i| t.state.push(i));
    let (text, after) = got(&q.ask(&mut t, &read(1, seq::READ | next, 99)));
    assert!(text.starts_with("gap "), "{text}");
    let (text, _) = got(&q.ask(&mut t, &read(1, seq::READ | after.unwrap(), 99)));
    assert!(text.ends_with("39\n"), "{text}");
}

#[test]
fn a_sequenced_read_that_waits_tells_it_too() {
    let mut t = log();
    let mut p = attached(&mut t, "9P2000.L.atoll");
    p.open(&mut t, 1, "log", RD);
    assert!(p.raw(&mut t, &frame(7, &read(1, seq::READ | seq::HERE, 99))).is_empty());
    assert!(p.raw(&mut t, &frame(8, &read(1, seq::READ, 99))).is_empty());
    t.state.push("line");
    let s = &mut p.s;
    t.woken(&mut |node| s.wake(node));
    let answers = p.late(&mut t);
    let tags: Vec<_> = answers.iter().map(|f| tag_of(f)).collect();
    assert_eq!(tags, [7, 8]);
    let (first, again) = (got(&answers[0]), got(&answers[1]));
    assert_eq!(first.0, "line\n");
    assert_eq!(first, again, "the second asks for position 0");
}

#[test]
fn an_answer_with_a_position_is_no_longer_than_agreed() {
    let mut t = log();
    t.state = Stream::new(4096);
    (0..100).for_each(|i| t.state.push(format_args!("line {i} of many")));
    let mut p = Peer::new(Limits::default());
    p.greet(&mut t, 512, "9P2000.L.atoll");
    p.ask(&mut t, &attach(0));
    p.open(&mut t, 1, "log", RD);
    let f = p.ask(&mut t, &read(1, seq::READ | seq::HERE, u32::MAX));
    assert!(f.len() <= 512 && f.len() > 480, "{}", f.len());
}

#[test]
fn what_is_no_stream_has_no_positions() {
    let mut t = log();
    let mut p = attached(&mut t, "9P2000.L.atoll");
    p.open(&mut t, 1, "plain", RD);
    for at in [seq::HERE, 0, 5] {
        assert_eq!(p.errno(&mut t, &read(1, seq::READ | at, 9)), Errno::EINVAL.0);
    }
    assert_eq!(got(&p.ask(&mut t, &read(1, 6, 9))), ("bytes".into(), None));
}

#[test]
fn other_languages_know_nothing_of_positions() {
    let mut t = log();
    t.state.push("one");
    let mut p = attached(&mut t, "9P2000.L");
    p.open(&mut t, 1, "plain", RD);
    p.open(&mut t, 2, "log", RD);
    assert_eq!(got(&p.ask(&mut t, &read(1, seq::READ, 9))), (String::new(), None));
    assert_eq!(got(&p.ask(&mut t, &read(2, seq::READ | 77, 9))), ("one\n".into(), None));
}

/// A write with a name, in our own language.
fn named(tag: u16, data: &[u8], op: OpId) -> Vec<u8> {
    let mut f = Vec::new();
    Tmsg::Write { fid: 1, offset: 0, data, op: Some(op) }.encode_in(Dialect::Atoll, tag, &mut f);
    f
}

#[test]
fn a_named_write_is_done_once() {
    let mut t = Ram::default();
    t.put("f", b"").unwrap();
    let mut p = attached(&mut t, "9P2000.L.atoll");
    p.open(&mut t, 1, "f", OpenFlags(1 | OpenFlags::APPEND));
    let op = OpId { client: 5, seq: 1, again: false };
    let written = Rmsg::Write { count: 2 };
    assert_eq!(Rmsg::decode(&p.one(&mut t, &named(1, b"ab", op))).unwrap(), written);
    // The connection is gone, and the client does not know how far that one came.
    let mut q = attached(&mut t, "9P2000.L.atoll");
    q.open(&mut t, 1, "f", OpenFlags(1 | OpenFlags::APPEND));
    let again = OpId { again: true, ..op };
    assert_eq!(Rmsg::decode(&q.one(&mut t, &named(1, b"ab", again))).unwrap(), written);
    assert_eq!(t.content("f").unwrap(), b"ab");
    let stranger = OpId { client: 6, seq: 9, again: true };
    assert_eq!(errno(&q.one(&mut t, &named(1, b"cd", stranger))), Errno::ESTALE.0);
    assert_eq!(t.content("f").unwrap(), b"ab");
}

#[test]
fn a_named_write_that_waits_keeps_its_name() {
    let mut t = Counting::default();
    let mut p = attached(&mut t, "9P2000.L.atoll");
    p.open(&mut t, 1, "blk", OpenFlags::WRONLY);
    let op = OpId { client: 5, seq: 1, again: false };
    assert!(p.raw(&mut t, &named(3, b"one", op)).is_empty());
    assert!(p.raw(&mut t, &named(4, b"two", OpId { seq: 2, ..op })).is_empty());
    t.ready = 2;
    p.s.wake(BLK);
    assert_eq!(p.late(&mut t).len(), 2);
    assert_eq!((t.written.as_slice(), t.ops.as_slice()), (&b"onetwo"[..], &[1, 1, 2][..]));
}

/// Whoever greets waits for the answer before anything else that it writes anywhere.
#[test]
fn a_greeting_does_not_stand_behind_writes_that_wait() {
    let mut t = Counting::default();
    let mut p = attached(&mut t, "9P2000.L.atoll");
    p.open(&mut t, 1, "blk", OpenFlags::WRONLY);
    let op = OpId { client: 5, seq: 1, again: false };
    assert!(p.raw(&mut t, &named(3, b"one", op)).is_empty());
    let greeted = p.one(&mut t, &named(4, b"", OpId { seq: 2, ..op }));
    assert_eq!(Rmsg::decode(&greeted).unwrap(), Rmsg::Write { count: 0 });
    assert_eq!(p.s.waiting(), 1);
}
