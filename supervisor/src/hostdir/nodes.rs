//! The files that clients know.
//!
//! A file is *held* by a descriptor, or only *named*: by the directory that it was
//! found in, its name there and its number. To look a file up and forget it again,
//! which is what clients do most, then costs one look at it and no descriptor. One
//! that is used for more is held from then on. What is done to a name through this
//! tree happens after those who know a file by it hold it, so they keep their file;
//! where the host does it, its number tells, and they get ESTALE. However many hold
//! a file, it takes one descriptor; who has it open needs no other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use atoll_9p::fault::{Errno, Fault};
use rustix::fd::OwnedFd;

/// Which file: the numbers of its file system and its own.
pub(super) type Id = (u64, u64);

/// How a file is known.
#[derive(Debug)]
pub(super) enum How {
    /// By an `O_PATH` descriptor, which others may hold it by too.
    Held(Arc<OwnedFd>),
    /// By that of an open file.
    Open(Arc<OwnedFd>),
    /// By its name.
    Named {
        /// The directory, to which this counts as a reference.
        dir: u64,
        /// Which directory that is.
        dir_id: Id,
        /// Whether it was looked at since.
        seen: bool,
    },
}

/// A file that clients know.
#[derive(Debug)]
pub(super) struct Known {
    /// Which folder it was found in.
    pub(super) export: u32,
    pub(super) id: Id,
    /// The type in its mode, which never changes.
    pub(super) kind: u32,
    pub(super) how: How,
    refs: u32,
    /// The number of this use of the place, so that an old node finds nothing.
    uses: u32,
    /// The next and the one before in its list of named files, as places.
    next: u32,
    before: u32,
}

/// No place.
const NONE: u32 = u32::MAX;
/// Lists that named files are spread over.
const LISTS: usize = 1024;

#[derive(Debug, Default)]
struct Place {
    known: Option<Known>,
    /// The name of a named file. Its memory stays for the next.
    name: String,
}

/// The table of them. A node is a place in it, from 1, and the count of the place's
/// uses above that; 0 is no file's.
#[derive(Debug)]
pub(super) struct Nodes {
    places: Vec<Place>,
    free: Vec<u32>,
    uses: u32,
    lists: Vec<u32>,
    /// Descriptors of held files, by folder, file and type, and how many hold them. The
    /// type, for a number may have become another file's.
    fds: HashMap<(u32, Id, u32), (Arc<OwnedFd>, u32)>,
    /// Descriptors of open files.
    open: usize,
    /// The most descriptors.
    pub(super) limit: usize,
}

impl Default for Nodes {
    fn default() -> Nodes {
        Nodes {
            places: Vec::new(),
            free: Vec::new(),
            uses: 0,
            lists: vec![NONE; LISTS],
            fds: HashMap::new(),
            open: 0,
            limit: usize::MAX,
        }
    }
}

fn place(node: u64) -> usize {
    ((node & 0xffff_ffff) as usize).wrapping_sub(1)
}

/// The list of those who are called that in that directory (FNV-1a).
fn list(dir: Id, name: &str) -> usize {
    let hash = name.bytes().fold(dir.1 ^ 0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 40) as usize % LISTS
}

