//! Twstat: Tsetattr and Trename, or Tfsync when nothing is to be changed.
//!
//! All is changed or nothing: a name that is taken is found before it, and one that
//! was given goes back when the rest is refused. But others see the new name
//! before the rest, one of them may take that name meanwhile and is then replaced,
//! and a client that goes in the middle may leave the new name alone behind.

use alloc::boxed::Box;
use alloc::string::String;

use super::place::{Then, split};
use super::{Got, Script, Turn, Work, odd};
use crate::access::{Identity, NOBODY, Want, allowed};
use crate::fault::{Errno, Fault};
use crate::msg::{Rmsg, SetAttr, Tmsg, Wstat, ty};
use crate::mux::{ClientId, Mux};
use crate::plain::changes;
use crate::server::name_is_free;
use crate::types::{Stat, getattr, setattr};

/// The longest text that can be a user's or a group's number, with some zeros in front.
const NUMBER: usize = 32;

/// A Twstat.
#[derive(Debug)]
pub(super) struct Change {
    fid: u32,
    wanted: Wanted,
    /// What is to be changed beside the name.
    set: SetAttr,
    step: Step,
}

/// A [`Wstat`] that outlives its frame.
#[derive(Debug, Default)]
struct Wanted {
    plain: Wstat<'static>,
    name: Option<String>,
    uid: Option<String>,
    gid: Option<String>,
}

impl Wanted {
    fn of(stat: &Wstat<'_>) -> Wanted {
        let user = |s: &str| String::from(if s.len() > NUMBER { "?" } else { s });
        let Wstat { mode, atime, mtime, length, name, uid, gid } = *stat;
        let plain = Wstat { mode, atime, mtime, length, ..Wstat::default() };
        let (uid, gid) = (uid.map(user), gid.map(user));
        Wanted { plain, name: name.map(String::from), uid, gid }
    }

    fn stat(&self) -> Wstat<'_> {
        Wstat { uid: self.uid.as_deref(), gid: self.gid.as_deref(), ..self.plain }
    }
}

/// What the answer that is awaited tells.
#[derive(Debug)]
enum Step {
    /// That it was made sure of.
    Sync,
    /// What the file is like.
    Look,
    /// Whether the new name is free in this directory.
    Free(u32),
    /// Whether it is the file's.
    Name(u32),
    /// Whether the rest was changed; and the directory, if the name was.
    Rest(Option<u32>),
    /// That the name is the old one again, after this.
    Back(Fault),
}

impl Change {
    /// Whether a file that has this name is to have another.
    pub(super) fn moves(&self, name: &str) -> bool {
        self.wanted.name.as_deref() != Some(name)
    }
}

impl Mux {
    pub(super) fn twstat(
        &mut self,
        id: ClientId,
        s: &mut Script,
        fid: u32,
        stat: &Wstat<'_>,
    ) -> Result<Work, Fault> {
        let at = self.file(id, fid)?.0;
        let step = match stat.is_sync() {
            true => {
                self.put(id, s, &Tmsg::Fsync { fid: at })?;
                Step::Sync
            }
            false => {
                stat.name.map_or(Ok(()), name_is_free)?;
                self.put(id, s, &Tmsg::Getattr { fid: at, mask: getattr::BASIC })?;
                Step::Look
            }
        };
        let set = SetAttr::default();
        Ok(Work::Wstat(Box::new(Change { fid, wanted: Wanted::of(stat), set, step })))
    }

    /// The directory is found in which the file is to have another name.
    pub(super) fn rename(
        &mut self,
        id: ClientId,
        s: &mut Script,
        mut change: Box<Change>,
        dir: u32,
    ) -> Turn {
        let probe = self.temp(s);
        self.put_walk(id, s, dir, probe, change.wanted.name.as_deref().unwrap_or_default())?;
        change.step = Step::Free(dir);
        Ok(Some(Work::Wstat(change)))
    }

