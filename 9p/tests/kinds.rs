//! Every kind of ready-made file, through a session or the tree itself.
#![allow(missing_docs)] // records of tests

use std::collections::BTreeMap;

use atoll_9p::bytes::Bytes;
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg, entries};
use atoll_9p::record::Record;
use atoll_9p::server::Limits;
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Clones, Command, FileLimits, Files, Flow, Node, Open, Synth, Verb};
use atoll_9p::tree::{Reply, Tree, Who};
use atoll_9p::types::{OpId, OpenFlags, mode};
use common::*;

mod common;

atoll_9p::record! {
    /// How it is.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Status = "status", 3 {
        /// How often.
        pub count: u64,
        pub name: String,
    }
}

struct State {
    status: Status,
    calls: BTreeMap<u64, (String, Stream)>,
    ended: Vec<u64>,
    console: Bytes,
    input: Bytes,
    log: Stream,
    /// Names and numbers of a huge directory.
    names: BTreeMap<u64, String>,
    done: u32,
}

const VERBS: &[Verb] =
    &[Verb::new("say", "TEXT", 1), Verb::new("hangup", "", 0), Verb::new("count", "", 0)];

fn call(s: &mut State, n: u64, c: &Command<'_>) -> Result<(), Fault> {
    match c.verb {
        "hangup" => c.end(),
        _ => s.calls.get_mut(&n).ok_or(Errno::ESTALE)?.1.push(c.rest),
    }
    Ok(())
}

fn files(keep: usize) -> Files<'static, State> {
    let mut t = Synth::new();
    let root = t.root();
    let sub = t.dir(root, "sub");
    t.dir(sub, "empty");
    t.record_rw(
        sub,
        "status",
        |s: &mut State| Ok(s.status.clone()),
        |s, new: Status| match new.count {
            13 => Err(Fault::new(Errno::EINVAL, "not 13")),
            _ => {
                s.status = new;
                Ok(())
            }
        },
    );
    t.text(root, "text", |s, out| {
        *out += &s.status.name;
        Ok(())
    });
    let own = t.text(root, "own", |_, _| Ok(()));
    t.versioned(own, |s, _| s.status.count as u32);
    let clones = Clones::new(
        3,
        |s: &mut State, n| {
            s.calls.insert(n, (format!("call {n}"), Stream::new(100)));
            Ok(())
        },
        |s, n| {
            s.calls.remove(&n);
            s.ended.push(n);
        },
    );
    let conn = t.clone_dir(root, "conn", clones.keep(keep));
    t.each_ctl(conn, "ctl", VERBS, call);
    t.each_record(conn, "status", |s, n| {
        let call = s.calls.get(&n).ok_or(Errno::ESTALE)?;
        Ok(Status { count: n, name: call.0.clone() })
    });
    t.each_stream(conn, "data", |s, n| s.calls.get_mut(&n).map(|c| &mut c.1));
    t.flow(root, "console", Flow::new().out(|s: &mut State, _| Some(&mut s.console)));
    let both = Flow::new().out(|s: &mut State, _| Some(&mut s.console));
    t.flow(root, "tty", both.into(|s, _| Some(&mut s.input)));
    t.stream(root, "log", |s| &mut s.log);
    let many = t.huge(
        root,
        "many",
        |s: &mut State, name| s.names.iter().find(|n| n.1 == name).map(|n| *n.0),
        |s, from, each| {
            let mut names = s.names.range(from..);
            while names.next().is_some_and(|(id, name)| each(*id, name)) {}
        },
    );
    t.each_text(many, "id", |_, id, out| {
        *out += &format!("{id}\n");
        Ok(())
    });
    t.each_record(many, "status", |s, id| {
        let name = s.names.get(&id).ok_or(Errno::ESTALE)?.clone();
        Ok(Status { count: id, name })
    });
    let flat = t.huge(
        root,
        "flat",
        |_: &mut State, name| name.strip_prefix('f')?.parse().ok().filter(|n| *n < 1_000_000),
        |_, from, each| {
            for id in from..1_000_000 {
                if !each(id, &format!("f{id}")) {
                    break;
                }
            }
        },
    );
    t.each_text(flat, "", |_, id, out| {
        *out += &format!("file {id}\n");
        Ok(())
    });
    t.ctl(root, "ctl", VERBS, |s, c| {
        s.done += 1;
        if c.verb == "say" { Err(c.bad("hush")) } else { Ok(()) }
    });
    Files {
        synth: t,
        state: State {
            status: Status { count: 1, name: "one".into() },
            calls: BTreeMap::new(),
            ended: Vec::new(),
            console: Bytes::new(16),
            input: Bytes::new(8),
            log: Stream::new(64),
            names: BTreeMap::new(),
            done: 0,
        },
    }
}

