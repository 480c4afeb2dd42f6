//! This machine as the runtime's [`Platform`].

use atoll_config::launch::Launch;
use atoll_runtime::platform::{Conn, Memory, Platform, Signal, Time, Trap};

use crate::arch::{exit, lapic, tables, time, traps};
use crate::virtio::Devices;

/// The machine.
pub(crate) struct Machine {
    devices: Devices,
    launch: Launch,
}

impl Machine {
    pub(crate) fn new(devices: Devices, launch: Launch) -> Machine {
        Machine { devices, launch }
    }

    /// Ends the machine with a status of the guest.
    pub(crate) fn exit(mut self, status: u8) -> ! {
        if let Some(console) = &mut self.devices.console {
            console.flush();
        }
        exit::exit(status.min(exit::RECORDED - 1))
    }
}

impl Platform for Machine {
    fn now(&mut self) -> Time {
        time::now()
    }

    fn wall(&self) -> u64 {
        self.launch.wall
    }

    #[cfg(feature = "atoms")]
    fn holds(&self) -> bool {
        self.launch.restore
    }

    fn seed(&mut self) -> [u8; 32] {
        if let Some(seed) = self.devices.rng.take().and_then(|rng| rng.seed()) {
            return seed;
        }
        match processor_seed() {
            Some(seed) => {
                log::info!("seed: no entropy device answered; the processor's generator is used");
                seed
            }
            None => {
                log::warn!("seed: no entropy device and no rdrand: the seed can be guessed");
                clock_seed()
            }
        }
    }

    fn poll(&mut self) -> Option<Signal> {
        self.devices.console.as_mut()?.poll()
    }

    fn recv(&mut self, conn: Conn, buf: &mut [u8]) -> usize {
        self.devices.console.as_mut().map_or(0, |c| c.recv(conn, buf))
    }

    fn send(&mut self, conn: Conn, bytes: &[u8]) -> usize {
        self.devices.console.as_mut().map_or(bytes.len(), |c| c.send(conn, bytes))
    }

    fn close(&mut self, conn: Conn) {
        if let Some(console) = &mut self.devices.console {
            console.close(conn);
        }
    }

    fn idle(&mut self, until: Option<Time>) {
        let console = &mut self.devices.console;
        if let Some(c) = console {
            c.flush();
            c.listen(true);
        }
        #[cfg(feature = "atoms")]
        crate::wasm::watchdog::rest();
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

    fn cpu(&mut self) -> u64 {
        time::now().0
    }

    fn memory(&self) -> Memory {
        crate::heap::memory()
    }

    fn log(&mut self, line: &str) {
        crate::ring::LINES.with(|l| l.guest(line));
    }

    fn machine_log(&mut self, sink: &mut dyn FnMut(&str)) {
        crate::ring::LINES.with(|l| l.take(sink));
    }

    fn stats(&mut self, sink: &mut dyn FnMut(&'static str, u64)) {
        let (boot, hz) = time::figures();
        sink("boot_tsc", boot);
        sink("first_reply_tsc", self.devices.console.as_ref().map_or(0, |c| c.first_reply));
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
