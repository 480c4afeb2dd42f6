//! A client that outlives its connections.
//!
//! A [`Keeper`] is asked as a [`Client`] is, with fids of the asker's choice, and
//! has a connection only some of the time. When one breaks, whoever carries its bytes
//! says so ([`Keeper::broken`]), makes another when [`Keeper::retry_at`] says, and
//! tells that too ([`Keeper::connected`]). The keeper then attaches again, walks to
//! every file again, opens again what was open, and sends again what may be sent
//! twice; nobody above sees more of it than time going by. It knows no clock: times
//! are milliseconds of whoever asks, and only grow.
//!
//! What is promised of a file, and how it is kept:
//!
//! - *Any file* is found again by its path below where it was attached, and has to be
//!   the same: `qid.path` is compared. If it is another, or cannot be opened
//!   again, this fid answers ESTALE from then on and the others go on. What was
//!   renamed over this connection is looked for under its new name. The place of an
//!   attach is whatever is served there.
//! - *A plain file* is opened again without O_TRUNC, O_CREAT and O_EXCL; reads, and
//!   writes at an offset, are sent again. A file that is computed when it is read shows
//!   what it shows then. *A directory* goes on at its cookie.
//! - *A clone file* that was opened is, from then on, the file that it led to: its number
//!   is read once from the open file, and `NUMBER/ctl` beside the clone file is where
//!   it is looked for.
//! - *A stream* (an append-only qid that knows positions) goes on behind the last line
//!   that was delivered, or with a `gap N` of the server's; with `gap ?` where the server
//!   does not know that position any more.
//! - *A write to a file whose writes go to the end* (an append-only qid, or
//!   O_APPEND) is named and done at most once; where nobody knows whether it was,
//!   the server answers ESTALE. Before the first of them on a connection the server is
//!   greeted, so that it knows who writes even if that write is lost.
//! - *Making, renaming and removing* is never sent again: what was underway answers EIO,
//!   "nobody knows whether it was done". What had certainly not arrived is sent.
//! - *A lock* ends with its connection, and somebody else may have had it since: a file
//!   that held one answers ESTALE.
//!
//! A server that does not speak `9P2000.L.atoll` knows neither positions nor named
//! writes. Everything underway to it that changes something is answered EIO. Its
//! files are read by offset; whether one of them is a stream cannot be known. A stream
//! of a server that did know, and after a reconnect does not, answers ESTALE: it is not
//! the server that it was.
//!
//! What it costs: a copy of each request until it is answered, so at most
//! [`Settings::requests`] messages, and a path for each fid. The memory of small
//! requests is used again; that of a larger one (a write, most often) is got for it
//! and given back.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use super::link::Spot;
use super::{Broken, Client, Tag};
use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::msg::{Rmsg, Tmsg};
use crate::types::Qid;
use crate::wire::{MIN_MSIZE, NOTAG};
use file::{File, Root};
use held::{Held, Place};

mod answer;
mod file;
mod held;
mod restore;
mod submit;

/// Fids from here on are the keeper's own.
pub const OWN_FIDS: u32 = 0xffff_ff00;
/// Named writes that are underway at one time: as many results as a server keeps.
const NAMED: usize = 64;

/// How a keeper keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The message size to propose.
    pub msize: u32,
    /// The name under which writes are named: drawn at random, and not 0.
    pub client: u64,
    /// Requests outstanding at one time; at most 65,535.
    pub requests: usize,
    /// Milliseconds before the second attempt to connect. The first is made at once,
    /// and each later one after twice the time.
    pub first_wait: u64,
    /// The most milliseconds between two attempts.
    pub longest_wait: u64,
    /// How many milliseconds a request waits for a connection before it answers
    /// EIO; for ever where there is none.
    pub patience: Option<u64>,
}

impl Settings {
    /// The usual ones, for a client of this name.
    pub fn new(client: u64) -> Settings {
        Settings {
            msize: 64 << 10,
            client: client.max(1),
            requests: 4096,
            first_wait: 50,
            longest_wait: 5000,
            patience: None,
        }
    }
}

/// How a keeper stands to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no connection. Requests wait.
    Down,
    /// There is one, and it is being made what the last one was. Requests wait.
    Restoring,
    /// Requests go to the server.
    Up,
}

/// What an answer of the server's is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Nobody: its tag is not in use, or nobody wants to know.
    None,
    /// A request of the asker's.
    User(u16),
    /// A read that finds out what the file is that this request opened.
    Look {
        tag: u16,
        number: bool,
    },
    /// A Tflush (of the asker's) of another (of the asker's).
    Flush {
        by: u16,
        of: u16,
    },
    /// Of the restoring: an attach, a walk and an open.
    Attach,
    Walk(u32),
    Open(u32),
    /// What makes the name of the keeper's writes known.
    Greeting,
}

/// Whether a server knows the name of the keeper's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    No,
    /// It is being told.
    Greeting,
    Yes,
}

/// An answer that the keeper makes itself.
#[derive(Debug)]
enum Local {
    Fault(Fault),
    Clunk,
    Flush,
    Data(Vec<u8>),
    Open { qid: Qid, iounit: u32 },
}

