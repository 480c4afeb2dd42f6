//! Where a request goes.

use super::{Fid, OWN_FIDS, OWN_TAGS, Place, Switch, USERS, Used, User};
use crate::fault::{Errno, Fault};
use crate::fids::{self, Change, Fids};
use crate::msg::{self, Rmsg, Tmsg, ty};
use crate::tree::Tree;

/// Whether an answer is an error.
pub(super) fn is_error(frame: &[u8]) -> bool {
    matches!(frame.get(4), Some(&(ty::RLERROR | ty::RERROR)))
}

impl<T: Tree> Switch<T> {
    /// Handles one whole frame of the client's.
    pub(super) fn request(&mut self, tree: &mut T, frame: &[u8]) {
        let tag = msg::tag(frame);
        let done = match Tmsg::decode_in(self.dialect, frame) {
            Ok(Tmsg::Version { version, .. }) => {
                self.renew(tree, frame, version);
                Ok(())
            }
            // What is wrong with it is the same everywhere.
            Err(_) => {
                self.pass(tree, frame);
                Ok(())
            }
            Ok(_) if self.msize == 0 => {
                self.pass(tree, frame);
                Ok(())
            }
            Ok(_) if OWN_TAGS.contains(&tag) => {
                Err(Fault::new(Errno::EINVAL, "tags from 0xa700 to 0xa7ff are the server's own"))
            }
            Ok(_) if self.is_busy(tag) => {
                Err(Fault::new(Errno::EINVAL, "this tag has a request outstanding"))
            }
            Ok(Tmsg::Flush { oldtag }) => {
                self.flush(tree, tag, oldtag, frame);
                Ok(())
            }
            Ok(m) => self.route(tree, tag, m, frame),
        };
        if let Err(fault) = done {
            self.refuse(tag, &fault);
        }
    }

    /// Sends a request where its fids are, or holds it back.
    pub(super) fn route(
        &mut self,
        tree: &mut T,
        tag: u16,
        m: Tmsg<'_>,
        frame: &[u8],
    ) -> Result<(), Fault> {
        let about = fids::of(&m);
        if about.all().any(|at| OWN_FIDS.contains(&at.fid)) {
            return Err(Fault::new(
                Errno::EBADF,
                "fids from 0xa7010000 to 0xa701ffff are the server's own",
            ));
        }
        if self.must_wait(&m, &about) {
            self.held_bytes += frame.len();
            self.held.push_back((tag, frame.to_vec()));
            return Ok(());
        }
        if let Some(new) = about.new
            && self.fids.contains_key(&new.fid)
        {
            return Err(Fault::new(Errno::EBADF, "this fid is in use"));
        }
        match m {
            Tmsg::Attach { fid, uname, n_uname, .. } => {
                return self.attach(tree, fid, uname, n_uname, frame);
            }
            Tmsg::Walk { fid, newfid, names } => {
                return self.walk(tree, tag, (fid, newfid), names, frame);
            }
            _ => {}
        }
        let place =
            |at: Option<fids::At>| at.and_then(|at| self.fids.get(&at.fid)).map(|f| f.place);
        match (place(about.on), place(about.also)) {
            (Some(Place::Gone), _) => self.gone(tag, &m, &about),
            (_, Some(Place::Gone)) => Err(gone()),
            (Some(Place::Up { up, .. }), also) => {
                // One that nobody knows is the other server's to complain about.
                let same = match also {
                    None => about.also.is_none(),
                    Some(Place::Up { up: other, .. }) => up == other,
                    Some(_) => false,
                };
                if !same {
                    return Err(apart(also.is_some()));
                }
                self.forward(tag, up, m, &about, frame)
            }
            (Some(Place::Local), Some(Place::Up { .. })) => Err(apart(true)),
            (Some(Place::Local) | None, _) => {
                self.at_home(tree, &m, &about, frame);
                Ok(())
            }
        }
    }

