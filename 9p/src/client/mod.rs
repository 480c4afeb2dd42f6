//! A client's end of a connection, as a state machine on bytes.
//!
//! Requests are queued with [`Client::send`], which names them by their tags; any
//! number may be outstanding. [`Client::poll`] gives the answers as they come, in
//! whatever order. What a server sends is a claim: an answer with a tag that was
//! not asked, of another type, or with more than was asked for, breaks the
//! connection and nothing else.
//!
//! Received bytes are read into [`Client::spare`] and answers borrow from there, so
//! a payload is copied once, to where it is wanted. Nothing is allocated for a
//! request once there were as many and as large ones before.

use core::fmt;
use core::ops::Range;

use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::frames::{Incoming, Outgoing};
use crate::msg::{self, Rmsg, Tmsg, ty};
use crate::types::seq;
use crate::wire::{BadFrame, MAX_NAME, MIN_MSIZE, NOTAG};
use tags::{Asked, Tags};

pub use link::Ask;

#[cfg(feature = "std")]
pub mod blocking;
#[cfg(feature = "std")]
mod error;
pub mod keeper;
pub(crate) mod link;
pub(crate) mod tags;
#[cfg(feature = "tokio")]
pub mod tokio;
pub mod transfer;

#[cfg(feature = "std")]
pub use error::Error;

/// The tag of an outstanding request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u16);

/// Why a connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The server speaks no version that this client does.
    Version,
    /// A message of an impossible size.
    Size(u32),
    /// A message that does not decode.
    Frame(BadFrame),
    /// An answer to nothing, or of the wrong type.
    Unasked,
    /// More bytes read or written, or names walked, than were asked for.
    TooMuch,
    /// It let us attach once, and does not again.
    Attach(Errno),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Version => f.write_str("the server speaks no 9P2000.L"),
            Broken::Size(n) => write!(f, "the server sent a message of {n} bytes"),
            Broken::Frame(why) => {
                write!(f, "the server sent a malformed message: {}", Fault::from(*why))
            }
            Broken::Unasked => f.write_str("the server answered what nobody asked"),
            Broken::TooMuch => f.write_str("the server answered with more than was asked for"),
            Broken::Attach(e) => write!(f, "the server does not let us attach again: {e}"),
        }
    }
}

impl core::error::Error for Broken {}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    rx: Incoming,
    tx: Outgoing,
    msize: u32,
    dialect: Option<Dialect>,
    /// Whether the Tversion has no answer yet.
    greeting: bool,
    tags: Tags,
    broken: Option<Broken>,
}

impl Client {
    /// A client that proposes a message size. Its Tversion is queued at once, and
    /// requests may be queued behind it without waiting for the answer: they are
    /// encoded as 9P2000.L.
    pub fn new(msize: u32) -> Client {
        Client::speaking(Dialect::Atoll, msize)
    }

    /// A client that proposes another dialect. 9P2000 is none that it speaks.
    pub fn speaking(dialect: Dialect, msize: u32) -> Client {
        let msize = msize.max(MIN_MSIZE);
        let mut tx = Outgoing::default();
        Tmsg::Version { msize, version: dialect.name() }.encode(NOTAG, &mut tx.bytes);
        Client {
            rx: Incoming::default(),
            tx,
            msize,
            dialect: None,
            greeting: true,
            tags: Tags::default(),
            broken: None,
        }
    }

    /// The agreed message size, or the one proposed while there is none.
    pub fn msize(&self) -> u32 {
        self.msize
    }

    /// The language agreed on; none until the server has answered.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// Requests that have no answer yet.
    pub fn outstanding(&self) -> usize {
        self.tags.outstanding() + usize::from(self.greeting)
    }

    /// Whether no further request can be queued: 65,535 are outstanding.
    pub fn is_full(&self) -> bool {
        self.tags.is_full()
    }

    /// Queues a request. While the client [is full](Client::is_full), or broken,
    /// nothing is queued, and the tag is [`NOTAG`], which gets no answer. A named
    /// write and a sequenced read are such only once the server was found to
    /// understand them ([`Dialect::Atoll`]).
    pub fn send(&mut self, m: &Tmsg<'_>) -> Tag {
        let dialect = self.dialect.unwrap_or(Dialect::L);
        let mut asked = Asked { ty: m.ty(), ..Asked::default() };
        match *m {
            Tmsg::Flush { oldtag } => asked.oldtag = Some(oldtag),
            Tmsg::Read { offset, count, .. } => {
                asked.most = count;
                asked.sequenced = dialect == Dialect::Atoll && offset & seq::READ != 0;
            }
            Tmsg::Readdir { count, .. } => asked.most = count,
            Tmsg::Write { data, .. } => asked.most = data.len() as u32,
            Tmsg::Walk { names, .. } => asked.most = names.len() as u32,
            _ => {}
        }
        if self.broken.is_some() {
            return Tag(NOTAG);
        }
        let Some(tag) = self.tags.ask(asked) else { return Tag(NOTAG) };
        m.encode_in(dialect, tag, &mut self.tx.bytes);
        Tag(tag)
    }

