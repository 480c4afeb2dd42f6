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

    /// Tells it the answer to [`Op::tag`], and sends the next request. The result,
    /// when it is done: what was read or listed, or nothing for a write.
    pub fn answer(
        &mut self,
        client: &mut Client,
        answer: &Rmsg<'_>,
    ) -> Option<Result<Vec<u8>, Fault>> {
        let walking = self.step == Step::Walk;
        match self.advance(client.msize(), answer) {
            Ok(Some(next)) => {
                self.tag = client.send(&next);
                None
            }
            Ok(None) => Some(match self.failed.take() {
                None => Ok(core::mem::take(&mut self.got)),
                Some(fault) => Err(fault),
            }),
            // A failed walk leaves no fid behind; all later steps do.
            Err(fault) if walking => Some(Err(fault)),
            Err(fault) => {
                self.failed = Some(fault);
                self.step = Step::Clunk;
                self.tag = client.send(&Tmsg::Clunk { fid: self.fid });
                None
            }
        }
    }

    /// The next request, or none when all is done.
    fn advance(&mut self, msize: u32, answer: &Rmsg<'_>) -> Result<Option<Tmsg<'_>>, Fault> {
        let fid = self.fid;
        match (self.step, answer) {
            (Step::Clunk, _) => return Ok(None),
            (_, Rmsg::Lerror { errno, text }) => return Err(fault(*errno, *text)),
            (Step::Walk, Rmsg::Walk { count, .. }) => {
                if usize::from(*count) != self.names {
                    return Err(Errno::ENOENT.into());
                }
                self.step = Step::Open;
                let flags = match self.what {
                    What::Write(_) => OpenFlags(OpenFlags::WRONLY.0 | OpenFlags::TRUNC),
                    _ => OpenFlags::RDONLY,
                };
                return Ok(Some(Tmsg::Lopen { fid, flags }));
            }
            (Step::Open, Rmsg::Lopen { .. }) => self.step = Step::Transfer,
            (Step::Transfer, Rmsg::Read { data }) => {
                let What::Read { max } = self.what else {
                    return Err(unasked());
                };
                if data.is_empty() {
                    return Ok(Some(self.finish()));
                }
                self.keep(data, max)?;
                self.offset += data.len() as u64;
            }
            (Step::Transfer, Rmsg::Readdir { data }) => {
                let What::List { max } = self.what else {
                    return Err(unasked());
                };
                let mut names = String::new();
                let mut last = None;
                for e in entries(data) {
                    last = Some(e.cookie);
                    if e.name != "." && e.name != ".." {
                        names += e.name;
                        names += if e.qid.is_dir() { "/\n" } else { "\n" };
                    }
                }
                let Some(cookie) = last else {
                    return Ok(Some(self.finish()));
                };
                self.offset = cookie;
                self.keep(names.as_bytes(), max)?;
            }
            (Step::Transfer, Rmsg::Write { count }) => {
                let What::Write(data) = &self.what else {
                    return Err(unasked());
                };
                self.offset += u64::from(*count);
                if *count == 0 || self.offset >= data.len() as u64 {
                    return Ok(Some(self.finish()));
                }
            }
            _ => return Err(unasked()),
        }
        Ok(Some(match &self.what {
            What::Read { .. } => Tmsg::Read {
                fid,
                offset: self.offset,
                count: msize - READ_OVERHEAD,
            },
            What::List { .. } => Tmsg::Readdir {
                fid,
                offset: self.offset,
                count: msize - READ_OVERHEAD,
            },
            What::Write(data) => {
                let rest = data.get(self.offset as usize..).unwrap_or_default();
                let n = rest.len().min((msize - WRITE_OVERHEAD) as usize);
                Tmsg::Write {
                    fid,
                    offset: self.offset,
                    data: rest.get(..n).unwrap_or_default(),
                }
            }
        }))
    }

    fn finish(&mut self) -> Tmsg<'static> {
        self.step = Step::Clunk;
        Tmsg::Clunk { fid: self.fid }
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
