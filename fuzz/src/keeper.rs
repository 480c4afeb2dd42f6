//! Target `keeper`: a client that outlives its connections asks a real server, while
//! connections break after any byte, cannot be made, or lead to a server that has
//! forgotten everything or lies.
//!
//! Whatever happens, each request is answered once, or ended by its Tflush; what can be
//! answered is, once there is a connection again; and nothing goes on for ever.

use std::collections::BTreeMap;

use atoll_9p::client::keeper::{Keeper, Settings, State as Standing};
use atoll_9p::dialect::Dialect;
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::once;
use atoll_9p::server::{Limits, Session};
use atoll_9p::synth::Files;
use atoll_9p::tree::Tree;
use atoll_9p::wire::NOTAG;

use crate::files::State;
use crate::layout;
use crate::rng::Rng;
use crate::script::{Record, Script};
use crate::server::{self, BUSY, FAULT, LEAVE, NEWS, RAW, READ};
use crate::tree::Counted;

/// Kinds of records; the rest are as in the target `server`. The connection breaks
/// after so many bytes: count\[2\].
const CUT: u8 = 32;
/// The connection breaks now, and so many attempts fail.
const REFUSE: u8 = 33;
/// So many seconds pass.
const TIME: u8 = 34;

/// A session, and what must be left when it ends.
type Server = Session<Counted<Files<'static, State>>>;

struct Trial {
    keeper: Keeper,
    server: Option<Server>,
    tree: Counted<Files<'static, State>>,
    now: u64,
    /// Requests without an answer, and what they are: a Tflush's tag.
    asked: BTreeMap<u16, Option<u16>>,
    /// Bytes until the connection breaks.
    left: usize,
    refused: u8,
    /// What the server sends may be half of something, for ever.
    lied: bool,
    /// The server speaks nothing but 9P2000.L.
    plain: bool,
    /// The system takes all that is to be sent, whether or not it arrives.
    eager: bool,
}

impl Trial {
    fn new(head: [u8; 2]) -> Trial {
        let settings = Settings {
            msize: [512, 600, 1024, 9000][usize::from(head[0] & 3)],
            requests: [1, 3, 20, 4096][usize::from(head[0] >> 2 & 3)],
            patience: [None, Some(0), Some(1000), Some(60_000)][usize::from(head[0] >> 4 & 3)],
            ..Settings::new(7)
        };
        Trial {
            keeper: Keeper::new(settings),
            server: None,
            tree: Counted::default(),
            now: 0,
            asked: BTreeMap::new(),
            left: usize::MAX,
            refused: 0,
            lied: false,
            plain: head[1] & 1 != 0,
            eager: head[1] & 2 != 0,
        }
    }

    fn cut(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.close(&mut self.tree);
        }
        if self.eager {
            self.keeper.sent(self.keeper.output().len());
        }
        (self.left, self.lied) = (usize::MAX, false);
        self.keeper.broken(self.now);
        assert!(self.keeper.output().is_empty() && self.keeper.state() == Standing::Down);
    }

    fn connect(&mut self) {
        self.now = self.now.max(self.keeper.retry_at().expect("a time to try"));
        if self.refused > 0 {
            self.refused -= 1;
            self.keeper.broken(self.now);
            return;
        }
        self.keeper.connected();
        let mut server =
            Server::new(Limits { msize: 8192, fids: 500, blocked: 500, writes: 1 << 20 });
        if self.plain {
            let msize = self.keeper.msize();
            let mut greeting = Vec::new();
            Tmsg::Version { msize, version: Dialect::L.name() }.encode(NOTAG, &mut greeting);
            let said = self.keeper.output();
            let n = u32::from_le_bytes(*said.first_chunk().expect("a Tversion")) as usize;
            self.keeper.sent(n);
            server.feed(&greeting);
        }
        self.server = Some(server);
    }

    /// Takes every answer that is there, so that a tag which is given anew is not taken
    /// for that of a request which was ended by a Tflush.
    fn poll(&mut self) {
        loop {
            match self.keeper.poll() {
                Ok(None) => break,
                Err(_) => self.cut(),
                Ok(Some((tag, answer))) => {
                    let flushes = self.asked.remove(&tag.0).expect("the answer to a request");
                    if let (Some(old), Rmsg::Flush) = (flushes, answer) {
                        self.asked.remove(&old);
                    }
                }
            }
        }
        assert_eq!(self.keeper.outstanding(), self.asked.len(), "requests without an answer");
    }

    /// Carries bytes until nothing moves.
    fn run(&mut self) {
        for _ in 0..100_000 {
            self.poll();
            let Some(server) = &mut self.server else {
                if self.keeper.outstanding() == 0 {
                    return;
                }
                self.connect();
                continue;
            };
            let up = self.keeper.output();
            let n = server.feed(&up[..up.len().min(self.left)]);
            self.left -= n;
            self.keeper.sent(n);
            let mut moved = n > 0;
            moved |= server.step(&mut self.tree);
            assert!(!server.is_dead(), "the keeper broke the session");
            let down = server.output();
            let n = down.len().min(self.left);
            self.keeper.feed(&down[..n]);
            self.left -= n;
            server.sent(n);
            moved |= n > 0;
            self.tree.woken(&mut |node| server.wake(node));
            if self.left == 0 {
                self.cut();
            } else if !moved && !server.is_ready() {
                return self.poll();
            }
        }
        panic!("it never ends");
    }

    fn send(&mut self, frame: &[u8]) {
        let Ok(m) = Tmsg::decode(frame) else { return };
        // What is larger than a message is the asker's fault.
        if self.keeper.is_full() || frame.len() > 400 {
            return;
        }
        self.poll();
        let tag = self.keeper.send(&m).0;
        assert_ne!(tag, NOTAG);
        let flushes = match m {
            Tmsg::Flush { oldtag } => Some(oldtag).filter(|old| self.asked.contains_key(old)),
            _ => None,
        };
        assert!(self.asked.insert(tag, flushes).is_none(), "tag {tag} is in use: {m:?}");
    }

    fn busy(&mut self, busy: bool) {
        self.tree.busy = busy;
        if let Some(server) = &mut self.server {
            self.tree.held().into_iter().for_each(|node| server.wake(node));
        }
    }

    fn play(&mut self, Record { kind, payload }: &Record) {
        let first = payload.first().copied().unwrap_or_default();
        match kind & !server::SECOND {
            CUT => {
                let second = payload.get(1).copied().unwrap_or_default();
                self.left = usize::from(u16::from_le_bytes([first, second % 8]));
            }
            REFUSE => {
                self.refused = first % 8;
                self.cut();
            }
            TIME => {
                self.now += 1000 * u64::from(first);
                self.keeper.expire(self.now);
            }
            RAW => {
                if self.server.is_some() {
                    self.keeper.feed(payload);
                    self.lied = true;
                }
            }
            NEWS => self.tree.news(&String::from_utf8_lossy(payload)),
            BUSY => self.busy(first & 1 != 0),
            FAULT => self.tree.fault_in = first,
            LEAVE => {
                // Another server, which knows of nothing.
                self.cut();
                self.tree.assert_empty();
                self.tree = Counted::default();
            }
            READ => {}
            kind => {
                // Several at once, if they are in one record.
                let mut bytes = &*server::sent(kind, payload);
                while let Some(size) = bytes.first_chunk() {
                    let size = u32::from_le_bytes(*size) as usize;
                    let Some((frame, rest)) = bytes.split_at_checked(size.max(7)) else { break };
                    self.send(frame);
                    bytes = rest;
                }
            }
        }
    }
}

