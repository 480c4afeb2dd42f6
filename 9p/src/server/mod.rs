//! One connection's worth of a 9P server, as a state machine on bytes.
//!
//! Received bytes go into [`Session::spare`], [`Session::step`] handles one request
//! against a tree, and [`Session::output`] is what is to be sent. A request whose
//! answer is [`Reply::Later`] waits inside, without cost, until [`Session::wake`]
//! names its node. Everything that a client can make a session hold is bounded by
//! [`Limits`]: a client that never reads its answers is not served further, one
//! that breaks the framing is dead, and no other session notices.
//!
//! Longer than most files here because the handlers share the session's private
//! tables; the messages of 9P2000 will get a file of their own.

mod buffer;
mod pool;

pub use pool::Pool;

use alloc::vec::Vec;
use core::mem;

use buffer::Buffer;

use crate::access::Identity;
use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::msg::{self, Tmsg, put_qid, put_stat, ty};
use crate::tree::{Entries, Reply, Tree, Who};
use crate::types::{OpenFlags, Qid, setattr};
use crate::wire::{Front, MAX_NAME, MIN_MSIZE, NOFID, READ_OVERHEAD, Writer, front};

/// What a session may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message in bytes, of either direction; at least [`MIN_MSIZE`].
    pub msize: u32,
    /// Fids in use.
    pub fids: u32,
    /// Requests that wait for their answer.
    pub blocked: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { msize: 64 << 10, fids: 4096, blocked: 256 }
    }
}

struct Fid<T: Tree> {
    node: T::Node,
    /// Names below where it was attached: `..` goes no further up.
    depth: u32,
    open: Option<(T::Open, OpenFlags)>,
}

/// A request that waits. What it asked for is kept, not what it would have sent.
struct Blocked<N> {
    tag: u16,
    fid: u32,
    node: N,
    op: Op,
    woken: bool,
}

enum Op {
    Read { offset: u64, count: u32 },
    Write { offset: u64, data: Vec<u8> },
}

/// The largest first message, before a size is agreed on.
const FIRST_MSIZE: u32 = 8192;
/// The receive buffer is given back when it is empty and larger than this.
const KEEP: usize = 4096;
/// Data of waiting writes that a session keeps, in messages of the largest size.
const KEPT_WRITES: usize = 4;
/// Room that is made for bytes whose message size is not known yet.
const CHUNK: usize = buffer::SMALL;
/// Room that is made for a message of which only the size is known.
const STRIDE: usize = 64 << 10;

/// A session of one client.
pub struct Session<T: Tree> {
    limits: Limits,
    /// Agreed message size; 0 until there was a Tversion.
    msize: u32,
    dialect: Dialect,
    identity: Identity,
    rx: Buffer,
    tx: Buffer,
    /// Sorted by fid.
    fids: Vec<(u32, Fid<T>)>,
    blocked: Vec<Blocked<T::Node>>,
    woken: usize,
    dead: bool,
    /// Its buffers are a pool's.
    lent: bool,
}

impl<T: Tree> Session<T> {
    /// A session that has heard nothing yet. It holds no memory until it does.
    pub fn new(limits: Limits) -> Session<T> {
        Session::serving(limits, Identity::Owner)
    }

