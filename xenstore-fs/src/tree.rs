//! The tree as sessions see it.

use atoll_9p::access::{User, Want, allowed};
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::tree::{Entries, Make, MakeKind, Remove, Reply, Tree, Who, slice_at};
use atoll_9p::types::{OpenFlags, Qid, SetAttr, Stat, StatFs, setattr};

use crate::backend::Backend;
use crate::fs::XenStoreFs;
use crate::names::{child, join, parent, shown};
use crate::node::{Kind, Node};
use crate::places::Place;

/// The longest value that a client can be about to write. Its path takes of that, too.
const MAX_VALUE: usize = atoll_xen::store::PAYLOAD_MAX;

/// An open file.
#[derive(Debug)]
pub struct Open(Opened);

#[derive(Debug)]
enum Opened {
    /// What a value or permissions were when the reading began, what was written of the
    /// value since it was opened, and whether it is to be emptied.
    Text { shown: Option<Vec<u8>>, written: Option<Vec<u8>>, cut: bool },
    /// What a directory held when its listing began.
    List(Vec<(Kind, String)>),
    /// A reader of a watch.
    Watch(u64),
    /// A transaction's ctl.
    Ctl,
}

impl<B: Backend> XenStoreFs<B> {
    fn shape(&self, place: &Place) -> Stat {
        Stat {
            qid: place.kind.qid(self.places.qid_path(place)),
            mode: place.kind.mode(),
            uid: self.uid,
            gid: self.gid,
            nlink: 1,
            ..Stat::default()
        }
    }

    fn is_root(&self, place: &Place) -> bool {
        place.kind == Kind::Node && *place.path == *self.root
    }

    /// The file of that name, whether it is there or not.
    fn find(&self, at: &Place, name: &str) -> Result<Place, Fault> {
        let same = |kind| Place { kind, ..at.clone() };
        Ok(match (at.kind, name) {
            (Kind::Node, "..") if self.is_root(at) && at.txn != 0 => {
                Place { kind: Kind::Transactions, txn: 0, ..at.clone() }
            }
            (Kind::Node, "..") if self.is_root(at) => at.clone(),
            (Kind::Node, "..") => {
                Place { path: parent(&at.path).unwrap_or("/").into(), ..at.clone() }
            }
            (_, "..") if at.kind == Kind::Clone => same(Kind::Transactions),
            (_, "..") => same(Kind::Node),
            (Kind::Node, "value") => same(Kind::Value),
            (Kind::Node, "perms") => same(Kind::Perms),
            // What is done in a transaction is told when that is done.
            (Kind::Node, "watch") if at.txn == 0 => same(Kind::Watch),
            (Kind::Node, "txn") if at.txn == 0 && self.is_root(at) => same(Kind::Transactions),
            (Kind::Node, "ctl") if at.txn != 0 && self.is_root(at) => same(Kind::Ctl),
            (Kind::Node, _) => {
                let name = child(name).ok_or(Errno::ENOENT)?;
                Place { path: join(&at.path, name).into(), ..at.clone() }
            }
            (Kind::Transactions, "clone") => same(Kind::Clone),
            (Kind::Transactions, _) => {
                let number = name.parse().ok().filter(|n: &u32| n.to_string() == name);
                let txn = number.filter(|n| self.transactions.is(*n)).ok_or(Errno::ENOENT)?;
                self.root_place(txn)
            }
            _ => return Err(Errno::ENOTDIR.into()),
        })
    }

    /// The same, and makes sure that it is there.
    fn go(&mut self, at: &Place, name: &str) -> Result<Place, Fault> {
        let place = self.find(at, name)?;
        // What lies above something was there with it, and a node's files are where it is.
        if place.kind == Kind::Node && name != ".." && place.path != at.path {
            self.check_is(&place)?;
        }
        Ok(place)
    }

    pub(crate) fn entries(&mut self, place: &Place) -> Result<Vec<(Kind, String)>, Fault> {
        let mut all: Vec<(Kind, String)> = Vec::new();
        if place.kind == Kind::Transactions {
            all.push((Kind::Clone, "clone".into()));
            all.extend(self.transactions.numbers().map(|n| (Kind::Node, n.to_string())));
            return Ok(all);
        }
        let names = self.children(place)?;
        let mut file = |kind, name: &str| all.push((kind, name.into()));
        match (self.is_root(place), place.txn) {
            (true, 0) => file(Kind::Transactions, "txn"),
            (true, _) => file(Kind::Ctl, "ctl"),
            _ => {}
        }
        file(Kind::Value, "value");
        file(Kind::Perms, "perms");
        if place.txn == 0 {
            file(Kind::Watch, "watch");
        }
        all.extend(names.iter().map(|name| (Kind::Node, shown(name).into_owned())));
        Ok(all)
    }

