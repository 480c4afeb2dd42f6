//! A [`Synth`] and its state, as a tree that sessions serve.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use super::ctl::{Command, usage};
use super::kinds::{Kind, Many};
use super::rec::{Face, REC, SCHEMA, hash};
use super::sheets::fit;
use super::{Node, Synth};
use crate::fault::{Errno, Fault};
use crate::once::Once;
use crate::stream::Cursor;
use crate::tree::{Entries, Reply, Tree, Who, slice_at};
use crate::types::{OpenFlags, Qid, SetAttr, Stat, Time, mode, qid_type, setattr};

/// The file of a numbered directory that its clone file opens.
const CTL: &str = "ctl";

/// A [`Synth`] and its state, as a [`Tree`].
pub struct Files<'a, S> {
    /// Names and functions.
    pub synth: Synth<'a, S>,
    /// What the functions work on.
    pub state: S,
}

/// What an open file of a [`Synth`] holds.
#[derive(Debug)]
pub struct Open(Held);

#[derive(Debug)]
enum Held {
    Nothing,
    /// What a computed file showed when it was last read from its start.
    Shown(Vec<u8>),
    /// How far a reader of lines has come.
    Lines(Cursor),
    /// The place of a reader of something else.
    Place(u64),
}

impl<'a, S> Files<'a, S> {
    /// The node that lies above, as far as the tree goes.
    fn above(&self, at: Node) -> Result<Node, Fault> {
        let entry = self.synth.get(at)?;
        if at.face == Face::Schema {
            return Ok(Node { face: Face::Rec, ..at });
        }
        if at.at == 0 {
            return Ok(Node::plain(0));
        }
        let many = self.synth.get(Node::plain(entry.parent))?.many;
        let id = if many == 0 { 0 } else { at.id };
        Ok(Node { at: entry.parent, id, ..at })
    }

    fn below(&mut self, at: Node, name: &str) -> Result<Node, Fault> {
        let synth = &self.synth;
        let entry = synth.live(at)?;
        if at.face == Face::Schema || !entry.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        if let Some(child) = synth.child(at, name)
            && (at.face == Face::Plain || synth.get(Node::plain(child))?.rec)
        {
            return Ok(Node { at: child, ..at });
        }
        if let Kind::Many(_, like, many) = &entry.kind
            && (at.face == Face::Plain || synth.get(Node::plain(*like))?.rec)
            && let Some(id) = many.find(&mut self.state, name)
        {
            return Ok(Node { at: *like, id, ..at });
        }
        match (name, at.face) {
            (REC, Face::Plain) if at.at == 0 && entry.rec => Ok(Node { face: Face::Rec, ..at }),
            (SCHEMA, Face::Rec) if synth.has_schema(at) => Ok(Node { face: Face::Schema, ..at }),
            _ => Err(Errno::ENOENT.into()),
        }
    }

    /// Computes a file anew for a reader.
    fn show(&mut self, node: Node) -> Result<Vec<u8>, Fault> {
        let (sheet, mut bytes) = (self.synth.sheets.take(), self.synth.sheets.take());
        let mut text = String::from_utf8(sheet).unwrap_or_default();
        let is_clone = self.is_clone_ctl(node);
        let version = match (&self.synth.live(node)?.kind, node.face) {
            (_, Face::Schema) => return Ok(self.synth.schema(node).into_bytes()),
            (Kind::Text(render), _) => {
                render(&mut self.state, node.id, &mut text)?;
                Some(hash(text.as_bytes()))
            }
            (Kind::Record(rec), face) => {
                let lines = (face == Face::Plain).then_some(&mut text);
                Some(rec.render(&mut self.state, node.id, &mut bytes, lines)?)
            }
            (Kind::Ctl(..), _) if is_clone => {
                let _ = writeln!(text, "{}", node.id);
                None
            }
            (Kind::Ctl(verbs, _), _) => {
                usage(verbs, &mut text);
                None
            }
            _ => return Err(Errno::EBADF.into()),
        };
        let (shown, other) = match node.face {
            Face::Rec => (bytes, text.into_bytes()),
            _ => (text.into_bytes(), bytes),
        };
        self.synth.sheets.put(other);
        if let Some(version) = version
            && let Some(entry) = self.synth.entries.get_mut(node.at as usize)
            && entry.many == 0
        {
            entry.version = version;
        }
        let most = self.synth.limits.text;
        if shown.len() > most {
            let text =
                format!("the file has {} bytes: no more than {most} can be shown", shown.len());
            return Err(Fault::new(Errno::EFBIG, text));
        }
        Ok(shown)
    }

