//! The kernel's requests, done with 9P: each is a task that asks and waits.
//!
//! Nothing is good for any time here: the kernel asks for every name and attribute
//! anew, since other clients change the tree too. What is cached is the content of
//! plain files with a length, and only for as long as their times and lengths stay.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg};

use super::file::File;
use super::fuse::{Head, Reply, Request, abi};
use super::job::Job;
use super::link::{Fail, Link};
use super::node::Nodes;
use super::owners::Owners;

mod attrs;
mod dirs;
mod io;
mod locks;
mod names;
mod own;

/// A mounted tree.
#[derive(Debug)]
pub struct Fs {
    link: Rc<Link>,
    nodes: Nodes,
    files: RefCell<HashMap<u64, Rc<Open>>>,
    next_fh: Cell<u64>,
    jobs: RefCell<HashMap<u64, Rc<Job>>>,
    owners: Owners,
    /// What locks say whose they are.
    name: String,
    source: String,
}

/// What a handle of the kernel's stands for.
#[derive(Debug)]
enum Open {
    /// A file or directory of the server.
    Theirs(File),
    /// A text of the mount's own.
    Own(String),
}

/// What is done with a request.
#[derive(Debug)]
pub enum Done {
    /// This is the answer.
    Now(Vec<u8>),
    /// There is no answer to it.
    Nothing,
    /// It takes a while: to be given to [`Fs::work`], and then to [`Fs::finished`].
    Later(Rc<Job>),
}

/// What the kernel may be told that every server can do.
const WANTED: u64 = abi::init::ASYNC_READ
    | abi::init::POSIX_LOCKS
    | abi::init::FLOCK_LOCKS
    | abi::init::ATOMIC_O_TRUNC
    | abi::init::BIG_WRITES
    | abi::init::AUTO_INVAL_DATA
    | abi::init::DO_READDIRPLUS
    | abi::init::READDIRPLUS_AUTO
    | abi::init::PARALLEL_DIROPS
    | abi::init::MAX_PAGES
    | abi::init::INIT_EXT
    | abi::init::DIRECT_IO_ALLOW_MMAP;

impl Fs {
    /// A tree behind a link. `source` is where it is, for people.
    pub fn new(link: Rc<Link>, source: String) -> Fs {
        Fs {
            nodes: Nodes::new(link.clone()),
            link,
            files: RefCell::default(),
            next_fh: Cell::new(1),
            jobs: RefCell::default(),
            owners: Owners::default(),
            name: host(),
            source,
        }
    }

    /// The most bytes that the kernel is to write at once: what fits into one
    /// message, in whole pages.
    pub fn max_write(&self) -> u32 {
        (self.link.most_written() & !4095).clamp(4096, 1 << 20)
    }

    /// Begins a request.
    pub fn begin(&self, head: Head, request: &Request<'_>) -> Done {
        match request {
            Request::Init { major, minor, max_readahead, flags } => {
                Done::Now(self.init(head.unique, *major, *minor, *max_readahead, *flags).finish())
            }
            Request::Destroy => Done::Now(Reply::ok(head.unique).finish()),
            Request::Forget { lookups } => {
                self.nodes.forget(head.node, *lookups);
                Done::Nothing
            }
            Request::BatchForget(pairs) => {
                for (node, lookups) in pairs.iter() {
                    self.nodes.forget(node, lookups);
                }
                Done::Nothing
            }
            Request::Interrupt { unique } => {
                // One that was answered already needs no interrupt.
                if let Some(job) = self.jobs.borrow().get(unique) {
                    job.interrupt();
                }
                Done::Nothing
            }
            Request::Other(_) => Done::Now(Reply::error(head.unique, abi::ENOSYS).finish()),
            other => {
                let waits = matches!(
                    other,
                    Request::Read { .. }
                        | Request::Write { .. }
                        | Request::Open { .. }
                        | Request::Setlk { .. }
                );
                let job = Job::new(waits);
                self.jobs.borrow_mut().insert(head.unique, job.clone());
                Done::Later(job)
            }
        }
    }

    /// Does a request that takes a while.
    pub async fn work(&self, job: &Job, head: Head, request: &Request<'_>) -> Vec<u8> {
        match self.answer(job, head, request).await {
            Ok(reply) => reply.finish(),
            Err(fail) => {
                let fault = fail.fault();
                // Programs look for much that is not there.
                let probe = match request {
                    Request::Lookup { .. } => fault.errno == Errno::ENOENT,
                    Request::Getxattr { .. } => fault.errno == Errno::ENODATA,
                    _ => false,
                };
                if !probe {
                    self.link.note(verb(request), &fault);
                }
                Reply::error(head.unique, i32::try_from(fault.errno.0).unwrap_or(5)).finish()
            }
        }
    }

    /// The answer to a request was given.
    pub fn finished(&self, unique: u64) {
        self.jobs.borrow_mut().remove(&unique);
    }

