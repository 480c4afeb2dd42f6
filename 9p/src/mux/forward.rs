//! From a client to the server: what a request becomes on its way.

use alloc::boxed::Box;

use super::port::At;
use super::rest::Rest;
use super::{Asked, ClientId, Effect, Mux};
use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::fids::{self, Change};
use crate::msg::{self, Tmsg, ty};
use crate::types::seq;
use crate::wire::{Front, MIN_MSIZE, NOFID, READ_OVERHEAD, Writer, front, patch};

/// The largest first message, before a size is agreed on.
const FIRST_MSIZE: u32 = 8192;
/// Where count and the upper half of the offset stand in Tread and Treaddir.
const COUNT: usize = 19;
const OFFSET_HIGH: usize = 15;

impl Mux {
    /// Handles the requests at the front of some bytes of a client's, as long as
    /// they are wanted; says how many bytes they were.
    pub(super) fn serve(&mut self, id: ClientId, bytes: &[u8]) -> usize {
        let mut used = 0;
        while self.wants(id) {
            let Some(port) = self.ports.get_mut(&id) else { break };
            let rest = bytes.get(used..).unwrap_or_default();
            let max = if port.msize == 0 { self.msize.min(FIRST_MSIZE) } else { port.msize };
            match front(rest, max) {
                Front::Frame(n) if n <= rest.len() => {
                    self.request(id, rest.get(..n).unwrap_or_default());
                    used += n;
                }
                Front::Bad(n) => {
                    let text = alloc::format!("a message of {n} bytes, but 7 to {max} are allowed");
                    port.refuse(msg::tag(rest), &Fault::new(Errno::EMSGSIZE, text));
                    port.dead = true;
                }
                _ => break,
            }
        }
        used
    }

    fn request(&mut self, id: ClientId, frame: &[u8]) {
        let tag = msg::tag(frame);
        let may_send = self.may_send(id);
        let Some(port) = self.ports.get_mut(&id) else { return };
        let greeted = port.msize != 0;
        let done = match Tmsg::decode_in(port.dialect, frame) {
            Ok(Tmsg::Version { msize, version }) => self.version(id, tag, msize, version),
            Ok(_) if !greeted => {
                Err(Fault::new(Errno::EPROTO, "the first message must be Tversion"))
            }
            Ok(_) if port.tags.contains_key(&tag) => {
                Err(Fault::new(Errno::EINVAL, "this tag has a request outstanding"))
            }
            Ok(Tmsg::Flush { oldtag }) => self.flush(id, tag, oldtag),
            Ok(m) if port.held.is_empty() && may_send => self.forward(id, tag, m, frame),
            Ok(_) => {
                port.hold(tag, frame);
                self.thirsty.insert(id);
                self.unhold(id);
                Ok(())
            }
            Err(bad) => Err(bad.into()),
        };
        if let (Err(fault), Some(port)) = (done, self.ports.get_mut(&id)) {
            port.refuse(tag, &fault);
        }
    }

    /// Whether a client may have one more request at the server. Any of them may wait
    /// there for long, so a client has at most as many as are still left for all: there
    /// is always something left for one that has fewer.
    pub(super) fn may_send(&self, id: ClientId) -> bool {
        self.ports.get(&id).is_some_and(|p| p.waiting < self.most() && !p.is_busy())
    }

    /// As many requests a client may have at the server.
    pub(super) fn most(&self) -> usize {
        let left = self.share.waiting.saturating_sub(self.waiting).max(1);
        self.share.requests.max(1).min(left)
    }

    fn version(&mut self, id: ClientId, tag: u16, msize: u32, v: &str) -> Result<(), Fault> {
        if msize < MIN_MSIZE {
            let text = alloc::format!("msize {msize} is too small: at least {MIN_MSIZE}");
            return Err(Fault::new(Errno::EMSGSIZE, text));
        }
        self.undo(id);
        let msize = msize.min(self.msize);
        // Nobody is promised what the server does not do.
        let server = self.dialect.unwrap_or(Dialect::L);
        let Some(port) = self.ports.get_mut(&id) else { return Ok(()) };
        let chosen = Dialect::choose(v).map(|d| match d {
            Dialect::Atoll => server,
            d => d,
        });
        port.msize = chosen.map_or(0, |_| msize);
        port.dialect = chosen.unwrap_or(Dialect::L);
        port.numbers = Dialect::has_numbers(v);
        port.plain = (chosen == Some(Dialect::Plain)).then(Box::default);
        let mut w = Writer::new(&mut port.tx.bytes, ty::TVERSION + 1, tag);
        w.u32(msize);
        w.str(chosen.map_or("unknown", Dialect::name));
        w.finish();
        Ok(())
    }

