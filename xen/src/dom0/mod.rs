//! What a program in dom0 does with domains, through Linux's devices for that.
//!
//! Pages that a domain granted are mapped by `/dev/xen/gntdev` ([`GntDev`]), its event
//! channels are bound by `/dev/xen/evtchn` ([`EvtChn`]), and xenstored is asked by its
//! socket or, where that runs in another domain, by `/dev/xen/xenbus` ([`Store`]). A domain's
//! byte streams are its vchans ([`Vchan`]). By `/dev/xen/privcmd` one that is paused is let run
//! ([`unpause`]), and Xen says what one does ([`life`]). Nothing here starts a thread or knows a
//! runtime: what can be waited for has a descriptor.
//!
//! Sources: `xen/gntdev.h` and `xen/evtchn.h` of Linux's headers.

mod claims;
mod evtchn;
mod gntdev;
mod ioctl;
mod privcmd;
mod store;
mod vchan;

pub use evtchn::{EvtChn, Port};
pub use gntdev::{GntDev, MappedPage, Mapping, PAGE};
pub use privcmd::{Life, life, unpause};
pub use store::{AskError, ConnectError, Store, is_there, socket_path};
pub use vchan::{Open, Stream, Vchan};
