//! The tree in memory against a table of whole paths.

use std::collections::BTreeMap;

use atoll_9p::access::User;
use atoll_9p::fault::Errno;
use atoll_9p::msg::entries;
use atoll_9p::ram::{Budget, Node, Open, Ram};
use atoll_9p::server::Limits;
use atoll_9p::tree::{Make, MakeKind, Remove, Reply, Tree, Who};
use atoll_9p::types::{
    Lock, LockKind, LockStatus, OpId, OpenFlags, SetAttr, Stat, Time, mode, setattr,
};
use proptest::prelude::*;

mod common;
use common::Peer;

const OWNER: User = User { uid: 7, gid: 8, owner: true };

fn attach(ram: &mut Ram) -> Node {
    ram.attach(&Who { uname: "u", user: OWNER, aname: "" }).unwrap()
}

/// Walks, holding only what it ends at.
fn walk(ram: &mut Ram, path: &str) -> Result<Node, Errno> {
    let mut at = attach(ram);
    for name in path.split('/').filter(|n| !n.is_empty()) {
        let next = ram.walk(at, name);
        ram.forget(at);
        at = next.map_err(|f| f.errno)?.0;
    }
    Ok(at)
}

fn make<'a>(name: &'a str, kind: MakeKind<'a>) -> Make<'a> {
    Make { name, kind, mode: 0o640, user: OWNER, gid: 8 }
}

/// A directory and a name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[derive(Clone, Debug, PartialEq)]
enum File {
    Plain(Vec<u8>),
    Dir,
    Link(String),
}

/// Every path there is, and what it names.
struct Model {
    paths: BTreeMap<String, usize>,
    files: Vec<File>,
}

impl Model {
    fn find(&self, path: &str) -> Result<usize, Errno> {
        let mut at = 0;
        let mut whole = String::new();
        for name in path.split('/').filter(|n| !n.is_empty()) {
            if self.files[at] != File::Dir {
                return Err(Errno::ENOTDIR);
            }
            whole += "/";
            whole += name;
            at = *self.paths.get(&whole[1..]).ok_or(Errno::ENOENT)?;
        }
        Ok(at)
    }

