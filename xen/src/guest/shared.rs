//! The page that Xen and the domain share (`struct shared_info`): time, and which ports
//! have events.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use xen_sys::shared_info;

use super::PAGE;
use super::call::Errno;
use super::event::{PORTS, Port};
use super::memory::{Space, add_to_physmap};
use super::time::Stamp;

const _: () = assert!(size_of::<shared_info>() <= PAGE);

/// The page.
#[derive(Debug)]
pub struct Shared {
    page: NonNull<shared_info>,
}

/// How often a value that changes is read before what there is counts.
const TRIES: usize = 1000;

impl Shared {
    /// Puts it into a page of this domain's memory, whose address is its frame's too.
    ///
    /// # Safety
    /// The page is mapped, writable, and from now on nothing else's for good.
    pub unsafe fn map(page: NonNull<u8>) -> Result<Shared, Errno> {
        let mut shared = Shared { page: page.cast() };
        shared.resume()?;
        Ok(shared)
    }

    /// Puts it there again, as is needed after a suspension.
    pub fn resume(&mut self) -> Result<(), Errno> {
        let frame = self.page.as_ptr() as usize / PAGE;
        // SAFETY: `map` was promised that the page is for this alone.
        unsafe { add_to_physmap(Space::SharedInfo, 0, frame as u64) }?;
        // SAFETY: the page is the shared info page now, and Xen's accesses are atomic too.
        let (masks, pending) = unsafe {
            let page = self.page.as_ptr();
            (
                &*(&raw const (*page).evtchn_mask).cast::<[AtomicU64; PORTS / 64]>(),
                &*(&raw const (*page).vcpu_info[0].evtchn_upcall_pending).cast::<AtomicU8>(),
            )
        };
        masks.iter().for_each(|m| m.store(!0, Ordering::SeqCst));
        pending.store(0, Ordering::SeqCst);
        Ok(())
    }

    /// Forgets the event of a port, so that the next one shows. Look afterwards at what the
    /// event was about.
    pub fn clear(&self, port: Port) {
        if let Some(word) = self.pending().get(port as usize / 64) {
            word.fetch_and(!(1 << (port % 64)), Ordering::SeqCst);
        }
    }

    fn pending(&self) -> &[AtomicU64; PORTS / 64] {
        // SAFETY: the page is mapped as long as this lives; Xen's accesses are atomic too.
        unsafe { &*(&raw const (*self.page.as_ptr()).evtchn_pending).cast() }
    }

    /// How the TSC and the system time go together now.
    pub fn stamp(&self) -> Stamp {
        let time = self.page.as_ptr();
        let mut stamp = Stamp::default();
        for _ in 0..TRIES {
            // SAFETY: the page is mapped as long as this lives. Xen writes meanwhile, and
            // says so by the version: odd while it does, another one after it.
            unsafe {
                let time = &raw const (*time).vcpu_info[0].time;
                let before = (&raw const (*time).version).read_volatile();
                fence(Ordering::Acquire);
                stamp = Stamp {
                    tsc: (&raw const (*time).tsc_timestamp).read_volatile(),
                    system: (&raw const (*time).system_time).read_volatile(),
                    mul: (&raw const (*time).tsc_to_system_mul).read_volatile(),
                    shift: (&raw const (*time).tsc_shift).read_volatile(),
                };
                fence(Ordering::Acquire);
                let after = (&raw const (*time).version).read_volatile();
                if before == after && before.is_multiple_of(2) {
                    break;
                }
            }
        }
        stamp
    }

    /// The time of day at system time zero, nanoseconds since 1970 UTC.
    pub fn wall(&self) -> u64 {
        let page = self.page.as_ptr();
        let mut wall = 0;
        for _ in 0..TRIES {
            // SAFETY: as in `stamp`.
            unsafe {
                let before = (&raw const (*page).wc_version).read_volatile();
                fence(Ordering::Acquire);
                let low = (&raw const (*page).wc_sec).read_volatile();
                let high = (&raw const (*page).wc_sec_hi).read_volatile();
                let ns = (&raw const (*page).wc_nsec).read_volatile();
                let sec = u64::from(high) << 32 | u64::from(low);
                wall = sec.saturating_mul(1_000_000_000).saturating_add(ns.into());
                fence(Ordering::Acquire);
                let after = (&raw const (*page).wc_version).read_volatile();
                if before == after && before.is_multiple_of(2) {
                    break;
                }
            }
        }
        wall
    }
}