impl Local {
    fn answer(&self) -> Rmsg<'_> {
        match self {
            Local::Fault(f) => Rmsg::Lerror { errno: f.errno.0, text: Some(f.text()) },
            Local::Clunk => Rmsg::Clunk,
            Local::Flush => Rmsg::Flush,
            Local::Data(data) => Rmsg::Read { data, next: None },
            Local::Open { qid, iounit } => Rmsg::Lopen { qid: *qid, iounit: *iounit },
        }
    }
}

/// A client that outlives its connections.
#[derive(Debug)]
pub struct Keeper {
    settings: Settings,
    state: State,
    /// The connection. While there is none, the last one, of which nothing is used
    /// but the size and language that were agreed on.
    client: Client,
    roots: Vec<Root>,
    files: BTreeMap<u32, File>,
    /// Fids that a request underway makes, turns or ends, and what waits for that.
    changing: BTreeMap<u32, VecDeque<u16>>,
    /// The asker's requests by their tags, and the tags that are free.
    held: Vec<Held>,
    free: Vec<u16>,
    outstanding: usize,
    next_serial: u64,
    /// What waits for a connection, in order.
    waiting: VecDeque<u16>,
    /// Named writes beyond those that may be underway.
    crowd: VecDeque<u16>,
    named: usize,
    next_seq: u64,
    met: Met,
    /// Fids on which something waits for the answer to a greeting, and has its place in
    /// `changing`.
    greeting: Vec<u32>,
    /// By the server's tags.
    origins: Vec<Origin>,
    ready: VecDeque<(u16, Local)>,
    /// The local answer that was given last.
    current: Option<Local>,
    /// What is still to be restored, and what is being.
    todo: Vec<u32>,
    attached: Vec<u32>,
    underway: usize,
    /// Since when there is no connection of use, and when to try next.
    down_since: u64,
    retry_at: Option<u64>,
    wait: u64,
}

impl Keeper {
    /// A keeper that has no connection yet: [`Keeper::retry_at`] is 0.
    pub fn new(settings: Settings) -> Keeper {
        let settings = Settings {
            msize: settings.msize.max(MIN_MSIZE),
            requests: settings.requests.clamp(1, usize::from(NOTAG)),
            ..settings
        };
        Keeper {
            settings,
            state: State::Down,
            client: Client::new(settings.msize),
            roots: Vec::new(),
            files: BTreeMap::new(),
            changing: BTreeMap::new(),
            held: Vec::new(),
            free: Vec::new(),
            outstanding: 0,
            next_serial: 0,
            waiting: VecDeque::new(),
            crowd: VecDeque::new(),
            named: 0,
            next_seq: 1,
            met: Met::No,
            greeting: Vec::new(),
            origins: Vec::new(),
            ready: VecDeque::new(),
            current: None,
            todo: Vec::new(),
            attached: Vec::new(),
            underway: 0,
            down_since: 0,
            retry_at: Some(0),
            wait: 0,
        }
    }

    /// How it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// When to try to connect; nothing while there is a connection.
    pub fn retry_at(&self) -> Option<u64> {
        self.retry_at
    }

    /// The message size that was last agreed on, or the one to propose.
    pub fn msize(&self) -> u32 {
        self.client.msize()
    }

    /// The language that was last agreed on.
    pub fn dialect(&self) -> Option<Dialect> {
        self.client.dialect()
    }

    /// Requests that have no answer yet.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether no further request is taken now.
    pub fn is_full(&self) -> bool {
        self.outstanding >= self.settings.requests
    }

    /// Fids in use.
    pub fn fids(&self) -> usize {
        self.files.len()
    }

    /// Bytes to send to the server.
    pub fn output(&self) -> &[u8] {
        if self.state == State::Down { &[] } else { self.client.output() }
    }

    /// Says that the first `n` bytes of [`Keeper::output`] were sent.
    pub fn sent(&mut self, n: usize) {
        self.client.sent(n);
    }

    /// Room for received bytes, as [`Client::spare`] gives it.
    pub fn spare(&mut self) -> &mut [u8] {
        self.client.spare()
    }

    /// Says that `n` bytes were put at the start of [`Keeper::spare`].
    pub fn received(&mut self, n: usize) {
        self.client.received(n);
    }

