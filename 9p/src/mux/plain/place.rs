//! The path of a fid, and the way back to the directory that its file lies in.
//!
//! 9P2000.L lets nobody walk from a file to its directory, and renames by directory
//! and name. So the joint remembers the names by which a client came to a file and
//! goes that way again. If it leads elsewhere by now, because somebody has renamed
//! something on it, the answer is ESTALE; a session would find its way.

use alloc::boxed::Box;
use alloc::string::String;

use super::open::Open;
use super::wstat::Change;
use super::{Got, Script, Turn, Work, odd};
use crate::access::{Identity, NOBODY, Want, allowed};
use crate::fault::{Errno, Fault};
use crate::msg::{Rmsg, Tmsg};
use crate::mux::{ClientId, Mux};
use crate::types::getattr;
use crate::wire::MAX_WALK;

/// Bytes of the longest path (`PATH_MAX` of `linux/limits.h`).
const LONGEST: usize = 4096;

/// The path at the end of a walk from another.
pub(super) fn join<'a>(from: &str, names: impl Iterator<Item = &'a str>) -> Result<String, Fault> {
    let mut path = String::from(from);
    for name in names {
        if name == ".." {
            path.truncate(path.rfind('/').unwrap_or(0));
            continue;
        }
        if path.len() + 1 + name.len() > LONGEST {
            return Err(Fault::new(Errno::ENAMETOOLONG, "a path of more than 4096 bytes"));
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(name);
    }
    Ok(path)
}

/// A path's directory and last name.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Looking for the directory of a file.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) fid: u32,
    /// The server's fid that is on its way there.
    dir: u32,
    /// How many bytes of the path it has behind it.
    done: usize,
    /// How many names the walk underway has.
    names: u16,
    step: Step,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The directory is walked to,
    Dir,
    /// and its name in it, by this fid;
    Name(u32),
    /// its mode must allow to change it.
    Mode,
}

/// Why it is looked for.
#[derive(Debug)]
pub(super) enum Then {
    Open(Open),
    Wstat(Box<Change>),
}

impl Mux {
    /// Begins to look for the directory of a fid's file, that its user must be allowed
    /// to change.
    pub(super) fn search(
        &mut self,
        id: ClientId,
        s: &mut Script,
        fid: u32,
        then: Then,
    ) -> Result<Work, Fault> {
        let file = self.file(id, fid)?.1.clone();
        if self.is_root(id, &file) {
            return Err(Fault::new(Errno::EBUSY, "this is the root of what was attached"));
        }
        let dir = self.temp(s);
        let search = Search { fid, dir, done: 0, names: 0, step: Step::Dir, then };
        self.onwards(id, s, search, file.root, split(&file.path).0)
    }

    /// Walks by the next names.
    fn onwards(
        &mut self,
        id: ClientId,
        s: &mut Script,
        search: Search,
        from: u32,
        path: &str,
    ) -> Result<Work, Fault> {
        let rest = path.get(search.done..).unwrap_or_default();
        let end = rest.match_indices('/').nth(MAX_WALK - 1).map_or(rest.len(), |(at, _)| at);
        let names = rest.get(..end).unwrap_or_default();
        let done = (search.done + end + 1).min(path.len());
        self.put_walk(id, s, from, search.dir, names)?;
        let names = names.split('/').filter(|n| !n.is_empty()).count() as u16;
        Ok(Work::Place(Search { done, names, ..search }))
    }

    pub(super) fn searched(
        &mut self,
        id: ClientId,
        s: &mut Script,
        search: Search,
        got: Got<'_>,
    ) -> Turn {
        let stale = || Err(Errno::ESTALE.into());
        let (at, file) = self.file(id, search.fid)?;
        let (path, qid) = (file.path.clone(), file.qid);
        let (above, name) = split(&path);
        match (search.step, got) {
            (Step::Dir | Step::Name(_), Err(fault)) if fault.errno == Errno::ENOENT => stale(),
            (_, Err(fault)) => Err(fault),
            (Step::Dir, Ok(Rmsg::Walk { count, .. })) => {
                if count != search.names {
                    return stale();
                }
                let dir = search.dir;
                let search = Search { step: Step::Dir, ..search };
                if search.done < above.len() {
                    return self.onwards(id, s, search, dir, above).map(Some);
                }
                let probe = self.temp(s);
                self.put_walk(id, s, dir, probe, name)?;
                Ok(Some(Work::Place(Search { step: Step::Name(probe), ..search })))
            }
            (Step::Name(probe), Ok(Rmsg::Walk { last, .. })) => {
                self.drop_temp(s, probe);
                if last.is_none_or(|l| l.path != qid.path) {
                    return stale();
                }
                let then = match search.then {
                    Then::Wstat(change) if !change.moves(name) => {
                        return self.rest(id, s, change, at, None);
                    }
                    then => then,
                };
                self.put(id, s, &Tmsg::Getattr { fid: search.dir, mask: getattr::BASIC })?;
                Ok(Some(Work::Place(Search { step: Step::Mode, then, ..search })))
            }
            (Step::Mode, Ok(Rmsg::Getattr { stat })) => {
                // The server decides in the end; what nobody may, it is not asked.
                let user = Identity::Owner.user(NOBODY);
                allowed(&stat, user, Want::WRITE.and(Want::SEARCH))?;
                match search.then {
                    Then::Open(open) => self.placed(id, s, open),
                    Then::Wstat(change) => self.rename(id, s, change, search.dir),
                }
            }
            _ => Err(odd()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_its_names_lead_to() {
        for (from, names, to) in [
            ("", &[][..], ""),
            ("", &["a", "b"], "a/b"),
            ("a/b", &["..", "c"], "a/c"),
            ("a", &["..", "..", "b"], "b"),
            ("a/b", &["..", ".."], ""),
        ] {
            assert_eq!(join(from, names.iter().copied()).unwrap(), to);
        }
        let name = "n".repeat(255);
        let mut path = String::new();
        while let Ok(longer) = join(&path, [&*name].into_iter()) {
            path = longer;
        }
        assert_eq!(path.len(), 16 * 256 - 1);
        assert_eq!(split("a/b/c"), ("a/b", "c"));
        assert_eq!(split("a"), ("", "a"));
    }
}
