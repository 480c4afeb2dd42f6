//! What a domain asks of its hypervisor.
//!
//! Types and constants are those of `xen-sys` where it has them; its calls are not used
//! (`defects` has a test for each reason). What is missing there is here, named as in
//! Xen's public headers.
//!
//! A domain that sleeps does it by [`sched::poll`]: one call that returns when a port
//! has an event or a time has come, and loses neither, because Xen looks at the ports
//! itself. So all ports are masked, and no interrupt is ever delivered for one.

pub mod call;
#[cfg(test)]
mod defects;
pub mod event;
pub mod grant;
pub mod memory;
pub mod param;
pub mod ring;
pub mod sched;
pub mod shared;
pub mod time;

/// A domain's number.
pub type Domid = u16;

/// The domain that makes a call (`DOMID_SELF`).
pub const SELF: Domid = 0x7ff0;

/// Bytes of a page, as Xen counts memory.
pub const PAGE: usize = 4096;
