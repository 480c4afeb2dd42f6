//! Files of the namespace that are read and written in parts, or stay open.
//!
//! An open file is the component's own, by number. What becomes of it when the host's connection
//! is another is [`super::held`]'s.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::ops::What;
use atoll_9p::types::OpenFlags;

use super::held::{Held, Place};
use super::part::Job;
use super::{More, Undo};
use crate::component::{CallId, ComponentId, Fd};
use crate::core::Core;
use crate::effects::{Call, Cx, MESSAGE_OVERHEAD, Todo, Wish, message};
use crate::namespace::too_large;
use crate::sponsor::Amount;

/// The most bytes of names that are listed.
const LIST: usize = 65_536;
/// What an open file costs, with the path by which it is found again.
pub(crate) fn price(place: Option<&Place>) -> Amount {
    let path = place.and_then(|p| p.path.as_ref()).map_or(0, |p| p.len());
    Amount { memory: MESSAGE_OVERHEAD + path as u64, messages: 0 }
}

/// A file that a component has open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFile {
    pub(crate) held: Held,
    /// What was charged for it.
    pub(crate) charged: Amount,
    /// It is closed when the dispatch is committed.
    pub(crate) closing: bool,
}

impl Cx<'_> {
    fn job(&mut self, path: &str, bytes: usize, job: Todo) -> Result<CallId, Fault> {
        let charged = message(path.len() + bytes);
        self.pay(charged)?;
        let id = self.number();
        let call = Call { id, path: path.to_string(), what: job, charged };
        self.effects.wishes.push(Wish::Call(Box::new(call)));
        Ok(id)
    }

    /// An open file of this component's.
    fn held(&self, fd: Fd) -> Result<Held, Fault> {
        let file = self.atoms.files.get(&(self.me, fd.0)).filter(|f| !f.closing);
        file.map(|f| f.held).ok_or(Errno::EBADF.into())
    }

    /// Reads at most `count` bytes of a file, from byte `from` on; fewer only at its end.
    pub fn file_read(&mut self, path: &str, from: u64, count: u32) -> Result<CallId, Fault> {
        self.job(path, 0, Todo::Part(Job::Read { from, count }))
    }

    /// Writes all of `data` to a file, from byte `from` on; nowhere: in the place of what
    /// is in it.
    pub fn file_write(
        &mut self,
        path: &str,
        from: Option<u64>,
        data: &[u8],
    ) -> Result<CallId, Fault> {
        let bytes = data.to_vec();
        let job = match from {
            Some(from) => Todo::Part(Job::Write { from, data: bytes }),
            None => Todo::Whole(What::Write(bytes)),
        };
        self.job(path, data.len(), job)
    }

    /// Lists a directory: its names, one a line, a directory's with a slash behind it.
    pub fn file_list(&mut self, path: &str) -> Result<CallId, Fault> {
        self.job(path, 0, Todo::Whole(What::List { max: LIST }))
    }

    /// What attributes a file of the namespace has. The result is a stat of 33 bytes,
    /// numbers little endian: length (8), time of last change in nanoseconds since 1970
    /// (8), mode (4), and the qid's type (1), version (4) and path (8).
    pub fn file_stat(&mut self, path: &str) -> Result<CallId, Fault> {
        self.job(path, 0, Todo::Part(Job::Stat))
    }

    /// Opens a file of the namespace. The result is its [`Fd`]: four bytes, little endian.
    pub fn open(&mut self, path: &str, flags: OpenFlags) -> Result<CallId, Fault> {
        self.job(path, MESSAGE_OVERHEAD as usize, Todo::Part(Job::Open { from: None, flags }))
    }

    /// The same for a path that begins at an open directory, and has no `..`.
    pub fn walk(&mut self, fd: Fd, path: &str, flags: OpenFlags) -> Result<CallId, Fault> {
        let from = Some(self.held(fd)?);
        if path.starts_with('/') || path.split('/').any(|n| n == "..") {
            return Err(Errno::EINVAL.into());
        }
        self.job(path, MESSAGE_OVERHEAD as usize, Todo::Part(Job::Open { from, flags }))
    }

    /// Reads from an open file: at most `count` bytes from `from` on, none at its end.
    pub fn read(&mut self, fd: Fd, from: u64, count: u32) -> Result<CallId, Fault> {
        let of = self.held(fd)?;
        self.job("", 0, Todo::Part(Job::ReadAt { of, from, count }))
    }

    /// Writes to an open file. The result is how many bytes were taken: four bytes,
    /// little endian.
    pub fn write(&mut self, fd: Fd, from: u64, data: &[u8]) -> Result<CallId, Fault> {
        let of = self.held(fd)?;
        self.job("", data.len(), Todo::Part(Job::WriteAt { of, from, data: data.to_vec() }))
    }

    /// What attributes an open file has, as [`Cx::file_stat`] says.
    pub fn stat(&mut self, fd: Fd) -> Result<CallId, Fault> {
        let of = self.held(fd)?;
        self.job("", 0, Todo::Part(Job::StatOf { of }))
    }

    /// Closes a file. What is under way with it fails with EBADF.
    pub fn close(&mut self, fd: Fd) -> Result<(), Fault> {
        self.held(fd)?;
        if let Some(file) = self.atoms.files.get_mut(&(self.me, fd.0)) {
            file.closing = true;
        }
        self.effects.undo.push(Undo::Close(fd.0));
        self.wish(More::Close(fd.0));
        Ok(())
    }
}

impl super::Atoms {
    /// A file stays open.
    pub(super) fn keep_open(&mut self, of: ComponentId, fd: u32) {
        if let Some(file) = self.files.get_mut(&(of, fd)) {
            file.closing = false;
        }
    }
}

impl Core<'_> {
    /// A file was opened for a component: its number there, four bytes.
    pub(crate) fn opened(
        &mut self,
        of: ComponentId,
        call: CallId,
        held: Held,
    ) -> Result<Vec<u8>, Fault> {
        let charged = price(self.namespace.place(held));
        if !self.sponsor.charge(charged) {
            self.namespace.close(held, &mut Vec::new());
            return Err(too_large());
        }
        let taken = self.atoms.files.range((of, 0)..=(of, u32::MAX)).map(|((_, fd), _)| *fd);
        // The least that is free: they come in their order.
        let fd = taken.zip(0..).take_while(|(fd, n)| fd == n).count() as u32;
        self.atoms.files.insert((of, fd), OpenFile { held, charged, closing: false });
        self.has_opened(call, fd);
        Ok(fd.to_le_bytes().to_vec())
    }

    pub(super) fn close_file(&mut self, of: ComponentId, fd: u32) {
        if let Some(file) = self.atoms.files.remove(&(of, fd)) {
            self.sponsor.refund(file.charged);
            let mut done = Vec::new();
            self.namespace.close(file.held, &mut done);
            self.returned(done);
        }
    }

    /// Closes the files of a component that is no more.
    pub(super) fn forget_files(&mut self, id: ComponentId) {
        let all = self.atoms.files.range((id, 0)..=(id, u32::MAX));
        for fd in all.map(|((_, fd), _)| *fd).collect::<Vec<_>>() {
            self.close_file(id, fd);
        }
    }
}