    /// A request of the local tree.
    fn at_home(&mut self, tree: &mut T, m: &Tmsg<'_>, about: &Fids, frame: &[u8]) {
        match (*m, about.change) {
            (Tmsg::Xattrwalk { fid, newfid, .. }, _) => {
                let answer = self.ask(tree, frame);
                let born = self.is_born();
                if let Some(known) = self.fids.get(&fid).filter(|_| !is_error(&answer)) {
                    self.fids.insert(newfid, Fid { born, used: Used::Attributes, ..*known });
                }
                self.tx.bytes.extend_from_slice(&answer);
            }
            (_, Change::Turn) => {
                let answer = self.ask(tree, frame);
                if !is_error(&answer)
                    && let Some(fid) = about.on.and_then(|on| self.fids.get_mut(&on.fid))
                {
                    fid.used = Used::Open;
                }
                self.tx.bytes.extend_from_slice(&answer);
            }
            (_, Change::End) => {
                self.pass(tree, frame);
                if let Some(on) = about.on {
                    self.fids.remove(&on.fid);
                }
            }
            _ => self.pass(tree, frame),
        }
    }

    /// A request about a fid whose server is gone.
    fn gone(&mut self, tag: u16, m: &Tmsg<'_>, about: &Fids) -> Result<(), Fault> {
        if let (Change::End, Some(on)) = (about.change, about.on) {
            self.fids.remove(&on.fid);
        }
        if let Tmsg::Clunk { .. } = m {
            self.done(ty::TCLUNK, tag);
            return Ok(());
        }
        Err(gone())
    }

    fn renew(&mut self, tree: &mut T, frame: &[u8], version: &str) {
        let answer = self.ask(tree, frame);
        if let Ok(Rmsg::Version { msize, .. }) = Rmsg::decode(&answer) {
            self.forget_all();
            let dialect = self.local.dialect();
            self.msize = dialect.map_or(0, |_| msize);
            self.dialect = dialect.unwrap_or(crate::dialect::Dialect::L);
            self.numbers = crate::dialect::Dialect::has_numbers(version);
        }
        self.tx.bytes.extend_from_slice(&answer);
    }

    fn attach(
        &mut self,
        tree: &mut T,
        fid: u32,
        uname: &str,
        n_uname: u32,
        frame: &[u8],
    ) -> Result<(), Fault> {
        if self.fids.len() >= self.limits.fids as usize {
            return Err(Errno::EMFILE.into());
        }
        let who = match self.users.iter().position(|u| u.uname == uname && u.n_uname == n_uname) {
            Some(who) => who,
            None if self.users.len() < USERS => {
                self.users.push(User { uname: uname.into(), n_uname });
                self.users.len() - 1
            }
            None => return Err(Fault::new(Errno::EMFILE, "one client may attach as 64 users")),
        };
        let answer = self.ask(tree, frame);
        if !is_error(&answer) {
            let born = self.is_born();
            self.fids
                .insert(fid, Fid { who: who as u16, born, place: Place::Local, used: Used::No });
        }
        self.tx.bytes.extend_from_slice(&answer);
        Ok(())
    }

    /// Whether a request is about a fid of which a walk that is underway decides where it is,
    /// or a request before it that waits so. Nobody else stands in the line.
    fn must_wait(&self, m: &Tmsg<'_>, about: &Fids) -> bool {
        if let Tmsg::Walk { fid, names, .. } = m
            && let Some(Fid { place: Place::Up { moving: 1.., .. }, .. }) = self.fids.get(fid)
            && names.iter().any(|name| name == "..")
        {
            return true;
        }
        if self.jobs.is_empty() && self.held.is_empty() {
            return false;
        }
        let about_it = |fid: u32| about.all().any(|at| at.fid == fid);
        self.jobs.values().any(|job| about_it(job.newfid))
            || self.held.iter().any(|(_, held)| {
                Tmsg::decode_in(self.dialect, held)
                    .is_ok_and(|m| fids::of(&m).all().any(|at| about_it(at.fid)))
            })
    }

    /// Looks again at the requests that were held back.
    pub(super) fn unhold(&mut self, tree: &mut T) {
        let held = core::mem::take(&mut self.held);
        self.held_bytes = 0;
        for (tag, frame) in held {
            let done = match Tmsg::decode_in(self.dialect, &frame) {
                Ok(m) => self.route(tree, tag, m, &frame),
                Err(bad) => Err(bad.into()),
            };
            if let Err(fault) = done {
                self.refuse(tag, &fault);
            }
        }
    }
}

pub(super) fn gone() -> Fault {
    Fault::new(Errno::EIO, "the server of this file is gone: walk to it again from outside")
}

/// Two fids of one request that are not at one server, if the other is known at all.
fn apart(known: bool) -> Fault {
    match known {
        true => Fault::new(Errno::EXDEV, "the two files are not on one server"),
        false => Errno::EBADF.into(),
    }
}
