//! A client that is driven by hand.

use super::*;

/// A client that never waits.
pub(crate) struct Cli<S> {
    pub(crate) stream: S,
    pub(crate) got: Vec<u8>,
    pub(crate) unsent: Vec<u8>,
    pub(crate) eof: bool,
}

impl Cli<UnixStream> {
    pub(crate) fn new<T: Tree>(server: &mut Server<T>) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        server.adopt(theirs, Identity::Owner).unwrap();
        Cli::of(ours)
    }

    pub(crate) fn of(stream: UnixStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        Cli { stream, got: Vec::new(), unsent: Vec::new(), eof: false }
    }
}

impl<S: Read + Write> Cli<S> {
    /// Puts a message behind what is still to be sent.
    pub(crate) fn ask(&mut self, tag: u16, m: &Tmsg<'_>) {
        self.unsent.extend(frame(tag, m));
    }

    pub(crate) fn hello(&mut self, msize: u32) {
        self.ask(0xffff, &Tmsg::Version { msize, version: "9P2000.L" });
        let (uname, aname) = ("", "");
        self.ask(0, &Tmsg::Attach { fid: 0, afid: NOFID, uname, aname, n_uname: NOFID });
    }

    pub(crate) fn open(&mut self, fid: u32, name: &str, flags: OpenFlags) {
        self.unsent.extend(walk_frame(0, 0, fid, &[name.as_bytes()]));
        self.ask(0, &Tmsg::Lopen { fid, flags });
    }

    /// Sends what the socket takes.
    pub(crate) fn send(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// Takes what has come, and of it the whole frames.
    pub(crate) fn take(&mut self) -> Vec<Vec<u8>> {
        let mut buf = [0; 64 << 10];
        loop {
            match self.stream.read(&mut buf) {
                Ok(0) => {
                    self.eof = true;
                    break;
                }
                Ok(n) => self.got.extend(&buf[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("{e}"),
            }
        }
        let mut whole = 0;
        while let Some(size) = self.got.get(whole..whole + 4) {
            let next = whole + u32::from_le_bytes(size.try_into().unwrap()) as usize;
            if next > self.got.len() {
                break;
            }
            whole = next;
        }
        let rest = self.got.split_off(whole);
        frames(&std::mem::replace(&mut self.got, rest))
    }

    /// Sends all and gives the server turns until there are `n` answers.
    pub(crate) fn answers<T: Tree>(&mut self, server: &mut Server<T>, n: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for _ in 0..10_000 {
            self.send();
            turns(server, 1);
            all.extend(self.take());
            if all.len() >= n {
                assert_eq!(all.len(), n);
                return all;
            }
        }
        panic!("{} answers of {n}", all.len());
    }
}
