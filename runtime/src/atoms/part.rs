//! Operations on files that stay open, and on parts of files, as state machines that are
//! told each answer; whole files are `atoll_9p::ops`.

use alloc::string::String;
use alloc::vec::Vec;

use atoll_9p::client::{Client, Tag, fault};
use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::types::{OpenFlags, Stat, getattr};
use atoll_9p::wire::{READ_OVERHEAD, WRITE_OVERHEAD};

/// With [`OpenFlags`]: walk, and do not open (`O_PATH` of `asm-generic/fcntl.h`).
const PATH: u32 = 0o10_000_000;
/// Permissions of files that are made.
const MADE: u32 = 0o644;

/// A file that a component has open: its fid, and the connection in which that is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Held {
    pub(crate) fid: u32,
    pub(crate) era: u64,
}

/// What to do.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Walk, and open; from the root or from an open directory.
    Open {
        from: Option<Held>,
        flags: OpenFlags,
    },
    ReadAt {
        of: Held,
        from: u64,
        count: u32,
    },
    WriteAt {
        of: Held,
        from: u64,
        data: Vec<u8>,
    },
    StatOf {
        of: Held,
    },
    Close {
        of: Held,
    },
    /// The same by path.
    Read {
        from: u64,
        count: u32,
    },
    Write {
        from: u64,
        data: Vec<u8>,
    },
    Stat,
}

impl Job {
    /// The open file that it works on.
    pub(crate) fn held(&self) -> Option<Held> {
        match self {
            Job::Open { from, .. } => *from,
            Job::ReadAt { of, .. } | Job::WriteAt { of, .. } => Some(*of),
            Job::StatOf { of } | Job::Close { of } => Some(*of),
            Job::Read { .. } | Job::Write { .. } | Job::Stat => None,
        }
    }

    /// Whether it needs a fid of its own.
    pub(crate) fn walks(&self) -> bool {
        matches!(self, Job::Open { .. } | Job::Read { .. } | Job::Write { .. } | Job::Stat)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Walk,
    /// To the directory in which a file is to be made.
    WalkUp,
    Make,
    Open,
    Transfer,
    Stat,
    Clunk,
    Done,
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Part {
    job: Job,
    root: u32,
    path: String,
    fid: u32,
    names: usize,
    step: Step,
    tag: Tag,
    got: Vec<u8>,
    /// Bytes written.
    sent: usize,
    failed: Option<Fault>,
}

fn unasked() -> Fault {
    Fault::new(Errno::EPROTO, "the server's answer is of the wrong kind").blame(Blame::Host)
}

/// A path in its directory and its name.
fn split(path: &str) -> (&str, &str) {
    path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path))
}

impl Part {
    /// Starts: sends the first request. `fid` must be free, where one is needed.
    pub(crate) fn start(
        client: &mut Client,
        (root, fid): (u32, u32),
        path: &str,
        job: Job,
    ) -> Result<Part, Fault> {
        let mut part = Part {
            fid: job.held().filter(|_| !job.walks()).map_or(fid, |h| h.fid),
            root: job.held().map_or(root, |h| h.fid),
            path: path.into(),
            names: 0,
            step: match job {
                Job::StatOf { .. } => Step::Stat,
                Job::Close { .. } => Step::Clunk,
                _ if job.walks() => Step::Walk,
                _ => Step::Transfer,
            },
            job,
            tag: Tag(0),
            got: Vec::new(),
            sent: 0,
            failed: None,
        };
        if part.step == Step::Walk {
            (part.tag, part.names) = client.walk(part.root, part.fid, path)?;
        } else {
            let over = part.next(client);
            debug_assert!(over.is_none());
        }
        Ok(part)
    }

    pub(crate) fn tag(&self) -> Tag {
        self.tag
    }

    pub(crate) fn held(&self) -> usize {
        self.got.len()
    }

    /// The open file that it works on.
    pub(crate) fn works_on(&self) -> Option<Held> {
        self.job.held()
    }

    /// The fid that stays open after it.
    pub(crate) fn opened(&self) -> Option<u32> {
        matches!(self.job, Job::Open { .. }).then_some(self.fid)
    }

    /// Where it goes when the work on the file is done.
    fn end(&self) -> Step {
        let stays = !self.job.walks() || (self.opened().is_some() && self.failed.is_none());
        if stays { Step::Done } else { Step::Clunk }
    }