    fn text(&mut self, place: &Place) -> Result<Vec<u8>, Fault> {
        match place.kind {
            Kind::Value => self.value(place),
            Kind::Perms => self.perms(place),
            Kind::Ctl => Ok(format!("{}\n", place.txn).into_bytes()),
            _ => Ok(Vec::new()),
        }
    }

    /// Writes a value, which is one thing: from its start on it is replaced, and what follows
    /// what this file has written is added to it.
    fn write_value(
        &mut self,
        place: &Place,
        written: &mut Option<Vec<u8>>,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Fault> {
        let mut value = match (offset, &*written) {
            (0, _) => Vec::new(),
            (_, Some(written)) => written.clone(),
            (_, None) => self.value(place)?,
        };
        if value.len() as u64 != offset {
            return Err(Fault::new(
                Errno::EINVAL,
                "a value is written from its start or its end on",
            ));
        }
        if value.len() + data.len() > MAX_VALUE {
            return Err(Fault::new(Errno::EFBIG, "a value with its path has at most 4096 bytes"));
        }
        value.extend_from_slice(data);
        self.ask_of(place, &atoll_xen::store::Request::Write(&place.path, &value))?;
        *written = Some(value);
        Ok(())
    }
}

impl<B: Backend> Tree for XenStoreFs<B> {
    type Node = Node;
    type Open = Open;

    fn attach(&mut self, who: &Who<'_>) -> Result<Node, Fault> {
        let mut place = self.root_place(0);
        for name in who.aname.split('/').filter(|name| !name.is_empty()) {
            if name == "." || name == ".." {
                return Err(Errno::ENOENT.into());
            }
            place = self.go(&place, name)?;
        }
        self.places.hold(place)
    }

    fn walk(&mut self, at: Node, name: &str) -> Result<(Node, Qid), Fault> {
        let at = self.places.get(at)?;
        let place = self.go(&at, name)?;
        let qid = self.shape(&place).qid;
        Ok((self.places.hold(place)?, qid))
    }

    fn again(&mut self, node: Node) -> Node {
        self.places.again(node)
    }

    fn forget(&mut self, node: Node) {
        self.places.forget(node);
    }

    fn qid(&mut self, node: Node) -> Result<Qid, Fault> {
        let place = self.places.get(node)?;
        Ok(self.shape(&place).qid)
    }

    fn stat(&mut self, node: Node) -> Result<Stat, Fault> {
        let place = self.places.get(node)?;
        let size = match place.kind {
            Kind::Value | Kind::Perms => self.text(&place)?.len() as u64,
            _ => 0,
        };
        Ok(Stat { size, ..self.shape(&place) })
    }

    fn may(&mut self, node: Node, user: User, want: Want) -> Result<(), Fault> {
        let place = self.places.get(node)?;
        allowed(&self.shape(&place), user, want)
    }

    fn set(&mut self, node: Node, set: &SetAttr) -> Result<(), Fault> {
        let place = self.places.get(node)?;
        if place.kind.is_dir() || set.valid & (setattr::MODE | setattr::UID | setattr::GID) != 0 {
            return Err(Fault::new(Errno::EPERM, "who may do what is in the file perms"));
        }
        // A truncation comes before a write, and that replaces the value as one.
        Ok(())
    }

    fn open(&mut self, node: &mut Node, flags: OpenFlags) -> Result<Open, Fault> {
        let place = self.places.get(*node)?;
        let open = match place.kind {
            Kind::Node | Kind::Transactions => Opened::List(Vec::new()),
            Kind::Value | Kind::Perms => {
                let cut =
                    place.kind == Kind::Value && flags.has(OpenFlags::TRUNC) && flags.writes();
                Opened::Text { shown: None, written: None, cut }
            }
            Kind::Watch => Opened::Watch(self.begin_watch(*node, &place)?),
            Kind::Ctl => Opened::Ctl,
            Kind::Clone => {
                let ctl = self.begin_transaction()?;
                let txn = ctl.txn;
                let held = self.places.hold(ctl);
                let old = core::mem::replace(node, held.inspect_err(|_| self.closed_in(txn))?);
                self.places.forget(old);
                return Ok(Open(Opened::Ctl));
            }
        };
        if place.txn != 0 {
            self.transactions.opened(place.txn);
        }
        Ok(Open(open))
    }

