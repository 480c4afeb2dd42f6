//! Twalk, over the border or not.
//!
//! Most walks stay on one side, and are one request there. One that ends in a mount point,
//! or goes on behind it, is a [`Job`]: the local part is walked, the server is entered, and the
//! rest goes there. So is one that has a `..` which may lead out of a server: that
//! is walked piece by piece with a fid of the switch's own, because only the qids on the way
//! tell where its root was passed. What comes behind it is walked locally again.
//!
//! Until a job ends nobody knows where the fid is that it makes. Requests about that
//! are held back, and so is what comes behind them about their fids.

use alloc::string::String;
use alloc::vec::Vec;

use super::local::{put_walk, walked};
use super::request::{gone, is_error};
use super::up::{Attached, Own, Root, Up};
use super::{Asked, Effect, Fid, IDLE, OWN_FIDS, Place, Switch, UpId, Used, Wish};
use crate::fault::{Errno, Fault};
use crate::msg::{Names, Rmsg, Tmsg, put_qid, ty};
use crate::tree::Tree;
use crate::types::{Qid, qid_type};
use crate::wire::Writer;

/// The switch's local fid for looking around. It is never left in use.
const PROBE: u32 = OWN_FIDS.end - 1;
/// Bytes of an Rwalk before its qids.
const QIDS: usize = 9;

/// A walk that takes more than one request.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) newfid: u32,
    who: u16,
    names: Vec<String>,
    /// The qids of those that were walked, as the client is to see them.
    qids: Vec<Qid>,
    pub(super) here: Here,
    /// The tags of Tflushes that wait for its end.
    flushes: Vec<u16>,
}

/// How far a job has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    /// At the border: it is to be let in.
    Border(UpId),
    /// All that is left is asked of the server, and makes the fid.
    Rest(UpId),
    /// A piece is asked of the server.
    Inside(Inside),
    /// The fid is asked for.
    Landing(Inside),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    up: UpId,
    /// The switch's fid there, and whether the server has it.
    temp: u32,
    made: bool,
    /// What it is, as the server calls it.
    ty: u8,
    path: u64,
}

impl Here {
    pub(super) fn up(self) -> UpId {
        match self {
            Here::Border(up) | Here::Rest(up) => up,
            Here::Inside(inside) | Here::Landing(inside) => inside.up,
        }
    }
}

fn job(newfid: u32, who: u16, names: Names<'_>) -> Job {
    let names = names.iter().map(String::from).collect();
    // Where it is, is said before anybody asks.
    let here = Here::Border(UpId(u64::MAX));
    Job { newfid, who, names, qids: Vec::new(), here, flushes: Vec::new() }
}

impl Job {
    fn rest(&self) -> impl Iterator<Item = &str> {
        self.names.iter().skip(self.qids.len()).map(String::as_str)
    }
}

impl<T: Tree> Switch<T> {
    pub(super) fn walk(
        &mut self,
        tree: &mut T,
        tag: u16,
        (fid, newfid): (u32, u32),
        names: Names<'_>,
        frame: &[u8],
    ) -> Result<(), Fault> {
        let Some(Fid { who, place, used, .. }) = self.fids.get(&fid).copied() else {
            self.pass(tree, frame);
            return Ok(());
        };
        match used {
            Used::Attributes => return Err(Errno::EBADF.into()),
            Used::Open if newfid == fid => {
                return Err(Fault::new(Errno::EBUSY, "an open fid cannot be walked"));
            }
            _ => {}
        }
        if newfid != fid && self.fids.len() + self.jobs.len() >= self.limits.fids as usize {
            return Err(Errno::EMFILE.into());
        }
        match place {
            Place::Gone => Err(gone()),
            Place::Local => {
                self.walk_here(tree, tag, (fid, newfid, who), names, frame);
                Ok(())
            }
            Place::Up { up: id, ty, path, .. } => {
                let Some(up) = self.ups.get_mut(&id) else { return Err(gone()) };
                let root = up.entered(who).is_some_and(|(_, qid)| qid.path == path);
                let out = names.iter().any(|name| name == "..");
                if out && (names.len() > 1 || root) {
                    let Some(temp) = up.numbers.take() else { return Err(Errno::EMFILE.into()) };
                    up.users += 1;
                    let inside = Inside { up: id, temp, made: false, ty, path };
                    self.go_on(tree, tag, job(newfid, who, names), inside, Some(fid));
                    return Ok(());
                }
                if frame.len() > up.msize as usize {
                    return Err(Fault::new(
                        Errno::EMSGSIZE,
                        "the server below takes no message as long",
                    ));
                }
                up.tx.bytes.extend_from_slice(frame);
                let names = names.len() as u16;
                let effect = if newfid == fid {
                    self.moves(fid);
                    let born = self.fids.get(&fid).map_or(0, |f| f.born);
                    Effect::Move { fid, born, names }
                } else {
                    let born = self.bind(newfid, who, id, ty, path);
                    self.moves(newfid);
                    Effect::Make { fid: newfid, born, names }
                };
                self.asked.insert(tag, Asked { up: id, ty: ty::TWALK, effect });
                self.last = Some(id);
                Ok(())
            }
        }
    }

