//! Parameters of a domain (`public/hvm/params.h`, `public/hvm/hvm_op.h`).

use xen_sys::__HYPERVISOR_hvm_op;

use super::call::{Errno, call};
use super::{Domid, SELF};

/// Which parameter, with Xen's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Param {
    /// `HVM_PARAM_CALLBACK_IRQ`: how an event interrupts.
    CallbackIrq = 0,
    /// `HVM_PARAM_STORE_PFN`: the frame of XenStore's ring.
    StorePfn = 1,
    /// `HVM_PARAM_STORE_EVTCHN`: its port.
    StoreEvtchn = 2,
    /// `HVM_PARAM_CONSOLE_PFN`: the frame of the console's ring.
    ConsolePfn = 17,
    /// `HVM_PARAM_CONSOLE_EVTCHN`: its port.
    ConsoleEvtchn = 18,
}

/// `struct xen_hvm_param`.
#[repr(C)]
struct HvmParam {
    domid: Domid,
    pad: u16,
    index: u32,
    value: u64,
}

/// `HVMOP_set_param`, `HVMOP_get_param`.
const SET: u64 = 0;
const GET: u64 = 1;

/// The value of a parameter.
pub fn get(param: Param) -> Result<u64, Errno> {
    let mut op = HvmParam { domid: SELF, pad: 0, index: param as u32, value: 0 };
    // SAFETY: Xen reads and writes the structure, which lives on.
    unsafe { call(__HYPERVISOR_hvm_op, GET, (&raw mut op) as u64) }?;
    Ok(op.value)
}

/// Says by which vector an event interrupts (`HVM_PARAM_CALLBACK_TYPE_VECTOR`). Tools take
/// it as the sign that a domain listens to `control/shutdown`: without it `xl shutdown` and
/// `xl save` do not even ask.
pub fn set_callback(vector: u8) -> Result<(), Errno> {
    let value = 2 << 56 | u64::from(vector);
    let op = HvmParam { domid: SELF, pad: 0, index: Param::CallbackIrq as u32, value };
    // SAFETY: Xen reads the structure. No event interrupts while all are masked.
    unsafe { call(__HYPERVISOR_hvm_op, SET, (&raw const op) as u64) }.map(drop)
}
