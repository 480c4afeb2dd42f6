//! One client of a tree in which other servers' trees are mounted.
//!
//! A supervisor shows the tree of each guest below a directory of its own. A [`Switch`] is
//! the session of one client: what it asks of a file here is answered by a
//! [`Session`] on the local tree, and what it asks of a file below a *mount point* goes, frame
//! for frame, to the server that is there, over a connection that this client alone
//! has. So neither fids nor tags are translated, and nobody waits for somebody else's guest.
//!
//! A mount point is a directory of the local tree of which [`Tree::walk`] says so
//! ([`qid_type::MOUNT`](crate::types::qid_type::MOUNT)). Who walks into it makes the
//! switch wish for a connection ([`Wish::Connect`]), and is answered when there is one. What
//! a walk over the border becomes is in `walk`, what a request and its answer become on
//! the way in `forward` and `answer`.
//!
//! Two servers may give two files one qid, and a client may take them for one then. So the
//! paths of the other's qids are changed ([`paths`]), in the same way in every session and
//! after every restart: those who find a file again by its qid do so.
//!
//! # What is one's own
//!
//! The switch needs fids and tags beside those of its client: [`OWN_FIDS`] and [`OWN_TAGS`] are
//! its own, and a client that uses one is refused. Clients count from 0, or down from the
//! largest number, and do not come there.
//!
//! # When a server goes
//!
//! What was asked of it is answered EIO, and so is whatever is asked of the fids that were
//! there, except that they can be clunked. Who walks there again from outside gets a new
//! connection.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::access::Identity;
use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::frames::{Incoming, Outgoing};
use crate::msg::ty;
use crate::plain::ename;
use crate::server::{Limits, Session, clip};
use crate::tree::Tree;
use crate::wire::{Front, MIN_MSIZE, NOTAG, Writer, front};
use own::Numbers;
use up::Up;
use walk::Job;

mod answer;
mod forward;
mod local;
mod own;
mod paths;
mod request;
mod undo;
mod up;
mod walk;

/// The fids that are the switch's own.
pub const OWN_FIDS: Range<u32> = 0xa701_0000..0xa702_0000;
/// The tags that are the switch's own.
pub const OWN_TAGS: Range<u16> = 0xa700..0xa800;
/// The largest first message, before a size is agreed on.
const FIRST_MSIZE: u32 = 8192;
/// Bytes of answers that a client has not read, or of requests that a server has not, with
/// which nothing more is taken from the client.
const UNREAD: usize = 1 << 20;
/// Requests at servers, or held back, with which nothing more is taken from the client.
const REQUESTS: usize = 512;
/// Users that one client may attach as.
const USERS: usize = 64;
/// Connections of which no fid is left that are kept for the next walk.
const IDLE: usize = 16;
/// A larger buffer is given away when nothing is in it.
const KEEP: usize = 16 << 10;

/// One of the servers that are reached for a client. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpId(pub u64);

/// What the switch wants done. Whoever moves its bytes does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Connect to the server of a mount point, of whose qid this is the path: its bytes are
    /// [`Switch::to_upstream`] and [`Switch::from_upstream`] from now on. Where that
    /// fails, now or later, say [`Switch::lost`].
    Connect(UpId, u64),
    /// Close the connection: it is of no further use.
    Close(UpId),
}

/// Whom the client attached as, for the servers that it gets to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    uname: String,
    n_uname: u32,
}

/// A fid of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fid {
    /// Which of the client's users it belongs to.
    who: u16,
    /// When it was made: another of the same number was made at another time.
    born: u64,
    place: Place,
    used: Used,
}

/// What was done with a fid since it was walked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    No,
    Open,
    /// It is the list of a file's attributes.
    Attributes,
}

/// Where a fid is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Local,
    /// At another server, which knows it by the same number.
    Up {
        up: UpId,
        /// The type and path of its file's qid, as its server calls it.
        ty: u8,
        path: u64,
        /// Requests underway that may change it.
        moving: u16,
    },
    /// It was at a server that is gone.
    Gone,
}

/// A request at another server.
#[derive(Clone, Copy, Debug)]
struct Asked {
    up: UpId,
    /// The type of the request.
    ty: u8,
    effect: Effect,
}

/// What the answer will change here.
#[derive(Clone, Copy, Debug)]
enum Effect {
    None,
    /// A walk or a list of attributes makes this fid, if it gets so many names far.
    Make {
        fid: u32,
        born: u64,
        names: u16,
    },
    /// A walk takes this fid elsewhere, if it gets so many names far.
    Move {
        fid: u32,
        born: u64,
        names: u16,
    },
    /// The fid is another file then, if its qid says so.
    Open {
        fid: u32,
        born: u64,
    },
    /// The fid is gone.
    End {
        fid: u32,
    },
    /// The data may be no more than this, of a directory's entries or not; a position comes
    /// with it or not.
    Read {
        count: u32,
        dir: bool,
        next: bool,
    },
    /// So many bytes were to be written.
    Write {
        count: u32,
    },
    /// The request of this tag ends.
    Flush {
        tag: u16,
    },
    /// A step of the walk that has the same tag.
    Step {
        names: u16,
    },
}