    /// Gives up; the result will be this fault.
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.got = Vec::new();
        self.failed.get_or_insert(fault);
        if matches!(self.step, Step::Open | Step::Transfer | Step::Stat) {
            self.step = self.end();
        }
    }

    /// Tells it the answer to [`Part::tag`].
    pub(crate) fn answer(&mut self, answer: &Rmsg<'_>) {
        match self.take(answer) {
            Ok(next) => self.step = next,
            Err(fault) => {
                let makes =
                    matches!(&self.job, Job::Open { flags, .. } if flags.has(OpenFlags::CREATE));
                let step = match self.step {
                    Step::Walk if makes && fault.errno == Errno::ENOENT => Step::WalkUp,
                    // A failed walk leaves no fid behind; all later steps do.
                    Step::Walk | Step::WalkUp => Step::Done,
                    _ => Step::Clunk,
                };
                if step != Step::WalkUp {
                    self.failed.get_or_insert(fault);
                }
                self.step = if step == Step::Clunk { self.end() } else { step };
            }
        }
    }

    fn take(&mut self, answer: &Rmsg<'_>) -> Result<Step, Fault> {
        let whole = |count: u16, names: usize| usize::from(count) == names;
        match (self.step, answer) {
            (Step::Clunk | Step::Done, _) => Ok(Step::Done),
            (_, Rmsg::Lerror { errno, text }) => Err(fault(*errno, *text)),
            (Step::WalkUp, Rmsg::Walk { count, .. }) if whole(*count, self.names) => Ok(Step::Make),
            (Step::Walk, Rmsg::Walk { count, .. }) if whole(*count, self.names) => {
                match &self.job {
                    Job::Open { flags, .. }
                        if flags.has(OpenFlags::CREATE) && flags.has(OpenFlags::EXCL) =>
                    {
                        self.failed = Some(Errno::EEXIST.into());
                        Ok(Step::Clunk)
                    }
                    Job::Open { flags, .. } if flags.has(PATH) => Ok(Step::Done),
                    Job::Stat => Ok(Step::Stat),
                    _ => Ok(Step::Open),
                }
            }
            (Step::Walk | Step::WalkUp, Rmsg::Walk { .. }) => Err(Errno::ENOENT.into()),
            (Step::Make, Rmsg::Lcreate { .. }) => Ok(Step::Done),
            (Step::Open, Rmsg::Lopen { .. }) => {
                Ok(if self.opened().is_some() { Step::Done } else { Step::Transfer })
            }
            (Step::Transfer, Rmsg::Read { data, .. }) => self.read(data),
            (Step::Transfer, Rmsg::Write { count }) => self.written(*count as usize),
            (Step::Stat, Rmsg::Getattr { stat, .. }) => {
                self.got = bytes(stat);
                Ok(self.end())
            }
            _ => Err(unasked()),
        }
    }

    fn read(&mut self, data: &[u8]) -> Result<Step, Fault> {
        let (Job::Read { count, .. } | Job::ReadAt { count, .. }) = self.job else {
            return Err(unasked());
        };
        if self.got.len() + data.len() > count as usize {
            return Err(unasked());
        }
        self.got.extend_from_slice(data);
        let more = self.job.walks() && !data.is_empty() && self.got.len() < count as usize;
        Ok(if more { Step::Transfer } else { self.end() })
    }

    fn written(&mut self, n: usize) -> Result<Step, Fault> {
        let (Job::Write { data, .. } | Job::WriteAt { data, .. }) = &self.job else {
            return Err(unasked());
        };
        let rest = data.len().saturating_sub(self.sent);
        if n > rest {
            return Err(unasked());
        }
        self.sent += n;
        if !self.job.walks() {
            self.got = (n as u32).to_le_bytes().to_vec();
            return Ok(Step::Done);
        }
        match n {
            0 if rest > 0 => Err(Fault::new(Errno::ENOSPC, "not all of it was taken")),
            n if n < rest => Ok(Step::Transfer),
            _ => Ok(self.end()),
        }
    }

    /// Sends the next request, or gives the result when it is done.
    pub(crate) fn next(&mut self, client: &mut Client) -> Option<Result<Vec<u8>, Fault>> {
        let fid = self.fid;
        let most = client.msize() - READ_OVERHEAD;
        let request = match (self.step, &self.job) {
            (Step::Walk, _) => return None,
            (Step::WalkUp, _) => match client.walk(self.root, fid, split(&self.path).0) {
                Ok((tag, names)) => {
                    (self.tag, self.names) = (tag, names);
                    return None;
                }
                Err(fault) => return Some(Err(fault)),
            },
            (Step::Make, Job::Open { flags, .. }) => {
                let name = split(&self.path).1;
                let flags = flags.without(OpenFlags::CREATE | OpenFlags::EXCL);
                Tmsg::Lcreate { fid, name, flags, mode: MADE, gid: 0 }
            }
            (Step::Open, Job::Open { flags, .. }) => {
                Tmsg::Lopen { fid, flags: flags.without(OpenFlags::CREATE | OpenFlags::EXCL) }
            }
            (Step::Open, Job::Write { .. }) => Tmsg::Lopen { fid, flags: OpenFlags::WRONLY },
            (Step::Make | Step::Open, _) => Tmsg::Lopen { fid, flags: OpenFlags::RDONLY },
            (Step::Transfer, Job::Read { from, count } | Job::ReadAt { from, count, .. }) => {
                let left = count.saturating_sub(self.got.len() as u32);
                let offset = from.saturating_add(self.got.len() as u64);
                Tmsg::Read { fid, offset, count: left.min(most) }
            }
            (Step::Transfer, Job::Write { from, data } | Job::WriteAt { from, data, .. }) => {
                let rest = data.get(self.sent..).unwrap_or_default();
                let n = rest.len().min((client.msize() - WRITE_OVERHEAD) as usize);
                let offset = from.saturating_add(self.sent as u64);
                Tmsg::Write { fid, offset, data: rest.get(..n).unwrap_or_default(), op: None }
            }
            (Step::Stat | Step::Transfer, _) => Tmsg::Getattr { fid, mask: getattr::BASIC },
            (Step::Clunk, _) => Tmsg::Clunk { fid },
            (Step::Done, _) => {
                return Some(match self.failed.take() {
                    None => Ok(core::mem::take(&mut self.got)),
                    Some(fault) => Err(fault),
                });
            }
        };
        self.tag = client.send(&request);
        None
    }
}

/// A stat as an atom gets it: 33 bytes.
fn bytes(s: &Stat) -> Vec<u8> {
    let mtime = s.mtime.sec.saturating_mul(1_000_000_000).saturating_add(s.mtime.nsec.into());
    let mut out = Vec::with_capacity(33);
    out.extend_from_slice(&s.size.to_le_bytes());
    out.extend_from_slice(&mtime.to_le_bytes());
    out.extend_from_slice(&s.mode.to_le_bytes());
    out.push(s.qid.ty);
    out.extend_from_slice(&s.qid.version.to_le_bytes());
    out.extend_from_slice(&s.qid.path.to_le_bytes());
    out
}
