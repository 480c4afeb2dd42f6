//! From another server to the client: what an answer is checked for, and what it changes.

use alloc::string::String;

use super::request::is_error;
use super::up::{Attached, Own, Up};
use super::{Asked, Effect, Place, Switch, UpId, Used, Wish};
use crate::client::Broken;
use crate::dialect::Dialect;
use crate::fault::{Blame, Errno, Fault};
use crate::msg::{self, Rmsg, Tmsg, ty};
use crate::tree::Tree;
use crate::types::Qid;
use crate::wire::{Front, MIN_MSIZE, NOFID, NOTAG, front};

impl<T: Tree> Switch<T> {
    /// Takes bytes from a server. One that breaks the protocol is gone.
    pub fn from_upstream(&mut self, tree: &mut T, id: UpId, bytes: &[u8]) {
        let Some(up) = self.ups.get_mut(&id) else { return };
        let done = if up.rx.rest().is_empty() {
            self.answers(tree, id, bytes).map(|used| {
                if let Some(up) = self.ups.get_mut(&id) {
                    up.rx.extend(bytes.get(used..).unwrap_or_default());
                }
            })
        } else {
            up.rx.extend(bytes);
            let mut rx = core::mem::take(&mut up.rx);
            let done = self.answers(tree, id, rx.rest()).map(|used| rx.consume(used));
            if let Some(up) = self.ups.get_mut(&id) {
                up.rx = rx;
                up.rx.trim();
            }
            done
        };
        if let Err(broken) = done {
            let text = alloc::format!("the server below is of no use: {broken}");
            self.wishes.push_back(Wish::Close(id));
            self.lost(tree, id, &Fault::new(Errno::EIO, text).blame(Blame::Guest));
        }
        self.pump(tree);
        self.trim();
    }

    /// Takes the answers at the front of some bytes; says how many bytes they were.
    fn answers(&mut self, tree: &mut T, id: UpId, bytes: &[u8]) -> Result<usize, Broken> {
        let mut used = 0;
        loop {
            // An answer may have ended the client's business with it.
            let Some(up) = self.ups.get(&id) else { return Ok(bytes.len()) };
            let max = if up.msize == 0 { self.msize } else { up.msize };
            let rest = bytes.get(used..).unwrap_or_default();
            match front(rest, max) {
                Front::Frame(n) if n <= rest.len() => {
                    self.answer(tree, id, rest.get(..n).unwrap_or_default())?;
                    used += n;
                }
                Front::Bad(n) => return Err(Broken::Size(n)),
                _ => return Ok(used),
            }
        }
    }

    fn answer(&mut self, tree: &mut T, id: UpId, frame: &[u8]) -> Result<(), Broken> {
        let tag = msg::tag(frame);
        let answer = Rmsg::decode(frame).map_err(Broken::Frame)?;
        let Some(up) = self.ups.get_mut(&id) else { return Ok(()) };
        if up.msize == 0 {
            return self.greeted(tree, id, tag, &answer);
        }
        if is_error(frame) && (up.dialect == Dialect::Plain) != (frame.get(4) == Some(&ty::RERROR))
        {
            return Err(Broken::Unasked);
        }
        if matches!(answer, Rmsg::Lerror { text: Some(_), .. }) && up.dialect != Dialect::Atoll {
            return Err(Broken::Unasked);
        }
        if let Some(own) = up.own.remove(&tag) {
            return self.own(tree, id, own, &answer);
        }
        let asked = self.asked.get(&tag).filter(|a| a.up == id).copied().ok_or(Broken::Unasked)?;
        if !is_error(frame) && frame.get(4) != Some(&(asked.ty + 1)) {
            return Err(Broken::Unasked);
        }
        check(&asked, &answer)?;
        self.asked.remove(&tag);
        if let Effect::Step { .. } = asked.effect {
            self.stepped(tree, tag, frame);
            return Ok(());
        }
        let moved =
            matches!(asked.effect, Effect::Move { .. } | Effect::Make { .. } | Effect::Open { .. });
        self.change(tree, &asked, &answer);
        self.hand_on(id, &asked, frame);
        if moved && !self.held.is_empty() {
            self.unhold(tree);
        }
        Ok(())
    }

