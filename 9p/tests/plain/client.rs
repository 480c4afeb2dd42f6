//! A client of 9P2000, and the ways on which it has a tree.

use atoll_9p::mux::{ClientId, Mux, Share};

use super::*;

/// What a client's bytes go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A session of its own.
    Session,
    /// A joint, by so many bytes at a time, and the session behind it.
    Joint(usize),
}

/// One client's way to a tree.
pub struct Line<T: Tree> {
    p: Peer<T>,
    joint: Option<(Mux, ClientId, usize)>,
}

/// Carries bytes between a joint and its server until none are left.
pub fn run<T: Tree>(m: &mut Mux, p: &mut Peer<T>, t: &mut T, piece: usize) {
    loop {
        let up = m.to_server().to_vec();
        m.sent_to_server(up.len());
        let mut down = Vec::new();
        for up in up.chunks(piece) {
            down.extend(p.raw(t, up).concat());
        }
        down.extend(p.late(t).concat());
        for down in down.chunks(piece) {
            m.from_server(down).unwrap();
        }
        if up.is_empty() && down.is_empty() {
            return;
        }
    }
}

impl<T: Tree> Line<T> {
    pub fn new(t: &mut T, way: Way) -> Line<T> {
        let mut p = Peer::new(Limits::default());
        let joint = match way {
            Way::Session => None,
            Way::Joint(piece) => {
                let mut m = Mux::new(64 << 10, Share::default());
                run(&mut m, &mut p, t, piece);
                let id = m.open();
                Some((m, id, piece))
            }
        };
        Line { p, joint }
    }

    /// Sends bytes, and takes the answers.
    pub fn raw(&mut self, t: &mut T, bytes: &[u8]) -> Vec<Vec<u8>> {
        let Line { p, joint } = self;
        let Some((m, id, piece)) = joint else { return p.raw(t, bytes) };
        let mut out = Vec::new();
        let mut take = |m: &mut Mux| {
            out.extend_from_slice(m.to_client(*id));
            m.sent_to_client(*id, m.to_client(*id).len());
        };
        for bytes in bytes.chunks(*piece) {
            assert!(m.wants(*id));
            m.from_client(*id, bytes);
            run(m, p, t, *piece);
            take(m);
        }
        run(m, p, t, *piece);
        take(m);
        frames(&out)
    }

    /// The one answer to a frame.
    pub fn one(&mut self, t: &mut T, frame: &[u8]) -> Vec<u8> {
        let mut answers = self.raw(t, frame);
        assert_eq!(answers.len(), 1, "answers to {frame:?}: {answers:?}");
        answers.remove(0)
    }

    pub fn greet(&mut self, t: &mut T, msize: u32, version: &str) -> Vec<u8> {
        self.one(t, &frame(NOTAG, &Tmsg::Version { msize, version }))
    }

    pub fn wake(&mut self, node: T::Node) {
        self.p.s.wake(node);
    }

    /// Fids of the client's.
    pub fn fids(&self) -> usize {
        // The joint has one of its own for where the client attached.
        self.p.s.fids() - usize::from(self.joint.is_some())
    }

    /// The client goes.
    pub fn close(&mut self, t: &mut T) {
        let Line { p, joint } = self;
        if let Some((m, id, piece)) = joint {
            m.close(*id);
            run(m, p, t, *piece);
            assert_eq!((p.s.fids(), p.s.waiting(), m.outstanding()), (0, 0, 0));
        }
        p.s.close(t);
    }
}

/// A client as Plan 9's kernel is one: fid 0 is the root, each program takes others.
pub struct Plan9<T: Tree> {
    pub p: Line<T>,
    pub next: u32,
}

impl<T: Tree> Plan9<T> {
    /// msize 8192, authentication first.
    pub fn mount(t: &mut T, way: Way) -> Plan9<T> {
        let mut c = Plan9 { p: Line::new(t, way), next: 1 };
        let f = c.p.greet(t, 8192, "9P2000");
        assert_eq!(Rmsg::decode(&f).unwrap(), Rmsg::Version { msize: 8192, version: "9P2000" });
        let auth = Tmsg::Auth { afid: 7, uname: "glenda", aname: "", n_uname: NOFID };
        assert!(c.ask(t, &auth).is_err(), "so it goes on without");
        let m = Tmsg::Attach { fid: 0, afid: NOFID, uname: "glenda", aname: "", n_uname: NOFID };
        c.ask(t, &m).unwrap();
        c
    }

    /// The answer, or the text of the error.
    pub fn ask(&mut self, t: &mut T, m: &Tmsg<'_>) -> Result<Vec<u8>, String> {
        let mut f = Vec::new();
        m.encode_in(Dialect::Plain, 1, &mut f);
        let answer = self.p.one(t, &f);
        match Rmsg::decode(&answer).unwrap() {
            Rmsg::Error { text } => Err(text.into()),
            Rmsg::Lerror { .. } => panic!("Rlerror is not of this language"),
            _ => {
                assert_eq!(answer[4], f[4] + 1);
                Ok(answer)
            }
        }
    }

