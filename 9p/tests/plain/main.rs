//! 9P2000: what Plan 9's programs and Linux's `version=9p2000` ask, and what comes, from
//! a session that speaks it and from a joint in front of one that speaks 9P2000.L.
#![allow(unreachable_pub)]

use atoll_9p::dialect::Dialect;
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::{Rmsg, Stat9, Tmsg, Wstat, stats};
use atoll_9p::ram::Ram;
use atoll_9p::server::{Limits, Session};
use atoll_9p::synth::{Files, Synth, Verb};
use atoll_9p::tree::{Entries, Make, Remove, Reply, Tree, Who};
use atoll_9p::types::{OpenFlags, Qid, SetAttr, Stat};
use atoll_9p::wire::{NOFID, NOTAG};
use client::{Line, Plan9, Way};
use common::*;

mod client;
#[path = "../common/mod.rs"]
mod common;
mod joint;
mod same;

const OREAD: u8 = 0;
const OWRITE: u8 = 1;
const ORDWR: u8 = 2;
const OEXEC: u8 = 3;
const OTRUNC: u8 = 0x10;
const ORCLOSE: u8 = 0x40;
const DMDIR: u32 = 1 << 31;

/// Each is tried on every way to the tree.
macro_rules! on_every_way {
    ($($name:ident)*) => {$(
        mod $name {
            use super::Way;

            #[test]
            fn from_a_session() {
                super::$name(Way::Session);
            }

            #[test]
            fn through_the_joint() {
                super::$name(Way::Joint(usize::MAX));
            }

            #[test]
            fn through_the_joint_byte_by_byte() {
                super::$name(Way::Joint(1));
            }
        }
    )*};
}

on_every_way! {
    plan_9_s_programs_find_what_they_ask_for
    every_9p2000_with_a_suffix_gets_the_base
    messages_of_the_other_language_are_unknown_in_this_one
    an_error_is_the_text_by_which_linux_finds_its_number
    who_has_numbers_is_told_errors_in_words_of_linux
    directories_are_read_in_whole_entries_and_only_onwards
    an_entry_that_cannot_be_looked_at_is_shown_all_the_same
    modes_of_open_are_those_of_the_manual
    what_is_created_has_the_permissions_that_its_directory_leaves
    stat_tells_the_name_whatever_way_one_came
    a_wstat_that_touches_nothing_is_a_sync
    a_wstat_changes_all_that_it_says_or_nothing
    a_name_goes_back_when_the_rest_of_its_wstat_fails
    reads_wait_and_are_flushed_in_this_language_too
}

fn plan_9_s_programs_find_what_they_ask_for(way: Way) {
    let mut t = Ram::default();
    let mut c = Plan9::mount(&mut t, way);
    c.mkdir(&mut t, "lib").unwrap();
    c.create(&mut t, "lib/words", "some words\n").unwrap();
    c.create(&mut t, "lib/words", "words\n").unwrap();
    assert_eq!(c.cat(&mut t, "lib/words").unwrap(), "words\n");
    assert_eq!(c.cat(&mut t, "lib/../lib/words").unwrap(), "words\n");
    let long = "0123456789".repeat(2000);
    c.create(&mut t, "lib/long", &long[..8000]).unwrap();
    assert_eq!(c.cat(&mut t, "lib/long").unwrap(), long[..8000]);
    let ls = |c: &mut Plan9<_>, t: &mut _, path| {
        c.ls(t, path).map(|l| l.into_iter().map(|e| (e.0, e.2)).collect::<Vec<_>>())
    };
    // Permissions are cut to those of the directory, which lets nobody else write.
    let (file, dir) = (0o644, DMDIR | 0o755);
    assert_eq!(ls(&mut c, &mut t, "").unwrap(), [(dir, "lib".into())]);
    assert_eq!(ls(&mut c, &mut t, "lib").unwrap(), [(file, "long".into()), (file, "words".into())]);
    // mv: within a directory by wstat.
    let name = |name| Wstat { name: Some(name), ..Wstat::default() };
    c.wstat(&mut t, "lib/words", name("sayings")).unwrap();
    assert_eq!(c.wstat(&mut t, "lib/long", name("sayings")).unwrap_err(), "File exists");
    // touch: the time, or a file that is made.
    c.wstat(&mut t, "lib/sayings", Wstat { mtime: Some(77), ..Wstat::default() }).unwrap();
    c.create(&mut t, "lib/empty", "").unwrap();
    c.at(&mut t, "lib/sayings", |c, t, fid| {
        assert_eq!(c.stat(t, fid)?, (file, 6, 77, "sayings".into()));
        Ok(())
    })
    .unwrap();
    assert_eq!(c.rm(&mut t, "lib").unwrap_err(), "Directory not empty");
    for path in ["lib/empty", "lib/long", "lib/sayings", "lib"] {
        c.rm(&mut t, path).unwrap();
    }
    assert_eq!(c.cat(&mut t, "lib").unwrap_err(), "No such file or directory");
    assert_eq!(ls(&mut c, &mut t, "").unwrap(), []);
    assert_eq!(c.p.fids(), 1, "every program has clunked its fids");
    c.p.close(&mut t);
    assert_eq!(t.used().files, 1);
}

