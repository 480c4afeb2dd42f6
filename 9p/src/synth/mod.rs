//! Ready-made files: a tree made of functions over one state.
//!
//! A [`Synth`] holds names and functions; the state `S` that they work on lies
//! beside it, so that a server's own data stays an ordinary value. [`Files`] joins
//! the two into a [`crate::tree::Tree`].
//!
//! | made by | the file |
//! |---|---|
//! | [`Synth::bytes`] | never changes |
//! | [`Synth::text`] | is computed whenever it is read from its start |
//! | [`Synth::record`], [`Synth::record_rw`] | is a typed record: text here, bytes below `/rec` |
//! | [`Synth::ctl`] | takes commands |
//! | [`Synth::stream`] | has lines to come, for which readers wait |
//! | [`Synth::flow`] | has bytes to come, in either direction |
//! | [`Synth::clone_dir`] | is a directory whose file `clone` makes numbered ones |
//! | [`Synth::special`] | is a file of a kind of one's own |
//! | [`Synth::huge`] | is a directory whose entries two functions know |
//! | [`Synth::named`] | is one in which clients make and remove them too |
//! | [`Synth::mount`] | is a directory in whose place another server's tree is shown |
//!
//! The files of what `clone_dir`, `huge` and `named` make are declared once, by the functions
//! whose names begin with `each_`: those are told which entry is meant.
//!
//! ```
//! use atoll_9p::synth::{Clones, Command, Synth, Verb};
//! use std::collections::BTreeMap;
//!
//! type Calls = BTreeMap<u64, String>;
//! const VERBS: &[Verb] = &[Verb::new("dial", "NUMBER", 1), Verb::new("hangup", "", 0)];
//!
//! let mut tree = Synth::new();
//! let root = tree.root();
//! let clones = Clones::new(8, |calls: &mut Calls, n| {
//!     calls.insert(n, "idle".into());
//!     Ok(())
//! }, |calls: &mut Calls, n| drop(calls.remove(&n)));
//! let call = tree.clone_dir(root, "call", clones);
//! tree.each_ctl(call, "ctl", VERBS, |calls, n, c: &Command<'_>| {
//!     match c.verb {
//!         "hangup" => c.end(),
//!         _ => drop(calls.insert(n, format!("in touch with {}", c.arg(0)))),
//!     }
//!     Ok(())
//! });
//! tree.each_text(call, "status", |calls, n, out| {
//!     *out += calls.get(&n).map_or("over", |c| c);
//!     Ok(())
//! });
//! ```
//!
//! # Versions
//!
//! The version in a file's qid changes when its content does: that of a stream is the
//! number of its lines, that of a ctl file the number of its commands. That of a
//! computed file is taken from what it last showed, so it is as old as the last read;
//! [`Synth::versioned`] gives it a better one. The computed files of numbered entries
//! have version 0 unless they are given one so.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::fault::{Errno, Fault};
use crate::once::{Once, RESULTS};
use crate::record::{About, Record};
use crate::stream::Stream;
use crate::types::{Qid, qid_type};

mod ctl;
mod flow;
mod kinds;
mod many;
mod mount;
mod names;
mod rec;
mod sheets;
mod tree;

pub(crate) use ctl::echo;
pub use ctl::{Command, Verb};
pub use flow::Flow;
pub use kinds::Special;
use kinds::{Entry, Kind, Version};
pub use many::Clones;
pub use names::{Growing, Names};
pub use rec::Sink;
use rec::{Face, Rec};
use sheets::Sheets;
pub use tree::{Files, Open};

/// A file of a [`Synth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    at: u32,
    face: Face,
    /// Which entry of a numbered directory; 0 elsewhere.
    id: u64,
}

/// Bits of a qid's path that hold a node's place.
const AT: u32 = 22;
/// Clients whose named writes are remembered.
const CLIENTS: usize = 32;

impl Node {
    /// The same file of another entry of its numbered directory.
    #[must_use]
    pub fn of(self, id: u64) -> Node {
        Node { id, ..self }
    }

    const fn plain(at: u32) -> Node {
        Node { at, face: Face::Plain, id: 0 }
    }

