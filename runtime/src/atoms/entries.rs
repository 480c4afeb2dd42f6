//! Directories whose entries are an atom's own.
//!
//! The tree of a guest ([`synth::Files`]) knows its files beforehand; what lies in such a
//! directory only the atom knows. So [`Files`] stands around the tree: below these
//! directories it asks the atom, one dispatch a question, and everywhere else it passes
//! on what is asked. An entry is read as it was when it was opened, and every write gives
//! the atom all of it, so that who writes hears what the atom says of it. One that was made or
//! emptied and not written to is given to the atom, empty, when it is closed.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::once::Once;
use atoll_9p::synth;
use atoll_9p::tree::{Entries, Make, MakeKind, Remove, Reply, Tree, Who, slice_at};
use atoll_9p::types::{OpenFlags, Qid, SetAttr, Stat, mode, qid_type, setattr};

use crate::component::{ComponentId, Event};
use crate::core::Core;
use crate::snapshot::files::{Door, Nodes};

/// The most bytes of an entry that are taken, its name among them.
const MOST: usize = 65_536;
/// The most bytes of a name.
const NAME: usize = 255;
/// The bit that tells an entry's qid from those of other files.
const QID: u64 = 1 << 63;

/// A directory whose entries are an atom's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dir {
    /// The directory.
    pub(crate) node: synth::Node,
    /// Whose it is.
    pub(crate) of: ComponentId,
    /// Its place among the component's files.
    pub(crate) file: usize,
    /// Whether clients may change what is in it.
    pub(crate) writable: bool,
}

/// A file of the tree, or an entry by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Known(synth::Node),
    Entry(u64),
}

/// What an open file needs.
pub(crate) enum Open {
    Known(synth::Open),
    /// What it showed when it was opened.
    Reads(Vec<u8>),
    /// What it holds by now, and whether the atom has not been given that.
    Writes(Vec<u8>, bool),
    /// The door has it.
    Checkpoint,
}

/// An entry that some fid names.
struct Named {
    place: usize,
    name: String,
    refs: u32,
    /// How often it is open to be written.
    writers: u32,
}

/// The files of a guest.
pub(crate) struct Files<'a> {
    known: synth::Files<'a, Core<'a>>,
    dirs: Vec<Dir>,
    door: Door<'a>,
    named: BTreeMap<u64, Named>,
    next: u64,
    /// Bytes that open entries hold.
    held: usize,
}

impl<'a> Deref for Files<'a> {
    type Target = synth::Files<'a, Core<'a>>;

    fn deref(&self) -> &Self::Target {
        &self.known
    }
}

impl DerefMut for Files<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.known
    }
}

fn stale() -> Fault {
    Errno::ESTALE.into()
}

/// Whether an entry may have this name.
fn is_name(name: &str) -> bool {
    (1..=NAME).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c.is_control())
}

