//! How the machine dies: one record on the debug port, then the end.
//!
//! Everything that goes wrong for good ends in [`end`]. It takes no memory from
//! the heap and no lock that could be held: what is in use where the death
//! happened is left out. If writing itself fails, the machine ends at once, and
//! the missing `end` line tells.

use core::fmt::{self, Write};
use core::panic::{Location, PanicInfo};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::exit::{Debug, RECORDED, exit};
use crate::logic::record::{Kind, Record};

static DYING: AtomicBool = AtomicBool::new(false);

/// Writes the record and ends the machine.
pub(crate) fn end(
    kind: Kind,
    reason: fmt::Arguments<'_>,
    at: Option<&Location<'_>>,
    registers: &[(&'static str, u64)],
) -> ! {
    if DYING.swap(true, Ordering::Relaxed) {
        let _ = Debug.write_str("\nlog while this record was written: ");
        let _ = Debug.write_fmt(reason);
        exit(RECORDED);
    }
    let record = Record { kind, reason, at, registers, time: crate::arch::time::last() };
    let written = crate::ring::LINES.with(|l| record.write(&mut Debug, l.all()));
    if written.is_none() {
        let _ = record.write(&mut Debug, core::iter::once("(the log was being written)"));
    }
    exit(RECORDED)
}

/// The guest could not start.
pub(crate) fn boot(reason: fmt::Arguments<'_>) -> ! {
    end(Kind::Boot, reason, None, &[])
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let message = info.message();
    match crate::heap::failed() {
        // What `alloc` says when it gives up; there is no other way to learn it.
        Some(size) if says_out_of_memory(&message) => {
            let all = crate::heap::memory();
            let reason = format_args!("no {size} bytes: {} of {} in use", all.used, all.total);
            // The place is always the same one, inside `alloc`.
            end(Kind::OutOfMemory, reason, None, &[])
        }
        _ => end(Kind::Panic, format_args!("{message}"), info.location(), &[]),
    }
}

fn says_out_of_memory(message: &impl fmt::Display) -> bool {
    struct Start(usize, bool);
    impl Write for Start {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            let expected = "memory allocation of ".as_bytes();
            for byte in s.bytes() {
                match expected.get(self.0) {
                    Some(e) if *e == byte => self.0 += 1,
                    Some(_) => return Err(fmt::Error),
                    None => break,
                }
            }
            self.1 = self.0 == expected.len();
            if self.1 { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut start = Start(0, false);
    let _ = write!(start, "{message}");
    start.1
}