type Tested = Files<'static, State>;

fn walk(t: &mut Tested, path: &str) -> Result<Node, Errno> {
    let user = atoll_9p::access::Identity::Owner.user(0);
    t.attach(&Who { uname: "u", user, aname: path }).map_err(|f| f.errno)
}

fn open(t: &mut Tested, path: &str, flags: u32) -> (Node, Open) {
    let mut node = walk(t, path).unwrap();
    let open = t.open(&mut node, OpenFlags(flags)).unwrap();
    (node, open)
}

fn read(t: &mut Tested, file: &mut (Node, Open), max: usize) -> Result<Option<Vec<u8>>, Errno> {
    let mut buf = vec![0xee; max];
    match t.read(file.0, &mut file.1, 0, &mut buf).map_err(|f| f.errno)? {
        Reply::Done(n) => Ok(Some(buf[..n].to_vec())),
        Reply::Later => Ok(None),
    }
}

fn cat(t: &mut Tested, path: &str) -> Result<Vec<u8>, Errno> {
    let mut node = walk(t, path)?;
    let open = t.open(&mut node, OpenFlags::RDONLY).map_err(|f| f.errno)?;
    let mut file = (node, open);
    let data = read(t, &mut file, 100_000);
    t.close(file.0, file.1);
    data.map(Option::unwrap)
}

fn text(t: &mut Tested, path: &str) -> String {
    String::from_utf8(cat(t, path).unwrap()).unwrap()
}

fn echo(t: &mut Tested, path: &str, data: &[u8]) -> Result<(), Fault> {
    let (node, mut open) = open(t, path, 1);
    let result = t.write(node, &mut open, 0, data);
    t.close(node, open);
    result.map(|_| ())
}

fn ls(t: &mut Tested, path: &str) -> Vec<String> {
    let mut p = Peer::attached(t, Limits::default());
    p.open(t, 1, path, OpenFlags::RDONLY);
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        // Room for few: every entry's cookie is used.
        let f = p.ask(t, &Tmsg::Readdir { fid: 1, offset, count: 60 });
        let Ok(Rmsg::Readdir { data }) = Rmsg::decode(&f) else { panic!("{f:?}") };
        let Some(last) = entries(data).last() else { break };
        offset = last.cookie;
        for e in entries(data) {
            let node = walk(t, &format!("{path}/{}", e.name)).unwrap();
            let qid = t.qid(node).unwrap();
            assert_eq!((qid.path, qid.ty), (e.qid.path, e.qid.ty), "{path}/{}", e.name);
            names.push(e.name.to_string());
        }
    }
    p.s.close(t);
    names
}

fn version(t: &mut Tested, path: &str) -> u32 {
    let node = walk(t, path).unwrap();
    let qid = t.qid(node).unwrap();
    assert_eq!(t.stat(node).unwrap().qid, qid);
    qid.version
}

