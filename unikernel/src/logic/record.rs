//! The fault record: what a guest says when it dies.
//!
//! Plain text, one thing a line, because it is written by code that can rely on
//! nothing and read by a host that must not trust it. The first line names the
//! format and the last is `end`, so that a record that was cut off shows.

use core::fmt::{self, Write};

/// What kind of death it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The code gave up by itself.
    Panic,
    /// The processor refused an instruction.
    Fault,
    /// A stack ran into its guard page.
    StackOverflow,
    /// There was no memory left for what was wanted.
    OutOfMemory,
    /// A fault while a fault was delivered.
    DoubleFault,
    /// The guest could not start.
    Boot,
}

impl Kind {
    /// The word for it in a record.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Panic => "panic",
            Kind::Fault => "fault",
            Kind::StackOverflow => "stack-overflow",
            Kind::OutOfMemory => "out-of-memory",
            Kind::DoubleFault => "double-fault",
            Kind::Boot => "boot",
        }
    }
}

/// One death.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// What kind.
    pub kind: Kind,
    /// Why, in one line.
    pub reason: fmt::Arguments<'a>,
    /// Where in the source, for a panic.
    pub at: Option<&'a core::panic::Location<'a>>,
    /// Registers by name, for an exception.
    pub registers: &'a [(&'static str, u64)],
    /// Nanoseconds since the start.
    pub time: u64,
}

impl Record<'_> {
    /// Writes the record with the last log lines, oldest first.
    pub fn write<'l>(
        &self,
        out: &mut dyn Write,
        log: impl Iterator<Item = &'l str>,
    ) -> fmt::Result {
        write!(out, "atoll-record 1\nkind {}\nreason ", self.kind.word())?;
        OneLine(out).write_fmt(self.reason)?;
        out.write_char('\n')?;
        if let Some(at) = self.at {
            writeln!(out, "at {}:{}:{}", at.file(), at.line(), at.column())?;
        }
        for (name, value) in self.registers {
            writeln!(out, "reg {name} {value:#x}")?;
        }
        writeln!(out, "time {}", self.time)?;
        for line in log {
            writeln!(out, "log {line}")?;
        }
        out.write_str("end\n")
    }
}

/// Keeps a text on one line.
struct OneLine<'a>(&'a mut dyn Write);

impl Write for OneLine<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for (n, part) in s.split(|c: char| c.is_control()).enumerate() {
            if n > 0 {
                self.0.write_char(' ')?;
            }
            self.0.write_str(part)?;
        }
        Ok(())
    }
}

/// Names of the exceptions that need no telling apart by their error code.
pub fn exception(vector: u64) -> &'static str {
    match vector {
        0 => "division by zero",
        1 => "debug trap",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow trap",
        5 => "bound range exceeded",
        6 => "invalid instruction",
        7 => "no floating point unit",
        8 => "a fault while a fault was delivered",
        10 => "invalid task state",
        11 => "segment not present",
        12 => "stack segment fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "x87 floating point error",
        17 => "misaligned access",
        18 => "machine check",
        19 => "SIMD floating point error",
        _ => "unknown exception",
    }
}

/// What a page fault's error code says was tried.
pub fn attempt(error: u64) -> &'static str {
    match (error & 0x10 != 0, error & 2 != 0, error & 1 != 0) {
        (true, _, true) => "jump into data",
        (true, _, false) => "jump to unmapped memory",
        (_, true, true) => "write to read-only memory",
        (_, true, false) => "write to unmapped memory",
        (_, false, true) => "read of protected memory",
        (_, false, false) => "read of unmapped memory",
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Record, attempt};

    #[test]
    fn a_record_is_the_text_that_hosts_read() {
        let mut out = String::new();
        let record = Record {
            kind: Kind::StackOverflow,
            reason: format_args!("the {} stack\nis full", "main"),
            at: None,
            registers: &[("rip", 0x10_0000), ("rsp", 0)],
            time: 12,
        };
        record.write(&mut out, ["a b", "c"].into_iter()).expect("strings take everything");
        assert_eq!(
            out,
            "atoll-record 1\nkind stack-overflow\nreason the main stack is full\n\
             reg rip 0x100000\nreg rsp 0x0\ntime 12\nlog a b\nlog c\nend\n"
        );
    }

    #[test]
    fn a_panic_says_where() {
        let mut out = String::new();
        let here = core::panic::Location::caller();
        let record = Record {
            kind: Kind::Panic,
            reason: format_args!("x"),
            at: Some(here),
            registers: &[],
            time: 0,
        };
        record.write(&mut out, core::iter::empty()).expect("strings take everything");
        assert!(out.contains(&format!("at {}:{}:{}\n", here.file(), here.line(), here.column())));
    }

    #[test]
    fn page_faults_are_told_apart() {
        assert_eq!(attempt(0), "read of unmapped memory");
        assert_eq!(attempt(3), "write to read-only memory");
        assert_eq!(attempt(0x11), "jump into data");
    }
}
