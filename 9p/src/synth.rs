//! Ready-made files: a tree made of functions over one state.
//!
//! A [`Synth`] holds names and functions; the state `S` that they work on lies
//! beside it, so that a server's own data stays an ordinary value. [`Files`] joins
//! the two into a [`Tree`].

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::fault::{Errno, Fault};
use crate::msg::SetAttr;
use crate::stream::{Cursor, Stream};
use crate::tree::{Entries, Reply, Tree, Who, slice_at};
use crate::types::{OpenFlags, Qid, Stat, Time, mode, qid_type, setattr};

/// A file of a [`Synth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node(u32);

type Render<'a, S> = Box<dyn Fn(&mut S, &mut String) -> Result<(), Fault> + 'a>;
type Run<'a, S> = Box<dyn Fn(&mut S, &Command<'_>) -> Result<(), Fault> + 'a>;
type Pick<'a, S> = Box<dyn Fn(&mut S) -> &mut Stream + 'a>;

enum Kind<'a, S> {
    Dir(Vec<Node>),
    Bytes(&'a [u8]),
    Text(Render<'a, S>),
    Ctl { verbs: &'static [Verb], run: Run<'a, S>, writable: bool },
    Stream(Pick<'a, S>),
}

struct Entry<'a, S> {
    name: Cow<'a, str>,
    parent: Node,
    version: u32,
    kind: Kind<'a, S>,
}

/// Names and functions.
pub struct Synth<'a, S> {
    entries: Vec<Entry<'a, S>>,
    streams: Vec<Node>,
    /// The time that files show as that of their last change: seconds since 1970 UTC.
    pub mtime: u64,
}

impl<S> Default for Synth<'_, S> {
    fn default() -> Self {
        Synth::new()
    }
}

impl<'a, S> Synth<'a, S> {
    /// A tree with nothing but a root.
    pub fn new() -> Synth<'a, S> {
        let root = Entry {
            name: Cow::Borrowed("/"),
            parent: Node(0),
            version: 0,
            kind: Kind::Dir(Vec::new()),
        };
        Synth { entries: alloc::vec![root], streams: Vec::new(), mtime: 0 }
    }

    /// The root directory.
    pub fn root(&self) -> Node {
        Node(0)
    }

    fn add(&mut self, dir: Node, name: impl Into<Cow<'a, str>>, kind: Kind<'a, S>) -> Node {
        let node = Node(self.entries.len() as u32);
        if let Some(Entry { kind: Kind::Dir(children), .. }) = self.entries.get_mut(dir.0 as usize)
        {
            children.push(node);
        }
        self.entries.push(Entry { name: name.into(), parent: dir, version: 0, kind });
        node
    }

    /// A directory.
    pub fn dir(&mut self, at: Node, name: impl Into<Cow<'a, str>>) -> Node {
        self.add(at, name, Kind::Dir(Vec::new()))
    }

    /// The directory of that name, made if there is none.
    pub fn dir_or_new(&mut self, at: Node, name: &'a str) -> Node {
        match self.child(at, name) {
            Some(node) => node,
            None => self.dir(at, name),
        }
    }

    /// A file that never changes.
    pub fn bytes(&mut self, dir: Node, name: impl Into<Cow<'a, str>>, bytes: &'a [u8]) -> Node {
        self.add(dir, name, Kind::Bytes(bytes))
    }

    /// A file that is computed whenever it is read from its start. An open file
    /// goes on with what it showed then.
    pub fn text(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        render: impl Fn(&mut S, &mut String) -> Result<(), Fault> + 'a,
    ) -> Node {
        self.add(dir, name, Kind::Text(Box::new(render)))
    }

    /// A file that takes commands, one a write, and reads as the list of them.
    pub fn ctl(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        verbs: &'static [Verb],
        run: impl Fn(&mut S, &Command<'_>) -> Result<(), Fault> + 'a,
    ) -> Node {
        self.add(dir, name, Kind::Ctl { verbs, run: Box::new(run), writable: true })
    }

    /// A file whose reads block until the next line of a stream.
    pub fn stream(
        &mut self,
        dir: Node,
        name: impl Into<Cow<'a, str>>,
        pick: impl Fn(&mut S) -> &mut Stream + 'a,
    ) -> Node {
        let node = self.add(dir, name, Kind::Stream(Box::new(pick)));
        self.streams.push(node);
        node
    }

    /// Takes the permission to write away.
    pub fn read_only(&mut self, node: Node) {
        if let Some(Entry { kind: Kind::Ctl { writable, .. }, .. }) =
            self.entries.get_mut(node.0 as usize)
        {
            *writable = false;
        }
    }

    /// Tells which nodes have something new for readers that wait, since the last call.
    pub fn woken(&mut self, state: &mut S, mut wake: impl FnMut(Node)) {
        // Two files may show one stream: the news is taken after all were told.
        for told in [false, true] {
            for &node in &self.streams {
                if let Ok(Entry { kind: Kind::Stream(pick), .. }) = get(&self.entries, node) {
                    let stream = pick(state);
                    if told {
                        stream.take_news();
                    } else if stream.has_news() {
                        wake(node);
                    }
                }
            }
        }
    }

    fn child(&self, dir: Node, name: &str) -> Option<Node> {
        match &get(&self.entries, dir).ok()?.kind {
            Kind::Dir(children) => children
                .iter()
                .copied()
                .find(|&c| get(&self.entries, c).is_ok_and(|e| e.name == name)),
            _ => None,
        }
    }

    fn qid_of(&self, node: Node) -> Result<Qid, Fault> {
        let entry = get(&self.entries, node)?;
        let ty = match entry.kind {
            Kind::Dir(_) => qid_type::DIR,
            Kind::Stream(_) => qid_type::APPEND,
            _ => qid_type::FILE,
        };
        Ok(Qid { ty, version: entry.version, path: node.0.into() })
    }
}