    fn dir(&self, path: &str) -> Result<(), Errno> {
        match self.files[self.find(path)?] {
            File::Dir => Ok(()),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn below(&self, path: &str) -> Vec<String> {
        let inside = |p: &&String| p.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        self.paths.keys().filter(inside).cloned().collect()
    }

    fn names(&self, path: &str) -> Vec<String> {
        let dir = |p: &str| split(p).0 == path;
        self.paths.keys().filter(|p| dir(p)).map(|p| split(p).1.to_string()).collect()
    }

    fn put(&mut self, path: &str, file: File) -> Result<(), Errno> {
        self.dir(split(path).0)?;
        if self.paths.contains_key(path) {
            return Err(Errno::EEXIST);
        }
        self.files.push(file);
        self.paths.insert(path.into(), self.files.len() - 1);
        Ok(())
    }

    fn plain(&mut self, path: &str) -> Result<&mut Vec<u8>, Errno> {
        let at = self.find(path)?;
        match &mut self.files[at] {
            File::Plain(data) => Ok(data),
            File::Dir => Err(Errno::EISDIR),
            File::Link(_) => Err(Errno::EINVAL),
        }
    }

    fn link(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let file = self.find(from)?;
        self.dir(split(to).0)?;
        if self.files[file] == File::Dir {
            return Err(Errno::EPERM);
        }
        if self.paths.contains_key(to) {
            return Err(Errno::EEXIST);
        }
        self.paths.insert(to.into(), file);
        Ok(())
    }

    fn remove(&mut self, path: &str, what: Remove) -> Result<(), Errno> {
        self.dir(split(path).0)?;
        let dir = self.files[self.find(path)?] == File::Dir;
        match what {
            Remove::File if dir => return Err(Errno::EISDIR),
            Remove::Dir if !dir => return Err(Errno::ENOTDIR),
            Remove::Dir if !self.below(path).is_empty() => return Err(Errno::ENOTEMPTY),
            _ => self.paths.remove(path),
        };
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        self.dir(split(from).0)?;
        self.dir(split(to).0)?;
        let file = self.find(from)?;
        let dir = self.files[file] == File::Dir;
        let over = self.paths.get(to).copied();
        if over == Some(file) {
            return Ok(());
        }
        if dir && to.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Errno::EINVAL);
        }
        match over.map(|over| self.files[over] == File::Dir) {
            Some(true) if !dir => return Err(Errno::EISDIR),
            Some(false) if dir => return Err(Errno::ENOTDIR),
            Some(true) if !self.below(to).is_empty() => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        for inside in self.below(from) {
            let file = self.paths.remove(&inside).unwrap();
            self.paths.insert(format!("{to}{}", &inside[from.len()..]), file);
        }
        self.paths.remove(from);
        self.paths.insert(to.into(), file);
        Ok(())
    }
}

/// Does something in the directory of a path; gives the directory back.
fn in_dir<R>(
    ram: &mut Ram,
    path: &str,
    f: impl FnOnce(&mut Ram, Node, &str) -> Result<R, atoll_9p::fault::Fault>,
) -> Result<R, Errno> {
    let (dir, name) = split(path);
    let dir = walk(ram, dir)?;
    let result = f(ram, dir, name).map_err(|f| f.errno);
    ram.forget(dir);
    result
}

fn at<R>(
    ram: &mut Ram,
    path: &str,
    f: impl FnOnce(&mut Ram, Node) -> Result<R, atoll_9p::fault::Fault>,
) -> Result<R, Errno> {
    let node = walk(ram, path)?;
    let result = f(ram, node).map_err(|f| f.errno);
    ram.forget(node);
    result
}

fn stat(ram: &mut Ram, path: &str) -> Stat {
    at(ram, path, |ram, node| ram.stat(node)).unwrap()
}

fn opened(ram: &mut Ram, node: Node, flags: u32) -> Open {
    let mut same = node;
    let open = ram.open(&mut same, OpenFlags(flags)).unwrap();
    assert_eq!(same, node);
    open
}

fn write(ram: &mut Ram, path: &str, offset: u64, data: &[u8]) -> Result<Reply, Errno> {
    at(ram, path, |ram, mut node| {
        let mut open = ram.open(&mut node, OpenFlags::WRONLY)?;
        let result = ram.write(node, &mut open, offset, data);
        ram.close(node, open);
        result
    })
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[abc]", 1..4).prop_map(|names| names.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn a_tree_is_a_table_of_paths(
        ops in prop::collection::vec((0..13u8, path(), path(), any::<u8>()), 1..120),
    ) {
        let mut ram = Ram::default();
        let mut model = Model { paths: BTreeMap::new(), files: vec![File::Dir] };
        let empty = ram.used();
        for (op, p, q, n) in ops {
            let versions = |ram: &mut Ram| walk(ram, &p).map(|node| {
                let version = ram.qid(node).unwrap().version;
                ram.forget(node);
                version
            });
            match op {
                0..=4 => {
                    let to = format!("to-{n}");
                    let (kind, file) = match op {
                        0..=1 => (MakeKind::File, File::Plain(Vec::new())),
                        2..=3 => (MakeKind::Dir, File::Dir),
                        _ => (MakeKind::Symlink(&to), File::Link(to.clone())),
                    };
                    let got = in_dir(&mut ram, &p, |ram, dir, name| {
                        let node = ram.create(dir, &make(name, kind))?;
                        ram.forget(node);
                        Ok(())
                    });
                    prop_assert_eq!(got, model.put(&p, file));
                }
                5..=6 => {
                    let data = vec![n; usize::from(n % 7)];
                    let before = versions(&mut ram);
                    let got = write(&mut ram, &p, (n / 7).into(), &data);
                    match model.plain(&p) {
                        Ok(file) => {
                            if !data.is_empty() {
                                let from = usize::from(n / 7);
                                file.resize(file.len().max(from + data.len()), 0);
                                file[from..from + data.len()].fill(n);
                            }
                            prop_assert_eq!(got, Ok(Reply::Done(data.len())));
                            prop_assert_eq!(before != versions(&mut ram), !data.is_empty());
                        }
                        // A link is not followed here: a client does that.
                        Err(Errno::EINVAL) => prop_assert_eq!(got, Err(Errno::ELOOP)),
                        Err(e) => prop_assert_eq!(got, Err(e)),
                    }
                }
                7 => {
                    let set = SetAttr { valid: setattr::SIZE, size: n.into(), ..SetAttr::default() };
                    let got = at(&mut ram, &p, |ram, node| ram.set(node, &set));
                    prop_assert_eq!(got, model.plain(&p).map(|file| file.resize(n.into(), 0)));
                }
                8 => {
                    let got = at(&mut ram, &p, |ram, node| {
                        in_dir(ram, &q, |ram, dir, name| ram.link(node, dir, name))
                            .map_err(Into::into)
                    });
                    prop_assert_eq!(got, model.link(&p, &q));
                }
                9..=10 => {
                    let got = in_dir(&mut ram, &p, |ram, from, name| {
                        in_dir(ram, &q, |ram, to, newname| ram.rename(from, name, to, newname))
                            .map_err(Into::into)
                    });
                    let want = model.rename(&p, &q);
                    // Where two things are wrong, either may be said.
                    prop_assert!(got == want || got.is_err() && want.is_err(), "{got:?} {want:?}");
                }
                _ => {
                    let what = if n % 2 == 0 { Remove::File } else { Remove::Dir };
                    let got = in_dir(&mut ram, &p, |ram, dir, name| ram.remove(dir, name, what));
                    prop_assert_eq!(got, model.remove(&p, what));
                }
            }
        }
        let mut subdirs = BTreeMap::<&str, u64>::new();
        let mut links = BTreeMap::<usize, u64>::new();
        for (path, file) in &model.paths {
            *subdirs.entry(split(path).0).or_default() += u64::from(model.files[*file] == File::Dir);
            *links.entry(*file).or_default() += 1;
        }
        for (path, file) in &model.paths {
            let s = stat(&mut ram, path);
            match &model.files[*file] {
                File::Plain(data) => {
                    prop_assert_eq!(&ram.content(path).unwrap(), data);
                    prop_assert_eq!((s.mode, s.size), (mode::FILE | 0o640, data.len() as u64));
                    prop_assert_eq!(s.nlink, links[file]);
                }
                File::Dir => {
                    prop_assert_eq!(s.mode, mode::DIR | 0o640);
                    prop_assert_eq!(s.nlink, 2 + subdirs.get(&path[..]).unwrap_or(&0));
                    let up = walk(&mut ram, &format!("{path}/..")).unwrap();
                    let above = walk(&mut ram, split(path).0).unwrap();
                    prop_assert_eq!(up, above);
                    ram.forget(up);
                    ram.forget(above);
                }
                File::Link(to) => {
                    let mut text = String::new();
                    at(&mut ram, path, |ram, node| ram.readlink(node, &mut text)).unwrap();
                    prop_assert_eq!((&text, s.mode), (to, mode::SYMLINK | 0o777));
                }
            }
        }
        let mut dirs = vec![String::new()];
        dirs.extend(model.paths.iter().filter(|p| model.files[*p.1] == File::Dir).map(|p| p.0.clone()));
        let mut peer = Peer::attached(&mut ram, Limits::default());
        for dir in &dirs {
            let mut names = listed(&mut peer, &mut ram, dir, 120);
            names.sort();
            prop_assert_eq!(names, model.names(dir));
        }
        peer.s.close(&mut ram);
        // Nothing is left of what is taken away.
        while let Some((path, file)) = model.paths.pop_last() {
            let what = if model.files[file] == File::Dir { Remove::Dir } else { Remove::File };
            in_dir(&mut ram, &path, |ram, dir, name| ram.remove(dir, name, what)).unwrap();
        }
        prop_assert_eq!(ram.used(), empty);
    }
}

