//! Making, moving and removing files over 9P2000.L, and who may do it.

mod common;

use atoll_9p::access::Identity;
use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, SetAttr, Tmsg, entries};
use atoll_9p::ram::Ram;
use atoll_9p::server::{Limits, Session};
use atoll_9p::types::{
    Lock, LockKind, LockStatus, OpenFlags, Qid, Stat, Time, mode, qid_type, setattr,
};
use atoll_9p::wire::NOFID;
use common::*;

const RD: OpenFlags = OpenFlags::RDONLY;
const RW: OpenFlags = OpenFlags::RDWR;

/// `/a/b/c`, a file, `/a/x`, another, and `/e`, an empty directory.
fn start() -> (Ram, Peer<Ram>) {
    let mut ram = Ram::default();
    ram.put("a/b/c", b"see").unwrap();
    ram.put("a/x", b"ex").unwrap();
    ram.mkdir("e").unwrap();
    let p = Peer::attached(&mut ram, Limits::default());
    (ram, p)
}

fn qid(answer: &[u8]) -> Qid {
    match Rmsg::decode(answer).unwrap() {
        Rmsg::Lcreate { qid, .. }
        | Rmsg::Lopen { qid, .. }
        | Rmsg::Mkdir { qid }
        | Rmsg::Symlink { qid }
        | Rmsg::Mknod { qid }
        | Rmsg::Attach { qid } => qid,
        other => panic!("{other:?}"),
    }
}

fn stat(ram: &mut Ram, p: &mut Peer<Ram>, fid: u32) -> Stat {
    match Rmsg::decode(&p.ask(ram, &Tmsg::Getattr { fid, mask: 0x7ff })).unwrap() {
        Rmsg::Getattr { stat } => stat,
        other => panic!("{other:?}"),
    }
}

fn names(ram: &mut Ram, p: &mut Peer<Ram>, path: &str) -> Vec<String> {
    p.open(ram, 900, path, RD);
    let f = p.ask(ram, &Tmsg::Readdir { fid: 900, offset: 0, count: 8000 });
    p.ask(ram, &Tmsg::Clunk { fid: 900 });
    let Rmsg::Readdir { data } = Rmsg::decode(&f).unwrap() else { panic!() };
    entries(data).map(|e| e.name.to_string()).collect()
}

/// Only the root's own reference and names hold files now.
fn assert_given_back(ram: &Ram, files: u64) {
    assert_eq!(ram.used().files, files);
}

#[test]
fn a_file_is_made_and_its_directory_s_fid_becomes_it() {
    let (mut t, mut p) = start();
    assert_eq!(p.walk(&mut t, 0, 1, "a"), 0);
    let make = |fid, name, flags| Tmsg::Lcreate {
        fid,
        name,
        flags: OpenFlags(flags),
        mode: 0o640,
        gid: 5,
    };
    let q = qid(&p.ask(&mut t, &make(1, "new", 2 | 0o100)));
    assert_eq!(q.ty, qid_type::FILE);
    let st = stat(&mut t, &mut p, 1);
    assert_eq!((st.qid, st.mode, st.gid), (q, mode::FILE | 0o640, 5));
    let w = Tmsg::Write { fid: 1, offset: 0, data: b"text", op: None };
    assert_eq!(p.errno(&mut t, &w), 0);
    assert_eq!(data(&p.ask(&mut t, &Tmsg::Read { fid: 1, offset: 1, count: 2 })), b"ex");
    assert_eq!(p.errno(&mut t, &make(1, "more", 1)), Errno::EBADF.0, "it is open");
    assert_eq!(p.walk(&mut t, 0, 2, "a/x"), 0);
    assert_eq!(p.errno(&mut t, &make(2, "y", 1)), Errno::ENOTDIR.0);
    assert_eq!(t.content("a/new").unwrap(), b"text");

    // One that is there: an error for who wants to be the first, opened for who does not.
    assert_eq!(p.walk(&mut t, 0, 3, "a"), 0);
    assert_eq!(p.errno(&mut t, &make(3, "x", 2 | 0o300)), Errno::EEXIST.0);
    assert_eq!(p.errno(&mut t, &make(3, "b", 2 | 0o100)), Errno::EISDIR.0);
    assert_eq!(qid(&p.ask(&mut t, &make(3, "x", 2 | 0o1100))).ty, qid_type::FILE);
    assert_eq!(t.content("a/x").unwrap(), b"", "and emptied");
    p.s.close(&mut t);
    assert_given_back(&t, 7);
}

