//! What a file can be.
//!
//! Functions get the state and a number: which entry of a numbered directory the file
//! belongs to, 0 for a file that is in none. Kinds that few servers need lie behind
//! a trait, so that who makes none of them does not carry their code.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::ctl::{Command, Verb};
use super::rec::Rec;
use crate::fault::{Errno, Fault};
use crate::stream::Stream;
use crate::tree::Reply;

pub(super) type Render<'a, S> = Box<dyn Fn(&mut S, u64, &mut String) -> Result<(), Fault> + 'a>;
pub(super) type Run<'a, S> = Box<dyn Fn(&mut S, u64, &Command<'_>) -> Result<(), Fault> + 'a>;
pub(super) type Pick<'a, S> = Box<dyn for<'s> Fn(&'s mut S, u64) -> Option<&'s mut Stream> + 'a>;
pub(super) type Version<'a, S> = Box<dyn Fn(&mut S, u64) -> u32 + 'a>;

pub(super) enum Kind<'a, S> {
    Dir(Vec<u32>),
    Bytes(&'a [u8]),
    Text(Render<'a, S>),
    Record(Rec<'a, S>),
    Ctl(&'static [Verb], Run<'a, S>),
    Stream(Pick<'a, S>),
    Special(Box<dyn Special<S> + 'a>),
    /// Files of its own, what its entries are like, and which there are.
    Many(Vec<u32>, u32, Box<dyn Many<S> + 'a>),
    /// The clone file of the directory that it lies in.
    Clone,
}

/// A file of the tree, or what the files of a numbered directory are like.
pub(super) struct Entry<'a, S> {
    pub(super) name: Cow<'a, str>,
    pub(super) parent: u32,
    /// The numbered directory whose entries have this file; 0 for none.
    pub(super) many: u32,
    pub(super) version: u32,
    /// How often it is open.
    pub(super) opens: u32,
    pub(super) perm: u16,
    /// Whether it is a record, or has one below it.
    pub(super) rec: bool,
    /// Whether its version is computed.
    pub(super) versioned: bool,
    pub(super) kind: Kind<'a, S>,
}

impl<S> Entry<'_, S> {
    pub(super) fn is_writable(&self) -> bool {
        self.perm & 0o222 != 0
    }

    pub(super) fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir(_) | Kind::Many(..))
    }
}

/// A kind of file of one's own: [`Synth::special`](super::Synth::special).
///
/// Every function is told the number of the entry that the file belongs to, 0 where it
/// has none. An open file has a *place*, a number that is the file's own business: how far
/// its reader has come, say, or which of its questions is still to be answered.
pub trait Special<S> {
    /// Its permissions: the lowest nine bits of a mode.
    fn perm(&self) -> u16;

    /// Opens it: the place that it begins with.
    fn open(&self, s: &mut S, id: u64) -> Result<u64, Fault> {
        let _ = (s, id);
        Ok(0)
    }

    /// Reads into `buf`, which is never empty. What answers [`Reply::Later`] has to see to it
    /// that it is asked again ([`Synth::wake`](super::Synth::wake)); of one open file only one
    /// read waits.
    fn read(
        &self,
        s: &mut S,
        id: u64,
        place: &mut u64,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        let _ = (s, id, place, offset, buf);
        Err(Errno::EACCES.into())
    }

    /// Writes; the same holds of an answer that comes later.
    fn write(
        &self,
        s: &mut S,
        id: u64,
        place: &mut u64,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        let _ = (s, id, place, offset, data);
        Err(Errno::EACCES.into())
    }

    /// An open file is no more. Nothing waits for it any longer.
    fn close(&self, s: &mut S, id: u64, place: u64) {
        let _ = (s, id, place);
    }

    /// Its length, where it is one that has one.
    fn size(&self, s: &mut S, id: u64) -> u64 {
        let _ = (s, id);
        0
    }

    /// Makes it so long. A truncation comes before a shell's write, and is most often
    /// no reason to do anything.
    fn cut(&self, s: &mut S, id: u64, size: u64) -> Result<(), Fault> {
        let _ = (s, id, size);
        Ok(())
    }

    /// Whether what is written is something to be done, not bytes at an offset: who does
    /// not know whether a write arrived must not repeat it.
    fn appends(&self) -> bool {
        true
    }

    /// Puts a reader to where [`Special::can_seek`] said that another stood.
    fn seek(&self, s: &mut S, id: u64, place: &mut u64, to: u64) -> Result<(), Fault> {
        let _ = (s, id, place, to);
        Err(Fault::new(Errno::EINVAL, "not a stream: it has no positions"))
    }

    /// Whether the place of a reader means the same to every connection.
    fn can_seek(&self) -> bool {
        false
    }

    /// Whether requests that wait are to be asked again; `take` forgets it.
    fn news(&self, s: &mut S, id: u64, take: bool) -> bool {
        let _ = (s, id, take);
        false
    }
}

/// The entries of a numbered directory: which there are, and how long.
pub(super) trait Many<S> {
    fn find(&self, s: &mut S, name: &str) -> Option<u64>;
    /// Tells the entries from a number on, in the order of their numbers, until
    /// one is not taken.
    fn list(&self, s: &mut S, from: u64, each: &mut dyn FnMut(u64, &str) -> bool);
    /// Whether what is open of an entry, and which there are, is decided here.
    fn is_clone(&self) -> bool {
        false
    }
    fn is_alive(&self, id: u64) -> bool {
        let _ = id;
        true
    }
    fn make(&mut self, s: &mut S) -> Result<u64, Fault> {
        let _ = s;
        Err(Errno::EPERM.into())
    }
    /// Makes an entry of a name that a client chose.
    fn create(&mut self, s: &mut S, name: &str) -> Result<u64, Fault> {
        let _ = (s, name);
        Err(Fault::new(Errno::EPERM, "no files can be made here"))
    }
    /// Removes an entry that a client named.
    fn remove(&mut self, s: &mut S, id: u64) -> Result<(), Fault> {
        let _ = (s, id);
        Err(Fault::new(Errno::EPERM, "no files can be removed here"))
    }
    fn opened(&mut self, id: u64) {
        let _ = id;
    }
    fn closed(&mut self, s: &mut S, id: u64) {
        let _ = (s, id);
    }
    fn end(&mut self, s: &mut S, id: u64) {
        let _ = (s, id);
    }
    /// Changes with which there are.
    fn version(&self) -> u32 {
        0
    }
}
