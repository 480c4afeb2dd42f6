//! How another thread reaches a server: through an eventfd that its loop waits on.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

#[derive(Debug)]
struct Shared {
    fd: OwnedFd,
    stop: AtomicBool,
}

/// Wakes a [`super::Server`] that another thread runs, or ends it.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

impl Handle {
    pub(super) fn new() -> io::Result<Handle> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Handle(Arc::new(Shared { fd, stop: AtomicBool::new(false) })))
    }

    /// Says that the tree has news for requests that wait: the server asks
    /// [`crate::tree::Tree::woken`] which nodes have.
    pub fn wake(&self) {
        // EAGAIN says that it is awake already.
        let _ = rustix::io::write(&self.0.fd, &1u64.to_ne_bytes());
    }

    /// Makes [`super::Server::run`] return, now or when it is called next.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0.fd
    }

    pub(super) fn was_woken(&self) {
        let _ = rustix::io::read(&self.0.fd, &mut [0; 8]);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }
}