    /// Makes an open file hold what a computed one shows.
    fn hold(&mut self, node: Node, open: &mut Open) -> Result<(), Fault> {
        self.release(open);
        let mut shown = self.show(node)?;
        if self.synth.held + shown.len() > self.synth.limits.held {
            return Err(Fault::new(Errno::ENOBUFS, "all open files together show too much"));
        }
        fit(&mut shown);
        self.synth.held += shown.len();
        open.0 = Held::Shown(shown);
        Ok(())
    }

    fn release(&mut self, open: &mut Open) {
        if let Held::Shown(shown) = &mut open.0 {
            self.synth.held -= shown.len();
            self.synth.sheets.put(core::mem::take(shown));
            open.0 = Held::Nothing;
        }
    }

    /// Ends an entry of a numbered directory: who waits in it is told.
    fn end(&mut self, node: Node) {
        let Ok(many) = self.synth.get(node).map(|e| e.many) else { return };
        if let Some(many) = many_of(&mut self.synth, many) {
            many.end(&mut self.state, node.id);
        }
        self.stir(node);
    }

    /// Wakes whoever waits in an entry of a numbered directory.
    pub(super) fn stir(&mut self, node: Node) {
        let Ok(many) = self.synth.get(node).map(|e| e.many) else { return };
        for i in 0..self.synth.watched.len() {
            let Some((other, _)) = self.synth.watched.get(i).copied() else { return };
            if other.id == node.id && self.synth.get(other).is_ok_and(|e| e.many == many) {
                self.synth.wake(other);
            }
        }
    }

    /// Makes an entry of a numbered directory, and opens its ctl file.
    fn open_clone(&mut self, node: &mut Node) -> Result<Open, Fault> {
        let dir = self.synth.get(*node)?.parent;
        let Kind::Many(_, like, _) = self.synth.get(Node::plain(dir))?.kind else {
            return Err(Errno::ESTALE.into());
        };
        let ctl = self.synth.child(Node::plain(like), CTL).ok_or(Errno::EPERM)?;
        let many = many_of(&mut self.synth, dir).ok_or(Errno::ESTALE)?;
        let made = Node { at: ctl, face: Face::Plain, id: many.make(&mut self.state)? };
        if let Err(fault) = self.opened(made) {
            self.end(made);
            return Err(fault);
        }
        *node = made;
        Ok(Open(Held::Nothing))
    }

    /// Whether a file is the one that a clone file opens.
    fn is_clone_ctl(&self, node: Node) -> bool {
        self.synth.get(node).is_ok_and(|e| {
            let many = self.synth.get(Node::plain(e.many)).map(|m| &m.kind);
            e.name == CTL && matches!(many, Ok(Kind::Many(_, _, many)) if many.is_clone())
        })
    }

    /// Counts an open file; says first whether there may be one more.
    fn opened(&mut self, node: Node) -> Result<(), Fault> {
        let limits = self.synth.limits;
        let entry = self.synth.entries.get_mut(node.at as usize).ok_or(Errno::ESTALE)?;
        let waits = matches!(entry.kind, Kind::Stream(_) | Kind::Special(_));
        let most = if waits { limits.readers.min(limits.opens) } else { limits.opens };
        if entry.opens >= most {
            let text = format!("the file is open {most} times, and may not be more often");
            return Err(Fault::new(Errno::EMFILE, text));
        }
        entry.opens += 1;
        let many = entry.many;
        if let Some(many) = many_of(&mut self.synth, many) {
            many.opened(node.id);
        }
        if waits {
            let watched = &mut self.synth.watched;
            match watched.binary_search_by_key(&node, |w| w.0) {
                Ok(i) => watched.get_mut(i).into_iter().for_each(|w| w.1 += 1),
                Err(i) => watched.insert(i, (node, 1)),
            }
        }
        Ok(())
    }

    fn closed(&mut self, node: Node) {
        let Some(entry) = self.synth.entries.get_mut(node.at as usize) else { return };
        entry.opens = entry.opens.saturating_sub(1);
        let many = entry.many;
        let watched = &mut self.synth.watched;
        if let Ok(i) = watched.binary_search_by_key(&node, |w| w.0)
            && let Some(w) = watched.get_mut(i)
        {
            w.1 -= 1;
            if w.1 == 0 {
                watched.remove(i);
            }
        }
        if let Some(many) = many_of(&mut self.synth, many) {
            many.closed(&mut self.state, node.id);
        }
    }
}

fn many_of<'s, 'a, S>(
    synth: &'s mut Synth<'a, S>,
    at: u32,
) -> Option<&'s mut Box<dyn Many<S> + 'a>> {
    if at == 0 { None } else { synth.many_mut(at) }
}

