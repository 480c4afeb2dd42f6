//! What the host says at the start: memory, devices, launch line.
//!
//! All of it is read before the page tables are made, and copied, so that the
//! firmware's memory where it lies need not be mapped for good.

use atoll_config::launch::Launch;
use heapless::Vec;
use pvh::start_info::reader::StartInfoReader;
use pvh::start_info::{MemmapTableEntry, MemmapType, StartInfo};

use crate::arch::paging::{Outside, reach};
#[cfg(feature = "qemu")]
use crate::logic::devices::{Slot, slots};
use crate::logic::ram::Ram;

/// What the host said.
pub(crate) struct Host {
    pub(crate) ram: Ram,
    #[cfg(feature = "qemu")]
    pub(crate) slots: Vec<Slot, 32>,
    pub(crate) launch: Launch,
    /// What Xen gave, where this is Xen.
    #[cfg(feature = "xen")]
    pub(crate) xen: Option<crate::xen::Born>,
    /// What lies outside of the memory and is to be mapped.
    pub(crate) outside: Vec<Outside, 3>,
}

/// Bytes of a command line that are read.
const LINE: usize = 4096;

/// Reads the start info at a physical address.
///
/// # Safety
/// The boot code handed the address over, and the page tables are the boot's.
pub(crate) unsafe fn read(address: u32) -> Result<Host, &'static str> {
    const FAR: &str = "the host's start info lies above 1 GiB; boot with less memory";
    if !reach(address.into(), size_of::<StartInfo>() as u64) {
        return Err(FAR);
    }
    // SAFETY: the address is readable now, and the reader checks the magic number.
    let info = unsafe { StartInfoReader::from_paddr_identity(address) };
    let info = info.ok_or("no PVH start info: boot this image with a PVH loader (qemu -kernel)")?;
    let raw = info.raw();

    let bytes = u64::from(raw.memmap_entries) * size_of::<MemmapTableEntry>() as u64;
    if !reach(raw.memmap_paddr, bytes) || !reach(raw.cmdline_paddr, LINE as u64) {
        return Err(FAR);
    }
    let mut ram = Ram::default();
    for entry in info.memmap().iter().filter(|e| e.ty() == MemmapType::Ram) {
        ram.add(entry.addr, entry.size);
    }
    let mut host = Host {
        ram,
        #[cfg(feature = "qemu")]
        slots: Vec::new(),
        launch: Launch::default(),
        #[cfg(feature = "xen")]
        xen: crate::xen::Born::find()?,
        outside: Vec::new(),
    };
    host.outside = host.outside();
    if raw.cmdline_paddr != 0 {
        // SAFETY: these bytes are readable, and nothing writes them now.
        let line = unsafe { core::slice::from_raw_parts(raw.cmdline_paddr as *const u8, LINE) };
        let end = line.iter().position(|b| *b == 0);
        let line = end.and_then(|end| line.get(..end));
        let line = line.ok_or("the command line is longer than 4095 bytes")?;
        host.launch = Launch::parse(line);
        #[cfg(feature = "qemu")]
        for slot in slots(line) {
            // More than there is room for are more than any guest uses.
            let _ = host.slots.push(slot);
        }
    }
    Ok(host)
}

impl Host {
    /// What is to be mapped: on QEMU the virtio registers, the I/O APIC and the local
    /// APIC; on Xen the two rings, and the local APIC, which Xen acts for, as it lies.
    fn outside(&self) -> Vec<Outside, 3> {
        #[cfg(feature = "xen")]
        if let Some(born) = &self.xen {
            let [store, console] = born.pages();
            let at = [0xfee0_0000, store, console];
            return at.into_iter().map(|at| Outside { at, registers: false }).collect();
        }
        let at = [0xfea0_0000, 0xfec0_0000, 0xfee0_0000];
        at.into_iter().map(|at| Outside { at, registers: true }).collect()
    }
}
