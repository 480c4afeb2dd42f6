//! Locks of `fcntl` and `flock`, which are the server's: so they hold between all
//! who use the tree, and not only on this machine.
//!
//! A server's locks belong to a process of a client. The kernel's belong to an
//! *owner*, which stands for a process's table of files, or for one open file; so an
//! owner gets a number here, and that is the process that the server is told.

use std::time::Duration;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::types::{Lock, LockKind, LockStatus};
use tokio::time::sleep;

use super::{Fs, Open};
use crate::mount::file::File;
use crate::mount::fuse::Reply;
use crate::mount::fuse::request::Lk;
use crate::mount::job::Job;
use crate::mount::link::Fail;

/// How long to wait before asking for a lock again that somebody else has.
const PAUSE: Duration = Duration::from_millis(100);

impl Fs {
    fn lock<'a>(&'a self, lk: &Lk, kind: LockKind) -> Lock<'a> {
        let length = match lk.end {
            // The kernel's largest offset stands for the end, however far that moves.
            end if end >= i64::MAX as u64 => 0,
            end => (end + 1).saturating_sub(lk.start),
        };
        Lock {
            kind,
            start: lk.start,
            length,
            pid: self.owners.number(lk.owner),
            client: &self.name,
        }
    }

    pub(super) async fn getlk(&self, job: &Job, unique: u64, lk: &Lk) -> Result<Reply, Fail> {
        let open = self.open_file(lk.fh)?;
        let Open::Theirs(file) = &*open else { return Err(Errno::EBADF.into()) };
        let lock = self.lock(lk, kind(lk.kind)?);
        let take = |r: &Rmsg<'_>| match r {
            Rmsg::Getlock { lock } => Some((lock.kind, lock.start, lock.length, lock.pid)),
            _ => None,
        };
        let ask = Tmsg::Getlock { fid: file.fid.number, lock };
        let (kind, start, length, pid) = self.ask(job, &ask, take).await?;
        let mut reply = Reply::ok(unique);
        reply.u64(start);
        reply.u64(if length == 0 { i64::MAX as u64 } else { start.saturating_add(length - 1) });
        reply.u32(kind.to_wire().into());
        reply.u32(pid);
        Ok(reply)
    }

    pub(super) async fn setlk(
        &self,
        job: &Job,
        unique: u64,
        lk: &Lk,
        wait: bool,
    ) -> Result<Reply, Fail> {
        let open = self.open_file(lk.fh)?;
        let Open::Theirs(file) = &*open else { return Err(Errno::EBADF.into()) };
        let lock = self.lock(lk, kind(lk.kind)?);
        loop {
            match self.ask_lock(job, file, lock).await? {
                LockStatus::Success => {
                    if lock.kind != LockKind::Unlock {
                        self.owners.holds(lk.fh, lk.owner, lk.flock);
                    }
                    return Ok(Reply::ok(unique));
                }
                LockStatus::Error => {
                    return Err(Fault::new(Errno(37), "the server refuses the lock").into());
                }
                LockStatus::Blocked if !wait => return Err(Errno::EAGAIN.into()),
                LockStatus::Blocked | LockStatus::Grace => {}
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = job.interrupted() => return Err(Fail::Interrupted),
            }
        }
    }

    async fn ask_lock(&self, job: &Job, file: &File, lock: Lock<'_>) -> Result<LockStatus, Fail> {
        let take = |r: &Rmsg<'_>| match r {
            Rmsg::Lock { status } => Some(*status),
            _ => None,
        };
        self.ask(job, &Tmsg::Lock { fid: file.fid.number, flags: 0, lock }, take).await
    }

    /// Ends all locks of an owner on a file. Should that fail, the server ends them
    /// when the file is clunked.
    pub(super) async fn unlock_all(&self, job: &Job, fh: u64, owner: u64, flock: bool) {
        if !self.owners.ends(fh, owner, flock) {
            return;
        }
        let Ok(open) = self.open_file(fh) else { return };
        let Open::Theirs(file) = &*open else { return };
        let pid = self.owners.number(owner);
        let lock = Lock { kind: LockKind::Unlock, start: 0, length: 0, pid, client: &self.name };
        let _ = self.ask_lock(job, file, lock).await;
    }
}

/// The kernel's `F_RDLCK`, `F_WRLCK` and `F_UNLCK` have the protocol's numbers.
fn kind(kind: u32) -> Result<LockKind, Fail> {
    let kind = u8::try_from(kind).ok().and_then(LockKind::from_wire);
    kind.ok_or_else(|| Errno::EINVAL.into())
}
