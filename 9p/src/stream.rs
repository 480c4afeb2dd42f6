//! An event stream: lines that many readers follow, each at its own pace.
//!
//! The newest lines are kept, up to a number of bytes. A reader has a [`Cursor`];
//! one that falls behind what is kept reads `gap N` (N lines were lost) and goes
//! on with what there is. Nobody waits for a slow reader, and none costs anything
//! while it waits.

use alloc::collections::VecDeque;
use core::fmt::{self, Write};

use crate::tree::Reply;

/// The lines of a stream, newest last.
#[derive(Clone, Debug)]
pub struct Stream {
    ring: VecDeque<u8>,
    cap: usize,
    /// Position of the ring's first byte, counted from the stream's first ever.
    start: u64,
    /// Lines dropped so far: the number of the first one kept.
    first: u64,
    /// Lines pushed so far.
    lines: u64,
    news: bool,
    from_newest: bool,
    readers: u32,
    /// What [`Stream::take_watch`] last said.
    watched: bool,
}

/// How far a reader has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    at: u64,
    line: u64,
    /// Whether it stands inside a line.
    inside: bool,
    /// Lines lost that the reader was not told of in full, and how much it was.
    lost: u64,
    told: u32,
}

impl Stream {
    /// A stream that keeps at most `cap` bytes.
    pub fn new(cap: usize) -> Stream {
        Stream {
            ring: VecDeque::new(),
            cap,
            start: 0,
            first: 0,
            lines: 0,
            news: false,
            from_newest: false,
            readers: 0,
            watched: false,
        }
    }

    /// The same, but a reader starts behind the newest line, not at the oldest
    /// kept: it sees only what happens from then on.
    #[must_use]
    pub fn from_newest(self) -> Stream {
        Stream { from_newest: true, ..self }
    }

    /// A reader has come: where it starts.
    pub fn open(&mut self) -> Cursor {
        self.readers += 1;
        if self.from_newest { self.newest() } else { self.oldest() }
    }

    /// A reader has gone.
    pub fn close(&mut self) {
        self.readers = self.readers.saturating_sub(1);
    }

    /// Whether anybody has it open.
    pub fn has_readers(&self) -> bool {
        self.readers > 0
    }

    /// Whether the stream has readers, when that has changed since this was last
    /// asked. Who makes lines only for readers rests while there are none.
    pub fn take_watch(&mut self) -> Option<bool> {
        let now = self.readers > 0;
        (core::mem::replace(&mut self.watched, now) != now).then_some(now)
    }

