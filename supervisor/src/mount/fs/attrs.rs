//! Attributes, and what there is to know about the file system.

use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::types::{SetAttr, Stat, StatFs, Time, getattr, setattr};

use super::{Fs, Open};
use crate::mount::fuse::request::SetAttrIn;
use crate::mount::fuse::{Reply, abi};
use crate::mount::job::Job;
use crate::mount::link::Fail;
use crate::mount::node::stat_of;

impl Fs {
    async fn stat(&self, job: &Job, node: u64, fh: Option<u64>) -> Result<Stat, Fail> {
        // A handle finds a file that has lost its name.
        if let Some(fh) = fh
            && let Open::Theirs(file) = &*self.open_file(fh)?
        {
            let fid = file.fid.number;
            return self.ask(job, &Tmsg::Getattr { fid, mask: getattr::BASIC }, stat_of).await;
        }
        let node = self.nodes.get(node)?;
        let fid = self.nodes.fid(job, &node).await?;
        let ask = Tmsg::Getattr { fid: fid.number, mask: getattr::BASIC };
        let stat = self.ask(job, &ask, stat_of).await?;
        node.size.set(stat.size);
        Ok(stat)
    }

    pub(super) async fn getattr(
        &self,
        job: &Job,
        unique: u64,
        node: u64,
        fh: Option<u64>,
    ) -> Result<Reply, Fail> {
        Ok(Reply::attr_out(unique, &self.stat(job, node, fh).await?))
    }

    pub(super) async fn setattr(
        &self,
        job: &Job,
        unique: u64,
        node: u64,
        set: &SetAttrIn,
    ) -> Result<Reply, Fail> {
        let fh = (set.valid & abi::fattr::FH != 0).then_some(set.fh);
        let new = wanted(set);
        let done = |r: &Rmsg<'_>| matches!(r, Rmsg::Setattr).then_some(());
        let set = new;
        match fh.map(|fh| self.open_file(fh)).transpose()?.as_deref() {
            Some(Open::Theirs(file)) => {
                let fid = file.fid.number;
                self.ask(job, &Tmsg::Setattr { fid, set }, done).await?;
            }
            Some(Open::Own(_)) => return Err(Errno::EROFS.into()),
            None => {
                let fid = self.nodes.fid(job, &self.nodes.get(node)?).await?;
                self.ask(job, &Tmsg::Setattr { fid: fid.number, set }, done).await?;
            }
        }
        self.getattr(job, unique, node, fh).await
    }

    /// What the mode lets the owner do: the server knows who we are, and has the last
    /// word when the file is opened.
    pub(super) async fn access(
        &self,
        job: &Job,
        unique: u64,
        node: u64,
        mask: u32,
    ) -> Result<Reply, Fail> {
        let stat = self.stat(job, node, None).await?;
        let any = stat.mode | stat.mode >> 3 | stat.mode >> 6;
        match any & mask & 7 == mask & 7 {
            true => Ok(Reply::ok(unique)),
            false => Err(Errno::EACCES.into()),
        }
    }

    pub(super) async fn statfs(&self, job: &Job, unique: u64, node: u64) -> Result<Reply, Fail> {
        let node = self.nodes.get(node).or_else(|_| self.nodes.get(abi::ROOT))?;
        let fid = self.nodes.fid(job, &node).await?;
        let take = |r: &Rmsg<'_>| match r {
            Rmsg::Statfs { fs } => Some(*fs),
            _ => None,
        };
        let fs = match self.ask(job, &Tmsg::Statfs { fid: fid.number }, take).await {
            Err(Fail::Refused(f)) if f.errno == Errno::EOPNOTSUPP => StatFs::default(),
            fs => fs?,
        };
        Ok(Reply::statfs(unique, &fs))
    }
}

fn wanted(set: &SetAttrIn) -> SetAttr {
    use abi::fattr as f;
    let mut valid = 0;
    for (kernel, ours) in [
        (f::MODE, setattr::MODE),
        (f::UID, setattr::UID),
        (f::GID, setattr::GID),
        (f::SIZE, setattr::SIZE),
        (f::ATIME, setattr::ATIME | setattr::ATIME_SET),
        (f::MTIME, setattr::MTIME | setattr::MTIME_SET),
        (f::CTIME, setattr::CTIME),
    ] {
        if set.valid & kernel != 0 {
            valid |= ours;
        }
    }
    if set.valid & f::ATIME_NOW != 0 {
        valid &= !setattr::ATIME_SET;
    }
    if set.valid & f::MTIME_NOW != 0 {
        valid &= !setattr::MTIME_SET;
    }
    SetAttr {
        valid,
        mode: set.mode & 0o7777,
        uid: set.uid,
        gid: set.gid,
        size: set.size,
        atime: Time { sec: set.atime.0, nsec: set.atime.1 },
        mtime: Time { sec: set.mtime.0, nsec: set.mtime.1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_now_is_left_to_the_server() {
        use abi::fattr as f;
        let set = SetAttrIn { valid: f::MTIME | f::MTIME_NOW | f::ATIME, ..SetAttrIn::default() };
        let want = setattr::MTIME | setattr::ATIME | setattr::ATIME_SET;
        assert_eq!(wanted(&set).valid, want);
    }
}