impl<S> Tree for Files<'_, S> {
    type Node = Node;
    type Open = Open;

    const FIXED: bool = true;

    fn attach(&mut self, who: &Who<'_>) -> Result<Node, Fault> {
        let mut names = who.aname.split('/').filter(|n| !n.is_empty());
        names.try_fold(Node::plain(0), |at, name| self.walk(at, name).map(|(node, _)| node))
    }

    fn walk(&mut self, at: Node, name: &str) -> Result<(Node, Qid), Fault> {
        let node = match name {
            ".." => self.above(at)?,
            _ => self.below(at, name)?,
        };
        let mut qid = self.qid(node)?;
        if self.synth.mounts.contains(&node.at) && node.face == Face::Plain {
            qid.ty |= qid_type::MOUNT;
        }
        Ok((node, qid))
    }

    fn qid(&mut self, node: Node) -> Result<Qid, Fault> {
        self.synth.qid_of(&mut self.state, node)
    }

    fn stat(&mut self, node: Node) -> Result<Stat, Fault> {
        let qid = self.qid(node)?;
        let entry = self.synth.get(node)?;
        let size = match &entry.kind {
            Kind::Bytes(bytes) => bytes.len() as u64,
            Kind::Special(special) => special.size(&mut self.state, node.id),
            _ => 0,
        };
        let perm = if node.face == Face::Schema { 0o444 } else { entry.perm.into() };
        let (ty, nlink) = if qid.is_dir() { (mode::DIR, 2) } else { (mode::FILE, 1) };
        let time = Time::from_secs(self.synth.mtime);
        Ok(Stat {
            qid,
            mode: ty | perm,
            uid: self.synth.uid,
            gid: self.synth.gid,
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
        let entry = self.synth.live(node)?;
        let may = entry.is_writable() && node.face != Face::Schema;
        if set.valid & !(setattr::SIZE | setattr::TIMES) != 0 || !may {
            return Err(Errno::EPERM.into());
        }
        match &entry.kind {
            Kind::Special(special) if set.valid & setattr::SIZE != 0 => {
                special.cut(&mut self.state, node.id, set.size)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, node: &mut Node, flags: OpenFlags) -> Result<Open, Fault> {
        let entry = self.synth.live(*node)?;
        if flags.writes() && (!entry.is_writable() || node.face == Face::Schema) {
            return Err(Errno::EACCES.into());
        }
        if let Kind::Clone = entry.kind {
            return self.open_clone(node);
        }
        self.opened(*node)?;
        let held = match &self.synth.get(*node)?.kind {
            Kind::Stream(pick) => match pick(&mut self.state, node.id) {
                Some(stream) => Ok(Held::Lines(stream.open())),
                None => Err(Errno::ESTALE.into()),
            },
            Kind::Special(special) => special.open(&mut self.state, node.id).map(Held::Place),
            _ => Ok(Held::Nothing),
        };
        held.map(Open).inspect_err(|_| self.closed(*node))
    }

    fn read(
        &mut self,
        node: Node,
        open: &mut Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        let done = |n| Ok(Reply::Done(n));
        let entry = self.synth.live(node)?;
        match (&entry.kind, &mut open.0) {
            (Kind::Dir(_) | Kind::Many(..), _) if node.face != Face::Schema => {
                Err(Errno::EISDIR.into())
            }
            (Kind::Bytes(bytes), _) => done(slice_at(bytes, offset, buf)),
            (Kind::Stream(pick), Held::Lines(cursor)) => {
                Ok(pick(&mut self.state, node.id).ok_or(Errno::ESTALE)?.read(cursor, buf))
            }
            // Who opens a stream asks so where it stands, and is not to wait for what comes.
            (Kind::Special(_), _) if buf.is_empty() => done(0),
            (Kind::Special(special), Held::Place(at)) => {
                special.read(&mut self.state, node.id, at, offset, buf)
            }
            _ => {
                if offset == 0 || !matches!(open.0, Held::Shown(_)) {
                    self.hold(node, open)?;
                }
                match &open.0 {
                    Held::Shown(shown) => done(slice_at(shown, offset, buf)),
                    _ => done(0),
                }
            }
        }
    }

    fn write(&mut self, node: Node, open: &mut Open, at: u64, data: &[u8]) -> Result<Reply, Fault> {
        let entry = self.synth.live(node)?;
        if !entry.is_writable() || node.face == Face::Schema {
            return Err(Errno::EACCES.into());
        }
        let (version, ends) = match &entry.kind {
            Kind::Ctl(verbs, run) => {
                let command = Command::parse(verbs, data)?;
                run(&mut self.state, node.id, &command)?;
                (Some(entry.version.wrapping_add(1)), command.ends())
            }
            Kind::Record(_) if at != 0 => {
                return Err(Fault::new(Errno::EINVAL, "a record is written whole, from its start"));
            }
            Kind::Record(rec) => {
                rec.write(&mut self.state, node.id, node.face, data)?;
                let now = rec.render(&mut self.state, node.id, &mut Vec::new(), None);
                (now.ok().filter(|_| entry.many == 0), false)
            }
            Kind::Special(special) => {
                let Held::Place(place) = &mut open.0 else { return Err(Errno::EBADF.into()) };
                return special.write(&mut self.state, node.id, place, at, data);
            }
            _ => return Err(Errno::EACCES.into()),
        };
        if let (Some(version), Some(entry)) =
            (version, self.synth.entries.get_mut(node.at as usize))
        {
            entry.version = version;
        }
        if ends {
            self.end(node);
        }
        Ok(Reply::Done(data.len()))
    }

    fn once(&mut self) -> Option<&mut Once> {
        Some(&mut self.synth.once)
    }

    fn seek(&mut self, node: Node, open: &mut Open, to: u64) -> Result<(), Fault> {
        match (&self.synth.live(node)?.kind, &mut open.0) {
            (Kind::Stream(pick), Held::Lines(cursor)) => {
                pick(&mut self.state, node.id).ok_or(Errno::ESTALE)?.seek(cursor, to)
            }
            (Kind::Special(special), Held::Place(at)) => {
                special.seek(&mut self.state, node.id, at, to)
            }
            _ => Err(Fault::new(Errno::EINVAL, "not a stream: it has no positions")),
        }
    }

    fn position(&mut self, node: Node, open: &mut Open) -> Option<u64> {
        match (&self.synth.get(node).ok()?.kind, &open.0) {
            (Kind::Stream(pick), Held::Lines(cursor)) => {
                Some(pick(&mut self.state, node.id)?.position(cursor))
            }
            (Kind::Special(special), Held::Place(at)) if special.can_seek() => Some(*at),
            _ => None,
        }
    }

    fn close(&mut self, node: Node, mut open: Open) {
        if let (Held::Lines(_), Ok(Kind::Stream(pick))) =
            (&open.0, self.synth.get(node).map(|e| &e.kind))
            && let Some(stream) = pick(&mut self.state, node.id)
        {
            stream.close();
        }
        if let (Held::Place(place), Ok(Kind::Special(special))) =
            (&open.0, self.synth.get(node).map(|e| &e.kind))
        {
            special.close(&mut self.state, node.id, *place);
        }
        self.release(&mut open);
        self.closed(node);
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
        let (synth, state) = (&self.synth, &mut self.state);
        let entry = synth.live(node)?;
        let (children, many) = match &entry.kind {
            _ if node.face == Face::Schema => return Err(Errno::ENOTDIR.into()),
            Kind::Dir(children) => (children, None),
            Kind::Many(files, like, many) => (files, Some((*like, many))),
            _ => return Err(Errno::ENOTDIR.into()),
        };
        let plain = node.face == Face::Plain;
        let skip = usize::try_from(cookie).unwrap_or(usize::MAX);
        for (i, at) in children.iter().enumerate().skip(skip) {
            let child = Node { at: *at, ..node };
            let entry = synth.get(child)?;
            if (plain || entry.rec)
                && !sink.push(synth.qid_of(state, child)?, i as u64 + 1, &entry.name)
            {
                return Ok(());
            }
        }
        // What is not built comes last: one entry, or those that are numbered.
        let next = children.len() as u64 + 1;
        let last = match (plain, node.at) {
            (true, 0) if entry.rec => Some((REC, Face::Rec)),
            (false, _) if synth.has_schema(node) => Some((SCHEMA, Face::Schema)),
            _ => None,
        };
        if let Some((name, face)) = last
            && cookie < next
            && !sink.push(synth.qid_of(state, Node { face, ..node })?, next, name)
        {
            return Ok(());
        }
        let Some((like, many)) =
            many.filter(|m| plain || synth.get(Node::plain(m.0)).is_ok_and(|e| e.rec))
        else {
            return Ok(());
        };
        let dir = synth.get(Node::plain(like))?.is_dir();
        let ty = if dir { qid_type::DIR } else { qid_type::FILE };
        many.list(state, cookie.saturating_sub(next), &mut |id, name| {
            let node = Node { at: like, id, ..node };
            sink.push(Qid { ty, version: 0, path: node.path() }, next + 1 + id, name)
        });
        Ok(())
    }
}
