//! The trees that fuzzed sessions work on.
//!
//! [`Counted`] stands before any [`Tree`]: it counts what that hands out, stops at any
//! use of what was given back, and lets a read or write wait, or any call fail, when it
//! is told to. Behind it are files made of functions ([`crate::files`]), or the tree in
//! memory, which can be changed in every way.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::LazyLock;

use atoll_9p::access::{User, Want};
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::ram::{Budget, Ram};
use atoll_9p::tree::{Entries, Make, Remove, Reply, Tree, Who};
use atoll_9p::types::{Lock, LockStatus, OpId, OpenFlags, Qid, SetAttr, Stat, StatFs};

/// Names of every length, which are made once.
static MANY: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..40).map(|i| format!("{i}-{}", "n".repeat(i * 6 % 252))).collect());

/// A tree that the targets know how to set up and to judge.
pub trait Trial: Tree<Node: Debug> {
    /// With something in it.
    fn set_up() -> Self;

    /// Something happens that is no request.
    fn news(&mut self, text: &str);

    /// Panics when something is so that must not be; `idle` when nobody has a file.
    fn check(&mut self, idle: bool);
}

/// What the tree in memory may hold.
const BUDGET: Budget = Budget { bytes: 20_000, files: 60 };

impl Trial for Ram {
    fn set_up() -> Self {
        let mut ram = Ram::new(BUDGET);
        for path in ["text", "README", "ctl", "log", "dir/deep/leaf"] {
            ram.put(path, b"content\n").expect("there is room");
        }
        for name in MANY.iter().take(20) {
            ram.put(&format!("many/{name}"), b"").expect("there is room");
        }
        ram
    }

    fn news(&mut self, text: &str) {
        // There may be no room, or a directory of that name.
        let _ = self.put("log", text.as_bytes());
    }

    fn check(&mut self, _: bool) {
        let used = self.used();
        assert!(used.bytes <= BUDGET.bytes && used.files <= BUDGET.files, "{used:?}");
    }
}

/// What is open: the file's own, under a number that is used once.
#[derive(Debug)]
pub struct Opened<O>(u64, O);

/// A tree, and what sessions have of it.
pub struct Counted<T: Trial> {
    tree: T,
    nodes: BTreeMap<T::Node, u32>,
    opens: BTreeMap<u64, T::Node>,
    next: u64,
    /// Reads and writes wait.
    pub busy: bool,
    /// So many calls until one fails; 0 for none.
    pub fault_in: u8,
}

impl<T: Trial> Default for Counted<T> {
    fn default() -> Self {
        Counted {
            tree: T::set_up(),
            nodes: BTreeMap::new(),
            opens: BTreeMap::new(),
            next: 0,
            busy: false,
            fault_in: 0,
        }
    }
}

impl<T: Trial> Counted<T> {
    /// The nodes that sessions hold.
    pub fn held(&self) -> Vec<T::Node> {
        self.nodes.keys().copied().collect()
    }

    /// Something happens that is no request.
    pub fn news(&mut self, text: &str) {
        self.tree.news(text);
    }

    /// Panics when something is so that must not be.
    pub fn check(&mut self) {
        self.tree.check(false);
    }

    /// Panics when a session kept anything.
    pub fn assert_empty(&mut self) {
        assert!(self.nodes.is_empty(), "nodes that were not given back: {:?}", self.nodes);
        assert!(self.opens.is_empty(), "files that were not closed: {:?}", self.opens);
        self.tree.check(true);
    }

    fn hold(&mut self, node: T::Node) -> T::Node {
        *self.nodes.entry(node).or_default() += 1;
        node
    }

    /// One reference fewer, as far as this knows.
    fn lose(&mut self, node: T::Node) {
        let n = self.nodes.get_mut(&node).expect("a node is given back that nobody holds");
        *n -= 1;
        if *n == 0 {
            self.nodes.remove(&node);
        }
    }

    fn used(&mut self, node: T::Node) -> Result<(), Fault> {
        assert!(self.nodes.contains_key(&node), "{node:?} is used, but nobody holds it");
        match self.fault_in {
            0 => Ok(()),
            1 => {
                self.fault_in = 0;
                Err(Fault::new(Errno::EIO, "told to fail"))
            }
            n => {
                self.fault_in = n - 1;
                Ok(())
            }
        }
    }

    fn used_open(&mut self, node: T::Node, open: &Opened<T::Open>) -> Result<(), Fault> {
        assert_eq!(self.opens.get(&open.0), Some(&node), "a file is used that is not open");
        self.used(node)
    }

    fn opened(&mut self, node: T::Node, open: T::Open) -> Opened<T::Open> {
        self.next += 1;
        self.opens.insert(self.next, node);
        Opened(self.next, open)
    }
}

/// What a session must have looked at before it asks for a name.
fn sound(name: &str) {
    assert!(!name.is_empty() && name.len() <= 255 && !name.contains(['/', '\0']), "{name:?}");
}

/// The same, where the name is to be made or taken away.
fn sound_new(name: &str) {
    sound(name);
    assert!(name != "." && name != "..");
}

impl<T: Trial> Tree for Counted<T> {
    type Node = T::Node;
    type Open = Opened<T::Open>;

    fn attach(&mut self, who: &Who<'_>) -> Result<T::Node, Fault> {
        let node = self.tree.attach(who)?;
        Ok(self.hold(node))
    }

    fn walk(&mut self, at: T::Node, name: &str) -> Result<(T::Node, Qid), Fault> {
        self.used(at)?;
        sound(name);
        let (node, qid) = self.tree.walk(at, name)?;
        Ok((self.hold(node), qid))
    }