fn every_9p2000_with_a_suffix_gets_the_base(way: Way) {
    let mut t = Ram::default();
    for version in ["9P2000", "9P2000.u", "9P2000.whatever"] {
        let mut p = Line::new(&mut t, way);
        let f = p.greet(&mut t, 8192, version);
        let want = Rmsg::Version { msize: 8192, version: "9P2000" };
        assert_eq!(Rmsg::decode(&f).unwrap(), want);
    }
}

fn who_has_numbers_is_told_errors_in_words_of_linux(way: Way) {
    const VERBS: &[Verb] = &[Verb::new("level", "N", 1)];
    let mut synth = Synth::new();
    let root = synth.root();
    synth.ctl(root, "ctl", VERBS, |(), _| Ok(()));
    let mut t = Files { synth, state: () };
    let ours = "no command in \"jump\"";
    for (version, want) in [
        ("9P2000", ours),
        ("9P2000.u", "Invalid argument"),
        ("9P2000.u.x", "Invalid argument"),
        ("9P2000.unix", ours),
    ] {
        let mut p = Line::new(&mut t, way);
        p.greet(&mut t, 8192, version);
        let mut c = Plan9 { p, next: 1 };
        let m = Tmsg::Attach { fid: 0, afid: NOFID, uname: "", aname: "", n_uname: NOFID };
        c.ask(&mut t, &m).unwrap();
        let fid = c.walk(&mut t, "ctl").unwrap();
        c.open(&mut t, fid, OWRITE).unwrap();
        let write = Tmsg::Write { fid, offset: 0, data: b"jump", op: None };
        let text = c.ask(&mut t, &write).unwrap_err();
        assert!(text == want || (want == ours && text.starts_with(ours)), "{version}: {text}");
        c.p.close(&mut t);
    }
}

#[test]
fn a_session_without_it_knows_neither_the_name_nor_the_messages() {
    let mut t = Ram::default();
    let mut s = Session::linux(Limits::default());
    let mut ask = |tag, m: &Tmsg<'_>| {
        s.feed(&frame(tag, m));
        assert!(s.step(&mut t));
        let answer = s.output().to_vec();
        s.sent(answer.len());
        answer
    };
    let mut greet = |version, want| {
        let f = ask(NOTAG, &Tmsg::Version { msize: 8192, version });
        assert_eq!(Rmsg::decode(&f).unwrap(), Rmsg::Version { msize: 8192, version: want });
        errno(&ask(1, &attach(0)))
    };
    for version in ["9P2000", "9P2000.u", "9P2000.whatever"] {
        assert_eq!(greet(version, "unknown"), Errno::EPROTO.0, "nothing is agreed on");
    }
    assert_eq!(greet("9P2000.L", "9P2000.L"), 0, "who proposes another then is served");
    assert_eq!(errno(&ask(1, &Tmsg::Stat { fid: 0 })), Errno::EOPNOTSUPP.0);
    // A fid's name is known where something wants it, as in any other session.
    let done = [
        ask(1, &Tmsg::Mkdir { dfid: 0, name: "a", mode: 0o755, gid: 0 }),
        ask(1, &Tmsg::Mkdir { dfid: 0, name: "b", mode: 0o755, gid: 0 }),
    ];
    assert_eq!(done.map(|f| errno(&f)), [0, 0]);
    s.feed(&walk_frame(1, 0, 1, &[b"a"]));
    s.feed(&frame(1, &Tmsg::Rename { fid: 1, dfid: 0, name: "c" }));
    s.feed(&frame(1, &Tmsg::Remove { fid: 1 }));
    while s.step(&mut t) {}
    assert_eq!(frames(s.output()).iter().map(|f| errno(f)).collect::<Vec<_>>(), [0, 0, 0]);
    assert_eq!(t.used().files, 2);
}