#[test]
fn what_is_not_a_file_is_made_too() {
    let (mut t, mut p) = start();
    let dir = Tmsg::Mkdir { dfid: 0, name: "d", mode: 0o40_750, gid: 3 };
    assert!(qid(&p.ask(&mut t, &dir)).is_dir());
    assert_eq!(p.errno(&mut t, &dir), Errno::EEXIST.0);
    let link = Tmsg::Symlink { fid: 0, name: "l", target: "a/b/../b", gid: 3 };
    assert!(qid(&p.ask(&mut t, &link)).is_symlink());
    assert_eq!(p.walk(&mut t, 0, 1, "l"), 0);
    let answer = p.ask(&mut t, &Tmsg::Readlink { fid: 1 });
    assert_eq!(Rmsg::decode(&answer).unwrap(), Rmsg::Readlink { target: "a/b/../b" });
    assert_eq!(p.errno(&mut t, &Tmsg::Readlink { fid: 0 }), Errno::EINVAL.0);
    let node = |name, mode| Tmsg::Mknod { dfid: 0, name, mode, major: 1, minor: 3, gid: 0 };
    for (name, m) in [
        ("plain", 0o100_600),
        ("bare", 0o600),
        ("pipe", 0o010_600),
        ("socket", 0o140_600),
        ("char", 0o020_600),
        ("block", 0o060_600),
    ] {
        assert_eq!(p.errno(&mut t, &node(name, m)), 0, "{name}");
        assert_eq!(p.walk(&mut t, 0, 2, name), 0);
        let want = if m & mode::TYPE == 0 { m | mode::FILE } else { m };
        assert_eq!(stat(&mut t, &mut p, 2).mode, want, "{name}");
        p.ask(&mut t, &Tmsg::Clunk { fid: 2 });
    }
    for m in [0o040_700, 0o120_777, 0o170_000] {
        assert_eq!(p.errno(&mut t, &node("no", m)), Errno::EINVAL.0);
    }
    // A text too long for the message size is an error, not half a text.
    let target = "t".repeat(4000);
    p.errno(&mut t, &Tmsg::Symlink { fid: 0, name: "long", target: &target, gid: 0 });
    let mut small = Peer::new(Limits::default());
    small.greet(&mut t, 512, "9P2000.L");
    small.ask(&mut t, &attach(0));
    assert_eq!(small.walk(&mut t, 0, 1, "long"), 0);
    assert_eq!(small.errno(&mut t, &Tmsg::Readlink { fid: 1 }), Errno::ENAMETOOLONG.0);
}

#[test]
fn no_file_gets_a_name_that_is_none() {
    let (mut t, mut p) = start();
    assert_eq!(p.walk(&mut t, 0, 1, "a/x"), 0);
    let long = "n".repeat(256);
    for name in ["", ".", "..", "a/b", "/", "a\0", &long] {
        assert_eq!(p.walk(&mut t, 0, 2, "a"), 0);
        for m in [
            Tmsg::Lcreate { fid: 2, name, flags: RW, mode: 0, gid: 0 },
            Tmsg::Mkdir { dfid: 2, name, mode: 0, gid: 0 },
            Tmsg::Symlink { fid: 2, name, target: "x", gid: 0 },
            Tmsg::Mknod { dfid: 2, name, mode: 0o600, major: 0, minor: 0, gid: 0 },
            Tmsg::Link { dfid: 2, fid: 1, name },
            Tmsg::Rename { fid: 1, dfid: 2, name },
            Tmsg::Renameat { olddirfid: 2, oldname: "x", newdirfid: 2, newname: name },
            Tmsg::Renameat { olddirfid: 2, oldname: name, newdirfid: 2, newname: "z" },
            Tmsg::Unlinkat { dirfd: 2, name, flags: 0 },
            Tmsg::Unlinkat { dirfd: 2, name, flags: 0x200 },
        ] {
            assert!(matches!(p.errno(&mut t, &m), 22 | 36), "{m:?}");
        }
        p.ask(&mut t, &Tmsg::Clunk { fid: 2 });
    }
    assert_eq!(names(&mut t, &mut p, "a"), ["b", "x"]);
}