    /// Queues a walk over a path of at most 16 names; says the number of names too.
    pub fn walk(&mut self, fid: u32, newfid: u32, path: &str) -> Result<(Tag, usize), Fault> {
        if path.split('/').any(|n| n.len() > MAX_NAME) {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let names = path.split('/').filter(|n| !n.is_empty() && *n != ".").count();
        let asked = Asked { ty: ty::TWALK, most: names as u32, ..Asked::default() };
        let tag = self.tags.ask(asked).ok_or(Errno::ENOBUFS)?;
        let start = self.tx.bytes.len();
        let why = match msg::encode_walk(tag, fid, newfid, path, &mut self.tx.bytes) {
            Ok(names) if self.tx.bytes.len() - start <= self.msize as usize => {
                return Ok((Tag(tag), names));
            }
            Ok(_) => "a path that is longer than a message",
            Err(_) => "a path of more than 16 names",
        };
        self.tx.bytes.truncate(start);
        self.tags.unask(tag);
        Err(Fault::new(Errno::ENAMETOOLONG, why))
    }

    /// Bytes to send to the server.
    pub fn output(&self) -> &[u8] {
        self.tx.rest()
    }

    /// Says that the first `n` bytes of [`Client::output`] were sent.
    pub fn sent(&mut self, n: usize) {
        self.tx.sent(n);
    }

    /// Room for received bytes; tell [`Client::received`] how many were put there,
    /// and take the answers with [`Client::poll`] before asking for more room.
    pub fn spare(&mut self) -> &mut [u8] {
        self.rx.spare(self.msize)
    }

    /// Says that `n` bytes were put at the start of [`Client::spare`].
    pub fn received(&mut self, n: usize) {
        self.rx.received(n);
    }

    /// Takes received bytes, for whoever has them elsewhere already.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.rx.extend(bytes);
    }

    /// The next answer. That to a Tflush ends the request it named, if that had
    /// none. An error is for ever: whatever else the server sends is not looked at.
    pub fn poll(&mut self) -> Result<Option<(Tag, Rmsg<'_>)>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let Client { rx, tags, msize, dialect, greeting, broken, .. } = self;
        let next = rx.take(*msize).map_err(Broken::Size);
        let next = next.and_then(|frame| match frame {
            Some(frame) => check(frame, tags, msize, dialect, greeting).map(Some),
            None => Ok(None),
        });
        next.inspect_err(|why| *broken = Some(*why))
    }

    /// The next answer as [`Client::poll`] gives it, but by the place of its frame, so
    /// that whoever stands above can do something else before it is looked at.
    pub(crate) fn pull(&mut self) -> Result<Option<(Tag, Range<usize>)>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let Client { rx, tags, msize, dialect, greeting, broken, .. } = self;
        let next = rx.take_range(*msize).map_err(Broken::Size);
        let next = next.and_then(|range| match range {
            None => Ok(None),
            Some(range) => {
                let (tag, _) = check(rx.at(range.clone()), tags, msize, dialect, greeting)?;
                Ok(Some((tag, range)))
            }
        });
        next.inspect_err(|why| *broken = Some(*why))
    }

    /// The frame of an answer, until more is received.
    pub(crate) fn at(&self, range: Range<usize>) -> &[u8] {
        self.rx.at(range)
    }

    /// Bytes that were ever sent, and bytes that were ever to be sent.
    pub(crate) fn progress(&self) -> (u64, u64) {
        self.tx.progress()
    }

    /// Gives memory back that is not needed while nothing is outstanding. Without
    /// it, what the largest messages took is kept for the next ones.
    pub fn trim(&mut self) {
        self.rx.trim();
        self.tx.trim(0);
    }
}

/// Checks an answer against what was asked.
fn check<'a>(
    frame: &'a [u8],
    tags: &mut Tags,
    max: &mut u32,
    dialect: &mut Option<Dialect>,
    greeting: &mut bool,
) -> Result<(Tag, Rmsg<'a>), Broken> {
    let tag = msg::tag(frame);
    let got = frame.get(4).copied().unwrap_or_default();
    if tag == NOTAG && core::mem::take(greeting) {
        match Rmsg::decode(frame).map_err(Broken::Frame)? {
            answer @ Rmsg::Version { msize, version } if (MIN_MSIZE..=*max).contains(&msize) => {
                let spoken = Dialect::choose(version).filter(|d| d.is_linux());
                *dialect = Some(spoken.ok_or(Broken::Version)?);
                *max = msize;
                return Ok((Tag(tag), answer));
            }
            _ => return Err(Broken::Version),
        }
    }
    let asked = tags.answered(tag, got)?;
    let answer = Rmsg::decode(frame).map_err(Broken::Frame)?;
    asked.allows(&answer)?;
    Ok((Tag(tag), answer))
}

/// The fault that an Rlerror carries.
pub fn fault(errno: u32, text: Option<&str>) -> Fault {
    let errno = Errno(errno);
    match text {
        Some(text) if !text.is_empty() => Fault::new(errno, alloc::string::String::from(text)),
        _ => errno.into(),
    }
}
