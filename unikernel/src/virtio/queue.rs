//! The two directions of a byte stream over a queue each.
//!
//! Buffers are given to the device and come back. What the device says about
//! them (which, and how full) is checked before it is believed. Notifications
//! are dear, so they are few: the sender coalesces and tells the device once a
//! turn; the receiver tells it only after all the buffers it knew of came back,
//! because only then can it have run out.

use core::sync::atomic::{Ordering, fence};

use virtio_drivers::transport::Transport;

use super::Registers;
use super::split::{SIZE, Split};

/// Buffers of a queue, at most: each has its descriptor.
pub(super) const BUFFERS: usize = SIZE;

/// A queue with its buffers, all of one size.
struct Ring {
    queue: Split,
    index: u16,
    memory: &'static mut [u8],
    size: usize,
    /// How many bytes of each buffer the device has; 0 for none.
    out: [u16; BUFFERS],
}

impl Ring {
    fn new(registers: &mut Registers, index: u16) -> Option<Ring> {
        let queue = Split::new(registers, index)?;
        Some(Ring { queue, index, memory: &mut [], size: 0, out: [0; BUFFERS] })
    }

    /// Gets its memory, once: `count` buffers of `size` bytes. Says whether there was any.
    fn equip(&mut self, count: usize, size: usize) -> bool {
        if self.memory.is_empty()
            && let Some(memory) = crate::heap::pages(count * size)
        {
            (self.memory, self.size) = (memory, size);
        }
        !self.memory.is_empty()
    }

    fn count(&self) -> usize {
        self.memory.len().checked_div(self.size).unwrap_or(0)
    }

    fn buffer(&mut self, slot: u8) -> &mut [u8] {
        self.memory.chunks_exact_mut(self.size.max(1)).nth(slot.into()).unwrap_or_default()
    }

    /// Gives the first `len` bytes of a buffer to the device, to read or to write.
    fn add(&mut self, slot: u8, len: usize, to_write: bool) {
        let Some(buffer) = self.memory.chunks_exact_mut(self.size).nth(slot.into()) else { return };
        let Some(part) = buffer.get_mut(..len).filter(|p| !p.is_empty()) else { return };
        let Some(out) = self.out.get_mut(usize::from(slot)) else { return };
        *out = len as u16;
        // SAFETY: the memory is never freed; a buffer that is `out` is neither used
        // nor given again until it has come back or the device has forgotten it.
        unsafe { self.queue.give(slot, part, to_write) };
    }

    /// What is still out will not come back: the device has forgotten it.
    fn forget(&mut self) {
        self.out = [0; BUFFERS];
    }

    /// Takes back a buffer that the device is done with, and how many bytes it
    /// says to have written: a claim.
    fn take(&mut self) -> Option<(u8, usize)> {
        let (slot, got) = self.queue.take()?;
        let len = self.out.get_mut(slot as usize).map_or(0, core::mem::take);
        if len == 0 {
            // A device that lies about its buffers cannot be worked with.
            panic!("virtio: queue {} returned buffer {slot}, which it does not have", self.index);
        }
        Some((slot as u8, (got as usize).min(len.into())))
    }
}

/// Bytes from the device.
pub(super) struct Rx {
    ring: Ring,
    /// The buffer that is being read: slot, from, to.
    now: Option<(u8, usize, usize)>,
    /// Buffers that the device knew of when it was last notified, and how many
    /// have come back since.
    known: usize,
    back: usize,
}

impl Rx {
    pub(super) fn new(registers: &mut Registers, index: u16) -> Option<Rx> {
        Some(Rx { ring: Ring::new(registers, index)?, now: None, known: 0, back: 0 })
    }

    /// Gives the device its buffers, if it has none yet.
    pub(super) fn fill(&mut self, registers: &mut Registers, count: usize, size: usize) -> bool {
        if self.known == 0 && self.ring.equip(count.min(BUFFERS), size) {
            self.known = self.ring.count();
            for slot in 0..self.known {
                self.ring.add(slot as u8, size, true);
            }
            registers.notify(self.ring.index);
        }
        self.known != 0
    }

    /// Makes the device look whether it may send: QEMU does not look by itself
    /// when a port opens, but up to a second later.
    pub(super) fn poke(&self, registers: &mut Registers) {
        registers.notify(self.ring.index);
    }

    /// Whether there is something to read.
    pub(super) fn ready(&self) -> bool {
        self.now.is_some() || self.ring.queue.done()
    }

    /// Whether the device should interrupt when there is.
    pub(super) fn listen(&mut self, on: bool) {
        self.ring.queue.listen(on);
    }

    /// The next whole buffer, read by `f`; for messages.
    pub(super) fn message<R>(
        &mut self,
        registers: &mut Registers,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let (slot, len) = self.ring.take()?;
        let out = f(self.ring.buffer(slot).get(..len).unwrap_or_default());
        self.give_back(registers, slot);
        Some(out)
    }