/// The session of one client.
pub struct Switch<T: Tree> {
    local: Session<T>,
    limits: Limits,
    rx: Incoming,
    tx: Outgoing,
    /// The agreed size; 0 before Tversion.
    msize: u32,
    dialect: Dialect,
    /// Errors in words are to be those of numbers.
    numbers: bool,
    users: Vec<User>,
    fids: BTreeMap<u32, Fid>,
    /// What is at the other servers, by its tag.
    asked: BTreeMap<u16, Asked>,
    ups: BTreeMap<UpId, Up>,
    /// Those that can be walked into, by their mount points.
    mounts: BTreeMap<u64, UpId>,
    next_up: u64,
    /// Fids that were ever made.
    born: u64,
    /// The one that was sent to last: nobody else's buffer can have grown.
    last: Option<UpId>,
    /// Walks that take more than one request, by their tags.
    jobs: BTreeMap<u16, Job>,
    /// Requests about fids of which a walk decides where they are, in order.
    held: VecDeque<(u16, Vec<u8>)>,
    held_bytes: usize,
    /// Fids of the local session that are the switch's own.
    anchors: Numbers,
    wishes: VecDeque<Wish>,
    dead: bool,
}

impl<T: Tree> Switch<T> {
    /// A session that has heard nothing yet, of whom the transport says.
    pub fn new(limits: Limits, identity: Identity) -> Switch<T> {
        let limits = Limits { msize: limits.msize.max(MIN_MSIZE), ..limits };
        // Room for the switch's own fids beside the client's.
        let local = Limits { fids: limits.fids.saturating_mul(2), ..limits };
        Switch {
            local: Session::serving(local, identity),
            limits,
            rx: Incoming::default(),
            tx: Outgoing::default(),
            msize: 0,
            dialect: Dialect::L,
            numbers: false,
            users: Vec::new(),
            fids: BTreeMap::new(),
            asked: BTreeMap::new(),
            ups: BTreeMap::new(),
            mounts: BTreeMap::new(),
            next_up: 0,
            born: 0,
            last: None,
            jobs: BTreeMap::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            anchors: Numbers::default(),
            wishes: VecDeque::new(),
            dead: false,
        }
    }

    /// Whether the client's bytes are to be read now: it has read its answers, and its
    /// servers their requests, and not too much is underway.
    pub fn wants(&self) -> bool {
        let behind = |id| self.ups.get(&id).is_some_and(|up| up.tx.rest().len() >= UNREAD);
        !self.dead
            && self.tx.rest().len() < UNREAD
            && self.asked.len() + self.jobs.len() + self.held.len() < REQUESTS
            && self.held_bytes < self.msize.max(MIN_MSIZE) as usize
            && !self.last.is_some_and(behind)
    }

    /// Takes bytes from the client. Only when they are [wanted](Switch::wants).
    pub fn from_client(&mut self, tree: &mut T, bytes: &[u8]) {
        if self.dead {
            return;
        }
        if self.rx.rest().is_empty() {
            let used = self.serve(tree, bytes);
            self.rx.extend(bytes.get(used..).unwrap_or_default());
        } else {
            self.rx.extend(bytes);
            self.pump(tree);
        }
        self.trim();
    }

    /// Bytes for the client.
    pub fn to_client(&self) -> &[u8] {
        self.tx.rest()
    }

    /// Says that the first `n` of them were sent.
    pub fn sent_to_client(&mut self, tree: &mut T, n: usize) {
        self.tx.sent(n);
        self.pump(tree);
        self.trim();
    }

