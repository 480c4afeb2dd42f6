//! The gate of a domain's streams: shut while the domain leaves, for who has a stream's memory
//! mapped keeps it from being gone.
//!
//! A lane that carries holds a [`Pass`] and looks at the gate's descriptor beside its own.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// How long lanes may take to let go.
const GOES_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct State {
    shut: bool,
    inside: usize,
}

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// Readable while it is shut.
    bell: OwnedFd,
}

/// Held by a lane that has a stream mapped.
#[derive(Debug)]
pub(super) struct Pass<'g>(&'g Gate);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.state().inside -= 1;
        self.0.changed.notify_all();
    }
}

impl Gate {
    /// A gate that is open.
    pub(super) fn new() -> io::Result<Gate> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Gate { state: Mutex::default(), changed: Condvar::new(), bell })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is open, and goes in.
    pub(super) fn enter(&self) -> Pass<'_> {
        let mut state = self.state();
        while state.shut {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.inside += 1;
        Pass(self)
    }

    /// What becomes readable when those inside are to leave.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Whether it is shut.
    pub(super) fn is_shut(&self) -> bool {
        self.state().shut
    }

    /// Shuts it, and waits until nobody is inside: whether that came about.
    pub(super) fn shut(&self) -> bool {
        let mut state = self.state();
        state.shut = true;
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        let waited = self.changed.wait_timeout_while(state, GOES_WITHIN, |s| s.inside > 0);
        waited.is_ok_and(|(state, _)| state.inside == 0)
    }

    /// Opens it.
    pub(super) fn open(&self) {
        self.state().shut = false;
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    #[test]
    fn who_is_inside_leaves_and_comes_again() {
        let gate = Gate::new().unwrap();
        let (inside, went) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            let lane = scope.spawn(|| {
                let pass = gate.enter();
                inside.wait();
                poll(&mut [PollFd::new(&gate.bell(), PollFlags::IN)], None).unwrap();
                drop(pass);
                drop(gate.enter());
                assert!(!gate.is_shut());
                went.wait();
            });
            inside.wait();
            assert!(gate.shut() && gate.is_shut());
            assert_eq!(gate.state().inside, 0);
            gate.open();
            went.wait();
            lane.join().unwrap();
        });
        // It was rung for that time alone.
        assert!(rustix::io::read(&gate.bell, &mut [0; 8]).is_err());
    }
}
