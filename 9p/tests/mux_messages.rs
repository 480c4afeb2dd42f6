//! Every message passes the joint, with the server's fids in the client's place.

mod common;
use atoll_9p::client::Broken;
use atoll_9p::dialect::Dialect;
use atoll_9p::fault::Errno;
use atoll_9p::msg::{SetAttr, Tmsg};
use atoll_9p::mux::{ClientId, Mux, Share};
use atoll_9p::types::{Lock, LockKind, OpId, OpenFlags, seq};
use atoll_9p::wire::NOTAG;
use common::*;

/// A joint whose server is played by hand, and a client attached by fid 0 and with
/// fids 1 and 2. Gives the server's fids for these.
fn by_hand(version: &str) -> (Mux, ClientId, [u32; 3]) {
    let mut m = Mux::new(8192, Share::default());
    let mut greeting = frame(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000.L.atoll" });
    greeting[4] = 101;
    m.from_server(&greeting).unwrap();
    m.sent_to_server(m.to_server().len());
    let id = m.open();
    m.from_client(id, &frame(NOTAG, &Tmsg::Version { msize: 8192, version }));
    let mut fids = [0; 3];
    m.from_client(id, &frame(1, &attach(0)));
    m.from_client(id, &walk_frame(2, 0, 1, &[]));
    m.from_client(id, &walk_frame(3, 0, 2, &[]));
    for (i, up) in frames(m.to_server()).iter().enumerate() {
        let at = if i == 0 { 7 } else { 11 };
        fids[i] = u32::from_le_bytes(up[at..at + 4].try_into().unwrap());
        let body = if i == 0 { vec![0; 13] } else { vec![0; 2] };
        m.from_server(&raw(up[4] + 1, tag_of(up), &body)).unwrap();
    }
    m.sent_to_server(m.to_server().len());
    m.sent_to_client(id, m.to_client(id).len());
    (m, id, fids)
}

#[test]
fn every_message_goes_on_with_the_servers_fids() {
    let (mut m, id, fids) = by_hand("9P2000.L.atoll");
    let (a, b) = (1, 2);
    let [_, ua, ub] = fids;
    let lock = Lock { kind: LockKind::Read, start: 1, length: 2, pid: 3, client: "c" };
    let op = Some(OpId { client: 1, seq: 2, again: true });
    let (flags, name) = (OpenFlags::RDWR, "name");
    let all = |a: u32, b: u32| {
        [
            Tmsg::Statfs { fid: a },
            Tmsg::Lopen { fid: a, flags },
            Tmsg::Lcreate { fid: a, name, flags, mode: 1, gid: 2 },
            Tmsg::Symlink { fid: a, name, target: "t", gid: 1 },
            Tmsg::Mknod { dfid: a, name, mode: 1, major: 2, minor: 3, gid: 4 },
            Tmsg::Rename { fid: a, dfid: b, name },
            Tmsg::Readlink { fid: a },
            Tmsg::Getattr { fid: a, mask: 7 },
            Tmsg::Setattr { fid: a, set: SetAttr { valid: 1, mode: 2, ..SetAttr::default() } },
            Tmsg::Xattrcreate { fid: a, name, size: 1, flags: 2 },
            Tmsg::Readdir { fid: a, offset: 1, count: 2 },
            Tmsg::Fsync { fid: a },
            Tmsg::Lock { fid: a, flags: 1, lock },
            Tmsg::Getlock { fid: a, lock },
            Tmsg::Link { dfid: a, fid: b, name },
            Tmsg::Mkdir { dfid: a, name, mode: 1, gid: 2 },
            Tmsg::Renameat { olddirfid: a, oldname: "old", newdirfid: b, newname: name },
            Tmsg::Unlinkat { dirfd: a, name, flags: 1 },
            Tmsg::Read { fid: a, offset: seq::READ | 5, count: 9 },
            Tmsg::Write { fid: a, offset: 5, data: b"data", op },
        ]
    };
    for (sent, want) in all(a, b).iter().zip(all(ua, ub)) {
        let mut f = Vec::new();
        sent.encode_in(Dialect::Atoll, 7, &mut f);
        m.from_client(id, &f);
        let up = frames(m.to_server()).remove(0);
        m.sent_to_server(m.to_server().len());
        assert_eq!(Tmsg::decode_in(Dialect::Atoll, &up), Ok(want));
        // Its answer comes back under the client's tag.
        m.from_server(&raw(7, tag_of(&up), &[2, 0, 0, 0])).unwrap();
        assert_eq!(frames(m.to_client(id)), [raw(7, 7, &[2, 0, 0, 0])]);
        m.sent_to_client(id, m.to_client(id).len());
    }
    // Both fids must be there, and the first error is the client's.
    for bad in [
        Tmsg::Rename { fid: a, dfid: 9, name },
        Tmsg::Link { dfid: 9, fid: a, name },
        Tmsg::Renameat { olddirfid: a, oldname: "", newdirfid: 9, newname: name },
    ] {
        m.from_client(id, &frame(7, &bad));
        assert_eq!(errno(&frames(m.to_client(id))[0]), Errno::EBADF.0);
        m.sent_to_client(id, m.to_client(id).len());
        assert!(m.to_server().is_empty());
    }
}

#[test]
fn who_speaks_plain_linux_never_asks_for_more_and_never_gets_it() {
    let (mut m, id, fids) = by_hand("9P2000.L");
    let offset = seq::READ | seq::HERE;
    m.from_client(id, &frame(7, &Tmsg::Read { fid: 1, offset, count: 9 }));
    let up = frames(m.to_server()).remove(0);
    let want = Tmsg::Read { fid: fids[1], offset: seq::HERE, count: 9 };
    assert_eq!(Tmsg::decode(&up), Ok(want));
    // A position that nobody asked for is a lie.
    let body = [&[1, 0, 0, 0, b'x'][..], &[0; 8]].concat();
    assert_eq!(m.from_server(&raw(117, tag_of(&up), &body)), Err(Broken::Unasked));
}

/// A server may answer in any order; ours does not, so this one is played by hand.
#[test]
fn a_fid_is_not_used_again_while_something_about_it_is_underway() {
    let mut m = Mux::new(8192, Share::default());
    let version = frame(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000.L" });
    let mut greeting = version.clone();
    greeting[4] = 101;
    m.from_server(&greeting).unwrap();
    m.sent_to_server(m.to_server().len());
    let id = m.open();
    let sent = |m: &mut Mux, f: &[u8]| {
        m.from_client(id, f);
        let up = frames(m.to_server());
        m.sent_to_server(m.to_server().len());
        up
    };
    sent(&mut m, &version);
    let up = sent(&mut m, &frame(1, &attach(0)));
    m.from_server(&raw(105, tag_of(&up[0]), &[0; 13])).unwrap();
    let walk = sent(&mut m, &walk_frame(2, 0, 1, &[])).remove(0);
    let read = sent(&mut m, &frame(3, &Tmsg::Read { fid: 1, offset: 0, count: 9 })).remove(0);
    let clunk = sent(&mut m, &frame(4, &Tmsg::Clunk { fid: 1 })).remove(0);
    // The clunk comes before the fid is there, and must be done again.
    m.from_server(&raw(7, tag_of(&clunk), &[9, 0, 0, 0])).unwrap();
    let other = sent(&mut m, &walk_frame(5, 0, 2, &[])).remove(0);
    assert_ne!(walk[11..15], other[11..15], "the first walk is still underway");
    m.from_server(&raw(111, tag_of(&walk), &[0, 0])).unwrap();
    let again = sent(&mut m, &[]).remove(0);
    assert_eq!((again[4], &again[7..11]), (120, &walk[11..15]));
    m.from_server(&raw(121, tag_of(&again), &[])).unwrap();
    let other = sent(&mut m, &walk_frame(6, 0, 3, &[])).remove(0);
    assert_ne!(walk[11..15], other[11..15], "the read is still underway");
    m.from_server(&raw(7, tag_of(&read), &[9, 0, 0, 0])).unwrap();
    let other = sent(&mut m, &walk_frame(7, 0, 4, &[])).remove(0);
    assert_eq!(walk[11..15], other[11..15], "now it is free");
}
