//! The log of the machine itself, and where the guest's lines outlive the guest.

use log::{LevelFilter, Log, Metadata};

use crate::arch::Lone;
use crate::logic::lines::Lines;

/// The last lines. A record reads them.
pub(crate) static LINES: Lone<Lines> = Lone::new(Lines::new());

struct Ring;

impl Log for Ring {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::STATIC_MAX_LEVEL
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.with(|l| l.machine(*record.args()));
        #[cfg(feature = "xen")]
        LINES.with(|l| l.last().map(crate::xen::console::line));
    }

    fn flush(&self) {}
}

/// Sends what drivers log into the ring.
pub(crate) fn start() {
    // It fails only when there is a logger already, which is this one.
    let _ = log::set_logger(&Ring);
    log::set_max_level(LevelFilter::Info);
}