/// The names in a directory, read in pages of that many bytes.
fn listed(peer: &mut Peer<Ram>, ram: &mut Ram, path: &str, count: u32) -> Vec<String> {
    let (mut names, mut offset) = (Vec::new(), 0);
    peer.open(ram, 9, path, OpenFlags::RDONLY);
    loop {
        let page = page(peer, ram, 9, offset, count);
        let Some(last) = page.last() else { break };
        offset = last.0;
        names.extend(page.into_iter().map(|e| e.1));
    }
    assert_eq!(peer.errno(ram, &atoll_9p::msg::Tmsg::Clunk { fid: 9 }), 0);
    names
}

fn page(
    peer: &mut Peer<Ram>,
    ram: &mut Ram,
    fid: u32,
    offset: u64,
    count: u32,
) -> Vec<(u64, String)> {
    use atoll_9p::msg::{Rmsg, Tmsg};
    let f = peer.ask(ram, &Tmsg::Readdir { fid, offset, count });
    let Ok(Rmsg::Readdir { data }) = Rmsg::decode(&f) else { panic!("{f:?}") };
    entries(data).map(|e| (e.cookie, e.name.to_string())).collect()
}

#[test]
fn a_million_names_are_listed_while_others_come_and_go() {
    const N: u32 = 1_000_000;
    let mut ram = Ram::new(Budget { bytes: 1 << 30, files: 2_000_000 });
    let big = ram.mkdir("big").unwrap();
    for i in 0..N {
        let name = format!("f{i}");
        ram.create(big, &make(&name, MakeKind::File)).unwrap();
    }
    let mut peer = Peer::attached(&mut ram, Limits::default());
    peer.open(&mut ram, 1, "big", OpenFlags::RDONLY);
    let (mut offset, mut seen, mut pages) = (0, vec![false; N as usize], 0u32);
    loop {
        let entries = page(&mut peer, &mut ram, 1, offset, 8000);
        let Some(last) = entries.last() else { break };
        offset = last.0;
        for (_, name) in entries {
            if let Some(i) = name.strip_prefix('f') {
                let i: usize = i.parse().unwrap();
                assert!(!std::mem::replace(&mut seen[i], true), "{name} twice");
            }
        }
        // One that was seen, one that was not, and a new one that need not be.
        if pages < 1000 {
            let gone = format!("f{}", pages * 7);
            ram.remove(big, &gone, Remove::File).unwrap();
            seen[(pages * 7) as usize] = true;
            let gone = format!("f{}", N - 1 - pages);
            ram.remove(big, &gone, Remove::File).unwrap();
            seen[(N - 1 - pages) as usize] = true;
            ram.create(big, &make(&format!("new{pages}"), MakeKind::File)).unwrap();
        }
        pages += 1;
    }
    assert!(seen.iter().all(|s| *s) && pages > 1000);
    assert_eq!(peer.walk(&mut ram, 0, 2, "big/f999"), 0);
}

