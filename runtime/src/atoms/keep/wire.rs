//! The host's file of what is stored, over the guest's connection: one request at a time.

use alloc::vec::Vec;

use atoll_9p::client::{Client, Tag, fault};
use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::types::OpenFlags;
use atoll_9p::wire::{READ_OVERHEAD, WRITE_OVERHEAD};

/// Where the host has it. No import can have a name that begins with a dot.
const PATH: &str = ".store";
/// Its fid, which no call is given.
pub(crate) const FID: u32 = atoll_9p::wire::NOFID - 1;

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask<'a> {
    Open,
    Read { at: u64 },
    Write { at: u64, data: &'a [u8] },
    Sync,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Answer {
    Opened,
    Read(Vec<u8>),
    Written(usize),
    Synced,
    Failed(Fault),
    /// The connection is another by now, and the file is to be opened again.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Walk,
    Open,
    Read,
    Write,
    Sync,
    /// It could not be opened.
    Clunk,
}

/// The file.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    asked: Option<(Tag, Step)>,
    answer: Option<Answer>,
    /// What follows.
    next: Option<Step>,
    why: Option<Fault>,
}

impl Wire {
    /// Asks. What was asked before has been answered.
    pub(crate) fn ask(&mut self, client: &mut Client, root: u32, ask: Ask<'_>) {
        let most = client.msize();
        let (m, step) = match ask {
            Ask::Open => {
                match client.walk(root, FID, PATH) {
                    Ok((tag, _)) => self.asked = Some((tag, Step::Walk)),
                    Err(fault) => self.answer = Some(Answer::Failed(fault)),
                }
                return;
            }
            Ask::Read { at } => {
                let count = most - READ_OVERHEAD;
                (Tmsg::Read { fid: FID, offset: at, count }, Step::Read)
            }
            Ask::Write { at, data } => {
                let n = data.len().min((most - WRITE_OVERHEAD) as usize);
                let data = data.get(..n).unwrap_or_default();
                (Tmsg::Write { fid: FID, offset: at, data, op: None }, Step::Write)
            }
            Ask::Sync => (Tmsg::Fsync { fid: FID }, Step::Sync),
        };
        self.asked = Some((client.send(&m), step));
    }

    /// Takes an answer, if it is one to this. False: it is somebody else's.
    pub(crate) fn answered(&mut self, tag: Tag, answer: &Rmsg<'_>) -> bool {
        let Some((_, step)) = self.asked.take_if(|asked| asked.0 == tag) else { return false };
        let failed = match answer {
            Rmsg::Lerror { errno, text } => Some(fault(*errno, *text).blame(Blame::Host)),
            _ => None,
        };
        self.answer = Some(match (step, answer, failed) {
            (Step::Clunk, ..) => {
                Answer::Failed(self.why.take().unwrap_or_else(|| Errno::EIO.into()))
            }
            (Step::Walk, Rmsg::Walk { count: 1, .. }, _) => {
                self.next = Some(Step::Open);
                return true;
            }
            (Step::Open, _, Some(why)) => {
                self.why = Some(why);
                self.next = Some(Step::Clunk);
                return true;
            }
            (_, _, Some(why)) => Answer::Failed(why),
            (Step::Open, Rmsg::Lopen { .. }, _) => Answer::Opened,
            (Step::Read, Rmsg::Read { data, .. }, _) => Answer::Read(data.to_vec()),
            (Step::Write, Rmsg::Write { count }, _) => Answer::Written(*count as usize),
            (Step::Sync, ..) => Answer::Synced,
            _ => {
                let text = "the host's answer about what is stored is of the wrong kind";
                Answer::Failed(Fault::new(Errno::EPROTO, text).blame(Blame::Host))
            }
        });
        true
    }

    /// Asks what follows an answer.
    pub(crate) fn go_on(&mut self, client: &mut Client) {
        let Some(step) = self.next.take() else { return };
        let m = match step {
            Step::Open => Tmsg::Lopen { fid: FID, flags: OpenFlags::RDWR },
            _ => Tmsg::Clunk { fid: FID },
        };
        self.asked = Some((client.send(&m), step));
    }

    /// The connection is gone, or another.
    pub(crate) fn lost(&mut self) {
        *self = Wire { answer: Some(Answer::Lost), ..Wire::default() };
    }

    /// What has come.
    pub(crate) fn take(&mut self) -> Option<Answer> {
        self.answer.take()
    }
}
