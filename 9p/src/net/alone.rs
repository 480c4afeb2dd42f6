//! One client alone, that asks one thing after the other.
//!
//! Who waits in a read is woken by fewer steps of the kernel than who waits for epoll
//! and reads then; of a small request that is a tenth. While there is no other session,
//! nothing waits, and the answers are asked for quickly, the loop therefore waits in the
//! client's own socket. What else there is (who connects, what a descriptor or another
//! thread has to say) is looked at after so many requests, or when the client pauses. For as
//! long, epoll does not watch the client's socket: to be told of each message that comes or
//! is taken there is another thirtieth of a small request.
//!
//! It does not go to sleep at once, either. Who sleeps has to be woken: on the same
//! processor that is a tenth of a small request, and on another that has gone to sleep,
//! too, most of it. So it stays awake for as long as such a wake-up takes, and lets whoever
//! else wants the processor have it.

use std::time::Duration;

/// A client that asks again within this time is quick.
const QUICK: Duration = Duration::from_micros(200);
/// So often one after the other, and the loop waits for it alone.
const STREAK: u8 = 16;
/// After so many requests everybody else is looked at.
const REQUESTS: u8 = 64;
/// How long it stays awake: about what waking a virtual machine's idle processor takes, so
/// that this costs no more than twice what the best choice would.
pub(super) const AWAKE: Duration = Duration::from_micros(50);
/// How long is waited in its socket: the least that a kernel's timers tell apart.
pub(super) const PATIENCE: Duration = Duration::from_millis(1);

/// Whether the loop waits for one client alone.
#[derive(Debug, Default)]
pub(super) struct Alone {
    /// Quick requests, one after the other.
    streak: u8,
    /// Requests until everybody else is looked at.
    left: u8,
}

impl Alone {
    /// Whether to wait in its socket.
    pub(super) fn is(&self) -> bool {
        self.left > 0
    }

    /// Whether its client has not paused since the others were looked at last.
    pub(super) fn is_busy(&self) -> bool {
        self.streak > 0
    }

    /// Something came there in time, or nothing.
    pub(super) fn heard(&mut self, it: bool) {
        self.left = if it { self.left - 1 } else { 0 };
        self.streak = if it { STREAK } else { 0 };
    }

    /// All were waited for, so long.
    pub(super) fn waited(&mut self, long: Duration) {
        let quick = long < QUICK;
        self.streak = if quick { self.streak.saturating_add(1) } else { 0 };
        self.left = if self.streak > STREAK { REQUESTS } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_alone_after_a_streak_and_until_it_pauses() {
        let mut alone = Alone::default();
        let mut quick = 0;
        while !alone.is() {
            alone.waited(QUICK / 2);
            quick += 1;
        }
        assert_eq!(quick, STREAK + 1);
        // Others have their look after so many requests,
        for _ in 0..REQUESTS {
            assert!(alone.is());
            alone.heard(true);
        }
        assert!(!alone.is());
        // one for each time,
        alone.waited(QUICK / 2);
        assert!(alone.is());
        // and when nothing came, until it has been quick again.
        alone.heard(false);
        alone.waited(QUICK / 2);
        assert!(!alone.is());
        for _ in 0..STREAK {
            alone.waited(QUICK / 2);
        }
        assert!(alone.is());
        alone.waited(QUICK);
        assert!(!alone.is());
    }
}
