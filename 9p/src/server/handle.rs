//! From a frame to the function that handles it.

use super::fids::{Fid, Opened};
use super::{Session, release};
use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::msg::{self, Tmsg, put_qid, ty};
use crate::tree::{Tree, Who};
use crate::wire::{MIN_MSIZE, NOFID};

impl<T: Tree, const PLAIN: bool> Session<T, PLAIN> {
    /// Handles one whole frame.
    pub(super) fn request(&mut self, tree: &mut T, frame: &[u8]) {
        let tag = msg::tag(frame);
        let done = match Tmsg::decode_for::<PLAIN>(self.dialect, frame) {
            Ok(Tmsg::Version { msize, version }) => self.version(tree, tag, msize, version),
            Ok(_) if self.msize == 0 => {
                Err(Fault::new(Errno::EPROTO, "the first message must be Tversion"))
            }
            Ok(_) if self.waiting.tagged(tag).is_some() => {
                Err(Fault::new(Errno::EINVAL, "this tag has a request outstanding"))
            }
            Ok(m) => self.handle(tree, tag, m),
            Err(bad) => Err(bad.into()),
        };
        if let Err(fault) = done {
            self.error(tag, &fault);
        }
    }

    #[cold]
    fn version(&mut self, tree: &mut T, tag: u16, msize: u32, v: &str) -> Result<(), Fault> {
        if msize < MIN_MSIZE {
            let text = alloc::format!("msize {msize} is too small: at least {MIN_MSIZE}");
            return Err(Fault::new(Errno::EMSGSIZE, text));
        }
        self.reset(tree);
        let msize = msize.min(self.limits.msize);
        let dialect = Dialect::choose(v).filter(|d| PLAIN || d.is_linux());
        (self.msize, self.dialect) = match dialect {
            Some(dialect) => (msize, dialect),
            None => (0, Dialect::L),
        };
        self.numbers = Dialect::has_numbers(v);
        let mut w = self.reply(ty::TVERSION, tag);
        w.u32(msize);
        w.str(dialect.map_or("unknown", Dialect::name));
        w.finish();
        Ok(())
    }

    /// What is asked most comes first, and the rest is elsewhere.
    fn handle(&mut self, tree: &mut T, tag: u16, m: Tmsg<'_>) -> Result<(), Fault> {
        match m {
            Tmsg::Getattr { fid, .. } => self.getattr(tree, tag, fid),
            Tmsg::Walk { fid, newfid, names } => self.walk(tree, tag, fid, newfid, names),
            Tmsg::Clunk { fid } => self.clunk(tree, tag, fid),
            Tmsg::Read { fid, offset, count } => self.tread(tree, tag, fid, offset, count),
            Tmsg::Write { fid, offset, data, op } => self.twrite(tree, tag, fid, offset, data, op),
            Tmsg::Lopen { fid, flags } => self.lopen(tree, tag, fid, flags),
            Tmsg::Readdir { fid, offset, count } => self.readdir(tree, tag, fid, offset, count),
            Tmsg::Flush { oldtag } => self.flush(tag, oldtag),
            Tmsg::Attach { fid, afid, uname, aname, n_uname } => {
                self.attach(tree, tag, fid, afid, (uname, aname, n_uname))
            }
            other => self.rare(tree, tag, other),
        }
    }

    #[inline(never)]
    fn rare(&mut self, tree: &mut T, tag: u16, m: Tmsg<'_>) -> Result<(), Fault> {
        match m {
            // ENOENT tells a client that there is nothing to authenticate to;
            // diod's tools take any other number for a failure.
            Tmsg::Auth { .. } => Err(Fault::new(Errno::ENOENT, "no authentication is needed here")),
            Tmsg::Remove { fid } => self.remove(tree, tag, fid),
            Tmsg::Statfs { fid } => self.statfs(tree, tag, fid),
            Tmsg::Setattr { fid, set } => self.setattr(tree, tag, fid, &set),
            Tmsg::Fsync { fid } => self.fsync(tree, tag, fid),
            Tmsg::Readlink { fid } => self.readlink(tree, tag, fid),
            Tmsg::Xattrwalk { fid, newfid, name } => self.xattrwalk(tree, tag, fid, newfid, name),
            Tmsg::Xattrcreate { fid, .. } => {
                self.fids.get(fid)?;
                Err(Fault::new(Errno::EOPNOTSUPP, "files have no extended attributes here"))
            }
            Tmsg::Lock { fid, lock, .. } => self.lock(tree, tag, fid, &lock),
            Tmsg::Getlock { fid, lock } => self.getlock(tree, tag, fid, &lock),
            Tmsg::Lcreate { .. }
            | Tmsg::Symlink { .. }
            | Tmsg::Mknod { .. }
            | Tmsg::Mkdir { .. }
            | Tmsg::Link { .. }
            | Tmsg::Rename { .. }
            | Tmsg::Renameat { .. }
            | Tmsg::Unlinkat { .. } => self.change(tree, tag, m),
            _ if PLAIN => self.plain(tree, tag, m),
            _ => Err(Errno::EOPNOTSUPP.into()),
        }
    }

    fn attach(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        afid: u32,
        (uname, aname, n_uname): (&str, &str, u32),
    ) -> Result<(), Fault> {
        self.fids.vacant(fid, self.limits.fids)?;
        if afid != NOFID {
            return Err(Fault::new(Errno::EBADF, "there is no authentication here"));
        }
        let user = self.identity.user(n_uname);
        let node = tree.attach(&Who { uname, user, aname })?;
        let qid = tree.qid(node).inspect_err(|_| tree.forget(node))?;
        self.fids.insert(fid, Fid::new(node, qid.path, n_uname));
        let mut w = self.reply(ty::TATTACH, tag);
        put_qid(&mut w, qid);
        w.finish();
        Ok(())
    }

    fn flush(&mut self, tag: u16, oldtag: u16) -> Result<(), Fault> {
        if let Some(at) = self.waiting.tagged(oldtag) {
            self.unblock(at);
        }
        self.done(ty::TFLUSH, tag)
    }

    fn clunk(&mut self, tree: &mut T, tag: u16, fid: u32) -> Result<(), Fault> {
        if PLAIN && self.fids.get(fid)?.opened().is_some_and(Opened::is_removed_on_close) {
            return self.remove_on_close(tree, tag, fid);
        }
        self.drop_fid(tree, fid)?;
        self.done(ty::TCLUNK, tag)
    }

    /// Ends a fid, and before it what waits on it.
    pub(super) fn drop_fid(&mut self, tree: &mut T, fid: u32) -> Result<(), Fault> {
        let mut gone = self.fids.remove(fid).ok_or(Errno::EBADF)?;
        for line in 0..gone.waits.len() {
            while let Some(&first) = gone.waits.get(line)
                && let Some(w) = self.waiting.remove(&mut gone.waits, first)
            {
                self.error(w.tag, &Fault::new(Errno::EBADF, "the fid was clunked meanwhile"));
            }
        }
        release(tree, gone);
        Ok(())
    }
}
