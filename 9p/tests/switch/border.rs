//! What a client meets at the border, one thing after the other.

use atoll_9p::access::Identity;
use atoll_9p::dialect::Dialect;
use atoll_9p::fault::Fault;
use atoll_9p::msg::{Rmsg, Tmsg, ty};
use atoll_9p::ram::Ram;
use atoll_9p::switch::{OWN_FIDS, OWN_TAGS, Switch};
use atoll_9p::tree::Tree;
use atoll_9p::types::{OpId, SetAttr, setattr};
use atoll_9p::wire::NOFID;

use super::*;

fn net() -> Net<World, Ram> {
    Net::of_world(Limits::default()).attached("9P2000.L.atoll")
}

/// A switch whose guests have a file that makes readers wait.
fn waiting() -> Net<World, Counting> {
    let here = World::new();
    let mounts = here.mounts.iter().map(|m| m.1).collect();
    let guests = vec![Counting::default(), Counting::default()];
    Net::new(here, guests, mounts, Limits::default()).attached("9P2000.L.atoll")
}

fn opened(net: &mut Net<World, Counting>, fid: u32) {
    assert_eq!(net.walk(0, fid, "g/a/fs/blk")[4], ty::TWALK + 1);
    assert_eq!(net.ask(&Tmsg::Lopen { fid, flags: OpenFlags::RDWR })[4], ty::TLOPEN + 1);
}

#[test]
fn a_server_is_connected_to_when_it_is_walked_into_and_once() {
    let mut net = net();
    net.walk(0, 1, "g/a");
    net.walk(0, 2, "g/a/fs/../f");
    assert_eq!(net.connects, 0);
    net.walk(1, 3, "fs");
    net.walk(0, 4, "g/a/fs/x/f");
    assert_eq!(net.connects, 1);
    net.walk(0, 5, "g/b/fs");
    assert_eq!(net.connects, 2);
}

#[test]
fn a_read_that_waits_at_a_server_is_flushed_there_and_holds_nobody_up() {
    let mut net = waiting();
    opened(&mut net, 1);
    let read = frame(7, &Tmsg::Read { fid: 1, offset: 0, count: 9 });
    assert!(net.raw(&read).is_empty());
    assert_eq!(net.walk(0, 2, "x/f")[4], ty::TWALK + 1);
    assert_eq!(net.walk(0, 3, "g/a/fs/file")[4], ty::TWALK + 1);
    let flush = frame(8, &Tmsg::Flush { oldtag: 7 });
    assert_eq!(net.one(&flush), raw(ty::TFLUSH + 1, 8, &[]));
    // The tag is free again, and the fid is as it was.
    assert!(net.raw(&read).is_empty());
    net.guests[0].ready = 1;
    net.conns.values_mut().for_each(|(_, s)| s.wake(BLK));
    assert_eq!(data(&net.raw(&[])[0]), b"content");
}

#[test]
fn a_walk_that_waits_at_the_border_can_be_flushed() {
    let mut net = net();
    net.stopped = true;
    assert!(net.raw(&walk_frame(5, 0, 1, &[b"g", b"a", b"fs"])).is_empty());
    // What is about its fid waits behind it, and can be flushed too.
    assert!(net.raw(&frame(6, &Tmsg::Getattr { fid: 1, mask: 0 })).is_empty());
    assert!(net.raw(&frame(7, &Tmsg::Clunk { fid: 1 })).is_empty());
    assert_eq!(net.walk(0, 2, "g/a/f")[4], ty::TWALK + 1);
    assert_eq!(net.one(&frame(8, &Tmsg::Flush { oldtag: 7 })), raw(109, 8, &[]));
    let answers = net.raw(&frame(9, &Tmsg::Flush { oldtag: 5 }));
    let tags: Vec<_> = answers.iter().map(|f| (f[4], tag_of(f))).collect();
    assert_eq!(tags, [(109, 9), (7, 6)]);
    net.stopped = false;
    assert_eq!(net.walk(0, 1, "g/a/fs")[4], ty::TWALK + 1);
}

