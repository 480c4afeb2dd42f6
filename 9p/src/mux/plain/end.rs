//! Tclunk and Tremove, which end a fid whatever becomes of its file.

use super::{Got, Script, Turn, Work};
use crate::fault::{Errno, Fault};
use crate::msg::{Tmsg, ty};
use crate::mux::{ClientId, Mux};

/// A Tclunk or Tremove.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// The type of the client's request.
    ty: u8,
    /// Whether the client is told why the file stays.
    tells: bool,
}

impl Mux {
    pub(super) fn end(
        &mut self,
        id: ClientId,
        s: &mut Script,
        fid: u32,
        t: u8,
    ) -> Result<Work, Fault> {
        let port = self.ports.get_mut(&id).ok_or(Errno::EBADF)?;
        let at = port.fids.remove(&fid).ok_or(Errno::EBADF)?;
        port.ends.remove(&fid);
        let plain = port.plain.as_mut().ok_or(Errno::EBADF)?;
        let file = plain.files.remove(&fid).ok_or(Errno::EBADF)?;
        if let Some(root) = plain.roots.get_mut(&file.root) {
            root.users -= 1;
            if root.users == 0 {
                plain.roots.remove(&file.root);
                s.temps.push(file.root);
            }
        }
        let goes = file.opened.is_some_and(|o| o.remove);
        let m = match t == ty::TREMOVE || goes {
            true => Tmsg::Remove { fid: at },
            false => Tmsg::Clunk { fid: at },
        };
        // It is gone for the client, and must go for the server.
        self.put(id, s, &m).inspect_err(|_| s.temps.push(at))?;
        // Who clunks is told of no error about the file: the fid is gone either way.
        Ok(Work::End(End { ty: t, tells: t == ty::TREMOVE || !goes }))
    }

    pub(super) fn ended(&mut self, id: ClientId, s: &mut Script, end: End, got: Got<'_>) -> Turn {
        if end.tells {
            got?;
        }
        self.reply(id, s, end.ty, |_| {});
        Ok(None)
    }
}
