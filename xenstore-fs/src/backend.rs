//! What the tree wants of a XenStore.

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_xen::store::{Answer, Error, Incoming, Refused, Request, TxId};

/// A XenStore that answers.
pub trait Backend {
    /// Asks something, in a transaction or in none, and has the answer when it returns.
    fn ask(&mut self, tx: TxId, request: &Request<'_>) -> Result<Answer, Failed>;

    /// The next event of a watch, if one has come. Never waits.
    fn event(&mut self) -> Option<Incoming>;

    /// Which connection this is. Transactions and watches of another one are gone.
    fn connection(&mut self) -> u64;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// xenstored said no.
    Store(Error),
    /// It was not asked, since it can only say no.
    Refused(Refused),
    /// There is no xenstored, or it has gone while it was asked: why.
    Down(String),
    /// It did not answer in time: how long that was.
    Silent(String),
}

impl From<Failed> for Fault {
    fn from(failed: Failed) -> Fault {
        match failed {
            Failed::Store(error @ (Error::Unknown | Error::Garbled)) => {
                Fault::new(Errno::EPROTO, error.text()).blame(Blame::Host)
            }
            Failed::Store(error) => Fault::new(Errno(error.errno()), error.text()),
            Failed::Refused(refused) => {
                let errno = match refused {
                    Refused::Path(atoll_xen::store::BadPath::TooLong) => Errno::ENAMETOOLONG,
                    Refused::TooLong => Errno::EFBIG,
                    Refused::Busy => Errno::EBUSY,
                    Refused::Broken(_) => Errno::EIO,
                    _ => Errno::EINVAL,
                };
                Fault::new(errno, refused.to_string())
            }
            Failed::Down(why) => Fault::new(Errno::EIO, why).blame(Blame::Host),
            Failed::Silent(why) => Fault::new(Errno::ETIMEDOUT, why).blame(Blame::Host),
        }
    }
}

/// A fault for an answer that is none to what was asked.
pub(crate) fn garbled() -> Fault {
    Failed::Store(Error::Garbled).into()
}
