//! Target `server`: two clients of one tree send what they like, in pieces of any
//! size, read their answers when they like, and go.
//!
//! Whatever they do, the session does not panic, answers what was asked and nothing
//! else in whole frames, holds no more than its limits, comes to rest, and gives
//! everything back in the end.

use atoll_9p::access::Identity;
use atoll_9p::ram::Ram;
use atoll_9p::server::{Limits, Pool, Session};
use atoll_9p::synth::Files;
use atoll_9p::tree::Tree;
use atoll_9p::wire::{MIN_MSIZE, NOTAG};

use crate::MAX_INPUT;
use crate::files::State;
use crate::layout::{self, REQUESTS, VERSIONS};
use crate::ledger::Ledger;
use crate::rng::Rng;
use crate::script::{Record, Script};
use crate::tree::{Counted, Trial};

/// Kinds of records; the rest are requests.
/// Bytes as they are.
pub const RAW: u8 = 16;
/// The client reads so many bytes.
pub const READ: u8 = 17;
/// Something happens in the tree.
pub const NEWS: u8 = 18;
/// From now on reads and writes wait, or they do no more.
pub const BUSY: u8 = 19;
/// So many calls of the tree from now, one fails.
pub const FAULT: u8 = 20;
/// The client goes, and another comes.
pub const LEAVE: u8 = 21;
/// Twrites of many bytes, under one tag after another: tag\[1\] fid\[1\] count\[2\] times\[1\].
pub const LONG: u8 = 22;
/// The number of kinds.
pub const KINDS: u8 = 23;
/// The bit that says which client.
pub const SECOND: u8 = 0x80;

/// Settings of the second byte, beside the size of pieces: answers are read only when
/// the script says so, the tree is the one in memory, buffers are a pool's.
const LAZY: u8 = 4;
pub(crate) const RAM: u8 = 8;
const POOL: u8 = 16;

/// The size of a pool's buffers.
const POOLED: usize = 2048;

struct Client<T: Trial> {
    session: Session<Counted<T>>,
    ledger: Ledger,
    limits: Limits,
    /// Sent, but there was no room for it; what is before `taken` was taken.
    unsent: Vec<u8>,
    taken: usize,
    /// Bytes that are handed over at a time.
    chunk: usize,
    /// Reads only when the script says so.
    lazy: bool,
    /// How often waiting requests were asked again at most.
    woken: usize,
    steps: usize,
}

/// What the first byte of an input sets.
fn limits(head: u8) -> Limits {
    Limits {
        msize: [0, 600, 1024, 9000][usize::from(head & 3)],
        fids: [1, 3, 8, 100][usize::from(head >> 2 & 3)],
        blocked: [0, 1, 2, 20][usize::from(head >> 4 & 3)],
        writes: [0, 600, 5000, 100_000][usize::from(head >> 4 & 3)],
    }
}

impl<T: Trial> Client<T> {
    fn new(head: [u8; 2]) -> Client<T> {
        let limits = limits(head[0]);
        let identity = match head[0] >> 6 {
            0 => Identity::Owner,
            1 => Identity::OwnerPeer { uid: 3, gid: 4 },
            2 => Identity::Peer { uid: 1, gid: 2 },
            _ => Identity::Claimed,
        };
        Client {
            session: Session::serving(limits, identity),
            ledger: Ledger::new(limits.msize.max(MIN_MSIZE)),
            limits,
            unsent: Vec::new(),
            taken: 0,
            chunk: [1, 7, 100, usize::MAX][usize::from(head[1] & 3)],
            lazy: head[1] & LAZY != 0,
            woken: 0,
            steps: 0,
        }
    }

    /// Hands over what there is room for, and lets the session work.
    fn run(&mut self, tree: &mut Counted<T>) {
        loop {
            let rest = &self.unsent[self.taken..];
            // Much comes in larger pieces, or an input would take too long.
            let piece = self.chunk.max(rest.len() / 64).min(rest.len());
            let taken = self.session.feed(&rest[..piece]);
            self.ledger.sent(&rest[..taken]);
            self.taken += taken;
            let stepped = self.step(tree);
            if !self.lazy {
                self.read(usize::MAX);
            }
            if taken == 0 && !stepped && !self.session.is_ready() {
                return;
            }
        }
    }

