//! A payload is copied once between the memory that a connection is read into, or is
//! written from, and whoever wants it: in between it stays where it stands. Only when a
//! buffer comes to its end is the part of a message that is there moved to its front: in a
//! server for a few of those that come one behind the other, in a client for messages that
//! are smaller than a page.

mod common;

use std::ops::Range;

use atoll_9p::access::{User, Want};
use atoll_9p::client::Client;
use atoll_9p::fault::Fault;
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::server::{Limits, Pool, Session};
use atoll_9p::tree::{Entries, Reply, Tree, Who};
use atoll_9p::types::{OpenFlags, Qid, Stat, mode};
use common::*;

const MSIZE: u32 = 64 << 10;
/// How much comes or goes at one time, and how much is read or written.
const PIECES: [usize; 6] = [1000, 4096, 16 << 10, 60_000, 64 << 10, 128 << 10];
const COUNTS: [usize; 4] = [4000, 8192, 20_000, 60_000];
/// Requests that are underway together.
const MANY: usize = 40;

/// One file, which notes where it is to put what is read, and finds what is written.
#[derive(Default)]
struct Places {
    read: Vec<Range<usize>>,
    written: Vec<Range<usize>>,
}

fn place(bytes: &[u8]) -> Range<usize> {
    let at = bytes.as_ptr_range();
    at.start as usize..at.end as usize
}

impl Tree for Places {
    type Node = ();
    type Open = ();

    fn attach(&mut self, _: &Who<'_>) -> Result<(), Fault> {
        Ok(())
    }

    fn walk(&mut self, (): (), _: &str) -> Result<((), Qid), Fault> {
        Ok(((), Qid::default()))
    }

    fn stat(&mut self, (): ()) -> Result<Stat, Fault> {
        Ok(Stat { mode: mode::FILE | 0o666, nlink: 1, ..Stat::default() })
    }

    fn may(&mut self, (): (), _: User, _: Want) -> Result<(), Fault> {
        Ok(())
    }

    fn open(&mut self, (): &mut (), _: OpenFlags) -> Result<(), Fault> {
        Ok(())
    }

    fn read(&mut self, (): (), (): &mut (), _: u64, buf: &mut [u8]) -> Result<Reply, Fault> {
        self.read.push(place(buf));
        Ok(Reply::Done(buf.len()))
    }

    fn write(&mut self, (): (), (): &mut (), _: u64, data: &[u8]) -> Result<Reply, Fault> {
        self.written.push(place(data));
        Ok(Reply::Done(data.len()))
    }

    fn list(&mut self, (): (), (): &mut (), _: u64, _: &mut Entries<'_>) -> Result<(), Fault> {
        Ok(())
    }
}

/// A session with the buffers that `net` lends it.
struct Served {
    t: Places,
    s: Session<Places>,
    pool: Pool,
}

impl Served {
    fn opened() -> Served {
        let pool = Pool::new(2 * MSIZE as usize, 1 << 20);
        let mut p = Served { t: Places::default(), s: Session::new(Limits::default()), pool };
        let mut hello = frame(0xffff, &Tmsg::Version { msize: MSIZE, version: "9P2000.L" });
        hello.extend(frame(1, &attach(0)));
        hello.extend(walk_frame(1, 0, 1, &[b"file"]));
        hello.extend(frame(1, &Tmsg::Lopen { fid: 1, flags: OpenFlags::RDWR }));
        p.feed(&hello, 128 << 10);
        p
    }

    /// Puts bytes where the session wants them, as they come, and says where each was put.
    fn feed(&mut self, mut bytes: &[u8], piece: usize) -> Vec<usize> {
        let mut put = Vec::new();
        while !bytes.is_empty() {
            self.s.lend(&mut self.pool);
            let room = self.s.spare();
            let n = room.len().min(piece).min(bytes.len());
            room[..n].copy_from_slice(&bytes[..n]);
            put.extend(place(&room[..n]));
            self.s.received(n);
            bytes = &bytes[n..];
            while self.s.step(&mut self.t) {}
            self.s.sent(self.s.output().len());
            self.s.give_back(&mut self.pool);
        }
        put
    }
}

