//! What is taken back at the server: the request that was flushed, the fid that was
//! not made, and all that a client has left who is gone.

use super::held::Held;
use super::port::At;
use super::rest::Rest;
use super::{Asked, ClientId, Effect, Mux};
use crate::msg::Tmsg;

impl Mux {
    /// A Tflush was answered and the request it named was not: it never will be.
    pub(super) fn flushed(&mut self, tag: u16) {
        let Some(old) = self.unask(tag) else { return };
        match old.effect {
            Effect::Bind { fid, at, .. } => self.unbind(old.client, fid, at),
            // Nobody can tell whether it was done: do it again, or leave what there may be.
            Effect::Free { at } | Effect::Made { at } => self.clunk(at),
            _ => {}
        }
        if let Some((id, tag)) = old.client
            && let Some(port) = self.ports.get_mut(&id)
        {
            port.answered(tag, old.ty);
            if let Effect::Read { rest: Some(Rest { continues: true, .. }), .. } = old.effect {
                port.has_read_nothing(tag);
                port.held.forget(tag);
            } else if port.held.must_wait(tag) {
                port.tags.insert(tag, At::Here);
            }
        }
        old.fids().for_each(|at| self.fids.settle(at));
    }

    /// A fid was not made. Who clunked it meanwhile, or is gone, has a Tclunk
    /// underway for it, and that one frees it.
    pub(super) fn unbind(&mut self, client: Option<(ClientId, u16)>, fid: u32, at: u32) {
        if let Some((id, _)) = client
            && let Some(port) = self.ports.get_mut(&id)
        {
            let unbound = match &mut port.plain {
                Some(plain) => plain.unbind(at),
                None if port.fids.get(&fid) == Some(&at) => port.fids.remove(&fid).is_some(),
                None => false,
            };
            if unbound {
                self.fids.free(at);
            }
        }
    }

    /// Undoes at the server what a client holds there.
    pub(super) fn undo(&mut self, id: ClientId) {
        let making = self.making(id);
        let Some(port) = self.ports.get_mut(&id) else { return };
        let mut fids = core::mem::take(&mut port.fids);
        let tags = core::mem::take(&mut port.tags);
        let plain = port.plain.take();
        port.held = Held::default();
        port.ends.clear();
        (port.sent, port.waiting) = (0, 0);
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
            if let Some((fid, tag)) = making
                && tag == up
                && let Some(at) = fids.remove(&fid)
            {
                asked.effect = Effect::Made { at };
            }
            self.hurry(up);
        }
        for (fid, at) in fids {
            self.give_up(at, plain.as_ref().is_some_and(|p| p.is_removed_on_close(fid)));
        }
        plain.into_iter().flat_map(|p| p.temps()).for_each(|at| self.clunk(at));
    }

    pub(super) fn clunk(&mut self, at: u32) {
        self.give_up(at, false);
    }

    /// Ends a fid, and its file with it or not.
    pub(super) fn give_up(&mut self, at: u32, remove: bool) {
        let (effect, fid) = (Effect::Free { at }, at);
        let m = if remove { Tmsg::Remove { fid } } else { Tmsg::Clunk { fid } };
        let asked = Asked { client: None, ty: m.ty(), on: Some(at), also: None, effect };
        match self.ask(asked) {
            Ok(up) => m.encode(up, &mut self.tx.bytes),
            Err(_) => self.owed.push((at, remove)),
        }
    }
}