    /// Appends a line. Line ends inside become spaces; what does not fit into a
    /// stream as a whole is cut.
    pub fn push(&mut self, line: impl fmt::Display) {
        struct Line<'a>(&'a mut Stream, usize);
        impl Write for Line<'_> {
            fn write_str(&mut self, s: &str) -> fmt::Result {
                let Line(stream, left) = self;
                let fits = crate::server::clip(s, *left);
                *left = if fits.len() < s.len() { 0 } else { *left - fits.len() };
                // Older lines go first, so that no more is ever held than allowed.
                while stream.ring.len() + fits.len() > stream.cap.saturating_sub(1) {
                    stream.drop_line();
                }
                stream.ring.extend(fits.bytes().map(|b| if b == b'\n' { b' ' } else { b }));
                Ok(())
            }
        }
        let left = self.cap.saturating_sub(1);
        let _ = write!(Line(self, left), "{line}");
        self.ring.push_back(b'\n');
        self.lines += 1;
        self.news = true;
        while self.ring.len() > self.cap {
            self.drop_line();
        }
    }

    fn drop_line(&mut self) {
        while let Some(b) = self.ring.pop_front() {
            self.start += 1;
            if b == b'\n' {
                self.first += 1;
                break;
            }
        }
    }

    /// A cursor at the oldest line that is kept.
    pub fn oldest(&self) -> Cursor {
        Cursor { at: self.start, line: self.first, ..Cursor::default() }
    }

    /// A cursor behind the newest line.
    pub fn newest(&self) -> Cursor {
        Cursor { at: self.start + self.ring.len() as u64, line: self.lines, ..Cursor::default() }
    }

    /// Lines pushed so far.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.ring.len()
    }

    /// Whether a line was pushed since [`Stream::take_news`] was last asked.
    pub fn has_news(&self) -> bool {
        self.news
    }

    /// Whether a line was pushed since this was last asked.
    pub fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.news)
    }

    /// Reads whole lines into `buf`, or part of one that does not fit.
    pub fn read(&self, cursor: &mut Cursor, buf: &mut [u8]) -> Reply {
        if cursor.at < self.start && cursor.told == 0 {
            cursor.lost += self.first.saturating_sub(cursor.line);
            (cursor.at, cursor.line) = (self.start, self.first);
        }
        if cursor.lost > 0 {
            return self.tell(cursor, buf);
        }
        let end = self.start + self.ring.len() as u64;
        // A cursor of another stream may stand anywhere.
        cursor.at = cursor.at.clamp(self.start, end);
        let from = (cursor.at - self.start) as usize;
        let fits = (self.ring.len().saturating_sub(from)).min(buf.len());
        let here = || self.ring.range(from..from + fits).copied();
        let whole = here().rposition(|b| b == b'\n').map_or(fits, |end| end + 1);
        if whole == 0 {
            return if buf.is_empty() { Reply::Done(0) } else { Reply::Later };
        }
        for (to, b) in buf.iter_mut().zip(here().take(whole)) {
            *to = b;
            cursor.inside = b != b'\n';
            cursor.line += u64::from(b == b'\n');
        }
        cursor.at += whole as u64;
        Reply::Done(whole)
    }

    /// Tells a reader how many lines it lost, on a line of its own, in as many reads
    /// as that takes.
    fn tell(&self, cursor: &mut Cursor, buf: &mut [u8]) -> Reply {
        let end = if cursor.inside { "\n" } else { "" };
        let gap = alloc::format!("{end}gap {}\n", cursor.lost);
        let n = crate::tree::slice_at(gap.as_bytes(), cursor.told.into(), buf);
        cursor.told += n as u32;
        if cursor.told as usize >= gap.len() {
            (cursor.inside, cursor.lost, cursor.told) = (false, 0, 0);
        }
        Reply::Done(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn read(s: &Stream, c: &mut Cursor, max: usize) -> Option<String> {
        let mut buf = alloc::vec![0; max];
        match s.read(c, &mut buf) {
            Reply::Done(n) => Some(String::from_utf8(buf[..n].to_vec()).unwrap()),
            Reply::Later => None,
        }
    }

    #[test]
    fn lines_come_whole_and_then_block() {
        let mut s = Stream::new(64);
        let mut c = s.oldest();
        assert_eq!(read(&s, &mut c, 16), None);
        s.push("one");
        s.push("two\nlines");
        assert_eq!(read(&s, &mut c, 10).as_deref(), Some("one\n"));
        assert_eq!(read(&s, &mut c, 64).as_deref(), Some("two lines\n"));
        assert_eq!(read(&s, &mut c, 64), None);
        assert!(s.take_news() && !s.take_news());
    }

    #[test]
    fn a_line_longer_than_the_buffer_comes_in_parts() {
        let mut s = Stream::new(64);
        let mut c = s.oldest();
        s.push("0123456789");
        let parts: String = core::iter::from_fn(|| read(&s, &mut c, 4)).collect();
        assert_eq!(parts, "0123456789\n");
    }

    #[test]
    fn a_slow_reader_learns_how_many_lines_it_lost() {
        let mut s = Stream::new(8);
        let mut c = s.oldest();
        (0..10).for_each(|i| s.push(format_args!("{i}")));
        assert_eq!(read(&s, &mut c, 64).as_deref(), Some("gap 6\n"));
        assert_eq!(read(&s, &mut c, 64).as_deref(), Some("6\n7\n8\n9\n"));
        assert_eq!((s.lines(), s.held()), (10, 8));
        s.push("far too long for this stream");
        assert_eq!(read(&s, &mut c, 64).as_deref(), Some("far too\n"));
    }

    #[test]
    fn a_reader_cut_off_inside_a_line_counts_that_line_as_lost() {
        let mut s = Stream::new(8);
        let mut c = s.oldest();
        s.push("abcdefg");
        assert_eq!(read(&s, &mut c, 3).as_deref(), Some("abc"));
        s.push("x");
        assert_eq!(read(&s, &mut c, 64).as_deref(), Some("\ngap 1\n"));
        assert_eq!(read(&s, &mut c, 64).as_deref(), Some("x\n"));
    }

    #[test]
    fn a_gap_is_told_in_full_whatever_the_buffer() {
        let mut s = Stream::new(8);
        let mut c = s.oldest();
        (0..30).for_each(|i| s.push(i));
        let mut text = String::new();
        for _ in 0..50 {
            assert_eq!(read(&s, &mut c, 0).as_deref(), Some(""));
            text += &read(&s, &mut c, 1).unwrap_or_default();
        }
        let mut n = 0;
        for line in text.lines() {
            n += line.strip_prefix("gap ").map_or(1, |lost| lost.parse().unwrap());
        }
        assert_eq!(n, s.lines(), "{text}");
    }

    #[test]
    fn a_line_is_cut_at_a_character_and_there_it_ends() {
        let mut s = Stream::new(6);
        let mut c = s.oldest();
        s.push(format_args!("abc{}{}", "d\u{e9}", "e"));
        assert_eq!(read(&s, &mut c, 64).as_deref(), Some("abcd\n"));
        for cap in 0..3 {
            let mut s = Stream::new(cap);
            s.push("\u{e9}\u{e9}");
            assert!(s.held() <= cap);
        }
    }

    #[test]
    fn a_cursor_of_another_stream_does_no_harm() {
        let (mut a, b) = (Stream::new(64), Stream::new(64));
        a.push("line");
        let mut c = a.newest();
        assert_eq!(read(&b, &mut c, 9), None);
        let mut c = Cursor { at: u64::MAX, line: u64::MAX, ..Cursor::default() };
        assert_eq!(read(&a, &mut c, 9), None);
        (0..99).for_each(|i| a.push(i));
        let mut c = Cursor { at: 0, line: u64::MAX, ..Cursor::default() };
        assert!(read(&a, &mut c, 9).is_some());
    }

    #[test]
    fn never_more_is_held_than_allowed() {
        let mut s = Stream::new(100);
        (0..1000).for_each(|i| s.push("x".repeat(i % 150)));
        assert!(s.held() <= 100 && s.ring.capacity() <= 256, "{}", s.ring.capacity());
    }
}