impl Nodes {
    pub(super) fn held(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Descriptors that files take.
    pub(super) fn descriptors(&self) -> usize {
        self.fds.len() + self.open
    }

    /// Whether there may be another descriptor.
    pub(super) fn room(&self) -> Result<(), Fault> {
        if self.descriptors() < self.limit {
            return Ok(());
        }
        let text = "the server has no more descriptors for files (its RLIMIT_NOFILE)";
        Err(Fault::new(Errno::EMFILE, text))
    }

    /// A file that is held.
    pub(super) fn hold(&mut self, export: u32, id: Id, kind: u32, fd: OwnedFd) -> u64 {
        let fd = self.share((export, id, kind), Arc::new(fd));
        self.insert(export, id, kind, How::Held(fd))
    }

    /// The descriptor of a file for one more to hold it by: the one that there is, or
    /// this.
    fn share(&mut self, key: (u32, Id, u32), fd: Arc<OwnedFd>) -> Arc<OwnedFd> {
        let (fd, users) = self.fds.entry(key).or_insert((fd, 0));
        *users += 1;
        fd.clone()
    }

    /// A file that is known by its name in a directory, which is held.
    pub(super) fn name(&mut self, dir: u64, name: &str, id: Id, kind: u32) -> Result<u64, Fault> {
        let at = self.get(dir)?;
        let (export, dir_id) = (at.export, at.id);
        self.again(dir);
        let node = self.insert(export, id, kind, How::Named { dir, dir_id, seen: false });
        let (at, list) = (place(node), list(dir_id, name));
        let next = std::mem::replace(&mut self.lists[list], at as u32);
        self.places[at].name.push_str(name);
        if let Some(known) = &mut self.places[at].known {
            known.next = next;
        }
        if let Some(known) = self.at(next) {
            known.before = at as u32;
        }
        Ok(node)
    }

    fn insert(&mut self, export: u32, id: Id, kind: u32, how: How) -> u64 {
        self.uses = self.uses.wrapping_add(1);
        let uses = self.uses;
        let (next, before) = (NONE, NONE);
        let known = Some(Known { export, id, kind, how, refs: 1, uses, next, before });
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as u32
        });
        self.places[at as usize].known = known;
        u64::from(uses) << 32 | (u64::from(at) + 1)
    }

    fn at(&mut self, place: u32) -> Option<&mut Known> {
        self.places.get_mut(place as usize)?.known.as_mut()
    }

    pub(super) fn get(&self, node: u64) -> Result<&Known, Fault> {
        match self.places.get(place(node)) {
            Some(Place { known: Some(known), .. }) if u64::from(known.uses) == node >> 32 => {
                Ok(known)
            }
            _ => Err(Errno::ESTALE.into()),
        }
    }

    fn get_mut(&mut self, node: u64) -> Option<&mut Known> {
        self.at(place(node) as u32).filter(|known| u64::from(known.uses) == node >> 32)
    }

    /// The name of a named file.
    pub(super) fn name_of(&self, node: u64) -> &str {
        self.places.get(place(node)).map(|p| p.name.as_str()).unwrap_or_default()
    }

    /// Notes that a named file was looked at; whether it was before.
    pub(super) fn look(&mut self, node: u64) -> bool {
        match self.get_mut(node).map(|k| &mut k.how) {
            Some(How::Named { seen, .. }) => std::mem::replace(seen, true),
            _ => true,
        }
    }

    /// Holds a file that was named by the descriptor that others hold it by; false
    /// when nobody does.
    pub(super) fn join(&mut self, node: u64) -> bool {
        let Ok(&Known { export, id, kind, .. }) = self.get(node) else { return false };
        let Some((fd, users)) = self.fds.get_mut(&(export, id, kind)) else { return false };
        *users += 1;
        let fd = fd.clone();
        self.set_held(node, fd);
        true
    }

    /// Holds a file by this descriptor of it, which was named, or open till now.
    pub(super) fn now_held(&mut self, node: u64, fd: Arc<OwnedFd>) {
        let Ok(&Known { export, id, kind, .. }) = self.get(node) else { return };
        let fd = self.share((export, id, kind), fd);
        self.set_held(node, fd);
    }

    fn set_held(&mut self, node: u64, fd: Arc<OwnedFd>) {
        self.unlist(node);
        let Some(known) = self.get_mut(node) else { return };
        if let How::Named { dir, .. } = std::mem::replace(&mut known.how, How::Held(fd)) {
            self.forget(dir);
        }
    }

    /// The named files that are called that in a directory.
    pub(super) fn named(&self, dir: Id, name: &str) -> Vec<u64> {
        let mut found = Vec::new();
        let mut at = self.lists[list(dir, name)];
        while let Some(Place { known: Some(known), name: its }) = self.places.get(at as usize) {
            if matches!(known.how, How::Named { dir_id, .. } if dir_id == dir) && its == name {
                found.push(u64::from(known.uses) << 32 | (u64::from(at) + 1));
            }
            at = known.next;
        }
        found
    }

    /// Takes a named file out of its list.
    fn unlist(&mut self, node: u64) {
        let at = place(node);
        let Ok(Known { how: How::Named { dir_id, .. }, next, before, .. }) = self.get(node) else {
            return;
        };
        let (dir_id, next, before) = (*dir_id, *next, *before);
        if let Some(known) = self.at(next) {
            known.before = before;
        }
        match self.at(before) {
            Some(known) => known.next = next,
            None => {
                let list = list(dir_id, &self.places[at].name);
                self.lists[list] = next;
            }
        }
        self.places[at].name.clear();
    }

    pub(super) fn again(&mut self, node: u64) {
        if let Some(known) = self.get_mut(node) {
            known.refs += 1;
        }
    }

    pub(super) fn forget(&mut self, node: u64) {
        let Some(known) = self.get_mut(node) else { return };
        known.refs -= 1;
        if known.refs > 0 {
            return;
        }
        self.unlist(node);
        let at = place(node);
        let known = self.places[at].known.take();
        self.free.push(at as u32);
        let Some(Known { export, id, kind, how, .. }) = known else { return };
        match how {
            // A held one has no directory above it here, so this goes no deeper.
            How::Named { dir, .. } => self.forget(dir),
            How::Held(_) => self.unshare((export, id, kind)),
            How::Open(_) => {}
        }
    }

    fn unshare(&mut self, key: (u32, Id, u32)) {
        if let Entry::Occupied(mut entry) = self.fds.entry(key) {
            entry.get_mut().1 -= 1;
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
    }

    /// A file that is held has been opened, and needs no other descriptor.
    pub(super) fn opened(&mut self, node: u64, fd: &Arc<OwnedFd>) {
        self.open += 1;
        let Some(known) = self.get_mut(node) else { return };
        let key = (known.export, known.id, known.kind);
        if matches!(known.how, How::Held(_)) {
            known.how = How::Open(fd.clone());
            self.unshare(key);
        }
    }

    /// An open file is closed; whether there is still somebody who knows it by it.
    pub(super) fn closed(&mut self, node: u64, fd: &Arc<OwnedFd>) -> bool {
        self.open = self.open.saturating_sub(1);
        // The one reference that is left otherwise goes with the open file.
        self.get(node).is_ok_and(|known| {
            known.refs > 1 && matches!(&known.how, How::Open(its) if Arc::ptr_eq(its, fd))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd() -> OwnedFd {
        std::fs::File::open("/").unwrap().into()
    }

    #[test]
    fn named_files_are_found_by_their_names_and_leave_nothing() {
        let mut nodes = Nodes::default();
        let dir = nodes.hold(0, (1, 1), 0, fd());
        let all: Vec<u64> = (0..5000)
            .map(|i| nodes.name(dir, &format!("f{}", i % 2500), (1, 100 + i as u64), 0).unwrap())
            .collect();
        assert_eq!((nodes.held(), nodes.descriptors()), (5001, 1));
        for i in [0, 7, 2499] {
            let mut found = nodes.named((1, 1), &format!("f{i}"));
            found.sort();
            let mut want = vec![all[i], all[i + 2500]];
            want.sort();
            assert_eq!(found, want);
        }
        assert!(nodes.named((2, 1), "f7").is_empty());
        assert!(!nodes.join(all[7]));
        nodes.now_held(all[7], Arc::new(fd()));
        assert_eq!((nodes.named((1, 1), "f7"), nodes.descriptors()), (vec![all[2507]], 2));
        let twin = nodes.name(dir, "link", nodes.get(all[7]).unwrap().id, 0).unwrap();
        assert!(nodes.join(twin), "one descriptor is enough for a file");
        assert_eq!(nodes.descriptors(), 2);
        nodes.forget(twin);
        nodes.forget(dir);
        assert_eq!(nodes.get(dir).unwrap().id, (1, 1), "named ones need it");
        for node in all.iter().rev() {
            nodes.forget(*node);
            assert!(nodes.get(*node).is_err());
        }
        assert_eq!((nodes.held(), nodes.descriptors()), (0, 0));
        assert!(nodes.lists.iter().all(|l| *l == NONE));
    }

    #[test]
    fn a_place_used_again_is_another_node() {
        let mut nodes = Nodes::default();
        let a = nodes.hold(0, (1, 1), 0, fd());
        nodes.forget(a);
        let b = nodes.hold(0, (1, 2), 0, fd());
        assert!(nodes.get(a).is_err() && nodes.get(b).is_ok());
        nodes.forget(a);
        assert!(nodes.get(b).is_ok());
        nodes.limit = 1;
        assert_eq!(nodes.room().unwrap_err().errno, Errno::EMFILE);
    }
}