#[test]
fn who_has_a_removed_file_open_keeps_it() {
    let mut ram = Ram::default();
    let before = ram.used();
    let node = ram.put("a/f", b"content").unwrap();
    let node = ram.again(node);
    let mut open = opened(&mut ram, node, 2);
    in_dir(&mut ram, "a/f", |ram, dir, name| ram.remove(dir, name, Remove::File)).unwrap();
    assert_eq!(walk(&mut ram, "a/f"), Err(Errno::ENOENT));
    assert_eq!(ram.write(node, &mut open, 7, b"!").unwrap(), Reply::Done(1));
    let mut buf = [0; 20];
    assert_eq!(ram.read(node, &mut open, 0, &mut buf).unwrap(), Reply::Done(8));
    assert_eq!((&buf[..8], ram.stat(node).unwrap().nlink), (&b"content!"[..], 0));
    let root = attach(&mut ram);
    assert_eq!(ram.link(node, root, "again").unwrap_err().errno, Errno::ENOENT);
    ram.close(node, open);
    ram.forget(node);
    assert_eq!(ram.stat(node).unwrap_err().errno, Errno::ESTALE);
    // A removed directory takes no new names, and leads nowhere when that above it is gone.
    ram.mkdir("a/b").unwrap();
    let below = walk(&mut ram, "a/b").unwrap();
    in_dir(&mut ram, "a/b", |ram, dir, name| ram.remove(dir, name, Remove::Dir)).unwrap();
    let none = ram.create(below, &make("x", MakeKind::File)).unwrap_err();
    assert_eq!(none.errno, Errno::ENOENT);
    in_dir(&mut ram, "a", |ram, dir, name| ram.remove(dir, name, Remove::Dir)).unwrap();
    assert_eq!(ram.walk(below, "..").unwrap_err().errno, Errno::ESTALE);
    ram.forget(below);
    assert_eq!(ram.used(), before);
}