    fn init(&self, unique: u64, major: u32, minor: u32, readahead: u32, flags: u64) -> Reply {
        if major < abi::MAJOR {
            return Reply::error(unique, 71); // EPROTO: a kernel from before 2.6.15
        }
        // A newer kernel asks again, in our version.
        let flags = if major > abi::MAJOR { 0 } else { flags & WANTED };
        Reply::init(unique, minor, readahead.min(1 << 20), flags, self.max_write())
    }

    async fn answer(&self, job: &Job, head: Head, request: &Request<'_>) -> Result<Reply, Fail> {
        let Head { unique, node, gid } = head;
        if own::is_own(node, request) {
            return self.own(unique, node, request);
        }
        if let Request::Getattr { fh } = request {
            return self.getattr(job, unique, node, *fh).await;
        }
        match request {
            Request::Lookup { name } => self.lookup(job, unique, node, name).await,
            Request::Setattr(set) => self.setattr(job, unique, node, set).await,
            Request::Readlink => self.readlink(job, unique, node).await,
            Request::Symlink { name, target } => {
                self.symlink(job, unique, node, gid, name, target).await
            }
            Request::Mknod { name, mode, rdev } => {
                self.mknod(job, unique, node, gid, name, (*mode, *rdev)).await
            }
            Request::Mkdir { name, mode } => self.mkdir(job, unique, node, gid, name, *mode).await,
            Request::Unlink { name } => self.remove(job, unique, node, name, false).await,
            Request::Rmdir { name } => self.remove(job, unique, node, name, true).await,
            Request::Rename { name, newdir, newname, flags } => {
                self.rename(job, unique, (node, name), (*newdir, newname), *flags).await
            }
            Request::Link { from, name } => self.link(job, unique, *from, node, name).await,
            Request::Open { flags } | Request::Opendir { flags } => {
                self.open(job, unique, node, *flags).await
            }
            Request::Create { name, flags, mode } => {
                self.create(job, unique, node, gid, name, (*flags, *mode)).await
            }
            Request::Read { fh, offset, size } => self.read(job, unique, *fh, *offset, *size).await,
            Request::Write { fh, offset, data } => {
                self.write(job, unique, *fh, *offset, data).await
            }
            Request::Statfs => self.statfs(job, unique, node).await,
            Request::Release { fh, owner, unlock } => {
                self.release(job, unique, *fh, *owner, *unlock).await
            }
            Request::Releasedir { fh } => self.release(job, unique, *fh, 0, false).await,
            Request::Fsync { fh } | Request::Fsyncdir { fh } => self.fsync(job, unique, *fh).await,
            Request::Flush { fh, owner } => self.flush(job, unique, *fh, *owner).await,
            Request::Getxattr { .. } => Err(Errno::ENODATA.into()),
            Request::Listxattr { size } => Ok(Reply::xattr(unique, *size, b"")),
            Request::Readdir { fh, offset, size, plus } => {
                self.readdir(job, unique, *fh, *offset, *size, *plus).await
            }
            Request::Getlk(lk) => self.getlk(job, unique, lk).await,
            Request::Setlk { lk, wait } => self.setlk(job, unique, lk, *wait).await,
            Request::Access { mask } => self.access(job, unique, node, *mask).await,
            _ => Ok(Reply::error(unique, abi::ENOSYS)),
        }
    }

    fn open_file(&self, fh: u64) -> Result<Rc<Open>, Fail> {
        self.files.borrow().get(&fh).cloned().ok_or_else(|| Errno::EBADF.into())
    }

    fn handle(&self, open: Open) -> u64 {
        let fh = self.next_fh.replace(self.next_fh.get() + 1);
        self.files.borrow_mut().insert(fh, Rc::new(open));
        fh
    }

    /// Asks, and waits for the answer.
    async fn ask<R: 'static>(
        &self,
        job: &Job,
        m: &Tmsg<'_>,
        take: impl FnOnce(&Rmsg<'_>) -> Option<R> + 'static,
    ) -> Result<R, Fail> {
        self.link.ask(m, take)?.answer(job).await
    }
}

/// This mount, as a holder of locks: the machine and the process.
fn host() -> String {
    let node = rustix::system::uname();
    format!("{}.{}", node.nodename().to_string_lossy(), std::process::id())
}

/// A name as 9P has it.
fn text(name: &[u8]) -> Result<&str, Fail> {
    std::str::from_utf8(name)
        .map_err(|_| Fault::new(Errno(84), "a name in 9P is UTF-8, and this is not").into())
}

/// What the last error was about.
fn verb(request: &Request<'_>) -> &'static str {
    match request {
        Request::Open { .. } | Request::Opendir { .. } => "open",
        Request::Create { .. } => "create",
        Request::Read { .. } | Request::Readlink => "read",
        Request::Write { .. } => "write",
        Request::Readdir { .. } => "list",
        Request::Setattr(_) => "set attributes",
        Request::Symlink { .. } | Request::Link { .. } => "link",
        Request::Mkdir { .. } | Request::Mknod { .. } => "make",
        Request::Unlink { .. } | Request::Rmdir { .. } => "remove",
        Request::Rename { .. } => "rename",
        Request::Setlk { .. } | Request::Getlk(_) => "lock",
        Request::Fsync { .. } | Request::Fsyncdir { .. } => "sync",
        _ => "look at",
    }
}
