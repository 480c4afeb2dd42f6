//! Connections that end at any byte, and servers that lie.

use std::collections::BTreeMap;

use atoll_9p::msg::{Tmsg, ty};
use atoll_9p::ram::Ram;
use proptest::prelude::*;

use super::*;

/// What a client does below two mount points, beside them, and over their borders.
fn script() -> Vec<Vec<u8>> {
    let walk = |tag, fid, newfid, path: &str| {
        let names: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
        walk_frame(tag, fid, newfid, &names)
    };
    vec![
        walk(1, 0, 1, "g/a/fs"),
        walk(2, 0, 2, "g/b/fs/x/f"),
        frame(3, &Tmsg::Getattr { fid: 1, mask: 0 }),
        frame(4, &Tmsg::Lopen { fid: 2, flags: OpenFlags::RDWR }),
        frame(5, &Tmsg::Read { fid: 2, offset: 0, count: 2000 }),
        walk(6, 1, 3, "x/y"),
        walk(7, 3, 4, "../../../../b/fs/f"),
        frame(8, &Tmsg::Write { fid: 2, offset: 0, data: b"written", op: None }),
        frame(9, &Tmsg::Lopen { fid: 1, flags: OpenFlags::RDONLY }),
        frame(10, &Tmsg::Readdir { fid: 1, offset: 0, count: 1000 }),
        walk(11, 1, 5, ".."),
        frame(12, &Tmsg::Flush { oldtag: 7 }),
        walk(13, 4, 4, "../../fs/x"),
        frame(14, &Tmsg::Xattrwalk { fid: 3, newfid: 6, name: "" }),
        frame(15, &Tmsg::Clunk { fid: 2 }),
        frame(16, &Tmsg::Remove { fid: 3 }),
        walk(17, 0, 7, "x/f"),
        frame(18, &Tmsg::Getattr { fid: 7, mask: 0 }),
        walk(19, 3, 3, ".."),
    ]
}

/// References that are there when the client is not.
fn left_behind(net: &Net<World, Ram>) -> usize {
    net.here.references() + net.guests.iter().map(references).sum::<usize>()
}

/// How often each tag was answered.
fn answered(answers: &[Vec<u8>]) -> BTreeMap<u16, usize> {
    answers.iter().fold(BTreeMap::new(), |mut all, f| {
        *all.entry(tag_of(f)).or_default() += 1;
        all
    })
}

#[test]
fn a_server_that_ends_at_any_byte_leaves_no_request_unanswered() {
    let all = script().concat();
    let whole = {
        let mut net = Net::of_world(Limits::default()).attached("9P2000.L.atoll");
        net.left = Some(usize::MAX - 1);
        net.raw(&all);
        usize::MAX - 1 - net.left.unwrap()
    };
    assert!(whole > 1500, "{whole}");
    let none = left_behind(&Net::of_world(Limits::default()));
    for left in 1..=whole {
        let mut net = Net::of_world(Limits::default()).attached("9P2000.L.atoll");
        net.left = Some(left);
        let answers = net.raw(&all);
        // The walk that was flushed is answered before its flush, or not at all.
        let mut tags = answered(&answers);
        assert_eq!(tags.remove(&12), Some(1));
        let walked = tags.remove(&7);
        assert!(walked.is_none_or(|n| n == 1));
        assert!(tags.len() == 17 && tags.values().all(|n| *n == 1), "{left}: {tags:?}");
        let place = |tag| answers.iter().position(|f| tag_of(f) == tag);
        assert!(walked.is_none() || place(7) < place(12));
        // What is local goes on, and who walks there again finds what was lost.
        assert_eq!(net.ask(&Tmsg::Getattr { fid: 7, mask: 0 })[4], ty::TGETATTR + 1);
        assert_eq!(net.walk(0, 9, "g/b/fs/f")[4], ty::TWALK + 1);
        assert_eq!(net.ask(&Tmsg::Lopen { fid: 9, flags: OpenFlags::RDONLY })[4], ty::TLOPEN + 1);
        assert_eq!(
            data(&net.ask(&Tmsg::Read { fid: 9, offset: 0, count: 99 })),
            b"short",
            "{left}"
        );
        for fid in [1, 2, 3, 4, 5, 6, 7, 9, 0] {
            net.ask(&Tmsg::Clunk { fid });
        }
        assert_eq!(net.sw.fids(), 0, "{left}");
        net.close();
        assert_eq!(left_behind(&net), none, "{left}");
    }
}