    fn step(&mut self, tree: &mut Counted<T>) -> bool {
        let ready = self.session.is_ready();
        let stepped = self.session.step(tree);
        assert_eq!(ready, stepped);
        self.steps += usize::from(stepped);
        // A step is a request, one that was woken or stood behind one that is gone, or
        // the end.
        let most = 2 * self.ledger.requests as usize + self.woken + 1;
        assert!(self.steps <= most, "{} steps, but {most} at most make sense", self.steps);
        self.check();
        stepped
    }

    fn check(&self) {
        let s = &self.session;
        assert!(s.fids() <= self.limits.fids as usize, "{} fids", s.fids());
        assert!(s.waiting() <= self.limits.blocked as usize, "{} waiting", s.waiting());
        // One message is being received, and vectors grow by doubling. Before an answer
        // there may be as much that was sent. A little is never given back. Fids have
        // a name and a place in an index, requests that wait have places in three.
        let Limits { msize, fids, blocked, writes } = self.limits;
        let msize = msize.max(2048) as usize;
        let output = 4 * (s.output().len() + msize);
        let tables = 2 * (fids as usize * 700 + blocked as usize * 400) + 8192;
        let most = 2 * msize + output.max(2 * 4096) + 2 * POOLED + tables + writes as usize;
        assert!(s.held() <= most, "{} bytes are held", s.held());
    }

    fn read(&mut self, most: usize) {
        let output = self.session.output();
        let n = output.len().min(most);
        let dead = self.session.is_dead() && n == output.len();
        self.ledger.received(&output[..n], dead);
        self.session.sent(n);
    }

    fn wake(&mut self, node: T::Node) {
        self.woken += self.session.waiting();
        self.session.wake(node);
    }

    /// Lets everything that can be answered be answered, and sees that it was.
    fn rest(&mut self, tree: &mut Counted<T>) {
        self.lazy = false;
        self.run(tree);
        assert!(self.session.output().is_empty() && !self.session.is_ready());
        if !self.session.is_dead() {
            assert_eq!(self.taken, self.unsent.len(), "not every byte was taken");
            assert_eq!(
                self.ledger.open(),
                Some(self.session.waiting()),
                "requests without an answer"
            );
        }
    }

    fn close(&mut self, tree: &mut Counted<T>) {
        for _ in 0..2 {
            self.session.close(tree);
            let s = &self.session;
            assert!(s.is_dead() && !s.is_ready() && s.output().is_empty());
            assert_eq!((s.fids(), s.waiting(), s.held()), (0, 0, 0));
        }
    }
}

/// What a client sends for a record.
pub fn sent(kind: u8, payload: &[u8]) -> Vec<u8> {
    match (kind & !SECOND) % KINDS {
        RAW => payload.to_vec(),
        LONG => long(payload),
        READ | NEWS | BUSY | FAULT | LEAVE => Vec::new(),
        _ => match payload {
            [ty, a, b, body @ ..] => layout::frame(*ty, u16::from_le_bytes([*a, *b]), body),
            _ => Vec::new(),
        },
    }
}

/// Twrites that cost an input only a few bytes.
fn long(payload: &[u8]) -> Vec<u8> {
    let [tag, fid, a, b, times] = *payload else { return Vec::new() };
    let count = u16::from_le_bytes([a, b]) % 10_000;
    let fields: [&[u8]; 4] =
        [&[fid, 0, 0, 0], &[0; 8], &u32::from(count).to_le_bytes(), &vec![b' '; count.into()]];
    let body = fields.concat();
    let tags = (0..=u16::from(times % 32)).map(|i| u16::from(tag) + i);
    tags.map(|tag| layout::frame(118, tag, &body)).collect::<Vec<_>>().concat()
}