#[test]
fn budgets_hold() {
    let mut ram = Ram::new(Budget { bytes: 5000, files: 4 });
    ram.put("f", &[1; 4000]).unwrap();
    assert_eq!(write(&mut ram, "f", 4000, &[2; 1000]), Err(Errno::ENOSPC));
    assert_eq!(ram.content("f").unwrap(), [1; 4000]);
    assert_eq!(write(&mut ram, "f", 0, &[3; 4000]), Ok(Reply::Done(4000)));
    assert_eq!(write(&mut ram, "f", u64::MAX, b"x"), Err(Errno::EFBIG));
    // Names count, those of links too.
    let f = ram.find("f").unwrap();
    let root = ram.root();
    let links = (0..100).map_while(|i| ram.link(f, root, &format!("l{i}")).ok()).count();
    assert!((10..16).contains(&links), "{links}");
    let long = "x".repeat(255);
    assert_eq!(ram.rename(root, "l0", root, &long).unwrap_err().errno, Errno::ENOSPC);
    ram.rename(root, "l0", root, "l1").unwrap(); // one file: both stay
    assert_eq!(ram.stat(f).unwrap().nlink, 1 + links as u64);
    for i in 0..links {
        ram.remove(root, &format!("l{i}"), Remove::File).unwrap();
    }
    ram.put("g", b"").unwrap();
    ram.put("h", b"").unwrap();
    assert_eq!(ram.put("i", b"").unwrap_err().errno, Errno::ENOSPC);
    let fs = ram.statfs(root).unwrap();
    assert_eq!((fs.files, fs.ffree, fs.blocks, fs.bfree), (4, 0, 1, 0));
    let target = "t".repeat(5000);
    let e = ram.create(root, &make("s", MakeKind::Symlink(&target))).unwrap_err();
    assert_eq!(e.errno, Errno::ENAMETOOLONG);
}

