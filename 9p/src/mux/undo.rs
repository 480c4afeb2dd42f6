//! What is taken back at the server: the request that was flushed, the fid that was
//! not made, and all that a client has left who is gone.

use super::port::At;
use super::{Asked, ClientId, Effect, Mux};
use crate::msg::{Tmsg, ty};

impl Mux {
    /// A Tflush was answered and the request it named was not: it never will be.
    pub(super) fn flushed(&mut self, tag: u16) {
        let Some(old) = self.unask(tag) else { return };
        match old.effect {
            Effect::Bind { fid, at, .. } => self.unbind(old.client, fid, at),
            // Nobody can tell whether it was done: do it again.
            Effect::Free { at } => self.clunk(at),
            _ => {}
        }
        if let Some((id, tag)) = old.client
            && let Some(port) = self.ports.get_mut(&id)
        {
            port.answered(tag, old.ty);
        }
        old.fids().for_each(|at| self.fids.settle(at));
    }

    /// A fid was not made. Who clunked it meanwhile, or is gone, has a Tclunk
    /// underway for it, and that one frees it.
    pub(super) fn unbind(&mut self, client: Option<(ClientId, u16)>, fid: u32, at: u32) {
        if let Some((id, _)) = client
            && let Some(port) = self.ports.get_mut(&id)
            && port.fids.get(&fid) == Some(&at)
        {
            port.fids.remove(&fid);
            self.fids.free(at);
        }
    }

    /// Undoes at the server what a client holds there.
    pub(super) fn undo(&mut self, id: ClientId) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        let fids = core::mem::take(&mut port.fids);
        let tags = core::mem::take(&mut port.tags);
        port.held.clear();
        (port.held_bytes, port.sent, port.waiting) = (0, 0, 0);
        self.thirsty.remove(&id);
        for at in tags.into_values() {
            let At::Server(up) = at else { continue };
            let Some(asked) = self.asked.get_mut(usize::from(up)).and_then(Option::as_mut) else {
                continue;
            };
            asked.client = None;
            if matches!(asked.effect, Effect::Flush { .. } | Effect::Free { .. }) {
                continue;
            }
            let effect = Effect::Flush { tag: up };
            let flush = Asked { client: None, ty: ty::TFLUSH, on: None, also: None, effect };
            if let Ok(flush) = self.ask(flush) {
                Tmsg::Flush { oldtag: up }.encode(flush, &mut self.tx.bytes);
            }
        }
        fids.into_values().for_each(|at| self.clunk(at));
    }

    pub(super) fn clunk(&mut self, at: u32) {
        let effect = Effect::Free { at };
        let asked = Asked { client: None, ty: ty::TCLUNK, on: Some(at), also: None, effect };
        match self.ask(asked) {
            Ok(up) => Tmsg::Clunk { fid: at }.encode(up, &mut self.tx.bytes),
            Err(_) => self.owed.push(at),
        }
    }
}