/// Tries one input.
pub fn run(input: &[u8]) {
    let script = Script::parse(input);
    match script.head[1] & RAM {
        0 => run_on::<Files<'static, State>>(&script),
        _ => run_on::<Ram>(&script),
    }
}

fn run_on<T: Trial>(script: &Script) {
    let mut tree = Counted::<T>::default();
    let mut pool = (script.head[1] & POOL != 0).then(|| Pool::new(POOLED, 4 * POOLED));
    let mut clients = [Client::new(script.head), Client::new(script.head)];
    for Record { kind, payload } in &script.records {
        let client = &mut clients[usize::from(kind & SECOND != 0)];
        let first = payload.first().copied().unwrap_or_default();
        match (kind & !SECOND) % KINDS {
            READ => client.read(first.into()),
            NEWS => tree.news(&String::from_utf8_lossy(payload)),
            BUSY => {
                tree.busy = first & 1 != 0;
                for node in tree.held() {
                    clients.iter_mut().for_each(|c| c.wake(node));
                }
            }
            FAULT => tree.fault_in = first,
            LEAVE => {
                client.close(&mut tree);
                *client = Client::new(script.head);
            }
            _ => client.unsent.extend(sent(*kind, payload)),
        }
        for _ in 0..2 {
            for client in &mut clients {
                if let Some(pool) = &mut pool {
                    client.session.lend(pool);
                }
                client.run(&mut tree);
                if let Some(pool) = &mut pool {
                    client.session.give_back(pool);
                }
            }
            tree.woken(&mut |node| clients.iter_mut().for_each(|c| c.wake(node)));
            tree.check();
        }
    }
    clients.iter_mut().for_each(|c| c.rest(&mut tree));
    clients.iter_mut().for_each(|c| c.close(&mut tree));
    tree.assert_empty();
}

/// What the clients do, for people: a line for each record.
pub fn show(input: &[u8]) -> String {
    let script = Script::parse(input);
    let client = Client::<Ram>::new(script.head);
    let has = |bit, text| if script.head[1] & bit != 0 { text } else { "" };
    let mut out = format!(
        "{:?}, {} bytes at a time{}{}{}\n",
        client.limits,
        client.chunk,
        has(LAZY, ", answers are read when told"),
        has(RAM, ", tree in memory"),
        has(POOL, ", buffers of a pool"),
    );
    for Record { kind, payload } in &script.records {
        let what = match (kind & !SECOND) % KINDS {
            RAW => format!("sends {payload:02x?}"),
            READ => format!("reads {:?} bytes", payload.first()),
            NEWS => format!("the log grows by {:?}", String::from_utf8_lossy(payload)),
            BUSY => format!("the tree is busy: {}", payload.first().is_some_and(|b| b & 1 != 0)),
            FAULT => format!("a call fails, counted: {:?}", payload.first()),
            LONG => format!("writes much: {payload:?}"),
            LEAVE => "leaves, and another comes".into(),
            _ => layout::show(REQUESTS, payload),
        };
        out += &format!("{}: {what}\n", if kind & SECOND != 0 { 2 } else { 1 });
    }
    out
}

/// A request as a record.
fn request(ty: u8, tag: u16, body: &[u8]) -> Record {
    let mut payload = vec![ty];
    payload.extend(tag.to_le_bytes());
    payload.extend(body);
    Record { kind: 0, payload }
}