#[test]
fn names_are_linked_moved_and_removed() {
    let (mut t, mut p) = start();
    for (fid, path) in [(1, "a"), (2, "e"), (3, "a/x"), (4, "a/b")] {
        assert_eq!(p.walk(&mut t, 0, fid, path), 0);
    }
    assert_eq!(p.errno(&mut t, &Tmsg::Link { dfid: 2, fid: 3, name: "y" }), 0);
    assert_eq!(stat(&mut t, &mut p, 3).nlink, 2);
    assert_eq!(p.errno(&mut t, &Tmsg::Link { dfid: 2, fid: 4, name: "z" }), Errno::EPERM.0);
    assert_eq!(p.errno(&mut t, &Tmsg::Link { dfid: 3, fid: 3, name: "z" }), Errno::ENOTDIR.0);
    let unlink = |dirfd, name, flags| Tmsg::Unlinkat { dirfd, name, flags };
    assert_eq!(p.errno(&mut t, &unlink(2, "y", 0x200)), Errno::ENOTDIR.0);
    assert_eq!(p.errno(&mut t, &unlink(2, "y", 1)), Errno::EINVAL.0);
    assert_eq!(p.errno(&mut t, &unlink(2, "y", 0)), 0);
    assert_eq!(p.errno(&mut t, &unlink(1, "b", 0)), Errno::EISDIR.0);
    assert_eq!(p.errno(&mut t, &unlink(1, "b", 0x200)), Errno::ENOTEMPTY.0);
    let at = |olddirfid, oldname, newdirfid, newname| Tmsg::Renameat {
        olddirfid,
        oldname,
        newdirfid,
        newname,
    };
    assert_eq!(p.errno(&mut t, &at(1, "b", 2, "bee")), 0);
    assert_eq!(p.errno(&mut t, &at(1, "b", 2, "bee")), Errno::ENOENT.0);
    assert_eq!(names(&mut t, &mut p, "e"), ["bee"]);
    assert_eq!(t.content("e/bee/c").unwrap(), b"see");
    // By fid: the name that the file has now is the one that counts.
    t.put("a/one", b"").unwrap();
    assert_eq!(p.walk(&mut t, 0, 5, "a/one"), 0);
    assert_eq!(p.errno(&mut t, &Tmsg::Rename { fid: 5, dfid: 2, name: "ex" }), 0);
    assert_eq!(p.errno(&mut t, &Tmsg::Rename { fid: 5, dfid: 1, name: "ey" }), 0);
    assert_eq!(names(&mut t, &mut p, "a"), ["x", "ey"]);
    assert_eq!(p.errno(&mut t, &Tmsg::Rename { fid: 4, dfid: 0, name: "q" }), Errno::ESTALE.0);
    assert_eq!(p.errno(&mut t, &Tmsg::Rename { fid: 0, dfid: 1, name: "q" }), Errno::EBUSY.0);
}

