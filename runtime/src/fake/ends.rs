//! The other ends of a [`Fake`]'s wires, and what drives all of them.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use atoll_9p::client::{Client, Tag, fault};
use atoll_9p::fault::Fault;
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::ops::{Op, What};
use atoll_9p::server::{Limits, Session};
use atoll_9p::tree::Tree;
use atoll_9p::wire::NOFID;

use crate::fake::Fake;
use crate::platform::{Conn, Platform, Stream};
use crate::runtime::Runtime;

/// Whoever is at the other end of a connection.
pub trait End {
    /// Takes what the guest sent, and answers. False when there was nothing to do.
    fn pump(&mut self, fake: &mut Fake) -> bool;
}

/// Takes in all signals that are due and does all steps, at one moment.
pub fn step_all(rt: &mut Runtime<'_>, fake: &mut Fake) {
    loop {
        while let Some(signal) = fake.poll() {
            rt.signal(signal, fake);
        }
        let late = fake.next_signal().filter(|t| t.0 <= fake.now);
        if !rt.step(fake) && late.is_none() {
            return;
        }
    }
}

/// Runs guest and other ends until nobody has anything left to do. Time goes on
/// only for signals that are late, and never for timers.
pub fn drive(rt: &mut Runtime<'_>, fake: &mut Fake, ends: &mut [&mut dyn End]) {
    loop {
        step_all(rt, fake);
        let mut busy = false;
        for end in ends.iter_mut() {
            busy |= end.pump(fake);
        }
        match fake.next_signal() {
            Some(late) => fake.now = fake.now.max(late.0),
            None if busy => {}
            None => return,
        }
    }
}

/// The same until a time, timers and all; the clock shows `until` afterwards.
pub fn drive_until(rt: &mut Runtime<'_>, fake: &mut Fake, until: u64, ends: &mut [&mut dyn End]) {
    loop {
        drive(rt, fake, ends);
        match rt.deadline() {
            Some(at) if at.0 <= until => {
                fake.idles += 1;
                fake.now = fake.now.max(at.0);
            }
            _ => break,
        }
    }
    fake.now = fake.now.max(until);
    drive(rt, fake, ends);
}

/// A client of `control`.
pub struct Peer {
    /// Its connection.
    pub conn: Conn,
    /// Its end of the protocol.
    pub client: Client,
    /// It takes no answers.
    pub deaf: bool,
    next_fid: u32,
    /// Each while it is underway, and then its result.
    ops: Vec<(Option<Op>, Option<Answer>)>,
    /// Plain requests, and what came for them.
    asked: Vec<(Tag, Option<Answer>)>,
}

/// The answer to a plain request: data, if there was some.
pub type Answer = Result<Vec<u8>, Fault>;

impl Peer {
    /// Connects, and attaches as fid 0.
    pub fn open(fake: &mut Fake) -> Peer {
        let conn = fake.open(Stream::Control);
        Peer::on(conn)
    }

    /// On a connection that is there.
    pub fn on(conn: Conn) -> Peer {
        let mut client = Client::new(8192);
        let attach = Tmsg::Attach { fid: 0, afid: NOFID, uname: "t", aname: "", n_uname: 0 };
        client.send(&attach);
        Peer { conn, client, deaf: false, next_fid: 1, ops: Vec::new(), asked: Vec::new() }
    }

    /// Starts an operation on a file; its number is for [`Peer::result`].
    pub fn start(&mut self, path: &str, what: What) -> usize {
        let fid = self.fid();
        let op = Op::start(&mut self.client, 0, fid, path, what).expect("a short path");
        self.ops.push((Some(op), None));
        self.ops.len() - 1
    }

    /// The result of an operation, once it is there.
    pub fn result(&mut self, op: usize) -> Option<Result<Vec<u8>, Fault>> {
        self.ops.get_mut(op).and_then(|o| o.1.take())
    }

    /// A fid that is not in use.
    pub fn fid(&mut self) -> u32 {
        self.next_fid += 1;
        self.next_fid - 1
    }

    /// Sends a plain request; its answer is kept for [`Peer::answer`].
    pub fn ask(&mut self, m: &Tmsg<'_>) -> Tag {
        let tag = self.client.send(m);
        self.asked.push((tag, None));
        tag
    }

    /// The answer to a plain request, once.
    pub fn answer(&mut self, tag: Tag) -> Option<Answer> {
        let at = self.asked.iter().position(|a| a.0 == tag && a.1.is_some())?;
        self.asked.swap_remove(at).1
    }

    /// Walks to a file and opens it for reading; no answer is waited for.
    pub fn open_file(&mut self, path: &str) -> u32 {
        let fid = self.fid();
        // Nobody asks for these answers: kept, they would be found under tags that
        // later requests have again.
        self.client.walk(0, fid, path).expect("a short path");
        let flags = atoll_9p::types::OpenFlags::RDONLY;
        self.client.send(&Tmsg::Lopen { fid, flags });
        fid
    }

