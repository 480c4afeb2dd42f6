//! What a domain does, as Xen says it.

use std::io::{self, PipeReader, PipeWriter};
use std::thread::JoinHandle;

use anyhow::Result;
use atoll_xen::dom0::{Life, life};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{AGAIN, store};

/// What a domain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    /// It runs, or stands still and may go on.
    Alive,
    /// It was suspended, to be saved or moved.
    Suspended,
    /// It has ended, and is still there.
    Ended,
    /// There is none.
    Gone,
}

/// SHUTDOWN_suspend (xen/include/public/sched.h).
const SUSPEND: u8 = 2;

/// Looks at a domain that XenStore knows. If Xen does not say what it does, it is not taken for
/// one that has ended, since that one is destroyed.
pub(super) fn look(domid: u16) -> Is {
    match life(domid) {
        Ok(Life::Alive) => Is::Alive,
        Ok(Life::Shutdown(SUSPEND)) => Is::Suspended,
        Ok(Life::Shutdown(_)) => Is::Ended,
        Ok(Life::Gone) => Is::Gone,
        Err(why) => {
            eprintln!("Xen does not say what domain {domid} does: {why}");
            Is::Alive
        }
    }
}

/// Who waits for a domain's end, on a thread of its own, and looks at it whenever something becomes
/// of a domain.
///
/// A domain that was saved or moved is gone a moment after it was suspended, and nobody tells of a
/// domain that is gone how it was before. XenStore tells when it is suspended, and `xl` still has
/// memory of it to write then. If this is not let run for all that time, the domain reads as
/// destroyed.
pub(super) struct Watcher {
    thread: JoinHandle<bool>,
    over: PipeWriter,
}

impl Watcher {
    /// Calls `ended` when the domain of this number for ever has ended, or was there and is gone.
    pub(super) fn start(uuid: &str, ended: impl FnOnce() + Send + 'static) -> Result<Watcher> {
        let (is_over, over) = io::pipe()?;
        let uuid = uuid.to_owned();
        let thread = std::thread::spawn(move || {
            let mut suspended = false;
            if let Err(why) = watch(&uuid, &is_over, &mut suspended) {
                eprintln!("the domain is not watched: {why:#}");
            }
            ended();
            suspended
        });
        Ok(Watcher { thread, over })
    }

    /// Whether it was suspended when it was last seen, once the domain has ended or is gone.
    pub(super) fn finish(self) -> bool {
        drop(self.over);
        self.thread.join().unwrap_or(false)
    }
}

fn watch(uuid: &str, is_over: &PipeReader, suspended: &mut bool) -> Result<()> {
    let mut seen = false;
    let mut store = store::open()?;
    // Told when any domain has shut down, too. One that was never seen is not missed when it is gone.
    store::watch(&mut store, "@releaseDomain")?;
    store::watch(&mut store, "@introduceDomain")?;
    loop {
        let failed = |e| anyhow::anyhow!("{e}");
        while store.event().map_err(failed)?.is_some() {}
        match store::by_uuid(&mut store, uuid)? {
            Some(domid) => {
                seen = true;
                match look(domid) {
                    Is::Ended => return Ok(()),
                    Is::Suspended => *suspended = true,
                    Is::Alive => *suspended = false,
                    Is::Gone => {}
                }
            }
            None if seen => return Ok(()),
            None => {}
        }
        if store.event().map_err(failed)?.is_some() {
            continue;
        }
        // That one goes on again is told by nobody.
        let patience = suspended.then_some(AGAIN).map(Timespec::try_from).transpose()?;
        let mut fds = [PollFd::new(&store, PollFlags::IN), PollFd::new(is_over, PollFlags::IN)];
        match poll(&mut fds, patience.as_ref()) {
            Ok(_) if fds[1].revents().is_empty() => {}
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
