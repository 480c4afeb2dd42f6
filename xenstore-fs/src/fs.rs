//! The file system: what clients have of it, and what it asks xenstored.

use atoll_9p::fault::{Errno, Fault};
use atoll_xen::store::{
    Answer, BadPath, Error, Incoming, NO_TRANSACTION, Request, TxId, check_path, format_perms,
    parse_perms,
};

use crate::backend::{Backend, Failed, garbled};
use crate::list;
use crate::names::{join, path_below};
use crate::node::{Kind, Node};
use crate::places::{Place, Places};
use crate::transactions::Transactions;
use crate::watches::{Begin, Watches};

/// What all clients together may make a tree hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes for the files that clients have fids for.
    pub places: usize,
    /// Transactions at once. xenstored lets a domain have 10.
    pub transactions: usize,
    /// Watch files that are open at once. xenstored lets a domain have 128 watches.
    pub watches: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { places: 16 << 20, transactions: 32, watches: 1024 }
    }
}

/// A XenStore as a tree.
#[derive(Debug)]
pub struct XenStoreFs<B> {
    pub(crate) backend: B,
    pub(crate) root: String,
    pub(crate) places: Places,
    pub(crate) transactions: Transactions,
    pub(crate) watches: Watches,
    /// The owner that files show.
    pub uid: u32,
    /// The group that files show.
    pub gid: u32,
}

impl<B: Backend> XenStoreFs<B> {
    /// All below a node, which is an absolute path.
    pub fn new(backend: B, root: &str, limits: Limits) -> Result<XenStoreFs<B>, BadPath> {
        check_path(root)?;
        if !root.starts_with('/') {
            return Err(BadPath::Character);
        }
        Ok(XenStoreFs {
            backend,
            root: root.into(),
            places: Places::new(limits.places),
            transactions: Transactions::new(limits.transactions),
            watches: Watches::new(limits.watches),
            uid: 0,
            gid: 0,
        })
    }

    /// What it asks.
    pub fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Takes the events that have come to those who wait for them.
    pub fn pump(&mut self) {
        while let Some(incoming) = self.backend.event() {
            match incoming {
                Incoming::Event { path, token } => {
                    self.watches.event(&token, path_below(&self.root, &path).as_deref());
                }
                Incoming::EventsLost => self.watches.lost(),
                Incoming::Answer(..) => {}
            }
        }
        let connection = self.backend.connection();
        self.watches.connected(connection);
    }

    pub(crate) fn root_place(&self, txn: u32) -> Place {
        Place { kind: Kind::Node, txn, path: self.root.as_str().into() }
    }

    /// Asks something about a file, in the transaction that it lies in.
    pub(crate) fn ask_of(&mut self, place: &Place, request: &Request<'_>) -> Result<Answer, Fault> {
        let tx = self.tx(place.txn)?;
        Ok(self.backend.ask(tx, request)?)
    }

    fn tx(&mut self, txn: u32) -> Result<TxId, Fault> {
        if txn == 0 {
            return Ok(NO_TRANSACTION);
        }
        let connection = self.backend.connection();
        self.transactions.tx(txn, connection)
    }

    /// Makes sure that a node is there.
    pub(crate) fn check_is(&mut self, place: &Place) -> Result<(), Fault> {
        self.ask_of(place, &Request::GetPerms(&place.path)).map(drop)
    }

    pub(crate) fn value(&mut self, place: &Place) -> Result<Vec<u8>, Fault> {
        match self.ask_of(place, &Request::Read(&place.path))? {
            Answer::Value(value) => Ok(value),
            _ => Err(garbled()),
        }
    }

    pub(crate) fn perms(&mut self, place: &Place) -> Result<Vec<u8>, Fault> {
        match self.ask_of(place, &Request::GetPerms(&place.path))? {
            Answer::Perms(perms) => Ok((format_perms(&perms) + "\n").into_bytes()),
            _ => Err(garbled()),
        }
    }

    pub(crate) fn set_perms(&mut self, place: &Place, text: &[u8]) -> Result<(), Fault> {
        let text = core::str::from_utf8(text)
            .map_err(|_| Fault::new(Errno::EINVAL, "permissions are text: n0 r5"))?;
        let perms = parse_perms(text).map_err(|bad| Fault::new(Errno::EINVAL, bad.to_string()))?;
        self.ask_of(place, &Request::SetPerms(&place.path, &perms)).map(drop)
    }

    /// The names of a node's children, in order.
    pub(crate) fn children(&mut self, place: &Place) -> Result<Vec<String>, Fault> {
        let tx = self.tx(place.txn)?;
        list::children(&mut self.backend, tx, &place.path)
    }

    /// Makes a child.
    pub(crate) fn make(&mut self, place: &Place, name: &str) -> Result<Place, Fault> {
        let path = join(&place.path, name);
        self.ask_of(place, &Request::Mkdir(&path))?;
        Ok(Place { path: path.into(), ..place.clone() })
    }