    /// Gives an answer to the client, whose qids are as it is to see them.
    fn hand_on(&mut self, id: UpId, asked: &Asked, frame: &[u8]) {
        let start = self.tx.bytes.len();
        self.tx.bytes.extend_from_slice(frame);
        if let Some(up) = self.ups.get(&id)
            && let Some(copy) = self.tx.bytes.get_mut(start..)
            && !is_error(copy)
        {
            let dir = matches!(asked.effect, Effect::Read { dir: true, .. });
            up.paths().apply(asked.ty, dir, copy);
        }
    }

    /// What an answer changes.
    fn change(&mut self, tree: &mut T, asked: &Asked, answer: &Rmsg<'_>) {
        let failed = matches!(answer, Rmsg::Lerror { .. } | Rmsg::Error { .. });
        match asked.effect {
            Effect::Make { fid, born, names } => match answer {
                Rmsg::Walk { count, last } if *count == names => {
                    self.moved(fid, born);
                    self.is_now(fid, born, *last);
                }
                Rmsg::Xattrwalk { .. } => {}
                _ => self.unbind_if(fid, born),
            },
            Effect::Move { fid, born, names } => {
                self.moved(fid, born);
                if let Rmsg::Walk { count, last } = answer
                    && *count == names
                {
                    self.is_now(fid, born, *last);
                }
            }
            Effect::Open { fid, born } => {
                self.moved(fid, born);
                match answer {
                    Rmsg::Lopen { qid, .. }
                    | Rmsg::Lcreate { qid, .. }
                    | Rmsg::Open { qid, .. }
                    | Rmsg::Create { qid, .. } => {
                        self.is_now(fid, born, Some(*qid));
                        if let Some(f) = self.fids.get_mut(&fid).filter(|f| f.born == born) {
                            f.used = Used::Open;
                        }
                    }
                    _ => {}
                }
            }
            Effect::Flush { tag } if !failed => self.flushed(tree, tag),
            _ => {}
        }
    }

    /// A fid is that of another file from now on.
    fn is_now(&mut self, fid: u32, born: u64, qid: Option<Qid>) {
        if let Some(qid) = qid
            && let Some(f) = self.fids.get_mut(&fid).filter(|f| f.born == born)
            && let Place::Up { ty, path, .. } = &mut f.place
        {
            (*ty, *path) = (qid.ty, qid.path);
        }
    }

    /// A request is underway that may make a fid another file, or an open one.
    pub(super) fn moves(&mut self, fid: u32) {
        if let Some(f) = self.fids.get_mut(&fid)
            && let Place::Up { moving, .. } = &mut f.place
        {
            *moving = moving.saturating_add(1);
        }
    }

    /// Such a request is over.
    pub(super) fn moved(&mut self, fid: u32, born: u64) {
        if let Some(f) = self.fids.get_mut(&fid).filter(|f| f.born == born)
            && let Place::Up { moving, .. } = &mut f.place
        {
            *moving = moving.saturating_sub(1);
        }
    }

    fn greeted(
        &mut self,
        tree: &mut T,
        id: UpId,
        tag: u16,
        answer: &Rmsg<'_>,
    ) -> Result<(), Broken> {
        let most = self.msize;
        match answer {
            Rmsg::Version { msize, version }
                if tag == NOTAG && (MIN_MSIZE..=most).contains(msize) =>
            {
                let dialect = Dialect::choose(version).ok_or(Broken::Version)?;
                // One that speaks less than our own dialect does for a client that speaks that.
                if dialect.is_linux() != self.dialect.is_linux()
                    || (dialect == Dialect::Atoll && self.dialect != Dialect::Atoll)
                {
                    return Err(Broken::Version);
                }
                if let Some(up) = self.ups.get_mut(&id) {
                    (up.msize, up.dialect) = (*msize, dialect);
                }
            }
            _ => return Err(Broken::Version),
        }
        self.attach_all(tree, id);
        Ok(())
    }