#[test]
fn a_remove_takes_the_file_that_the_fid_is_and_always_the_fid() {
    let (mut t, mut p) = start();
    for (fid, path) in
        [(1, "a/x"), (2, "a/b/c"), (3, "a/b"), (4, "a/x"), (5, "e"), (6, "a"), (7, "a/b")]
    {
        assert_eq!(p.walk(&mut t, 0, fid, path), 0);
    }
    for (fid, e) in [
        (6, Errno::ENOTEMPTY.0),
        (1, 0),
        (4, Errno::ESTALE.0), // gone already
        (3, Errno::ENOTEMPTY.0),
        (2, 0),
        (7, 0),
        (5, 0),
    ] {
        assert_eq!(p.errno(&mut t, &Tmsg::Remove { fid }), e, "fid {fid}");
        assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid }), Errno::EBADF.0);
    }
    // Another file has taken the name: it is not the one that was walked to.
    t.put("f", b"1").unwrap();
    assert_eq!(p.walk(&mut t, 0, 1, "f"), 0);
    assert_eq!(p.errno(&mut t, &Tmsg::Unlinkat { dirfd: 0, name: "f", flags: 0 }), 0);
    t.put("f", b"2").unwrap();
    assert_eq!(p.errno(&mut t, &Tmsg::Remove { fid: 1 }), Errno::ESTALE.0);
    assert_eq!(t.content("f").unwrap(), b"2");
    // After `..` the name is looked for.
    assert_eq!(p.walk(&mut t, 0, 1, "a"), 0);
    let m = Tmsg::Mkdir { dfid: 1, name: "deep", mode: 0o755, gid: 0 };
    assert_eq!(p.errno(&mut t, &m), 0);
    assert_eq!(p.walk(&mut t, 1, 2, "deep/.."), 0);
    assert_eq!(p.walk(&mut t, 2, 3, "deep"), 0);
    assert_eq!(p.errno(&mut t, &Tmsg::Remove { fid: 3 }), 0);
    assert_eq!(p.errno(&mut t, &Tmsg::Remove { fid: 2 }), 0);
    // The root stays, and so does its fid no longer.
    assert_eq!(p.errno(&mut t, &Tmsg::Remove { fid: 0 }), Errno::EBUSY.0);
    assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: 0 }), Errno::EBADF.0);
    p.s.close(&mut t);
    assert_given_back(&t, 2);
}

#[test]
fn a_directory_that_is_moved_up_lets_nobody_out_of_what_was_attached() {
    let (mut t, _) = start();
    t.put("secret", b"").unwrap();
    let mut p = Peer::new(Limits::default());
    p.greet(&mut t, 8192, "9P2000.L");
    let m = Tmsg::Attach { fid: 0, afid: NOFID, uname: "", aname: "a", n_uname: 0 };
    assert_eq!(p.errno(&mut t, &m), 0);
    let m = Tmsg::Mkdir { dfid: 0, name: "1", mode: 0o755, gid: 0 };
    assert_eq!(p.errno(&mut t, &m), 0);
    assert_eq!(p.walk(&mut t, 0, 1, "1"), 0);
    let m = Tmsg::Mkdir { dfid: 1, name: "2", mode: 0o755, gid: 0 };
    assert_eq!(p.errno(&mut t, &m), 0);
    assert_eq!(p.walk(&mut t, 0, 2, "1/2"), 0);
    assert_eq!(p.errno(&mut t, &Tmsg::Rename { fid: 2, dfid: 0, name: "2" }), 0);
    // Two levels deep when it was walked to, one now.
    assert_eq!(p.walk(&mut t, 2, 3, "../.."), 0);
    assert_eq!(stat(&mut t, &mut p, 3).qid, stat(&mut t, &mut p, 0).qid);
    assert_eq!(p.walk(&mut t, 2, 4, "../../secret"), 0); // part of the way
    assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: 4 }), Errno::EBADF.0);
    assert_eq!(p.errno(&mut t, &Tmsg::Remove { fid: 0 }), Errno::EBUSY.0);
    assert!(t.find("a").is_ok());
}