    fn flush(&mut self, id: ClientId, tag: u16, oldtag: u16) -> Result<(), Fault> {
        let Some(port) = self.ports.get_mut(&id) else { return Ok(()) };
        if let Some(plain) = &mut port.plain
            && plain.flush(tag, oldtag)
        {
            port.sent += 1;
            return Ok(());
        }
        let old = match port.tags.get(&oldtag) {
            Some(At::Server(old)) => {
                let old = *old;
                port.held.forget(oldtag);
                old
            }
            here => {
                if here.is_some() {
                    port.held.forget(oldtag);
                    port.tags.remove(&oldtag);
                }
                Writer::new(&mut port.tx.bytes, ty::TFLUSH + 1, tag).finish();
                return Ok(());
            }
        };
        let up = self.ask(Asked {
            client: Some((id, tag)),
            ty: ty::TFLUSH,
            on: None,
            also: None,
            effect: Effect::Flush { tag: old },
        })?;
        Tmsg::Flush { oldtag: old }.encode(up, &mut self.tx.bytes);
        Ok(())
    }

    pub(super) fn forward(
        &mut self,
        id: ClientId,
        tag: u16,
        m: Tmsg<'_>,
        frame: &[u8],
    ) -> Result<(), Fault> {
        let server = self.dialect;
        let Some(port) = self.ports.get_mut(&id) else { return Ok(()) };
        if port.plain.as_ref().is_some_and(|p| !p.passes(&m)) {
            return self.begin(id, tag, m);
        }
        let about = fids::of(&m);
        match m {
            Tmsg::Auth { .. } => return Err(no_auth()),
            Tmsg::Attach { afid, .. } if afid != NOFID => {
                return Err(Fault::new(Errno::EBADF, "there is no authentication here"));
            }
            _ => {}
        }
        let known = |at: Option<fids::At>| match at {
            Some(at) => match port.fids.get(&at.fid) {
                Some(up) => Ok(Some((at.at, *up))),
                None => Err(Fault::from(Errno::EBADF)),
            },
            None => Ok(None),
        };
        let (on, also) = (known(about.on)?, known(about.also)?);
        if let Some(new) = about.new {
            if port.fids.contains_key(&new.fid) || new.fid == NOFID {
                return Err(Fault::new(Errno::EBADF, "this fid is in use"));
            }
            if port.fids.len() >= self.share.fids {
                return Err(Errno::EMFILE.into());
            }
        }
        // The frame goes on as it is, but for its tag, its fids, its count, and an
        // offset that would mean something else to the server.
        let (mut count_at, mut plain_offset, mut hurry) = (None, None, false);
        let new = about.new.map(|new| (new.at, new.fid, self.fids.take()));
        let effect = match (m, new) {
            (Tmsg::Walk { names, .. }, Some((_, fid, at))) => {
                Effect::Bind { fid, at, names: Some(names.len() as u16) }
            }
            (_, Some((_, fid, at))) => Effect::Bind { fid, at, names: None },
            (Tmsg::Read { fid, offset, count }, _) => {
                let marked = offset & seq::READ != 0;
                let sequenced = marked && port.dialect == Dialect::Atoll;
                if marked && !sequenced {
                    plain_offset = Some((OFFSET_HIGH, (offset & !seq::READ) >> 32));
                }
                let room = port.msize - READ_OVERHEAD - if sequenced { 8 } else { 0 };
                let count = count.min(room);
                count_at = Some(count);
                let at =
                    on.filter(|_| server == Some(Dialect::Atoll) && server != Some(port.dialect));
                let rest = at.map(|(_, at)| {
                    let continues = port.continues(fid, at, offset, count);
                    Rest { fid, offset, continues }
                });
                hurry = rest.is_some_and(|r| r.continues);
                Effect::Read { count, sequenced, rest }
            }
            (Tmsg::Readdir { count, .. }, _) => {
                let count = count.min(port.msize - READ_OVERHEAD);
                count_at = Some(count);
                Effect::Read { count, sequenced: false, rest: None }
            }
            _ => match (about.change, on) {
                (Change::End, Some((_, at))) => Effect::Free { at },
                _ => Effect::None,
            },
        };
        let asked = Asked {
            client: Some((id, tag)),
            ty: m.ty(),
            on: on.map(|o| o.1),
            also: also.map(|a| a.1),
            effect,
        };
        let up = match self.ask(asked) {
            Ok(up) => up,
            Err(fault) => {
                if let Some((_, _, at)) = new {
                    self.fids.free(at);
                }
                return Err(fault);
            }
        };
        if let Some(port) = self.ports.get_mut(&id) {
            if let (Change::End, Some(on)) = (about.change, about.on) {
                port.fids.remove(&on.fid);
                port.ends.remove(&on.fid);
            }
            if let Some((_, fid, at)) = new {
                port.fids.insert(fid, at);
            }
        }
        let start = self.tx.bytes.len();
        self.tx.bytes.extend_from_slice(frame);
        if let Some(copy) = self.tx.bytes.get_mut(start..) {
            super::retag(copy, up);
            let new = new.map(|(at, _, fid)| (at, fid));
            let count = count_at.map(|n| (COUNT, n));
            let offset = plain_offset.map(|(at, high)| (at, high as u32));
            for (at, v) in [on, also, new, count, offset].into_iter().flatten() {
                patch(copy, at, v);
            }
        }
        if hurry {
            self.hurry(up);
        }
        Ok(())
    }
}

/// There is nothing to authenticate to.
pub(super) fn no_auth() -> Fault {
    Fault::new(Errno::ENOENT, "no authentication is needed here")
}
