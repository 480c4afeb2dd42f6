//! Grants: pages of this domain that another may map (`public/grant_table.h`).
//!
//! Version 1 of the table: an entry is flags, domain, frame. The first eight are Xen's
//! tools'.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use super::call::Errno;
use super::memory::{Space, add_to_physmap};
use super::{Domid, PAGE};

/// A page that is lent, by its place in the table.
pub type Ref = u32;

/// Entries in the one page of the table that is used.
pub const ENTRIES: usize = PAGE / 8;
/// `GNTTAB_NR_RESERVED_ENTRIES`.
const RESERVED: u32 = 8;
/// `GTF_permit_access`.
const PERMIT: u16 = 1;

/// `struct grant_entry_v1`.
#[repr(C)]
#[derive(Debug)]
struct Entry {
    flags: AtomicU16,
    domid: AtomicU16,
    frame: AtomicU32,
}

/// The table. What was lent stays lent: a domain cannot take a page back that somebody has
/// mapped, so it lends the same ones for good.
#[derive(Debug)]
pub struct Grants {
    page: NonNull<[Entry; ENTRIES]>,
    next: Ref,
}

impl Grants {
    /// Puts the table into a page of this domain's memory, whose address is its frame's too.
    ///
    /// # Safety
    /// The page is mapped, writable, and from now on nothing else's for good.
    pub unsafe fn map(page: NonNull<u8>) -> Result<Grants, Errno> {
        let mut grants = Grants { page: page.cast(), next: RESERVED };
        grants.resume()?;
        Ok(grants)
    }

    /// Puts it there again, empty, as is needed after a suspension.
    pub fn resume(&mut self) -> Result<(), Errno> {
        let frame = self.page.as_ptr() as usize / PAGE;
        // SAFETY: `map` was promised that the page is for this alone.
        unsafe { add_to_physmap(Space::GrantTable, 0, frame as u64) }?;
        self.next = RESERVED;
        Ok(())
    }

    /// Lends a frame to a domain, to read and to write. None when the table is full.
    pub fn lend(&mut self, to: Domid, frame: u64) -> Option<Ref> {
        // SAFETY: the page is mapped as long as this lives; Xen's accesses are atomic too.
        let table = unsafe { self.page.as_ref() };
        let entry = table.get(self.next as usize)?;
        entry.domid.store(to, Ordering::Relaxed);
        entry.frame.store(u32::try_from(frame).ok()?, Ordering::Relaxed);
        // Xen sees the flags only after the rest.
        entry.flags.store(PERMIT, Ordering::Release);
        let reference = self.next;
        self.next += 1;
        Some(reference)
    }
}
