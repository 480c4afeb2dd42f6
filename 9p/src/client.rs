//! A client's end of a connection, as a state machine on bytes.
//!
//! Requests are queued with [`Client::send`], which names them by their tags; any
//! number may be outstanding. [`Client::poll`] gives the answers as they come, in
//! whatever order. What a server sends is a claim: an answer with a tag that was
//! not asked, or of another type, breaks the connection and nothing else.

use alloc::vec::Vec;
use core::fmt;

use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::frames::{Incoming, Outgoing};
use crate::msg::{self, Rmsg, Tmsg, ty};
use crate::wire::{BadFrame, MAX_NAME, MIN_MSIZE, NOTAG};

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
            Broken::Frame(why) => {
                write!(f, "the server sent a malformed message: {}", Fault::from(*why))
            }
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
    asked: Vec<Asked>,
    next_tag: u16,
    broken: Option<Broken>,
}

/// An outstanding request.
#[derive(Debug)]
struct Asked {
    tag: u16,
    ty: u8,
    /// What a Tflush names.
    oldtag: Option<u16>,
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
            asked: alloc::vec![Asked { tag: NOTAG, ty: ty::TVERSION, oldtag: None }],
            next_tag: 0,
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
        self.asked.len()
    }

    /// Whether no further request can be queued: 65,535 are outstanding.
    pub fn is_full(&self) -> bool {
        self.asked.len() >= usize::from(NOTAG)
    }

    /// A tag that no request has, and that no Tflush names: the answer to that one
    /// may still be underway.
    fn new_tag(&mut self, ty: u8, oldtag: Option<u16>) -> Option<u16> {
        for _ in 0..=u16::MAX {
            let tag = self.next_tag;
            self.next_tag = tag.wrapping_add(1);
            let used = |a: &Asked| a.tag == tag || a.oldtag == Some(tag);
            if tag != NOTAG && !self.asked.iter().any(used) {
                self.asked.push(Asked { tag, ty, oldtag });
                return Some(tag);
            }
        }
        None
    }

    /// Queues a request. While the client [is full](Client::is_full) nothing is
    /// queued, and the tag is [`NOTAG`], which gets no answer.
    pub fn send(&mut self, m: &Tmsg<'_>) -> Tag {
        let oldtag = match m {
            Tmsg::Flush { oldtag } => Some(*oldtag),
            _ => None,
        };
        let Some(tag) = self.new_tag(m.ty(), oldtag).filter(|_| self.broken.is_none()) else {
            return Tag(NOTAG);
        };
        m.encode(tag, &mut self.tx.bytes);
        Tag(tag)
    }

    /// Queues a walk over a path of at most 16 names; says the number of names too.
    pub fn walk(&mut self, fid: u32, newfid: u32, path: &str) -> Result<(Tag, usize), Fault> {
        if path.split('/').any(|n| n.len() > MAX_NAME) {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let tag = self.new_tag(ty::TWALK, None).ok_or(Errno::ENOBUFS)?;
        let start = self.tx.bytes.len();
        let why = match msg::encode_walk(tag, fid, newfid, path, &mut self.tx.bytes) {
            Ok(names) if self.tx.bytes.len() - start <= self.msize as usize => {
                return Ok((Tag(tag), names));
            }
            Ok(_) => "a path that is longer than a message",
            Err(_) => "a path of more than 16 names",
        };
        self.tx.bytes.truncate(start);
        self.asked.pop();
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

    /// Takes received bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.rx.extend(bytes);
    }

    /// The next answer. That to a Tflush ends the request it named, if that had
    /// none. An error is for ever: whatever else the server sends is not looked at.
    pub fn poll(&mut self) -> Result<Option<(Tag, Rmsg<'_>)>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let Client { rx, asked, msize, dialect, broken, .. } = self;
        match next(rx, asked, msize, dialect) {
            Ok(answer) => Ok(answer),
            Err(why) => {
                *broken = Some(why);
                Err(why)
            }
        }
    }

    /// Forgets a request whose Tflush was answered; [`Client::poll`] has done so.
    pub fn forget(&mut self, tag: Tag) {
        self.asked.retain(|a| a.tag != tag.0);
    }
}

fn next<'a>(
    rx: &'a mut Incoming,
    all: &mut Vec<Asked>,
    max: &mut u32,
    dialect: &mut Option<Dialect>,
) -> Result<Option<(Tag, Rmsg<'a>)>, Broken> {
    let Some(frame) = rx.take(*max).map_err(Broken::Size)? else {
        return Ok(None);
    };
    let tag = msg::tag(frame);
    let at = all.iter().position(|a| a.tag == tag).ok_or(Broken::Unasked)?;
    let asked = all.swap_remove(at);
    let got = frame.get(4).copied().unwrap_or_default();
    if got != asked.ty + 1 && got != ty::RLERROR {
        return Err(Broken::Unasked);
    }
    let answer = Rmsg::decode(frame).map_err(Broken::Frame)?;
    if asked.ty == ty::TVERSION {
        match answer {
            Rmsg::Version { msize, version } if (MIN_MSIZE..=*max).contains(&msize) => {
                *max = msize;
                *dialect =
                    Some(Dialect::choose(version).filter(|d| d.is_linux()).ok_or(Broken::Version)?);
            }
            _ => return Err(Broken::Version),
        }
    }
    if let (Some(old), Rmsg::Flush) = (asked.oldtag, answer) {
        all.retain(|a| a.tag != old);
    }
    Ok(Some((Tag(tag), answer)))
}

/// The fault that an Rlerror carries.
pub fn fault(errno: u32, text: Option<&str>) -> Fault {
    let errno = Errno(errno);
    match text {
        Some(text) if !text.is_empty() => Fault::new(errno, alloc::string::String::from(text)),
        _ => errno.into(),
    }
}
