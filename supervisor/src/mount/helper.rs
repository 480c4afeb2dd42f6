//! The helper: the process that stands behind a mount and answers the kernel.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::wire::NOFID;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_blocking, spawn_local};

use super::fs::{Done, Fs};
use super::fuse::{Request, device};
use super::job::Job;
use super::link::{Fail, Link, ROOT};
use super::proxy::Proxy;
use super::{Error, v9fs};
use crate::address::Address;
use crate::guard::Guard;
use crate::stream::{Stream, register};

/// What to mount.
#[derive(Debug)]
pub struct Options<'a> {
    /// Where the server is.
    pub address: &'a Address,
    /// The mount point.
    pub dir: &'a Path,
    /// How long operations wait for a server that is gone; nothing is for ever.
    pub wait: Option<Duration>,
    /// Whether other users may use the mount.
    pub others: bool,
    /// Whether nothing can be changed through it.
    pub read_only: bool,
}

/// What of the kernel a mount uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Its 9P client.
    Kernel,
    /// FUSE.
    Fuse,
}

/// Mounts, says so by `ready`, and serves until the mount is gone.
pub async fn serve(
    options: &Options<'_>,
    via: Via,
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let work = async {
        let link = Link::new(options.wait);
        let (tell, first) = oneshot::channel();
        let connection = spawn_local(link.clone().run(options.address.clone(), tell));
        let none = |why| Error::NoServer { address: options.address.clone(), why };
        first.await?.map_err(none)?;
        // It takes the mount away should this process be killed.
        let mut guard = Guard::start(&std::env::current_exe()?)?;
        guard.mount(options.dir)?;
        match via {
            Via::Fuse => serve_fuse(options, link, ready).await?,
            Via::Kernel => serve_kernel(options, link, ready).await?,
        }
        connection.abort();
        guard.bye();
        Ok(())
    };
    LocalSet::new().run_until(work).await
}

async fn serve_fuse(
    options: &Options<'_>,
    link: Rc<Link>,
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let none = |why: Fail| Error::NoServer {
        address: options.address.clone(),
        why: why.fault().to_string(),
    };
    let attach = Tmsg::Attach { fid: ROOT, afid: NOFID, uname: "atoll", aname: "", n_uname: uid() };
    let done = |r: &Rmsg<'_>| matches!(r, Rmsg::Attach { .. }).then_some(());
    let attached = link.ask(&attach, done).map_err(none)?;
    attached.answer(&Job::new(true)).await.map_err(none)?;
    let source = options.address.to_string();
    let how =
        device::Options { source: &source, others: options.others, read_only: options.read_only };
    let fd = device::attach(options.dir, &how)
        .map_err(|why| Error::Mount { dir: options.dir.to_owned(), why })?;
    let mount = Mounted { dir: options.dir };
    let fs = Rc::new(Fs::new(link, source));
    let device = Rc::new(register(fd, Interest::READABLE | Interest::ERROR)?);
    ready()?;
    let done = tokio::select! {
        done = requests(&fs, &device) => done,
        done = asked_to_end() => done,
    };
    drop(mount);
    Ok(done?)
}

async fn serve_kernel(
    options: &Options<'_>,
    link: Rc<Link>,
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let proxy = Proxy::new(link);
    let stream = Stream::try_from(ours)?;
    let (dir, source) = (options.dir.to_owned(), options.address.to_string());
    let (others, read_only) = (options.others, options.read_only);
    let attach = spawn_blocking(move || v9fs::attach(&theirs, &source, &dir, others, read_only));
    let mount = Mounted { dir: options.dir };
    let mounted = async {
        let failed = |why| Error::Mount { dir: options.dir.to_owned(), why };
        attach.await?.map_err(failed)?;
        ready()?;
        std::future::pending::<anyhow::Result<()>>().await
    };
    let done = tokio::select! {
        done = proxy.serve(&stream) => done.map_err(anyhow::Error::from),
        done = mounted => done,
        done = asked_to_end() => done.map_err(anyhow::Error::from),
    };
    drop(mount);
    done
}

/// Waits for a signal that asks this process to end.
async fn asked_to_end() -> io::Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = end.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// Takes a mount away when it is dropped, if it is there still.
struct Mounted<'a> {
    dir: &'a Path,
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if super::table::is_ours(self.dir) {
            let _ = device::detach(self.dir, true);
        }
    }
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Serves the kernel's requests until the mount is gone.
async fn requests(fs: &Rc<Fs>, device: &Rc<AsyncFd<OwnedFd>>) -> io::Result<()> {
    let mut buf = vec![0; fs.max_write() as usize + (64 << 10)];
    loop {
        // A connection that is gone shows as an error and not as something to read.
        let mut ready = device.ready(Interest::READABLE | Interest::ERROR).await?;
        let n = match rustix::io::read(device.get_ref(), &mut buf) {
            Ok(n) => n,
            Err(Errno::AGAIN) => {
                ready.clear_ready();
                continue;
            }
            // NOENT: whoever asked was killed before we read it.
            Err(Errno::INTR | Errno::NOENT) => continue,
            Err(Errno::NODEV) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        let bytes = buf.get(..n).unwrap_or_default();
        let Some((head, request)) = Request::decode(bytes) else { continue };
        match fs.begin(head, &request) {
            Done::Nothing => {}
            Done::Now(reply) => answer(device, &reply),
            Done::Later(job) => {
                let (fs, device, bytes) = (fs.clone(), device.clone(), bytes.to_vec());
                spawn_local(async move {
                    let Some((head, request)) = Request::decode(&bytes) else { return };
                    let reply = fs.work(&job, head, &request).await;
                    fs.finished(head.unique);
                    answer(&device, &reply);
                });
            }
        }
    }
}

/// Gives the kernel an answer. That somebody waits for it no more, or that the mount
/// is gone, is none of ours.
fn answer(device: &AsyncFd<OwnedFd>, reply: &[u8]) {
    let _ = rustix::io::write(device.get_ref(), reply);
}
