//! Time, and the page that tells it: the one that Xen and the domain share.
//!
//! It is a static because a record wants the time too, wherever the machine dies.

use core::ptr::NonNull;

use atoll_runtime::platform::Time;
use atoll_xen::guest::call::Errno;
use atoll_xen::guest::event::Port;
use atoll_xen::guest::param::set_callback;
use atoll_xen::guest::shared::Shared;
use atoll_xen::guest::time::Clock;

use crate::arch::{Lone, tables, time};

struct State {
    shared: Shared,
    clock: Clock,
    /// The time of day at time zero.
    wall: u64,
}

static STATE: Lone<Option<State>> = Lone::new(None);

/// Begins. Time zero is when the machine was entered, at TSC `boot`.
///
/// # Safety
/// The page is mapped where its frame is, and nothing else's.
pub(super) unsafe fn start(page: NonNull<u8>, boot: u64) -> Result<(), Errno> {
    // SAFETY: as above.
    let shared = unsafe { Shared::map(page) }?;
    // A domain begins with the page of a processor of 32 bits, where the time of day stands
    // elsewhere. Xen looks which one this is when it is told of the vector, and writes the
    // time where it is read here.
    set_callback(tables::DEVICE)?;
    let stamp = shared.stamp();
    time::told(boot, stamp.hz());
    let zero = stamp.at(time::tsc()).saturating_sub(since(boot, stamp.hz()));
    let wall = shared.wall().saturating_add(zero);
    STATE.with(|s| *s = Some(State { shared, clock: Clock::new(zero), wall }));
    Ok(())
}

/// Nanoseconds since a TSC.
fn since(boot: u64, hz: u64) -> u64 {
    let ticks = u128::from(time::tsc().saturating_sub(boot));
    (ticks * 1_000_000_000).checked_div(hz.into()).unwrap_or(0) as u64
}

fn with<R>(f: impl FnOnce(&mut State) -> R) -> Option<R> {
    STATE.with(|s| s.as_mut().map(f)).flatten()
}

impl State {
    fn system(&self) -> u64 {
        self.shared.stamp().at(time::tsc())
    }
}

/// The time now, if this is Xen.
pub(crate) fn now() -> Option<Time> {
    with(|s| Time(s.clock.at(s.system())))
}

/// The time of day at time zero, if Xen knows.
pub(crate) fn wall() -> u64 {
    with(|s| s.wall).unwrap_or(0)
}

/// The system time at which it will be that time.
pub(super) fn system_at(at: Time) -> u64 {
    with(|s| s.clock.system(at.0)).unwrap_or(1)
}

/// The system time so many nanoseconds from now.
pub(super) fn soon(ns: u64) -> u64 {
    with(|s| s.system().saturating_add(ns)).unwrap_or(1)
}

/// Forgets the event of a port.
pub(super) fn clear(port: Port) {
    with(|s| s.shared.clear(port));
}

/// Goes on by the clocks of the host that the domain is on now: as much time has passed as
/// the time of day has, which two hosts that are moved between should agree about.
pub(super) fn resume() -> Result<(), Errno> {
    with(|s| {
        s.shared.resume()?;
        set_callback(tables::DEVICE)?;
        let system = s.system();
        let day = s.shared.wall().saturating_add(system);
        let last = s.clock.last().saturating_add(s.wall);
        s.clock.resume(system, day.saturating_sub(last));
        Ok(())
    })
    .unwrap_or(Ok(()))
}
