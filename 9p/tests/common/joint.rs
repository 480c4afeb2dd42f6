//! The joint, with a server behind it.

use atoll_9p::msg::Tmsg;
use atoll_9p::mux::{ClientId, Mux, Share};
use atoll_9p::server::Limits;
use atoll_9p::types::OpenFlags;
use atoll_9p::wire::NOTAG;

use super::*;

/// A joint and the server behind it.
pub struct Joint {
    pub m: Mux,
    pub p: Peer<Counting>,
    pub t: Counting,
}

impl Joint {
    pub fn new(msize: u32, share: Share) -> Joint {
        let mut j = Joint {
            m: Mux::new(msize, share),
            p: Peer::new(Limits { msize: 8192, ..Limits::default() }),
            t: Counting { many: 50, ..Counting::default() },
        };
        j.run();
        assert!(j.m.is_ready());
        j
    }

    /// Carries bytes between the joint and its server until none are left.
    pub fn run(&mut self) {
        loop {
            let up = self.m.to_server().to_vec();
            self.m.sent_to_server(up.len());
            let down = self.p.raw(&mut self.t, &up).concat();
            self.m.from_server(&down).unwrap();
            if up.is_empty() && down.is_empty() {
                return;
            }
        }
    }

    /// So many reads have something to read.
    pub fn ready(&mut self, n: u32) {
        self.t.ready = n;
        self.p.s.wake(BLK);
        self.run();
        self.t.ready = 0;
    }

    /// The answers that a client has.
    pub fn take(&mut self, id: ClientId) -> Vec<Vec<u8>> {
        let out = frames(self.m.to_client(id));
        self.m.sent_to_client(id, self.m.to_client(id).len());
        out
    }

    pub fn ask(&mut self, id: ClientId, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.m.from_client(id, bytes);
        self.run();
        self.take(id)
    }

    pub fn greeted(&mut self, msize: u32, version: &str) -> ClientId {
        let id = self.m.open();
        let f = frame(NOTAG, &Tmsg::Version { msize, version });
        assert_eq!(self.ask(id, &f)[0][4], 101);
        id
    }

    pub fn attached(&mut self) -> ClientId {
        let id = self.greeted(8192, "9P2000.L");
        assert_eq!(self.ask(id, &frame(1, &attach(0)))[0][4], 105);
        id
    }

    pub fn open(&mut self, id: ClientId, fid: u32, name: &str) {
        let mut f = walk_frame(1, 0, fid, &[name.as_bytes()]);
        f.extend(frame(2, &Tmsg::Lopen { fid, flags: OpenFlags::RDONLY }));
        let answers = self.ask(id, &f);
        assert!(answers.len() == 2 && answers.iter().all(|f| f[4] != 7), "{answers:?}");
    }

    pub fn assert_empty(&mut self) {
        assert_eq!((self.p.s.fids(), self.p.s.waiting(), self.m.outstanding()), (0, 0, 0));
        self.t.assert_empty();
    }
}
