//! Records as files, and the tree of their bytes.
//!
//! A record is text where it lies; the same path below `/rec` is its bytes, and in
//! each directory there the file `schema` tells what its records are. None of that is
//! built: a node below `/rec` is the node of the text with another face, found when
//! somebody walks there. Directories without records are not shown.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::kinds::{Entry, Kind};
use super::{Node, Synth};
use crate::fault::{Errno, Fault};
use crate::record::{About, Record, Value, schema, text, wire};

/// The name of the tree of bytes.
pub(super) const REC: &str = "rec";
/// The name of the file that tells what a directory's records are.
pub(super) const SCHEMA: &str = "schema";

/// What a node shows of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Face {
    /// What it is.
    Plain,
    /// What it is below `/rec`.
    Rec,
    /// What the records in it are.
    Schema,
}

/// Takes the values of a record.
pub type Sink<'x> = &'x mut dyn FnMut(&[Value<'_>]);
type Get<'a, S> = Box<dyn Fn(&mut S, u64, Sink<'_>) -> Result<(), Fault> + 'a>;
type Set<'a, S> = Box<dyn Fn(&mut S, u64, bool, &[u8]) -> Result<(), Fault> + 'a>;

/// A record of a state.
pub(super) struct Rec<'a, S> {
    about: &'static About,
    get: Get<'a, S>,
    set: Option<Set<'a, S>>,
}

impl<'a, S> Rec<'a, S> {
    pub(super) fn new<R: Record>(get: impl Fn(&mut S, u64) -> Result<R, Fault> + 'a) -> Self {
        Rec::of(&R::ABOUT, move |s, id, sink| {
            get(s, id)?.show(sink);
            Ok(())
        })
    }

    pub(super) fn of(
        about: &'static About,
        get: impl Fn(&mut S, u64, Sink<'_>) -> Result<(), Fault> + 'a,
    ) -> Self {
        Rec { about, get: Box::new(get), set: None }
    }

    pub(super) fn with_set<R: Record>(
        self,
        set: impl Fn(&mut S, u64, R) -> Result<(), Fault> + 'a,
    ) -> Self {
        let set: Set<'a, S> = Box::new(move |s, id, bytes, data| {
            let record = if bytes {
                R::from_wire(data)?
            } else {
                let text = core::str::from_utf8(data)
                    .map_err(|_| Fault::new(Errno::EINVAL, "a record must be UTF-8 text"))?;
                R::from_text(text)?
            };
            set(s, id, record)
        });
        Rec { set: Some(set), ..self }
    }

    /// What it shows now, as bytes and, where that is asked for, as text: the hash of the bytes.
    pub(super) fn render(
        &self,
        s: &mut S,
        id: u64,
        bytes: &mut Vec<u8>,
        mut lines: Option<&mut String>,
    ) -> Result<u32, Fault> {
        (self.get)(s, id, &mut |values| {
            wire::put(self.about, values, bytes);
            if let Some(lines) = &mut lines {
                text::put(self.about.fields, values, lines);
            }
        })?;
        Ok(hash(bytes))
    }

    pub(super) fn write(&self, s: &mut S, id: u64, face: Face, data: &[u8]) -> Result<(), Fault> {
        match &self.set {
            Some(set) => set(s, id, face == Face::Rec, data),
            None => Err(Errno::EACCES.into()),
        }
    }
}

/// FNV-1a of 32 bits: tells one content from another, where nobody means to deceive.
pub(super) fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

impl<S> Synth<'_, S> {
    /// What is in a directory that has a face below `/rec`: nodes and names.
    pub(super) fn rec_children(&self, node: Node) -> impl Iterator<Item = &u32> {
        let (children, like) = match self.entries.get(node.at as usize).map(|e| &e.kind) {
            Some(Kind::Dir(children)) => (&children[..], None),
            Some(Kind::Many(children, like, _)) => (&children[..], Some(like)),
            _ => (&[][..], None),
        };
        let all = children.iter().chain(like);
        all.filter(|c| self.entries.get(**c as usize).is_some_and(|e| e.rec))
    }

    /// Whether a directory has records itself.
    pub(super) fn has_schema(&self, node: Node) -> bool {
        self.rec_children(node).any(|c| self.record_at(*c).is_some())
    }

    fn record_at(&self, at: u32) -> Option<(&Entry<'_, S>, &About)> {
        let entry = self.entries.get(at as usize)?;
        match &entry.kind {
            Kind::Record(rec) => Some((entry, rec.about)),
            _ => None,
        }
    }

    /// The schema of a directory's records: each as `file NAME` and what it is. That of
    /// numbered entries has the name N.
    pub(super) fn schema(&self, node: Node) -> String {
        let mut out = String::new();
        for (entry, about) in self.rec_children(node).filter_map(|c| self.record_at(*c)) {
            out += "file ";
            out += if entry.name.is_empty() { "N" } else { &entry.name };
            out += "\n";
            schema::put(about, &mut out);
        }
        out
    }
}