    /// Small for most, since some who read it have only 53 bits.
    fn path(self) -> u64 {
        self.id << (AT + 2) | (self.face as u64) << AT | u64::from(self.at)
    }
}

/// What the files of a [`Synth`] may be made to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimits {
    /// How often a file may be open at one time.
    pub opens: u32,
    /// The same of a file whose readers wait: [`Synth::stream`] and [`Synth::flow`].
    pub readers: u32,
    /// The most bytes that a computed file may show.
    pub text: usize,
    /// The most bytes that all open computed files may hold together.
    pub held: usize,
}

impl Default for FileLimits {
    fn default() -> FileLimits {
        FileLimits { opens: 1 << 16, readers: 1 << 14, text: 1 << 20, held: 64 << 20 }
    }
}

/// Names and functions.
pub struct Synth<'a, S> {
    entries: Vec<Entry<'a, S>>,
    versions: Vec<(u32, Version<'a, S>)>,
    /// Directories that are other servers' roots.
    mounts: Vec<u32>,
    /// Files with requests that may wait, and how often each is open; sorted.
    watched: Vec<(Node, u32)>,
    /// Files that are to be asked again.
    stirred: Vec<Node>,
    /// Bytes that open computed files hold.
    held: usize,
    sheets: Sheets,
    once: Once,
    /// The time that files show as that of their last change: seconds since 1970 UTC.
    pub mtime: u64,
    /// The owner that files show.
    pub uid: u32,
    /// The group that files show.
    pub gid: u32,
    /// What files may be made to hold.
    pub limits: FileLimits,
}

impl<S> Default for Synth<'_, S> {
    fn default() -> Self {
        Synth::new()
    }
}