    /// Whether the client broke the framing: close its connection once it has its answers.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// The servers that are reached for this client.
    pub fn upstreams(&self) -> impl Iterator<Item = UpId> + '_ {
        self.ups.keys().copied()
    }

    /// Bytes for a server.
    pub fn to_upstream(&self, id: UpId) -> &[u8] {
        self.ups.get(&id).map(|up| up.tx.rest()).unwrap_or_default()
    }

    /// Says that the first `n` of them were sent.
    pub fn sent_to_upstream(&mut self, tree: &mut T, id: UpId, n: usize) {
        if let Some(up) = self.ups.get_mut(&id) {
            up.tx.sent(n);
            up.tx.trim(KEEP);
        }
        self.pump(tree);
        self.trim();
    }

    /// Whether a server's bytes are to be read now: the client has read its answers.
    pub fn wants_upstream(&self) -> bool {
        self.tx.rest().len() < UNREAD
    }

    /// What is to be done next.
    pub fn wish(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    /// Says which tree of a server is mounted, where that is not all of it: a path from its
    /// root, at which users are attached. Before the first bytes from the server are given to
    /// [`Switch::from_upstream`].
    pub fn mounts(&mut self, id: UpId, aname: &str) {
        if let Some(up) = self.ups.get_mut(&id) {
            up.aname = aname.into();
        }
    }

    /// Says that what a local node holds has changed: [`Switch::step`] asks those again that
    /// wait for it.
    pub fn wake(&mut self, node: T::Node) {
        self.local.wake(node);
    }

    /// Asks those again that were woken.
    pub fn step(&mut self, tree: &mut T) {
        self.settle(tree);
        self.pump(tree);
    }

    /// Requests that wait for something in the local tree.
    pub fn waiting(&self) -> usize {
        self.local.waiting()
    }

    /// Fids of the client's.
    pub fn fids(&self) -> usize {
        self.fids.len()
    }

    /// Bytes of memory behind its buffers, and what the local session holds.
    pub fn held(&self) -> usize {
        let ups: usize = self.ups.values().map(Up::held).sum();
        self.rx.capacity() + self.tx.bytes.capacity() + self.held_bytes + self.local.held() + ups
    }

    /// Gives everything back. For when the client is gone: its connections to servers are
    /// to be closed too.
    pub fn close(&mut self, tree: &mut T) {
        self.dead = true;
        self.forget_all();
        self.local.close(tree);
        self.wishes.clear();
    }

    /// Handles the requests that are here.
    fn pump(&mut self, tree: &mut T) {
        if self.rx.rest().is_empty() {
            return;
        }
        let mut rx = core::mem::take(&mut self.rx);
        let used = self.serve(tree, rx.rest());
        rx.consume(used);
        self.rx = rx;
    }

    /// Handles the requests at the front of some bytes, as long as they are wanted; says how
    /// many bytes they were.
    fn serve(&mut self, tree: &mut T, bytes: &[u8]) -> usize {
        let mut used = 0;
        while self.wants() {
            let rest = bytes.get(used..).unwrap_or_default();
            let max = if self.msize == 0 { FIRST_MSIZE.min(self.limits.msize) } else { self.msize };
            match front(rest, max) {
                Front::Frame(n) if n <= rest.len() => {
                    self.request(tree, rest.get(..n).unwrap_or_default());
                    used += n;
                }
                Front::Bad(n) => {
                    let text = alloc::format!(
                        "a message of {n} bytes, but 7 to {max} are allowed: the connection is closed"
                    );
                    self.refuse(crate::msg::tag(rest), &Fault::new(Errno::EMSGSIZE, text));
                    self.dead = true;
                }
                _ => break,
            }
        }
        used
    }

    fn trim(&mut self) {
        self.tx.trim(KEEP);
        if self.rx.rest().is_empty() && self.rx.capacity() > 0 {
            self.rx.trim();
        }
    }

    /// Puts an error into the client's answers.
    #[cold]
    fn refuse(&mut self, tag: u16, fault: &Fault) {
        if self.dialect == Dialect::Plain {
            let mut w = Writer::new(&mut self.tx.bytes, ty::RERROR, tag);
            w.str(clip(ename(fault, self.numbers), MIN_MSIZE as usize - 32));
            return w.finish();
        }
        let mut w = Writer::new(&mut self.tx.bytes, ty::RLERROR, tag);
        w.u32(fault.errno.0);
        if self.dialect == Dialect::Atoll && self.msize != 0 {
            w.str(clip(fault.text(), MIN_MSIZE as usize - 32));
        }
        w.finish();
    }

    /// Answers that it was done.
    fn done(&mut self, ty: u8, tag: u16) {
        Writer::new(&mut self.tx.bytes, ty + 1, tag).finish();
    }

    /// Whether something is underway under a tag, as far as the switch knows.
    fn is_busy(&self, tag: u16) -> bool {
        self.asked.contains_key(&tag)
            || self.jobs.contains_key(&tag)
            || self.held.iter().any(|h| h.0 == tag)
    }

    /// The version to propose to a server: it is to speak as the client does.
    fn version(&self) -> &'static str {
        if self.numbers { "9P2000.u" } else { self.dialect.name() }
    }

    /// A fid is made: when.
    fn is_born(&mut self) -> u64 {
        self.born += 1;
        self.born
    }

    /// Queues the first message for a server.
    fn greet(&mut self, id: UpId) {
        let (msize, version) = (self.msize, self.version());
        if let Some(up) = self.ups.get_mut(&id) {
            crate::msg::Tmsg::Version { msize, version }.encode(NOTAG, &mut up.tx.bytes);
        }
    }
}