fn messages_of_the_other_language_are_unknown_in_this_one(way: Way) {
    let mut t = Ram::default();
    let mut c = Plan9::mount(&mut t, way);
    for m in [
        Tmsg::Getattr { fid: 0, mask: 0 },
        Tmsg::Lopen { fid: 0, flags: OpenFlags::RDONLY },
        Tmsg::Readdir { fid: 0, offset: 0, count: 99 },
        Tmsg::Statfs { fid: 0 },
    ] {
        assert_eq!(c.ask(&mut t, &m).unwrap_err(), "Operation not supported");
    }
    let mut p = Line::new(&mut t, way);
    p.greet(&mut t, 8192, "9P2000.L");
    p.one(&mut t, &frame(1, &attach(0)));
    for m in [
        Tmsg::Open { fid: 0, mode: 0 },
        Tmsg::Create { fid: 0, name: "x", perm: 0, mode: 0 },
        Tmsg::Stat { fid: 0 },
        Tmsg::Wstat { fid: 0, stat: Wstat::default() },
    ] {
        assert_eq!(errno(&p.one(&mut t, &frame(1, &m))), Errno::EOPNOTSUPP.0);
    }
}

fn an_error_is_the_text_by_which_linux_finds_its_number(way: Way) {
    let mut t = Counting::default();
    let mut c = Plan9::mount(&mut t, way);
    assert_eq!(c.walk(&mut t, "nothing").unwrap_err(), "No such file or directory");
    assert_eq!(c.walk(&mut t, "bad").unwrap_err(), "Input/output error");
    assert_eq!(c.ask(&mut t, &Tmsg::Clunk { fid: 99 }).unwrap_err(), "Bad file descriptor");
    // Where there is something to say, it is said.
    let read = Tmsg::Read { fid: 0, offset: 0, count: 1 };
    assert_eq!(c.ask(&mut t, &read).unwrap_err(), "open the file for reading first");
    let auth = Tmsg::Auth { afid: 1, uname: "", aname: "", n_uname: NOFID };
    assert_eq!(c.ask(&mut t, &auth).unwrap_err(), "no authentication is needed here");
}