#[test]
fn a_record_is_text_here_and_bytes_below_rec() {
    let mut t = files(0);
    assert_eq!(text(&mut t, "sub/status"), "count 1\nname one\n");
    assert_eq!(cat(&mut t, "rec/sub/status").unwrap(), t.state.status.to_wire());
    let schema = text(&mut t, "rec/sub/schema");
    assert_eq!(schema, format!("file status\n{}", Status::to_schema()));
    // It is written in either form.
    echo(&mut t, "sub/status", b"name two words\ncount 2\n").unwrap();
    assert_eq!(t.state.status, Status { count: 2, name: "two words".into() });
    let three = Status { count: 3, name: "three".into() };
    echo(&mut t, "rec/sub/status", &three.to_wire()).unwrap();
    assert_eq!(t.state.status, three);
    // A write that is wrong changes nothing.
    let mut later = three.to_wire();
    later[0] = 4;
    let long = [&three.to_wire()[..], b"x"].concat();
    for (path, data, why) in [
        ("sub/status", &b"count x\nname n\n"[..], "line 1: count: \"x\" is not a whole number"),
        ("sub/status", b"count 4\n", "name is missing"),
        ("sub/status", b"count 13\nname n\n", "not 13"),
        ("sub/status", b"\xff", "UTF-8"),
        ("rec/sub/status", &later, "of version 4, known is 3"),
        ("rec/sub/status", &long, "1 bytes follow it"),
        ("rec/sub/status", b"", "version cannot be read"),
    ] {
        let fault = echo(&mut t, path, data).unwrap_err();
        assert!(fault.text().contains(why) && fault.errno == Errno::EINVAL, "{fault:?}");
        assert_eq!(t.state.status, three);
    }
    let (node, mut open) = open(&mut t, "sub/status", 1);
    assert_eq!(t.write(node, &mut open, 5, b"x").unwrap_err().errno, Errno::EINVAL);
    t.close(node, open);
}

#[test]
fn the_tree_of_bytes_shows_what_has_records_and_nothing_else() {
    let mut t = files(0);
    let root =
        ["sub", "text", "own", "conn", "console", "tty", "log", "many", "flat", "ctl", "rec"];
    assert_eq!(ls(&mut t, ""), root);
    assert_eq!(ls(&mut t, "rec"), ["sub", "conn", "many"]);
    assert_eq!(ls(&mut t, "rec/sub"), ["status", "schema"]);
    assert_eq!(ls(&mut t, "sub"), ["empty", "status"]);
    let (ctl, held) = open(&mut t, "conn/clone", 2);
    assert_eq!(ls(&mut t, "rec/conn"), ["0"]);
    assert_eq!(ls(&mut t, "rec/conn/0"), ["status", "schema"]);
    assert_eq!(
        cat(&mut t, "rec/conn/0/status").unwrap(),
        [3, 0, 6, b'c', b'a', b'l', b'l', b' ', b'0']
    );
    for none in ["rec/text", "rec/rec", "rec/schema", "sub/rec", "sub/schema", "rec/conn/clone"] {
        assert_eq!(walk(&mut t, none), Err(Errno::ENOENT), "{none}");
    }
    assert_eq!(walk(&mut t, "rec/sub/schema/x"), Err(Errno::ENOTDIR));
    // Every way up leads where it came from.
    for (path, up) in [
        ("rec/sub/schema", "rec/sub"),
        ("rec/sub/status", "rec/sub"),
        ("rec/sub", "rec"),
        ("rec", ""),
        ("conn/0/ctl", "conn/0"),
        ("conn/0", "conn"),
        ("rec/conn/0", "rec/conn"),
        ("conn/clone", "conn"),
        ("", ""),
    ] {
        let node = walk(&mut t, path).unwrap();
        assert_eq!(t.walk(node, "..").unwrap().0, walk(&mut t, up).unwrap(), "{path}");
    }
    let modes: Vec<u32> = ["rec", "rec/sub/schema", "sub/status", "rec/sub/status", "text"]
        .map(|p| walk(&mut t, p).and_then(|n| t.stat(n).map_err(|f| f.errno)).unwrap().mode)
        .into();
    let file = |perm| mode::FILE | perm;
    assert_eq!(modes, [mode::DIR | 0o555, file(0o444), file(0o644), file(0o644), file(0o444)]);
    let mut schema = walk(&mut t, "rec/sub/schema").unwrap();
    assert_eq!(t.open(&mut schema, OpenFlags::WRONLY).unwrap_err().errno, Errno::EACCES);
    t.close(ctl, held);
    // A tree without records has none of it.
    let mut plain: Synth<'_, ()> = Synth::new();
    plain.bytes(plain.root(), "f", b"");
    let mut plain = Files { synth: plain, state: () };
    let root = plain.synth.root();
    assert_eq!(plain.walk(root, "rec").unwrap_err().errno, Errno::ENOENT);
}