fn get<'e, 'a, S>(entries: &'e [Entry<'a, S>], node: Node) -> Result<&'e Entry<'a, S>, Fault> {
    entries.get(node.0 as usize).ok_or(Errno::ESTALE.into())
}

/// A [`Synth`] and its state, as a [`Tree`].
pub struct Files<'a, S> {
    /// Names and functions.
    pub synth: Synth<'a, S>,
    /// What the functions work on.
    pub state: S,
}

/// What an open file of a [`Synth`] holds.
#[derive(Debug)]
pub enum Open {
    /// Nothing.
    Plain,
    /// What a text file showed when it was last read from its start.
    Shown(Vec<u8>),
    /// How far a reader of a stream has come.
    At(Cursor),
}

impl<S> Tree for Files<'_, S> {
    type Node = Node;
    type Open = Open;

    fn attach(&mut self, who: &Who<'_>) -> Result<Node, Fault> {
        let mut names = who.aname.split('/').filter(|n| !n.is_empty());
        names.try_fold(Node(0), |at, name| self.walk(at, name).map(|(node, _)| node))
    }

    fn walk(&mut self, at: Node, name: &str) -> Result<(Node, Qid), Fault> {
        let entry = get(&self.synth.entries, at)?;
        let node = match (name, &entry.kind) {
            ("..", _) => entry.parent,
            (_, Kind::Dir(_)) => self.synth.child(at, name).ok_or(Errno::ENOENT)?,
            _ => return Err(Errno::ENOTDIR.into()),
        };
        Ok((node, self.synth.qid_of(node)?))
    }

    fn qid(&mut self, node: Node) -> Result<Qid, Fault> {
        self.synth.qid_of(node)
    }

    fn stat(&mut self, node: Node) -> Result<Stat, Fault> {
        let qid = self.synth.qid_of(node)?;
        let (mode, size) = match &get(&self.synth.entries, node)?.kind {
            Kind::Dir(_) => (mode::DIR | 0o555, 0),
            Kind::Bytes(b) => (mode::FILE | 0o444, b.len() as u64),
            Kind::Ctl { writable: true, .. } => (mode::FILE | 0o644, 0),
            _ => (mode::FILE | 0o444, 0),
        };
        let nlink = if qid.is_dir() { 2 } else { 1 };
        let time = Time::from_secs(self.synth.mtime);
        Ok(Stat {
            qid,
            mode,
            nlink,
            size,
            mtime: time,
            ctime: time,
            atime: time,
            ..Stat::default()
        })
    }

    /// A truncation comes before a shell's write, and is no reason to fail.
    fn set(&mut self, node: Node, set: &SetAttr) -> Result<(), Fault> {
        match &get(&self.synth.entries, node)?.kind {
            Kind::Ctl { writable: true, .. }
                if set.valid & !(setattr::SIZE | setattr::TIMES) == 0 =>
            {
                Ok(())
            }
            _ => Err(Errno::EPERM.into()),
        }
    }

    fn open(&mut self, node: &mut Node, flags: OpenFlags) -> Result<Open, Fault> {
        match &get(&self.synth.entries, *node)?.kind {
            Kind::Ctl { writable: true, .. } => Ok(Open::Plain),
            _ if flags.writes() => Err(Errno::EACCES.into()),
            Kind::Stream(pick) => Ok(Open::At(pick(&mut self.state).open())),
            _ => Ok(Open::Plain),
        }
    }

    fn read(
        &mut self,
        node: Node,
        open: &mut Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        let done = |n| Ok(Reply::Done(n));
        match &get(&self.synth.entries, node)?.kind {
            Kind::Dir(_) => Err(Errno::EISDIR.into()),
            Kind::Bytes(bytes) => done(slice_at(bytes, offset, buf)),
            Kind::Text(render) => {
                if offset == 0 || !matches!(open, Open::Shown(_)) {
                    let mut text = String::new();
                    render(&mut self.state, &mut text)?;
                    *open = Open::Shown(text.into_bytes());
                }
                match open {
                    Open::Shown(text) => done(slice_at(text, offset, buf)),
                    _ => done(0),
                }
            }
            Kind::Ctl { verbs, .. } => done(slice_at(usage(verbs).as_bytes(), offset, buf)),
            Kind::Stream(pick) => match open {
                Open::At(cursor) => Ok(pick(&mut self.state).read(cursor, buf)),
                _ => Err(Errno::EBADF.into()),
            },
        }
    }

    fn write(&mut self, node: Node, _: &mut Open, _: u64, data: &[u8]) -> Result<Reply, Fault> {
        match &get(&self.synth.entries, node)?.kind {
            Kind::Ctl { verbs, run, writable: true } => {
                run(&mut self.state, &Command::parse(verbs, data)?)?;
            }
            _ => return Err(Errno::EACCES.into()),
        }
        if let Some(entry) = self.synth.entries.get_mut(node.0 as usize) {
            entry.version = entry.version.wrapping_add(1);
        }
        Ok(Reply::Done(data.len()))
    }

    fn close(&mut self, node: Node, open: Open) {
        if let (Open::At(_), Ok(Entry { kind: Kind::Stream(pick), .. })) =
            (open, get(&self.synth.entries, node))
        {
            pick(&mut self.state).close();
        }
    }

    fn woken(&mut self, wake: &mut dyn FnMut(Node)) {
        self.synth.woken(&mut self.state, wake);
    }

    fn list(
        &mut self,
        node: Node,
        _: &mut Open,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        let Kind::Dir(children) = &get(&self.synth.entries, node)?.kind else {
            return Err(Errno::ENOTDIR.into());
        };
        for (i, &child) in
            children.iter().enumerate().skip(usize::try_from(cookie).unwrap_or(usize::MAX))
        {
            let name = &get(&self.synth.entries, child)?.name;
            if !sink.push(self.synth.qid_of(child)?, i as u64 + 1, name) {
                break;
            }
        }
        Ok(())
    }
}

