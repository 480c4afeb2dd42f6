//! One connection's worth of a 9P server, as a state machine on bytes.
//!
//! Received bytes go into [`Session::spare`], [`Session::step`] handles one request
//! against a tree, and [`Session::output`] is what is to be sent. A request whose
//! answer is [`Reply::Later`](crate::tree::Reply) waits inside, without cost, until
//! [`Session::wake`] names its node. Everything that a client can make a session
//! hold is bounded by [`Limits`]: a client that never reads its answers is not
//! served further, one that breaks the framing is dead, and no other session notices.
//!
//! What has to be quick, and what is rare, lie apart: `handle` takes a request to
//! `walk`, `io` and `attr`, and only what is none of theirs to `make` and `plain`.

mod attr;
mod buffer;
mod fids;
mod handle;
mod index;
mod io;
mod limits;
mod make;
mod place;
mod plain;
mod pool;
mod waiting;
mod walk;

pub use limits::Limits;
pub use pool::Pool;
pub(crate) use walk::name_is_free;

use core::mem;

use buffer::Buffer;
use fids::{Fid, Fids, State};
use waiting::Waiting;

use crate::access::{Identity, User};
use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::msg::{self, ty};
use crate::plain::ename;
use crate::tree::Tree;
use crate::wire::{Front, MIN_MSIZE, Writer, front};

/// The largest first message, before a size is agreed on.
const FIRST_MSIZE: u32 = 8192;
/// A session's own buffers are given back when they are empty and larger than this.
const KEEP: usize = 4096;
/// Room that is made for bytes whose message size is not known yet.
const CHUNK: usize = buffer::SMALL;
/// Room that is made for a message of which only the size is known.
const STRIDE: usize = 64 << 10;

/// A session of one client. One that is not `PLAIN` speaks no 9P2000, and a program
/// that has no others has no code for it, which tells in a kernel.
pub struct Session<T: Tree, const PLAIN: bool = true> {
    limits: Limits,
    /// Agreed message size; 0 until there was a Tversion.
    msize: u32,
    dialect: Dialect,
    /// Errors in words are to be those of numbers.
    numbers: bool,
    identity: Identity,
    rx: Buffer,
    tx: Buffer,
    fids: Fids<T>,
    waiting: Waiting<T::Node>,
    dead: bool,
    /// Its buffers are a pool's.
    lent: bool,
}

impl<T: Tree> Session<T> {
    /// A session that has heard nothing yet. It holds no memory until it does.
    pub fn new(limits: Limits) -> Self {
        Session::serving(limits, Identity::Owner)
    }

    /// The same, for whom the transport says.
    pub fn serving(limits: Limits, identity: Identity) -> Self {
        Session::begin(limits, identity)
    }
}

impl<T: Tree> Session<T, false> {
    /// The same, for clients of 9P2000.L and our own dialect: who proposes 9P2000 is
    /// answered that it is unknown.
    pub fn linux(limits: Limits) -> Self {
        Session::begin(limits, Identity::Owner)
    }
}

impl<T: Tree, const PLAIN: bool> Session<T, PLAIN> {
    /// Whether anything asks what a fid's file is called: 9P2000, which has the name in
    /// a file's attributes, and who removes or renames what a fid stands for.
    const NAMED: bool = PLAIN || !T::FIXED;

    fn begin(limits: Limits, identity: Identity) -> Self {
        Session {
            limits: Limits { msize: limits.msize.max(MIN_MSIZE), ..limits },
            msize: 0,
            dialect: Dialect::L,
            numbers: false,
            identity,
            rx: Buffer::default(),
            tx: Buffer::default(),
            fids: Fids::default(),
            waiting: Waiting::default(),
            dead: false,
            lent: false,
        }
    }

    fn is_plain(&self) -> bool {
        PLAIN && self.dialect == Dialect::Plain
    }

    fn max_frame(&self) -> u32 {
        if self.msize == 0 { FIRST_MSIZE.min(self.limits.msize) } else { self.msize }
    }

    /// Lends it buffers for the time in which it is served. Without them it makes do
    /// with small ones of its own.
    pub fn lend(&mut self, pool: &mut Pool) {
        self.lent = true;
        self.rx.lend(pool);
        self.tx.lend(pool);
    }

    /// Takes the buffers back, for the next session, if there is little left in them.
    pub fn give_back(&mut self, pool: &mut Pool) {
        self.lent = false;
        self.rx.give_back(pool);
        self.tx.give_back(pool);
    }

