//! What people see: names, times, sizes, and lines that a guest says.

use std::io::{IsTerminal, Write};

use crate::record::printable;
use crate::run::Voice;
use atoll_9p::types::{Stat, mode};

/// Prints on standard error, with a guest's name before its lines.
#[derive(Clone, Debug)]
pub struct Printer {
    name: String,
    quiet: bool,
    colour: bool,
}

impl Printer {
    /// A printer for a guest's lines. `quiet` leaves its log out.
    pub fn new(name: &str, quiet: bool) -> Printer {
        let no = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Printer { name: name.into(), quiet, colour: !no && std::io::stderr().is_terminal() }
    }
}

impl Voice for Printer {
    fn log(&self, line: &[u8]) {
        if self.quiet {
            return;
        }
        let (dim, plain) = if self.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let line = printable(line);
        let _ = writeln!(std::io::stderr(), "{dim}{} |{plain} {}", self.name, line.trim_end());
    }

    /// Shown unless all is quiet.
    fn say(&self, line: &str) {
        if !self.quiet {
            self.tell(line);
        }
    }

    /// Shown in any case.
    fn tell(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{}: {line}", self.name);
    }
}

/// A mode as `ls -l` writes it.
pub fn mode_text(m: u32) -> String {
    let kind = match m & mode::TYPE {
        mode::DIR => 'd',
        mode::SYMLINK => 'l',
        _ => '-',
    };
    let bits = (0..9).rev().map(|i| if m >> i & 1 == 1 { b"xwr"[i % 3] as char } else { '-' });
    std::iter::once(kind).chain(bits).collect()
}

/// Seconds since 1970 as `2026-11-21 22:36:08` UTC.
pub fn time_text(secs: u64) -> String {
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days since 0000-03-01, in eras of 400 years (H. Hinnant, "chrono-compatible
    // low-level date algorithms").
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}")
}

/// A file as JSON.
pub fn stat_json(name: &str, s: &Stat) -> serde_json::Value {
    serde_json::json!({
        "name": name,
        "type": if s.qid.is_dir() { "dir" } else { "file" },
        "mode": format!("{:o}", s.mode & 0o7777),
        "size": s.size,
        "mtime": s.mtime.sec,
        "qid": { "type": s.qid.ty, "version": s.qid.version, "path": s.qid.path },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_times_read_as_people_write_them() {
        assert_eq!(mode_text(mode::DIR | 0o555), "dr-xr-xr-x");
        assert_eq!(mode_text(mode::FILE | 0o640), "-rw-r-----");
        assert_eq!(time_text(0), "1970-01-01 00:00:00");
        assert_eq!(time_text(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(time_text(1_790_000_000), "2026-09-21 14:13:20");
    }
}
