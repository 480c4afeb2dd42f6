//! Tcreate: Tlcreate, or a directory that is made, walked to and opened.

use alloc::string::String;

use super::{Got, Opened, Script, Turn, Work, odd, place};
use crate::fault::{Errno, Fault};
use crate::msg::{Rmsg, Tmsg, ty};
use crate::mux::port::At;
use crate::mux::{ClientId, Mux};
use crate::plain::{Made, ORCLOSE, flags_of};
use crate::server::name_is_free;
use crate::types::{OpenFlags, Qid, getattr};

/// A Tcreate.
#[derive(Debug)]
pub(super) struct Create {
    fid: u32,
    /// Of what is made.
    path: String,
    perm: u32,
    mode: u8,
    /// The directory that was made, by this fid.
    made: Option<u32>,
}

impl Create {
    fn name(&self) -> &str {
        place::split(&self.path).1
    }

    fn flags(&self) -> Result<OpenFlags, Fault> {
        Ok(flags_of(self.mode)?.0.without(OpenFlags::TRUNC))
    }
}

impl Mux {
    pub(super) fn tcreate(
        &mut self,
        id: ClientId,
        s: &mut Script,
        fid: u32,
        name: &str,
        (perm, mode): (u32, u8),
    ) -> Result<Work, Fault> {
        flags_of(mode)?;
        let (at, file) = self.file(id, fid)?;
        if file.opened.is_some() {
            return Err(Fault::new(Errno::EBADF, "this fid is open already"));
        }
        name_is_free(name)?;
        if !file.qid.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        let path = place::join(&file.path, [name].into_iter())?;
        self.put(id, s, &Tmsg::Getattr { fid: at, mask: getattr::BASIC })?;
        Ok(Work::Create(Create { fid, path, perm, mode, made: None }))
    }

    pub(super) fn created(
        &mut self,
        id: ClientId,
        s: &mut Script,
        create: Create,
        got: Got<'_>,
    ) -> Turn {
        let (at, _) = self.file(id, create.fid)?;
        let (name, flags) = (create.name(), create.flags()?);
        match (got?, create.made) {
            (Rmsg::Getattr { stat }, _) => {
                let want = flags_of(create.mode)?.1;
                let Made { dir, mode } = Made::of(create.perm, create.mode, want, stat.mode)?;
                let gid = stat.gid;
                if dir {
                    self.put(id, s, &Tmsg::Mkdir { dfid: at, name, mode, gid })?;
                } else {
                    let flags = OpenFlags(flags.0 | OpenFlags::CREATE | OpenFlags::EXCL);
                    self.put(id, s, &Tmsg::Lcreate { fid: at, name, flags, mode, gid })?;
                }
                Ok(Some(Work::Create(create)))
            }
            (Rmsg::Mkdir { .. }, _) => {
                let made = self.temp(s);
                self.put_walk(id, s, at, made, name)?;
                Ok(Some(Work::Create(Create { made: Some(made), ..create })))
            }
            (Rmsg::Walk { count: 1, .. }, Some(made)) => {
                self.put(id, s, &Tmsg::Lopen { fid: made, flags })?;
                Ok(Some(Work::Create(create)))
            }
            (Rmsg::Lopen { qid, iounit }, Some(made)) => {
                // The client's fid is the new directory, and what it was goes.
                s.keep(made);
                s.temps.push(at);
                if let Some(port) = self.ports.get_mut(&id) {
                    port.fids.insert(create.fid, made);
                }
                self.made(id, s, create, qid, iounit)
            }
            (Rmsg::Lcreate { qid, iounit }, None) => self.made(id, s, create, qid, iounit),
            _ => Err(odd()),
        }
    }

    fn made(
        &mut self,
        id: ClientId,
        s: &mut Script,
        create: Create,
        qid: Qid,
        iounit: u32,
    ) -> Turn {
        let file = self.file(id, create.fid)?.1;
        (file.path, file.qid) = (create.path, qid);
        let remove = create.mode & ORCLOSE != 0;
        file.opened = Some(Opened { remove, ..Opened::default() });
        self.reply_opened(id, s, ty::TCREATE, qid, iounit);
        Ok(None)
    }

    /// The file that a client is making and that is to go with it: its fid, and the
    /// server's tag of the request.
    pub(in crate::mux) fn making(&self, id: ClientId) -> Option<(u32, u16)> {
        let port = self.ports.get(&id)?;
        let s = port.plain.as_ref()?.script.as_ref()?;
        let Work::Create(create) = &s.work else { return None };
        let Some(At::Server(up)) = port.tags.get(&s.tag) else { return None };
        let asked = self.asked.get(usize::from(*up))?.as_ref()?;
        let made = create.mode & ORCLOSE != 0 && asked.ty == ty::TLCREATE;
        made.then_some((create.fid, *up))
    }
}