#[test]
fn what_was_at_a_server_that_is_gone_is_refused_and_can_be_clunked() {
    let mut net = Net::of_world(Limits::default()).attached("9P2000.L.atoll");
    net.walk(0, 1, "g/a/fs/f");
    net.walk(0, 2, "g/b/fs/f");
    net.walk(0, 3, "g/a/fs");
    let id = net.sw.upstreams().next().unwrap();
    net.lose(id);
    for m in [
        Tmsg::Getattr { fid: 1, mask: 0 },
        Tmsg::Read { fid: 1, offset: 0, count: 1 },
        Tmsg::Remove { fid: 3 },
    ] {
        assert_eq!(errno(&net.ask(&m)), Errno::EIO.0, "{m:?}");
    }
    assert_eq!(errno(&net.walk(1, 4, "..")), Errno::EIO.0);
    assert_eq!(errno(&net.ask(&Tmsg::Getattr { fid: 3, mask: 0 })), Errno::EBADF.0);
    assert_eq!(net.ask(&Tmsg::Clunk { fid: 1 })[4], ty::TCLUNK + 1);
    assert_eq!(net.ask(&Tmsg::Getattr { fid: 2, mask: 0 })[4], ty::TGETATTR + 1);
    assert_eq!(net.connects, 2);
    assert_eq!(net.walk(0, 1, "g/a/fs/f")[4], ty::TWALK + 1);
    assert_eq!(net.connects, 3);
}

/// A frame that a server could send, right or wrong.
fn frame_of_a_liar() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![0..22u16, 0xa700..0xa704u16, Just(0xffffu16)];
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(vec![]),
        (0..3u16, any::<u8>()).prop_map(|(n, b)| {
            let mut body = n.to_le_bytes().to_vec();
            body.extend(std::iter::repeat_n(b, usize::from(n) * 13));
            body
        }),
        any::<u8>().prop_map(|b| vec![b; 13]),
        Just(2u32.to_le_bytes().to_vec()),
    ];
    let ty = prop_oneof![any::<u8>(), Just(7u8), Just(105), Just(111), Just(121), Just(109)];
    prop_oneof![
        8 => (ty, tag, body).prop_map(|(ty, tag, body)| raw(ty, tag, &body)),
        1 => prop::collection::vec(any::<u8>(), 1..30),
    ]
}

proptest! {
    /// Whatever a server says, each request is answered at most once, and exactly once when
    /// the server is gone; nobody else notices.
    #[test]
    fn a_server_that_lies_is_no_harm(
        lies in prop::collection::vec((frame_of_a_liar(), 0..3usize), 1..60),
        first in 0..20usize,
    ) {
        let mut net = Net::of_world(Limits::default()).attached("9P2000.L.atoll");
        net.walk(0, 8, "g/b/fs");
        net.walk(0, 9, "g/a/fs");
        let mut answers = vec![];
        for f in script().into_iter().take(first) {
            answers.extend(net.raw(&f));
        }
        net.stopped = true;
        for f in script().into_iter().skip(first) {
            answers.extend(net.raw(&f));
        }
        for (lie, which) in lies {
            let id = net.sw.upstreams().nth(which);
            if let Some(id) = id {
                net.sw.from_upstream(&mut net.here, id, &lie);
            }
            answers.extend(net.raw(&[]));
        }
        for id in net.sw.upstreams().collect::<Vec<_>>() {
            net.lose(id);
        }
        answers.extend(net.raw(&[]));
        let mut tags = answered(&answers);
        prop_assert_eq!(tags.remove(&12), Some(1));
        prop_assert!(tags.remove(&7).is_none_or(|n| n == 1));
        prop_assert!(tags.len() == 17 && tags.values().all(|n| *n == 1), "{tags:?}");
        net.stopped = false;
        prop_assert_eq!(net.walk(0, 20, "g/b/fs/f")[4], ty::TWALK + 1);
        net.close();
        prop_assert_eq!(net.here.references(), World::new().references());
    }
}
