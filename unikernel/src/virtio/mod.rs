//! Devices: found on the command line, driven through `virtio-drivers`' transport.
//!
//! The rest is ours: that crate's console has one port and one small buffer, and
//! its queue loses a descriptor with each buffer that a device never returns.

pub(crate) mod console;
mod queue;
mod rng;
mod split;

use core::ptr::NonNull;

use atoll_runtime::platform::{Conn, Signal, Time};
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};

use crate::arch::{lapic, time};
use crate::logic::devices::Slot;
use console::Console;
use rng::Rng;

/// A device's registers.
pub(crate) type Registers = MmioTransport<'static>;

/// Register windows that the page tables cover.
const WINDOW: core::ops::Range<u64> = 0xfea0_0000..0xfec0_0000;

bitflags::bitflags! {
    /// Features that are asked for (VIRTIO 1.2, 6 and 5.3.3).
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Features: u64 {
        /// A console with many ports.
        const MULTIPORT = 1 << 1;
        /// The modern interface.
        const VERSION_1 = 1 << 32;
    }
}

/// The devices that a guest uses.
#[derive(Default)]
pub(crate) struct Devices {
    console: Option<Console>,
    rng: Option<Rng>,
}

impl Devices {
    /// The next signal. When there is none, everything sent so far is on its way.
    pub(crate) fn poll(&mut self) -> Option<Signal> {
        self.console.as_mut()?.poll()
    }

    /// Takes received bytes.
    pub(crate) fn recv(&mut self, conn: Conn, buf: &mut [u8]) -> usize {
        self.console.as_mut().map_or(0, |c| c.recv(conn, buf))
    }

    /// Accepts bytes to send.
    pub(crate) fn send(&mut self, conn: Conn, bytes: &[u8]) -> usize {
        self.console.as_mut().map_or(bytes.len(), |c| c.send(conn, bytes))
    }

    /// Ends a connection; what was sent on it still goes out.
    pub(crate) fn close(&mut self, conn: Conn) {
        if let Some(console) = &mut self.console {
            console.close(conn);
        }
    }

    /// Everything sent so far is on its way.
    pub(crate) fn flush(&mut self) {
        if let Some(console) = &mut self.console {
            console.flush();
        }
    }

    /// Sleeps until something happens or the time has come.
    pub(crate) fn idle(&mut self, until: Option<Time>) {
        let console = &mut self.console;
        if let Some(c) = console {
            c.flush();
            c.listen(true);
        }
        // Interrupts are off: what arrives from here on wakes the sleep below.
        if !console.as_ref().is_some_and(|c| c.due()) && time::alarm(until) {
            lapic::wait();
            if let Some(c) = console {
                c.acknowledge();
            }
            lapic::end_of_interrupt();
        }
        if let Some(c) = console {
            c.listen(false);
        }
    }

    /// A seed of the entropy device, once.
    pub(crate) fn seed(&mut self) -> Option<[u8; rng::SEED]> {
        self.rng.take()?.seed()
    }

    /// The TSC when the first bytes went out on `control`; 0 before.
    pub(crate) fn first_reply(&self) -> u64 {
        self.console.as_ref().map_or(0, |c| c.first_reply)
    }
}

/// Starts the devices that the host announced. `buffers` are the bytes that a
/// stream may hold in each direction.
pub(crate) fn start(slots: &[Slot], buffers: usize) -> Result<Devices, &'static str> {
    let mut devices = Devices::default();
    // QEMU fills its slots from the last.
    for slot in slots.iter().rev() {
        let Some((kind, registers)) = open(slot) else { continue };
        match kind {
            DeviceType::Console if devices.console.is_none() => {
                devices.console = Some(Console::start(registers, slot.line, buffers)?);
            }
            DeviceType::EntropySource if devices.rng.is_none() => {
                devices.rng = Rng::start(registers);
            }
            other => log::warn!("virtio: device {} at {:#x} is not used", other as u8, slot.base),
        }
        if devices.console.is_some() && devices.rng.is_some() {
            break;
        }
    }
    Ok(devices)
}

/// The registers of a slot, if a device is in it.
fn open(slot: &Slot) -> Option<(DeviceType, Registers)> {
    let end = slot.base.checked_add(slot.size)?;
    if !WINDOW.contains(&slot.base) || end > WINDOW.end || !slot.base.is_multiple_of(8) {
        log::warn!("virtio: a slot at {:#x} is out of reach", slot.base);
        return None;
    }
    // QEMU announces every slot it has; in an empty one the device id is 0.
    // SAFETY: the window is mapped uncached, and reading the id has no effect.
    if unsafe { ((slot.base + 8) as *const u32).read_volatile() } == 0 {
        return None;
    }
    let header = NonNull::new(slot.base as *mut VirtIOHeader)?;
    // SAFETY: as above; the window is mapped for good, and each slot is opened once.
    match unsafe { MmioTransport::new(header, slot.size as usize) } {
        Ok(registers) => Some((registers.device_type(), registers)),
        Err(e) => {
            log::warn!("virtio: slot {:#x}: {e}", slot.base);
            None
        }
    }
}