    /// A walk that begins in the local tree.
    fn walk_here(
        &mut self,
        tree: &mut T,
        tag: u16,
        (fid, newfid, who): (u32, u32, u16),
        names: Names<'_>,
        frame: &[u8],
    ) {
        // A fid that is walked itself must stay where it is until the other end is reached.
        if newfid == fid
            && let Ok(qids) = self.local_walk(tree, fid, PROBE, names.iter())
        {
            if qids.len() == names.len() {
                self.local_clunk(tree, PROBE);
            }
            if qids.last().is_some_and(|qid| is_mount(*qid)) {
                return self.cross(tree, tag, job(newfid, who, names), fid, &qids);
            }
        }
        let mut answer = self.ask(tree, frame);
        if let Some(qids) = walked(&answer) {
            let whole = qids.len() == names.len();
            if qids.last().is_some_and(|qid| is_mount(*qid)) {
                if whole {
                    self.local_clunk(tree, newfid);
                }
                return self.cross(tree, tag, job(newfid, who, names), fid, &qids);
            }
            if whole && newfid != fid {
                let born = self.is_born();
                self.fids.insert(newfid, Fid { who, born, place: Place::Local, used: Used::No });
            }
            for qid in answer.get_mut(QIDS..).unwrap_or_default().chunks_exact_mut(Qid::SIZE) {
                qid.first_mut().into_iter().for_each(|ty| *ty &= !qid_type::MOUNT);
            }
        }
        self.tx.bytes.extend_from_slice(&answer);
    }

    /// A job has come to a mount point, from a local fid and by those of its names that these
    /// qids are of.
    fn cross(&mut self, tree: &mut T, tag: u16, mut job: Job, from: u32, qids: &[Qid]) {
        let Some(mount) = qids.last().map(|qid| qid.path) else { return };
        let id = match self.mounts.get(&mount) {
            Some(id) => *id,
            None => self.reach(tree, mount),
        };
        let who = job.who;
        let anchor = match self.ups.get(&id).and_then(|up| up.root(who)) {
            Some(root) => Ok(root.anchor),
            None => {
                let way: Vec<String> = job.rest().take(qids.len()).map(String::from).collect();
                self.anchor(tree, id, who, from, &way)
            }
        };
        let may = anchor.and_then(|anchor| self.may_enter(tree, anchor));
        job.qids.extend(qids.iter().map(|qid| Qid { ty: qid.ty & !qid_type::MOUNT, ..*qid }));
        if let Err(fault) = may {
            return self.fail(tree, tag, job, Err(fault));
        }
        job.here = Here::Border(id);
        self.users(id, 1);
        self.jobs.insert(tag, job);
        self.attach_all(tree, id);
        if self.ups.get(&id).is_some_and(|up| up.entered(who).is_some()) {
            self.enter(tree, tag);
        }
    }

    /// Wishes for a connection to the server of a mount point.
    fn reach(&mut self, tree: &mut T, mount: u64) -> UpId {
        if self.ups.len() >= IDLE {
            let idle = |(id, up): &(&UpId, &Up)| {
                up.is_idle() && !self.asked.values().any(|asked| asked.up == **id)
            };
            if let Some(id) = self.ups.iter().find(idle).map(|(id, _)| *id) {
                self.wishes.push_back(Wish::Close(id));
                self.lost(tree, id, &Errno::EIO.into());
            }
        }
        let id = UpId::next(&mut self.next_up);
        self.ups.insert(id, Up::new(mount));
        self.mounts.insert(mount, id);
        self.wishes.push_back(Wish::Connect(id, mount));
        self.greet(id);
        id
    }

