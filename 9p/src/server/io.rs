//! Opening, reading and writing, and what happens when the answer is not there yet.

use alloc::boxed::Box;

use super::Session;
use super::fids::{Opened, State};
use super::waiting::{Kept, Waiter};
use crate::access::Want;
use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::msg::{put_qid, ty};
use crate::tree::{Entries, Reply, Tree};
use crate::types::{OpId, OpenFlags, Qid, seq};
use crate::wire::READ_OVERHEAD;

/// The lines of [`super::fids::Fid::waits`].
const READS: usize = 0;
const WRITES: usize = 1;
/// Bytes of the position behind a sequenced read.
const NEXT: u32 = 8;
/// Plan 9's `IOHDRSZ`: what surrounds the data of a read or write, and a little more.
const IOHDRSZ: u32 = 24;

impl<T: Tree, const PLAIN: bool> Session<T, PLAIN> {
    /// The most bytes that one read or write should carry.
    pub(super) fn iounit(&self) -> u32 {
        self.msize - IOHDRSZ
    }

    pub(super) fn lopen(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        flags: OpenFlags,
    ) -> Result<(), Fault> {
        self.fids.get(fid)?;
        let qid = self.open(tree, fid, flags, wanted(flags)?)?;
        let iounit = self.iounit();
        let mut w = self.reply(ty::TLOPEN, tag);
        put_qid(&mut w, qid);
        w.u32(iounit);
        w.finish();
        Ok(())
    }

    /// Opens a fid for what its user may do.
    pub(super) fn open(
        &mut self,
        tree: &mut T,
        fid: u32,
        flags: OpenFlags,
        want: Want,
    ) -> Result<Qid, Fault> {
        let (node, user) = self.node(fid)?;
        let f = self.fids.get(fid)?;
        if !f.is_idle() {
            return Err(Fault::new(Errno::EBADF, "this fid is open already"));
        }
        let mut qid = tree.qid(node)?;
        let dir = qid.is_dir();
        // A directory is read, and neither written nor run.
        if dir && want != Want::READ {
            return Err(Errno::EISDIR.into());
        }
        if !dir && flags.has(OpenFlags::DIRECTORY) {
            return Err(Errno::ENOTDIR.into());
        }
        tree.may(node, user, want)?;
        let flags = flags.without(OpenFlags::CREATE | OpenFlags::EXCL);
        let open = tree.open(&mut f.node, flags)?;
        let now = f.node;
        if now != node || flags.has(OpenFlags::TRUNC) {
            qid = match tree.qid(now) {
                Ok(qid) => qid,
                Err(fault) => {
                    tree.close(now, open);
                    return Err(fault);
                }
            };
        }
        f.state =
            State::Open(Opened { open, flags, dir: qid.is_dir(), short: (0, 0), plain: None });
        if Self::NAMED
            && now != node
            && let Some(name) = self.fids.name(fid)
        {
            name.clear();
        }
        Ok(qid)
    }

    pub(super) fn tread(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        offset: u64,
        count: u32,
    ) -> Result<(), Fault> {
        let count = count.min(self.msize - READ_OVERHEAD);
        let f = self.fids.get(fid)?;
        // What was asked before is answered before.
        if f.waits.get(READS).is_none_or(|&first| first == super::index::NONE) {
            if let State::Open(Opened { dir: true, .. }) = f.state
                && self.is_plain()
            {
                return self.read_dir(tree, tag, fid, offset, count);
            }
            if self.read(tree, tag, fid, offset, count)? != Reply::Later {
                return Ok(());
            }
            if self.fills_up(fid, offset, count) {
                return self.nothing_more(tag);
            }
        }
        self.block(tag, fid, offset, count, None)
    }

    /// Whether a read that would wait is the Linux client's, which goes on asking for
    /// the rest of a buffer until it is full or nothing comes (`p9_client_read` in
    /// `net/9p/client.c`). Were it to wait, the reader would not get what the buffer
    /// already holds: a line of a stream would be seen when many more have come. Others
    /// ask for as much as before, and to them nothing would be the end of the file.
    fn fills_up(&mut self, fid: u32, offset: u64, count: u32) -> bool {
        if self.dialect == Dialect::Atoll {
            return false;
        }
        let Ok(f) = self.fids.get(fid) else { return false };
        let Some(opened) = f.opened() else { return false };
        let (end, asked) = core::mem::take(&mut opened.short);
        end == offset && count < asked
    }

    fn nothing_more(&mut self, tag: u16) -> Result<(), Fault> {
        let mut w = self.reply(ty::TREAD, tag);
        w.u32(0);
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
        let f = self.fids.get(fid)?;
        let opened = match &mut f.state {
            State::Open(opened) if opened.flags.reads() => opened,
            // Whoever asks for a position is told one, or why not.
            State::Attributes if self.dialect == Dialect::Atoll && offset & seq::READ != 0 => {
                return Err(Fault::new(Errno::EINVAL, "not a stream: it has no positions"));
            }
            State::Attributes => {
                self.nothing_more(tag)?;
                return Ok(Reply::Done(0));
            }
            _ => return Err(Fault::new(Errno::EBADF, "open the file for reading first")),
        };
        if opened.dir {
            return Err(Errno::EISDIR.into());
        }
        let (node, open) = (f.node, &mut opened.open);
        let sequenced = self.dialect == Dialect::Atoll && offset & seq::READ != 0;
        let mut room = count;
        if sequenced {
            room = count.min(self.msize - READ_OVERHEAD - NEXT);
            seek(tree, node, open, offset & !seq::READ)?;
        }
        let mut w = self.tx.frame(ty::TREAD + 1, tag);
        let reply = w.fill(room as usize, |buf| {
            let reply = tree.read(node, open, offset, buf)?;
            Ok::<_, Fault>(match reply {
                Reply::Done(n) => (n, reply),
                Reply::Later => (0, reply),
            })
        })?;
        let Reply::Done(n) = reply else {
            self.trim();
            return Ok(reply);
        };
        opened.short = (offset.saturating_add(n as u64), count);
        if sequenced {
            w.u64(tree.position(node, open).unwrap_or(seq::HERE));
        }
        w.finish();
        Ok(reply)
    }