#[test]
fn attributes_are_changed_by_whom_they_may_be() {
    let (mut t, mut p) = start();
    assert_eq!(p.walk(&mut t, 0, 1, "a/x"), 0);
    let set = |fid, set| Tmsg::Setattr { fid, set };
    let own = SetAttr { valid: setattr::UID | setattr::GID, uid: 7, gid: 8, ..SetAttr::default() };
    assert_eq!(p.errno(&mut t, &set(1, own)), 0);
    let chmod = |mode| SetAttr { valid: setattr::MODE, mode, ..SetAttr::default() };
    let size = SetAttr { valid: setattr::SIZE, size: 1, ..SetAttr::default() };
    let now = SetAttr { valid: setattr::ATIME | setattr::MTIME, ..SetAttr::default() };
    let then = SetAttr {
        valid: setattr::MTIME | setattr::MTIME_SET,
        mtime: Time { sec: 9, nsec: 10 },
        ..SetAttr::default()
    };
    let give = |uid, gid| SetAttr { uid, gid, ..own };
    let only_ctime = SetAttr { valid: setattr::CTIME, ..SetAttr::default() };
    let mut owner = Peer::claiming(&mut t, 7);
    let mut other = Peer::claiming(&mut t, 9);
    let mut root = Peer::claiming(&mut t, 0);
    for p in [&mut owner, &mut other, &mut root] {
        assert_eq!(p.walk(&mut t, 0, 1, "a/x"), 0);
    }
    let (perm, acces) = (Errno::EPERM.0, Errno::EACCES.0);
    for (what, its_owner_s, another_s, root_s) in [
        (chmod(0o600), 0, perm, 0),
        (size, 0, acces, 0),
        (then, 0, perm, 0),
        (now, 0, acces, 0),
        (only_ctime, 0, 0, 0),
        (give(7, 8), 0, perm, 0),
        (give(7, 7), 0, perm, 0), // its own group
        (give(7, 5), perm, perm, 0),
        (chmod(0o666), 0, perm, 0),
        (size, 0, 0, 0),
        (now, 0, 0, 0),
        (then, 0, perm, 0),
        (give(9, 5), perm, perm, 0),
        (chmod(0o400), perm, 0, 0),
        (size, acces, acces, 0),
    ] {
        assert_eq!(owner.errno(&mut t, &set(1, what)), its_owner_s, "{what:?}");
        assert_eq!(other.errno(&mut t, &set(1, what)), another_s, "{what:?}");
        assert_eq!(root.errno(&mut t, &set(1, what)), root_s, "{what:?}");
    }
    let st = stat(&mut t, &mut p, 1);
    assert_eq!((st.uid, st.gid, st.mode), (9, 5, mode::FILE | 0o400));
    // Who owns everything may do what an owner may, and no more.
    assert_eq!(p.errno(&mut t, &set(1, size)), acces);
    assert_eq!(p.errno(&mut t, &set(1, chmod(0o600))), 0);
    assert_eq!(p.errno(&mut t, &set(1, size)), 0);
    assert_eq!(p.errno(&mut t, &set(0, size)), Errno::EISDIR.0);
    assert_eq!(t.content("a/x").unwrap(), b"e");
}