    /// Copies what there is into `out`, across buffers.
    pub(super) fn read(&mut self, registers: &mut Registers, out: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|r| !r.is_empty()) {
            let Some((slot, from, to)) =
                self.now.take().or_else(|| self.ring.take().map(|(s, n)| (s, 0, n)))
            else {
                break;
            };
            let part = self.ring.buffer(slot).get(from..to).unwrap_or_default();
            let n = part.len().min(rest.len());
            if let (Some(into), Some(part)) = (rest.get_mut(..n), part.get(..n)) {
                into.copy_from_slice(part);
            }
            done += n;
            if from + n < to {
                self.now = Some((slot, from + n, to));
            } else {
                self.give_back(registers, slot);
            }
        }
        done
    }

    /// Drops everything that was received.
    pub(super) fn drain(&mut self, registers: &mut Registers) {
        if let Some((slot, ..)) = self.now.take() {
            self.give_back(registers, slot);
        }
        while self.message(registers, |_| ()).is_some() {}
    }

    fn give_back(&mut self, registers: &mut Registers, slot: u8) {
        self.ring.add(slot, self.ring.size, true);
        self.back += 1;
        if self.back >= self.known {
            self.back = 0;
            registers.notify(self.ring.index);
        }
    }
}

/// Bytes to the device.
pub(super) struct Tx {
    ring: Ring,
    /// One bit for each buffer that is ours.
    free: u16,
    /// The buffer that is being written, and how full it is.
    open: Option<(u8, usize)>,
    /// Something was added since the device was last notified.
    untold: bool,
    /// The last buffer is with the device, to show when all before it are done.
    probing: bool,
}

impl Tx {
    pub(super) fn new(registers: &mut Registers, index: u16) -> Option<Tx> {
        Some(Tx {
            ring: Ring::new(registers, index)?,
            free: 0,
            open: None,
            untold: false,
            probing: false,
        })
    }

    /// Gets its buffers, once.
    pub(super) fn equip(&mut self, count: usize, size: usize) -> bool {
        if self.ring.memory.is_empty() && self.ring.equip(count.min(BUFFERS), size) {
            self.free = self.all();
        }
        self.free != 0 || !self.ring.memory.is_empty()
    }

    /// Whether the device should interrupt when it is done with a buffer.
    pub(super) fn listen(&mut self, on: bool) {
        self.ring.queue.listen(on);
    }

    /// Takes as many bytes as there is room for.
    pub(super) fn write(&mut self, registers: &mut Registers, bytes: &[u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|r| !r.is_empty()) {
            let Some((slot, at)) = self.open.take().or_else(|| self.claim(registers)) else {
                break;
            };
            let room = self.ring.buffer(slot).get_mut(at..).unwrap_or_default();
            let n = room.len().min(rest.len());
            if let (Some(into), Some(from)) = (room.get_mut(..n), rest.get(..n)) {
                into.copy_from_slice(from);
            }
            done += n;
            self.open = Some((slot, at + n));
            if at + n == self.ring.size {
                self.post();
            }
        }
        done
    }

    /// Lets the device have everything written so far.
    pub(super) fn flush(&mut self, registers: &mut Registers) {
        self.post();
        if core::mem::take(&mut self.untold) {
            // The device must see the buffers before its wish is looked at.
            fence(Ordering::SeqCst);
            if self.ring.queue.wants_notice() {
                registers.notify(self.ring.index);
            }
        }
    }

    /// The host has left: forgets what the device has not got yet, and makes it
    /// drop the rest. QEMU (7.2, `discard_throttle_data`) forgets the one buffer
    /// that it could not write out for good and never returns it. So a probe goes
    /// behind all others: when it is back, whatever is not is forgotten, and ours.
    pub(super) fn kick(&mut self, registers: &mut Registers) {
        if let Some((slot, _)) = self.open.take() {
            self.free |= 1 << slot;
        }
        self.untold = false;
        self.reclaim();
        if self.free != self.all() && !self.probing {
            self.probing = true;
            self.ring.add(self.ring.count().saturating_sub(1) as u8, 1, false);
        }
        registers.notify(self.ring.index);
    }

    /// Whether there is room again.
    pub(super) fn room(&mut self) -> bool {
        self.reclaim();
        self.free != 0
    }

    /// Whether a buffer has come back.
    pub(super) fn returned(&self) -> bool {
        self.ring.queue.done()
    }

    /// Whether the device holds nothing. A probe that is out would take later
    /// buffers for forgotten ones.
    pub(super) fn settled(&mut self) -> bool {
        self.reclaim();
        self.open.is_none() && !self.probing && self.free == self.all()
    }

    /// The buffers that are written into: all but the probe.
    fn all(&self) -> u16 {
        ((1u32 << self.ring.count().saturating_sub(1)) - 1) as u16
    }

    fn post(&mut self) {
        if let Some((slot, len)) = self.open.take() {
            self.ring.add(slot, len, false);
            self.untold = true;
        }
    }

    fn reclaim(&mut self) {
        while let Some((slot, _)) = self.ring.take() {
            if usize::from(slot) + 1 == self.ring.count() {
                self.probing = false;
                self.free = self.all();
                self.ring.forget();
            } else {
                self.free |= 1 << slot;
            }
        }
    }

    /// A buffer to write into. When there is none the device gets what it has
    /// not been told of: many devices are done with it at once.
    fn claim(&mut self, registers: &mut Registers) -> Option<(u8, usize)> {
        if self.free == 0 {
            self.reclaim();
        }
        if self.free == 0 {
            self.flush(registers);
            self.reclaim();
        }
        let slot = self.free.trailing_zeros() as u8;
        (self.free != 0).then(|| {
            self.free &= !(1 << slot);
            (slot, 0)
        })
    }
}
