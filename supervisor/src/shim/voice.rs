//! What a guest says goes to its log on disk, and what becomes of it to the shim's tree.

use std::cell::{Cell, RefCell};

use super::serving::Serving;
use super::{Report, tree};
use crate::guestlog::Writer;
use crate::record::printable;
use crate::run;

/// Writes down what is said.
pub(super) struct Voice {
    serving: Serving<tree::Guest>,
    log: RefCell<Writer>,
    /// Lines that could not be written since the last one that could.
    lost: Cell<u64>,
}

impl Voice {
    pub(super) fn new(serving: Serving<tree::Guest>, log: Writer) -> Voice {
        let at = log.position();
        serving.change(|g| g.log(at));
        Voice { serving, log: RefCell::new(log), lost: Cell::new(0) }
    }

    /// Where the log ends.
    pub(super) fn position(&self) -> u64 {
        self.log.borrow().position()
    }

    fn write(&self, line: &str) {
        let mut log = self.log.borrow_mut();
        let lost = self.lost.get();
        let text = match lost {
            0 => format!("{line}\n"),
            n => format!("atoll: {n} lines are lost: they could not be written\n{line}\n"),
        };
        match log.write(text.as_bytes()) {
            Ok(()) => self.lost.set(0),
            Err(_) => self.lost.set(lost + 1),
        }
        let at = log.position();
        drop(log);
        self.serving.change(|g| g.log(at));
    }
}

/// The guest's lines are written as they are; those about it begin with `atoll: `.
impl run::Voice for Voice {
    fn log(&self, line: &[u8]) {
        self.write(printable(line).trim_end());
    }

    fn say(&self, line: &str) {
        self.tell(line);
    }

    fn tell(&self, line: &str) {
        self.write(&format!("atoll: {}", printable(line.as_bytes())));
    }

    fn report(&self, report: &Report) {
        self.serving.change(|g| g.report(report));
    }
}