impl<'a, S> Synth<'a, S> {
    /// A tree with nothing but a root.
    pub fn new() -> Synth<'a, S> {
        let mut synth = Synth {
            entries: Vec::new(),
            versions: Vec::new(),
            mounts: Vec::new(),
            watched: Vec::new(),
            stirred: Vec::new(),
            held: 0,
            sheets: Sheets::default(),
            once: Once::new(CLIENTS, RESULTS),
            mtime: 0,
            uid: 0,
            gid: 0,
            limits: FileLimits::default(),
        };
        synth.push(Cow::Borrowed("/"), 0, 0, 0o555, Kind::Dir(Vec::new()));
        synth
    }

    /// The root directory.
    pub fn root(&self) -> Node {
        Node::plain(0)
    }

    fn push(
        &mut self,
        name: Cow<'a, str>,
        parent: u32,
        many: u32,
        perm: u16,
        kind: Kind<'a, S>,
    ) -> u32 {
        let at = self.entries.len() as u32;
        debug_assert!(at < 1 << AT, "more files than qids have paths for");
        let rec = matches!(kind, Kind::Record(_));
        let (version, opens, versioned) = (0, 0, false);
        let entry = Entry { name, parent, many, version, opens, perm, rec, versioned, kind };
        self.entries.push(entry);
        if rec {
            self.mark(parent);
        }
        at
    }

    /// Says of all directories above a record that they have one.
    fn mark(&mut self, mut at: u32) {
        while let Some(entry) = self.entries.get_mut(at as usize).filter(|e| !e.rec) {
            entry.rec = true;
            at = entry.parent;
        }
    }

    fn add(&mut self, dir: Node, name: Cow<'a, str>, perm: u16, kind: Kind<'a, S>) -> Node {
        let at = self.entries.len() as u32;
        let mut many = 0;
        if let Some(entry) = self.entries.get_mut(dir.at as usize) {
            many = entry.many;
            if many != 0 && name.is_empty() {
                // The entry itself is the file.
                (entry.perm, entry.rec) = (perm, matches!(kind, Kind::Record(_)));
                let (rec, parent) = (entry.rec, entry.parent);
                entry.kind = kind;
                if rec {
                    self.mark(parent);
                }
                return dir;
            }
            if let Kind::Dir(children) = &mut entry.kind {
                children.push(at);
            } else if let Kind::Many(files, ..) = &mut entry.kind {
                files.push(at);
            }
        }
        Node::plain(self.push(name, dir.at, many, perm, kind))
    }

    /// A directory.
    pub fn dir(&mut self, at: Node, name: impl Into<Cow<'a, str>>) -> Node {
        self.add(at, name.into(), 0o555, Kind::Dir(Vec::new()))
    }

    /// The directory of that name, made if there is none.
    pub fn dir_or_new(&mut self, at: Node, name: &'a str) -> Node {
        match self.child(at, name) {
            Some(at) => Node::plain(at),
            None => self.dir(at, name),
        }
    }

    /// A file that never changes.
    pub fn bytes(&mut self, dir: Node, name: impl Into<Cow<'a, str>>, bytes: &'a [u8]) -> Node {
        self.add(dir, name.into(), 0o444, Kind::Bytes(bytes))
    }

    /// A file that is computed whenever it is read from its start. An open file
    /// goes on with what it showed then.
    pub fn text(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        render: impl Fn(&mut S, &mut String) -> Result<(), Fault> + 'a,
    ) -> Node {
        let render = Box::new(move |s: &mut S, _: u64, out: &mut String| render(s, out));
        self.add(dir, name.into(), 0o444, Kind::Text(render))
    }

    /// The same for each entry of a numbered directory. With an empty name the entry
    /// itself is the file, here and for all that `each_` makes but in a clone directory.
    pub fn each_text(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        render: impl Fn(&mut S, u64, &mut String) -> Result<(), Fault> + 'a,
    ) -> Node {
        self.add(dir, name.into(), 0o444, Kind::Text(Box::new(render)))
    }

    /// A record that is computed whenever it is read from its start. The same path
    /// below `/rec` is its bytes, [`Record::to_wire`], and the file `schema` beside
    /// those tells what they are.
    pub fn record<R: Record>(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        get: impl Fn(&mut S) -> Result<R, Fault> + 'a,
    ) -> Node {
        self.add(dir, name.into(), 0o444, Kind::Record(Rec::new(move |s, _| get(s))))
    }

    /// The same for each entry of a numbered directory.
    pub fn each_record<R: Record>(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        get: impl Fn(&mut S, u64) -> Result<R, Fault> + 'a,
    ) -> Node {
        self.add(dir, name.into(), 0o444, Kind::Record(Rec::new(get)))
    }

    /// A record of a type that is known by its fields alone, also for each entry of a
    /// numbered directory: `get` gives its values to the sink. For tables of records.
    pub fn record_of(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        about: &'static About,
        get: impl Fn(&mut S, u64, Sink<'_>) -> Result<(), Fault> + 'a,
    ) -> Node {
        self.add(dir, name.into(), 0o444, Kind::Record(Rec::of(about, get)))
    }

    /// A record that can be written, as text or, below `/rec`, as bytes: all of it with
    /// one write. A write that is no such record, or that `set` refuses, changes
    /// nothing.
    pub fn record_rw<R: Record>(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        get: impl Fn(&mut S) -> Result<R, Fault> + 'a,
        set: impl Fn(&mut S, R) -> Result<(), Fault> + 'a,
    ) -> Node {
        let rec = Rec::new(move |s, _| get(s)).with_set(move |s, _, r| set(s, r));
        self.add(dir, name.into(), 0o644, Kind::Record(rec))
    }

    /// The same for each entry of a numbered directory.
    pub fn each_record_rw<R: Record>(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        get: impl Fn(&mut S, u64) -> Result<R, Fault> + 'a,
        set: impl Fn(&mut S, u64, R) -> Result<(), Fault> + 'a,
    ) -> Node {
        self.add(dir, name.into(), 0o644, Kind::Record(Rec::new(get).with_set(set)))
    }

    /// A file that takes commands, one a write, and reads as the list of them.
    pub fn ctl(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        verbs: &'static [Verb],
        run: impl Fn(&mut S, &Command<'_>) -> Result<(), Fault> + 'a,
    ) -> Node {
        let run = Box::new(move |s: &mut S, _: u64, c: &Command<'_>| run(s, c));
        self.add(dir, name.into(), 0o644, Kind::Ctl(verbs, run))
    }

    /// The same for each entry of a numbered directory. In a clone directory the file
    /// of the name `ctl` reads as the entry's number.
    pub fn each_ctl(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        verbs: &'static [Verb],
        run: impl Fn(&mut S, u64, &Command<'_>) -> Result<(), Fault> + 'a,
    ) -> Node {
        self.add(dir, name.into(), 0o644, Kind::Ctl(verbs, Box::new(run)))
    }

    /// A file whose reads block until the next line of a stream.
    pub fn stream(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        pick: impl Fn(&mut S) -> &mut Stream + 'a,
    ) -> Node {
        self.add(dir, name.into(), 0o444, Kind::Stream(Box::new(move |s, _| Some(pick(s)))))
    }

    /// The same for each entry of a numbered directory; no stream makes ESTALE.
    pub fn each_stream(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        pick: impl for<'s> Fn(&'s mut S, u64) -> Option<&'s mut Stream> + 'a,
    ) -> Node {
        self.add(dir, name.into(), 0o444, Kind::Stream(Box::new(pick)))
    }

    /// A file of bytes on their way, of a numbered entry or not.
    pub fn flow(&mut self, dir: Node, name: impl Into<Cow<'a, str>>, flow: Flow<'a, S>) -> Node
    where
        S: 'a,
    {
        self.special(dir, name, flow)
    }

    /// A file of a kind of one's own, of a numbered entry or not.
    pub fn special(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        special: impl Special<S> + 'a,
    ) -> Node {
        let perm = special.perm();
        self.add(dir, name.into(), perm, Kind::Special(Box::new(special)))
    }

    /// A directory with a file `clone`. Who opens that makes a numbered directory
    /// beside it, and has its `ctl` open instead, which reads as the number. It goes
    /// when nothing in it is open any more, or when a command says [`Command::end`].
    ///
    /// The node is that of every numbered directory: its files are to be declared, at
    /// least `ctl`, and none of them is a numbered directory again.
    pub fn clone_dir(
        &mut self,
        at: Node,
        name: impl Into<Cow<'a, str>>,
        clones: Clones<'a, S>,
    ) -> Node
    where
        S: 'a,
    {
        let (dir, like) = self.many(at, name.into(), Box::new(clones));
        self.add(dir, Cow::Borrowed("clone"), 0o644, Kind::Clone);
        like
    }

    /// A directory with any number of entries, for none of which anything is held.
    /// `lookup` knows the number of a name. `list` tells number and name of all entries
    /// from a number on, in the order of the numbers, until one is not taken. A number is
    /// never that of another entry, and less than 2^40.
    ///
    /// The node is that of every entry: a directory, unless [`Synth::each_text`] or
    /// another makes it a file. Its files may be asked for after the entry has gone,
    /// and then answer ESTALE.
    pub fn huge(
        &mut self,
        at: Node,
        name: impl Into<Cow<'a, str>>,
        lookup: impl Fn(&mut S, &str) -> Option<u64> + 'a,
        list: impl Fn(&mut S, u64, &mut dyn FnMut(u64, &str) -> bool) + 'a,
    ) -> Node
    where
        S: 'a,
    {
        self.named(at, name, Names::new(lookup, list))
    }

    /// The same; clients may make and remove entries where the names say how, and the
    /// tree is served as a [`Growing`].
    pub fn named(&mut self, at: Node, name: impl Into<Cow<'a, str>>, names: Names<'a, S>) -> Node
    where
        S: 'a,
    {
        let perm = names.perm();
        let (dir, like) = self.many(at, name.into(), Box::new(names));
        if let Some(entry) = self.entries.get_mut(dir.at as usize) {
            entry.perm = perm;
        }
        like
    }

    fn many(
        &mut self,
        at: Node,
        name: Cow<'a, str>,
        many: Box<dyn kinds::Many<S> + 'a>,
    ) -> (Node, Node) {
        let like = self.entries.len() as u32 + 1;
        let dir = self.add(at, name, 0o555, Kind::Many(Vec::new(), like, many));
        self.push(Cow::Borrowed(""), dir.at, dir.at, 0o555, Kind::Dir(Vec::new()));
        (dir, Node::plain(like))
    }

    /// Takes the permission to write away.
    pub fn read_only(&mut self, node: Node) {
        if let Some(entry) = self.entries.get_mut(node.at as usize) {
            entry.perm &= !0o222;
        }
    }

    /// Gives a file other permissions: the lowest nine bits of a mode. They cannot
    /// make a file writable that is not.
    pub fn perm(&mut self, node: Node, perm: u16) {
        if let Some(entry) = self.entries.get_mut(node.at as usize) {
            let writes = if entry.is_writable() { 0o777 } else { 0o555 };
            entry.perm = perm & writes;
        }
    }

    /// Gives a file a version of its own: one that changes whenever the content does.
    /// It is told the number of the entry that is meant.
    pub fn versioned(&mut self, node: Node, version: impl Fn(&mut S, u64) -> u32 + 'a) {
        if let Some(entry) = self.entries.get_mut(node.at as usize) {
            entry.versioned = true;
            self.versions.push((node.at, Box::new(version)));
        }
    }

    /// Says that requests which wait for a file are to be asked again.
    pub fn wake(&mut self, node: Node) {
        if !self.stirred.contains(&node) {
            self.stirred.push(node);
        }
    }

    /// Tells which nodes have something new for requests that wait, since the last call.
    pub fn woken(&mut self, state: &mut S, mut wake: impl FnMut(Node)) {
        self.stirred.iter().for_each(|node| wake(*node));
        // Two files may show one stream: the news is taken after all were told.
        for take in [false, true] {
            for (node, _) in &self.watched {
                let news = match self.entries.get(node.at as usize).map(|e| &e.kind) {
                    // One that is gone is news: who waits for it is told.
                    Some(Kind::Stream(pick)) => pick(state, node.id)
                        .is_none_or(|s| if take { s.take_news() } else { s.has_news() }),
                    Some(Kind::Special(special)) => special.news(state, node.id, take),
                    _ => false,
                };
                if news && !take && !self.stirred.contains(node) {
                    wake(*node);
                }
            }
        }
        self.stirred.clear();
    }

    fn child(&self, dir: Node, name: &str) -> Option<u32> {
        match &self.get(dir).ok()?.kind {
            Kind::Dir(children) | Kind::Many(children, ..) => {
                let is = |at: &u32| self.entries.get(*at as usize).is_some_and(|e| e.name == name);
                children.iter().copied().find(is)
            }
            _ => None,
        }
    }

    fn get(&self, node: Node) -> Result<&Entry<'a, S>, Fault> {
        self.entries.get(node.at as usize).ok_or(Errno::ESTALE.into())
    }

    /// The same, and makes sure that the entry of a numbered directory is there.
    fn live(&self, node: Node) -> Result<&Entry<'a, S>, Fault> {
        let entry = self.get(node)?;
        if entry.many != 0
            && let Kind::Many(_, _, many) = &self.get(Node::plain(entry.many))?.kind
            && !many.is_alive(node.id)
        {
            return Err(Errno::ESTALE.into());
        }
        Ok(entry)
    }

    fn many_mut(&mut self, at: u32) -> Option<&mut Box<dyn kinds::Many<S> + 'a>> {
        match self.entries.get_mut(at as usize).map(|e| &mut e.kind) {
            Some(Kind::Many(_, _, many)) => Some(many),
            _ => None,
        }
    }

    fn qid_of(&self, state: &mut S, node: Node) -> Result<Qid, Fault> {
        let entry = self.live(node)?;
        let (ty, version) = match (&entry.kind, node.face) {
            (_, Face::Schema) => (qid_type::FILE, 0),
            (Kind::Dir(_), _) => (qid_type::DIR, 0),
            (Kind::Many(_, _, many), _) => (qid_type::DIR, many.version()),
            (Kind::Stream(pick), _) => {
                (qid_type::APPEND, pick(state, node.id).map_or(0, |s| s.lines() as u32))
            }
            (Kind::Special(special), _) => match special.appends() {
                true => (qid_type::APPEND, 0),
                false => (qid_type::FILE, 0),
            },
            // A command is done, wherever it is written: who sends it twice has to name it.
            (Kind::Ctl(..), _) => (qid_type::APPEND, entry.version),
            _ => (qid_type::FILE, entry.version),
        };
        let own = self.versions.iter().find(|v| entry.versioned && v.0 == node.at);
        let version = own.map_or(version, |(_, f)| f(state, node.id));
        Ok(Qid { ty, version, path: node.path() })
    }
}
