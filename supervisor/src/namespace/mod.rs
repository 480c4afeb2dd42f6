//! The namespace that is composed for a guest: what it finds on its `host` stream.
//!
//! One directory a bound import, named as the import is: a folder of this host, or what
//! another guest exports. The second is a mount point; a [`Front`] joins the guest to the
//! other one's own socket, frame for frame, when it walks there. So an import needs no daemon:
//! whoever runs the guest, a shim or `atoll run`, dials the other guest itself, and dials it
//! again when that has come back.
//!
//! Where the guest's state is kept there is a file more, `.store`: what it stores
//! ([`crate::stored`]).
//!
//! What lies above and beside an exported tree is not reached from here: names and `..` are
//! walked by [`Front`], which knows where the border is, and a guest attaches to nothing
//! but the root of this tree.

use std::io;
use std::path::{Path, PathBuf};

use atoll_9p::access::{Identity, User, Want};
use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::once::Once;
use atoll_9p::server::Limits;
use atoll_9p::tree::{Entries, Make, Remove, Reply, Tree, Who};
use atoll_9p::types::{Lock, LockStatus, OpenFlags, Qid, Stat, StatFs, mode, qid_type};
use atoll_config::kept::Frames;
use serde::{Deserialize, Serialize};

use crate::hostdir::{self, HostDirs};
use crate::serve::front::{Front, Reach, Server};
use crate::stored::Stored;
use crate::stream::Stream;

/// What a guest may hold: each fid of a folder is a descriptor of the supervisor's.
const LIMITS: Limits = Limits { msize: 64 << 10, fids: 256, blocked: 16, writes: 256 << 10 };
/// The paths of mount points' qids begin here: no file system numbers its files like that.
const MOUNTS: u64 = 0xa701_a701 << 32;
/// What a guest has stored. No import is called so.
const STORE: &str = ".store";
/// Where a guest's exports lie in its tree.
const EXPORT: &str = "export";

/// Another guest's tree, bound to an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The import's name.
    pub name: String,
    /// The other guest's.
    pub guest: String,
    /// What of it: a path below its `export/`; empty for all that it exports.
    pub path: String,
    /// Where its tree is.
    pub socket: PathBuf,
}

impl Import {
    /// An import of a guest that has its usual socket. `path` is one from the root of its
    /// tree, which must be in `export/`, or empty for all of that.
    pub fn new(name: &str, guest: &str, path: &str) -> Result<Import, String> {
        let socket = crate::address::default_socket(guest);
        let path = exported(path).ok_or_else(|| {
            format!(
                "{guest}/{path} is nothing that {guest} exports: write {guest}/{EXPORT}/PATH, or \
                 {guest} for all of {EXPORT}/"
            )
        })?;
        Ok(Import { name: name.into(), guest: guest.into(), path: path.into(), socket })
    }

    /// It as a guest's config has it.
    pub fn bind(&self) -> String {
        let Import { guest, path, .. } = self;
        format!("{guest}/{EXPORT}/{path}").trim_end_matches('/').into()
    }

    fn server(&self) -> Server {
        let Import { name, guest, path, socket } = self;
        Server {
            socket: socket.clone(),
            tree: format!("{EXPORT}/{path}").trim_end_matches('/').into(),
            called: Some(format!("{guest}, whose tree is imported as {name},")),
        }
    }
}

/// A path in a guest's tree as one below `export/`, if it is.
pub fn exported(path: &str) -> Option<&str> {
    let path = path.trim_matches('/');
    let good = path.split('/').all(|part| part != "." && part != "..");
    match path.strip_prefix(EXPORT) {
        _ if !good => None,
        _ if path.is_empty() => Some(""),
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    }
}

/// All that a guest is given.
#[derive(Debug, Default)]
pub struct Namespace {
    dirs: HostDirs,
    /// What the folders are called.
    folders: Vec<String>,
    imports: Vec<Import>,
    stored: Option<Stored>,
    /// Somebody has the store open.
    taken: bool,
}

/// A file of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// The directory of all imports.
    Root,
    /// In a folder, as [`HostDirs`] knows it.
    Dir(u64),
    /// A mount point.
    Mount(u32),
    /// What the guest has stored.
    Store,
}

/// An open file of it.
#[derive(Debug)]
pub enum Open {
    /// A list of the imports.
    Root,
    /// A file in a folder.
    Dir(hostdir::Open),
    /// What the guest has stored: a frame that is not whole yet, and where the next bytes are
    /// to be written.
    Store(Frames, Option<u64>),
}

/// The root of the folders.
const DIRS: u64 = 0;

impl Namespace {
    /// Adds a folder of this host under a name.
    pub fn add(&mut self, name: &str, dir: &Path) -> io::Result<()> {
        self.dirs.add(name, dir)?;
        self.folders.push(name.into());
        Ok(())
    }

    /// Adds another guest's tree.
    pub fn import(&mut self, import: Import) {
        self.imports.push(import);
    }

    /// Adds what the guest has stored, and stores from now on.
    pub fn store(&mut self, stored: Stored) {
        self.stored = Some(stored);
    }

