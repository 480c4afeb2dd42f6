//! The tree over a XenStore in memory.

use atoll_9p::access::User;
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::tree::{Make, MakeKind, Remove, Reply, Tree, Who};
use atoll_9p::types::OpenFlags;
use atoll_xen::store::{Error, NO_TRANSACTION, Request, parse_perms};

use crate::backend::Backend;
use crate::tests::fake::Fake;
use crate::{Limits, XenStoreFs};

mod changing;
mod fake;
mod files;
mod sim;
mod txn;
mod watch;

type Fs = XenStoreFs<Fake>;
type Node = <Fs as Tree>::Node;
type Open = <Fs as Tree>::Open;

fn fs(nodes: &[(&str, &str)]) -> Fs {
    at("/", nodes)
}

fn at(root: &str, nodes: &[(&str, &str)]) -> Fs {
    let mut fake = Fake::default();
    for (path, value) in nodes {
        fake.put(path, value.as_bytes());
    }
    let limits = Limits { places: 20_000, transactions: 3, watches: 3 };
    XenStoreFs::new(fake, root, limits).unwrap()
}

fn user() -> User {
    User { uid: 0, gid: 0, owner: true }
}

impl Fs {
    /// The file of that path, with one reference.
    fn at(&mut self, path: &str) -> Result<Node, Fault> {
        let mut node = self.attach(&Who { uname: "", user: user(), aname: "" })?;
        for name in path.split('/').filter(|n| !n.is_empty()) {
            let next = self.walk(node, name);
            self.forget(node);
            node = next?.0;
        }
        Ok(node)
    }

    fn has(&mut self, path: &str) -> bool {
        self.at(path).map(|node| self.forget(node)).is_ok()
    }

    fn open_at(&mut self, path: &str, flags: OpenFlags) -> Result<(Node, Open), Fault> {
        let mut node = self.at(path)?;
        match self.open(&mut node, flags) {
            Ok(open) => Ok((node, open)),
            Err(fault) => {
                self.forget(node);
                Err(fault)
            }
        }
    }

    fn end(&mut self, (node, open): (Node, Open)) {
        self.close(node, open);
        self.forget(node);
    }

    fn cat(&mut self, path: &str) -> Result<String, Fault> {
        let (node, mut open) = self.open_at(path, OpenFlags::RDONLY)?;
        let mut all = Vec::new();
        let done = loop {
            let mut buf = [0; 7];
            match self.read(node, &mut open, all.len() as u64, &mut buf) {
                Ok(Reply::Done(0)) => break Ok(String::from_utf8(all).unwrap()),
                Ok(Reply::Done(n)) => all.extend_from_slice(&buf[..n]),
                Ok(Reply::Later) => panic!("{path} waits"),
                Err(fault) => break Err(fault),
            }
        };
        self.end((node, open));
        done
    }

    fn put(&mut self, path: &str, data: &str) -> Result<(), Fault> {
        let (node, mut open) = self.open_at(path, OpenFlags(1 | OpenFlags::TRUNC))?;
        let done = self.write(node, &mut open, 0, data.as_bytes());
        self.end((node, open));
        done.map(|reply| assert_eq!(reply, Reply::Done(data.len())))
    }

    fn mkdir(&mut self, at: &str, name: &str) -> Result<(), Fault> {
        let dir = self.at(at)?;
        let make = Make { name, kind: MakeKind::Dir, mode: 0o755, user: user(), gid: 0 };
        let made = self.create(dir, &make);
        self.forget(dir);
        self.forget(made?);
        Ok(())
    }

    fn ls(&mut self, path: &str) -> Result<Vec<String>, Fault> {
        let node = self.at(path)?;
        let place = self.places.get(node)?;
        let names = self.entries(&place);
        self.forget(node);
        Ok(names?.into_iter().map(|(_, name)| name).collect())
    }

    fn rmdir(&mut self, at: &str, name: &str) -> Result<(), Fault> {
        let dir = self.at(at)?;
        let done = self.remove(dir, name, Remove::Dir);
        self.forget(dir);
        done
    }

    fn assert_holds_nothing(&mut self) {
        assert_eq!(self.places.held(), (0, 0));
        assert_eq!((self.transactions.held(), self.watches.held()), (0, 0));
        assert_eq!(self.backend.held(), (0, 0), "transactions and watches in XenStore");
    }
}