#[test]
fn a_version_changes_with_what_is_shown() {
    let mut t = files(0);
    for path in ["text", "sub/status", "rec/sub/status"] {
        cat(&mut t, path).unwrap();
        let first = version(&mut t, path);
        cat(&mut t, path).unwrap();
        assert_eq!(version(&mut t, path), first, "{path} shows the same");
        t.state.status.name += "!";
        cat(&mut t, path).unwrap();
        assert_ne!(version(&mut t, path), first, "{path} shows something else");
    }
    // A record has one version, whichever form was read.
    cat(&mut t, "rec/sub/status").unwrap();
    let bytes = version(&mut t, "rec/sub/status");
    cat(&mut t, "sub/status").unwrap();
    assert_eq!(version(&mut t, "sub/status"), bytes);
    echo(&mut t, "sub/status", b"count 9\nname x\n").unwrap();
    assert_ne!(version(&mut t, "sub/status"), bytes);
    assert_eq!(version(&mut t, "own"), 9);
    let before = (version(&mut t, "log"), version(&mut t, "ctl"), version(&mut t, "conn"));
    t.state.log.push("line");
    echo(&mut t, "ctl", b"count").unwrap();
    assert!(echo(&mut t, "ctl", b"wrong").is_err());
    let (node, held) = open(&mut t, "conn/clone", 2);
    let after = (version(&mut t, "log"), version(&mut t, "ctl"), version(&mut t, "conn"));
    assert_eq!((after.0, after.1), (before.0 + 1, before.1 + 1));
    assert_ne!(after.2, before.2);
    t.close(node, held);
}

#[test]
fn a_clone_file_makes_a_numbered_directory_that_lives_as_long_as_it_is_open() {
    let mut t = files(0);
    assert_eq!(ls(&mut t, "conn"), ["clone"]);
    let mut first = open(&mut t, "conn/clone", 2);
    assert_eq!(read(&mut t, &mut first, 9).unwrap().unwrap(), b"0\n");
    let second = open(&mut t, "conn/clone", 2);
    assert_eq!(ls(&mut t, "conn"), ["clone", "0", "1"]);
    assert_eq!(ls(&mut t, "conn/1"), ["ctl", "status", "data"]);
    assert_eq!(text(&mut t, "conn/1/status"), "count 1\nname call 1\n");
    for none in ["conn/2", "conn/01", "conn/+1", "conn/x", "conn/-1"] {
        assert_eq!(walk(&mut t, none), Err(Errno::ENOENT), "{none}");
    }
    // What a second open file of it follows keeps it, when the first is closed.
    let mut data = open(&mut t, "conn/0/data", 0);
    assert_eq!(read(&mut t, &mut data, 9), Ok(None));
    t.write(first.0, &mut first.1, 0, b"say hello").unwrap();
    let mut woken = Vec::new();
    t.woken(&mut |n| woken.push(n));
    assert_eq!(woken, [data.0]);
    assert_eq!(read(&mut t, &mut data, 9).unwrap().unwrap(), b"hello\n");
    t.close(first.0, first.1);
    assert!(t.state.ended.is_empty() && walk(&mut t, "conn/0").is_ok());
    t.close(data.0, data.1);
    assert_eq!(t.state.ended, [0]);
    assert_eq!(walk(&mut t, "conn/0"), Err(Errno::ENOENT));
    // No number is used again, and there are at most three.
    let third = open(&mut t, "conn/clone", 2);
    let fourth = open(&mut t, "conn/clone", 0);
    assert_eq!(ls(&mut t, "conn"), ["clone", "1", "2", "3"]);
    let mut clone = walk(&mut t, "conn/clone").unwrap();
    let fault = t.open(&mut clone, OpenFlags::RDWR).unwrap_err();
    assert_eq!(
        (fault.errno, fault.text()),
        (Errno::ENOSPC, "there are 3 of them, and no more are allowed")
    );
    assert_eq!(clone, walk(&mut t, "conn/clone").unwrap());
    for file in [second, third, fourth] {
        t.close(file.0, file.1);
    }
    assert_eq!((t.state.ended.len(), t.state.calls.len()), (4, 0));
}

