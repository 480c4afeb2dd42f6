//! What follows an abandoned dispatch.
//!
//! A component that was stopped in the middle of a dispatch, or that asked for more
//! than it may have, is not trusted any more. The guest's policy says whether it is
//! made anew, the guest stops, or all of it goes back to its last checkpoint.

use alloc::vec::Vec;
use core::mem;

use atoll_9p::fault::Errno;
use atoll_config::payload::OnFault;

use crate::component::{ComponentId, Why};
use crate::core::{Core, Queued};
use crate::effects::{Wish, message};
use crate::namespace::CALLS;
use crate::slots::Armed;
use crate::sponsor::Amount;

/// A component abandoned so often in a row stops its guest, whatever the policy.
const HOPELESS: u32 = 8;
/// The status of a guest that stopped because a component failed.
pub(crate) const FAILED: u8 = 1;

/// Why a dispatch was abandoned, as an error and in words.
pub(crate) fn reason(why: Why) -> (Errno, &'static str) {
    match why {
        Why::Budget => (Errno::EDQUOT, "over its budget"),
        Why::Deadline => (Errno::ETIMEDOUT, "beyond its time"),
        Why::Trap(what) => (Errno::EIO, what),
    }
}

impl Core<'_> {
    /// A component's memory is suspect: do what the guest's policy says. What it gave to
    /// the log is kept, as nothing else of the dispatch is: it may tell why.
    pub(crate) fn abandon(&mut self, id: ComponentId, why: Why) {
        self.counters.abandoned += 1;
        for wish in mem::take(&mut self.effects.wishes) {
            if let Wish::Log(line) = wish {
                self.say_as(id, &line);
            }
        }
        let policy = self.payload.on_fault;
        #[cfg(feature = "atoms")]
        if policy == OnFault::Restore {
            return self.go_back(id, reason(why).1);
        }
        let Some(slot) = self.slots.get_mut(id) else { return };
        slot.failures += 1;
        let hopeless = policy == OnFault::Stop || slot.failures >= HOPELESS;
        let what = reason(why).1;
        if !hopeless && self.renew(id) {
            self.say_as(id, &alloc::format!("abandoned a dispatch: {what}; made anew"));
        } else {
            self.say_as(id, &alloc::format!("abandoned a dispatch: {what}; the guest stops"));
            self.stop(FAILED);
        }
    }

    /// Makes a component anew. False where that cannot be done.
    pub(crate) fn renew(&mut self, id: ComponentId) -> bool {
        let made = self.slots.get(id).map(|s| s.make(self.engine));
        let Some(Ok(body)) = made else { return false };
        self.forget(id);
        let Some(slot) = self.slots.get_mut(id) else { return false };
        slot.body = Some(body);
        slot.restarts += 1;
        let starts = slot.starts();
        // What it begins with is never more than it had.
        #[cfg(feature = "atoms")]
        self.measure(id);
        let Some(slot) = self.slots.get_mut(id) else { return false };
        let mut watched = Vec::new();
        for (file, f) in slot.streams.iter_mut().enumerate() {
            f.told = false;
            f.asked = f.stream.has_readers();
            if f.asked {
                watched.push(file);
            }
        }
        for file in watched.into_iter().rev() {
            self.queue.push_front((id, Queued::Watched { file }));
        }
        if starts {
            self.queue.push_front((id, Queued::Start));
        }
        true
    }

    /// Drops what a component that is no more has asked for: its timers, and the
    /// results of its calls. What others sent it stays, for it was sent to the
    /// component whichever instance it is.
    pub(crate) fn forget(&mut self, id: ComponentId) {
        #[cfg(feature = "atoms")]
        self.forget_more(id);
        let mut back = Amount::default();
        if let Some(slot) = self.slots.get_mut(id) {
            for armed in slot.disarm_all() {
                if let Armed::Set(key) = armed {
                    self.timers.cancel(key);
                    back.add(message(0));
                }
            }
        }
        self.queue.retain(|(to, q)| {
            let gone = *to == id
                && match q {
                    Queued::Start | Queued::Watched { .. } => true,
                    Queued::Timer { .. } => {
                        back.add(message(0));
                        true
                    }
                    Queued::Done { charged, .. } => {
                        back.add(*charged);
                        true
                    }
                    _ => false,
                };
            !gone
        });
        if CALLS {
            self.namespace.forget(id, &mut back);
        }
        self.sponsor.refund(back);
    }
}