    /// Attaches the users who wait for it at a server that has greeted.
    pub(super) fn attach_all(&mut self, tree: &mut T, id: UpId) {
        let mut stuck = false;
        if let Some(up) = self.ups.get_mut(&id).filter(|up| up.msize != 0) {
            let new: alloc::vec::Vec<_> =
                up.roots.iter().filter(|r| r.state == Attached::NotYet).copied().collect();
            let aname = up.aname.clone();
            for root in new {
                let Some(user) = self.users.get(usize::from(root.who)) else { continue };
                let m = Tmsg::Attach {
                    fid: root.fid,
                    afid: NOFID,
                    uname: &user.uname,
                    aname: &aname,
                    n_uname: user.n_uname,
                };
                stuck |= !up.ask(&m, Own::Attach { who: root.who });
                if let Some(root) = up.roots.iter_mut().find(|r| r.who == root.who) {
                    root.state = Attached::Asked;
                }
            }
            self.last = Some(id);
        }
        if stuck {
            self.stuck(tree, id);
        }
    }

    /// A server has not answered what the switch itself asked, for too long.
    pub(super) fn stuck(&mut self, tree: &mut T, id: UpId) {
        self.wishes.push_back(Wish::Close(id));
        self.lost(tree, id, &Fault::new(Errno::EIO, "the server below does not answer"));
    }

    fn own(&mut self, tree: &mut T, id: UpId, own: Own, answer: &Rmsg<'_>) -> Result<(), Broken> {
        let Some(up) = self.ups.get_mut(&id) else { return Ok(()) };
        match (own, answer) {
            (Own::Attach { who }, Rmsg::Attach { qid }) => {
                if let Some(root) = up.roots.iter_mut().find(|r| r.who == who) {
                    root.state = Attached::Done(*qid);
                }
                self.entered(tree, id, who, None);
                Ok(())
            }
            (Own::Attach { who }, Rmsg::Lerror { .. } | Rmsg::Error { .. }) => {
                let fault = match answer {
                    Rmsg::Lerror { errno, text: Some(text) } => {
                        Fault::new(Errno(*errno), String::from(*text))
                    }
                    Rmsg::Lerror { errno, .. } => Errno(*errno).into(),
                    Rmsg::Error { text } => Fault::new(Errno::EIO, String::from(*text)),
                    _ => Errno::EIO.into(),
                };
                let root = up.roots.iter().position(|r| r.who == who);
                if let Some(root) = root.map(|at| up.roots.remove(at)) {
                    up.numbers.give_back(root.fid);
                    self.drop_anchor(tree, root.anchor);
                }
                self.entered(tree, id, who, Some(fault));
                Ok(())
            }
            // Whatever it says: the fid is free.
            (Own::Clunk { fid }, Rmsg::Clunk | Rmsg::Lerror { .. } | Rmsg::Error { .. }) => {
                if super::OWN_FIDS.contains(&fid) {
                    up.numbers.give_back(fid);
                }
                Ok(())
            }
            _ => Err(Broken::Unasked),
        }
    }
}

/// Whether an answer says no more than was asked for.
fn check(asked: &Asked, answer: &Rmsg<'_>) -> Result<(), Broken> {
    match (asked.effect, answer) {
        (Effect::Read { count, .. }, Rmsg::Read { data, .. } | Rmsg::Readdir { data })
            if data.len() > count as usize =>
        {
            Err(Broken::TooMuch)
        }
        (Effect::Read { next: asked, .. }, Rmsg::Read { next, .. }) if next.is_some() != asked => {
            Err(Broken::Unasked)
        }
        (Effect::Write { count }, Rmsg::Write { count: written }) if *written > count => {
            Err(Broken::TooMuch)
        }
        (
            Effect::Make { names, .. } | Effect::Move { names, .. } | Effect::Step { names },
            Rmsg::Walk { count, .. },
        ) if *count > names => Err(Broken::TooMuch),
        _ => Ok(()),
    }
}

impl Up {
    /// Whether nothing of the client's is there or on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.users == 0 && self.roots.iter().all(|r| matches!(r.state, Attached::Done(_)))
    }
}
