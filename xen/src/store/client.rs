//! A connection to xenstored, seen from its client.
//!
//! Nothing that the other end does makes this hold more than its limits say: an answer is
//! kept in the place of the request that it answers, and events that nobody takes are
//! dropped at last, which is said ([`Incoming::EventsLost`]) since an event only says
//! *look again*.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::TxId;
use super::answer::{self, Answer};
use super::error::Error;
use super::path::BadPath;
use super::request::Request;
use super::wire::{Frames, HEADER, Header, Kind};

/// What a client may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests without an answer, and answers that were not taken, together. xenstored
    /// lets a domain have 20 requests in hand.
    pub requests: usize,
    /// Events that were not taken.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { requests: 16, events: 256 }
    }
}

/// Which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(u32);

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It names what is no path.
    Path(BadPath),
    /// It is larger than a message may be.
    TooLong,
    /// A token is empty, or holds a NUL.
    Token,
    /// No permissions, or too many.
    Perms,
    /// There are as many requests in hand as there may be.
    Busy,
    /// The connection is broken.
    Broken(Broken),
}

impl From<BadPath> for Refused {
    fn from(bad: BadPath) -> Refused {
        Refused::Path(bad)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Path(bad) => bad.fmt(f),
            Refused::TooLong => f.write_str("a request to xenstored has at most 4096 bytes"),
            Refused::Token => f.write_str("a watch's token is not empty and has no NUL"),
            Refused::Perms => f.write_str("a node has 1 to 64 permissions"),
            Refused::Busy => f.write_str("too many requests to xenstored in hand"),
            Refused::Broken(broken) => broken.fmt(f),
        }
    }
}

impl core::error::Error for Refused {}

/// How xenstored broke the protocol. Nothing can be said to it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A message of so many bytes, which is more than are passed over.
    TooLong(u32),
    /// An answer to what was not asked: the number that it had.
    Unasked(u32),
    /// An answer of another kind than what was asked.
    OtherKind(u32),
    /// An event that is not a path and a token.
    Event,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::TooLong(n) => write!(f, "xenstored sent a message of {n} bytes"),
            Broken::Unasked(n) => write!(f, "xenstored answered {n}, which was not asked"),
            Broken::OtherKind(n) => write!(f, "xenstored answered {n} with something else"),
            Broken::Event => f.write_str("xenstored sent an event without a path or a token"),
        }
    }
}

impl core::error::Error for Broken {}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// An answer, or why there is none.
    Answer(RequestId, Result<Answer, Error>),
    /// Something may have changed at a path that is watched, or below it.
    Event {
        /// What changed: at or below what was watched, in the form in which that was given.
        path: String,
        /// The watch's token.
        token: String,
    },
    /// There were more events than are kept: any watch may have had one.
    EventsLost,
}

#[derive(Debug)]
struct Pending {
    kind: Kind,
    /// Nobody waits for the answer any more.
    forgotten: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    limits: Limits,
    last: u32,
    pending: BTreeMap<RequestId, Pending>,
    answers: VecDeque<(RequestId, Result<Answer, Error>)>,
    events: VecDeque<(String, String)>,
    lost: bool,
    output: Vec<u8>,
    /// How much of the output was sent.
    sent: usize,
    frames: Frames,
    broken: Option<Broken>,
}

impl Client {
    /// A new connection.
    pub fn new(limits: Limits) -> Client {
        Client {
            limits,
            last: 0,
            pending: BTreeMap::new(),
            answers: VecDeque::new(),
            events: VecDeque::new(),
            lost: false,
            output: Vec::new(),
            sent: 0,
            frames: Frames::default(),
            broken: None,
        }
    }

    /// Whether another request may be sent.
    pub fn has_room(&self) -> bool {
        self.broken.is_none() && self.in_hand() < self.limits.requests
    }

    /// Requests without an answer, and answers that were not taken.
    pub fn in_hand(&self) -> usize {
        self.pending.len() + self.answers.len()
    }

    /// Asks something, in a transaction or in none. Its answer has the number that is given
    /// here.
    pub fn submit(&mut self, tx: TxId, request: &Request<'_>) -> Result<RequestId, Refused> {
        if let Some(broken) = self.broken {
            return Err(Refused::Broken(broken));
        }
        if !self.has_room() {
            return Err(Refused::Busy);
        }
        self.output.drain(..self.sent);
        self.sent = 0;
        let begin = self.output.len();
        self.output.extend_from_slice(&[0; HEADER]);
        if let Err(refused) = request.payload(&mut self.output) {
            self.output.truncate(begin);
            return Err(refused);
        }
        let id = self.new_id();
        let kind = request.kind();
        let len = (self.output.len() - begin - HEADER) as u32;
        let header = Header { kind: kind as u32, req_id: id.0, tx_id: tx.0, len };
        if let Some(to) = self.output.get_mut(begin..begin + HEADER) {
            to.copy_from_slice(&header.to_bytes());
        }
        self.pending.insert(id, Pending { kind, forgotten: false });
        Ok(id)
    }

