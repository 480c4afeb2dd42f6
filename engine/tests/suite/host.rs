//! A host that serves a few files to the guest.

use atoll_9p::ram::Ram;
use atoll_9p::server::{Limits, Session};
use atoll_runtime::fake::{End, Fake};
use atoll_runtime::platform::{Conn, Stream};

pub(crate) struct Host {
    conn: Conn,
    ram: Ram,
    session: Session<Ram>,
    waiting: Vec<u8>,
}

impl Host {
    /// With the files that a script's lines `host PATH TEXT` name.
    pub(crate) fn open(fake: &mut Fake, script: &[&str]) -> Host {
        let mut ram = Ram::default();
        ram.mkdir("data").expect("an empty tree");
        for file in script.iter().filter_map(|l| l.strip_prefix("host ")) {
            let (path, text) = file.split_once(' ').expect("a path and a text");
            if let Some((dir, _)) = path.rsplit_once('/') {
                ram.mkdir(&format!("data/{dir}")).expect("a directory of one file");
            }
            ram.put(&format!("data/{path}"), text.as_bytes()).expect("a small file");
        }
        let session = Session::new(Limits::default());
        Host { conn: fake.open(Stream::Host), ram, session, waiting: Vec::new() }
    }
}

impl End for Host {
    fn pump(&mut self, fake: &mut Fake) -> bool {
        let bytes = fake.take(self.conn);
        let busy = !bytes.is_empty();
        self.waiting.extend(bytes);
        loop {
            let n = self.session.feed(&self.waiting);
            self.waiting.drain(..n);
            let stepped = self.session.step(&mut self.ram);
            let out = self.session.output().to_vec();
            fake.push(self.conn, &out);
            self.session.sent(out.len());
            if n == 0 && !stepped {
                return busy;
            }
        }
    }
}
