//! Hypercalls (`xen/include/public/arch-x86/xen-x86_64.h`): how Xen is found, and called.
//!
//! No hypercall page is used. It holds the one instruction that this processor has for
//! it, which can be told from its maker; and a page that the hypervisor writes and the
//! guest runs does not fit a guest that has no page of both kinds.

use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

/// Why Xen refused: an error number of Xen's (`public/errno.h`), which are Linux'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i64);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xen refused with error {}", self.0)
    }
}

impl core::error::Error for Errno {}

/// Xen's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// As the 4 of 4.17.
    pub major: u16,
    /// As the 17 of 4.17.
    pub minor: u16,
}

const UNKNOWN: u8 = 0;
const VMMCALL: u8 = 1;
const VMCALL: u8 = 2;

/// The instruction that calls the hypervisor.
static HOW: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Whether this processor is Xen's, by CPUID (`public/arch-x86/cpuid.h`): its leaves begin
/// at 0x40000000 or, where it shows another hypervisor's too, at a later multiple of 0x100.
/// Until this has said so, no call can be made.
pub fn detect() -> Option<Version> {
    // The processor says whether there is any hypervisor.
    if __cpuid(1).ecx >> 31 == 0 {
        return None;
    }
    let base = (0x4000_0000..0x4001_0000u32).step_by(0x100).find(|leaf| {
        let r = __cpuid(*leaf);
        // "XenVMMXenVMM"
        (r.ebx, r.ecx, r.edx) == (0x566e_6558, 0x6558_4d4d, 0x4d4d_566e)
    })?;
    let maker = __cpuid(0).ebx;
    // "Auth"enticAMD, "Hygo"nGenuine
    let how = if matches!(maker, 0x6874_7541 | 0x6f67_7948) { VMMCALL } else { VMCALL };
    HOW.store(how, Ordering::Relaxed);
    let version = __cpuid(base + 1).eax;
    Some(Version { major: (version >> 16) as u16, minor: version as u16 })
}

/// Calls the hypervisor. Fails with `ENOSYS` where there is none.
///
/// # Safety
/// What the call does to memory that its arguments name is sound.
pub(super) unsafe fn call(op: u32, first: u64, second: u64) -> Result<u64, Errno> {
    let out: i64;
    // SAFETY: the caller's promise. Xen takes the number in rax and the arguments in rdi and
    // rsi, gives its answer in rax, and may leave anything in the registers of arguments. It
    // uses no stack of ours. The processor has the instruction, since it is Xen's.
    unsafe {
        match HOW.load(Ordering::Relaxed) {
            VMMCALL => asm!(
                "vmmcall",
                inlateout("rax") u64::from(op) => out,
                inlateout("rdi") first => _, inlateout("rsi") second => _,
                lateout("rdx") _, lateout("r10") _, lateout("r8") _, lateout("r9") _,
                options(nostack)
            ),
            VMCALL => asm!(
                "vmcall",
                inlateout("rax") u64::from(op) => out,
                inlateout("rdi") first => _, inlateout("rsi") second => _,
                lateout("rdx") _, lateout("r10") _, lateout("r8") _, lateout("r9") _,
                options(nostack)
            ),
            _ => return Err(Errno(38)),
        }
    }
    u64::try_from(out).map_err(|_| Errno(-out))
}