    /// Makes the place where a user goes in and out.
    fn anchor(
        &mut self,
        tree: &mut T,
        id: UpId,
        who: u16,
        from: u32,
        way: &[String],
    ) -> Result<u32, Fault> {
        let anchor = self.anchors.take().ok_or(Errno::EMFILE)?;
        match self.local_walk(tree, from, anchor, way.iter().map(String::as_str)) {
            Ok(qids) if qids.len() == way.len() => {}
            _ => {
                self.anchors.give_back(anchor);
                return Err(Errno::ESTALE.into());
            }
        }
        let up = self.ups.get_mut(&id).ok_or_else(gone)?;
        let fid = up.numbers.take().ok_or(Errno::EMFILE)?;
        up.roots.push(Root { who, fid, anchor, state: Attached::NotYet });
        Ok(anchor)
    }

    /// Whether who may not search a mount point is told so: nobody gets past it.
    fn may_enter(&mut self, tree: &mut T, anchor: u32) -> Result<(), Fault> {
        match self.local_walk(tree, anchor, PROBE, core::iter::once("-")) {
            Ok(_) => {
                self.local_clunk(tree, PROBE);
                Ok(())
            }
            Err(frame) if denied(&frame) => Err(Errno::EACCES.into()),
            Err(_) => Ok(()),
        }
    }

    /// A user was let in, or not: those who wait for it go on.
    pub(super) fn entered(&mut self, tree: &mut T, id: UpId, who: u16, fault: Option<Fault>) {
        let waits = |job: &Job| job.here == Here::Border(id) && job.who == who;
        let tags: Vec<u16> =
            self.jobs.iter().filter(|(_, job)| waits(job)).map(|(tag, _)| *tag).collect();
        for tag in tags {
            match &fault {
                None => self.enter(tree, tag),
                Some(fault) => {
                    if let Some(job) = self.jobs.remove(&tag) {
                        self.users(id, -1);
                        self.refuse(tag, fault);
                        self.ended(tree, job);
                    }
                }
            }
        }
    }

    /// Goes over the border.
    fn enter(&mut self, tree: &mut T, tag: u16) {
        let Some(mut job) = self.jobs.remove(&tag) else { return };
        let id = job.here.up();
        let Some(up) = self.ups.get_mut(&id) else { return };
        let Some((root, qid)) = up.entered(job.who) else { return };
        let seen = up.paths().qid(qid);
        job.qids.last_mut().into_iter().for_each(|last| *last = seen);
        let there = self.fids.get(&job.newfid).is_some_and(|f| f.place.is_at(id));
        let inside = Inside { up: id, temp: root.fid, made: true, ty: qid.ty, path: qid.path };
        if !there && job.rest().all(|name| name != "..") {
            put_walk(&mut up.tx.bytes, tag, root.fid, job.newfid, job.rest());
            let names = job.rest().count() as u16;
            job.here = Here::Rest(id);
            return self.step_of(tag, id, names, job);
        }
        let Some(temp) = up.numbers.take() else {
            return self.fail(tree, tag, job, Err(Errno::EMFILE.into()));
        };
        self.go_on(tree, tag, job, Inside { temp, made: false, ..inside }, Some(root.fid));
    }

    /// Remembers a job whose next step was sent.
    fn step_of(&mut self, tag: u16, id: UpId, names: u16, job: Job) {
        let effect = Effect::Step { names };
        self.asked.insert(tag, Asked { up: id, ty: ty::TWALK, effect });
        self.jobs.insert(tag, job);
        self.last = Some(id);
    }

    /// Walks on inside a server, from the switch's fid or, as the first step, from another.
    fn go_on(&mut self, tree: &mut T, tag: u16, mut job: Job, inside: Inside, from: Option<u32>) {
        let Inside { up: id, temp, .. } = inside;
        let Some(up) = self.ups.get_mut(&id) else { return };
        let Some((root, qid)) = up.entered(job.who) else { return };
        let next = job.rest().next();
        if next == Some("..") && inside.path == qid.path {
            self.leave(tree, inside);
            return self.walk_on_here(tree, tag, job, root.anchor);
        }
        let src = from.unwrap_or(temp);
        let piece: Vec<String> = match next {
            Some("..") => alloc::vec![String::from("..")],
            _ => job.rest().take_while(|name| *name != "..").map(String::from).collect(),
        };
        let there = self.fids.get(&job.newfid).is_some_and(|f| f.place.is_at(id));
        if piece.is_empty() && inside.made {
            let newfid = job.newfid;
            if there && !self.own_clunk(tree, id, newfid) {
                return;
            }
            if let Some(up) = self.ups.get_mut(&id) {
                put_walk(&mut up.tx.bytes, tag, temp, newfid, core::iter::empty());
            }
            job.here = Here::Landing(inside);
            return self.step_of(tag, id, 0, job);
        }
        put_walk(&mut up.tx.bytes, tag, src, temp, piece.iter().map(String::as_str));
        job.here = Here::Inside(inside);
        self.step_of(tag, id, piece.len() as u16, job);
    }

