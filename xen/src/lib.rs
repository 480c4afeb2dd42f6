//! Xen, from both sides.
//!
//! A guest is a domain that talks to its hypervisor by hypercalls, and the supervisor
//! is a program in dom0 that talks to Linux's Xen devices; what they say to each other
//! (XenStore's messages, a vchan's page) is the same bytes seen from two ends. Those
//! bytes are logic without I/O here, and each end has a module that moves them.

#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "dom0"))]
extern crate std;

pub mod store;
pub mod vchan;

#[cfg(feature = "dom0")]
pub mod dom0;
// Its logic is tested on the host, where no program has the feature.
#[cfg(any(test, feature = "guest"))]
pub mod guest;
