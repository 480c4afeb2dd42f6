//! Directories whose entries are an atom's own: `runtime/MODEL.md` names these tests.

mod common;

use atoll_9p::fault::Errno;
use atoll_9p::msg::Tmsg;
use atoll_9p::types::OpenFlags;
use atoll_config::payload::Payload;
use common::script::*;

const BOX: &str = "export/a/box";

fn one() -> Guest {
    Guest::new(atoms(&[("a", "")]))
}

/// Walks to a directory: its fid.
fn dir(g: &mut Guest, path: &str) -> u32 {
    let fid = g.p.fid();
    g.p.client.walk(0, fid, path).expect("a short path");
    fid
}

/// One plain request and its answer.
fn ask(g: &mut Guest, m: &Tmsg<'_>) -> Result<Vec<u8>, Errno> {
    let tag = g.p.ask(m);
    g.w.drive(&mut g.p);
    g.p.answer(tag).expect("an answer").map_err(|f| f.errno)
}

fn create(g: &mut Guest, name: &str, flags: OpenFlags) -> Result<u32, Errno> {
    let fid = dir(g, BOX);
    ask(g, &Tmsg::Lcreate { fid, name, flags, mode: 0o644, gid: 0 }).map(|_| fid)
}

fn write(g: &mut Guest, fid: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
    ask(g, &Tmsg::Write { fid, offset, data, op: None }).map(drop)
}

#[test]
fn entries_are_made_written_read_listed_and_removed() {
    let mut g = one();
    assert_eq!(g.w.ls(&mut g.p, BOX).as_deref(), Ok(""));
    for name in ["one", "two", "three", "four", "five", "six", "seven"] {
        let fid = create(&mut g, name, OpenFlags::WRONLY).expect("a new entry");
        assert_eq!(write(&mut g, fid, 0, name.as_bytes()), Ok(()));
        assert_eq!(ask(&mut g, &Tmsg::Clunk { fid }), Ok(vec![]));
        assert_eq!(seen(), [format!("0 put {name} {name}")]);
    }
    // The atom gives three names at a time.
    let names = "one\ntwo\nthree\nfour\nfive\nsix\nseven\n";
    assert_eq!(g.w.ls(&mut g.p, BOX).as_deref(), Ok(names));
    assert_eq!(g.w.cat(&mut g.p, "export/a/box/two").as_deref(), Ok("two"));
    assert_eq!(g.w.echo(&mut g.p, "export/a/box/two", "new"), Ok(()));
    assert_eq!(seen(), ["0 put two new"]);
    assert_eq!(g.w.cat(&mut g.p, "export/a/box/two").as_deref(), Ok("new"));
    let none = g.w.cat(&mut g.p, "export/a/box/none").map_err(|f| f.errno);
    assert_eq!(none, Err(Errno::ENOENT));
    assert_eq!(create(&mut g, "two", OpenFlags(OpenFlags::EXCL | 1)), Err(Errno::EEXIST));
    let dirfd = dir(&mut g, BOX);
    let remove = |g: &mut Guest, name| ask(g, &Tmsg::Unlinkat { dirfd, name, flags: 0 });
    assert_eq!(remove(&mut g, "two"), Ok(vec![]));
    assert_eq!(remove(&mut g, "two"), Err(Errno::ENOENT));
    assert_eq!(seen(), ["0 remove two"]);
    assert_eq!(g.w.ls(&mut g.p, BOX), Ok(names.replace("two\n", "")));
    // Nothing else is made here, or elsewhere.
    let mkdir = ask(&mut g, &Tmsg::Mkdir { dfid: dirfd, name: "d", mode: 0o755, gid: 0 });
    assert_eq!(mkdir, Err(Errno::EPERM));
    let fid = dir(&mut g, "export/a");
    let flags = OpenFlags::WRONLY;
    let made = ask(&mut g, &Tmsg::Lcreate { fid, name: "x", flags, mode: 0o644, gid: 0 });
    assert!(made.is_err());
}

#[test]
fn every_write_gives_the_atom_all_of_it() {
    let mut g = one();
    let fid = create(&mut g, "k", OpenFlags::RDWR).expect("a new entry");
    assert!(seen().is_empty());
    assert_eq!(write(&mut g, fid, 0, b"hello"), Ok(()));
    assert_eq!(write(&mut g, fid, 5, b" world"), Ok(()));
    assert_eq!(write(&mut g, fid, 0, b"J"), Ok(()));
    assert_eq!(seen(), ["0 put k hello", "0 put k hello world", "0 put k Jello world"]);
    // What the atom refuses is told to who writes, and is not kept.
    assert_eq!(write(&mut g, fid, 0, b"bad"), Err(Errno::EINVAL));
    assert_eq!(write(&mut g, fid, 1, b"E"), Ok(()));
    assert_eq!(seen(), ["0 put k badlo world", "0 put k JEllo world"]);
    assert_eq!(write(&mut g, fid, 65_536, b"x"), Err(Errno::EFBIG));
    assert_eq!(write(&mut g, fid, u64::MAX, b"x"), Err(Errno::EFBIG));
    assert_eq!(ask(&mut g, &Tmsg::Clunk { fid }), Ok(vec![]));
    assert!(seen().is_empty());
    // Made, or emptied, and not written to: that is told when it is closed.
    let fid = create(&mut g, "empty", OpenFlags::WRONLY).expect("a new entry");
    assert_eq!(ask(&mut g, &Tmsg::Clunk { fid }), Ok(vec![]));
    let fid = dir(&mut g, "export/a/box/k");
    ask(&mut g, &Tmsg::Lopen { fid, flags: OpenFlags(OpenFlags::TRUNC | 1) }).expect("an entry");
    assert!(seen().len() == 1);
    assert_eq!(ask(&mut g, &Tmsg::Clunk { fid }), Ok(vec![]));
    assert_eq!(seen(), ["0 put k "]);
}

#[test]
fn a_reader_goes_on_with_what_it_was_shown() {
    let mut g = one();
    let fid = create(&mut g, "k", OpenFlags::WRONLY).expect("a new entry");
    write(&mut g, fid, 0, b"first").expect("a good write");
    let fid = dir(&mut g, "export/a/box/k");
    ask(&mut g, &Tmsg::Lopen { fid, flags: OpenFlags::RDONLY }).expect("an entry");
    let read = |g: &mut Guest, offset| ask(g, &Tmsg::Read { fid, offset, count: 3 });
    assert_eq!(read(&mut g, 0), Ok(b"fir".to_vec()));
    g.w.echo(&mut g.p, "export/a/box/k", "second").expect("a good write");
    assert_eq!(read(&mut g, 3), Ok(b"st".to_vec()));
    assert_eq!(read(&mut g, 0), Ok(b"sec".to_vec()));
    assert_eq!(read(&mut g, 3), Ok(b"ond".to_vec()));
}

#[test]
fn what_clients_may_not_change_they_cannot() {
    let mut g = Guest::new(Payload { writable: vec!["a/ctl"], ..atoms(&[("a", "")]) });
    assert!(create(&mut g, "k", OpenFlags::WRONLY).is_err());
    let dirfd = dir(&mut g, BOX);
    assert!(ask(&mut g, &Tmsg::Unlinkat { dirfd, name: "k", flags: 0 }).is_err());
    assert!(seen().is_empty());
    assert_eq!(g.tell("a", "register x"), ["0 register registered"]);
}