    /// A step of a job was answered.
    pub(super) fn stepped(&mut self, tree: &mut T, tag: u16, frame: &[u8]) {
        let Some(mut job) = self.jobs.remove(&tag) else { return };
        let id = job.here.up();
        let Some(paths) = self.ups.get(&id).map(Up::paths) else { return };
        let asked = match job.here {
            Here::Inside(_) | Here::Rest(_) => match job.rest().next() {
                Some("..") if !matches!(job.here, Here::Rest(_)) => 1,
                _ => job.rest().take_while(|name| *name != "..").count(),
            },
            _ => 0,
        };
        let qids = walked(frame);
        let whole = qids.as_ref().is_some_and(|qids| qids.len() == asked);
        let last = qids.as_ref().and_then(|qids| qids.last().copied());
        job.qids.extend(qids.into_iter().flatten().map(|qid| paths.qid(qid)));
        let error = || if is_error(frame) { Ok(frame.to_vec()) } else { Ok(Vec::new()) };
        match job.here {
            Here::Rest(_) if !whole => {
                self.users(id, -1);
                self.fail(tree, tag, job, error());
            }
            Here::Rest(_) => {
                let root = self.ups.get(&id).and_then(|up| up.entered(job.who)).map(|r| r.1);
                let Some(qid) = last.or(root) else { return };
                self.users(id, -1);
                self.land(tree, tag, job, id, (qid.ty, qid.path));
            }
            Here::Inside(inside) if !whole => {
                self.leave(tree, inside);
                self.fail(tree, tag, job, error());
            }
            Here::Inside(inside) if !job.flushes.is_empty() => {
                self.leave(tree, Inside { made: true, ..inside });
                self.ended(tree, job);
            }
            Here::Inside(inside) => {
                let (ty, path) = last.map_or((inside.ty, inside.path), |q| (q.ty, q.path));
                self.go_on(tree, tag, job, Inside { made: true, ty, path, ..inside }, None);
            }
            Here::Landing(inside) => {
                self.leave(tree, inside);
                if whole {
                    return self.land(tree, tag, job, id, (inside.ty, inside.path));
                }
                // It was made free before.
                if let Some(fid) = self.fids.get_mut(&job.newfid).filter(|f| f.place.is_at(id)) {
                    fid.place = Place::Gone;
                    self.users(id, -1);
                }
                self.fail(tree, tag, Job { qids: Vec::new(), ..job }, error());
            }
            Here::Border(_) => {}
        }
    }

    /// Goes on in the local tree, from a mount point.
    fn walk_on_here(&mut self, tree: &mut T, tag: u16, mut job: Job, anchor: u32) {
        let rest: Vec<String> = job.rest().map(String::from).collect();
        let way = rest.iter().map(String::as_str);
        let qids = match self.local_walk(tree, anchor, PROBE, way) {
            Ok(qids) => qids,
            Err(frame) => return self.fail(tree, tag, job, Ok(frame)),
        };
        let whole = qids.len() == rest.len();
        if qids.last().is_some_and(|qid| is_mount(*qid)) {
            if whole {
                self.local_clunk(tree, PROBE);
            }
            return self.cross(tree, tag, job, anchor, &qids);
        }
        job.qids.extend(qids.iter().map(|qid| Qid { ty: qid.ty & !qid_type::MOUNT, ..*qid }));
        if !whole {
            return self.fail(tree, tag, job, Ok(Vec::new()));
        }
        self.vacate(tree, job.newfid, None);
        let made = self.local_walk(tree, PROBE, job.newfid, core::iter::empty());
        self.local_clunk(tree, PROBE);
        if let Err(frame) = made {
            return self.fail(tree, tag, Job { qids: Vec::new(), ..job }, Ok(frame));
        }
        let born = self.is_born();
        self.fids
            .insert(job.newfid, Fid { who: job.who, born, place: Place::Local, used: Used::No });
        self.say_walked(tag, &job.qids);
        self.ended(tree, job);
    }

