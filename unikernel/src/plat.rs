//! This machine as the runtime's [`Platform`].

use atoll_config::launch::Launch;
use atoll_runtime::platform::{Conn, Memory, Platform, Signal, Time, Trap};

use crate::arch::{exit, tables, time, traps};
use crate::host::Host;
#[cfg(feature = "qemu")]
use crate::virtio::Devices;
#[cfg(feature = "xen")]
use crate::xen::Domain;

/// Where this machine is: what brings its streams, and wakes it. There is one, on the
/// stack of `boot`.
#[allow(clippy::large_enum_variant, reason = "there is one")]
pub(crate) enum Place {
    /// QEMU, with virtio.
    #[cfg(feature = "qemu")]
    Qemu(Devices),
    /// Xen.
    #[cfg(feature = "xen")]
    Xen(Domain),
}

/// The same for either place.
macro_rules! at {
    ($place:expr, $it:ident => $do:expr) => {
        match $place {
            #[cfg(feature = "qemu")]
            Place::Qemu($it) => $do,
            #[cfg(feature = "xen")]
            Place::Xen($it) => $do,
        }
    };
}

/// Bytes that a stream may hold in each direction, on a machine with that much memory.
fn buffers(memory: u64) -> usize {
    if memory >= 8 << 20 { 64 << 10 } else { 16 << 10 }
}

impl Place {
    /// Starts the clock and whatever the host gave, when there is a heap.
    pub(crate) fn start(host: &Host, boot_tsc: u64) -> Result<Place, &'static str> {
        let buffers = buffers(crate::heap::memory().total);
        #[cfg(feature = "xen")]
        if let Some(born) = &host.xen {
            return Domain::start(born, boot_tsc, buffers).map(Place::Xen);
        }
        time::start(boot_tsc);
        #[cfg(feature = "qemu")]
        return crate::virtio::start(&host.slots, buffers).map(Place::Qemu);
        #[cfg(not(feature = "qemu"))]
        Err("this image is for Xen alone: build it with \"qemu\" among its platforms")
    }
}

/// The machine.
pub(crate) struct Machine {
    place: Place,
    launch: Launch,
}

impl Machine {
    pub(crate) fn new(place: Place, launch: Launch) -> Machine {
        Machine { place, launch }
    }

    /// Ends the machine with a status of the guest.
    pub(crate) fn exit(self, status: u8) -> ! {
        let status = status.min(exit::RECORDED - 1);
        match self.place {
            #[cfg(feature = "qemu")]
            Place::Qemu(mut devices) => {
                devices.flush();
                exit::exit(status)
            }
            #[cfg(feature = "xen")]
            Place::Xen(domain) => domain.exit(status),
        }
    }
}

impl Platform for Machine {
    fn now(&mut self) -> Time {
        time::now()
    }

    fn wall(&self) -> u64 {
        #[cfg(feature = "xen")]
        if let wall @ 1.. = crate::xen::clock::wall() {
            return wall;
        }
        self.launch.wall
    }

    #[cfg(feature = "atoms")]
    fn holds(&self) -> bool {
        self.launch.restore
    }

    #[cfg(feature = "atoms")]
    fn keeps(&self) -> bool {
        self.launch.store
    }

    fn seed(&mut self) -> [u8; 32] {
        #[cfg(feature = "qemu")]
        #[allow(irrefutable_let_patterns, reason = "there may be one place only")]
        if let Place::Qemu(devices) = &mut self.place
            && let Some(seed) = devices.seed()
        {
            return seed;
        }
        match processor_seed() {
            Some(seed) => {
                log::info!("seed: the processor's generator is used");
                seed
            }
            None => {
                log::warn!("seed: no entropy device and no rdrand: the seed can be guessed");
                clock_seed()
            }
        }
    }

    fn poll(&mut self) -> Option<Signal> {
        at!(&mut self.place, it => it.poll())
    }

    fn recv(&mut self, conn: Conn, buf: &mut [u8]) -> usize {
        at!(&mut self.place, it => it.recv(conn, buf))
    }

    fn send(&mut self, conn: Conn, bytes: &[u8]) -> usize {
        at!(&mut self.place, it => it.send(conn, bytes))
    }

    fn close(&mut self, conn: Conn) {
        at!(&mut self.place, it => it.close(conn));
    }

    fn idle(&mut self, until: Option<Time>) {
        #[cfg(feature = "atoms")]
        crate::wasm::watchdog::rest();
        at!(&mut self.place, it => it.idle(until));
    }

    fn cpu(&mut self) -> u64 {
        time::now().0
    }

    fn memory(&self) -> Memory {
        crate::heap::memory()
    }

    fn log(&mut self, line: &str) {
        crate::ring::LINES.with(|l| l.guest(line));
        #[cfg(feature = "xen")]
        crate::xen::console::line(line);
    }

    fn machine_log(&mut self, sink: &mut dyn FnMut(&str)) {
        crate::ring::LINES.with(|l| l.take(sink));
    }

    fn stats(&mut self, sink: &mut dyn FnMut(&'static str, u64)) {
        let (boot, hz) = time::figures();
        sink("boot_tsc", boot);
        sink("first_reply_tsc", at!(&self.place, it => it.first_reply()));
        sink("tsc_hz", hz);
        sink("interrupts", traps::interrupts());
    }

    fn trap(&mut self, how: Trap) {
        match how {
            Trap::Read => read_unmapped(),
            // SAFETY: page faults by design, and the fault ends the machine.
            Trap::Code => unsafe { (processor_seed as *const () as *mut u8).write_volatile(0xcc) },
            Trap::Data => {
                let data =
                    crate::ring::LINES.with(|l| core::ptr::from_mut(l) as usize).unwrap_or(0);
                // SAFETY: as above.
                unsafe { core::arch::asm!("call {}", in(reg) data) };
            }
            Trap::Double => {
                tables::break_faults();
                read_unmapped();
            }
        }
    }
}

fn read_unmapped() {
    // SAFETY: faults by design, and the fault ends the machine.
    unsafe { core::arch::asm!("mov al, byte ptr [{}]", in(reg) 0x10_u64, out("al") _) };
}

/// A seed of the processor's own generator, where it has one that works.
fn processor_seed() -> Option<[u8; 32]> {
    let random = x86_64::instructions::random::RdRand::new()?;
    let mut seed = [0; 32];
    for word in seed.as_chunks_mut().0 {
        *word = (0..10).find_map(|_| random.get_u64())?.to_le_bytes();
    }
    Some(seed)
}

/// No seed at all, only a different one each time.
fn clock_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    let mut mix = time::tsc();
    for word in seed.as_chunks_mut().0 {
        mix = (mix ^ time::tsc()).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        *word = mix.to_le_bytes();
    }
    seed
}
