//! Tattach and Twalk, which remember by what names a fid was come to.

use alloc::string::String;

use super::{File, Got, Root, Script, Turn, Work, odd, place};
use crate::fault::{Errno, Fault};
use crate::msg::{Names, Rmsg, Tmsg, put_qid, ty};
use crate::mux::{ClientId, Mux};
use crate::types::Qid;
use crate::wire::{HEADER, NOFID};

/// A Tattach. The server's fid of the root is the joint's, and the client's a copy.
#[derive(Debug)]
pub(super) struct Attach {
    fid: u32,
    root: u32,
    /// The copy, and what it is of.
    copy: Option<(u32, Qid)>,
}

#[derive(Debug)]
pub(super) struct Walk {
    fid: u32,
    newfid: u32,
    /// The server's fid for `newfid`.
    to: u32,
    names: u16,
    /// Where it leads.
    path: String,
}

impl Mux {
    /// Whether a client may have a new fid of this number.
    fn vacant(&self, id: ClientId, fid: u32) -> Result<(), Fault> {
        let fids = &self.ports.get(&id).ok_or(Errno::EBADF)?.fids;
        if fids.contains_key(&fid) {
            Err(Fault::new(Errno::EBADF, "this fid is in use"))
        } else if fid == NOFID {
            Err(Errno::EBADF.into())
        } else if fids.len() >= self.share.fids {
            Err(Errno::EMFILE.into())
        } else {
            Ok(())
        }
    }

    pub(super) fn attach(
        &mut self,
        id: ClientId,
        s: &mut Script,
        (fid, afid): (u32, u32),
        uname: &str,
        aname: &str,
    ) -> Result<Work, Fault> {
        self.vacant(id, fid)?;
        if afid != NOFID {
            return Err(Fault::new(Errno::EBADF, "there is no authentication here"));
        }
        // The message is longer there than here.
        if HEADER + 4 + 4 + 2 + uname.len() + 2 + aname.len() + 4 > self.msize as usize {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let root = self.temp(s);
        self.put(id, s, &Tmsg::Attach { fid: root, afid, uname, aname, n_uname: NOFID })?;
        Ok(Work::Attach(Attach { fid, root, copy: None }))
    }

    pub(super) fn attached(
        &mut self,
        id: ClientId,
        s: &mut Script,
        attach: Attach,
        got: Got<'_>,
    ) -> Turn {
        let Attach { fid, root, copy } = attach;
        match (got?, copy) {
            (Rmsg::Attach { qid }, None) => {
                let at = self.temp(s);
                self.put(id, s, &Tmsg::Walk { fid: root, newfid: at, names: Names::default() })?;
                Ok(Some(Work::Attach(Attach { copy: Some((at, qid)), ..attach })))
            }
            (Rmsg::Walk { count: 0, .. }, Some((at, qid))) => {
                s.keep(root);
                s.keep(at);
                if let Some(plain) = self.plain(id) {
                    plain.roots.insert(root, Root { path: qid.path, users: 0 });
                }
                self.bind(id, fid, at, File { root, path: String::new(), qid, opened: None });
                self.reply(id, s, ty::TATTACH, |w| put_qid(w, qid));
                Ok(None)
            }
            _ => Err(odd()),
        }
    }

    pub(super) fn walk(
        &mut self,
        id: ClientId,
        s: &mut Script,
        fid: u32,
        newfid: u32,
        names: Names<'_>,
    ) -> Result<Work, Fault> {
        let (at, file) = self.file(id, fid)?;
        if newfid == fid && file.opened.is_some() {
            return Err(Fault::new(Errno::EBUSY, "an open fid cannot be walked"));
        }
        let path = place::join(&file.path, names.iter());
        if newfid != fid {
            self.vacant(id, newfid)?;
        }
        let path = path?;
        let to = if newfid == fid { at } else { self.temp(s) };
        self.put(id, s, &Tmsg::Walk { fid: at, newfid: to, names })?;
        Ok(Work::Walk(Walk { fid, newfid, to, names: names.len() as u16, path }))
    }

    pub(super) fn walked(
        &mut self,
        id: ClientId,
        s: &mut Script,
        walk: Walk,
        got: Got<'_>,
        frame: &[u8],
    ) -> Turn {
        let Rmsg::Walk { count, last } = got? else { return Err(odd()) };
        if count == walk.names {
            let file = self.file(id, walk.fid)?.1;
            let qid = last.unwrap_or(file.qid);
            if walk.newfid == walk.fid {
                (file.path, file.qid) = (walk.path, qid);
            } else {
                let file = File { root: file.root, path: walk.path, qid, opened: None };
                s.keep(walk.to);
                self.bind(id, walk.newfid, walk.to, file);
            }
        }
        // How far it came, and by which files, is told as it was.
        self.reply(id, s, ty::TWALK, |w| w.raw(frame.get(HEADER..).unwrap_or_default()));
        Ok(None)
    }
}
