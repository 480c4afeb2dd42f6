//! The last log lines, kept where a panic cannot take them away.
//!
//! The ring is a plain value of fixed size without pointers: a fault record can
//! read it after the heap, or whatever else, has failed. It holds lines of the
//! guest and of the machine itself; the machine's own are also handed to the
//! runtime once, which puts them into the guest's log.

use core::fmt::{self, Write};

use heapless::{HistoryBuf, String};

/// Lines that are kept.
pub const LINES: usize = 24;
/// Bytes of a line that are kept.
pub const WIDTH: usize = 116;

#[derive(Debug)]
struct Line {
    text: String<WIDTH>,
    /// Its number among the machine's own lines; none for one of the guest.
    own: Option<u32>,
}

/// The last lines.
#[derive(Debug, Default)]
pub struct Lines {
    ring: HistoryBuf<Line, LINES>,
    next: u32,
    taken: u32,
}

impl Lines {
    /// No lines.
    pub const fn new() -> Lines {
        Lines { ring: HistoryBuf::new(), next: 0, taken: 0 }
    }

    /// Keeps a line of the guest.
    pub fn guest(&mut self, line: &str) {
        self.ring.write(Line { text: cut(format_args!("{line}")), own: None });
    }

    /// Keeps a line of the machine itself.
    pub fn machine(&mut self, line: fmt::Arguments<'_>) {
        self.ring.write(Line { text: cut(line), own: Some(self.next) });
        self.next = self.next.wrapping_add(1);
    }

    /// Hands over the machine's own lines since the last call that are still here.
    pub fn take(&mut self, sink: &mut dyn FnMut(&str)) {
        let from = self.taken;
        self.taken = self.next;
        for line in self.ring.oldest_ordered() {
            if line.own.is_some_and(|n| n >= from) {
                sink(&line.text);
            }
        }
    }

    /// The newest line.
    pub fn last(&self) -> Option<&str> {
        self.ring.recent().map(|line| line.text.as_str())
    }

    /// Every line that is still here, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.ring.oldest_ordered().map(|line| line.text.as_str())
    }
}

/// One line of at most [`WIDTH`] bytes; what would break it into two is a space.
fn cut(line: fmt::Arguments<'_>) -> String<WIDTH> {
    struct Cut(String<WIDTH>);
    impl Write for Cut {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            for c in s.chars() {
                let c = if c.is_control() { ' ' } else { c };
                self.0.push(c).map_err(|_| fmt::Error)?;
            }
            Ok(())
        }
    }
    let mut out = Cut(String::new());
    // An error means that the line is full: its beginning is what is kept.
    let _ = out.write_fmt(line);
    out.0
}

#[cfg(test)]
mod tests {
    use super::{LINES, Lines, WIDTH};

    #[test]
    fn the_machine_hands_its_lines_over_once() {
        let mut lines = Lines::new();
        lines.machine(format_args!("a {}", 1));
        lines.guest("b");
        let mut got = Vec::new();
        lines.take(&mut |l| got.push(l.to_string()));
        lines.machine(format_args!("c"));
        lines.take(&mut |l| got.push(l.to_string()));
        lines.take(&mut |l| got.push(l.to_string()));
        assert_eq!(got, ["a 1", "c"]);
        assert_eq!(lines.all().collect::<Vec<_>>(), ["a 1", "b", "c"]);
        assert_eq!(lines.last(), Some("c"));
    }

    #[test]
    fn the_oldest_goes_and_a_long_or_broken_line_stays_one() {
        let mut lines = Lines::new();
        for n in 0..LINES + 3 {
            lines.machine(format_args!("{n}"));
        }
        assert_eq!(lines.all().next(), Some("3"));
        assert_eq!(lines.all().count(), LINES);
        lines.guest(&"é".repeat(WIDTH));
        lines.guest("two\nlines\r");
        let last: Vec<_> = lines.all().collect();
        assert_eq!(last[LINES - 2].len(), WIDTH / 2 * 2);
        assert_eq!(last[LINES - 1], "two lines ");
    }
}