/// How many bytes do not stand where they were.
fn moved(now: Range<usize>, was: impl IntoIterator<Item = usize>) -> usize {
    now.zip(was).filter(|(now, was)| now != was).count()
}

#[test]
fn what_is_written_is_handed_on_where_it_was_received() {
    for (piece, count) in PIECES.into_iter().flat_map(|p| COUNTS.map(|c| (p, c))) {
        let data = vec![1; count];
        let write = frame(1, &Tmsg::Write { fid: 1, offset: 0, data: &data, op: None });
        let mut p = Served::opened();
        // One that waits for each answer.
        for _ in 0..MANY {
            let put = p.feed(&write, piece);
            let at = p.t.written.pop().unwrap();
            assert_eq!(moved(at, put[write.len() - count..].iter().copied()), 0, "{piece} {count}");
        }
        // One that does not.
        let put = p.feed(&write.repeat(MANY), piece);
        assert_eq!(p.t.written.len(), MANY);
        let moved: usize = (p.t.written.iter().zip(put.chunks(write.len())))
            .map(|(at, put)| moved(at.clone(), put[write.len() - count..].iter().copied()))
            .sum();
        assert!(moved <= MANY * count * 3 / 100, "{moved} of {MANY} times {count}, by {piece}");
    }
}

#[test]
fn what_is_read_is_put_where_it_is_sent_from() {
    for count in COUNTS {
        let mut p = Served::opened();
        let read = frame(1, &Tmsg::Read { fid: 1, offset: 0, count: count as u32 });
        p.s.lend(&mut p.pool);
        for whole in [true, false].repeat(MANY) {
            assert_eq!(p.s.feed(&read), read.len());
            assert!(p.s.step(&mut p.t));
            let at = p.t.read.pop().unwrap();
            assert_eq!(place(&p.s.output()[11..]), at);
            // A socket that takes less than half is not given the rest from elsewhere.
            let n = if whole { 11 + count } else { 5 + count / 2 };
            p.s.sent(n);
            if !whole {
                assert_eq!(place(p.s.output()), at.start + n - 11..at.end);
                p.s.sent(11 + count - n);
            }
            assert!(p.s.output().is_empty());
        }
    }
}

#[test]
fn what_a_client_reads_stands_where_it_was_received() {
    for (piece, count) in PIECES.into_iter().flat_map(|p| COUNTS.map(|c| (p, c))) {
        let (mut t, mut s) = (Places::default(), Session::new(Limits::default()));
        let mut c = Client::new(MSIZE);
        c.send(&attach(0));
        c.walk(0, 1, "file").unwrap();
        c.send(&Tmsg::Lopen { fid: 1, flags: OpenFlags::RDWR });
        for _ in 0..MANY {
            c.send(&Tmsg::Read { fid: 1, offset: 0, count: count as u32 });
        }
        // All that the server says, then to the client as it comes.
        let mut answers = Vec::new();
        while !c.output().is_empty() || s.is_ready() {
            let n = s.feed(c.output());
            c.sent(n);
            s.step(&mut t);
            answers.extend_from_slice(s.output());
            s.sent(s.output().len());
        }
        let (mut put, mut taken, mut got, mut not_there) = (Vec::new(), 0, 0, 0);
        while taken < answers.len() {
            let room = c.spare();
            let n = room.len().min(piece).min(answers.len() - taken);
            room[..n].copy_from_slice(&answers[taken..taken + n]);
            put.extend(place(&room[..n]));
            c.received(n);
            taken += n;
            while let Some((_, answer)) = c.poll().unwrap() {
                let Rmsg::Read { data, .. } = answer else { continue };
                assert_eq!(data.len(), count);
                let from = answers.len() - (MANY - got) * (11 + count) + 11;
                not_there += moved(place(data), put[from..].iter().copied());
                got += 1;
            }
        }
        assert_eq!(got, MANY);
        // The part of a small message that came with the end of another is moved, and of the
        // first large one.
        let most = if count > 4096 { 4096 } else { MANY * count / 2 };
        assert!(not_there <= most, "{not_there} of {MANY} times {count}, by {piece}");
    }
}