fn hash(parts: [&[u8]; 2]) -> u64 {
    let all = parts.into_iter().flatten();
    all.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

impl<'a> Files<'a> {
    pub(crate) fn new(
        known: synth::Files<'a, Core<'a>>,
        dirs: Vec<Dir>,
        nodes: Option<Nodes>,
    ) -> Files<'a> {
        let door = Door::new(nodes);
        Files { known, dirs, door, named: BTreeMap::new(), next: 0, held: 0 }
    }

    /// Which of the directories this is.
    fn place(&self, node: Node) -> Option<usize> {
        let Node::Known(node) = node else { return None };
        self.dirs.iter().position(|b| b.node == node)
    }

    fn at(&self, place: usize) -> Result<Dir, Fault> {
        self.dirs.get(place).copied().ok_or_else(stale)
    }

    fn entry(&self, id: u64) -> Result<(Dir, &str), Fault> {
        let named = self.named.get(&id).ok_or_else(stale)?;
        Ok((self.at(named.place)?, &named.name))
    }

    /// The node of an entry; one reference more.
    fn node(&mut self, place: usize, name: &str) -> Node {
        let is = |n: &Named| n.place == place && n.name == name;
        if let Some((id, named)) = self.named.iter_mut().find(|(_, n)| is(n)) {
            named.refs += 1;
            return Node::Entry(*id);
        }
        self.next += 1;
        let named = Named { place, name: name.to_owned(), refs: 1, writers: 0 };
        self.named.insert(self.next, named);
        Node::Entry(self.next)
    }

    fn ask(&mut self, at: Dir, event: Event<'_>) -> Result<(), Fault> {
        self.known.state.dispatch(at.of, event)
    }

    /// What an entry holds.
    fn get(&mut self, at: Dir, name: &str) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        self.ask(at, Event::Get { file: at.file, name, out: &mut out })?;
        Ok(out)
    }

    fn put(&mut self, at: Dir, name: &str, data: &[u8]) -> Result<(), Fault> {
        if name.len() + data.len() > MOST {
            return Err(Fault::new(Errno::EFBIG, "an entry has at most 65536 bytes"));
        }
        self.ask(at, Event::Put { file: at.file, name, data })
    }

    /// Gives an entry what an open file of it holds.
    fn put_entry(&mut self, id: u64, data: &[u8]) -> Result<(), Fault> {
        let (at, name) = self.entry(id).map(|(at, name)| (at, name.to_owned()))?;
        self.put(at, &name, data)
    }

    fn content(&mut self, id: u64) -> Result<Vec<u8>, Fault> {
        let (at, name) = self.entry(id).map(|(at, name)| (at, name.to_owned()))?;
        self.get(at, &name)
    }

    fn qid_of(at: Dir, name: &str, content: &[u8]) -> Qid {
        let of = [at.of.0.to_le_bytes(), (at.file as u32).to_le_bytes()].concat();
        let version = hash([content, &[]]);
        Qid {
            ty: qid_type::FILE,
            version: (version ^ version >> 32) as u32,
            path: QID | hash([&of, name.as_bytes()]),
        }
    }

    /// Changes what open entries hold.
    fn hold(&mut self, before: usize, after: usize) -> Result<(), Fault> {
        let held = self.held.saturating_sub(before) + after;
        if held > self.held && held > self.known.synth.limits.held {
            return Err(Fault::new(Errno::ENOBUFS, "all open files together hold too much"));
        }
        self.held = held;
        Ok(())
    }

    fn open_entry(&mut self, id: u64, flags: OpenFlags) -> Result<Open, Fault> {
        let (at, _) = self.entry(id)?;
        if flags.writes() && !at.writable {
            return Err(Errno::EACCES.into());
        }
        let empty = flags.writes() && flags.has(OpenFlags::TRUNC);
        let content = self.content(id)?;
        let content = if empty { Vec::new() } else { content };
        self.hold(0, content.len())?;
        if !flags.writes() {
            return Ok(Open::Reads(content));
        }
        if let Some(named) = self.named.get_mut(&id) {
            named.writers += 1;
        }
        Ok(Open::Writes(content, empty))
    }
}

/// What only the known files can do.
fn known(node: Node) -> Result<synth::Node, Fault> {
    match node {
        Node::Known(node) => Ok(node),
        Node::Entry(_) => Err(Fault::new(Errno::EINVAL, "not a stream: it has no positions")),
    }
}

