//! What stands between the kernel's 9P client and a server that may go away.
//!
//! The kernel cannot connect again. So it is connected to the helper, which says
//! 9P2000.L to it and hands every request to the [`Link`]'s keeper as it is: the
//! kernel's own fids, under the keeper's tags. To the kernel a server that restarts
//! is one that takes its time.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use atoll_9p::client::Tag;
use atoll_9p::fault::Errno;
use atoll_9p::msg::{self, Rmsg, Tmsg, ty};
use atoll_9p::types::{LockStatus, Qid, Stat, getattr, qid_type};
use atoll_9p::wire::{Front, MIN_MSIZE, NOFID, NOTAG, Writer, front};
use tokio::sync::Notify;

use super::link::{Fail, Link};
use crate::stream::Stream;

/// The largest message that the kernel's transports over sockets carry.
pub const MSIZE: u32 = 1 << 20;
/// Plan 9's `IOHDRSZ`: what surrounds the data of a read or write, and a little more.
const IOHDRSZ: u32 = 24;

/// One connection of the kernel's.
#[derive(Debug)]
pub struct Proxy {
    link: Rc<Link>,
    out: RefCell<Vec<u8>>,
    /// There is something to send.
    more: Notify,
    /// The keeper's tags of what is underway, by the kernel's.
    tags: RefCell<HashMap<u16, Tag>>,
    /// The kernel's open streams, and where the last read of each that got less than
    /// it asked for ended, and for how much it asked.
    streams: RefCell<HashMap<u32, (u64, u32)>>,
    msize: Cell<u32>,
}

impl Proxy {
    /// A proxy to where a link leads.
    pub fn new(link: Rc<Link>) -> Rc<Proxy> {
        let msize = Cell::new(MSIZE);
        Rc::new(Proxy {
            link,
            out: RefCell::default(),
            more: Notify::new(),
            tags: RefCell::default(),
            streams: RefCell::default(),
            msize,
        })
    }

