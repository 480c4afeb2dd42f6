//! Many guests: made, started and asked by several clients at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use atoll_9p::client::blocking::Connection;

use crate::supervisor::daemon::Daemon;

/// Clients at a time.
const CLIENTS: usize = 16;
/// Guests that one of them has been with before it connects anew: the supervisor has a
/// connection for each guest that a client has walked into.
const TURN: usize = 64;

/// A guest: its name, and where it runs.
pub(super) struct One {
    pub(super) name: String,
    pub(super) on: &'static str,
}

/// The guests of one kind.
pub(super) fn of(on: &'static str, count: usize) -> Vec<One> {
    (0..count).map(|n| One { name: format!("{on}-{n:05}"), on }).collect()
}

/// Does something with each of them; the first failure is that of all.
pub(super) fn each(
    daemon: &Daemon<'_>,
    guests: &[One],
    step: usize,
    told: &(dyn Fn(usize) + Sync),
    f: &(dyn Fn(&Connection, &One) -> Result<()> + Sync),
) -> Result<()> {
    let (next, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let why = Mutex::new(None);
    let work = || -> Result<()> {
        loop {
            let client = daemon.client()?;
            for _ in 0..TURN {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(guest) = guests.get(at) else { return Ok(()) };
                if failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                f(&client, guest)?;
                let n = done.fetch_add(1, Ordering::Relaxed) + 1;
                if n % step == 0 {
                    told(n);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                if let Err(e) = work() {
                    failed.store(true, Ordering::Relaxed);
                    let mut first = why.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(e);
                }
            });
        }
    });
    let n = done.load(Ordering::Relaxed);
    match why.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(e) => Err(e).with_context(|| format!("behind {n} of {} guests", guests.len())),
        None => Ok(()),
    }
}
