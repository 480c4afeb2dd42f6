//! One request of the kernel, and whether its caller has lost patience.
//!
//! A signal makes the kernel send FUSE_INTERRUPT, whatever the caller waits for,
//! even if it is only one that it handles. So an answer that is about to come is
//! waited for: a moment where waiting is the point (reads, writes, opens, locks),
//! longer where no program expects EINTR.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// How long an answer may still take after an interrupt.
const MOMENT: Duration = Duration::from_millis(10);
const LONGER: Duration = Duration::from_secs(1);

/// A request that is being worked on.
#[derive(Debug, Default)]
pub struct Job {
    interrupted: Cell<bool>,
    notify: Notify,
    /// Whether it may have to wait for something to happen.
    waits: bool,
}

impl Job {
    /// A request. `waits` is whether it may have to wait for something to happen.
    pub fn new(waits: bool) -> Rc<Job> {
        Rc::new(Job { waits, ..Job::default() })
    }

    /// The caller got a signal.
    pub fn interrupt(&self) {
        self.interrupted.set(true);
        self.notify.notify_waiters();
    }

    /// Waits until the caller gets a signal.
    pub async fn interrupted(&self) {
        let notified = self.notify.notified();
        if !self.interrupted.get() {
            notified.await;
        }
    }

    /// Waits until the caller has got a signal and then has waited long enough.
    pub async fn given_up(&self) {
        self.interrupted().await;
        sleep(if self.waits { MOMENT } else { LONGER }).await;
    }
}