    /// Serves the kernel until it closes its end.
    pub async fn serve(self: &Rc<Proxy>, stream: &Stream) -> io::Result<()> {
        let (mut got, mut buf) = (Vec::new(), vec![0; 256 << 10]);
        loop {
            let sending = !self.out.borrow().is_empty();
            let writable = async {
                match sending {
                    true => stream.writable().await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                r = stream.readable() => {
                    r?;
                    match stream.try_read(&mut buf)? {
                        Some(0) => return Ok(()),
                        Some(n) => got.extend_from_slice(buf.get(..n).unwrap_or_default()),
                        None => {}
                    }
                    self.take(&mut got)?;
                }
                r = writable => r?,
                () = self.more.notified() => {}
            }
            let mut out = self.out.borrow_mut();
            if !out.is_empty()
                && let Some(n) = stream.try_write(&out)?
            {
                out.drain(..n);
            }
        }
    }

    /// Takes whole requests off the front of what was received.
    fn take(self: &Rc<Proxy>, got: &mut Vec<u8>) -> io::Result<()> {
        let mut at = 0;
        loop {
            let rest = got.get(at..).unwrap_or_default();
            match front(rest, self.msize.get()) {
                Front::Frame(n) => match rest.get(..n) {
                    Some(frame) => {
                        self.request(frame);
                        at += n;
                    }
                    None => break,
                },
                Front::Unknown => break,
                Front::Bad(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        got.drain(..at);
        Ok(())
    }

    fn request(self: &Rc<Proxy>, frame: &[u8]) {
        let tag = msg::tag(frame);
        let m = match Tmsg::decode(frame) {
            Ok(m) => m,
            Err(bad) => return self.refuse(tag, Fail::Refused(bad.into())),
        };
        match m {
            Tmsg::Version { msize, version } => {
                let msize = msize.clamp(MIN_MSIZE, MSIZE);
                self.msize.set(msize);
                let version = if version.starts_with("9P2000.L") { "9P2000.L" } else { "unknown" };
                self.put(ty::TVERSION + 1, tag, |w| {
                    w.u32(msize);
                    w.str(version);
                });
            }
            Tmsg::Flush { oldtag } => {
                let old = self.tags.borrow().get(&oldtag).map_or(NOTAG, |t| t.0);
                let proxy = self.clone();
                // The keeper answers what was flushed before this, or never.
                let done = move |_: Tag, _: &Rmsg<'_>| {
                    proxy.tags.borrow_mut().remove(&oldtag);
                    proxy.put(ty::TFLUSH + 1, tag, |_| {});
                };
                if old == NOTAG || self.link.pass(&Tmsg::Flush { oldtag: old }, done).is_none() {
                    self.put(ty::TFLUSH + 1, tag, |_| {});
                }
            }
            // The rest of a reader's buffer: it gets what there is (docs/9p.md, "Order
            // and waiting"). The server cannot see that, as the keeper reads on by
            // position.
            Tmsg::Read { fid, offset, count } if self.fills_up(fid, offset, count) => {
                self.put(ty::TREAD + 1, tag, |w| w.u32(0));
            }
            mut m => {
                // One mount has one user, and the kernel does not say which.
                if let Tmsg::Attach { n_uname, .. } = &mut m
                    && *n_uname == NOFID
                {
                    *n_uname = rustix::process::geteuid().as_raw();
                }
                let about = match m {
                    Tmsg::Clunk { fid } | Tmsg::Remove { fid } => {
                        self.streams.borrow_mut().remove(&fid);
                        None
                    }
                    Tmsg::Lopen { fid, flags } if !flags.writes() => Some((fid, 0, 0)),
                    Tmsg::Read { fid, offset, count } => Some((fid, offset, count)),
                    _ => None,
                };
                let (proxy, asked, most) = (self.clone(), m.ty(), self.link.most_written());
                let done = move |_: Tag, r: &Rmsg<'_>| {
                    proxy.tags.borrow_mut().remove(&tag);
                    let stream = proxy.note(about, r);
                    let most = if stream { proxy.msize.get() - IOHDRSZ } else { most };
                    proxy.answer(asked, tag, r, (stream, most));
                };
                match self.link.pass(&m, done) {
                    Some(up) => drop(self.tags.borrow_mut().insert(tag, up)),
                    None => self.refuse(tag, Errno::ENOBUFS.into()),
                }
            }
        }
    }

    /// Takes note of what was opened, and how much of a stream was read. Says whether
    /// a stream was opened to be read.
    fn note(&self, about: Option<(u32, u64, u32)>, r: &Rmsg<'_>) -> bool {
        let Some((fid, offset, count)) = about else { return false };
        let mut streams = self.streams.borrow_mut();
        match r {
            Rmsg::Lopen { qid, .. } if qid.ty & qid_type::APPEND != 0 => {
                streams.insert(fid, (0, 0));
                return true;
            }
            Rmsg::Read { data, .. } if !data.is_empty() => {
                if let Some(short) = streams.get_mut(&fid) {
                    *short = (offset.saturating_add(data.len() as u64), count);
                }
            }
            _ => {}
        }
        false
    }

    /// Whether a read of a stream asks for the rest of a buffer that holds something
    /// already, as the kernel's client does until it is full or nothing comes.
    fn fills_up(&self, fid: u32, offset: u64, count: u32) -> bool {
        let mut streams = self.streams.borrow_mut();
        let Some(short) = streams.get_mut(&fid) else { return false };
        let (end, asked) = std::mem::take(short);
        end == offset && count < asked
    }

    fn refuse(&self, tag: u16, fail: Fail) {
        self.put(ty::RLERROR, tag, |w| w.u32(fail.fault().errno.0));
    }

    fn put(&self, ty: u8, tag: u16, body: impl FnOnce(&mut Writer<'_>)) {
        let mut out = self.out.borrow_mut();
        let mut w = Writer::new(&mut out, ty, tag);
        body(&mut w);
        w.finish();
        self.more.notify_one();
    }

    /// An answer as the kernel has it: without what only our dialect adds.
    /// How much the kernel may ask for at once is said for each file that it opens:
    /// what it sends must fit into the server's messages, but a reader of a stream may
    /// ask for more than they hold, so that the rest of its buffer is asked for as such.
    fn answer(&self, asked: u8, tag: u16, r: &Rmsg<'_>, (stream, most): (bool, u32)) {
        if let Rmsg::Lerror { errno, .. } = r {
            return self.put(ty::RLERROR, tag, |w| w.u32(*errno));
        }
        self.put(asked + 1, tag, |w| match *r {
            Rmsg::Attach { qid }
            | Rmsg::Auth { qid }
            | Rmsg::Symlink { qid }
            | Rmsg::Mknod { qid }
            | Rmsg::Mkdir { qid } => put_qid(w, qid),
            Rmsg::Walk { count, last } => {
                w.u16(count);
                // The kernel looks at the last one only.
                (0..count).for_each(|_| put_qid(w, last.unwrap_or_default()));
            }
            Rmsg::Lopen { qid, iounit } | Rmsg::Lcreate { qid, iounit } => {
                put_qid(w, qid);
                w.u32(if stream || iounit == 0 { most } else { iounit.min(most) });
            }
            Rmsg::Read { data, .. } | Rmsg::Readdir { data } => w.data(data),
            Rmsg::Write { count } => w.u32(count),
            Rmsg::Readlink { target } => w.str(target),
            Rmsg::Getattr { stat } => put_stat(w, &stat),
            Rmsg::Xattrwalk { size } => w.u64(size),
            Rmsg::Lock { status } => w.u8(match status {
                LockStatus::Success => 0,
                LockStatus::Blocked => 1,
                LockStatus::Error => 2,
                LockStatus::Grace => 3,
            }),
            Rmsg::Getlock { lock } => {
                w.u8(lock.kind.to_wire());
                w.u64(lock.start);
                w.u64(lock.length);
                w.u32(lock.pid);
                w.str(lock.client);
            }
            Rmsg::Statfs { fs } => {
                w.u32(fs.ty);
                w.u32(fs.bsize);
                for v in [fs.blocks, fs.bfree, fs.bavail, fs.files, fs.ffree, fs.fsid] {
                    w.u64(v);
                }
                w.u32(fs.namelen);
            }
            // All others are answers without a body.
            _ => {}
        });
    }
}

fn put_qid(w: &mut Writer<'_>, qid: Qid) {
    w.u8(qid.ty);
    w.u32(qid.version);
    w.u64(qid.path);
}

/// The body of an Rgetattr.
fn put_stat(w: &mut Writer<'_>, s: &Stat) {
    w.u64(getattr::BASIC);
    put_qid(w, s.qid);
    w.u32(s.mode);
    w.u32(s.uid);
    w.u32(s.gid);
    for v in [s.nlink, s.rdev, s.size, 4096, s.blocks] {
        w.u64(v);
    }
    for time in [s.atime, s.mtime, s.ctime] {
        w.u64(time.sec);
        w.u64(time.nsec.into());
    }
    // btime, in seconds and nanoseconds; gen; data_version.
    (0..4).for_each(|_| w.u64(0));
}
