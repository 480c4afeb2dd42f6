//! Names: finding, making, moving and removing them.

use std::rc::Rc;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::types::{OpenFlags, Qid, mode, unlink};

use super::{Fs, Open, own, text};
use crate::mount::file::{FLAGS, File};
use crate::mount::fuse::{Reply, abi};
use crate::mount::job::Job;
use crate::mount::link::{Fail, Fid};
use crate::mount::node::{Node, walk};

fn is_unknown(fail: &Fail) -> bool {
    matches!(fail, Fail::Refused(f) if f.errno == Errno::EOPNOTSUPP)
}

impl Fs {
    pub(super) async fn lookup(
        &self,
        job: &Job,
        unique: u64,
        dir: u64,
        name: &[u8],
    ) -> Result<Reply, Fail> {
        // What is no text is the name of nothing.
        let name = text(name).map_err(|_| Errno::ENOENT)?;
        let dir = self.nodes.get(dir)?;
        let (node, stat) = self.nodes.lookup(job, &dir, name).await?;
        Ok(Reply::entry(unique, node.id, &stat))
    }

    pub(super) async fn readlink(&self, job: &Job, unique: u64, node: u64) -> Result<Reply, Fail> {
        let node = self.nodes.get(node)?;
        let fid = self.nodes.fid(job, &node).await?;
        let take = |r: &Rmsg<'_>| match r {
            Rmsg::Readlink { target } => Some((*target).to_owned()),
            _ => None,
        };
        let target = self.ask(job, &Tmsg::Readlink { fid: fid.number }, take).await?;
        Ok(Reply::data(unique, target.as_bytes()))
    }

    /// Makes something by one request, and looks it up.
    async fn make<'a>(
        &self,
        job: &Job,
        unique: u64,
        dir: u64,
        name: &[u8],
        request: impl Fn(u32) -> Tmsg<'a>,
    ) -> Result<Reply, Fail> {
        if dir == abi::ROOT && name == own::NAME {
            return Err(Fault::new(Errno::EEXIST, "the mount itself has a /.atoll").into());
        }
        let parent = self.nodes.get(dir)?;
        let take = |r: &Rmsg<'_>| {
            let done = matches!(
                r,
                Rmsg::Mkdir { .. } | Rmsg::Symlink { .. } | Rmsg::Mknod { .. } | Rmsg::Link
            );
            done.then_some(())
        };
        let fid = self.nodes.fid(job, &parent).await?;
        self.ask(job, &request(fid.number), take).await?;
        self.lookup(job, unique, dir, name).await
    }

    pub(super) async fn symlink(
        &self,
        job: &Job,
        unique: u64,
        dir: u64,
        gid: u32,
        name: &[u8],
        target: &[u8],
    ) -> Result<Reply, Fail> {
        let (new, target) = (text(name)?, text(target)?);
        let request = |fid| Tmsg::Symlink { fid, name: new, target, gid };
        self.make(job, unique, dir, name, request).await
    }

    pub(super) async fn mkdir(
        &self,
        job: &Job,
        unique: u64,
        dir: u64,
        gid: u32,
        name: &[u8],
        mode: u32,
    ) -> Result<Reply, Fail> {
        let (new, mode) = (text(name)?, mode & mode::PERM);
        let request = |dfid| Tmsg::Mkdir { dfid, name: new, mode, gid };
        self.make(job, unique, dir, name, request).await
    }

    pub(super) async fn mknod(
        &self,
        job: &Job,
        unique: u64,
        dir: u64,
        gid: u32,
        name: &[u8],
        (mode, rdev): (u32, u32),
    ) -> Result<Reply, Fail> {
        // The kernel's packing: 12 bits of major, 20 of minor, in two pieces.
        let (major, minor) = (rdev >> 8 & 0xfff, rdev & 0xff | rdev >> 12 & 0xfff00);
        let new = text(name)?;
        let request = |dfid| Tmsg::Mknod { dfid, name: new, mode, major, minor, gid };
        self.make(job, unique, dir, name, request).await
    }

    pub(super) async fn link(
        &self,
        job: &Job,
        unique: u64,
        from: u64,
        dir: u64,
        name: &[u8],
    ) -> Result<Reply, Fail> {
        let (file, parent, new) = (self.nodes.get(from)?, self.nodes.get(dir)?, text(name)?);
        let dfid = self.nodes.fid(job, &parent).await?;
        let fid = self.nodes.fid(job, &file).await?;
        let take = |r: &Rmsg<'_>| matches!(r, Rmsg::Link).then_some(());
        let ask = Tmsg::Link { dfid: dfid.number, fid: fid.number, name: new };
        self.ask(job, &ask, take).await?;
        self.lookup(job, unique, dir, name).await
    }

    pub(super) async fn create(
        &self,
        job: &Job,
        unique: u64,
        dir: u64,
        gid: u32,
        name: &[u8],
        (flags, mode): (u32, u32),
    ) -> Result<Reply, Fail> {
        if dir == abi::ROOT && name == own::NAME {
            return Err(Fault::new(Errno::EEXIST, "the mount itself has a /.atoll").into());
        }
        let parent = self.nodes.get(dir)?;
        let new = text(name)?;
        let (fid, qid) = match self.try_create(job, &parent, gid, new, flags, mode).await {
            Err(Fail::Refused(f)) if f.errno == Errno::EEXIST && flags & OpenFlags::EXCL == 0 => {
                // Somebody was faster, and that is as good.
                let (node, stat) = self.nodes.lookup(job, &parent, new).await?;
                let file = File::open(&self.link, &self.nodes, job, &node, flags).await?;
                let how = if file.direct { abi::FOPEN_DIRECT_IO } else { 0 };
                let fh = self.handle(Open::Theirs(file));
                return Ok(Reply::entry(unique, node.id, &stat).open(fh, how));
            }
            done => done?,
        };
        let (node, stat) = self.nodes.lookup(job, &parent, new).await?;
        let file = File::created(&node, qid, fid);
        let how = if file.direct { abi::FOPEN_DIRECT_IO } else { 0 };
        Ok(Reply::entry(unique, node.id, &stat).open(self.handle(Open::Theirs(file)), how))
    }

    async fn try_create(
        &self,
        job: &Job,
        parent: &Rc<Node>,
        gid: u32,
        name: &str,
        flags: u32,
        mode: u32,
    ) -> Result<(Fid, Qid), Fail> {
        let dir = self.nodes.fid(job, parent).await?;
        let fid = self.link.fid();
        let to = fid.number;
        let walk = walk(&self.link, dir.number, to, "")?;
        let flags = OpenFlags(flags & (FLAGS | OpenFlags::CREATE | OpenFlags::EXCL));
        let ask = Tmsg::Lcreate { fid: to, name, flags, mode: mode & mode::PERM, gid };
        let take = |r: &Rmsg<'_>| match r {
            Rmsg::Lcreate { qid, .. } => Some(*qid),
            _ => None,
        };
        let create = self.link.ask(&ask, take)?;
        walk.answer(job).await??;
        Ok((fid, create.answer(job).await?))
    }

    pub(super) async fn remove(
        &self,
        job: &Job,
        unique: u64,
        dir: u64,
        name: &[u8],
        is_dir: bool,
    ) -> Result<Reply, Fail> {
        if dir == abi::ROOT && name == own::NAME {
            return Err(Errno::EROFS.into());
        }
        let (parent, name) = (self.nodes.get(dir)?, text(name)?);
        let flags = if is_dir { unlink::DIR } else { 0 };
        let dir = self.nodes.fid(job, &parent).await?;
        let ask = Tmsg::Unlinkat { dirfd: dir.number, name, flags };
        let take = |r: &Rmsg<'_>| matches!(r, Rmsg::Unlinkat).then_some(());
        match self.ask(job, &ask, take).await {
            Err(fail) if is_unknown(&fail) => self.remove_by_fid(job, &parent, name).await?,
            done => done?,
        }
        Ok(Reply::ok(unique))
    }

    /// For servers that know no Tunlinkat.
    async fn remove_by_fid(&self, job: &Job, parent: &Rc<Node>, name: &str) -> Result<(), Fail> {
        let dir = self.nodes.fid(job, parent).await?;
        let fid = self.link.fid();
        walk(&self.link, dir.number, fid.number, name)?.answer(job).await??;
        let take = |r: &Rmsg<'_>| matches!(r, Rmsg::Remove).then_some(());
        self.ask(job, &Tmsg::Remove { fid: fid.number }, take).await
    }

    pub(super) async fn rename(
        &self,
        job: &Job,
        unique: u64,
        (dir, name): (u64, &[u8]),
        (newdir, newname): (u64, &[u8]),
        flags: u32,
    ) -> Result<Reply, Fail> {
        if flags != 0 {
            // As v9fs: callers then try without.
            return Err(Fault::new(Errno::EINVAL, "9P has no renames with flags").into());
        }
        let own = |dir, name: &[u8]| dir == abi::ROOT && name == own::NAME;
        if own(dir, name) || own(newdir, newname) {
            return Err(Errno::EROFS.into());
        }
        let (from, to) = (self.nodes.get(dir)?, self.nodes.get(newdir)?);
        let (name, newname) = (text(name)?, text(newname)?);
        let (a, b) = (self.nodes.fid(job, &from).await?, self.nodes.fid(job, &to).await?);
        let (olddirfid, newdirfid) = (a.number, b.number);
        let ask = Tmsg::Renameat { olddirfid, oldname: name, newdirfid, newname };
        let take = |r: &Rmsg<'_>| matches!(r, Rmsg::Renameat).then_some(());
        match self.ask(job, &ask, take).await {
            Err(fail) if is_unknown(&fail) => {
                let fid = self.link.fid();
                walk(&self.link, a.number, fid.number, name)?.answer(job).await??;
                let ask = Tmsg::Rename { fid: fid.number, dfid: b.number, name: newname };
                let take = |r: &Rmsg<'_>| matches!(r, Rmsg::Rename).then_some(());
                self.ask(job, &ask, take).await?;
            }
            done => done?,
        }
        self.nodes.moved(dir, name, &to, newname);
        Ok(Reply::ok(unique))
    }
}