    /// A job has made its fid at a server.
    fn land(&mut self, tree: &mut T, tag: u16, job: Job, id: UpId, (ty, path): (u8, u64)) {
        self.vacate(tree, job.newfid, Some(id));
        self.bind(job.newfid, job.who, id, ty, path);
        self.say_walked(tag, &job.qids);
        self.ended(tree, job);
    }

    /// Gives up what a fid was before a walk has taken it elsewhere: at another place than
    /// that.
    fn vacate(&mut self, tree: &mut T, fid: u32, but: Option<UpId>) {
        match self.fids.get(&fid).map(|f| f.place) {
            Some(Place::Local) => self.local_clunk(tree, fid),
            Some(Place::Up { up, .. }) if Some(up) != but => {
                self.own_clunk(tree, up, fid);
            }
            _ => {}
        }
        self.unbind(fid);
    }

    /// A fid of the client's is at a server.
    fn bind(&mut self, fid: u32, who: u16, up: UpId, ty: u8, path: u64) -> u64 {
        let born = self.is_born();
        self.fids.insert(
            fid,
            Fid { who, born, place: Place::Up { up, ty, path, moving: 0 }, used: Used::No },
        );
        self.users(up, 1);
        born
    }

    /// A job is no longer inside a server.
    fn leave(&mut self, tree: &mut T, inside: Inside) {
        self.users(inside.up, -1);
        if inside.made {
            self.own_clunk(tree, inside.up, inside.temp);
        } else if let Some(up) = self.ups.get_mut(&inside.up) {
            up.numbers.give_back(inside.temp);
        }
    }

    /// Ends a fid at a server. False when that is given up.
    pub(super) fn own_clunk(&mut self, tree: &mut T, id: UpId, fid: u32) -> bool {
        let Some(up) = self.ups.get_mut(&id) else { return false };
        let asked = up.ask(&Tmsg::Clunk { fid }, Own::Clunk { fid });
        if !asked {
            self.stuck(tree, id);
        }
        asked
    }

    /// A job gets no further: the client is told how far it got or, if that is nowhere, why.
    fn fail(&mut self, tree: &mut T, tag: u16, job: Job, why: Result<Vec<u8>, Fault>) {
        match why {
            _ if !job.qids.is_empty() => self.say_walked(tag, &job.qids),
            Err(fault) => self.refuse(tag, &fault),
            Ok(mut frame) => {
                frame.get_mut(5..7).into_iter().for_each(|t| t.copy_from_slice(&tag.to_le_bytes()));
                match frame.is_empty() {
                    true => self.refuse(tag, &Errno::ENOENT.into()),
                    false => self.tx.bytes.extend_from_slice(&frame),
                }
            }
        }
        self.ended(tree, job);
    }

    /// A job has ended: so have its flushes, and what waited for its fid goes on.
    pub(super) fn ended(&mut self, tree: &mut T, job: Job) {
        job.flushes.iter().for_each(|tag| self.done(ty::TFLUSH, *tag));
        if !self.held.is_empty() {
            self.unhold(tree);
        }
    }

    /// Flushes a job: at once if nothing was asked for it yet, else when that was answered.
    pub(super) fn flush_job(&mut self, tree: &mut T, tag: u16, oldtag: u16) {
        if let Some(job) = self.jobs.get_mut(&oldtag)
            && !matches!(job.here, Here::Border(_))
        {
            job.flushes.push(tag);
        } else if let Some(mut job) = self.jobs.remove(&oldtag) {
            self.users(job.here.up(), -1);
            job.flushes.push(tag);
            self.ended(tree, job);
        }
    }

    fn say_walked(&mut self, tag: u16, qids: &[Qid]) {
        let mut w = Writer::new(&mut self.tx.bytes, ty::TWALK + 1, tag);
        w.u16(qids.len() as u16);
        qids.iter().for_each(|qid| put_qid(&mut w, *qid));
        w.finish();
    }
}

impl Place {
    /// Whether it is at that server.
    pub(super) fn is_at(self, id: UpId) -> bool {
        matches!(self, Place::Up { up, .. } if up == id)
    }
}

fn is_mount(qid: Qid) -> bool {
    qid.ty & qid_type::MOUNT != 0
}

/// Whether the error in a frame is that somebody may not do it.
fn denied(frame: &[u8]) -> bool {
    match Rmsg::decode(frame) {
        Ok(Rmsg::Lerror { errno, .. }) => errno == Errno::EACCES.0,
        Ok(Rmsg::Error { text }) => text == Errno::EACCES.text(),
        _ => false,
    }
}
