//! Tstat: Tgetattr, and the name by which the client came.

use alloc::string::String;

use super::{Got, Script, Turn, Work, odd, place};
use crate::fault::Fault;
use crate::msg::{Rmsg, Tmsg, ty};
use crate::mux::{ClientId, Mux};
use crate::plain::put_stat9;
use crate::types::getattr;

impl Mux {
    pub(super) fn tstat(&mut self, id: ClientId, s: &mut Script, fid: u32) -> Result<Work, Fault> {
        let at = self.file(id, fid)?.0;
        self.put(id, s, &Tmsg::Getattr { fid: at, mask: getattr::BASIC })?;
        Ok(Work::Stat { fid })
    }

    pub(super) fn known(&mut self, id: ClientId, s: &mut Script, fid: u32, got: Got<'_>) -> Turn {
        let Rmsg::Getattr { stat } = got? else { return Err(odd()) };
        let mut file = self.file(id, fid)?.1.clone();
        file.qid = stat.qid;
        let name = match self.is_root(id, &file) {
            true => String::from("/"),
            false => String::from(place::split(&file.path).1),
        };
        self.reply(id, s, ty::TSTAT, |w| {
            let at = w.len();
            w.u16(0);
            put_stat9(w, &stat, &name);
            let size = w.len() - at - 2;
            w.patch_u16(at, size as u16);
        });
        Ok(None)
    }
}
