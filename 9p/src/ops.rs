//! Whole-file operations of a client: read, write and list by path.
//!
//! An [`Op`] is the sequence of requests that a shell's `cat`, `echo >` or `ls`
//! makes, as a state machine that is told each answer. Any number run side by side
//! on one [`Client`].

use alloc::string::String;
use alloc::vec::Vec;

use crate::client::{Client, Tag, fault};
use crate::fault::{Blame, Errno, Fault};
use crate::msg::{Rmsg, Tmsg, entries};
use crate::types::OpenFlags;
use crate::wire::{READ_OVERHEAD, WRITE_OVERHEAD};

/// What to do with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Read it to its end; more than so many bytes are an error.
    Read {
        /// The most bytes.
        max: usize,
    },
    /// Write this from its start.
    Write(Vec<u8>),
    /// List it: a name a line, a directory's with a slash behind it.
    List {
        /// The most bytes of names.
        max: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Walk,
    Open,
    Transfer,
    Clunk,
    Done,
}

/// One operation on one file.
#[derive(Debug)]
pub struct Op {
    what: What,
    fid: u32,
    names: usize,
    step: Step,
    tag: Tag,
    offset: u64,
    /// Answers to Treaddir that brought no name.
    idle: u32,
    got: Vec<u8>,
    failed: Option<Fault>,
}

impl Op {
    /// Starts: walks `path` from the fid `root`. `fid` must be free, and is again
    /// when the operation is done.
    pub fn start(
        client: &mut Client,
        root: u32,
        fid: u32,
        path: &str,
        what: What,
    ) -> Result<Op, Fault> {
        let (tag, names) = client.walk(root, fid, path)?;
        Ok(Op {
            what,
            fid,
            names,
            step: Step::Walk,
            tag,
            offset: 0,
            idle: 0,
            got: Vec::new(),
            failed: None,
        })
    }

    /// The request whose answer it waits for.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// The fid it uses.
    pub fn fid(&self) -> u32 {
        self.fid
    }

    /// Bytes read or listed so far.
    pub fn held(&self) -> usize {
        self.got.len()
    }

    /// Gives up: what was got is dropped and the fid is given back. The result
    /// will be this fault, unless there is another already.
    pub fn fail(&mut self, fault: Fault) {
        self.got = Vec::new();
        self.failed.get_or_insert(fault);
        if matches!(self.step, Step::Open | Step::Transfer) {
            self.step = Step::Clunk;
        }
    }

    /// Tells it the answer to [`Op::tag`]. What follows is [`Op::next`].
    pub fn answer(&mut self, answer: &Rmsg<'_>) {
        self.step = match (self.step, self.take(answer)) {
            (_, Ok(next)) => next,
            // A failed walk leaves no fid behind; all later steps do.
            (Step::Walk, Err(fault)) => {
                self.failed = Some(fault);
                Step::Done
            }
            (_, Err(fault)) => {
                self.failed = Some(fault);
                Step::Clunk
            }
        };
    }

    /// Sends the next request; or gives the result, when it is done: what was read
    /// or listed, or nothing for a write.
    pub fn next(&mut self, client: &mut Client) -> Option<Result<Vec<u8>, Fault>> {
        let fid = self.fid;
        let count = client.msize() - READ_OVERHEAD;
        let request = match (self.step, &self.what) {
            (Step::Walk, _) => return None,
            (Step::Open, What::Write(_)) => {
                Tmsg::Lopen { fid, flags: OpenFlags(OpenFlags::WRONLY.0 | OpenFlags::TRUNC) }
            }
            (Step::Open, _) => Tmsg::Lopen { fid, flags: OpenFlags::RDONLY },
            (Step::Transfer, What::Read { .. }) => Tmsg::Read { fid, offset: self.offset, count },
            (Step::Transfer, What::List { .. }) => {
                Tmsg::Readdir { fid, offset: self.offset, count }
            }
            (Step::Transfer, What::Write(data)) => {
                let rest = data.get(self.offset as usize..).unwrap_or_default();
                let n = rest.len().min((client.msize() - WRITE_OVERHEAD) as usize);
                Tmsg::Write {
                    fid,
                    offset: self.offset,
                    data: rest.get(..n).unwrap_or_default(),
                    op: None,
                }
            }
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

    /// What an answer leads to.
    fn take(&mut self, answer: &Rmsg<'_>) -> Result<Step, Fault> {
        match (self.step, answer) {
            (Step::Clunk | Step::Done, _) => Ok(Step::Done),
            (_, Rmsg::Lerror { errno, text }) => Err(fault(*errno, *text)),
            (Step::Walk, Rmsg::Walk { count, .. }) if usize::from(*count) == self.names => {
                Ok(Step::Open)
            }
            (Step::Walk, Rmsg::Walk { .. }) => Err(Errno::ENOENT.into()),
            (Step::Open, Rmsg::Lopen { .. }) => Ok(Step::Transfer),
            (Step::Transfer, Rmsg::Read { data, .. }) => {
                let What::Read { max } = self.what else { return Err(unasked()) };
                self.offset += data.len() as u64;
                self.keep(data, max)?;
                Ok(if data.is_empty() { Step::Clunk } else { Step::Transfer })
            }
            (Step::Transfer, Rmsg::Readdir { data }) => {
                let What::List { max } = self.what else { return Err(unasked()) };
                let mut names = String::new();
                let mut last = None;
                for e in entries(data) {
                    last = Some(e.cookie);
                    if e.name != "." && e.name != ".." {
                        names.extend(e.name.chars().map(|c| if c.is_control() { '?' } else { c }));
                        names += if e.qid.is_dir() { "/\n" } else { "\n" };
                    }
                }
                if names.is_empty() && !data.is_empty() {
                    self.idle += 1;
                }
                self.keep(names.as_bytes(), max)?;
                match last {
                    None if data.is_empty() => Ok(Step::Clunk),
                    // A listing that brings nothing new would go on for ever.
                    Some(cookie) if cookie != self.offset && self.idle <= 2 => {
                        self.offset = cookie;
                        Ok(Step::Transfer)
                    }
                    _ => Err(Fault::new(Errno::EPROTO, "the server's listing makes no sense")
                        .blame(Blame::Host)),
                }
            }
            (Step::Transfer, Rmsg::Write { count }) => {
                let What::Write(data) = &self.what else { return Err(unasked()) };
                let rest = (data.len() as u64).saturating_sub(self.offset);
                match u64::from(*count) {
                    0 if rest > 0 => Err(Fault::new(
                        Errno::ENOSPC,
                        alloc::format!("only {} of {} bytes were taken", self.offset, data.len()),
                    )),
                    n if n > rest => Err(unasked()),
                    n => {
                        self.offset += n;
                        Ok(if n == rest { Step::Clunk } else { Step::Transfer })
                    }
                }
            }
            _ => Err(unasked()),
        }
    }

    fn keep(&mut self, data: &[u8], max: usize) -> Result<(), Fault> {
        if self.got.len() + data.len() > max {
            let text = alloc::format!("more than the {max} bytes that were asked for");
            return Err(Fault::new(Errno::EFBIG, text));
        }
        self.got.extend_from_slice(data);
        Ok(())
    }
}

fn unasked() -> Fault {
    Fault::new(Errno::EPROTO, "the server's answer is of the wrong kind").blame(Blame::Host)
}
