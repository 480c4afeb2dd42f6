//! A stream of bytes: what a console or a connection carries.
//!
//! There are no lines here, so there is no room for a note in the data. On the way to
//! readers the newest bytes are kept, every reader has a place of its own, and one
//! that falls behind what is kept goes on with what there is. Who wants to know of it
//! uses sequenced reads ([`crate::types::seq`]): positions are bytes since the start,
//! so after a read of `n` bytes from `p` another position than `p + n` tells how many
//! were lost. On the way from writers nothing is lost: a full ring makes them wait.

use alloc::collections::VecDeque;

use crate::fault::{Errno, Fault};
use crate::tree::Reply;

/// Bytes on their way, newest last.
#[derive(Clone, Debug)]
pub struct Bytes {
    ring: VecDeque<u8>,
    cap: usize,
    /// Position of the ring's first byte.
    start: u64,
    ended: bool,
    news: bool,
}

impl Bytes {
    /// A stream that keeps at most `cap` bytes.
    pub fn new(cap: usize) -> Bytes {
        Bytes { ring: VecDeque::new(), cap, start: 0, ended: false, news: false }
    }

    /// Appends bytes; the oldest go where there is no room.
    pub fn push(&mut self, data: &[u8]) {
        let skipped = data.len().saturating_sub(self.cap);
        let keep = data.get(skipped..).unwrap_or_default();
        let over = (self.ring.len() + keep.len()).saturating_sub(self.cap);
        self.ring.drain(..over);
        self.start += (over + skipped) as u64;
        self.ring.extend(keep);
        self.news |= !data.is_empty();
    }

    /// Appends as many of the bytes as there is room for; waits where there is none.
    /// EPIPE after [`Bytes::end`].
    pub fn offer(&mut self, data: &[u8]) -> Result<Reply, Fault> {
        if self.ended {
            return Err(Errno::EPIPE.into());
        }
        let n = data.len().min(self.cap.saturating_sub(self.ring.len()));
        self.ring.extend(data.get(..n).unwrap_or_default());
        self.news |= n > 0;
        Ok(if n == 0 && !data.is_empty() { Reply::Later } else { Reply::Done(n) })
    }

    /// Takes the oldest bytes away, and says how many: there is room again.
    pub fn take(&mut self, buf: &mut [u8]) -> usize {
        let n = self.copy(0, buf);
        self.ring.drain(..n);
        self.start += n as u64;
        self.news |= n > 0;
        n
    }

    /// Nothing more comes: readers find an end, and writers nobody.
    pub fn end(&mut self) {
        self.news |= !self.ended;
        self.ended = true;
    }

    /// Whether nothing more comes.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.ring.len()
    }

    /// Where the oldest byte is that is kept: a reader starts here.
    pub fn oldest(&self) -> u64 {
        self.start
    }

    /// Where the next byte will be.
    pub fn newest(&self) -> u64 {
        self.start + self.ring.len() as u64
    }

    /// Reads what follows a position, and moves that on.
    pub fn read(&self, at: &mut u64, buf: &mut [u8]) -> Reply {
        *at = (*at).clamp(self.start, self.newest());
        let n = self.copy((*at - self.start) as usize, buf);
        if n == 0 && !buf.is_empty() && !self.ended {
            return Reply::Later;
        }
        *at += n as u64;
        Reply::Done(n)
    }

    /// Checks a position that a reader was told; ESTALE where none can have been.
    pub fn seek(&self, at: &mut u64, to: u64) -> Result<(), Fault> {
        if to > self.newest() {
            return Err(Fault::new(Errno::ESTALE, "the stream was never there"));
        }
        *at = to;
        Ok(())
    }

    /// Whether bytes came, room was made or the end came since
    /// [`Bytes::take_news`] was last called.
    pub fn has_news(&self) -> bool {
        self.news
    }

    /// The same, and forgets it.
    pub fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.news)
    }

    fn copy(&self, from: usize, buf: &mut [u8]) -> usize {
        let (a, b) = self.ring.as_slices();
        let n = crate::tree::slice_at(a, from as u64, buf);
        let rest = buf.get_mut(n..).unwrap_or_default();
        n + crate::tree::slice_at(b, from.saturating_sub(a.len()) as u64, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn readers_see_what_is_kept_and_where_it_was(
            ops in prop::collection::vec((0..3u8, 0..20usize), 1..80),
        ) {
            let (mut b, mut all, mut at) = (Bytes::new(16), Vec::<u8>::new(), 0u64);
            for (op, n) in ops {
                match op {
                    0 => {
                        let data: Vec<u8> = (all.len()..all.len() + n).map(|i| i as u8).collect();
                        b.push(&data);
                        all.extend(&data);
                        prop_assert!(b.held() <= 16 && b.take_news() == (n > 0));
                    }
                    _ => {
                        let mut buf = [0; 20];
                        let asked = at;
                        let reply = b.read(&mut at, &mut buf[..n]);
                        let from = asked.max(all.len().saturating_sub(16) as u64) as usize;
                        let want = &all[from..(from + n).min(all.len())];
                        if want.is_empty() && n > 0 {
                            prop_assert_eq!(reply, Reply::Later);
                        } else {
                            prop_assert_eq!(reply, Reply::Done(want.len()));
                            prop_assert_eq!(&buf[..want.len()], want);
                            prop_assert_eq!(at, (from + want.len()) as u64);
                        }
                    }
                }
                prop_assert_eq!(b.newest(), all.len() as u64);
                prop_assert!(b.seek(&mut at.clone(), all.len() as u64 + 1).is_err());
            }
        }
    }

    #[test]
    fn a_full_ring_makes_writers_wait_and_loses_nothing() {
        let mut b = Bytes::new(4);
        assert_eq!(b.offer(b"abcdef").unwrap(), Reply::Done(4));
        assert_eq!(b.offer(b"ef").unwrap(), Reply::Later);
        assert_eq!(b.offer(b"").unwrap(), Reply::Done(0));
        assert!(b.take_news());
        let mut buf = [0; 3];
        assert_eq!((b.take(&mut buf), &buf), (3, b"abc"));
        assert!(b.take_news(), "there is room");
        assert_eq!(b.offer(b"efgh").unwrap(), Reply::Done(3));
        let mut buf = [0; 9];
        assert_eq!((b.take(&mut buf), &buf[..4]), (4, &b"defg"[..]));
        b.end();
        assert_eq!(b.offer(b"x").unwrap_err().errno, Errno::EPIPE);
        assert!(b.has_ended() && b.take_news());
        assert_eq!(b.read(&mut 0, &mut buf), Reply::Done(0));
    }
}
