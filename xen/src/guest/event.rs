//! Event channels: how domains wake each other (`public/event_channel.h`).

use xen_sys::{
    __HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, EVTCHNOP_close, EVTCHNOP_send,
    evtchn_alloc_unbound, evtchn_close, evtchn_send,
};

use super::call::{Errno, call};
use super::{Domid, SELF};

/// This domain's end of a channel. Never 0.
pub type Port = u32;

/// Ports that a domain can have, of the kind whose state is in the shared info page.
pub const PORTS: usize = 4096;

/// A new port that another domain may bind.
pub fn alloc_unbound(remote: Domid) -> Result<Port, Errno> {
    let mut op = evtchn_alloc_unbound { dom: SELF, remote_dom: remote, port: 0 };
    // SAFETY: Xen reads and writes this structure, which lives on.
    unsafe { event(EVTCHNOP_alloc_unbound, (&raw mut op) as u64) }?;
    Ok(op.port)
}

/// Sends an event to the other end. It does not matter whether there is one.
pub fn send(port: Port) -> Result<(), Errno> {
    let op = evtchn_send { port };
    // SAFETY: Xen reads this structure.
    unsafe { event(EVTCHNOP_send, (&raw const op) as u64) }
}

/// Gives a port back.
pub fn close(port: Port) -> Result<(), Errno> {
    let op = evtchn_close { port };
    // SAFETY: Xen reads this structure.
    unsafe { event(EVTCHNOP_close, (&raw const op) as u64) }
}

/// # Safety
/// The address is that of the structure that the operation wants.
unsafe fn event(op: u32, arg: u64) -> Result<(), Errno> {
    // SAFETY: the caller's promise.
    unsafe { call(__HYPERVISOR_event_channel_op, op.into(), arg) }.map(drop)
}