impl Tree for Files<'_> {
    type Node = Node;
    type Open = Open;

    fn attach(&mut self, who: &Who<'_>) -> Result<Node, Fault> {
        self.known.attach(who).map(Node::Known)
    }

    fn walk(&mut self, at: Node, name: &str) -> Result<(Node, Qid), Fault> {
        let node = match at {
            Node::Entry(id) if name == ".." => self.entry(id)?.0.node,
            Node::Entry(_) => return Err(Errno::ENOTDIR.into()),
            Node::Known(dir) => match self.place(at) {
                Some(place) if name != ".." => {
                    if !is_name(name) {
                        return Err(Errno::ENOENT.into());
                    }
                    let at = self.at(place)?;
                    let content = self.get(at, name)?;
                    return Ok((self.node(place, name), Self::qid_of(at, name, &content)));
                }
                _ => {
                    let (node, qid) = self.known.walk(dir, name)?;
                    return Ok((Node::Known(node), qid));
                }
            },
        };
        Ok((Node::Known(node), self.known.qid(node)?))
    }

    fn again(&mut self, node: Node) -> Node {
        if let Node::Entry(id) = node
            && let Some(named) = self.named.get_mut(&id)
        {
            named.refs += 1;
        }
        node
    }

    fn forget(&mut self, node: Node) {
        if let Node::Entry(id) = node
            && let Some(named) = self.named.get_mut(&id)
        {
            named.refs = named.refs.saturating_sub(1);
            if named.refs == 0 {
                self.named.remove(&id);
            }
        }
    }

    fn qid(&mut self, node: Node) -> Result<Qid, Fault> {
        match node {
            Node::Known(node) => self.known.qid(node),
            Node::Entry(_) => self.stat(node).map(|s| s.qid),
        }
    }

    fn stat(&mut self, node: Node) -> Result<Stat, Fault> {
        let id = match node {
            Node::Known(known) => {
                let mut stat = self.known.stat(known)?;
                if let Some(place) = self.place(node)
                    && self.at(place)?.writable
                {
                    stat.mode |= 0o200;
                }
                if self.door.takes(known) {
                    stat.mode = mode::FILE | 0o200;
                }
                return Ok(stat);
            }
            Node::Entry(id) => id,
        };
        // One that was made and not written to yet is nothing that the atom knows.
        let content = match self.content(id) {
            Err(fault)
                if fault.errno == Errno::ENOENT
                    && self.named.get(&id).is_some_and(|n| n.writers > 0) =>
            {
                Vec::new()
            }
            content => content?,
        };
        let (at, name) = self.entry(id)?;
        let (qid, writable) = (Self::qid_of(at, name, &content), at.writable);
        let dir = self.known.stat(at.node)?;
        let perm = if writable { 0o644 } else { 0o444 };
        Ok(Stat { qid, mode: mode::FILE | perm, size: content.len() as u64, nlink: 1, ..dir })
    }

    fn set(&mut self, node: Node, set: &SetAttr) -> Result<(), Fault> {
        let id = match node {
            // A truncation comes before a shell's write.
            Node::Known(node) if self.door.takes(node) => return Ok(()),
            Node::Known(node) => return self.known.set(node, set),
            Node::Entry(id) => id,
        };
        let named = self.named.get(&id).ok_or_else(stale)?;
        let writers = named.writers;
        if !self.entry(id)?.0.writable || set.valid & !(setattr::SIZE | setattr::TIMES) != 0 {
            return Err(Errno::EPERM.into());
        }
        // Who has it open and writes to it says himself what it is to hold.
        if set.valid & setattr::SIZE == 0 || writers > 0 {
            return Ok(());
        }
        let mut content = self.content(id)?;
        let size = usize::try_from(set.size).ok().filter(|s| *s <= MOST).ok_or(Errno::EFBIG)?;
        content.resize(size, 0);
        self.put_entry(id, &content)
    }

    fn open(&mut self, node: &mut Node, flags: OpenFlags) -> Result<Open, Fault> {
        match node {
            Node::Known(known) if self.door.is(*known) => {
                self.door.open(&mut self.known.state, *known, flags)?;
                Ok(Open::Checkpoint)
            }
            Node::Known(known) => self.known.open(known, flags).map(Open::Known),
            Node::Entry(id) => self.open_entry(*id, flags),
        }
    }

    fn read(
        &mut self,
        node: Node,
        open: &mut Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        match (node, open) {
            (Node::Known(node), Open::Known(open)) => self.known.read(node, open, offset, buf),
            (Node::Entry(id), Open::Reads(shown)) => {
                if offset == 0 {
                    let content = self.content(id)?;
                    self.hold(shown.len(), content.len())?;
                    *shown = content;
                }
                Ok(Reply::Done(slice_at(shown, offset, buf)))
            }
            (Node::Entry(_), Open::Writes(content, _)) => {
                Ok(Reply::Done(slice_at(content, offset, buf)))
            }
            (_, Open::Checkpoint) => self.door.read(offset, buf).map(Reply::Done),
            _ => Err(Errno::EBADF.into()),
        }
    }

    fn write(
        &mut self,
        node: Node,
        open: &mut Open,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        let (id, content, owed) = match (node, open) {
            (Node::Known(node), Open::Known(open)) => {
                return self.known.write(node, open, offset, data);
            }
            (Node::Entry(id), Open::Writes(content, owed)) => (id, content, owed),
            (_, Open::Checkpoint) => {
                return self.door.write(&mut self.known.state, offset, data).map(Reply::Done);
            }
            _ => return Err(Errno::EBADF.into()),
        };
        let at = usize::try_from(offset).ok().filter(|at| *at <= MOST).ok_or(Errno::EFBIG)?;
        let end = at + data.len();
        if end > MOST {
            return Err(Fault::new(Errno::EFBIG, "an entry has at most 65536 bytes"));
        }
        let mut new = content.clone();
        new.resize(new.len().max(end), 0);
        if let Some(to) = new.get_mut(at..end) {
            to.copy_from_slice(data);
        }
        self.hold(content.len(), new.len())?;
        if let Err(fault) = self.put_entry(id, &new) {
            self.hold(new.len(), content.len())?;
            // What the atom refused once it is not given again at the end.
            *owed = false;
            return Err(fault);
        }
        (*content, *owed) = (new, false);
        Ok(Reply::Done(data.len()))
    }

    fn once(&mut self) -> Option<&mut Once> {
        self.known.once()
    }

    fn seek(&mut self, node: Node, open: &mut Open, to: u64) -> Result<(), Fault> {
        match (known(node)?, open) {
            (node, Open::Known(open)) => self.known.seek(node, open, to),
            _ => Err(Errno::EBADF.into()),
        }
    }

    fn position(&mut self, node: Node, open: &mut Open) -> Option<u64> {
        match (node, open) {
            (Node::Known(node), Open::Known(open)) => self.known.position(node, open),
            _ => None,
        }
    }

    fn list(
        &mut self,
        node: Node,
        open: &mut Open,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        let (Node::Known(dir), Open::Known(open)) = (node, open) else {
            return Err(Errno::ENOTDIR.into());
        };
        let Some(place) = self.place(node) else {
            return self.known.list(dir, open, cookie, sink);
        };
        let at = self.at(place)?;
        let mut skip = u32::try_from(cookie).map_err(|_| Errno::EINVAL)?;
        loop {
            let mut out = String::new();
            self.ask(at, Event::Names { file: at.file, skip, out: &mut out })?;
            let mut any = false;
            for name in out.split_terminator('\n') {
                skip = skip.checked_add(1).ok_or(Errno::EINVAL)?;
                let qid = Self::qid_of(at, name, &[]);
                any |= is_name(name);
                if is_name(name) && !sink.push(qid, skip.into(), name) {
                    return Ok(());
                }
            }
            // An answer of which nothing can be shown ends it: others may have no end.
            if !any {
                return Ok(());
            }
        }
    }

    fn close(&mut self, node: Node, open: Open) {
        match (node, open) {
            (Node::Known(node), Open::Known(open)) => self.known.close(node, open),
            (Node::Entry(_), Open::Reads(shown)) => drop(self.hold(shown.len(), 0)),
            (Node::Entry(id), Open::Writes(content, owed)) => {
                if owed && let Err(fault) = self.put_entry(id, &content) {
                    // Who closes a file is told nothing.
                    if let Ok((at, _)) = self.entry(id) {
                        self.known.state.say_as(at.of, &alloc::format!("refused: {fault}"));
                    }
                }
                let _ = self.hold(content.len(), 0);
                if let Some(named) = self.named.get_mut(&id) {
                    named.writers = named.writers.saturating_sub(1);
                }
            }
            (_, Open::Checkpoint) => self.door.close(&mut self.known.state),
            _ => {}
        }
    }

    fn create(&mut self, dir: Node, make: &Make<'_>) -> Result<Node, Fault> {
        let place = self.makes(dir, make)?;
        let at = self.at(place)?;
        self.put(at, make.name, &[])?;
        Ok(self.node(place, make.name))
    }

    fn create_open(
        &mut self,
        dir: Node,
        make: &Make<'_>,
        flags: OpenFlags,
    ) -> Result<(Node, Open), Fault> {
        let place = self.makes(dir, make)?;
        let node = self.node(place, make.name);
        let open = if flags.writes() {
            if let Node::Entry(id) = node
                && let Some(named) = self.named.get_mut(&id)
            {
                named.writers += 1;
            }
            Open::Writes(Vec::new(), true)
        } else {
            let at = self.at(place)?;
            if let Err(fault) = self.put(at, make.name, &[]) {
                self.forget(node);
                return Err(fault);
            }
            Open::Reads(Vec::new())
        };
        Ok((node, open))
    }

    fn remove(&mut self, dir: Node, name: &str, what: Remove) -> Result<(), Fault> {
        let Some(place) = self.place(dir) else { return Err(Errno::EPERM.into()) };
        let at = self.at(place)?;
        if !at.writable {
            return Err(Errno::EACCES.into());
        }
        if what == Remove::Dir {
            return Err(Errno::ENOTDIR.into());
        }
        self.ask(at, Event::Remove { file: at.file, name })
    }

    fn woken(&mut self, wake: &mut dyn FnMut(Node)) {
        self.known.woken(&mut |node| wake(Node::Known(node)));
    }
}

impl Files<'_> {
    /// The directory, if such a file can be made there.
    fn makes(&mut self, dir: Node, make: &Make<'_>) -> Result<usize, Fault> {
        let Some(place) = self.place(dir) else {
            return Err(Fault::new(Errno::EPERM, "no files can be made here"));
        };
        let at = self.at(place)?;
        if !at.writable {
            return Err(Errno::EACCES.into());
        }
        if make.kind != MakeKind::File {
            return Err(Fault::new(Errno::EPERM, "only plain files are made here"));
        }
        if !is_name(make.name) {
            return Err(Errno::EINVAL.into());
        }
        match self.get(at, make.name) {
            Ok(_) => Err(Errno::EEXIST.into()),
            Err(fault) if fault.errno == Errno::ENOENT => Ok(place),
            Err(fault) => Err(fault),
        }
    }
}
