//! The entropy device (VIRTIO 1.2, 5.4): asked at boot, answered by the time
//! that somebody wants to know.

use virtio_drivers::transport::Transport;

use super::split::Split;
use super::{Features, Registers};

/// Bytes of a seed.
pub(crate) const SEED: usize = 32;

/// An entropy device with one request.
pub(crate) struct Rng {
    registers: Registers,
    queue: Split,
    buffer: &'static mut [u8; SEED],
}

/// Readings of the queue before the device counts as silent.
const PATIENCE: u32 = 2_000_000;

impl Rng {
    /// Sets the device up and asks it for a seed.
    pub(crate) fn start(mut registers: Registers) -> Option<Rng> {
        registers.begin_init(Features::VERSION_1);
        let mut queue = Split::new(&mut registers, 0)?;
        registers.finish_init();
        let buffer = crate::heap::pages(SEED)?.first_chunk_mut()?;
        // SAFETY: the buffer is never freed, and not read before it is used.
        unsafe { queue.give(0, buffer, true) };
        registers.notify(0);
        Some(Rng { registers, queue, buffer })
    }

    /// The seed. The device is done with it by now, or nearly.
    pub(crate) fn seed(mut self) -> Option<[u8; SEED]> {
        let answered = (0..PATIENCE).any(|_| {
            core::hint::spin_loop();
            self.queue.done()
        });
        if !answered {
            return None;
        }
        let (_, got) = self.queue.take()?;
        self.registers.queue_unset(0);
        (got as usize == SEED).then_some(*self.buffer)
    }
}