/// Tries one input.
pub fn run(input: &[u8]) {
    let script = Script::parse(input);
    let mut trial = Trial::new(script.head);
    for record in &script.records {
        trial.play(record);
        // Requests under way when the connection breaks: not each is waited for.
        if record.kind & server::SECOND == 0 {
            trial.run();
        } else {
            trial.poll();
        }
    }
    trial.left = usize::MAX;
    trial.busy(false);
    if trial.lied {
        trial.cut();
    }
    trial.run();
    if let Some(server) = &mut trial.server {
        let waiting = server.waiting();
        // More named writes than a server remembers are held back.
        let few = waiting < once::RESULTS;
        assert!(!few || trial.asked.len() <= waiting, "{:?}, {waiting} waiting", trial.asked);
        server.close(&mut trial.tree);
    }
    trial.tree.assert_empty();
}

/// Something that may happen.
pub fn fresh(rng: &mut Rng) -> Record {
    match rng.below(12) {
        0..3 => Record { kind: CUT, payload: vec![rng.next() as u8, rng.below(3) as u8] },
        3 => Record { kind: REFUSE, payload: vec![rng.below(4) as u8] },
        4 => Record { kind: TIME, payload: vec![rng.next() as u8] },
        _ => server::fresh(rng),
    }
}

/// The sessions of the target `server`, with breaks between.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(13);
    let mut out = Vec::new();
    for seed in server::seeds() {
        let mut script = Script::parse(&seed);
        script.head = [0x0f, rng.below(4) as u8];
        // The greeting is the keeper's own.
        script.records.remove(0);
        for record in &mut script.records {
            record.kind |= if rng.one_in(3) { server::SECOND } else { 0 };
        }
        for _ in 0..3 {
            let at = rng.below(script.records.len());
            script.records.insert(at, fresh(&mut rng));
        }
        out.push(script.bytes(crate::MAX_INPUT));
    }
    out
}

/// What happens, for people: a line for each record.
pub fn show(input: &[u8]) -> String {
    let script = Script::parse(input);
    let mut out = format!("settings {:02x?}\n", script.head);
    for Record { kind, payload } in &script.records {
        let first = payload.first();
        let what = match kind & !server::SECOND {
            CUT => format!("the connection will break, in bytes: {payload:?}"),
            REFUSE => format!("the connection breaks, attempts fail: {first:?}"),
            TIME => format!("time passes: {first:?} s"),
            RAW => format!("the server lies: {payload:02x?}"),
            LEAVE => "another server".into(),
            NEWS | BUSY | FAULT => format!("the tree changes: {kind} {first:?}"),
            _ => layout::show(layout::REQUESTS, payload),
        };
        let waits = if kind & server::SECOND == 0 { "" } else { ", and nothing moves yet" };
        out += &format!("{what}{waits}\n");
    }
    out
}