    /// Serves it to a guest, until that is gone.
    /// Where there is a path, the guest is served there again whenever a connection has ended.
    pub async fn serve(self, stream: Stream, again: Option<PathBuf>) {
        let reach: Reach<Namespace> = Box::new(|namespace, mount| {
            let at = usize::try_from(mount - MOUNTS).ok();
            let import = at.and_then(|at| namespace.imports.get(at)).ok_or(Errno::ENOENT)?;
            Ok(import.server())
        });
        let front = Front::new(self, LIMITS, reach);
        let mut next = Some(stream);
        while let Some(stream) = next {
            front.serve_client(stream, Identity::Owner).await;
            next = match &again {
                Some(path) => Stream::connect(path).await.ok(),
                None => None,
            };
        }
    }

    /// Takes bytes for the store.
    fn take_in(
        &mut self,
        held: &mut Frames,
        next: &mut Option<u64>,
        at: u64,
        data: &[u8],
    ) -> Result<usize, Fault> {
        let stored = self.stored.as_mut().ok_or(Errno::ENOENT)?;
        if at != next.unwrap_or(stored.len()) {
            let text = "what is stored is written one behind the other";
            return Err(Fault::new(Errno::EINVAL, text).blame(Blame::Guest));
        }
        let before = held.rest();
        let mut used = 0;
        held.feed(data);
        let bad = |e| Fault::new(Errno::EINVAL, format!("{e}")).blame(Blame::Guest);
        while let Some((head, frame)) = held.take().map_err(bad)? {
            let size = frame.len();
            let front = frame.get(..before).unwrap_or_default().to_vec();
            if let Err(fault) = stored.append(frame, head.more) {
                // What of this write came before is there; the rest was never given.
                *held = Frames::default();
                if used == 0 {
                    held.feed(&front);
                    return Err(fault);
                }
                *next = Some(at + (used - before) as u64);
                return Ok(used - before);
            }
            used += size;
        }
        *next = Some(at + data.len() as u64);
        Ok(data.len())
    }

    fn place(&self, name: &str) -> Option<u32> {
        self.imports.iter().position(|i| i.name == name).map(|at| at as u32)
    }
}

fn mount(at: u32) -> Qid {
    let ty = qid_type::DIR | qid_type::MOUNT;
    Qid { ty, version: 0, path: MOUNTS + u64::from(at) }
}

fn store() -> Qid {
    Qid { ty: qid_type::FILE, version: 0, path: MOUNTS - 1 }
}

fn root() -> Qid {
    Qid { ty: qid_type::DIR, version: 0, path: u64::MAX }
}

/// Nothing is done with a mount point itself: who has got there is with the other guest.
fn border() -> Fault {
    Fault::new(Errno::EPERM, "the other guest's tree is not here").blame(Blame::Host)
}

impl Tree for Namespace {
    type Node = Node;
    type Open = Open;

    fn attach(&mut self, who: &Who<'_>) -> Result<Node, Fault> {
        if who.aname.trim_matches('/').is_empty() {
            return Ok(Node::Root);
        }
        Err(Fault::new(Errno::ENOENT, "a guest attaches to the root of what it was given"))
    }

    fn walk(&mut self, at: Node, name: &str) -> Result<(Node, Qid), Fault> {
        let (node, qid) = match at {
            Node::Root => match self.place(name) {
                _ if name == ".." => return Ok((Node::Root, root())),
                _ if name == STORE && self.stored.is_some() => return Ok((Node::Store, store())),
                Some(at) => return Ok((Node::Mount(at), mount(at))),
                None => self.dirs.walk(DIRS, name)?,
            },
            Node::Dir(node) => self.dirs.walk(node, name)?,
            Node::Mount(_) if name == ".." => return Ok((Node::Root, root())),
            Node::Mount(_) => return Err(Errno::ENOENT.into()),
            Node::Store if name == ".." => return Ok((Node::Root, root())),
            Node::Store => return Err(Errno::ENOTDIR.into()),
        };
        Ok(if node == DIRS { (Node::Root, root()) } else { (Node::Dir(node), qid) })
    }

    fn again(&mut self, node: Node) -> Node {
        if let Node::Dir(node) = node {
            return Node::Dir(self.dirs.again(node));
        }
        node
    }

    fn forget(&mut self, node: Node) {
        if let Node::Dir(node) = node {
            self.dirs.forget(node);
        }
    }

    fn qid(&mut self, node: Node) -> Result<Qid, Fault> {
        match node {
            Node::Root => Ok(root()),
            Node::Dir(node) => self.dirs.qid(node),
            Node::Mount(at) => Ok(mount(at)),
            Node::Store => Ok(store()),
        }
    }

    fn stat(&mut self, node: Node) -> Result<Stat, Fault> {
        if let Node::Dir(node) = node {
            return self.dirs.stat(node);
        }
        let qid = self.qid(node)?;
        if node == Node::Store {
            let size = self.stored.as_ref().map_or(0, Stored::len);
            return Ok(Stat { qid, mode: mode::FILE | 0o600, nlink: 1, size, ..Stat::default() });
        }
        Ok(Stat { qid, mode: mode::DIR | 0o555, nlink: 2, ..Stat::default() })
    }

