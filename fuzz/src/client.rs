//! Target `client`: a server sends what it likes to a client that asks for this and
//! that, and runs whole-file operations besides.
//!
//! Whatever comes, the client does not panic, sends whole requests whose tags are
//! free, hands out answers to what was asked and of the right type, and keeps no more
//! of a file than it was allowed to.

use std::collections::BTreeMap;

use atoll_9p::client::{Broken, Client, Tag};
use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, Tmsg, tag, ty};
use atoll_9p::ops::{Op, What};
use atoll_9p::wire::NOTAG;

use crate::MAX_INPUT;
use crate::layout::{self, ANSWERS, REQUESTS};
use crate::rng::Rng;
use crate::script::{Record, Script};

/// Kinds of records; the rest are answers.
const RAW: u8 = 16;
const SEND: u8 = 17;
const START: u8 = 18;
const FAIL: u8 = 19;
const WRITTEN: u8 = 20;
const FLUSH: u8 = 21;
const KINDS: u8 = 22;

/// What an operation may keep.
const MOST: usize = 100;
/// Operations at a time.
const OPS: usize = 8;

struct Peer {
    client: Client,
    /// What the client sent and the server has not read yet.
    partial: Vec<u8>,
    /// Requests without an answer: their type, by tag.
    asked: BTreeMap<u16, u8>,
    /// What each Tflush names.
    flushes: BTreeMap<u16, u16>,
    /// Frames that the server sent, at most.
    frames: usize,
    ops: Vec<Op>,
    broken: Option<Broken>,
    next_fid: u32,
    /// Bytes that are handed over at a time.
    chunk: usize,
}

impl Peer {
    fn new(head: [u8; 2]) -> Peer {
        Peer {
            client: Client::new([0, 600, 8192, 1 << 20][usize::from(head[0] & 3)]),
            partial: Vec::new(),
            asked: BTreeMap::new(),
            flushes: BTreeMap::new(),
            frames: 0,
            ops: Vec::new(),
            broken: None,
            next_fid: 1,
            chunk: [1, 7, 100, usize::MAX][usize::from(head[1] & 3)],
        }
    }

    /// The server reads up to so many bytes.
    fn read(&mut self, most: usize) {
        let output = self.client.output();
        let n = output.len().min(most);
        self.partial.extend_from_slice(&output[..n]);
        self.client.sent(n);
        while let Some(size) = self.partial.first_chunk() {
            let size = u32::from_le_bytes(*size) as usize;
            assert!(size >= 7, "a request of {size} bytes");
            if size > self.partial.len() {
                return;
            }
            let frame: Vec<u8> = self.partial.drain(..size).collect();
            let m = Tmsg::decode(&frame).unwrap_or_else(|e| panic!("{e:?}: {frame:?}"));
            assert!(self.broken.is_some() || size <= self.client.msize().max(512) as usize);
            // The Tversion is no request that could be given up. A Tflush of what has its
            // answer ends nothing, whoever has that tag next.
            if let Tmsg::Flush { oldtag } = m
                && oldtag != NOTAG
                && self.asked.contains_key(&oldtag)
            {
                self.flushes.insert(tag(&frame), oldtag);
            }
            let before = self.asked.insert(tag(&frame), m.ty());
            // A client that is broken may name requests as it likes.
            assert!(
                before.is_none() || self.broken.is_some(),
                "tag {} is in use: {m:?}",
                tag(&frame)
            );
        }
    }

    /// The server sends.
    fn feed(&mut self, bytes: &[u8]) {
        // Answers are only to what the server has read.
        self.read(usize::MAX);
        self.frames += bytes.len() / 7 + 1;
        for piece in bytes.chunks(self.chunk.min(bytes.len()).max(1)) {
            self.client.feed(piece);
            self.poll();
        }
    }

    fn poll(&mut self) {
        loop {
            let (tag, answer) = match self.client.poll() {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(broken) => {
                    assert!(self.broken.is_none_or(|b| b == broken), "it broke twice");
                    self.broken = Some(broken);
                    return;
                }
            };
            assert!(self.broken.is_none(), "an answer after the connection broke");
            assert!(self.frames > 0, "more answers than there can be");
            self.frames -= 1;
            let asked = self.asked.remove(&tag.0).expect("the answer to a request");
            assert!(answers(asked, &answer), "{answer:?} to a request of type {asked}");
            if let Some(old) = self.flushes.remove(&tag.0)
                && matches!(answer, Rmsg::Flush)
            {
                self.asked.remove(&old);
                self.flushes.remove(&old);
            }
            if let Some(at) = self.ops.iter().position(|op| op.tag() == tag) {
                let op = &mut self.ops[at];
                op.answer(&answer);
                assert!(op.held() <= MOST, "{} bytes are kept", op.held());
                if let Some(result) = op.next(&mut self.client) {
                    assert!(result.is_err() || result.is_ok_and(|got| got.len() <= MOST));
                    self.ops.swap_remove(at);
                }
            }
            self.read(usize::MAX);
        }
        assert_eq!(self.client.outstanding(), self.asked.len(), "requests without an answer");
    }

