//! A split virtqueue (VIRTIO 1.2, 2.7) whose descriptors are its buffers.
//!
//! Descriptor n only ever describes buffer n. So there is no list of free
//! descriptors that could run out when a device never returns one: a buffer that
//! the device has forgotten is given to it again under the same number.
//!
//! The device reads and writes this memory while the guest does, so all of it is
//! atomics. Nothing the guest relies on is read back from it but what the device
//! is done with: a claim, which the caller checks.

use alloc::alloc::alloc_zeroed;
use core::alloc::Layout;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use virtio_drivers::transport::Transport;

use super::Registers;

/// Descriptors of a queue; a power of two.
pub(super) const SIZE: usize = 16;

/// The device writes the buffer (`VIRTQ_DESC_F_WRITE`).
const WRITE: u16 = 2;
/// The other side need not say when it is done (`VIRTQ_AVAIL_F_NO_INTERRUPT`,
/// `VIRTQ_USED_F_NO_NOTIFY`).
const QUIET: u16 = 1;

#[repr(C)]
struct Descriptor {
    address: AtomicU64,
    len: AtomicU32,
    flags: AtomicU16,
    next: AtomicU16,
}

#[repr(C)]
struct Available {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [AtomicU16; SIZE],
    /// For a feature that is not asked for, like its other half in [`Used`].
    _event: AtomicU16,
}

#[repr(C)]
struct Element {
    id: AtomicU32,
    len: AtomicU32,
}

#[repr(C)]
struct Used {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [Element; SIZE],
    _event: AtomicU16,
}

/// What guest and device share.
#[repr(C, align(16))]
struct Shared {
    descriptors: [Descriptor; SIZE],
    available: Available,
    used: Used,
}

impl Shared {
    /// For good: a device may keep the address for as long as the machine runs.
    fn new() -> Option<&'static Shared> {
        // SAFETY: the layout has a size.
        let block = unsafe { alloc_zeroed(Layout::new::<Shared>()) };
        // SAFETY: the block is aligned and long enough, never freed, and cleared,
        // which is a value of each of these atomics; it is null or ours alone.
        unsafe { block.cast::<Shared>().as_ref() }
    }
}

/// A queue.
pub(super) struct Split {
    shared: &'static Shared,
    /// How often a buffer was given to the device, and how often one was taken back.
    given: u16,
    taken: u16,
}

impl Split {
    /// Makes a queue known to the device, which does not interrupt for it yet.
    /// None when the device has no such queue, or there is no memory.
    #[inline(never)]
    pub(super) fn new(registers: &mut Registers, index: u16) -> Option<Split> {
        if registers.max_queue_size(index) < SIZE as u32 {
            return None;
        }
        let shared = Shared::new()?;
        shared.available.flags.store(QUIET, Ordering::Relaxed);
        registers.queue_set(
            index,
            SIZE as u32,
            (&raw const shared.descriptors).expose_provenance() as u64,
            (&raw const shared.available).expose_provenance() as u64,
            (&raw const shared.used).expose_provenance() as u64,
        );
        Some(Split { shared, given: 0, taken: 0 })
    }

    /// Whether the device should interrupt when it is done with a buffer.
    pub(super) fn listen(&self, on: bool) {
        self.shared.available.flags.store(if on { 0 } else { QUIET }, Ordering::Release);
    }

    /// Whether the device wants to be told of new buffers.
    pub(super) fn wants_notice(&self) -> bool {
        self.shared.used.flags.load(Ordering::Acquire) & QUIET == 0
    }

    /// Gives a buffer to the device, to read or to write, under a number below [`SIZE`].
    ///
    /// # Safety
    /// Until the device is done with the buffer it stays where it is and nothing
    /// else uses it; and the device has no other under that number, or none that
    /// it will come back to.
    pub(super) unsafe fn give(&mut self, slot: u8, buffer: &mut [u8], to_write: bool) {
        let at = usize::from(self.given) % SIZE;
        let (Some(descriptor), Some(entry)) =
            (self.shared.descriptors.get(usize::from(slot)), self.shared.available.ring.get(at))
        else {
            return;
        };
        let address = buffer.as_mut_ptr().expose_provenance() as u64;
        descriptor.address.store(address, Ordering::Relaxed);
        descriptor.len.store(buffer.len() as u32, Ordering::Relaxed);
        descriptor.flags.store(if to_write { WRITE } else { 0 }, Ordering::Relaxed);
        entry.store(slot.into(), Ordering::Relaxed);
        self.given = self.given.wrapping_add(1);
        // The device sees the index only after all of the above, and the bytes.
        self.shared.available.index.store(self.given, Ordering::Release);
    }

    /// Whether the device is done with a buffer.
    pub(super) fn done(&self) -> bool {
        self.shared.used.index.load(Ordering::Acquire) != self.taken
    }

    /// The number of a buffer that the device is done with, and how many bytes it
    /// wrote: claims.
    pub(super) fn take(&mut self) -> Option<(u32, u32)> {
        if !self.done() {
            return None;
        }
        let element = self.shared.used.ring.get(usize::from(self.taken) % SIZE)?;
        self.taken = self.taken.wrapping_add(1);
        Some((element.id.load(Ordering::Relaxed), element.len.load(Ordering::Relaxed)))
    }
}
