//! The entropy device (VIRTIO 1.2, 5.4): asked at boot, answered by the time
//! that somebody wants to know.

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;

use super::hal::Identity;
use super::queue::DEPTH;
use super::{Features, Registers};

/// Bytes of a seed.
pub(crate) const SEED: usize = 32;

/// An entropy device with one request.
pub(crate) struct Rng {
    registers: Registers,
    /// As deep as the streams' queues, so that the same code drives it.
    queue: VirtQueue<Identity, DEPTH>,
    buffer: &'static mut [u8; SEED],
    token: u16,
}

/// Readings of the queue before the device counts as silent.
const PATIENCE: u32 = 2_000_000;

impl Rng {
    /// Sets the device up and asks it for a seed.
    pub(crate) fn start(mut registers: Registers) -> Option<Rng> {
        registers.begin_init(Features::VERSION_1);
        let mut queue = VirtQueue::new(&mut registers, 0, false, false).ok()?;
        registers.finish_init();
        queue.set_dev_notify(false);
        let buffer = crate::heap::pages(SEED)?.first_chunk_mut()?;
        // SAFETY: the buffer is never freed, and not read before it is used.
        let token = unsafe { queue.add(&[], &mut [buffer.as_mut_slice()]) }.ok()?;
        registers.notify(0);
        Some(Rng { registers, queue, buffer, token })
    }

    /// The seed. The device is done with it by now, or nearly.
    pub(crate) fn seed(mut self) -> Option<[u8; SEED]> {
        let answered = (0..PATIENCE).any(|_| {
            core::hint::spin_loop();
            self.queue.can_pop()
        });
        if !answered {
            return None;
        }
        // SAFETY: this is the buffer that was added under that token.
        let got =
            unsafe { self.queue.pop_used(self.token, &[], &mut [self.buffer.as_mut_slice()]) };
        self.registers.queue_unset(0);
        (got.ok()? as usize == SEED).then_some(*self.buffer)
    }
}