    /// Asks for the next bytes of an open file.
    pub fn read_next(&mut self, fid: u32) -> Tag {
        self.ask(&Tmsg::Read { fid, offset: 0, count: 4096 })
    }

    /// Requests without an answer.
    pub fn outstanding(&self) -> usize {
        self.client.outstanding()
    }
}

impl End for Peer {
    fn pump(&mut self, fake: &mut Fake) -> bool {
        let out = self.client.output().len();
        if out > 0 {
            fake.push(self.conn, self.client.output());
            self.client.sent(out);
        }
        if self.deaf {
            return out > 0;
        }
        let bytes = fake.take(self.conn);
        self.client.feed(&bytes);
        while let Some((tag, answer)) = self.client.poll().expect("a sound server") {
            let of = |o: &&mut (Option<Op>, _)| o.0.as_ref().is_some_and(|op| op.tag() == tag);
            if let Some((underway, result)) = self.ops.iter_mut().find(of)
                && let Some(op) = underway
            {
                op.answer(&answer);
                *result = op.next(&mut self.client);
                if result.is_some() {
                    *underway = None;
                }
            } else if let Some(slot) = self.asked.iter_mut().find(|a| a.0 == tag && a.1.is_none()) {
                slot.1 = Some(match answer {
                    Rmsg::Lerror { errno, text } => Err(fault(errno, text)),
                    Rmsg::Read { data, .. } | Rmsg::Readdir { data } => Ok(data.to_vec()),
                    _ => Ok(Vec::new()),
                });
            }
        }
        out > 0 || !bytes.is_empty() || !self.client.output().is_empty()
    }
}

/// What serves the `host` stream.
pub struct Host<T: Tree> {
    /// Its connection.
    pub conn: Conn,
    /// What it serves.
    pub tree: T,
    session: Session<T>,
    waiting: VecDeque<u8>,
    /// It answers nothing while this is set.
    pub silent: bool,
}

impl<T: Tree> Host<T> {
    /// Connects.
    pub fn open(fake: &mut Fake, tree: T) -> Host<T> {
        let conn = fake.open(Stream::Host);
        let session = Session::new(Limits::default());
        Host { conn, tree, session, waiting: VecDeque::new(), silent: false }
    }

    /// The same tree on a new connection.
    pub fn again(&mut self, fake: &mut Fake) {
        self.session.close(&mut self.tree);
        self.session = Session::new(Limits::default());
        self.waiting.clear();
        self.conn = fake.open(Stream::Host);
    }

    /// There is something new in a file, for which the guest may wait.
    pub fn wake(&mut self, node: T::Node) {
        self.session.wake(node);
    }

    /// Fids that the guest holds.
    pub fn fids(&self) -> usize {
        self.session.fids()
    }
}

impl<T: Tree> End for Host<T> {
    fn pump(&mut self, fake: &mut Fake) -> bool {
        if self.silent {
            return false;
        }
        let bytes = fake.take(self.conn);
        let busy = !bytes.is_empty();
        self.waiting.extend(bytes);
        loop {
            let n = self.session.feed(self.waiting.make_contiguous());
            self.waiting.drain(..n);
            let stepped = self.session.step(&mut self.tree);
            let out = self.session.output();
            fake.push(self.conn, out);
            let len = out.len();
            self.session.sent(len);
            if n == 0 && !stepped {
                return busy;
            }
        }
    }
}

/// A whole small world: one runtime, its machine, and shorthands.
pub struct World<'a> {
    /// The guests.
    pub rt: Runtime<'a>,
    /// The machine.
    pub fake: Fake,
}

impl World<'_> {
    /// [`drive`] with one other end.
    pub fn drive(&mut self, end: &mut dyn End) {
        drive(&mut self.rt, &mut self.fake, &mut [end]);
    }

    /// [`drive`] with several other ends.
    pub fn drive_all(&mut self, ends: &mut [&mut dyn End]) {
        drive(&mut self.rt, &mut self.fake, ends);
    }

    /// One operation from start to end. None when it has no answer.
    pub fn run(
        &mut self,
        peer: &mut Peer,
        path: &str,
        what: What,
    ) -> Option<Result<Vec<u8>, Fault>> {
        let op = peer.start(path, what);
        self.drive(peer);
        peer.result(op)
    }

    /// What a file shows.
    pub fn cat(&mut self, peer: &mut Peer, path: &str) -> Result<String, Fault> {
        let bytes = self.run(peer, path, What::Read { max: 1 << 20 }).expect("an answer")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a directory.
    pub fn ls(&mut self, peer: &mut Peer, path: &str) -> Result<String, Fault> {
        let bytes = self.run(peer, path, What::List { max: 1 << 20 }).expect("an answer")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes a line.
    pub fn echo(&mut self, peer: &mut Peer, path: &str, line: &str) -> Result<(), Fault> {
        self.run(peer, path, What::Write(line.as_bytes().to_vec())).expect("an answer").map(|_| ())
    }
}