#[test]
fn who_cannot_be_reached_is_told_of() {
    let mut net = net();
    net.down = Some(Fault::new(Errno::ENXIO, "guest a is not running: start it"));
    for path in ["g/a/fs", "g/a/fs/x"] {
        let answer = net.walk(0, 1, path);
        let text = Some("guest a is not running: start it");
        assert_eq!(Rmsg::decode(&answer).unwrap(), Rmsg::Lerror { errno: Errno::ENXIO.0, text });
    }
    net.down = None;
    assert_eq!(net.walk(0, 1, "g/a/fs")[4], ty::TWALK + 1);
}

#[test]
fn a_smaller_message_size_shortens_what_is_read_and_written() {
    let mut net = Net::of_world(Limits { msize: 600, ..Limits::default() }).attached("9P2000.L");
    net.walk(0, 1, "g/a/fs/x/f");
    net.ask(&Tmsg::Lopen { fid: 1, flags: OpenFlags::RDWR });
    let answer = net.ask(&Tmsg::Write { fid: 1, offset: 0, data: &[7; 2000], op: None });
    assert_eq!(Rmsg::decode(&answer).unwrap(), Rmsg::Write { count: 600 - 23 });
    let got = data(&net.ask(&Tmsg::Read { fid: 1, offset: 0, count: 3000 }));
    assert_eq!((got.len(), got[576], got[577]), (600 - 11, 7, b'a'));
    let long = "n".repeat(600);
    let make = Tmsg::Symlink { fid: 1, name: "l", target: &long, gid: 0 };
    assert_eq!(errno(&net.ask(&make)), Errno::EMSGSIZE.0);
}

/// A server of 9P2000.L that has never heard of our dialect.
#[test]
fn a_server_that_speaks_less_is_asked_for_less() {
    let mut net = net();
    net.stopped = true;
    net.raw(&walk_frame(5, 0, 1, &[b"g", b"a", b"fs", b"f"]));
    let id = net.sw.upstreams().next().unwrap();
    let mut tree = Ram::default();
    tree.put("f", b"old").unwrap();
    let mut peer = Peer::<Ram>::new(Limits::default());
    let mut turn = |net: &mut Net<World, Ram>| {
        for _ in 0..4 {
            let mut bytes = net.sw.to_upstream(id).to_vec();
            net.sw.sent_to_upstream(&mut net.here, id, bytes.len());
            if let Some(at) = bytes.windows(6).position(|w| w == b".atoll") {
                bytes[at..at + 6].copy_from_slice(b".other");
            }
            let answers = peer.raw(&mut tree, &bytes).concat();
            net.sw.from_upstream(&mut net.here, id, &answers);
        }
        net.raw(&[])
    };
    assert_eq!(turn(&mut net)[0][4], ty::TWALK + 1);
    net.raw(&frame(1, &Tmsg::Lopen { fid: 1, flags: OpenFlags::RDWR }));
    assert_eq!(turn(&mut net)[0][4], ty::TLOPEN + 1);
    let mut write = |data: &[u8], again| {
        let op = Some(OpId { client: 1, seq: 1, again });
        let mut out = vec![];
        Tmsg::Write { fid: 1, offset: 0, data, op }.encode_in(Dialect::Atoll, 2, &mut out);
        let said = net.raw(&out);
        said.into_iter().chain(turn(&mut net)).next().unwrap()
    };
    assert_eq!(Rmsg::decode(&write(b"", false)).unwrap(), Rmsg::Write { count: 0 });
    assert_eq!(Rmsg::decode(&write(b"new", false)).unwrap(), Rmsg::Write { count: 3 });
    assert_eq!(errno(&write(b"new", true)), Errno::ESTALE.0);
    assert_eq!(errno(&net.ask(&Tmsg::Read { fid: 1, offset: 1 << 63, count: 9 })), 22);
    assert_eq!(tree.content("f").unwrap(), b"new");
}

#[test]
fn numbers_of_the_switch_are_not_for_clients() {
    let mut net = net();
    for fid in [OWN_FIDS.start, OWN_FIDS.end - 1] {
        assert_eq!(errno(&net.walk(0, fid, "x")), Errno::EBADF.0);
        assert_eq!(errno(&net.ask(&Tmsg::Clunk { fid })), Errno::EBADF.0);
    }
    for tag in [OWN_TAGS.start, OWN_TAGS.end - 1] {
        let answer = net.one(&frame(tag, &Tmsg::Getattr { fid: 0, mask: 0 }));
        assert_eq!((errno(&answer), tag_of(&answer)), (Errno::EINVAL.0, tag));
    }
}