    fn again(&mut self, node: T::Node) -> T::Node {
        assert!(self.nodes.contains_key(&node), "{node:?} is copied, but nobody holds it");
        let node = self.tree.again(node);
        self.hold(node)
    }

    fn forget(&mut self, node: T::Node) {
        self.lose(node);
        self.tree.forget(node);
    }

    fn qid(&mut self, node: T::Node) -> Result<Qid, Fault> {
        self.used(node)?;
        self.tree.qid(node)
    }

    fn stat(&mut self, node: T::Node) -> Result<Stat, Fault> {
        self.used(node)?;
        self.tree.stat(node)
    }

    fn may(&mut self, node: T::Node, user: User, want: Want) -> Result<(), Fault> {
        self.used(node)?;
        self.tree.may(node, user, want)
    }

    fn set(&mut self, node: T::Node, set: &SetAttr) -> Result<(), Fault> {
        self.used(node)?;
        self.tree.set(node, set)
    }

    fn may_set(&mut self, node: T::Node, user: User) -> Result<(), Fault> {
        self.used(node)?;
        self.tree.may_set(node, user)
    }

    fn open(&mut self, node: &mut T::Node, flags: OpenFlags) -> Result<Self::Open, Fault> {
        self.used(*node)?;
        let before = *node;
        let open = self.tree.open(node, flags)?;
        if *node != before {
            self.lose(before);
            self.hold(*node);
        }
        Ok(self.opened(*node, open))
    }

    fn read(
        &mut self,
        node: T::Node,
        open: &mut Self::Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        self.used_open(node, open)?;
        match self.busy {
            true => Ok(Reply::Later),
            false => self.tree.read(node, &mut open.1, offset, buf),
        }
    }

    fn write(
        &mut self,
        node: T::Node,
        open: &mut Self::Open,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        self.used_open(node, open)?;
        match self.busy {
            true => Ok(Reply::Later),
            false => self.tree.write(node, &mut open.1, offset, data),
        }
    }

    fn write_once(
        &mut self,
        node: T::Node,
        open: &mut Self::Open,
        op: OpId,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        self.used_open(node, open)?;
        // A greeting never waits.
        match self.busy && !data.is_empty() {
            true => Ok(Reply::Later),
            false => self.tree.write_once(node, &mut open.1, op, offset, data),
        }
    }

    fn seek(&mut self, node: T::Node, open: &mut Self::Open, to: u64) -> Result<(), Fault> {
        self.used_open(node, open)?;
        self.tree.seek(node, &mut open.1, to)
    }

    fn position(&mut self, node: T::Node, open: &mut Self::Open) -> Option<u64> {
        self.tree.position(node, &mut open.1)
    }

    fn list(
        &mut self,
        node: T::Node,
        open: &mut Self::Open,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        self.used_open(node, open)?;
        self.tree.list(node, &mut open.1, cookie, sink)
    }

    fn close(&mut self, node: T::Node, open: Self::Open) {
        assert!(self.nodes.contains_key(&node), "{node:?} is closed, but nobody holds it");
        assert_eq!(self.opens.remove(&open.0), Some(node), "a file is closed that is not open");
        self.tree.close(node, open.1);
    }

    fn sync(&mut self, node: T::Node) -> Result<(), Fault> {
        self.used(node)?;
        self.tree.sync(node)
    }

    fn create(&mut self, dir: T::Node, make: &Make<'_>) -> Result<T::Node, Fault> {
        self.used(dir)?;
        sound_new(make.name);
        let node = self.tree.create(dir, make)?;
        Ok(self.hold(node))
    }

    fn create_open(
        &mut self,
        dir: T::Node,
        make: &Make<'_>,
        flags: OpenFlags,
    ) -> Result<(T::Node, Self::Open), Fault> {
        self.used(dir)?;
        sound_new(make.name);
        let (node, open) = self.tree.create_open(dir, make, flags)?;
        self.hold(node);
        Ok((node, self.opened(node, open)))
    }

    fn link(&mut self, node: T::Node, dir: T::Node, name: &str) -> Result<(), Fault> {
        self.used(node)?;
        self.used(dir)?;
        sound_new(name);
        self.tree.link(node, dir, name)
    }

    fn readlink(&mut self, node: T::Node, out: &mut String) -> Result<(), Fault> {
        self.used(node)?;
        assert!(out.is_empty());
        self.tree.readlink(node, out)
    }

    fn rename(
        &mut self,
        from: T::Node,
        name: &str,
        to: T::Node,
        newname: &str,
    ) -> Result<(), Fault> {
        self.used(from)?;
        self.used(to)?;
        sound_new(name);
        sound_new(newname);
        self.tree.rename(from, name, to, newname)
    }

    fn remove(&mut self, dir: T::Node, name: &str, what: Remove) -> Result<(), Fault> {
        self.used(dir)?;
        sound_new(name);
        self.tree.remove(dir, name, what)
    }

    fn lock(
        &mut self,
        node: T::Node,
        open: &mut Self::Open,
        lock: &Lock<'_>,
    ) -> Result<LockStatus, Fault> {
        self.used_open(node, open)?;
        self.tree.lock(node, &mut open.1, lock)
    }

    fn test_lock(
        &mut self,
        node: T::Node,
        open: &mut Self::Open,
        lock: &Lock<'_>,
    ) -> Result<Option<Lock<'static>>, Fault> {
        self.used_open(node, open)?;
        self.tree.test_lock(node, &mut open.1, lock)
    }

    fn statfs(&mut self, node: T::Node) -> Result<StatFs, Fault> {
        self.used(node)?;
        self.tree.statfs(node)
    }

    fn woken(&mut self, wake: &mut dyn FnMut(T::Node)) {
        self.tree.woken(wake);
    }
}