    fn start(&mut self, payload: &[u8]) {
        if self.ops.len() >= OPS {
            return;
        }
        let (kind, rest) = payload.split_first().unwrap_or((&0, &[]));
        let what = match kind % 3 {
            0 => What::Read { max: MOST },
            1 => What::Write(vec![b'w'; usize::from(*kind) * 10]),
            _ => What::List { max: MOST },
        };
        let path = String::from_utf8_lossy(rest);
        // Refused: a path that is too long.
        if let Ok(op) = Op::start(&mut self.client, 0, self.next_fid, &path, what) {
            self.next_fid += 1;
            self.ops.push(op);
        }
    }

    fn send(&mut self, payload: &[u8]) {
        let Some((ty, body)) = payload.split_first() else { return };
        let frame = layout::frame(*ty, 0, body);
        let Ok(m) = Tmsg::decode(&frame) else { return };
        if m.ty() == ty::TVERSION || frame.len() > 512 {
            return;
        }
        let tag = self.client.send(&m);
        assert_eq!(tag == Tag(NOTAG), self.broken.is_some());
    }

    /// An answer to one of the requests, of the right type or not.
    fn answer(&mut self, payload: &[u8]) {
        self.read(usize::MAX);
        let [which, ty, body @ ..] = payload else { return };
        let nth = usize::from(*which) % self.asked.len().max(1);
        let Some((&tag, &asked)) = self.asked.iter().nth(nth) else { return };
        let ty = match ty {
            0 => asked + 1,
            1 => ty::RLERROR,
            other => *other,
        };
        self.feed(&layout::frame(ty, tag, body));
    }
}

/// Whether that is an answer to a request of that type.
fn answers(asked: u8, m: &Rmsg<'_>) -> bool {
    let fits = match m {
        Rmsg::Lerror { .. } => return asked != ty::TVERSION,
        // The client speaks no 9P2000.
        Rmsg::Error { .. } => return false,
        Rmsg::Version { .. } => ty::TVERSION,
        Rmsg::Auth { .. } => ty::TAUTH,
        Rmsg::Attach { .. } => ty::TATTACH,
        Rmsg::Flush => ty::TFLUSH,
        Rmsg::Walk { .. } => ty::TWALK,
        Rmsg::Read { .. } => ty::TREAD,
        Rmsg::Write { .. } => ty::TWRITE,
        Rmsg::Clunk => ty::TCLUNK,
        Rmsg::Remove => ty::TREMOVE,
        Rmsg::Open { .. } => ty::TOPEN,
        Rmsg::Create { .. } => ty::TCREATE,
        Rmsg::Stat { .. } => ty::TSTAT,
        Rmsg::Wstat => ty::TWSTAT,
        Rmsg::Lopen { .. } => ty::TLOPEN,
        Rmsg::Lcreate { .. } => ty::TLCREATE,
        Rmsg::Symlink { .. } => ty::TSYMLINK,
        Rmsg::Mknod { .. } => ty::TMKNOD,
        Rmsg::Rename => ty::TRENAME,
        Rmsg::Readlink { .. } => ty::TREADLINK,
        Rmsg::Getattr { .. } => ty::TGETATTR,
        Rmsg::Setattr => ty::TSETATTR,
        Rmsg::Xattrwalk { .. } => ty::TXATTRWALK,
        Rmsg::Xattrcreate => ty::TXATTRCREATE,
        Rmsg::Readdir { .. } => ty::TREADDIR,
        Rmsg::Fsync => ty::TFSYNC,
        Rmsg::Lock { .. } => ty::TLOCK,
        Rmsg::Getlock { .. } => ty::TGETLOCK,
        Rmsg::Link => ty::TLINK,
        Rmsg::Mkdir { .. } => ty::TMKDIR,
        Rmsg::Renameat => ty::TRENAMEAT,
        Rmsg::Unlinkat => ty::TUNLINKAT,
        Rmsg::Statfs { .. } => ty::TSTATFS,
    };
    asked == fits
}