#[test]
fn a_command_ends_a_numbered_directory_and_who_waits_in_it_hears() {
    let mut t = files(0);
    let mut ctl = open(&mut t, "conn/clone", 2);
    let mut data = open(&mut t, "conn/0/data", 0);
    assert_eq!(read(&mut t, &mut data, 9), Ok(None));
    t.write(ctl.0, &mut ctl.1, 0, b"hangup").unwrap();
    assert_eq!(t.state.ended, [0]);
    let mut woken = Vec::new();
    t.woken(&mut |n| woken.push(n));
    assert_eq!(woken, [data.0]);
    assert_eq!(read(&mut t, &mut data, 9), Err(Errno::ESTALE));
    assert_eq!(t.write(ctl.0, &mut ctl.1, 0, b"say x").unwrap_err().errno, Errno::ESTALE);
    assert_eq!(t.stat(ctl.0).unwrap_err().errno, Errno::ESTALE);
    t.close(data.0, data.1);
    t.close(ctl.0, ctl.1);
    assert_eq!(t.state.ended, [0], "it ends once");
    let next = open(&mut t, "conn/clone", 2);
    assert_eq!(text(&mut t, "conn/1/ctl"), "1\n");
    t.close(next.0, next.1);
    t.woken(&mut |n| panic!("{n:?} has nothing new"));
}

#[test]
fn numbered_directories_that_are_left_are_kept_as_long_as_there_is_room() {
    let mut t = files(2);
    for _ in 0..4 {
        let ctl = open(&mut t, "conn/clone", 2);
        t.close(ctl.0, ctl.1);
    }
    assert_eq!(
        (ls(&mut t, "conn"), &t.state.ended[..]),
        (vec!["clone".into(), "2".into(), "3".into()], &[0, 1][..])
    );
    // One that is found again is not the one that was left first.
    let found = open(&mut t, "conn/2/ctl", 2);
    t.close(found.0, found.1);
    let held = [open(&mut t, "conn/clone", 2), open(&mut t, "conn/clone", 2)];
    assert_eq!(t.state.ended, [0, 1, 3]);
    assert_eq!(text(&mut t, "conn/2/status"), "count 2\nname call 2\n");
    held.into_iter().for_each(|f| t.close(f.0, f.1));
}

#[test]
fn through_a_session_a_clone_is_an_open_ctl() {
    let mut t = files(0);
    let mut p = Peer::attached(&mut t, Limits::default());
    p.open(&mut t, 1, "conn/clone", OpenFlags::RDWR);
    assert_eq!(p.read(&mut t, 2, 1).unwrap(), b"0\n");
    assert_eq!(p.walk(&mut t, 0, 2, "conn/0/data"), 0);
    assert_eq!(p.errno(&mut t, &Tmsg::Lopen { fid: 2, flags: OpenFlags::RDONLY }), 0);
    assert_eq!(p.read(&mut t, 3, 2), None);
    let say = Tmsg::Write { fid: 1, offset: 0, data: b"say hi", op: None };
    assert_eq!(p.errno(&mut t, &say), 0);
    t.woken(&mut |n| p.s.wake(n));
    assert_eq!(data(&p.late(&mut t)[0]), b"hi\n");
    // The connection is gone, and so is what it made.
    p.s.close(&mut t);
    assert_eq!(t.state.ended, [0]);
}

