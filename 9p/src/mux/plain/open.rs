//! Topen: Tlopen, behind what a mode of 9P2000 asks for and flags cannot say.
//!
//! A file that is opened to be run must be one that may be run, and here it must also
//! be one that may be read: there is no other way to open it. One that is to go with
//! its fid must be one that may be removed.

use super::place::Then;
use super::{Got, Opened, Script, Turn, Work, odd};
use crate::access::{Identity, NOBODY, Want, allowed};
use crate::fault::{Errno, Fault};
use crate::msg::{Rmsg, Tmsg, ty};
use crate::mux::{ClientId, Mux};
use crate::plain::{ORCLOSE, flags_of};
use crate::types::{OpenFlags, getattr};

/// A Topen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    fid: u32,
    flags: OpenFlags,
    /// Whether it is to be run.
    run: bool,
    remove: bool,
}

impl Mux {
    pub(super) fn topen(
        &mut self,
        id: ClientId,
        s: &mut Script,
        fid: u32,
        mode: u8,
    ) -> Result<Work, Fault> {
        let (flags, want) = flags_of(mode)?;
        let (_, file) = self.file(id, fid)?;
        let (dir, idle) = (file.qid.is_dir(), file.opened.is_none());
        let remove = mode & ORCLOSE != 0;
        if idle && dir && (remove || want != Want::READ) {
            return Err(Errno::EISDIR.into());
        }
        if !idle {
            return Err(Fault::new(Errno::EBADF, "this fid is open already"));
        }
        let open = Open { fid, flags, run: want.0 & Want::SEARCH.0 != 0, remove };
        match remove {
            true => self.search(id, s, fid, Then::Open(open)),
            false => self.mode(id, s, open),
        }
    }

    /// The file may be removed.
    pub(super) fn placed(&mut self, id: ClientId, s: &mut Script, open: Open) -> Turn {
        self.mode(id, s, open).map(Some)
    }

    /// Asks whether the file may be run, if it is to be.
    fn mode(&mut self, id: ClientId, s: &mut Script, open: Open) -> Result<Work, Fault> {
        let at = self.file(id, open.fid)?.0;
        match open.run {
            true => self.put(id, s, &Tmsg::Getattr { fid: at, mask: getattr::BASIC })?,
            false => self.put(id, s, &Tmsg::Lopen { fid: at, flags: open.flags })?,
        }
        Ok(Work::Open(open))
    }

    pub(super) fn opened(
        &mut self,
        id: ClientId,
        s: &mut Script,
        open: Open,
        got: Got<'_>,
    ) -> Turn {
        match got? {
            Rmsg::Getattr { stat } => {
                allowed(&stat, Identity::Owner.user(NOBODY), Want::SEARCH)?;
                self.mode(id, s, Open { run: false, ..open }).map(Some)
            }
            Rmsg::Lopen { qid, iounit } => {
                let file = self.file(id, open.fid)?.1;
                // A clone file is another one now. Its path stays that of the old: of the
                // new nobody knows it.
                file.qid = qid;
                file.opened = Some(Opened { remove: open.remove, ..Opened::default() });
                self.reply_opened(id, s, ty::TOPEN, qid, iounit);
                Ok(None)
            }
            _ => Err(odd()),
        }
    }
}
