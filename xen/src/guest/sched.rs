//! Sleep, and the end (`public/sched.h`).

use xen_sys::{
    __HYPERVISOR_sched_op, SCHEDOP_poll, SCHEDOP_shutdown, SHUTDOWN_crash, SHUTDOWN_poweroff,
    SHUTDOWN_reboot, SHUTDOWN_suspend, sched_poll, sched_shutdown,
};

use super::call::{Errno, call};
use super::event::Port;

/// Why a domain stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// It is done.
    Poweroff = SHUTDOWN_poweroff,
    /// It wants to start again.
    Reboot = SHUTDOWN_reboot,
    /// It died.
    Crash = SHUTDOWN_crash,
}

/// Sleeps until one of these ports has an event, masked or not, or the system time has come.
/// May return early. At most 128 ports.
pub fn poll(ports: &[Port], until: Option<u64>) -> Result<(), Errno> {
    let op = sched_poll {
        ports: ports.as_ptr().cast_mut(),
        nr_ports: ports.len() as u32,
        // 0 is no time at all to Xen.
        timeout: until.map_or(0, |t| t.max(1)),
    };
    // SAFETY: Xen reads the structure and the ports.
    unsafe { call(__HYPERVISOR_sched_op, SCHEDOP_poll.into(), (&raw const op) as u64) }.map(drop)
}

/// Ends the domain. Returns only where Xen refuses.
pub fn shutdown(reason: Reason) {
    let op = sched_shutdown { reason: reason as u32 };
    // SAFETY: Xen reads the structure.
    let _ = unsafe { call(__HYPERVISOR_sched_op, SCHEDOP_shutdown.into(), (&raw const op) as u64) };
}

/// How a domain went on after it was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// As a new one, maybe elsewhere: its memory is all that it still has.
    Anew,
    /// As what it was: the suspension was called off, or it was copied.
    Same,
}

/// Suspends the domain, and says how it goes on.
pub fn suspend() -> Result<Resumed, Errno> {
    let op = sched_shutdown { reason: SHUTDOWN_suspend };
    // SAFETY: Xen reads the structure. What happens to the domain's other pages is what the
    // caller asks for.
    match unsafe { call(__HYPERVISOR_sched_op, SCHEDOP_shutdown.into(), (&raw const op) as u64) }? {
        0 => Ok(Resumed::Anew),
        _ => Ok(Resumed::Same),
    }
}