    /// The same, for whom the transport says.
    pub fn serving(limits: Limits, identity: Identity) -> Session<T> {
        Session {
            limits: Limits { msize: limits.msize.max(MIN_MSIZE), ..limits },
            msize: 0,
            dialect: Dialect::L,
            identity,
            rx: Buffer::default(),
            tx: Buffer::default(),
            fids: Vec::new(),
            blocked: Vec::new(),
            woken: 0,
            dead: false,
            lent: false,
        }
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
        self.rx.room(want.max(CHUNK.min(have)), max as usize)
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

    /// Bytes of memory behind its buffers and waiting writes.
    pub fn held(&self) -> usize {
        self.rx.held() + self.tx.held() + self.kept()
    }

    fn kept(&self) -> usize {
        let data = |b: &Blocked<_>| match &b.op {
            Op::Read { .. } => 0,
            Op::Write { data, .. } => data.len(),
        };
        self.blocked.iter().map(data).sum()
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
        self.blocked.len()
    }

    /// Whether [`Session::step`] would do something.
    pub fn is_ready(&self) -> bool {
        !self.dead
            && self.output().len() < self.max_frame() as usize
            && (self.woken > 0
                || match front(self.rx.filled(), self.max_frame()) {
                    Front::Unknown => false,
                    Front::Frame(n) => n <= self.rx.len(),
                    Front::Bad(_) => true,
                })
    }

    /// Says that what a node holds has changed: requests that wait for it are
    /// asked again, in the order in which they came.
    pub fn wake(&mut self, node: T::Node) {
        for b in self.blocked.iter_mut().filter(|b| b.node == node && !b.woken) {
            b.woken = true;
            self.woken += 1;
        }
    }

    /// Handles one request, or asks one that was woken again. False when there was
    /// nothing to do.
    pub fn step(&mut self, tree: &mut T) -> bool {
        if !self.is_ready() {
            return false;
        }
        if self.woken > 0 {
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
        self.blocked.clear();
        self.woken = 0;
        for (_, fid) in mem::take(&mut self.fids) {
            release(tree, fid);
        }
    }

    fn error(&mut self, tag: u16, fault: &Fault) {
        let mut w = self.tx.frame(ty::RLERROR, tag);
        w.u32(fault.errno.0);
        if self.dialect == Dialect::Atoll && self.msize != 0 {
            w.str(clip(fault.text(), MIN_MSIZE as usize - 32));
        }
        w.finish();
    }

    fn request(&mut self, tree: &mut T, frame: &[u8]) {
        let tag = msg::tag(frame);
        let done = match Tmsg::decode(frame) {
            Ok(Tmsg::Version { msize, version }) => self.version(tree, tag, msize, version),
            Ok(_) if self.msize == 0 => {
                Err(Fault::new(Errno::EPROTO, "the first message must be Tversion"))
            }
            Ok(_) if self.blocked.iter().any(|b| b.tag == tag) => {
                Err(Fault::new(Errno::EINVAL, "this tag has a request outstanding"))
            }
            Ok(m) => self.handle(tree, tag, m),
            Err(bad) => Err(bad.into()),
        };
        if let Err(fault) = done {
            self.error(tag, &fault);
        }
    }

    fn reply(&mut self, t: u8, tag: u16) -> Writer<'_> {
        self.tx.frame(t + 1, tag)
    }

    fn version(&mut self, tree: &mut T, tag: u16, msize: u32, v: &str) -> Result<(), Fault> {
        if msize < MIN_MSIZE {
            let text = alloc::format!("msize {msize} is too small: at least {MIN_MSIZE}");
            return Err(Fault::new(Errno::EMSGSIZE, text));
        }
        self.reset(tree);
        let msize = msize.min(self.limits.msize);
        let name = match Dialect::choose(v).filter(|d| d.is_linux()) {
            Some(dialect) => {
                self.dialect = dialect;
                self.msize = msize;
                dialect.name()
            }
            None => {
                self.msize = 0;
                "unknown"
            }
        };
        let mut w = self.reply(ty::TVERSION, tag);
        w.u32(msize);
        w.str(name);
        w.finish();
        Ok(())
    }

    fn handle(&mut self, tree: &mut T, tag: u16, m: Tmsg<'_>) -> Result<(), Fault> {
        match m {
            Tmsg::Version { .. } => Err(Errno::EPROTO.into()),
            // ENOENT tells a client that there is nothing to authenticate to;
            // diod's tools take any other number for a failure.
            Tmsg::Auth { .. } => Err(Errno::ENOENT.into()),
            Tmsg::Attach { fid, afid, uname, aname, n_uname } => {
                let slot = self.vacant(fid)?;
                if afid != NOFID {
                    return Err(Fault::new(Errno::EBADF, "there is no authentication here"));
                }
                let node = tree.attach(&Who { uname, user: self.identity.user(n_uname), aname })?;
                let qid = tree.qid(node).inspect_err(|_| tree.forget(node))?;
                self.fids.insert(slot, (fid, Fid { node, depth: 0, open: None }));
                let mut w = self.reply(ty::TATTACH, tag);
                put_qid(&mut w, qid);
                w.finish();
                Ok(())
            }
            Tmsg::Flush { oldtag } => {
                self.unblock(|b| b.tag == oldtag);
                self.reply(ty::TFLUSH, tag).finish();
                Ok(())
            }
            Tmsg::Walk { fid, newfid, names } => self.walk(tree, tag, fid, newfid, names),
            Tmsg::Lopen { fid, flags } => {
                let msize = self.msize;
                let f = self.fid(fid)?;
                if f.open.is_some() {
                    return Err(Fault::new(Errno::EBADF, "this fid is open already"));
                }
                let qid = tree.qid(f.node)?;
                if qid.is_dir() && flags.writes() {
                    return Err(Errno::EISDIR.into());
                }
                f.open = Some((tree.open(&mut f.node, flags)?, flags));
                let mut w = self.reply(ty::TLOPEN, tag);
                put_qid(&mut w, qid);
                w.u32(msize - 24); // header of Rread or Twrite, as Plan 9's IOHDRSZ
                w.finish();
                Ok(())
            }
            Tmsg::Getattr { fid, .. } => {
                let node = self.fid(fid)?.node;
                let stat = tree.stat(node)?;
                let mut w = self.reply(ty::TGETATTR, tag);
                put_stat(&mut w, &stat);
                w.finish();
                Ok(())
            }
            Tmsg::Setattr { fid, set } => {
                let node = self.fid(fid)?.node;
                if set.valid & !setattr::TIMES != 0 {
                    tree.set(node, &set)?;
                }
                self.reply(ty::TSETATTR, tag).finish();
                Ok(())
            }
            Tmsg::Xattrwalk { fid, .. } => {
                self.fid(fid)?;
                Err(Errno::ENODATA.into())
            }
            Tmsg::Readdir { fid, offset, count } => self.readdir(tree, tag, fid, offset, count),
            Tmsg::Fsync { fid } => {
                tree.sync(self.fid(fid)?.node)?;
                self.reply(ty::TFSYNC, tag).finish();
                Ok(())
            }
            Tmsg::Statfs { fid } => {
                let node = self.fid(fid)?.node;
                let fs = tree.statfs(node)?;
                let mut w = self.reply(ty::TSTATFS, tag);
                w.u32(fs.ty);
                w.u32(fs.bsize);
                for v in [fs.blocks, fs.bfree, fs.bavail, fs.files, fs.ffree, fs.fsid] {
                    w.u64(v);
                }
                w.u32(fs.namelen);
                w.finish();
                Ok(())
            }
            Tmsg::Read { fid, offset, count } => {
                let count = count.min(self.msize - READ_OVERHEAD);
                let reply = self.read(tree, tag, fid, offset, count)?;
                self.block_if(reply, tag, fid, 0, || Op::Read { offset, count })
            }
            Tmsg::Write { fid, offset, data, .. } => {
                let reply = self.write(tree, tag, fid, offset, data)?;
                self.block_if(reply, tag, fid, data.len(), || Op::Write {
                    offset,
                    data: data.to_vec(),
                })
            }
            Tmsg::Clunk { fid } => {
                self.drop_fid(tree, fid)?;
                self.reply(ty::TCLUNK, tag).finish();
                Ok(())
            }
            // Tremove ends the fid whether or not the file goes, and none does.
            Tmsg::Remove { fid } => {
                self.drop_fid(tree, fid)?;
                // Not as an error of `handle`: that would take back the answers that
                // requests waiting on the fid have just been given.
                self.error(tag, &Errno::EPERM.into());
                Ok(())
            }
            _ => Err(Errno::EOPNOTSUPP.into()),
        }
    }

    fn walk(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        newfid: u32,
        names: msg::Names<'_>,
    ) -> Result<(), Fault> {
        let from = self.fid(fid)?;
        if newfid == fid && from.open.is_some() {
            return Err(Fault::new(Errno::EBUSY, "an open fid cannot be walked"));
        }
        let (from, mut depth) = (from.node, from.depth);
        if newfid != fid {
            self.vacant(newfid)?;
        }
        let mut node = tree.again(from);
        let mut w = self.tx.frame(ty::TWALK + 1, tag);
        w.u16(0);
        let mut walked = 0u16;
        let mut fault = None;
        for name in names.iter() {
            match step_to(tree, node, depth, name) {
                Ok((next, qid)) => {
                    depth = match name {
                        ".." => depth.saturating_sub(1),
                        _ => depth.saturating_add(1),
                    };
                    tree.forget(node);
                    node = next;
                    put_qid(&mut w, qid);
                    walked += 1;
                }
                Err(e) => {
                    fault = Some(e);
                    break;
                }
            }
        }
        match fault {
            Some(fault) if walked == 0 => {
                tree.forget(node);
                return Err(fault);
            }
            // Part of the way: the client learns how far, and newfid stays unused.
            Some(_) => {
                w.patch_u16(7, walked);
                w.finish();
                tree.forget(node);
            }
            None => {
                w.patch_u16(7, walked);
                w.finish();
                if newfid == fid {
                    tree.forget(from);
                    let f = self.fid(fid)?;
                    (f.node, f.depth) = (node, depth);
                } else {
                    let slot = self.vacant(newfid)?;
                    self.fids.insert(slot, (newfid, Fid { node, depth, open: None }));
                }
            }
        }
        Ok(())
    }

    fn readdir(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        cookie: u64,
        count: u32,
    ) -> Result<(), Fault> {
        let count = count.min(self.msize - READ_OVERHEAD) as usize;
        let f = find(&mut self.fids, fid)?;
        let Some((open, _)) = &mut f.open else {
            return Err(Fault::new(Errno::EBADF, "open the directory before reading it"));
        };
        if !tree.qid(f.node)?.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        let mut w = self.tx.frame(ty::TREADDIR + 1, tag);
        let count_at = w.len();
        w.u32(0);
        let data_at = w.len();
        let mut sink = Entries::new(w, data_at + count);
        tree.list(f.node, open, cookie, &mut sink)?;
        let full = sink.is_full();
        let mut w = sink.finish();
        let data = w.len() - data_at;
        if data == 0 && full {
            // No bytes would mean the end of the directory.
            return Err(Fault::new(Errno::EINVAL, "the count is too small for the next entry"));
        }
        w.patch_u32(count_at, data as u32);
        w.finish();
        Ok(())
    }

    fn read(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        offset: u64,
        count: u32,
    ) -> Result<Reply, Fault> {
        let f = find(&mut self.fids, fid)?;
        let open = match &mut f.open {
            Some((open, flags)) if flags.reads() => open,
            _ => return Err(Fault::new(Errno::EBADF, "open the file for reading first")),
        };
        let mut w = self.tx.frame(ty::TREAD + 1, tag);
        let reply = w.fill(count as usize, |buf| {
            let reply = tree.read(f.node, open, offset, buf)?;
            Ok::<_, Fault>(match reply {
                Reply::Done(n) => (n, reply),
                Reply::Later => (0, reply),
            })
        })?;
        if reply == Reply::Later {
            self.trim();
        } else {
            w.finish();
        }
        Ok(reply)
    }

    fn write(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        let f = find(&mut self.fids, fid)?;
        let open = match &mut f.open {
            Some((open, flags)) if flags.writes() => open,
            _ => return Err(Fault::new(Errno::EBADF, "open the file for writing first")),
        };
        let reply = tree.write(f.node, open, offset, data)?;
        if let Reply::Done(n) = reply {
            let mut w = self.reply(ty::TWRITE, tag);
            w.u32(n.min(data.len()) as u32);
            w.finish();
        }
        Ok(reply)
    }

    fn block_if(
        &mut self,
        reply: Reply,
        tag: u16,
        fid: u32,
        data: usize,
        op: impl FnOnce() -> Op,
    ) -> Result<(), Fault> {
        if reply == Reply::Later {
            let most = KEPT_WRITES.saturating_mul(self.msize as usize);
            if self.blocked.len() >= self.limits.blocked as usize || self.kept() + data > most {
                return Err(Errno::ENOBUFS.into());
            }
            let node = self.fid(fid)?.node;
            self.blocked.push(Blocked { tag, fid, node, op: op(), woken: false });
        }
        Ok(())
    }

    /// Asks the first woken request again. It keeps its place if it still has to wait.
    fn retry(&mut self, tree: &mut T) {
        let Some(i) = self.blocked.iter().position(|b| b.woken) else {
            self.woken = 0;
            return;
        };
        let mut b = self.blocked.remove(i);
        self.woken -= 1;
        let reply = match &b.op {
            Op::Read { offset, count } => self.read(tree, b.tag, b.fid, *offset, *count),
            Op::Write { offset, data } => self.write(tree, b.tag, b.fid, *offset, data),
        };
        match reply {
            Ok(Reply::Done(_)) => {}
            Ok(Reply::Later) => {
                b.woken = false;
                self.blocked.insert(i, b);
            }
            Err(fault) => {
                self.error(b.tag, &fault);
            }
        }
    }

    fn unblock(&mut self, which: impl Fn(&Blocked<T::Node>) -> bool) -> Vec<u16> {
        let mut tags = Vec::new();
        let woken = &mut self.woken;
        self.blocked.retain(|b| {
            let hit = which(b);
            if hit {
                tags.push(b.tag);
                *woken -= usize::from(b.woken);
            }
            !hit
        });
        tags
    }

    fn drop_fid(&mut self, tree: &mut T, fid: u32) -> Result<(), Fault> {
        let slot = self.slot(fid).map_err(|_| Errno::EBADF)?;
        for tag in self.unblock(|b| b.fid == fid) {
            self.error(tag, &Fault::new(Errno::EBADF, "the fid was clunked meanwhile"));
        }
        release(tree, self.fids.remove(slot).1);
        Ok(())
    }

    fn slot(&self, fid: u32) -> Result<usize, usize> {
        self.fids.binary_search_by_key(&fid, |f| f.0)
    }

    fn fid(&mut self, fid: u32) -> Result<&mut Fid<T>, Fault> {
        find(&mut self.fids, fid)
    }

    /// Where a new fid goes, if it may.
    fn vacant(&self, fid: u32) -> Result<usize, Fault> {
        match self.slot(fid) {
            Ok(_) => Err(Fault::new(Errno::EBADF, "this fid is in use")),
            Err(_) if fid == NOFID => Err(Errno::EBADF.into()),
            Err(_) if self.fids.len() >= self.limits.fids as usize => {
                Err(Fault::from(Errno::EMFILE))
            }
            Err(slot) => Ok(slot),
        }
    }
}

/// The fid of that number, as a borrow of the table alone.
fn find<T: Tree>(fids: &mut [(u32, Fid<T>)], fid: u32) -> Result<&mut Fid<T>, Fault> {
    let slot = fids.binary_search_by_key(&fid, |f| f.0).map_err(|_| Errno::EBADF)?;
    fids.get_mut(slot).map(|(_, f)| f).ok_or(Errno::EBADF.into())
}

fn release<T: Tree>(tree: &mut T, fid: Fid<T>) {
    if let Some((open, _)) = fid.open {
        tree.close(fid.node, open);
    }
    tree.forget(fid.node);
}

/// One name of a walk, with the checks that no tree has to repeat.
fn step_to<T: Tree>(
    tree: &mut T,
    at: T::Node,
    depth: u32,
    name: &str,
) -> Result<(T::Node, Qid), Fault> {
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err(Fault::new(Errno::EINVAL, "a name is empty or holds a slash"));
    }
    if name.len() > MAX_NAME {
        return Err(Errno::ENAMETOOLONG.into());
    }
    match name {
        ".." if depth == 0 => {
            let qid = tree.qid(at)?;
            Ok((tree.again(at), qid))
        }
        _ => tree.walk(at, name),
    }
}

/// At most `max` bytes of a text, cut at a character.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    let mut n = text.len().min(max);
    while !text.is_char_boundary(n) {
        n -= 1;
    }
    text.get(..n).unwrap_or_default()
}