#[test]
fn attributes_change_as_they_are_told() {
    let mut ram = Ram::default();
    ram.set_now(Time::from_secs(100));
    ram.put("d/f", b"abc").unwrap();
    let node = walk(&mut ram, "d/f").unwrap();
    ram.set_now(Time::from_secs(200));
    let set = |valid| SetAttr {
        valid,
        mode: 0o106_755,
        uid: 3,
        gid: 4,
        size: 2,
        atime: Time { sec: 1, nsec: 5 },
        mtime: Time::from_secs(2),
    };
    let all = setattr::MODE | setattr::UID | setattr::GID | setattr::ATIME | setattr::ATIME_SET;
    ram.set(node, &set(all | setattr::MTIME)).unwrap();
    let s = ram.stat(node).unwrap();
    assert_eq!((s.mode, s.uid, s.gid, s.size), (mode::FILE | 0o6755, 3, 4, 3));
    assert_eq!((s.atime.nsec, s.mtime.sec, s.ctime.sec), (5, 200, 200));
    ram.set_now(Time::from_secs(300));
    let version = s.qid.version;
    ram.set(node, &set(setattr::SIZE)).unwrap();
    let s = ram.stat(node).unwrap();
    assert_eq!((s.size, s.mtime.sec, s.qid.version != version), (2, 300, true));
    ram.set(node, &set(setattr::SIZE)).unwrap();
    assert_eq!(ram.stat(node).unwrap().qid.version, s.qid.version, "nothing changed");
    let mut open = opened(&mut ram, node, 1 | OpenFlags::APPEND);
    ram.write(node, &mut open, 0, b"!").unwrap();
    assert_eq!(ram.content("d/f").unwrap(), b"ab!");
    ram.close(node, open);
    let open = opened(&mut ram, node, 1 | OpenFlags::TRUNC);
    assert_eq!(ram.stat(node).unwrap().size, 0);
    ram.close(node, open);
    // Devices, and a directory that hands its group on.
    let dir = ram.find("d").unwrap();
    let sgid = SetAttr { valid: setattr::MODE | setattr::GID, mode: 0o2775, gid: 9, ..set(0) };
    ram.set(dir, &sgid).unwrap();
    ram.create(dir, &make("null", MakeKind::Special(mode::CHAR, 1, 3))).unwrap();
    ram.create(dir, &make("sub", MakeKind::Dir)).unwrap();
    let s = stat(&mut ram, "d/null");
    assert_eq!((s.mode, s.rdev, s.gid, s.uid), (mode::CHAR | 0o640, 0x103, 9, 7));
    assert_eq!((stat(&mut ram, "d/sub").mode, stat(&mut ram, "d/sub").gid), (0o42640, 9));
    let e = ram.create(dir, &make("x", MakeKind::Special(mode::FILE, 0, 0))).unwrap_err();
    assert_eq!(e.errno, Errno::EINVAL);
}

#[test]
fn locks_end_with_the_open_file_and_writes_are_done_once() {
    let mut ram = Ram::default();
    ram.put("f", b"").unwrap();
    let node = walk(&mut ram, "f").unwrap();
    let (mut one, mut two) = (opened(&mut ram, node, 2), opened(&mut ram, node, 2));
    let lock = |pid| Lock { kind: LockKind::Write, start: 0, length: 0, pid, client: "host" };
    assert_eq!(ram.lock(node, &mut one, &lock(1)).unwrap(), LockStatus::Success);
    assert_eq!(ram.lock(node, &mut two, &lock(2)).unwrap(), LockStatus::Blocked);
    assert_eq!(ram.test_lock(node, &mut two, &lock(2)).unwrap().map(|l| l.pid), Some(1));
    ram.close(node, one);
    assert_eq!(ram.lock(node, &mut two, &lock(2)).unwrap(), LockStatus::Success);
    let op = |seq, again| OpId { client: 1, seq, again };
    for (seq, again) in [(1, false), (1, true), (2, true)] {
        let offset = ram.stat(node).unwrap().size;
        assert_eq!(
            ram.write_once(node, &mut two, op(seq, again), offset, b"x").unwrap(),
            Reply::Done(1)
        );
    }
    assert_eq!(ram.content("f").unwrap(), b"xx");
    let stranger = OpId { client: 2, seq: 9, again: true };
    let e = ram.write_once(node, &mut two, stranger, 0, b"y").unwrap_err();
    assert_eq!(e.errno, Errno::ESTALE);
}