#[test]
fn modes_decide_who_walks_opens_and_changes() {
    let (mut t, mut p) = start();
    let own = SetAttr {
        valid: setattr::UID | setattr::GID | setattr::MODE,
        uid: 7,
        gid: 7,
        mode: 0o750,
        ..SetAttr::default()
    };
    for (fid, path) in [(1, "a"), (2, "a/x"), (3, "a/b")] {
        assert_eq!(p.walk(&mut t, 0, fid, path), 0);
        assert_eq!(p.errno(&mut t, &Tmsg::Setattr { fid, set: own }), 0);
    }
    let (acces, mut its, mut not) =
        (Errno::EACCES.0, Peer::claiming(&mut t, 7), Peer::claiming(&mut t, 9));
    // 9 does not get into /a; with the permission to search it gets no further.
    assert_eq!(not.walk(&mut t, 0, 1, "a"), 0);
    assert_eq!(not.walk(&mut t, 1, 2, "x"), acces);
    assert_eq!(not.walk(&mut t, 1, 2, ".."), acces);
    assert_eq!(not.errno(&mut t, &Tmsg::Lopen { fid: 1, flags: RD }), acces);
    let set = |mode| SetAttr { valid: setattr::MODE, mode, ..SetAttr::default() };
    assert_eq!(its.walk(&mut t, 0, 1, "a"), 0);
    assert_eq!(its.errno(&mut t, &Tmsg::Setattr { fid: 1, set: set(0o751) }), 0);
    assert_eq!(not.walk(&mut t, 1, 2, "x"), 0);
    assert_eq!(not.errno(&mut t, &Tmsg::Lopen { fid: 1, flags: RD }), acces, "not to list");
    for flags in [0, 1, 2, 0o1000] {
        let m = Tmsg::Lopen { fid: 2, flags: OpenFlags(flags) };
        assert_eq!(not.errno(&mut t, &m), acces, "{flags}");
    }
    assert_eq!(its.walk(&mut t, 1, 2, "x"), 0);
    assert_eq!(its.errno(&mut t, &Tmsg::Setattr { fid: 2, set: set(0o404) }), 0);
    assert_eq!(not.errno(&mut t, &Tmsg::Lopen { fid: 2, flags: OpenFlags(0o1000) }), acces);
    assert_eq!(not.errno(&mut t, &Tmsg::Lopen { fid: 2, flags: OpenFlags(3) }), Errno::EINVAL.0);
    assert_eq!(not.errno(&mut t, &Tmsg::Lopen { fid: 2, flags: RD }), 0);
    assert_eq!(its.errno(&mut t, &Tmsg::Lopen { fid: 2, flags: RW }), acces, "its owner's mode");
    t.put("a/y", b"").unwrap();
    assert_eq!(not.walk(&mut t, 0, 8, "a/y"), 0);
    // Changing what a directory holds wants to write and to search it.
    assert_eq!(not.walk(&mut t, 0, 5, "e"), 0);
    assert_eq!(p.walk(&mut t, 0, 5, "e"), 0);
    let at =
        |olddirfid, newdirfid| Tmsg::Renameat { olddirfid, oldname: "x", newdirfid, newname: "x" };
    for (mode, e) in [(0o755, acces), (0o756, acces), (0o753, 0)] {
        assert_eq!(p.errno(&mut t, &Tmsg::Setattr { fid: 5, set: set(mode) }), 0);
        assert_eq!(not.walk(&mut t, 5, 6, ""), 0);
        for m in [
            Tmsg::Mkdir { dfid: 5, name: "d", mode: 0, gid: 0 },
            Tmsg::Symlink { fid: 5, name: "s", target: "t", gid: 0 },
            Tmsg::Mknod { dfid: 5, name: "n", mode: 0, major: 0, minor: 0, gid: 0 },
            Tmsg::Link { dfid: 5, fid: 2, name: "l" },
            Tmsg::Rename { fid: 8, dfid: 5, name: "m" },
            at(1, 5),
            at(5, 1),
            Tmsg::Lcreate { fid: 6, name: "c", flags: RW, mode: 0o600, gid: 0 },
            Tmsg::Unlinkat { dirfd: 5, name: "n", flags: 0 },
        ] {
            // What would take something out of /a is not for 9 in any case.
            let e =
                if matches!(m, Tmsg::Rename { .. } | Tmsg::Renameat { .. }) { acces } else { e };
            assert_eq!(not.errno(&mut t, &m), e, "{mode:o} {m:?}");
        }
        not.ask(&mut t, &Tmsg::Clunk { fid: 6 });
    }
    assert_eq!(not.errno(&mut t, &Tmsg::Remove { fid: 8 }), acces);
    // A file that is made belongs to who made it.
    assert_eq!(not.walk(&mut t, 5, 7, "d"), 0);
    assert_eq!(stat(&mut t, &mut not, 7).uid, 9);
}

#[test]
fn who_the_transport_names_is_not_who_the_client_says() {
    let (mut t, _) = start();
    let identity = Identity::Peer { uid: 7, gid: 7 };
    let mut p = Peer { s: Session::serving(Limits::default(), identity) };
    p.greet(&mut t, 8192, "9P2000.L");
    let m = Tmsg::Attach { fid: 0, afid: NOFID, uname: "root", aname: "", n_uname: 0 };
    assert_eq!(p.errno(&mut t, &m), 0);
    let m = Tmsg::Mkdir { dfid: 0, name: "d", mode: 0o755, gid: 0 };
    assert_eq!(p.errno(&mut t, &m), Errno::EACCES.0, "the root is user 0's");
}

