//! What Xen puts into a domain's memory when asked (`public/memory.h`).

use xen_sys::__HYPERVISOR_memory_op;

use super::call::{Errno, call};
use super::{Domid, SELF};

/// `XENMEM_add_to_physmap`.
const ADD_TO_PHYSMAP: u64 = 7;

/// `struct xen_add_to_physmap`.
#[repr(C)]
struct AddToPhysmap {
    domid: Domid,
    size: u16,
    space: u32,
    idx: u64,
    gpfn: u64,
}

/// What can be put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Space {
    /// The page of `shared_info` (`XENMAPSPACE_shared_info`).
    SharedInfo = 0,
    /// A page of the grant table (`XENMAPSPACE_grant_table`).
    GrantTable = 1,
}

/// Puts page `index` of a space in the place of a frame of this domain's memory. What was in
/// that frame is Xen's again.
///
/// # Safety
/// Nothing in the frame is in use, and from now on it is used as what the space says.
pub unsafe fn add_to_physmap(space: Space, index: u64, frame: u64) -> Result<(), Errno> {
    let op = AddToPhysmap { domid: SELF, size: 0, space: space as u32, idx: index, gpfn: frame };
    // SAFETY: Xen reads the structure; the frame is the caller's to give.
    unsafe { call(__HYPERVISOR_memory_op, ADD_TO_PHYSMAP, (&raw const op) as u64) }.map(drop)
}