#[test]
fn bytes_reach_every_reader_and_lost_ones_show_in_the_position() {
    let mut t = files(0);
    let (mut one, mut two) = (open(&mut t, "console", 0), open(&mut t, "console", 0));
    assert_eq!(read(&mut t, &mut one, 9), Ok(None));
    t.state.console.push(b"no line end");
    let mut woken = Vec::new();
    t.woken(&mut |n| woken.push(n));
    assert_eq!(woken, [one.0], "one node, however many readers");
    assert_eq!(read(&mut t, &mut one, 3).unwrap().unwrap(), b"no ");
    let at = t.position(one.0, &mut one.1).unwrap();
    assert_eq!(at, 3);
    t.state.console.push(b"0123456789abcdef");
    // 27 bytes came, 16 are kept: who goes on at 3 finds itself at 11.
    t.seek(two.0, &mut two.1, at).unwrap();
    assert_eq!(read(&mut t, &mut two, 4).unwrap().unwrap(), b"0123");
    assert_eq!(t.position(two.0, &mut two.1), Some(15));
    assert_eq!(t.seek(two.0, &mut two.1, 28).unwrap_err().errno, Errno::ESTALE);
    let mut node = walk(&mut t, "console").unwrap();
    assert_eq!(t.open(&mut node, OpenFlags::RDWR).unwrap_err().errno, Errno::EACCES);
    t.state.console.end();
    assert_eq!(read(&mut t, &mut two, 99).unwrap().unwrap(), b"456789abcdef");
    assert_eq!(read(&mut t, &mut two, 99).unwrap().unwrap(), b"");
    for file in [one, two] {
        t.close(file.0, file.1);
    }
}

#[test]
fn a_writer_waits_while_nobody_takes_what_it_wrote() {
    let mut t = files(0);
    let mut p = Peer::attached(&mut t, Limits::default());
    p.open(&mut t, 1, "tty", OpenFlags::RDWR);
    let write = |data| Tmsg::Write { fid: 1, offset: 0, data, op: None };
    let f = p.ask(&mut t, &write(b"0123456789"));
    assert_eq!(Rmsg::decode(&f).unwrap(), Rmsg::Write { count: 8 });
    assert!(p.raw(&mut t, &frame(7, &write(b"89"))).is_empty());
    t.woken(&mut |n| p.s.wake(n));
    assert!(p.late(&mut t).is_empty(), "there is no room yet");
    let mut buf = [0; 4];
    assert_eq!((t.state.input.take(&mut buf), &buf), (4, b"0123"));
    t.woken(&mut |n| p.s.wake(n));
    let late = p.late(&mut t);
    assert_eq!((late.len(), tag_of(&late[0])), (1, 7));
    assert_eq!(t.state.input.held(), 6);
    assert!(p.raw(&mut t, &frame(8, &write(b"xyz")))[0].len() == 11, "two of three fit");
    assert!(p.raw(&mut t, &frame(9, &write(b"z"))).is_empty());
    t.state.input.end();
    t.woken(&mut |n| p.s.wake(n));
    assert_eq!(errno(&p.late(&mut t)[0]), Errno::EPIPE.0);
    p.s.close(&mut t);
}

#[test]
fn a_huge_directory_costs_nothing_and_loses_nothing_between_pages() {
    let mut t = files(0);
    let mut p = Peer::attached(&mut t, Limits::default());
    p.open(&mut t, 1, "flat", OpenFlags::RDONLY);
    let (mut offset, mut n) = (0, 0u64);
    loop {
        let f = p.ask(&mut t, &Tmsg::Readdir { fid: 1, offset, count: 8000 });
        let Ok(Rmsg::Readdir { data }) = Rmsg::decode(&f) else { panic!() };
        let Some(last) = entries(data).last() else { break };
        offset = last.cookie;
        for e in entries(data) {
            assert_eq!(e.name, format!("f{n}"));
            n += 1;
        }
        assert!(p.s.held() < 100_000, "{} bytes are held", p.s.held());
    }
    assert_eq!(n, 1_000_000);
    assert_eq!(text(&mut t, "flat/f999999"), "file 999999\n");
    assert_eq!(walk(&mut t, "flat/f1000000"), Err(Errno::ENOENT));
    assert_eq!(walk(&mut t, "flat/f5/x"), Err(Errno::ENOTDIR));

    // Names come and go between the pages of somebody who lists.
    t.state.names = (0..5000).map(|i| (i * 2, format!("n{}", i * 2))).collect();
    p.open(&mut t, 2, "many", OpenFlags::RDONLY);
    let (mut offset, mut seen) = (0, Vec::new());
    let mut page = 0;
    loop {
        let f = p.ask(&mut t, &Tmsg::Readdir { fid: 2, offset, count: 500 });
        let Ok(Rmsg::Readdir { data }) = Rmsg::decode(&f) else { panic!() };
        let Some(last) = entries(data).last() else { break };
        offset = last.cookie;
        seen.extend(entries(data).map(|e| e.name.to_string()));
        page += 1;
        // One that was listed goes, and odd ones come before and behind.
        t.state.names.remove(&(page * 4));
        t.state.names.insert(page * 2 + 1, format!("n{}", page * 2 + 1));
        t.state.names.insert(9999 - 2 * page, format!("n{}", 9999 - 2 * page));
    }
    let mut even: Vec<u64> = seen.iter().map(|n| n[1..].parse().unwrap()).collect();
    assert!(even.windows(2).all(|w| w[0] < w[1]), "one came twice");
    even.retain(|n| n % 2 == 0);
    assert!(page > 100 && even.len() == 5000, "{} of 5000 in {page} pages", even.len());
    assert_eq!(text(&mut t, "many/n8000/id"), "8000\n");
    assert_eq!(text(&mut t, "many/n8000/status"), "count 8000\nname n8000\n");
    assert_eq!(cat(&mut t, "rec/many/n8000/status").unwrap()[..4], [3, 0xc0, 0x3e, 5]);
    let node = walk(&mut t, "many/n8000/status").unwrap();
    t.state.names.clear();
    assert_eq!(t.walk(node, "..").unwrap().1.ty, 0x80);
    p.s.close(&mut t);
}

