//! What a tree of files is, in as few lines as will do: a list of files, some of
//! which are directories that name others. A session's fid is a file and the name
//! by which it was reached. Every check is in the order in which the server makes it.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::collections::BTreeMap;

use atoll_9p::fault::Errno;

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Dir(BTreeMap<String, usize>),
    Plain(Vec<u8>),
    Link(String),
}

#[derive(Clone, Debug)]
pub struct File {
    pub kind: Kind,
    pub perm: u32,
    pub parent: usize,
    pub names: u32,
    /// It has had two names: which directory is above it, nobody need agree on.
    pub linked: bool,
}

#[derive(Clone, Debug)]
pub struct Fid {
    pub file: usize,
    pub name: Option<String>,
    /// Its flags, if it is open.
    pub open: Option<u32>,
}

pub type Fids = BTreeMap<u32, Fid>;
pub type Done<R = ()> = Result<R, Errno>;

pub const READ: u32 = 4;
pub const WRITE: u32 = 2;
pub const EXEC: u32 = 1;
pub const TRUNC: u32 = 0o1000;
pub const EXCL: u32 = 0o200;

pub struct Model {
    pub files: Vec<File>,
}

/// What flags of open(2) want to be allowed.
pub fn wanted(flags: u32) -> Done<u32> {
    match flags & 3 {
        3 => Err(Errno::EINVAL),
        f => {
            let writes = f != 0 || flags & TRUNC != 0;
            Ok(if f != 1 { READ } else { 0 } | if writes { WRITE } else { 0 })
        }
    }
}

pub fn in_walk(name: &str) -> Done {
    match name {
        "" | "." => Err(Errno::EINVAL),
        n if n.contains('/') => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

pub fn proper(name: &str) -> Done {
    if name == ".." { Err(Errno::EINVAL) } else { in_walk(name) }
}

pub fn get(fids: &Fids, fid: u32) -> Done<&Fid> {
    fids.get(&fid).ok_or(Errno::EBADF)
}

impl Model {
    pub fn new() -> Model {
        Model { files: vec![Model::file(Kind::Dir(BTreeMap::new()), 0o755, 0)] }
    }

    fn file(kind: Kind, perm: u32, parent: usize) -> File {
        File { kind, perm, parent, names: 1, linked: false }
    }

    pub fn is_dir(&self, file: usize) -> bool {
        matches!(self.files[file].kind, Kind::Dir(_))
    }

    /// Without a name: only what is open of it is of use.
    pub fn is_orphan(&self, file: usize) -> bool {
        self.files[file].names == 0
    }

    pub fn may(&self, file: usize, want: u32) -> Done {
        let bits = self.files[file].perm >> 6 & 7;
        if bits & want == want { Ok(()) } else { Err(Errno::EACCES) }
    }

    pub fn names(&self, dir: usize) -> &BTreeMap<String, usize> {
        match &self.files[dir].kind {
            Kind::Dir(names) => names,
            other => panic!("{other:?} is no directory"),
        }
    }

    fn names_mut(&mut self, dir: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.files[dir].kind {
            Kind::Dir(names) => names,
            other => panic!("{other:?} is no directory"),
        }
    }

    pub fn size(&self, file: usize) -> u64 {
        match &self.files[file].kind {
            Kind::Dir(_) => 0,
            Kind::Plain(data) => data.len() as u64,
            Kind::Link(to) => to.len() as u64,
        }
    }

    /// Files that have a name, or that somebody has a fid of.
    pub fn alive(&self) -> usize {
        self.files.iter().filter(|f| f.names > 0).count()
    }

    /// One step of a walk.
    pub fn step(&self, at: usize, name: &str) -> Done<usize> {
        in_walk(name)?;
        match &self.files[at].kind {
            Kind::Dir(_) if name == ".." => Ok(self.files[at].parent),
            Kind::Dir(names) => names.get(name).copied().ok_or(Errno::ENOENT),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// A directory that may be changed.
    pub fn dir(&self, fids: &Fids, fid: u32) -> Done<usize> {
        let file = get(fids, fid)?.file;
        if !self.is_dir(file) {
            return Err(Errno::ENOTDIR);
        }
        self.may(file, WRITE | EXEC)?;
        Ok(file)
    }

    pub fn make(&mut self, dir: usize, name: &str, kind: Kind, perm: u32) -> Done<usize> {
        if self.names(dir).contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.files.push(Model::file(kind, perm, dir));
        let new = self.files.len() - 1;
        self.names_mut(dir).insert(name.into(), new);
        Ok(new)
    }

    /// What the tree itself says to opening.
    pub fn open(&mut self, file: usize, flags: u32) -> Done {
        match &mut self.files[file].kind {
            Kind::Link(_) => Err(Errno::ELOOP),
            Kind::Plain(data) if flags & TRUNC != 0 && flags & 3 != 0 => {
                data.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub fn link(&mut self, file: usize, dir: usize, name: &str) -> Done {
        proper(name)?;
        if self.is_dir(file) {
            return Err(Errno::EPERM);
        }
        if self.names(dir).contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.names_mut(dir).insert(name.into(), file);
        self.files[file].names += 1;
        self.files[file].linked = true;
        Ok(())
    }

    pub fn remove(&mut self, dir: usize, name: &str, as_dir: bool) -> Done {
        let file = *self.names(dir).get(name).ok_or(Errno::ENOENT)?;
        match &self.files[file].kind {
            Kind::Dir(_) if !as_dir => return Err(Errno::EISDIR),
            Kind::Dir(names) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
            Kind::Dir(_) => {}
            _ if as_dir => return Err(Errno::ENOTDIR),
            _ => {}
        }
        self.names_mut(dir).remove(name);
        self.files[file].names -= 1;
        Ok(())
    }

    pub fn rename(&mut self, from: usize, name: &str, to: usize, newname: &str) -> Done {
        let file = *self.names(from).get(name).ok_or(Errno::ENOENT)?;
        let over = self.names(to).get(newname).copied();
        if over == Some(file) {
            return Ok(());
        }
        let mut at = to;
        while self.is_dir(file) && at != 0 {
            if at == file {
                return Err(Errno::EINVAL);
            }
            at = self.files[at].parent;
        }
        if let Some(over) = over {
            match (&self.files[over].kind, self.is_dir(file)) {
                (Kind::Dir(_), false) => return Err(Errno::EISDIR),
                (Kind::Dir(names), true) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
                (Kind::Dir(_), true) => {}
                (_, true) => return Err(Errno::ENOTDIR),
                _ => {}
            }
            self.files[over].names -= 1;
        }
        self.names_mut(from).remove(name);
        self.names_mut(to).insert(newname.into(), file);
        self.files[file].parent = to;
        Ok(())
    }

    /// The directory of a fid's file and its name there.
    pub fn place(&self, fids: &mut Fids, fid: u32) -> Done<(usize, String)> {
        let f = fids.get_mut(&fid).ok_or(Errno::EBADF)?;
        if f.file == 0 {
            return Err(Errno::EBUSY);
        }
        let dir = self.files[f.file].parent;
        let names = self.names(dir);
        let name = match &f.name {
            Some(name) if names.get(name) == Some(&f.file) => name.clone(),
            Some(_) => return Err(Errno::ESTALE),
            None => names.iter().find(|n| *n.1 == f.file).ok_or(Errno::ESTALE)?.0.clone(),
        };
        f.name = Some(name.clone());
        Ok((dir, name))
    }
}
