//! Operations on files that stay open, and on parts of files, as state machines that are
//! told each answer; whole files are `atoll_9p::ops`.

use alloc::string::String;
use alloc::vec::Vec;

use atoll_9p::client::{Client, Tag, fault};
use atoll_9p::dialect::Dialect;
use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::types::{OpenFlags, Qid, Stat, getattr, qid_type, seq};
use atoll_9p::wire::{READ_OVERHEAD, WRITE_OVERHEAD};

use super::held::{At, Held, Place, cloned, same, stale};

/// With [`OpenFlags`]: walk, and do not open (`O_PATH` of `asm-generic/fcntl.h`).
const PATH: u32 = 0o10_000_000;
/// What is done only when a file is opened for the first time.
pub(crate) const ONCE: u32 = OpenFlags::CREATE | OpenFlags::EXCL | OpenFlags::TRUNC;
/// Permissions of files that are made.
const MADE: u32 = 0o644;
/// The most bytes that a file's number may take.
const NUMBER: u32 = 32;
/// Bytes that a sequenced read has behind its data.
const NEXT: u32 = 8;
/// Names of one walk.
const NAMES: usize = 16;

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
    /// Walk and open what was open on another connection.
    Find {
        of: Held,
        place: Place,
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
            Job::StatOf { of } => Some(*of),
            Job::Find { .. } | Job::Read { .. } | Job::Write { .. } | Job::Stat => None,
        }
    }

    /// Whether it needs a fid of its own.
    pub(crate) fn walks(&self) -> bool {
        !matches!(self, Job::ReadAt { .. } | Job::WriteAt { .. } | Job::StatOf { .. })
    }

    /// How a file that stays open after it is opened.
    fn opens(&self) -> Option<OpenFlags> {
        match self {
            Job::Open { flags, .. } => Some(*flags),
            Job::Find { place, .. } => Some(place.flags),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Walk,
    /// To the directory in which a file is to be made.
    WalkUp,
    Make,
    Open,
    /// What the file says that a clone file led to.
    Number,
    /// Where the reader of a stream stands, or is to stand.
    Seek,
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
    /// Bytes of the path that were walked, where that takes several steps.
    walked: usize,
    step: Step,
    tag: Tag,
    /// Of what it has walked to, and opened.
    qid: Option<Qid>,
    /// The file that it has opened cannot be found again.
    opaque: bool,
    /// Reads go on where the last one ended.
    stream: bool,
    /// Where the next one begins.
    next: Option<u64>,
    orphan: bool,
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

/// The first names of a path, as many as one walk may have, and how long they are with what
/// parts them from the rest.
fn names(path: &str) -> (&str, usize) {
    let end = path.match_indices('/').nth(NAMES - 1).map_or(path.len(), |(at, _)| at);
    let first = path.get(..end).unwrap_or_default();
    (first, (end + 1).min(path.len()))
}

impl Part {
    /// Starts: sends the first request. `fid` must be free, where one is needed, and `at` is
    /// the open file that it works on.
    pub(crate) fn start(
        client: &mut Client,
        (root, fid): (u32, u32),
        at: Option<At>,
        path: &str,
        job: Job,
    ) -> Result<Part, Fault> {
        let mut part = Part {
            fid: at.filter(|_| !job.walks()).map_or(fid, |at| at.fid),
            root: at.map_or(root, |at| at.fid),
            path: path.into(),
            names: 0,
            walked: 0,
            step: match job {
                Job::StatOf { .. } => Step::Stat,
                _ if job.walks() => Step::Walk,
                _ => Step::Transfer,
            },
            qid: None,
            opaque: false,
            stream: at.is_some_and(|at| at.stream),
            next: None,
            orphan: false,
            job,
            tag: Tag(0),
            got: Vec::new(),
            sent: 0,
            failed: None,
        };
        if matches!(part.job, Job::Find { .. }) {
            let (first, n) = names(path);
            part.walked = n;
            (part.tag, part.names) = client.walk(root, fid, first)?;
        } else if part.step == Step::Walk {
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
        self.job.held().filter(|_| !self.orphan)
    }

    /// The guest that it was for is no more, and another one has that one's connection.
    pub(crate) fn is_nobodys(&mut self) {
        self.orphan = true;
    }

    /// The fid that stays open after it.
    pub(crate) fn opened(&self) -> Option<u32> {
        self.job.opens().map(|_| self.fid)
    }

    /// Where that lies, if it is a new one, below the directory that it began at.
    pub(crate) fn place(&self, from: Option<&Place>) -> Option<Place> {
        let Job::Open { flags, from: dir } = &self.job else { return None };
        let path = match (dir, from.map(|p| p.path.as_deref())) {
            (None, _) => Some(self.path.clone()),
            (Some(_), Some(Some(above))) => {
                let names = self.path.split('/').filter(|n| !matches!(*n, "" | "."));
                Some(names.fold(above.into(), |path, name| alloc::format!("{path}/{name}")))
            }
            (Some(_), _) => None,
        };
        let above = from.and_then(|p| p.qid);
        let path = path.filter(|_| !self.opaque).and_then(|p| match self.got.as_slice() {
            [] => Some(p),
            number => cloned(&p, number),
        });
        let qid = self.qid.map(same).or(above);
        Some(Place { path, flags: flags.without(ONCE), qid, next: self.next })
    }

    /// Where a stream goes on after it.
    pub(crate) fn read_to(&self) -> Option<(Held, u64)> {
        match self.job {
            Job::ReadAt { of, .. } if !self.orphan => Some((of, self.next?)),
            _ => None,
        }
    }

    /// The file that it finds.
    pub(crate) fn finds(&self) -> Option<Held> {
        match self.job {
            Job::Find { of, .. } if !self.orphan => Some(of),
            _ => None,
        }
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
                let finds = self.finds().is_some();
                let fault = if finds { Self::unfound(fault) } else { fault };
                let step = match self.step {
                    Step::Walk if makes && fault.errno == Errno::ENOENT => Step::WalkUp,
                    // A failed walk leaves no fid behind; all later steps do.
                    Step::Walk | Step::WalkUp if self.walked <= names(&self.path).1 => Step::Done,
                    // It is open all the same.
                    Step::Number => {
                        self.opaque = true;
                        return self.step = Step::Done;
                    }
                    Step::Seek if !finds => return self.step = Step::Done,
                    _ => Step::Clunk,
                };
                if step != Step::WalkUp {
                    self.failed.get_or_insert(fault);
                }
                self.step = if step == Step::Clunk { self.end() } else { step };
            }
        }
    }

    /// Why a file that was open is not what it was.
    fn unfound(why: Fault) -> Fault {
        match why.errno {
            Errno::ESTALE => why,
            Errno::ENOENT => stale("on another connection it is not there any more"),
            _ => stale(alloc::format!("on another connection it cannot be opened: {why}")),
        }
    }

    /// It has walked to all of its path.
    fn is_there(&mut self, last: Option<Qid>) -> Result<Step, Fault> {
        self.qid = last;
        match &self.job {
            Job::Find { place: Place { qid: Some(was), .. }, .. }
                if last.is_some_and(|now| same(now) != *was) =>
            {
                self.failed = Some(stale("on another connection another file is in its place"));
                Ok(Step::Clunk)
            }
            Job::Open { flags, .. }
                if flags.has(OpenFlags::CREATE) && flags.has(OpenFlags::EXCL) =>
            {
                self.failed = Some(Errno::EEXIST.into());
                Ok(Step::Clunk)
            }
            job if job.opens().is_some_and(|flags| flags.has(PATH)) => Ok(Step::Done),
            Job::Stat => Ok(Step::Stat),
            _ => Ok(Step::Open),
        }
    }

    /// A file was opened.
    fn is_open(&mut self, qid: Qid) -> Result<Step, Fault> {
        let Some(flags) = self.job.opens() else { return Ok(Step::Transfer) };
        let other = self.qid.replace(qid).is_some_and(|walked| walked.path != qid.path);
        let stream = qid.ty & qid_type::APPEND != 0 && flags.reads();
        match &self.job {
            Job::Find { .. } if other => {
                Err(stale("on another connection it opens as another file"))
            }
            Job::Find { place, .. } if place.next.is_none() => Ok(Step::Done),
            Job::Open { .. } if other => {
                self.opaque = !flags.reads();
                Ok(if self.opaque { Step::Done } else { Step::Number })
            }
            Job::Open { .. } if !stream => Ok(Step::Done),
            _ => Ok(Step::Seek),
        }
    }

    fn take(&mut self, answer: &Rmsg<'_>) -> Result<Step, Fault> {
        let whole = |count: u16, names: usize| usize::from(count) == names;
        match (self.step, answer) {
            (Step::Clunk | Step::Done, _) => Ok(Step::Done),
            (_, Rmsg::Lerror { errno, text }) => Err(fault(*errno, *text)),
            (Step::WalkUp, Rmsg::Walk { count, .. }) if whole(*count, self.names) => Ok(Step::Make),
            (Step::Walk, Rmsg::Walk { count, .. })
                if whole(*count, self.names) && self.is_on_its_way() =>
            {
                Ok(Step::Walk)
            }
            (Step::Walk, Rmsg::Walk { count, last }) if whole(*count, self.names) => {
                self.is_there(*last)
            }
            (Step::Walk | Step::WalkUp, Rmsg::Walk { .. }) => Err(Errno::ENOENT.into()),
            (Step::Make, Rmsg::Lcreate { qid, .. }) => {
                self.qid = Some(*qid);
                Ok(Step::Done)
            }
            (Step::Open, Rmsg::Lopen { qid, .. }) => self.is_open(*qid),
            (Step::Number, Rmsg::Read { data, .. }) => {
                self.got = data.to_vec();
                self.opaque = data.is_empty() || data.len() > NUMBER as usize;
                Ok(Step::Done)
            }
            (Step::Seek, Rmsg::Read { next, .. }) => {
                self.next = *next;
                Ok(Step::Done)
            }
            (Step::Transfer, Rmsg::Read { data, next }) => {
                self.next = *next;
                self.read(data)
            }
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

    /// More of its path is to be walked.
    fn is_on_its_way(&self) -> bool {
        matches!(self.job, Job::Find { .. }) && self.walked < self.path.len()
    }

    /// Sends the next request, or gives the result when it is done.
    pub(crate) fn next(&mut self, client: &mut Client) -> Option<Result<Vec<u8>, Fault>> {
        let fid = self.fid;
        let most = client.msize() - READ_OVERHEAD;
        // A server that knows no positions has files, and what is one it does not say.
        let knows = client.dialect() == Some(Dialect::Atoll);
        if self.step == Step::Seek && !knows {
            self.step = Step::Done;
            if self.finds().is_some() {
                self.failed = Some(stale("this server cannot tell what was missed of a stream"));
                self.step = Step::Clunk;
            }
        }
        if self.step == Step::Walk && self.is_on_its_way() {
            let (first, n) = names(self.path.get(self.walked..).unwrap_or_default());
            match client.walk(fid, fid, first) {
                Ok((tag, names)) => {
                    (self.tag, self.names) = (tag, names);
                    self.walked += n;
                    return None;
                }
                Err(why) => {
                    self.failed = Some(Self::unfound(why));
                    self.step = Step::Clunk;
                }
            }
        }
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
            (Step::Open, Job::Find { place, .. }) => Tmsg::Lopen { fid, flags: place.flags },
            (Step::Number, _) => Tmsg::Read { fid, offset: 0, count: NUMBER },
            // Nothing is read, and so nothing waited for.
            (Step::Seek, Job::Find { place, .. }) => {
                let to = place.next.unwrap_or(seq::HERE);
                Tmsg::Read { fid, offset: seq::READ | to, count: 0 }
            }
            (Step::Seek, _) => Tmsg::Read { fid, offset: seq::READ | seq::HERE, count: 0 },
            (Step::Transfer, Job::ReadAt { count, .. }) if self.stream => {
                let count = (*count).min(most - NEXT);
                Tmsg::Read { fid, offset: seq::READ | seq::HERE, count }
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
            (Step::Done, job) => {
                let opens = job.opens().is_some();
                return Some(match self.failed.take() {
                    // What it has read of a clone file is not for who asked.
                    None if opens => Ok(Vec::new()),
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