    pub(super) fn twrite(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        offset: u64,
        data: &[u8],
        op: Option<OpId>,
    ) -> Result<(), Fault> {
        let f = self.fids.get(fid)?;
        // A greeting says who writes and not what: it stands in no line, so that whoever
        // waits for its answer does not wait for this file.
        let greets = op.is_some() && data.is_empty();
        let alone = f.waits.get(WRITES).is_none_or(|&first| first == super::index::NONE);
        if (greets || alone) && self.write(tree, tag, fid, offset, data, op)? != Reply::Later {
            return Ok(());
        }
        if self.waiting.bytes() + data.len() > self.limits.writes as usize {
            return Err(Errno::ENOBUFS.into());
        }
        self.block(tag, fid, offset, 0, Some(Box::new(Kept { data: data.to_vec(), op })))
    }

    fn write(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        offset: u64,
        data: &[u8],
        op: Option<OpId>,
    ) -> Result<Reply, Fault> {
        let f = self.fids.get(fid)?;
        let opened = match &mut f.state {
            State::Open(opened) if opened.flags.writes() => opened,
            _ => return Err(Fault::new(Errno::EBADF, "open the file for writing first")),
        };
        let reply = match op {
            None => tree.write(f.node, &mut opened.open, offset, data)?,
            Some(op) => tree.write_once(f.node, &mut opened.open, op, offset, data)?,
        };
        if let Reply::Done(n) = reply {
            let mut w = self.reply(ty::TWRITE, tag);
            w.u32(n.min(data.len()) as u32);
            w.finish();
        }
        Ok(reply)
    }

    /// Keeps a request until its node wakes, or those before it on its fid are done.
    fn block(
        &mut self,
        tag: u16,
        fid: u32,
        offset: u64,
        count: u32,
        write: Option<Box<Kept>>,
    ) -> Result<(), Fault> {
        if self.waiting.len() >= self.limits.blocked as usize {
            return Err(Errno::ENOBUFS.into());
        }
        let f = self.fids.get(fid)?;
        let waiter = Waiter { tag, fid, node: f.node, offset, count, write };
        self.waiting.add(&mut f.waits, waiter);
        Ok(())
    }

    /// Asks the first that was woken again. It keeps its place if it still has to wait.
    pub(super) fn retry(&mut self, tree: &mut T) {
        let Some((at, w)) = self.waiting.ready() else { return };
        let (tag, fid, offset, count, kept) = (w.tag, w.fid, w.offset, w.count, w.write.take());
        let reply = match &kept {
            None => self.read(tree, tag, fid, offset, count),
            Some(kept) => self.write(tree, tag, fid, offset, &kept.data, kept.op),
        };
        if let Some((_, w)) = self.waiting.ready() {
            w.write = kept;
        }
        match reply {
            Ok(Reply::Later) => self.waiting.park(at),
            Ok(Reply::Done(_)) => self.unblock(at),
            Err(fault) => {
                self.unblock(at);
                self.error(tag, &fault);
            }
        }
    }

    /// Forgets a request that waits.
    pub(super) fn unblock(&mut self, at: u32) {
        let Some(fid) = self.waiting.fid(at) else { return };
        if let Ok(f) = self.fids.get(fid) {
            self.waiting.remove(&mut f.waits, at);
        }
    }

    pub(super) fn readdir(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        cookie: u64,
        count: u32,
    ) -> Result<(), Fault> {
        let count = count.min(self.msize - READ_OVERHEAD) as usize;
        let f = self.fids.get(fid)?;
        let node = f.node;
        let Some(opened) = f.opened() else {
            return Err(Fault::new(Errno::EBADF, "open the directory before reading it"));
        };
        if !opened.dir {
            return Err(Errno::ENOTDIR.into());
        }
        let mut w = self.tx.frame(ty::TREADDIR + 1, tag);
        let count_at = w.len();
        w.u32(0);
        let data_at = w.len();
        let mut sink = Entries::new(w, data_at + count);
        tree.list(node, &mut opened.open, cookie, &mut sink)?;
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
}

/// Puts a stream's reader where a sequenced read wants it.
fn seek<T: Tree>(tree: &mut T, node: T::Node, open: &mut T::Open, to: u64) -> Result<(), Fault> {
    if to != seq::HERE {
        tree.seek(node, open, to)
    } else if tree.position(node, open).is_none() {
        Err(Fault::new(Errno::EINVAL, "not a stream: it has no positions"))
    } else {
        Ok(())
    }
}

/// What must be allowed for a file to be opened so.
pub(super) fn wanted(flags: OpenFlags) -> Result<Want, Fault> {
    if flags.has(3) {
        return Err(Fault::new(Errno::EINVAL, "open for reading, for writing or for both"));
    }
    let read = if flags.reads() { Want::READ } else { Want(0) };
    let writes = flags.writes() || flags.has(OpenFlags::TRUNC);
    Ok(read.and(if writes { Want::WRITE } else { Want(0) }))
}