/// Something that may happen.
pub fn fresh(rng: &mut Rng) -> Record {
    let mut record = match rng.below(24) {
        0 => Record { kind: RAW, payload: (0..rng.below(12)).map(|_| rng.next() as u8).collect() },
        1 => Record { kind: READ, payload: vec![rng.next() as u8] },
        2 => Record { kind: NEWS, payload: b"something new".to_vec() },
        3..5 => Record { kind: BUSY, payload: vec![rng.below(2) as u8] },
        5 => Record { kind: FAULT, payload: vec![rng.below(8) as u8] },
        6 => Record { kind: LEAVE, payload: Vec::new() },
        7 => {
            let times = if rng.one_in(2) { 0 } else { rng.below(24) };
            let payload = [rng.below(6), rng.below(5), rng.below(256), rng.below(36), times];
            let payload = payload.map(|n| n as u8).to_vec();
            Record { kind: LONG, payload }
        }
        _ => {
            let layout = rng.pick(REQUESTS);
            let tag = if layout.1 == 100 { NOTAG } else { rng.below(6) as u16 };
            request(layout.1, tag, &layout::body(layout, rng))
        }
    };
    if rng.one_in(4) {
        record.kind |= SECOND;
    }
    record
}

/// A request with these fields.
fn ask(ty: u8, tag: u16, fields: &[&[u8]]) -> Record {
    request(ty, tag, &fields.concat())
}

/// Whether a file is to be opened for writing too.
fn written(path: &[&str]) -> bool {
    path.last().is_some_and(|name| ["ctl", "clone", "status", "tty"].contains(name))
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u16).to_le_bytes(), s.as_bytes()].concat()
}

/// What clients do, for each version and each file: greet, attach, walk, open and
/// use, with something of everything behind it.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(5);
    let mut out = Vec::new();
    let n = |v: u32| v.to_le_bytes();
    let files: [&[&str]; 16] = [
        &["text"],
        &["README"],
        &["ctl"],
        &["log"],
        &["dir", "deep", "leaf"],
        &["many"],
        &["fault"],
        &["dir", "..", "closed"],
        &["conn", "clone"],
        &["dir", "status"],
        &["rec", "dir", "status"],
        &["rec", "dir", "schema"],
        &["console"],
        &["tty"],
        &["huge", "f7"],
        &["conn"],
    ];
    for (v, version) in VERSIONS.iter().take(3).enumerate() {
        for (i, path) in files.iter().enumerate() {
            let mut records = vec![ask(100, NOTAG, &[&n(8192), &text(version)])];
            let who = [text("glenda"), text("")].concat();
            let uid: &[u8] = if *version == "9P2000" { &[] } else { &n(u32::MAX) };
            records.push(ask(104, 1, &[&n(0), &n(u32::MAX), &who, uid]));
            let names: Vec<u8> = path.iter().flat_map(|name| text(name)).collect();
            let count = (path.len() as u16).to_le_bytes();
            records.push(ask(110, 1, &[&n(0), &n(1), &count, &names]));
            records.push(match *version {
                "9P2000" => ask(112, 1, &[&n(1), &[if written(path) { 2 } else { 0 }]]),
                _ => ask(12, 1, &[&n(1), &n(if written(path) { 2 } else { 0 })]),
            });
            let at = [0; 8];
            records.push(ask(116, 2, &[&n(1), &at, &n(200)]));
            records.push(ask(116, 3, &[&n(1), &at, &n(8192)]));
            records.push(ask(118, 4, &[&n(1), &at, &n(9), b"say hello"]));
            records.push(ask(40, 4, &[&n(1), &at, &n(500)]));
            records.push(Record { kind: BUSY, payload: vec![1] });
            records.push(Record { kind: LONG, payload: vec![10, 1, 0, 2, 12] });
            records.push(Record { kind: BUSY, payload: vec![0] });
            let asked = REQUESTS.iter().skip(i).step_by(files.len());
            records.extend(asked.map(|l| request(l.1, 5, &layout::body(l, &mut rng))));
            records.extend((0..6).map(|_| fresh(&mut rng)));
            records.push(ask(108, 5, &[&2u16.to_le_bytes()]));
            records.push(ask(120, 5, &[&n(1)]));
            let head = [[0x3f, 0x3b, 0x2a][v], [3, 2, 6, 1, 11, 10, 27, 26][(i + v) % 8]];
            out.push(Script { head, records }.bytes(MAX_INPUT));
        }
    }
    out
}
