//! Opening, reading and writing.

use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, Tmsg};

use super::{Fs, Open};
use crate::mount::file::File;
use crate::mount::fuse::{Reply, abi};
use crate::mount::job::Job;
use crate::mount::link::Fail;

impl Fs {
    pub(super) async fn open(
        &self,
        job: &Job,
        unique: u64,
        node: u64,
        flags: u32,
    ) -> Result<Reply, Fail> {
        let node = self.nodes.get(node)?;
        let file = File::open(&self.link, &self.nodes, job, &node, flags).await?;
        let how = if file.direct { abi::FOPEN_DIRECT_IO } else { 0 };
        Ok(Reply::ok(unique).open(self.handle(Open::Theirs(file)), how))
    }

    pub(super) async fn read(
        &self,
        job: &Job,
        unique: u64,
        fh: u64,
        offset: u64,
        size: u32,
    ) -> Result<Reply, Fail> {
        let open = self.open_file(fh)?;
        let Open::Theirs(file) = &*open else { return Err(Errno::EBADF.into()) };
        let data = file.read(&self.link, job, offset, size).await?;
        Ok(Reply::data(unique, &data))
    }

    pub(super) async fn write(
        &self,
        job: &Job,
        unique: u64,
        fh: u64,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fail> {
        let open = self.open_file(fh)?;
        let Open::Theirs(file) = &*open else { return Err(Errno::EBADF.into()) };
        let n = file.write(&self.link, job, offset, data).await?;
        let mut reply = Reply::ok(unique);
        reply.u32(n);
        reply.u32(0);
        Ok(reply)
    }

    pub(super) async fn fsync(&self, job: &Job, unique: u64, fh: u64) -> Result<Reply, Fail> {
        let open = self.open_file(fh)?;
        let Open::Theirs(file) = &*open else { return Ok(Reply::ok(unique)) };
        let take = |r: &Rmsg<'_>| matches!(r, Rmsg::Fsync).then_some(());
        match self.ask(job, &Tmsg::Fsync { fid: file.fid.number }, take).await {
            // A tree that has nothing to make last has made it last.
            Err(Fail::Refused(f)) if f.errno == Errno::EOPNOTSUPP => {}
            done => done?,
        }
        Ok(Reply::ok(unique))
    }

    /// A descriptor is closed: its process's locks end. What was written is with the
    /// server already, and its errors were told.
    pub(super) async fn flush(
        &self,
        job: &Job,
        unique: u64,
        fh: u64,
        owner: u64,
    ) -> Result<Reply, Fail> {
        self.unlock_all(job, fh, owner, false).await;
        Ok(Reply::ok(unique))
    }

    pub(super) async fn release(
        &self,
        job: &Job,
        unique: u64,
        fh: u64,
        owner: u64,
        unlock: bool,
    ) -> Result<Reply, Fail> {
        if unlock {
            self.unlock_all(job, fh, owner, true).await;
        }
        self.files.borrow_mut().remove(&fh);
        Ok(Reply::ok(unique))
    }
}
