//! An event stream: lines that many readers follow, each at its own pace.
//!
//! The newest lines are kept, up to a number of bytes. A reader has a [`Cursor`];
//! one that falls behind what is kept reads `gap N` (N lines were lost) and goes
//! on with what there is. Nobody waits for a slow reader, and none costs anything
//! while it waits.
//!
//! A cursor's [`Stream::position`] means the same to every connection, for as long as
//! the stream lives: who lost one goes on with [`Stream::seek`] on the next. It is
//! made of the line's number and the offset inside the line, not of bytes since the
//! start, so that how many lines were lost is known of lines that are gone.

use alloc::collections::VecDeque;
use core::fmt::{self, Write};

use crate::fault::{Errno, Fault};
use crate::tree::Reply;

/// Bits of a position that hold the offset inside a line; those above, up to the 63rd,
/// its number. So no stream keeps 16 MiB, and 2^39 lines have numbers.
const INSIDE: u32 = 24;

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
    /// Bytes of its line that it has.
    inside: u32,
    /// Lines lost that the reader was not told of in full, and how much it was.
    lost: u64,
    told: u32,
}

impl Stream {
    /// A stream that keeps at most `cap` bytes, and less than 16 MiB.
    pub fn new(cap: usize) -> Stream {
        Stream {
            ring: VecDeque::new(),
            cap: cap.min((1 << INSIDE) - 1),
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

    /// A stream like this one, without lines or readers.
    #[must_use]
    pub fn afresh(&self) -> Stream {
        Stream { from_newest: self.from_newest, ..Stream::new(self.cap) }
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

    /// The lines that are kept, each with its end, and the number of the first.
    pub fn kept(&self) -> (u64, impl Iterator<Item = u8>) {
        (self.first, self.ring.iter().copied())
    }

    /// Takes up lines that [`Stream::kept`] gave, in the place of its own; nobody reads it
    /// yet. EINVAL for what no stream with this room keeps.
    pub fn take_up(&mut self, first: u64, text: &str) -> Result<(), Fault> {
        let count = text.bytes().filter(|b| *b == b'\n').count() as u64;
        let last = first.checked_add(count).filter(|n| *n < 1 << (62 - INSIDE));
        match last {
            Some(last) if text.len() <= self.cap && (text.is_empty() || text.ends_with('\n')) => {
                let ring = text.bytes().collect();
                *self = Stream { ring, first, lines: last, news: true, ..self.afresh() };
                Ok(())
            }
            _ => Err(Fault::new(Errno::EINVAL, "no lines that this stream can keep")),
        }
    }

    /// Takes the place of another stream, whose readers are its own from now on. If there
    /// are any, its lines get later numbers than all of the other's, so that each of them
    /// is told of a gap.
    pub fn succeed(&mut self, old: &Stream) {
        (self.readers, self.watched, self.news) = (old.readers, old.watched, true);
        if old.readers > 0 {
            let kept = self.lines - self.first;
            self.first = self.first.max(old.lines + 1);
            self.lines = self.first + kept;
            self.start = old.start + old.ring.len() as u64 + 1;
        }
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
            match b {
                b'\n' => (cursor.line, cursor.inside) = (cursor.line.wrapping_add(1), 0),
                _ => cursor.inside += 1,
            }
        }
        cursor.at += whole as u64;
        Reply::Done(whole)
    }

    /// Where a reader stands. One that was not told of a gap in full stands before it.
    pub fn position(&self, cursor: &Cursor) -> u64 {
        let line = cursor.line.saturating_sub(cursor.lost);
        (line << INSIDE | u64::from(cursor.inside)) & (u64::MAX >> 1)
    }

    /// Puts a reader to a position that this stream has told it or another. Where the
    /// reader stands already, nothing changes; ESTALE where no reader can have been.
    pub fn seek(&self, cursor: &mut Cursor, to: u64) -> Result<(), Fault> {
        if to == self.position(cursor) {
            return Ok(());
        }
        let (line, inside) = (to >> INSIDE, (to & ((1 << INSIDE) - 1)) as u32);
        let new = Cursor { at: self.start, line, inside, ..Cursor::default() };
        if line < self.first {
            let lost = self.first - line;
            *cursor = Cursor { line: self.first, lost, ..new };
            return Ok(());
        }
        let unknown = || Fault::new(Errno::ESTALE, "the stream was never there");
        // The ring holds the lines from `first` on, each with its end.
        let mut at = 0;
        for _ in self.first..line {
            let rest = self.ring.range(at..);
            at += 1 + rest.take_while(|b| **b != b'\n').count();
            if at > self.ring.len() {
                return Err(unknown());
            }
        }
        let here = self.ring.range(at..).take(inside as usize);
        if here.len() < inside as usize || here.clone().any(|b| *b == b'\n') {
            return Err(unknown());
        }
        *cursor = Cursor { at: self.start + at as u64 + u64::from(inside), ..new };
        Ok(())
    }

    /// Tells a reader how many lines it lost, on a line of its own, in as many reads
    /// as that takes.
    fn tell(&self, cursor: &mut Cursor, buf: &mut [u8]) -> Reply {
        let end = if cursor.inside > 0 { "\n" } else { "" };
        let gap = alloc::format!("{end}gap {}\n", cursor.lost);
        let n = crate::tree::slice_at(gap.as_bytes(), cursor.told.into(), buf);
        cursor.told += n as u32;
        if cursor.told as usize >= gap.len() {
            (cursor.inside, cursor.lost, cursor.told) = (0, 0, 0);
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
    fn another_reader_goes_on_where_one_stood() {
        // Whatever is pushed and however it is read: who goes on from each position
        // with a new cursor reads what the old one would have read.
        for size in 1..9 {
            let mut s = Stream::new(24);
            let (mut c, mut all) = (s.oldest(), String::new());
            for i in 0..40u32 {
                if i % 3 > 0 {
                    s.push("abcdefg".get(..(i * 5 % 7) as usize).unwrap());
                }
                let position = s.position(&c);
                let mut other = s.newest();
                s.seek(&mut other, position).unwrap();
                let told = read(&s, &mut other, 99);
                let mut same = c;
                s.seek(&mut same, position).unwrap();
                assert_eq!(same, c, "no move");
                if c.told == 0 {
                    assert_eq!(told, read(&s, &mut c.clone(), 99), "{c:?} in {s:?}");
                }
                all += &read(&s, &mut c, size).unwrap_or_default();
            }
            all += &core::iter::from_fn(|| read(&s, &mut c, size)).collect::<String>();
            let lost = |l: &str| l.strip_prefix("gap ").map_or(1, |n| n.parse().unwrap());
            let lines: u64 = all.lines().map(lost).sum();
            // A line that was cut off counts as lost, though its start was read.
            assert!((s.lines()..s.lines() + 9).contains(&lines), "{lines} in {all}");
        }
    }

    #[test]
    fn a_position_in_what_is_gone_tells_exactly_how_much() {
        let mut s = Stream::new(8);
        let mut c = s.oldest();
        s.push("abcdefg");
        assert_eq!(read(&s, &mut c, 3).as_deref(), Some("abc"));
        let (start, inside) = (s.position(&s.oldest()), s.position(&c));
        (0..9).for_each(|i| s.push(i));
        let mut c = s.newest();
        s.seek(&mut c, start).unwrap();
        assert_eq!(read(&s, &mut c, 64).as_deref(), Some("gap 6\n"));
        s.seek(&mut c, inside).unwrap();
        assert_eq!(read(&s, &mut c, 64).as_deref(), Some("\ngap 6\n"));
        assert_eq!(read(&s, &mut c, 64).as_deref(), Some("5\n6\n7\n8\n"));
        let end = s.position(&c);
        // Cut off in the middle of being told, one is told again from the start.
        s.seek(&mut c, start).unwrap();
        assert_eq!(read(&s, &mut c, 2).as_deref(), Some("ga"));
        assert_eq!(s.position(&c), start);
        // Nobody was ever behind the end, or behind a line's.
        for nowhere in [end + 1, end + (1 << INSIDE), s.position(&s.oldest()) + 2, u64::MAX >> 1] {
            assert_eq!(s.seek(&mut c, nowhere).unwrap_err().errno, Errno::ESTALE);
        }
        s.seek(&mut c, end).unwrap();
        assert_eq!(read(&s, &mut c, 64), None);
    }

    #[test]
    fn lines_that_are_taken_up_go_on_where_they_stood() {
        let mut s = Stream::new(16);
        (0..9).for_each(|i| s.push(i));
        let mut c = s.oldest();
        assert_eq!(read(&s, &mut c, 6).as_deref(), Some("1\n2\n3\n"));
        let (first, text) = s.kept();
        let text = String::from_utf8(text.collect()).unwrap();
        let mut t = Stream::new(16);
        for (first, text) in [(0, "no end"), (0, "longer than it is\n"), (u64::MAX, "x\n")] {
            assert_eq!(t.take_up(first, text).unwrap_err().errno, Errno::EINVAL);
            assert_eq!((t.lines(), t.held()), (0, 0));
        }
        t.take_up(first, &text).unwrap();
        assert_eq!((t.lines(), t.held()), (s.lines(), s.held()));
        // Who comes back to a stream that nobody read goes on, and nothing was lost.
        let mut again = t.oldest();
        t.seek(&mut again, s.position(&c)).unwrap();
        t.push("new");
        assert_eq!(read(&t, &mut again, 99).as_deref(), Some("4\n5\n6\n7\n8\nnew\n"));
    }

    #[test]
    fn a_reader_whose_stream_becomes_another_is_told_of_a_gap() {
        let mut old = Stream::new(64);
        let mut c = old.open();
        old.push("a");
        old.push("b");
        let gap = |c: &mut Cursor, first| {
            let mut new = Stream::new(64);
            new.take_up(first, "x\ny\n").unwrap();
            new.succeed(&old);
            assert!(new.has_readers());
            let told: String = core::iter::from_fn(|| read(&new, c, 64)).collect();
            told
        };
        // None of both was read, or one, or part of it.
        assert_eq!(gap(&mut c.clone(), 0), "gap 3\nx\ny\n");
        assert_eq!(gap(&mut c.clone(), 9), "gap 9\nx\ny\n");
        assert_eq!(read(&old, &mut c, 1).as_deref(), Some("a"));
        assert_eq!(gap(&mut c.clone(), 0), "\ngap 3\nx\ny\n");
        assert_eq!(read(&old, &mut c, 9).as_deref(), Some("\nb\n"));
        assert_eq!(gap(&mut c.clone(), 0), "gap 1\nx\ny\n");
    }

    #[test]
    fn never_more_is_held_than_allowed() {
        let mut s = Stream::new(100);
        (0..1000).for_each(|i| s.push("x".repeat(i % 150)));
        assert!(s.held() <= 100 && s.ring.capacity() <= 256, "{}", s.ring.capacity());
    }
}