#[test]
fn a_named_write_is_done_once() {
    let mut t = files(0);
    let (node, mut open) = open(&mut t, "ctl", 1);
    let mut send = |t: &mut Tested, client, seq, again, data: &[u8]| {
        let op = OpId { client, seq, again };
        t.write_once(node, &mut open, op, 0, data).map_err(|f| (f.errno, f.text().to_string()))
    };
    assert_eq!(send(&mut t, 1, 1, false, b"count"), Ok(Reply::Done(5)));
    assert_eq!(send(&mut t, 1, 1, true, b"count"), Ok(Reply::Done(5)));
    assert_eq!(t.state.done, 1);
    // A failure is answered again as it was, and is not tried again.
    let fault = send(&mut t, 1, 2, false, b"say x").unwrap_err();
    assert_eq!(fault, (Errno::EINVAL, "\"say x\": hush".into()));
    assert_eq!(send(&mut t, 1, 2, true, b"say x").unwrap_err(), fault);
    assert_eq!(t.state.done, 2);
    // Known, but never seen: done. Unknown: nobody can know.
    assert_eq!(send(&mut t, 1, 3, true, b"count"), Ok(Reply::Done(5)));
    assert_eq!(send(&mut t, 9, 1, true, b"count").unwrap_err().0, Errno::ESTALE);
    assert_eq!(t.state.done, 3);
    // Other clients push the oldest out.
    for client in 100..200 {
        assert_eq!(send(&mut t, client, 1, false, b"count"), Ok(Reply::Done(5)));
    }
    assert_eq!(send(&mut t, 1, 3, true, b"count").unwrap_err().0, Errno::ESTALE);
    assert_eq!(t.state.done, 103);
    t.close(node, open);
}

