//! A client's end of a connection, as a state machine on bytes.
//!
//! Requests are queued with [`Client::send`], which names them by their tags; any
//! number may be outstanding. [`Client::poll`] gives the answers as they come, in
//! whatever order. What a server sends is a claim: an answer with a tag that was
//! not asked, or of another type, breaks the connection and nothing else.

use alloc::vec::Vec;
use core::fmt;

use crate::fault::{Errno, Fault};
use crate::frames::{Incoming, Outgoing};
use crate::msg::{self, Rmsg, Tmsg, ty};
use crate::server::Dialect;
use crate::wire::{BadFrame, MIN_MSIZE, NOTAG};

/// The tag of an outstanding request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Version => f.write_str("the server speaks no 9P2000.L"),
            Broken::Size(n) => write!(f, "the server sent a message of {n} bytes"),
            Broken::Frame(why) => write!(f, "the server sent a malformed message: {why:?}"),
            Broken::Unasked => f.write_str("the server answered what nobody asked"),
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
    /// Outstanding tags and the types of their requests.
    asked: Vec<(u16, u8)>,
    next_tag: u16,
}

impl Client {
    /// A client that proposes a message size. Its Tversion is queued at once, and
    /// requests may be queued behind it without waiting for the answer.
    pub fn new(msize: u32) -> Client {
        let msize = msize.max(MIN_MSIZE);
        let mut tx = Outgoing::default();
        Tmsg::Version { msize, version: Dialect::Atoll.name() }.encode(NOTAG, &mut tx.bytes);
        Client {
            rx: Incoming::default(),
            tx,
            msize,
            dialect: None,
            asked: alloc::vec![(NOTAG, ty::TVERSION)],
            next_tag: 0,
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
        self.asked.len()
    }

    fn new_tag(&mut self, ty: u8) -> u16 {
        while self.next_tag == NOTAG || self.asked.iter().any(|a| a.0 == self.next_tag) {
            self.next_tag = self.next_tag.wrapping_add(1);
        }
        let tag = self.next_tag;
        self.next_tag = tag.wrapping_add(1);
        self.asked.push((tag, ty));
        tag
    }

    /// Queues a request.
    pub fn send(&mut self, m: &Tmsg<'_>) -> Tag {
        let tag = self.new_tag(m.ty());
        m.encode(tag, &mut self.tx.bytes);
        Tag(tag)
    }

    /// Queues a walk over a path of at most 16 names; says the number of names too.
    pub fn walk(&mut self, fid: u32, newfid: u32, path: &str) -> Result<(Tag, usize), Fault> {
        let tag = self.new_tag(ty::TWALK);
        match msg::encode_walk(tag, fid, newfid, path, &mut self.tx.bytes) {
            Ok(names) => Ok((Tag(tag), names)),
            Err(_) => {
                self.asked.pop();
                Err(Fault::new(Errno::ENAMETOOLONG, "a path of more than 16 names"))
            }
        }
    }

    /// Bytes to send to the server.
    pub fn output(&self) -> &[u8] {
        self.tx.rest()
    }

    /// Says that the first `n` bytes of [`Client::output`] were sent.
    pub fn sent(&mut self, n: usize) {
        self.tx.sent(n);
    }

    /// Takes received bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.rx.extend(bytes);
    }

    /// The next answer. A Tflush that was answered ends the request it named, if
    /// that had none: tell the client with [`Client::forget`].
    pub fn poll(&mut self) -> Result<Option<(Tag, Rmsg<'_>)>, Broken> {
        let Some(frame) = self.rx.take(self.msize).map_err(Broken::Size)? else {
            return Ok(None);
        };
        let tag = msg::tag(frame);
        let at = self.asked.iter().position(|a| a.0 == tag).ok_or(Broken::Unasked)?;
        let (_, asked) = self.asked.swap_remove(at);
        let got = frame.get(4).copied().unwrap_or_default();
        if got != asked + 1 && got != ty::RLERROR {
            return Err(Broken::Unasked);
        }
        let answer = Rmsg::decode(frame).map_err(Broken::Frame)?;
        if asked == ty::TVERSION {
            match answer {
                Rmsg::Version { msize, version } if (MIN_MSIZE..=self.msize).contains(&msize) => {
                    self.msize = msize;
                    self.dialect = Some(Dialect::choose(version).ok_or(Broken::Version)?);
                }
                _ => return Err(Broken::Version),
            }
        }
        Ok(Some((Tag(tag), answer)))
    }

    /// Forgets a request whose Tflush was answered.
    pub fn forget(&mut self, tag: Tag) {
        self.asked.retain(|a| a.0 != tag.0);
    }
}

/// The fault that an Rlerror carries.
pub fn fault(errno: u32, text: Option<&str>) -> Fault {
    let errno = Errno(errno);
    match text {
        Some(text) if !text.is_empty() => Fault::new(errno, alloc::string::String::from(text)),
        _ => errno.into(),
    }
}
