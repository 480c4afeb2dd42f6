//! What a domain does, as Xen says it.

use std::time::Duration;

use anyhow::Result;
use atoll_xen::dom0::{Life, life};

use super::store;

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

/// Waits until the domain has ended, or is gone. Whether it was seen suspended before.
pub(super) fn wait_end(uuid: &str) -> Result<bool> {
    let mut suspended = false;
    let mut store = store::open()?;
    // Told when any domain has shut down, too.
    store::watch(&mut store, "@releaseDomain")?;
    while let Some(domid) = store::by_uuid(&mut store, uuid)? {
        match look(domid) {
            Is::Ended => break,
            Is::Suspended => suspended = true,
            Is::Alive | Is::Gone => {}
        }
        let event = store.wait_event(Duration::from_secs(3600));
        event.map_err(|e| anyhow::anyhow!("{e}"))?;
    }
    Ok(suspended)
}