/// A command that a ctl file takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Verb {
    /// Its first word.
    pub name: &'static str,
    /// Its arguments, for people.
    pub usage: &'static str,
    min: usize,
    max: usize,
}

impl Verb {
    /// A verb with exactly `n` arguments.
    pub const fn new(name: &'static str, usage: &'static str, n: usize) -> Verb {
        Verb { name, usage, min: n, max: n }
    }

    /// A verb with `min` to `max` arguments.
    pub const fn range(name: &'static str, usage: &'static str, min: usize, max: usize) -> Verb {
        Verb { name, usage, min, max }
    }
}

fn usage(verbs: &[Verb]) -> String {
    let mut out = String::new();
    for v in verbs {
        out += v.name;
        if !v.usage.is_empty() {
            out += " ";
            out += v.usage;
        }
        out += "\n";
    }
    out
}

/// A line as an error shows it, cut so that the error does not grow with it.
pub(crate) fn echo(line: &str) -> String {
    let part = crate::server::clip(line, 40);
    let more = if part.len() < line.len() { "..." } else { "" };
    // What could move a terminal's cursor is shown as something that cannot.
    let clean = |c: char| if c.is_control() { '?' } else { c };
    let part: String = part.chars().map(clean).collect();
    alloc::format!("\"{part}\"{more}")
}

/// A command line, taken apart.
#[derive(Debug)]
pub struct Command<'c> {
    /// The verb's name.
    pub verb: &'static str,
    /// What stands behind the verb, as it was written.
    pub rest: &'c str,
    line: &'c str,
}

impl<'c> Command<'c> {
    /// Takes one line apart. Errors echo it and say what would be right.
    pub fn parse(verbs: &'static [Verb], data: &'c [u8]) -> Result<Command<'c>, Fault> {
        let bad = |why: &str| Fault::new(Errno::EINVAL, why.to_string());
        let text = core::str::from_utf8(data).map_err(|_| bad("a command must be UTF-8 text"))?;
        let line = text.trim();
        if line.contains('\n') {
            return Err(bad("one command a write, please"));
        }
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let Some(verb) = verbs.iter().find(|v| v.name == name) else {
            let mut text = alloc::format!("no command in {}; there are:", echo(line));
            for (i, v) in verbs.iter().enumerate() {
                text += if i == 0 { " " } else { ", " };
                text += v.name;
            }
            return Err(bad(&text));
        };
        let n = rest.split_whitespace().count();
        if n < verb.min || n > verb.max {
            let (name, usage) = (verb.name, verb.usage);
            let wants = if usage.is_empty() { "no arguments" } else { usage };
            return Err(bad(&alloc::format!("{}: {name} takes {wants}", echo(line))));
        }
        Ok(Command { verb: verb.name, rest: rest.trim(), line })
    }

    /// The argument at `i`, empty when there is none.
    pub fn arg(&self, i: usize) -> &'c str {
        self.rest.split_whitespace().nth(i).unwrap_or_default()
    }

    /// The argument at `i` as a whole number.
    pub fn number(&self, i: usize) -> Result<u64, Fault> {
        self.arg(i)
            .parse()
            .map_err(|_| self.bad(&alloc::format!("{} is no number", echo(self.arg(i)))))
    }

    /// An error that echoes the line.
    pub fn bad(&self, why: &str) -> Fault {
        Fault::new(Errno::EINVAL, alloc::format!("{}: {why}", echo(self.line)))
    }
}
