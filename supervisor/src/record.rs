//! The record of a guest that failed, as the kernel and the tender write it, and
//! the early log lines that come on the same stream.

use std::fmt::Write;

/// The most bytes of one line that are kept.
const MAX_LINE: usize = 4096;
/// The most lines of a record that are kept.
const MAX_LINES: usize = 512;

/// Why and where a guest failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// `panic`, `fault`, `stack-overflow`, `out-of-memory`, `double-fault` or `boot`.
    pub kind: String,
    /// Why, in one line.
    pub reason: String,
    /// Where in the source, for a panic.
    pub at: Option<String>,
    /// Registers, for an exception.
    pub regs: Vec<(String, String)>,
    /// Nanoseconds since the guest's start.
    pub time: Option<u64>,
    /// The last log lines, oldest first.
    pub log: Vec<String>,
    /// Whether it came to its `end`.
    pub whole: bool,
}

impl Record {
    /// In one line: `panic: no such luck at src/luck.rs:7:1`.
    pub fn summary(&self) -> String {
        let mut out = format!("{}: {}", self.kind, self.reason);
        if let Some(at) = &self.at {
            let _ = write!(out, " at {at}");
        }
        out
    }

    /// Laid out for people, below the summary.
    pub fn details(&self) -> String {
        let mut out = String::new();
        if let Some(ns) = self.time {
            let _ = writeln!(out, "  after {:.3} s", ns as f64 / 1e9);
        }
        for row in self.regs.chunks(3) {
            let cells: Vec<String> = row.iter().map(|(n, v)| format!("{n:>6} {v:<18}")).collect();
            let _ = writeln!(out, "  {}", cells.join(" ").trim_end());
        }
        if !self.log.is_empty() {
            out += "  the last lines of its log:\n";
        }
        for line in &self.log {
            let _ = writeln!(out, "    {line}");
        }
        if !self.whole {
            out += "  (the record was cut off)\n";
        }
        out
    }
}

/// Takes a stream of lines apart.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    lines: usize,
    record: Option<Record>,
}

impl Parser {
    /// Takes bytes. Lines that belong to no record go to `log`.
    pub fn feed(&mut self, bytes: &[u8], log: &mut dyn FnMut(&str)) {
        for &b in bytes {
            if b == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.line(printable(&line).trim_end(), log);
            } else if self.line.len() < MAX_LINE {
                self.line.push(b);
            }
        }
    }

    /// The record, if one began. To be asked at the end of the stream.
    pub fn record(self) -> Option<Record> {
        self.record
    }

    fn line(&mut self, line: &str, log: &mut dyn FnMut(&str)) {
        let Some(record) = self.record.as_mut().filter(|r| !r.whole) else {
            // The first record counts: what comes after it fails because of it.
            match line {
                "atoll-record 1" if self.record.is_none() => self.record = Some(Record::default()),
                "" => {}
                _ => log(line),
            }
            return;
        };
        self.lines += 1;
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "kind" => record.kind = value.into(),
            "reason" => record.reason = value.into(),
            "at" => record.at = Some(value.into()),
            "time" => record.time = value.parse().ok(),
            "end" => record.whole = true,
            _ if self.lines > MAX_LINES => {}
            "reg" => {
                if let Some((name, value)) = value.split_once(' ') {
                    record.regs.push((name.into(), value.into()));
                }
            }
            "log" => record.log.push(value.into()),
            // A newer guest may say more.
            _ => {}
        }
    }
}

/// What may go to a terminal: a guest must not write escape sequences to it.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "early line\natoll-record 1\nkind panic\nreason no luck\nat a.rs:1:2\n\
        reg rip 0x10\ntime 1500000000\nlog one\nlog \x1b[31mtwo\nnew thing\nend\nlate\n";

    #[test]
    fn a_record_is_found_among_log_lines_however_the_bytes_come() {
        for size in [1, 7, 1000] {
            let (mut parser, mut log) = (Parser::default(), Vec::new());
            for part in TEXT.as_bytes().chunks(size) {
                parser.feed(part, &mut |l| log.push(l.to_owned()));
            }
            assert_eq!(log, ["early line", "late"]);
            let record = parser.record().unwrap();
            assert_eq!(record.summary(), "panic: no luck at a.rs:1:2");
            assert_eq!(record.log, ["one", "\u{fffd}[31mtwo"]);
            assert!(record.whole && record.details().contains("after 1.500 s"));
        }
    }

    #[test]
    fn a_record_that_is_cut_off_or_endless_is_still_one() {
        let mut parser = Parser::default();
        parser.feed(b"atoll-record 1\nkind fault\nrea", &mut |_| {});
        let record = parser.record().unwrap();
        assert!(!record.whole && record.details().contains("cut off"));
        let mut parser = Parser::default();
        parser.feed(b"atoll-record 1\n", &mut |_| {});
        for _ in 0..10_000 {
            parser.feed(b"log x\n", &mut |_| {});
        }
        parser.feed(&[b'x'; 100_000], &mut |_| {});
        let record = parser.record().unwrap();
        assert_eq!(record.log.len(), MAX_LINES);
    }
}