fn directories_are_read_in_whole_entries_and_only_onwards(way: Way) {
    let mut t = Ram::default();
    let names: Vec<_> = (0..300).map(|i| format!("{i}-{}", "n".repeat(i % 150))).collect();
    for name in &names {
        t.put(&format!("d/{name}"), b"").unwrap();
    }
    let mut c = Plan9::mount(&mut t, way);
    for count in [212, 500, 8168, u32::MAX] {
        let seen = c.at(&mut t, "d", |c, t, fid| {
            c.open(t, fid, OREAD)?;
            let (mut offset, mut seen) = (0, Vec::new());
            loop {
                let part = data(&c.ask(t, &Tmsg::Read { fid, offset, count })?);
                assert!(part.len() <= count as usize && part.len() <= 8192 - 11);
                let before = seen.len();
                seen.extend(stats(&part).map(|s| s.name.to_string()));
                let bytes: usize = stats(&part).map(|s: Stat9<'_>| s.size()).sum();
                assert_eq!(bytes, part.len(), "whole entries");
                if seen.len() == before {
                    break;
                }
                // Neither back nor elsewhere, and the place is not lost by asking.
                for wrong in [offset + 1, offset + part.len() as u64 - 1, u64::MAX] {
                    let m = Tmsg::Read { fid, offset: wrong, count };
                    assert_eq!(c.ask(t, &m).unwrap_err(), "bad offset in directory read");
                }
                offset += part.len() as u64;
            }
            // From the start again.
            let again = data(&c.ask(t, &Tmsg::Read { fid, offset: 0, count })?);
            assert_eq!(stats(&again).next().unwrap().name, seen[0]);
            Ok(seen)
        });
        assert_eq!(seen.unwrap(), names, "{count}");
    }
    // An entry that does not fit is an error: nothing would be the end.
    c.at(&mut t, "d", |c, t, fid| {
        c.open(t, fid, OREAD)?;
        for count in [0, 1, 40, 50] {
            assert!(c.ask(t, &Tmsg::Read { fid, offset: 0, count }).is_err(), "{count}");
        }
        c.ask(t, &Tmsg::Read { fid, offset: 0, count: 56 }).map(drop)
    })
    .unwrap();
    c.p.close(&mut t);
    assert_eq!(t.used().files, 302);
}

fn an_entry_that_cannot_be_looked_at_is_shown_all_the_same(way: Way) {
    let mut t = Counting { many: 40, ..Counting::default() };
    let mut c = Plan9::mount(&mut t, way);
    // This tree lists forty files and lets nobody walk to any of them.
    let all = c.ls(&mut t, "many").unwrap();
    assert_eq!(all.len(), 40);
    assert!(all.iter().all(|e| (e.0, e.1) == (0, 0)));
    c.p.close(&mut t);
    t.assert_empty();
}

fn modes_of_open_are_those_of_the_manual(way: Way) {
    let mut t = Ram::default();
    t.put("d/f", b"text").unwrap();
    let mut c = Plan9::mount(&mut t, way);
    let set = |mode| Wstat { mode: Some(mode), ..Wstat::default() };
    let open = |c: &mut Plan9<Ram>, t: &mut Ram, path: &str, mode: u8| {
        c.at(t, path, |c, t, fid| c.open(t, fid, mode).map(drop))
    };
    for (perm, mode, ok) in [
        (0o600, ORDWR, true),
        (0o600, OEXEC, false),
        // The joint can open only what may be read.
        (0o100, OEXEC, way == Way::Session),
        (0o500, OEXEC, true),
        (0o100, OREAD, false),
        (0o400, OREAD, true),
        (0o400, OREAD | OTRUNC, false),
        (0o200, OWRITE | 0x20, true),
        (0o600, 0x08, false),
        (0o600, 0x80, false),
    ] {
        c.wstat(&mut t, "d/f", set(perm)).unwrap();
        assert_eq!(open(&mut c, &mut t, "d/f", mode).is_ok(), ok, "{perm:o} {mode:x}");
    }
    assert_eq!(t.content("d/f").unwrap(), b"text");
    for mode in [OWRITE, ORDWR, OEXEC, OREAD | OTRUNC, OREAD | ORCLOSE] {
        let is_dir = "Is a directory";
        assert_eq!(open(&mut c, &mut t, "d", mode).unwrap_err(), is_dir, "{mode:x}");
    }
    c.wstat(&mut t, "d/f", set(0o600)).unwrap();
    open(&mut c, &mut t, "d/f", OWRITE | OTRUNC).unwrap();
    assert_eq!(t.content("d/f").unwrap(), b"");
    // The file goes with the fid.
    open(&mut c, &mut t, "d/f", OREAD | ORCLOSE).unwrap();
    assert!(t.content("d/f").is_err());
    let fid = c.walk(&mut t, "d").unwrap();
    let m = Tmsg::Create { fid, name: "brief", perm: 0o600, mode: ORDWR | ORCLOSE };
    c.ask(&mut t, &m).unwrap();
    assert!(t.content("d/brief").is_ok());
    c.clunk(&mut t, fid);
    assert!(t.content("d/brief").is_err());
    let fid = c.walk(&mut t, "d").unwrap();
    c.ask(&mut t, &Tmsg::Create { fid, name: "brief", perm: 0o600, mode: ORCLOSE }).unwrap();
    c.p.close(&mut t);
    assert!(t.content("d/brief").is_err(), "nor does it outlive the connection");
}

fn what_is_created_has_the_permissions_that_its_directory_leaves(way: Way) {
    let mut t = Ram::default();
    let mut c = Plan9::mount(&mut t, way);
    c.mkdir(&mut t, "d").unwrap();
    let mode = Wstat { mode: Some(DMDIR | 0o751), ..Wstat::default() };
    c.wstat(&mut t, "d", mode).unwrap();
    let mut make = |c: &mut Plan9<Ram>, name: &str, perm, mode| {
        c.at(&mut t, "d", |c, t, fid| {
            c.ask(t, &Tmsg::Create { fid, name, perm, mode })?;
            c.stat(t, fid)
        })
        .map(|s| s.0)
    };
    assert_eq!(make(&mut c, "f", 0o666, OREAD), Ok(0o640));
    assert_eq!(make(&mut c, "x", 0o777, OREAD), Ok(0o751), "bits to run a file stay");
    assert_eq!(make(&mut c, "g", DMDIR | 0o777, OREAD), Ok(DMDIR | 0o751));
    assert_eq!(make(&mut c, "g", DMDIR | 0o777, OREAD), Err("File exists".into()));
    assert_eq!(make(&mut c, "h", DMDIR | 0o777, ORDWR), Err("Is a directory".into()));
    for strange in [0x4000_0000, 0x2000_0000, 0x0200_0000, 0o1777] {
        assert!(make(&mut c, "s", strange, OREAD).is_err(), "{strange:x}");
    }
    for name in ["", ".", "..", "a/b"] {
        assert!(make(&mut c, name, 0o666, OREAD).is_err(), "{name}");
    }
    assert_eq!(c.ls(&mut t, "d").unwrap().len(), 3);
}

fn stat_tells_the_name_whatever_way_one_came(way: Way) {
    let mut t = Ram::default();
    t.put("a/b/c", b"").unwrap();
    let mut c = Plan9::mount(&mut t, way);
    for (path, name) in [
        ("", "/"),
        ("..", "/"),
        ("a", "a"),
        ("a/b", "b"),
        ("a/b/c", "c"),
        ("a/b/..", "a"),
        ("a/b/../..", "/"),
        ("a/b/../../a/b", "b"),
    ] {
        let got = c.at(&mut t, path, |c, t, fid| c.stat(t, fid)).unwrap();
        assert_eq!(got.3, name, "{path}");
    }
    // Only a directory has something above it.
    assert!(c.at(&mut t, "a/b/c/..", |c, t, fid| c.stat(t, fid)).is_err());
    // A copy has its original's name, and a file that was renamed its new one.
    let fid = c.walk(&mut t, "a/b").unwrap();
    c.p.one(&mut t, &walk_frame(1, fid, 500, &[]));
    assert_eq!(c.stat(&mut t, 500).unwrap().3, "b");
    let stat = Wstat { name: Some("bee"), ..Wstat::default() };
    c.ask(&mut t, &Tmsg::Wstat { fid: 500, stat }).unwrap();
    assert_eq!(c.stat(&mut t, 500).unwrap().3, "bee");
    assert!(t.find("a/bee/c").is_ok());
}

fn a_wstat_that_touches_nothing_is_a_sync(way: Way) {
    let mut t = Ram::default();
    t.put("f", b"text").unwrap();
    let mut c = Plan9::mount(&mut t, way);
    c.wstat(&mut t, "f", Wstat::default()).unwrap();
    c.wstat(&mut t, "", Wstat::default()).unwrap();
    assert_eq!(t.content("f").unwrap(), b"text");
}

fn a_wstat_changes_all_that_it_says_or_nothing(way: Way) {
    let mut t = Ram::default();
    t.put("d/f", b"text").unwrap();
    t.put("d/taken", b"").unwrap();
    let mut c = Plan9::mount(&mut t, way);
    let none = Wstat::default();
    let all = Wstat {
        mode: Some(0o600),
        mtime: Some(9),
        atime: Some(8),
        length: Some(2),
        name: Some("g"),
        gid: Some("0"),
        uid: Some("0"),
    };
    for bad in [
        Wstat { name: Some("taken"), ..all },
        Wstat { name: Some("a/b"), ..all },
        Wstat { name: Some(".."), ..all },
        Wstat { mode: Some(DMDIR | 0o600), ..all },
        Wstat { mode: Some(0x4000_0600), ..all },
        Wstat { uid: Some("glenda"), ..all },
        Wstat { gid: Some("sys"), ..all },
        Wstat { length: Some(u64::MAX - 1), ..all },
    ] {
        assert!(c.wstat(&mut t, "d/f", bad).is_err(), "{bad:?}");
        let now = c.at(&mut t, "d/f", |c, t, fid| c.stat(t, fid)).unwrap();
        assert_eq!(now, (0o644, 4, 0, "f".into()), "after {bad:?}");
    }
    c.wstat(&mut t, "d/f", all).unwrap();
    let now = c.at(&mut t, "d/g", |c, t, fid| c.stat(t, fid)).unwrap();
    assert_eq!(now, (0o600, 2, 9, "g".into()));
    // Its own name is no other's.
    c.wstat(&mut t, "d/g", Wstat { name: Some("g"), length: Some(1), ..none }).unwrap();
    assert_eq!(t.content("d/g").unwrap(), b"t");
    // A directory has no length, and the root no other name.
    assert!(c.wstat(&mut t, "d", Wstat { length: Some(5), ..none }).is_err());
    c.wstat(&mut t, "d", Wstat { length: Some(0), mode: Some(DMDIR | 0o700), ..none }).unwrap();
    assert!(c.wstat(&mut t, "", Wstat { name: Some("root"), ..none }).is_err());
    assert_eq!(c.p.fids(), 1);
}

/// A tree whose attributes cannot be changed, which nobody can know beforehand.
struct Stubborn(Ram);

impl Tree for Stubborn {
    type Node = <Ram as Tree>::Node;
    type Open = <Ram as Tree>::Open;

    fn attach(&mut self, who: &Who<'_>) -> Result<Self::Node, Fault> {
        self.0.attach(who)
    }

    fn walk(&mut self, at: Self::Node, name: &str) -> Result<(Self::Node, Qid), Fault> {
        self.0.walk(at, name)
    }

    fn again(&mut self, node: Self::Node) -> Self::Node {
        self.0.again(node)
    }

    fn forget(&mut self, node: Self::Node) {
        self.0.forget(node);
    }

    fn stat(&mut self, node: Self::Node) -> Result<Stat, Fault> {
        self.0.stat(node)
    }

    fn set(&mut self, _: Self::Node, _: &SetAttr) -> Result<(), Fault> {
        Err(Errno::EROFS.into())
    }

    fn open(&mut self, node: &mut Self::Node, flags: OpenFlags) -> Result<Self::Open, Fault> {
        self.0.open(node, flags)
    }

    fn read(
        &mut self,
        node: Self::Node,
        open: &mut Self::Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        self.0.read(node, open, offset, buf)
    }

    fn list(
        &mut self,
        node: Self::Node,
        open: &mut Self::Open,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        self.0.list(node, open, cookie, sink)
    }

    fn close(&mut self, node: Self::Node, open: Self::Open) {
        self.0.close(node, open);
    }

    fn create(&mut self, dir: Self::Node, make: &Make<'_>) -> Result<Self::Node, Fault> {
        self.0.create(dir, make)
    }

    fn rename(
        &mut self,
        from: Self::Node,
        name: &str,
        to: Self::Node,
        newname: &str,
    ) -> Result<(), Fault> {
        self.0.rename(from, name, to, newname)
    }

    fn remove(&mut self, dir: Self::Node, name: &str, what: Remove) -> Result<(), Fault> {
        self.0.remove(dir, name, what)
    }
}

fn a_name_goes_back_when_the_rest_of_its_wstat_fails(way: Way) {
    let mut t = Stubborn(Ram::default());
    t.0.put("f", b"text").unwrap();
    let mut c = Plan9::mount(&mut t, way);
    let stat = Wstat { name: Some("g"), length: Some(1), ..Wstat::default() };
    assert_eq!(c.wstat(&mut t, "f", stat).unwrap_err(), "Read-only file system");
    assert_eq!(c.ls(&mut t, "").unwrap(), [(0o644, 4, "f".into())]);
    assert_eq!(t.0.content("f").unwrap(), b"text");
}

fn reads_wait_and_are_flushed_in_this_language_too(way: Way) {
    let mut t = Counting::default();
    let mut c = Plan9::mount(&mut t, way);
    let fid = c.walk(&mut t, "blk").unwrap();
    c.open(&mut t, fid, OREAD).unwrap();
    for tag in [5, 6] {
        let m = Tmsg::Read { fid, offset: 0, count: 4096 };
        assert!(c.p.raw(&mut t, &frame(tag, &m)).is_empty());
    }
    assert_eq!(c.p.one(&mut t, &frame(9, &Tmsg::Flush { oldtag: 5 }))[4], 109);
    t.ready = 1;
    c.p.wake(BLK);
    assert_eq!(data(&c.p.raw(&mut t, &[])[0]), b"content");
    c.p.greet(&mut t, 8192, "9P2000");
    t.assert_empty();
    assert_eq!(c.p.raw(&mut t, &frame(NOTAG, &Tmsg::Clunk { fid })).len(), 1);
}