    pub(super) fn changed(
        &mut self,
        id: ClientId,
        s: &mut Script,
        mut change: Box<Change>,
        got: Got<'_>,
    ) -> Turn {
        let (at, file) = self.file(id, change.fid)?;
        let path = file.path.clone();
        let old = split(&path).1;
        let new = change.wanted.name.clone().unwrap_or_default();
        match (core::mem::replace(&mut change.step, Step::Sync), got) {
            (Step::Look, Ok(Rmsg::Getattr { stat })) => {
                change.set = changes(&change.wanted.stat(), &stat)?;
                may_resize(&change.set, &stat)?;
                match change.wanted.name {
                    None => self.rest(id, s, change, at, None),
                    Some(_) => {
                        let fid = change.fid;
                        self.search(id, s, fid, Then::Wstat(change)).map(Some)
                    }
                }
            }
            (Step::Free(_), Ok(_)) => Err(Errno::EEXIST.into()),
            (Step::Free(dir), Err(fault)) if fault.errno == Errno::ENOENT => {
                // By the fid, so that the server knows it by its new name.
                self.put(id, s, &Tmsg::Rename { fid: at, dfid: dir, name: &new })?;
                change.step = Step::Name(dir);
                Ok(Some(Work::Wstat(change)))
            }
            (Step::Name(dir), Ok(_)) => self.rest(id, s, change, at, Some(dir)),
            (Step::Rest(Some(dir)), Err(fault)) => {
                self.put(id, s, &Tmsg::Rename { fid: at, dfid: dir, name: old })?;
                change.step = Step::Back(fault);
                Ok(Some(Work::Wstat(change)))
            }
            (Step::Back(fault), _) | (_, Err(fault)) => Err(fault),
            (Step::Sync, Ok(_)) => self.done(id, s),
            (Step::Rest(renamed), Ok(_)) => {
                if renamed.is_some() {
                    self.renamed(id, change.fid, &new);
                }
                self.done(id, s)
            }
            _ => Err(odd()),
        }
    }

    /// Changes what is to be changed beside the name.
    pub(super) fn rest(
        &mut self,
        id: ClientId,
        s: &mut Script,
        mut change: Box<Change>,
        at: u32,
        renamed: Option<u32>,
    ) -> Turn {
        if change.set.valid == 0 {
            if renamed.is_some() {
                self.renamed(id, change.fid, change.wanted.name.as_deref().unwrap_or_default());
            }
            return self.done(id, s);
        }
        self.put(id, s, &Tmsg::Setattr { fid: at, set: change.set })?;
        change.step = Step::Rest(renamed);
        Ok(Some(Work::Wstat(change)))
    }

    fn done(&mut self, id: ClientId, s: &Script) -> Turn {
        self.reply(id, s, ty::TWSTAT, |_| {});
        Ok(None)
    }

    /// A file has another name, and so another path, and so has what lies below it.
    fn renamed(&mut self, id: ClientId, fid: u32, new: &str) {
        let Ok((_, file)) = self.file(id, fid) else { return };
        let (root, old) = (file.root, file.path.clone());
        let mut path = String::from(split(&old).0);
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(new);
        let files = self.plain(id).map(|p| p.files.values_mut());
        for file in files.into_iter().flatten().filter(|f| f.root == root) {
            if let Some(rest) = file.path.strip_prefix(&*old)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                file.path = alloc::format!("{path}{rest}");
            }
        }
    }
}

/// Whether a file's length may be changed, as far as can be told before its name is: one
/// that goes back has been seen.
fn may_resize(set: &SetAttr, stat: &Stat) -> Result<(), Fault> {
    match set.valid & setattr::SIZE {
        0 => Ok(()),
        _ if stat.qid.is_dir() => Err(Errno::EISDIR.into()),
        _ => allowed(stat, Identity::Owner.user(NOBODY), Want::WRITE),
    }
}
