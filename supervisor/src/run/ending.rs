//! When a machine is to end: at once, or if it has not stopped in time.

use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// What was asked of a machine that is to end.
#[derive(Default)]
pub(super) struct Ending {
    kill: Rc<Notify>,
    asked: bool,
    deadline: Option<Instant>,
}

impl Ending {
    /// Told when the machine is to be killed.
    pub(super) fn kill(&self) -> Rc<Notify> {
        self.kill.clone()
    }

    /// Whether anybody has asked for its end.
    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    /// Somebody wants it killed.
    pub(super) fn now(&mut self) {
        self.asked = true;
        self.kill.notify_one();
    }

    /// It cannot be what it is to be: it is killed, though nobody has asked for that.
    pub(super) fn fail(&self) {
        self.kill.notify_one();
    }

    /// Somebody wants it to stop within so many milliseconds. False if its end was asked for
    /// before: what comes first ends it.
    pub(super) fn stop(&mut self, ms: u64) -> bool {
        let late = Instant::now() + Duration::from_millis(ms);
        self.deadline = Some(self.deadline.map_or(late, |d| d.min(late)));
        !std::mem::replace(&mut self.asked, true)
    }

    /// It is of no use any more: it has so long to end by itself, or as long as it had.
    pub(super) fn within(&mut self, time: Duration) {
        self.deadline.get_or_insert(Instant::now() + time);
    }

    /// Waits until it is late, and has it killed then.
    pub(super) async fn late(&mut self) {
        let Some(deadline) = self.deadline else { return pending().await };
        sleep_until(deadline).await;
        self.deadline = None;
        self.kill.notify_one();
    }
}