/// Tries one input.
pub fn run(input: &[u8]) {
    let script = Script::parse(input);
    let mut peer = Peer::new(script.head);
    for Record { kind, payload } in &script.records {
        let first = payload.first().copied().unwrap_or_default();
        match kind % KINDS {
            RAW => peer.feed(payload),
            SEND => peer.send(payload),
            START => peer.start(payload),
            FAIL => {
                if let Some(op) = peer.ops.get_mut(usize::from(first) % OPS) {
                    op.fail(Errno::ETIMEDOUT.into());
                }
            }
            WRITTEN => peer.read(first.into()),
            FLUSH => {
                peer.read(usize::MAX);
                let nth = usize::from(first) % peer.asked.len().max(1);
                if let Some(&oldtag) = peer.asked.keys().nth(nth) {
                    peer.client.send(&Tmsg::Flush { oldtag });
                }
            }
            _ => peer.answer(payload),
        }
    }
    peer.read(usize::MAX);
    assert!(peer.client.output().is_empty() && peer.partial.is_empty());
}

/// What happens, for people: a line for each record.
pub fn show(input: &[u8]) -> String {
    let script = Script::parse(input);
    let peer = Peer::new(script.head);
    let mut out = format!("msize {}, {} bytes at a time\n", peer.client.msize(), peer.chunk);
    for Record { kind, payload } in &script.records {
        let first = payload.first();
        let line = match kind % KINDS {
            RAW => format!("the server sends {payload:02x?}"),
            SEND => format!("the client asks: {payload:02x?}"),
            START => format!("operation {first:?} on {:?}", String::from_utf8_lossy(payload)),
            FAIL => format!("operation {first:?} gives up"),
            WRITTEN => format!("the server reads {first:?} bytes"),
            FLUSH => format!("the client flushes request {first:?}"),
            _ => format!("an answer to request {first:?}: {:02x?}", payload.get(1..)),
        };
        out += &(line + "\n");
    }
    out
}

/// An answer as a record: to the first request, of the right type.
fn right(body: &[u8]) -> Record {
    Record { kind: 0, payload: [&[0, 0], body].concat() }
}

/// Something that may happen.
pub fn fresh(rng: &mut Rng) -> Record {
    match rng.below(16) {
        0 => Record { kind: RAW, payload: (0..rng.below(12)).map(|_| rng.next() as u8).collect() },
        1..4 => {
            let layout = rng.pick(REQUESTS);
            Record { kind: SEND, payload: [&[layout.1], &*layout::body(layout, rng)].concat() }
        }
        4..7 => {
            let path = *rng.pick(&["a", "dir/deep/leaf", "", "a/../b", "0/1/2/3/4/5/6/7/8/9"]);
            Record { kind: START, payload: [&[rng.next() as u8], path.as_bytes()].concat() }
        }
        7 => Record { kind: FAIL, payload: vec![rng.next() as u8] },
        8 => Record { kind: FLUSH, payload: vec![rng.next() as u8] },
        9 => Record { kind: WRITTEN, payload: vec![rng.next() as u8] },
        _ => {
            let layout = rng.pick(ANSWERS);
            let ty = if rng.one_in(2) { 0 } else { layout.1 };
            let which = rng.below(6) as u8;
            Record { kind: 0, payload: [&[which, ty], &*layout::body(layout, rng)].concat() }
        }
    }
}

/// Each operation from its beginning to its end, and what may come between.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(7);
    let answers = |ty: u8| ANSWERS.iter().filter(move |l| l.1 == ty);
    let mut out = Vec::new();
    for what in 0..24_u8 {
        let version = layout::VERSIONS[usize::from(what) / 3 % layout::VERSIONS.len()];
        let mut greeting = 8192_u32.to_le_bytes().to_vec();
        greeting.extend((version.len() as u16).to_le_bytes());
        greeting.extend(version.as_bytes());
        let mut records = vec![right(&greeting)];
        records.push(Record { kind: START, payload: vec![what, b'a'] });
        let qid = [0; 13];
        records.push(right(&[&[1, 0][..], &qid].concat()));
        records.push(right(&[&qid[..], &[0; 4]].concat()));
        for _ in 0..3 {
            let ty = [117, 119, 41][usize::from(what % 3)];
            records.extend(answers(ty).map(|l| right(&layout::body(l, &mut rng))));
        }
        records.push(right(if what % 3 == 1 { &[0; 4] } else { &[0, 0, 0, 0] }));
        records.push(right(&[]));
        for l in REQUESTS.iter().skip(what.into()).step_by(24) {
            let payload = [&[l.1], &*layout::body(l, &mut rng)].concat();
            records.push(Record { kind: SEND, payload });
            records.extend(answers(l.1 + 1).map(|l| right(&layout::body(l, &mut rng))));
        }
        records.extend((0..6).map(|_| fresh(&mut rng)));
        let head = [what % 4, [3, 2, 0, 1][usize::from(what / 4) % 4]];
        out.push(Script { head, records }.bytes(MAX_INPUT));
    }
    out
}