    /// A number that no request in hand has, and not 0, which events have.
    fn new_id(&mut self) -> RequestId {
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            let id = RequestId(self.last);
            if !self.pending.contains_key(&id) && !self.answers.iter().any(|(of, _)| *of == id) {
                return id;
            }
        }
    }

    /// Says that nobody waits for an answer any more: it is dropped when it comes. Its
    /// request is done all the same.
    pub fn forget(&mut self, id: RequestId) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.forgotten = true;
        }
        self.answers.retain(|(of, _)| *of != id);
    }

    /// What is to be sent.
    pub fn output(&self) -> &[u8] {
        self.output.get(self.sent..).unwrap_or_default()
    }

    /// So many bytes of it were.
    pub fn sent(&mut self, n: usize) {
        self.sent = (self.sent + n).min(self.output.len());
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        }
    }

    /// Takes what came. Once this has failed nothing is read any more, and every request
    /// that is in hand has [`Error::Lost`] for its answer.
    pub fn received(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let mut frames = core::mem::take(&mut self.frames);
        let done = loop {
            match frames.next(&mut bytes) {
                Ok(Some((header, payload))) => {
                    if let Err(broken) = self.message(header, payload) {
                        break Err(broken);
                    }
                }
                Ok(None) => break Ok(()),
                Err(long) => break Err(Broken::TooLong(long.0)),
            }
        };
        self.frames = frames;
        if let Err(broken) = done {
            self.reset();
            self.broken = Some(broken);
        }
        done
    }

    /// Takes a message, which has no payload when that was too long.
    fn message(&mut self, header: Header, payload: Option<&[u8]>) -> Result<(), Broken> {
        let kind = Kind::from_number(header.kind);
        if kind == Some(Kind::WatchEvent) {
            match payload {
                Some(payload) => return self.event(payload).ok_or(Broken::Event),
                None => self.lose_events(),
            }
            return Ok(());
        }
        let id = RequestId(header.req_id);
        let Some(pending) = self.pending.remove(&id) else {
            return Err(Broken::Unasked(header.req_id));
        };
        let answer = match (kind, payload) {
            (Some(Kind::Error), Some(name)) => {
                Err(Error::from_name(name.strip_suffix(b"\0").unwrap_or(name)))
            }
            (Some(kind), Some(payload)) if kind == pending.kind => answer::parse(kind, payload),
            // What it says is as if xenstored had said so.
            (Some(kind), None) if kind == pending.kind => Err(Error::E2BIG),
            _ => {
                self.pending.insert(id, pending); // it is in hand until the reset
                return Err(Broken::OtherKind(header.req_id));
            }
        };
        if !pending.forgotten {
            self.answers.push_back((id, answer));
        }
        Ok(())
    }

    fn event(&mut self, payload: &[u8]) -> Option<()> {
        let text = core::str::from_utf8(payload).ok()?;
        let (path, rest) = text.split_once('\0')?;
        // What may follow the token is for later versions.
        let (token, _) = rest.split_once('\0')?;
        // An event that waits says already what this one does.
        if self.events.iter().any(|(p, t)| p == path && t == token) || self.lost {
            return Some(());
        }
        if self.events.len() >= self.limits.events {
            self.lose_events();
            return Some(());
        }
        self.events.push_back((path.into(), token.into()));
        Some(())
    }

    fn lose_events(&mut self) {
        self.events.clear();
        self.lost = true;
    }

    /// The next thing that came: answers first, so that who waits for one gets it before
    /// all events that came meanwhile.
    pub fn take(&mut self) -> Option<Incoming> {
        if let Some((id, answer)) = self.answers.pop_front() {
            return Some(Incoming::Answer(id, answer));
        }
        self.take_event()
    }

    /// The next event.
    pub fn take_event(&mut self) -> Option<Incoming> {
        if core::mem::take(&mut self.lost) {
            return Some(Incoming::EventsLost);
        }
        let (path, token) = self.events.pop_front()?;
        Some(Incoming::Event { path, token })
    }

    /// The answer to one request, if it has come.
    pub fn take_answer(&mut self, id: RequestId) -> Option<Result<Answer, Error>> {
        let at = self.answers.iter().position(|(of, _)| *of == id)?;
        self.answers.remove(at).map(|(_, answer)| answer)
    }

    /// Whether a message has begun to come and is not whole.
    pub fn is_amid(&self) -> bool {
        self.frames.is_amid()
    }

    /// How the protocol was broken, if it was.
    pub fn broken(&self) -> Option<Broken> {
        self.broken
    }

    /// Begins anew on a new connection, as after a domain was resumed. What was not
    /// answered has [`Error::Lost`] for its answer; watches and transactions are gone.
    pub fn reset(&mut self) {
        self.output.clear();
        self.sent = 0;
        self.frames.clear();
        self.broken = None;
        for (id, pending) in core::mem::take(&mut self.pending) {
            if !pending.forgotten {
                self.answers.push_back((id, Err(Error::Lost)));
            }
        }
    }
}
