//! What runs atoms.
//!
//! An atom is a component like any other; what makes one from a module of the payload
//! is not part of this crate, which has no machine in it. Whoever embeds a runtime
//! gives it an [`Engine`], or none where no guest has atoms.

use alloc::boxed::Box;

use atoll_9p::fault::Fault;
pub use atoll_config::atom::AtomLimits;

use crate::component::Component;

/// Makes atoms.
pub trait Engine {
    /// A fresh instance of a module of the payload, by its place there. Nothing of it
    /// has run; what it is configured with comes with its first event.
    fn make(&self, module: usize, limits: &AtomLimits) -> Result<Box<dyn Component>, Fault>;
}
