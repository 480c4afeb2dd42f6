//! Back to the last checkpoint, when a dispatch was abandoned and the guest's policy says so.
//!
//! The guest has no checkpoint itself: it asks whoever keeps them, and does nothing until it
//! has become the guest that it was. What made it fail may be in the checkpoint, or come
//! again at once; so it goes back to the same one only a few times.

use super::Core;
use crate::abandon::FAILED;
use crate::component::ComponentId;

/// So often a guest goes back to one checkpoint.
const TIMES: u8 = 8;

/// What a guest knows of the way back.
#[derive(Clone, Copy, Default)]
pub(crate) struct Back {
    /// There is a checkpoint, as far as it knows.
    known: bool,
    /// How often it went back to that.
    times: u8,
}

impl Back {
    /// Somebody has a new checkpoint.
    pub(crate) fn kept(&mut self) {
        *self = Back { known: true, times: 0 };
    }

    /// What the guest knows that goes on from one.
    pub(crate) fn restored(self) -> Back {
        Back { known: true, ..self }
    }
}

impl Core<'_> {
    /// Asks for the last checkpoint, and holds until it comes; or stops, where there is none.
    pub(crate) fn go_back(&mut self, id: ComponentId, what: &str) {
        let back = &mut self.snaps.back;
        let why = if !self.snaps.lines.has_readers() {
            "nobody keeps checkpoints of it"
        } else if !back.known {
            "it has no checkpoint yet"
        } else if back.times >= TIMES {
            "its last checkpoint leads there again and again"
        } else {
            back.times += 1;
            self.say_as(id, &alloc::format!("abandoned a dispatch: {what}; the guest goes back"));
            self.snaps.hold = true;
            return self.snaps.lines.push("back");
        };
        let line = alloc::format!("abandoned a dispatch: {what}; the guest stops, for {why}");
        self.say_as(id, &line);
        self.stop(FAILED);
    }
}