#[test]
fn extended_attributes_are_an_empty_list() {
    let (mut t, mut p) = start();
    assert_eq!(p.walk(&mut t, 0, 1, "a/x"), 0);
    let list = |newfid| Tmsg::Xattrwalk { fid: 1, newfid, name: "" };
    let answer = p.ask(&mut t, &list(2));
    assert_eq!(Rmsg::decode(&answer).unwrap(), Rmsg::Xattrwalk { size: 0 });
    assert_eq!(data(&p.ask(&mut t, &Tmsg::Read { fid: 2, offset: 0, count: 99 })), b"");
    assert_eq!(p.errno(&mut t, &list(2)), Errno::EBADF.0);
    assert_eq!(p.errno(&mut t, &list(1)), Errno::EBADF.0);
    assert_eq!(p.walk(&mut t, 2, 3, ""), Errno::EBADF.0, "no file, only its list");
    assert_eq!(p.errno(&mut t, &Tmsg::Lopen { fid: 2, flags: RD }), Errno::EBADF.0);
    let named = Tmsg::Xattrwalk { fid: 1, newfid: 3, name: "security.capability" };
    assert_eq!(p.errno(&mut t, &named), Errno::ENODATA.0);
    let create = Tmsg::Xattrcreate { fid: 1, name: "user.x", size: 3, flags: 0 };
    assert_eq!(p.errno(&mut t, &create), Errno::EOPNOTSUPP.0);
    assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: 2 }), 0);
    p.s.close(&mut t);
    assert_given_back(&t, 6);
}

#[test]
fn locks_hold_until_the_file_is_closed() {
    let (mut t, mut p) = start();
    let mut q = Peer::attached(&mut t, Limits::default());
    p.open(&mut t, 1, "a/x", RW);
    q.open(&mut t, 1, "a/x", RW);
    let by = |kind, pid| Lock { kind, start: 0, length: 0, pid, client: "host" };
    let lock = |kind| by(kind, 4);
    let take = |kind| Tmsg::Lock { fid: 1, flags: 1, lock: lock(kind) };
    let status = |f: &[u8]| match Rmsg::decode(f).unwrap() {
        Rmsg::Lock { status } => status,
        other => panic!("{other:?}"),
    };
    let first = Tmsg::Lock { fid: 1, flags: 0, lock: by(LockKind::Write, 3) };
    assert_eq!(status(&p.ask(&mut t, &first)), LockStatus::Success);
    assert_eq!(status(&q.ask(&mut t, &take(LockKind::Read))), LockStatus::Blocked);
    let test = Tmsg::Getlock { fid: 1, lock: lock(LockKind::Read) };
    let answer = q.ask(&mut t, &test);
    let Rmsg::Getlock { lock: held } = Rmsg::decode(&answer).unwrap() else { panic!() };
    assert_eq!((held.kind, held.pid), (LockKind::Write, 3));
    assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: 1 }), 0);
    let answer = q.ask(&mut t, &test);
    let free = Lock { kind: LockKind::Unlock, ..lock(LockKind::Read) };
    assert_eq!(Rmsg::decode(&answer).unwrap(), Rmsg::Getlock { lock: free });
    assert_eq!(status(&q.ask(&mut t, &take(LockKind::Read))), LockStatus::Success);
    assert_eq!(p.walk(&mut t, 0, 1, "a/x"), 0);
    assert_eq!(p.errno(&mut t, &take(LockKind::Read)), Errno::EBADF.0, "it is not open");
}

#[test]
fn a_file_that_is_removed_while_open_is_there_until_it_is_closed() {
    let (mut t, mut p) = start();
    p.open(&mut t, 1, "a/x", RW);
    assert_eq!(p.walk(&mut t, 0, 2, "a"), 0);
    assert_eq!(p.errno(&mut t, &Tmsg::Unlinkat { dirfd: 2, name: "x", flags: 0 }), 0);
    assert_eq!(data(&p.ask(&mut t, &Tmsg::Read { fid: 1, offset: 0, count: 9 })), b"ex");
    assert_eq!(stat(&mut t, &mut p, 1).nlink, 0);
    assert_given_back(&t, 6);
    assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: 1 }), 0);
    assert_given_back(&t, 5);
}