    /// Room for received bytes; tell [`Session::received`] how many were put there.
    /// Empty while the session has requests enough: read no more from the
    /// client until they were stepped through.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.dead {
            return &mut [];
        }
        let (max, have) = (self.max_frame(), self.rx.len());
        let want = match front(self.rx.filled(), max) {
            Front::Unknown => CHUNK,
            // As much as came so far, or a step's worth: a size alone is a claim.
            Front::Frame(n) if n > have => n.min(have.max(STRIDE / 2) * 2),
            // A whole frame is here: let it be handled before memory is got for more.
            Front::Frame(_) | Front::Bad(_) => have,
        };
        self.rx.room(want, max as usize)
    }

    /// Says that `n` bytes were put at the start of [`Session::spare`].
    pub fn received(&mut self, n: usize) {
        self.rx.put(n);
    }

    /// Takes as many of the bytes as there is room for, and says how many.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let spare = self.spare();
        let n = spare.len().min(bytes.len());
        if let (Some(to), Some(from)) = (spare.get_mut(..n), bytes.get(..n)) {
            to.copy_from_slice(from);
        }
        self.received(n);
        n
    }

    /// Bytes to send to the client.
    pub fn output(&self) -> &[u8] {
        self.tx.filled()
    }

    /// Says that the first `n` bytes of [`Session::output`] were sent.
    pub fn sent(&mut self, n: usize) {
        self.tx.take(n);
        // What was sent goes when it is the greater part: a client that reads
        // steadily but never all of it must not make the rest pile up.
        self.tx.settle();
        self.trim();
    }

    /// Gives large buffers back when nothing is in them.
    fn trim(&mut self) {
        if !self.lent {
            for (buffer, most) in [(&mut self.rx, KEEP), (&mut self.tx, 2 * KEEP)] {
                if buffer.is_empty() && buffer.held() > most {
                    buffer.free();
                }
            }
        }
    }

    /// Bytes of memory behind it: its buffers, fids and requests that wait.
    pub fn held(&self) -> usize {
        self.rx.held() + self.tx.held() + self.fids.held() + self.waiting.held()
    }

    /// Whether the connection is to be closed once its output was sent.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// The language agreed on; none before Tversion.
    pub fn dialect(&self) -> Option<Dialect> {
        (self.msize != 0).then_some(self.dialect)
    }

    /// Fids in use.
    pub fn fids(&self) -> usize {
        self.fids.len()
    }

    /// Requests that wait for their answer.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether [`Session::step`] would do something.
    pub fn is_ready(&self) -> bool {
        !self.dead
            && self.tx.len() < self.max_frame() as usize
            && (self.waiting.is_ready()
                || match front(self.rx.filled(), self.max_frame()) {
                    Front::Unknown => false,
                    Front::Frame(n) => n <= self.rx.len(),
                    Front::Bad(_) => true,
                })
    }

    /// Says that what a node holds has changed: requests that wait for it are
    /// asked again, in the order in which they came.
    pub fn wake(&mut self, node: T::Node) {
        self.waiting.wake(node);
    }

    /// Handles one request, or asks one that was woken again. False when there was
    /// nothing to do.
    pub fn step(&mut self, tree: &mut T) -> bool {
        if !self.is_ready() {
            return false;
        }
        if self.waiting.is_ready() {
            self.retry(tree);
            return true;
        }
        let mut rx = mem::take(&mut self.rx);
        let unread = rx.filled();
        match front(unread, self.max_frame()) {
            Front::Frame(n) => {
                self.request(tree, unread.get(..n).unwrap_or_default());
                rx.take(n);
            }
            Front::Bad(n) => self.broken(msg::tag(unread), n),
            Front::Unknown => {}
        }
        self.rx = rx;
        if self.rx.is_empty() {
            self.trim();
        }
        true
    }

    /// A size that cannot be: nobody knows where the next message begins.
    #[cold]
    fn broken(&mut self, tag: u16, n: u32) {
        let max = self.max_frame();
        let text = alloc::format!(
            "a message of {n} bytes, but 7 to {max} are allowed: the connection is closed"
        );
        self.error(tag, &Fault::new(Errno::EMSGSIZE, text));
        self.dead = true;
    }

    /// Gives every node back. For when the connection is gone.
    pub fn close(&mut self, tree: &mut T) {
        self.dead = true;
        self.reset(tree);
        self.rx.free();
        self.tx.free();
    }

    fn reset(&mut self, tree: &mut T) {
        self.waiting.clear();
        if self.is_plain() {
            self.remove_all_on_close(tree);
        }
        for fid in self.fids.drain() {
            release(tree, fid);
        }
    }

    #[cold]
    fn error(&mut self, tag: u16, fault: &Fault) {
        if self.is_plain() {
            let mut w = self.tx.frame(ty::RERROR, tag);
            w.str(clip(ename(fault, self.numbers), MIN_MSIZE as usize - 32));
            return w.finish();
        }
        let mut w = self.tx.frame(ty::RLERROR, tag);
        w.u32(fault.errno.0);
        if self.dialect == Dialect::Atoll && self.msize != 0 {
            w.str(clip(fault.text(), MIN_MSIZE as usize - 32));
        }
        w.finish();
    }

    /// Starts the answer to a request of this type.
    #[inline]
    fn reply(&mut self, t: u8, tag: u16) -> Writer<'_> {
        self.tx.frame(t + 1, tag)
    }

    /// An answer that says no more than that it was done.
    fn done(&mut self, t: u8, tag: u16) -> Result<(), Fault> {
        self.reply(t, tag).finish();
        Ok(())
    }

    /// A fid's node, and who asks.
    fn node(&mut self, fid: u32) -> Result<(T::Node, User), Fault> {
        let identity = self.identity;
        let f = self.fids.get(fid)?;
        Ok((f.node, identity.user(f.uid)))
    }
}

/// Gives a fid's node back.
fn release<T: Tree>(tree: &mut T, fid: Fid<T>) {
    if let State::Open(opened) = fid.state {
        tree.close(fid.node, opened.open);
    }
    tree.forget(fid.node);
}

/// At most `max` bytes of a text, cut at a character.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    let mut n = text.len().min(max);
    while !text.is_char_boundary(n) {
        n -= 1;
    }
    text.get(..n).unwrap_or_default()
}