#[test]
fn what_files_may_be_made_to_hold_is_limited() {
    let mut t = files(0);
    t.synth.limits = FileLimits { opens: 4, readers: 2, text: 1000, held: 1500 };
    let refused = |t: &mut Tested, path: &str, most: usize| {
        let held: Vec<_> = (0..most).map(|_| open(t, path, 0)).collect();
        let mut node = walk(t, path).unwrap();
        let fault = t.open(&mut node, OpenFlags::RDONLY).unwrap_err();
        let text = format!("the file is open {most} times, and may not be more often");
        assert_eq!((fault.errno, fault.text()), (Errno::EMFILE, &text[..]));
        held.into_iter().for_each(|f| t.close(f.0, f.1));
        let (node, again) = open(t, path, 0);
        t.close(node, again);
    };
    refused(&mut t, "text", 4);
    refused(&mut t, "log", 2);
    refused(&mut t, "console", 2);
    // Of numbered directories the limit is that of the file in all of them, and a
    // clone that cannot be opened leaves nothing behind.
    t.synth.limits.opens = 2;
    let held = [open(&mut t, "conn/clone", 2), open(&mut t, "conn/clone", 2)];
    let mut clone = walk(&mut t, "conn/clone").unwrap();
    assert_eq!(t.open(&mut clone, OpenFlags::RDWR).unwrap_err().errno, Errno::EMFILE);
    assert_eq!(t.state.ended, [2]);
    held.into_iter().for_each(|f| t.close(f.0, f.1));
    assert_eq!((t.state.ended.len(), t.state.calls.len()), (3, 0));
    t.synth.limits.opens = 4;

    t.state.status.name = "x".repeat(900);
    let mut one = open(&mut t, "text", 0);
    let mut two = open(&mut t, "text", 0);
    assert_eq!(read(&mut t, &mut one, 10).unwrap().unwrap().len(), 10);
    assert_eq!(read(&mut t, &mut two, 10), Err(Errno::ENOBUFS));
    assert_eq!(read(&mut t, &mut one, 10).unwrap().unwrap().len(), 10, "it takes its own place");
    t.close(one.0, one.1);
    assert_eq!(read(&mut t, &mut two, 2000).unwrap().unwrap().len(), 900);
    t.state.status.name = "x".repeat(1001);
    assert_eq!(read(&mut t, &mut two, 10), Err(Errno::EFBIG));
    assert_eq!(cat(&mut t, "rec/sub/status"), Err(Errno::EFBIG));
    t.close(two.0, two.1);
    t.state.status.name = "x".repeat(1000);
    assert_eq!(text(&mut t, "text").len(), 1000);
}

#[test]
fn permissions_are_what_they_are_made() {
    let mut t = files(0);
    let root = t.synth.root();
    let secret = t.synth.ctl(root, "secret", VERBS, |_, _| Ok(()));
    t.synth.perm(secret, 0o600);
    let plain = t.synth.bytes(root, "plain", b"x");
    t.synth.perm(plain, 0o666);
    (t.synth.uid, t.synth.gid) = (7, 8);
    let s = t.stat(secret).unwrap();
    assert_eq!((s.mode, s.uid, s.gid), (mode::FILE | 0o600, 7, 8));
    assert_eq!(t.stat(plain).unwrap().mode, mode::FILE | 0o444, "what cannot be written is not");
    t.synth.read_only(secret);
    assert_eq!(t.stat(secret).unwrap().mode, mode::FILE | 0o400);
    let mut node = secret;
    assert_eq!(t.open(&mut node, OpenFlags::WRONLY).unwrap_err().errno, Errno::EACCES);
}

#[test]
fn a_stream_goes_on_where_another_connection_stood() {
    let mut t = files(0);
    let mut one = open(&mut t, "log", 0);
    t.state.log.push("first");
    t.state.log.push("second");
    assert_eq!(read(&mut t, &mut one, 8).unwrap().unwrap(), b"first\n");
    let at = t.position(one.0, &mut one.1).unwrap();
    t.close(one.0, one.1);
    let mut two = open(&mut t, "log", 0);
    t.seek(two.0, &mut two.1, at).unwrap();
    assert_eq!(read(&mut t, &mut two, 99).unwrap().unwrap(), b"second\n");
    (0..100).for_each(|i| t.state.log.push(i));
    t.seek(two.0, &mut two.1, at).unwrap();
    assert_eq!(read(&mut t, &mut two, 99).unwrap().unwrap(), b"gap 80\n");
    assert_eq!(read(&mut t, &mut two, 5).unwrap().unwrap(), b"79\n");
    assert_eq!(t.seek(two.0, &mut two.1, u64::MAX >> 1).unwrap_err().errno, Errno::ESTALE);
    t.close(two.0, two.1);
    let mut plain = open(&mut t, "text", 0);
    assert_eq!(t.position(plain.0, &mut plain.1), None);
    assert_eq!(t.seek(plain.0, &mut plain.1, 0).unwrap_err().errno, Errno::EINVAL);
    t.close(plain.0, plain.1);
}