    fn may(&mut self, node: Node, user: User, want: Want) -> Result<(), Fault> {
        match node {
            Node::Dir(node) => self.dirs.may(node, user, want),
            _ => Ok(()),
        }
    }

    fn open(&mut self, node: &mut Node, flags: OpenFlags) -> Result<Open, Fault> {
        match node {
            Node::Root if flags.writes() || flags.has(OpenFlags::TRUNC) => {
                Err(Errno::EISDIR.into())
            }
            Node::Root => Ok(Open::Root),
            Node::Dir(node) => self.dirs.open(node, flags).map(Open::Dir),
            Node::Mount(_) => Err(border()),
            Node::Store if self.taken => Err(Errno::EBUSY.into()),
            Node::Store => {
                self.taken = true;
                Ok(Open::Store(Frames::default(), None))
            }
        }
    }

    fn read(&mut self, node: Node, o: &mut Open, at: u64, buf: &mut [u8]) -> Result<Reply, Fault> {
        match (node, o) {
            (Node::Dir(node), Open::Dir(open)) => self.dirs.read(node, open, at, buf),
            (Node::Store, _) => {
                let stored = self.stored.as_ref().ok_or(Errno::ENOENT)?;
                stored.read(at, buf).map(Reply::Done)
            }
            _ => Err(Errno::EISDIR.into()),
        }
    }

    fn write(&mut self, node: Node, o: &mut Open, at: u64, data: &[u8]) -> Result<Reply, Fault> {
        match (node, o) {
            (Node::Dir(node), Open::Dir(open)) => self.dirs.write(node, open, at, data),
            (Node::Store, Open::Store(held, next)) => {
                self.take_in(held, next, at, data).map(Reply::Done)
            }
            _ => Err(Errno::EISDIR.into()),
        }
    }

    fn list(
        &mut self,
        node: Node,
        open: &mut Open,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        match (node, open) {
            (Node::Dir(node), Open::Dir(open)) => self.dirs.list(node, open, cookie, sink),
            (Node::Root, _) => {
                let from = usize::try_from(cookie).unwrap_or(usize::MAX);
                let names = self.folders.iter().chain(self.imports.iter().map(|i| &i.name));
                for (at, name) in names.enumerate().skip(from) {
                    let qid = match at.checked_sub(self.folders.len()) {
                        Some(at) => Qid { ty: qid_type::DIR, ..mount(at as u32) },
                        None => {
                            let (node, qid) = self.dirs.walk(DIRS, name)?;
                            self.dirs.forget(node);
                            qid
                        }
                    };
                    if !sink.push(qid, at as u64 + 1, name) {
                        break;
                    }
                }
                Ok(())
            }
            _ => Err(Errno::ENOTDIR.into()),
        }
    }

    fn sync(&mut self, node: Node) -> Result<(), Fault> {
        match node {
            Node::Store => self.stored.as_mut().ok_or(Errno::ENOENT)?.sync(),
            Node::Dir(node) => self.dirs.sync(node),
            _ => Ok(()),
        }
    }

    fn close(&mut self, node: Node, open: Open) {
        self.taken &= node != Node::Store;
        if let (Node::Dir(node), Open::Dir(open)) = (node, open) {
            self.dirs.close(node, open);
        }
    }

    fn once(&mut self) -> Option<&mut Once> {
        self.dirs.once()
    }

    fn lock(&mut self, node: Node, open: &mut Open, lock: &Lock<'_>) -> Result<LockStatus, Fault> {
        match (node, open) {
            (Node::Dir(node), Open::Dir(open)) => self.dirs.lock(node, open, lock),
            _ => Err(Errno::EISDIR.into()),
        }
    }

    fn test_lock(
        &mut self,
        node: Node,
        open: &mut Open,
        lock: &Lock<'_>,
    ) -> Result<Option<Lock<'static>>, Fault> {
        match (node, open) {
            (Node::Dir(node), Open::Dir(open)) => self.dirs.test_lock(node, open, lock),
            _ => Err(Errno::EISDIR.into()),
        }
    }

    fn readlink(&mut self, node: Node, out: &mut String) -> Result<(), Fault> {
        match node {
            Node::Dir(node) => self.dirs.readlink(node, out),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    fn create(&mut self, _: Node, _: &Make<'_>) -> Result<Node, Fault> {
        Err(Errno::EROFS.into())
    }

    fn rename(&mut self, _: Node, _: &str, _: Node, _: &str) -> Result<(), Fault> {
        Err(Errno::EROFS.into())
    }

    fn remove(&mut self, _: Node, _: &str, _: Remove) -> Result<(), Fault> {
        Err(Errno::EROFS.into())
    }

    fn statfs(&mut self, node: Node) -> Result<StatFs, Fault> {
        match node {
            Node::Dir(node) => self.dirs.statfs(node),
            _ if !self.folders.is_empty() => self.dirs.statfs(DIRS),
            _ => Ok(StatFs { bsize: 4096, ..StatFs::default() }),
        }
    }
}

#[cfg(test)]
mod tests;