    /// Removes a node that has no children. XenStore itself removes those too, so outside of
    /// a transaction this is one.
    pub(crate) fn remove_node(&mut self, place: &Place) -> Result<(), Fault> {
        if *place.path == *self.root {
            return Err(Fault::new(Errno::EBUSY, "the root of what is shown is not removed"));
        }
        self.as_one(place, |backend, tx| {
            if !list::children(backend, tx, &place.path)?.is_empty() {
                return Err(Errno::ENOTEMPTY.into());
            }
            Ok(backend.ask(tx, &Request::Rm(&place.path)).map(drop)?)
        })
    }

    /// Empties a value. A write alone would make a node that another has removed.
    pub(crate) fn empty(&mut self, place: &Place) -> Result<(), Fault> {
        self.as_one(place, |backend, tx| {
            backend.ask(tx, &Request::GetPerms(&place.path))?;
            Ok(backend.ask(tx, &Request::Write(&place.path, b"")).map(drop)?)
        })
    }

    /// Does several things as one: in the transaction that a file lies in, or in one for
    /// them alone, again if others got in its way.
    fn as_one(
        &mut self,
        place: &Place,
        mut what: impl FnMut(&mut B, TxId) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if place.txn != 0 {
            let tx = self.tx(place.txn)?;
            return what(&mut self.backend, tx);
        }
        for _ in 0..4 {
            let tx = self.start()?;
            let done = what(&mut self.backend, tx);
            match self.backend.ask(tx, &Request::TransactionEnd(done.is_ok())) {
                Err(Failed::Store(Error::EAGAIN)) if done.is_ok() => {}
                Err(failed) if done.is_ok() => return Err(failed.into()),
                _ => return done,
            }
        }
        Err(Fault::new(Errno::EBUSY, "others are changing the node"))
    }

    fn start(&mut self) -> Result<TxId, Fault> {
        match self.backend.ask(NO_TRANSACTION, &Request::TransactionStart)? {
            Answer::Transaction(tx) => Ok(tx),
            _ => Err(garbled()),
        }
    }

    /// Makes a transaction: the file that ends it.
    pub(crate) fn begin_transaction(&mut self) -> Result<Place, Fault> {
        self.transactions.room()?;
        let tx = self.start()?;
        let txn = self.transactions.add(tx, self.backend.connection());
        Ok(Place { kind: Kind::Ctl, ..self.root_place(txn) })
    }

    /// Does what a transaction's ctl is told.
    pub(crate) fn end_transaction(&mut self, place: &Place, command: &[u8]) -> Result<(), Fault> {
        let commit = match command.trim_ascii() {
            b"commit" => true,
            b"abort" => false,
            other => {
                let echo = String::from_utf8_lossy(other.get(..other.len().min(40)).unwrap_or(b""));
                let text = format!("\"{echo}\": a transaction is told commit or abort");
                return Err(Fault::new(Errno::EINVAL, text));
            }
        };
        let tx = self.tx(place.txn)?;
        let done = self.backend.ask(tx, &Request::TransactionEnd(commit));
        self.transactions.end(place.txn);
        match done {
            Ok(_) => Ok(()),
            Err(Failed::Store(Error::EAGAIN)) => Err(Fault::new(
                Errno::EAGAIN,
                "another changed what the transaction rests on: nothing of it was done",
            )),
            Err(Failed::Down(why) | Failed::Silent(why)) if commit => {
                let text = format!("nobody knows whether the transaction was done: {why}");
                Err(Fault::new(Errno::EIO, text))
            }
            Err(failed) => Err(failed.into()),
        }
    }

    /// A file of a transaction was closed: without any that is open it is aborted.
    pub(crate) fn closed_in(&mut self, txn: u32) {
        if txn == 0 {
            return;
        }
        let connection = self.backend.connection();
        if let Some(tx) = self.transactions.closed(txn, connection) {
            // One that cannot be aborted is gone with its connection.
            let _ = self.backend.ask(tx, &Request::TransactionEnd(false));
        }
    }

    /// A reader of a watch file came.
    pub(crate) fn begin_watch(&mut self, node: Node, place: &Place) -> Result<u64, Fault> {
        self.pump();
        let (token, first) = match self.watches.begin(&place.path)? {
            Begin::Shared(token) => (token, path_below(&self.root, &place.path)),
            Begin::Watch(token) => {
                let name = token.to_string();
                let request = Request::Watch(&place.path, &name);
                self.backend.ask(NO_TRANSACTION, &request)?;
                (token, None)
            }
        };
        let connection = self.backend.connection();
        Ok(self.watches.add(node, token, &place.path, connection, first))
    }

    pub(crate) fn end_watch(&mut self, reader: u64) {
        let connection = self.backend.connection();
        if let Some((path, token)) = self.watches.remove(reader, connection) {
            let name = token.to_string();
            let request = Request::Unwatch(&path, &name);
            let _ = self.backend.ask(NO_TRANSACTION, &request);
        }
    }
}