    /// Takes received bytes, for whoever has them elsewhere already.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.client.feed(bytes);
    }

    /// The next answer. An error says that this connection is of no further use: it
    /// is to be closed, and [`Keeper::broken`] to be told.
    pub fn poll(&mut self) -> Result<Option<(Tag, Rmsg<'_>)>, Broken> {
        let Some((tag, spot)) = self.pull()? else { return Ok(None) };
        Ok(Some((tag, self.answer(&spot)?)))
    }

    /// The next answer as [`Keeper::poll`] gives it, but by its place.
    pub(crate) fn pull(&mut self) -> Result<Option<(Tag, Spot)>, Broken> {
        loop {
            if let Some((tag, local)) = self.ready.pop_front() {
                self.release(tag);
                self.current = Some(local);
                return Ok(Some((Tag(tag), Spot::Local)));
            }
            if self.state == State::Down {
                return Ok(None);
            }
            let Some((up, range)) = self.client.pull()? else { return Ok(None) };
            if up.0 == NOTAG {
                self.greeted();
                continue;
            }
            if let Some(tag) = self.take(up.0, range.clone())? {
                self.release(tag);
                return Ok(Some((Tag(tag), Spot::Frame(range))));
            }
        }
    }

    /// The answer there, until the next is pulled or more is received.
    pub(crate) fn answer(&self, spot: &Spot) -> Result<Rmsg<'_>, Broken> {
        match spot {
            Spot::Local => self.current.as_ref().map(Local::answer).ok_or(Broken::Unasked),
            Spot::Frame(range) => {
                let answer = Rmsg::decode(self.client.at(range.clone())).map_err(Broken::Frame)?;
                Ok(match answer {
                    // Where it goes on is the keeper's to remember.
                    Rmsg::Read { data, .. } => Rmsg::Read { data, next: None },
                    other => other,
                })
            }
        }
    }

    /// The bytes of an answer, or of one that says the same.
    #[cfg(feature = "tokio")]
    pub(crate) fn frame(&self, spot: &Spot) -> alloc::borrow::Cow<'_, [u8]> {
        use crate::msg::{put_qid, ty};
        use crate::wire::Writer;
        let (Spot::Local, Some(local)) = (spot, &self.current) else {
            let Spot::Frame(range) = spot else { return (&[][..]).into() };
            return self.client.at(range.clone()).into();
        };
        let mut out = Vec::new();
        match local {
            Local::Clunk => Writer::new(&mut out, ty::TCLUNK + 1, 0).finish(),
            Local::Flush => Writer::new(&mut out, ty::TFLUSH + 1, 0).finish(),
            Local::Open { qid, iounit } => {
                let mut w = Writer::new(&mut out, ty::TLOPEN + 1, 0);
                put_qid(&mut w, *qid);
                w.u32(*iounit);
                w.finish();
            }
            Local::Data(data) => {
                let mut w = Writer::new(&mut out, ty::TREAD + 1, 0);
                w.data(data);
                w.finish();
            }
            Local::Fault(fault) => {
                let mut w = Writer::new(&mut out, ty::RLERROR, 0);
                w.u32(fault.errno.0);
                w.str(fault.text());
                w.finish();
            }
        }
        out.into()
    }

    /// Fails what has waited longer than [`Settings::patience`] for a connection.
    pub fn expire(&mut self, now: u64) {
        let Some(patience) = self.settings.patience else { return };
        if self.state == State::Up || now.saturating_sub(self.down_since) < patience {
            return;
        }
        for tag in core::mem::take(&mut self.waiting) {
            let Some(held) = self.held.get(usize::from(tag)) else { continue };
            if held.place != Place::Waiting {
                continue;
            }
            let local = match Tmsg::decode(&held.frame) {
                Ok(Tmsg::Clunk { fid }) if self.files.remove(&fid).is_some() => Local::Clunk,
                _ => Local::Fault(Fault::new(Errno::EIO, "the server cannot be reached")),
            };
            self.finish(tag, local);
        }
    }

    /// When [`Keeper::expire`] has something to do next.
    pub fn expires_at(&self) -> Option<u64> {
        let waits = self.state != State::Up && !self.waiting.is_empty();
        self.settings.patience.filter(|_| waits).map(|p| self.down_since.saturating_add(p))
    }

    /// Gives an answer of the keeper's own.
    fn finish(&mut self, tag: u16, local: Local) {
        if let Some(held) = self.held.get_mut(usize::from(tag)) {
            held.place = Place::Done;
            self.ready.push_back((tag, local));
        }
    }

    /// A request is answered: its tag is free.
    fn release(&mut self, tag: u16) {
        if let Some(held) = self.held.get_mut(usize::from(tag)) {
            held.clear();
            self.free.push(tag);
            self.outstanding -= 1;
        }
    }

    fn origin(&mut self, up: Tag, origin: Origin) {
        let at = usize::from(up.0);
        if self.origins.len() <= at {
            self.origins.resize(at + 1, Origin::None);
        }
        if let Some(slot) = self.origins.get_mut(at) {
            *slot = origin;
        }
    }

    /// Sends a request of the keeper's own.
    fn ask(&mut self, m: &Tmsg<'_>, origin: Origin) -> bool {
        let up = self.client.send(m);
        if up.0 == NOTAG {
            return false;
        }
        self.origin(up, origin);
        true
    }

    fn is_atoll(&self) -> bool {
        self.client.dialect() == Some(Dialect::Atoll)
    }
}

fn stale(text: impl Into<alloc::borrow::Cow<'static, str>>) -> Fault {
    Fault::new(Errno::ESTALE, text)
}

/// What a change answers that was underway when its connection broke.
fn nobody_knows() -> Fault {
    Fault::new(Errno::EIO, "the connection broke, and nobody knows whether it was done")
}

/// A path and a name in it.
fn join(path: &str, name: &str) -> String {
    match path {
        "" => String::from(name),
        _ => alloc::format!("{path}/{name}"),
    }
}