    fn read(
        &mut self,
        node: Node,
        open: &mut Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        let place = self.places.get(node)?;
        match &mut open.0 {
            Opened::Text { shown, .. } => {
                if shown.is_none() || offset == 0 {
                    *shown = Some(self.text(&place)?);
                }
                Ok(Reply::Done(slice_at(shown.as_deref().unwrap_or_default(), offset, buf)))
            }
            Opened::Ctl => Ok(Reply::Done(slice_at(&self.text(&place)?, offset, buf))),
            Opened::Watch(reader) => {
                self.pump();
                match self.watches.read(*reader, buf)? {
                    0 => Ok(Reply::Later),
                    n => Ok(Reply::Done(n)),
                }
            }
            Opened::List(_) => Err(Errno::EISDIR.into()),
        }
    }

    fn write(
        &mut self,
        node: Node,
        open: &mut Open,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        let place = self.places.get(node)?;
        match (place.kind, &mut open.0) {
            (Kind::Value, Opened::Text { written, cut, .. }) => {
                self.write_value(&place, written, offset, data)?;
                *cut = false;
            }
            (Kind::Perms, Opened::Text { .. }) => self.set_perms(&place, data)?,
            (Kind::Ctl, Opened::Ctl) => self.end_transaction(&place, data)?,
            _ => return Err(Errno::EPERM.into()),
        }
        Ok(Reply::Done(data.len()))
    }

    fn list(
        &mut self,
        node: Node,
        open: &mut Open,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        let place = self.places.get(node)?;
        let Opened::List(entries) = &mut open.0 else { return Err(Errno::ENOTDIR.into()) };
        if cookie == 0 {
            *entries = self.entries(&place)?;
        }
        let from = usize::try_from(cookie).unwrap_or(usize::MAX);
        for (i, (kind, name)) in entries.iter().enumerate().skip(from) {
            let qid = match self.find(&place, name) {
                Ok(entry) => self.shape(&entry).qid,
                Err(_) => kind.qid(0), // a transaction that is over by now
            };
            if !sink.push(qid, i as u64 + 1, name) {
                break;
            }
        }
        Ok(())
    }

    fn close(&mut self, node: Node, open: Open) {
        let Ok(place) = self.places.get(node) else { return };
        match open.0 {
            Opened::Watch(reader) => self.end_watch(reader),
            // It was opened to be emptied, and nothing else was written.
            Opened::Text { cut: true, .. } => {
                let _ = self.empty(&place);
            }
            _ => {}
        }
        self.closed_in(place.txn);
    }

    fn create(&mut self, dir: Node, make: &Make<'_>) -> Result<Node, Fault> {
        let place = self.places.get(dir)?;
        if make.kind != MakeKind::Dir || place.kind != Kind::Node {
            return Err(Fault::new(Errno::EPERM, "nodes are made with mkdir, and nothing else is"));
        }
        let name = child(make.name).ok_or_else(|| {
            Fault::new(Errno::EINVAL, "a node's name has letters, digits, '-', '_' and '@' alone")
        })?;
        let made = self.make(&place, name)?;
        self.places.hold(made)
    }

    fn remove(&mut self, dir: Node, name: &str, what: Remove) -> Result<(), Fault> {
        let at = self.places.get(dir)?;
        let place = self.go(&at, name)?;
        match (place.kind, what) {
            (Kind::Node, Remove::Dir) if at.kind == Kind::Node => self.remove_node(&place),
            (Kind::Node, Remove::File) => Err(Errno::EISDIR.into()),
            _ => Err(Fault::new(
                Errno::EPERM,
                "nodes are removed with rmdir, and their files with them",
            )),
        }
    }

    fn statfs(&mut self, _: Node) -> Result<StatFs, Fault> {
        let ty = 0x0102_1997; // V9FS_MAGIC
        Ok(StatFs { ty, bsize: 4096, namelen: 255, ..StatFs::default() })
    }

    fn woken(&mut self, wake: &mut dyn FnMut(Node)) {
        if self.watches.has_readers() {
            self.pump();
        }
        self.watches.take_stirred().into_iter().for_each(wake);
    }
}