#[test]
fn who_may_not_search_the_mount_point_does_not_get_in() {
    let mut net = Net::of_world(Limits::default());
    let mount = net.here.mounts[0].0;
    let closed = SetAttr { valid: setattr::MODE, mode: 0o700, ..SetAttr::default() };
    net.here.trees[0].set(mount, &closed).unwrap();
    net.sw = Switch::new(Limits::default(), Identity::Claimed);
    net.greet(8192, "9P2000.L");
    let attach =
        |fid, n_uname| frame(1, &Tmsg::Attach { fid, afid: NOFID, uname: "", aname: "", n_uname });
    net.one(&attach(0, 0));
    net.one(&attach(1, 7));
    // User 0 has opened the way, which is nobody else's.
    assert_eq!(net.walk(0, 2, "g/a/fs/f")[4], ty::TWALK + 1);
    for path in ["g/a/fs/f", "g/a/fs"] {
        let answer = net.walk(1, 3, path);
        assert!(matches!(
            Rmsg::decode(&answer).unwrap(),
            Rmsg::Walk { count: 3, .. } | Rmsg::Lerror { .. }
        ));
        assert_eq!(errno(&net.ask(&Tmsg::Getattr { fid: 3, mask: 0 })), Errno::EBADF.0);
    }
    assert_eq!(net.walk(1, 3, "g/b/fs/f")[4], ty::TWALK + 1);
}

#[test]
fn connections_of_which_nothing_is_left_do_not_pile_up() {
    let mut here = World::new();
    let mut mounts: Vec<u64> = here.mounts.iter().map(|m| m.1).collect();
    for i in 0..40 {
        let node = here.trees[0].mkdir(&format!("many/{i}/fs")).unwrap();
        let node = here.trees[0].again(node);
        mounts.push(here.trees[0].qid(node).unwrap().path);
        here.mounts.push((node, *mounts.last().unwrap()));
    }
    let guests = (0..42).map(|_| World::guests().remove(0)).collect();
    let mut net = Net::new(here, guests, mounts, Limits::default()).attached("9P2000.L");
    for i in 0..40 {
        assert_eq!(net.walk(0, 1, &format!("many/{i}/fs/f"))[4], ty::TWALK + 1);
        net.ask(&Tmsg::Clunk { fid: 1 });
    }
    assert!(net.conns.len() <= 16, "{}", net.conns.len());
    // What is in use stays.
    for i in 0..40 {
        assert_eq!(net.walk(0, 100 + i, &format!("many/{i}/fs/f"))[4], ty::TWALK + 1);
    }
    assert_eq!(net.conns.len(), 40);
    for i in 0..40 {
        assert_eq!(net.ask(&Tmsg::Getattr { fid: 100 + i, mask: 0 })[4], ty::TGETATTR + 1);
    }
}

#[test]
fn a_new_version_leaves_all_servers() {
    let mut net = net();
    net.walk(0, 1, "g/a/fs");
    net.walk(0, 2, "g/b/fs/x");
    net.greet(8192, "9P2000.L");
    assert_eq!((net.conns.len(), net.sw.fids()), (0, 0));
    assert_eq!(net.here.references(), World::new().references());
    net.ask(&attach(0));
    assert_eq!(net.walk(0, 1, "g/a/fs")[4], ty::TWALK + 1);
}

#[test]
fn clients_of_9p2000_get_in_too() {
    let mut net = Net::of_world(Limits::default());
    assert_eq!(net.greet(8192, "9P2000")[4], 101);
    let plain = |tag, m: &Tmsg<'_>| {
        let mut out = vec![];
        m.encode_in(Dialect::Plain, tag, &mut out);
        out
    };
    assert_eq!(net.one(&plain(1, &attach(0)))[4], 105);
    let there = net.walk(0, 1, "g/a/fs/x");
    assert_eq!(there[4], ty::TWALK + 1);
    let stat = net.one(&plain(1, &Tmsg::Stat { fid: 1 }));
    let Ok(Rmsg::Stat { stat }) = Rmsg::decode(&stat) else { panic!("{stat:?}") };
    let Ok(Rmsg::Walk { last, .. }) = Rmsg::decode(&there) else { panic!("{there:?}") };
    assert_eq!((stat.name, Some(stat.qid)), ("x", last));
    net.one(&plain(1, &Tmsg::Open { fid: 1, mode: 0 }));
    let listed = data(&net.one(&plain(1, &Tmsg::Read { fid: 1, offset: 0, count: 4000 })));
    for entry in atoll_9p::msg::stats(&listed) {
        let walked = net.walk(0, 2, &format!("g/a/fs/x/{}", entry.name));
        let Ok(Rmsg::Walk { last, .. }) = Rmsg::decode(&walked) else { panic!("{entry:?}") };
        assert_eq!(last, Some(entry.qid));
        net.one(&plain(1, &Tmsg::Clunk { fid: 2 }));
    }
    let lost = net.walk(1, 3, "no");
    assert_eq!(Rmsg::decode(&lost).unwrap(), Rmsg::Error { text: "No such file or directory" });
}