    /// A new fid for a path, whole or not at all.
    pub fn walk(&mut self, t: &mut T, path: &str) -> Result<u32, String> {
        self.next += 1;
        let names: Vec<_> = path.split('/').filter(|n| !n.is_empty()).map(str::as_bytes).collect();
        let answer = self.p.one(t, &walk_frame(1, 0, self.next, &names));
        match Rmsg::decode(&answer).unwrap() {
            Rmsg::Error { text } => Err(text.into()),
            Rmsg::Walk { count, .. } if usize::from(count) == names.len() => Ok(self.next),
            Rmsg::Walk { .. } => Err("part of the way".into()),
            other => panic!("{other:?}"),
        }
    }

    pub fn clunk(&mut self, t: &mut T, fid: u32) {
        self.ask(t, &Tmsg::Clunk { fid }).unwrap();
    }

    /// With a fid at a path that is clunked in the end.
    pub fn at<R>(
        &mut self,
        t: &mut T,
        path: &str,
        run: impl FnOnce(&mut Self, &mut T, u32) -> Result<R, String>,
    ) -> Result<R, String> {
        let fid = self.walk(t, path)?;
        let done = run(self, t, fid);
        self.clunk(t, fid);
        done
    }

    pub fn open(&mut self, t: &mut T, fid: u32, mode: u8) -> Result<Qid, String> {
        match Rmsg::decode(&self.ask(t, &Tmsg::Open { fid, mode })?).unwrap() {
            Rmsg::Open { qid, iounit: 8168 } => Ok(qid),
            other => panic!("{other:?}"),
        }
    }

    /// Reads on from the start until nothing comes.
    pub fn read_all(&mut self, t: &mut T, fid: u32, count: u32) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        loop {
            let m = Tmsg::Read { fid, offset: all.len() as u64, count };
            let more = data(&self.ask(t, &m)?);
            if more.is_empty() {
                return Ok(all);
            }
            all.extend(more);
        }
    }

    pub fn cat(&mut self, t: &mut T, path: &str) -> Result<String, String> {
        self.at(t, path, |c, t, fid| {
            c.open(t, fid, OREAD)?;
            Ok(String::from_utf8(c.read_all(t, fid, 8168)?).unwrap())
        })
    }

    /// `ls -l`: mode, length and name of each.
    pub fn ls(&mut self, t: &mut T, path: &str) -> Result<Vec<(u32, u64, String)>, String> {
        self.at(t, path, |c, t, fid| {
            c.stat(t, fid)?;
            c.open(t, fid, OREAD)?;
            let all = c.read_all(t, fid, 8168)?;
            let mut list: Vec<_> =
                stats(&all).map(|s| (s.mode, s.length, s.name.to_string())).collect();
            list.sort_by(|a, b| a.2.cmp(&b.2));
            Ok(list)
        })
    }

    /// What Tstat tells: mode, length, mtime and name.
    pub fn stat(&mut self, t: &mut T, fid: u32) -> Result<(u32, u64, u32, String), String> {
        match Rmsg::decode(&self.ask(t, &Tmsg::Stat { fid })?).unwrap() {
            Rmsg::Stat { stat } => Ok((stat.mode, stat.length, stat.mtime, stat.name.into())),
            other => panic!("{other:?}"),
        }
    }

    pub fn wstat(&mut self, t: &mut T, path: &str, stat: Wstat<'_>) -> Result<(), String> {
        self.at(t, path, |c, t, fid| c.ask(t, &Tmsg::Wstat { fid, stat }).map(drop))
    }

    /// `>path`: what is there is opened and emptied, what is not is made.
    pub fn create(&mut self, t: &mut T, path: &str, text: &str) -> Result<(), String> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let fid = match self.walk(t, path) {
            Ok(fid) => {
                self.open(t, fid, OWRITE | OTRUNC)?;
                fid
            }
            Err(_) => {
                let fid = self.walk(t, dir)?;
                self.ask(t, &Tmsg::Create { fid, name, perm: 0o666, mode: OWRITE })?;
                fid
            }
        };
        let m = Tmsg::Write { fid, offset: 0, data: text.as_bytes(), op: None };
        let done = self.ask(t, &m);
        self.clunk(t, fid);
        done.map(drop)
    }

    pub fn mkdir(&mut self, t: &mut T, path: &str) -> Result<(), String> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.at(t, dir, |c, t, fid| {
            let m = Tmsg::Create { fid, name, perm: DMDIR | 0o777, mode: OREAD };
            match Rmsg::decode(&c.ask(t, &m)?).unwrap() {
                Rmsg::Create { qid, .. } => assert!(qid.is_dir()),
                other => panic!("{other:?}"),
            }
            assert_eq!(c.read_all(t, fid, 8168)?, b"", "it is open, and empty");
            Ok(())
        })
    }

    pub fn rm(&mut self, t: &mut T, path: &str) -> Result<(), String> {
        let fid = self.walk(t, path)?;
        self.ask(t, &Tmsg::Remove { fid }).map(drop)
    }
}