#[test]
fn a_client_that_does_not_read_stops_itself() {
    let mut net = net();
    net.walk(0, 1, "g/a/fs/x/f");
    net.ask(&Tmsg::Lopen { fid: 1, flags: OpenFlags::RDONLY });
    let read = frame(5, &Tmsg::Read { fid: 1, offset: 0, count: 3000 });
    let mut sent = 0;
    while net.sw.wants() && net.sw.wants_upstream() {
        net.sw.from_client(&mut net.here, &read);
        net.run();
        sent += 1;
        assert!(sent < 5000, "{}", net.sw.held());
    }
    assert!(net.sw.held() < 3 << 20, "{}", net.sw.held());
    assert_eq!(net.raw(&[]).len(), sent);
    assert!(net.sw.wants() && net.sw.held() < 64 << 10, "{}", net.sw.held());
}

#[test]
fn of_a_server_of_which_a_part_is_mounted_nothing_else_is_reached() {
    let mut net = net();
    net.part = "x";
    let seen = net.walk(0, 1, "g/a/fs");
    let Ok(Rmsg::Walk { last: Some(mount), .. }) = Rmsg::decode(&seen) else { panic!("{seen:?}") };
    assert_eq!(mount.path, net.mounts[0]);
    assert_eq!(net.walk(1, 2, "y/z")[4], ty::TWALK + 1);
    net.ask(&Tmsg::Lopen { fid: 2, flags: OpenFlags::RDONLY });
    let got = net.ask(&Tmsg::Read { fid: 2, offset: 0, count: 99 });
    assert_eq!(data(&got), b"a: a file that lies deep\n");
    // What lies beside and above it there is here what lies beside and above the mount point.
    let here = net.walk(0, 3, "g/a");
    let Ok(Rmsg::Walk { last: Some(above), .. }) = Rmsg::decode(&here) else { panic!("{here:?}") };
    for (from, way) in [(1, ".."), (1, "y/../.."), (0, "g/a/fs/.."), (0, "g/a/fs/y/../..")] {
        let got = net.walk(from, 4, way);
        let Ok(Rmsg::Walk { last, .. }) = Rmsg::decode(&got) else { panic!("{got:?}") };
        assert_eq!(last, Some(above), "{way}");
        net.ask(&Tmsg::Clunk { fid: 4 });
    }
    for (from, way) in [(1, "x"), (1, "../x"), (1, "y/../../x"), (0, "g/a/fs/../fs/x")] {
        net.ask(&Tmsg::Clunk { fid: 4 });
        net.walk(from, 4, way);
        assert_eq!(errno(&net.ask(&Tmsg::Getattr { fid: 4, mask: 0 })), Errno::EBADF.0, "{way}");
    }
    // In two requests that are sent at once, too.
    let mut both = walk_frame(5, 1, 6, &[b"y"]);
    both.extend(walk_frame(7, 6, 8, &[b"..", b"..", b"f"]));
    net.raw(&both);
    assert_eq!(data_of(&mut net, 8), b"beside it");

    net.part = "x/nothing";
    assert_eq!(errno(&net.walk(0, 9, "g/b/fs")), Errno::ENOENT.0);
    // That is said to each who comes, as long as it is so.
    assert_eq!(errno(&net.walk(0, 9, "g/b/fs")), Errno::ENOENT.0);
    assert_eq!(net.connects, 2);
}

fn data_of(net: &mut Net<World, Ram>, fid: u32) -> Vec<u8> {
    net.ask(&Tmsg::Lopen { fid, flags: OpenFlags::RDONLY });
    data(&net.ask(&Tmsg::Read { fid, offset: 0, count: 99 }))
}
