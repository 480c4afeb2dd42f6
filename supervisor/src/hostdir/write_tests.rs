//! What can be done to a host folder, and that it stays in the folder.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use atoll_9p::access::{Identity, NOBODY};
use atoll_9p::client::Client;
use atoll_9p::msg::{Rmsg, Tmsg, entries};
use atoll_9p::server::{Limits, Session};
use atoll_9p::tree::MakeKind;
use atoll_9p::types::{LockKind, OpId, Time, setattr};
use atoll_9p::wire::NOFID;

struct Folder {
    all: tempfile::TempDir,
    tree: HostDirs,
    root: u64,
}

/// A folder `in` beside a file `secret`.
fn folder(mount: Mount) -> Folder {
    let all = tempfile::tempdir().unwrap();
    std::fs::create_dir(all.path().join("in")).unwrap();
    std::fs::write(all.path().join("secret"), "secret").unwrap();
    let mut tree = HostDirs::of(&all.path().join("in"), mount).unwrap();
    let root = tree.attach(&Who { uname: "", user: user(), aname: "" }).unwrap();
    Folder { all, tree, root }
}

fn user() -> User {
    Identity::Owner.user(0)
}

fn make<'a>(name: &'a str, kind: MakeKind<'a>) -> Make<'a> {
    Make { name, kind, mode: 0o640, user: user(), gid: 0 }
}

impl Folder {
    fn host(&self, path: &str) -> PathBuf {
        self.all.path().join("in").join(path)
    }

    fn walk(&mut self, path: &str) -> Result<u64, Errno> {
        let mut at = self.tree.again(self.root);
        for name in path.split('/').filter(|n| !n.is_empty()) {
            let next = self.tree.walk(at, name);
            self.tree.forget(at);
            at = next.map_err(|f| f.errno)?.0;
        }
        Ok(at)
    }

    fn read(&mut self, mut node: u64) -> Result<String, Errno> {
        let mut open = self.tree.open(&mut node, OpenFlags::RDONLY).map_err(|f| f.errno)?;
        let mut buf = [0; 100];
        let reply = self.tree.read(node, &mut open, 0, &mut buf);
        self.tree.close(node, open);
        match reply.map_err(|f| f.errno)? {
            Reply::Done(n) => Ok(String::from_utf8_lossy(&buf[..n]).into()),
            Reply::Later => panic!("a host file does not block"),
        }
    }

    fn write(&mut self, mut node: u64, at: u64, data: &str) -> Result<(), Errno> {
        let mut open = self.tree.open(&mut node, OpenFlags::WRONLY).map_err(|f| f.errno)?;
        let reply = self.tree.write(node, &mut open, at, data.as_bytes());
        self.tree.close(node, open);
        assert_eq!(reply.map_err(|f| f.errno)?, Reply::Done(data.len()));
        Ok(())
    }
}

#[test]
fn files_are_made_written_changed_and_removed() {
    let mut f = folder(Mount::ReadWrite);
    let root = f.root;
    let made = make("file", MakeKind::File);
    let (file, mut open) = f.tree.create_open(root, &made, OpenFlags::RDWR).unwrap();
    assert_eq!(f.tree.write(file, &mut open, 3, b"def").unwrap(), Reply::Done(3));
    f.tree.close(file, open);
    f.tree.sync(file).unwrap();
    assert_eq!(std::fs::read(f.host("file")).unwrap(), b"\0\0\0def");
    let again = f.tree.create_open(root, &made, OpenFlags::RDWR).err().map(|e| e.errno);
    assert_eq!(again, Some(Errno::EEXIST));

    let set = |valid| SetAttr { valid, ..SetAttr::default() };
    f.tree.set(file, &SetAttr { size: 4, ..set(setattr::SIZE) }).unwrap();
    f.tree.set(file, &SetAttr { mode: 0o604, ..set(setattr::MODE) }).unwrap();
    let mtime = Time { sec: 1_000_000_000, nsec: 7 };
    let times = setattr::MTIME | setattr::MTIME_SET;
    f.tree.set(file, &SetAttr { mtime, ..set(times) }).unwrap();
    let stat = f.tree.stat(file).unwrap();
    assert_eq!((stat.size, stat.mode, stat.mtime), (4, mode::FILE | 0o604, mtime));
    let before = stat.qid;
    f.tree.set(file, &set(setattr::MTIME)).unwrap();
    let stat = f.tree.stat(file).unwrap();
    assert!(stat.mtime > mtime && stat.atime.sec > 1_600_000_000);
    assert!(stat.qid.path == before.path && stat.qid.version != before.version);
    assert_eq!(stat.qid.path, std::fs::metadata(f.host("file")).unwrap().ino());

    let dir = f.tree.create(root, &Make { mode: 0o750, ..make("dir", MakeKind::Dir) }).unwrap();
    let link = f.tree.create(dir, &make("link", MakeKind::Symlink("../file"))).unwrap();
    let mut text = String::new();
    f.tree.readlink(link, &mut text).unwrap();
    assert_eq!(text, "../file");
    f.tree.link(file, dir, "hard").unwrap();
    f.tree.link(link, dir, "link too").unwrap();
    assert_eq!(std::fs::read_link(f.host("dir/link too")).unwrap(), PathBuf::from("../file"));
    let pipe = f.tree.create(dir, &make("pipe", MakeKind::Special(mode::PIPE, 0, 0))).unwrap();
    assert_eq!(f.tree.stat(pipe).unwrap().mode, mode::PIPE | 0o640);
    let device = make("device", MakeKind::Special(mode::CHAR, 1, 3));
    assert_eq!(f.tree.create(dir, &device).unwrap_err().errno, Errno::EPERM);

    f.tree.rename(root, "file", dir, "file").unwrap();
    let other = f.walk("dir/hard").unwrap();
    assert_eq!(f.tree.qid(other).unwrap().path, stat.qid.path);
    assert_eq!(f.tree.stat(other).unwrap().nlink, 2);
    let full = f.tree.remove(root, "dir", Remove::Dir).unwrap_err().errno;
    assert_eq!(full, Errno::ENOTEMPTY);
    for name in ["file", "hard", "link", "link too", "pipe"] {
        f.tree.remove(dir, name, Remove::File).unwrap();
    }
    f.tree.remove(root, "dir", Remove::Dir).unwrap();
    assert_eq!(std::fs::read_dir(f.host("")).unwrap().count(), 0);
    let fs = f.tree.statfs(root).unwrap();
    assert!(fs.blocks > 0 && fs.bsize >= 512 && fs.namelen >= 255);
    for node in [file, dir, link, pipe, other, root] {
        f.tree.forget(node);
    }
    assert_eq!((f.tree.held(), f.tree.nodes.descriptors()), (0, 0));
}

#[test]
fn who_knows_a_file_keeps_it_whatever_becomes_of_its_name() {
    let mut f = folder(Mount::ReadWrite);
    let root = f.root;
    for name in ["a", "b", "c", "d"] {
        std::fs::write(f.host(name), name).unwrap();
    }
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| f.walk(name).unwrap());
    assert_eq!(f.tree.nodes.descriptors(), 1, "none of them was more than looked at");
    f.tree.rename(root, "a", root, "b").unwrap();
    f.tree.remove(root, "c", Remove::File).unwrap();
    for (node, text) in [(a, "a"), (b, "b"), (c, "c")] {
        assert_eq!(f.read(node).as_deref(), Ok(text));
        f.tree.stat(node).unwrap();
    }
    // What the host does behind our back shows.
    std::fs::rename(f.host("d"), f.host("e")).unwrap();
    std::fs::write(f.host("d"), "another").unwrap();
    assert_eq!(f.tree.stat(d).unwrap_err().errno, Errno::ESTALE);
    assert_eq!(f.read(d), Err(Errno::ESTALE));
    std::fs::remove_file(f.host("d")).unwrap();
    assert_eq!(f.tree.qid(d).unwrap_err().errno, Errno::ESTALE);
    // Who has looked twice holds it.
    let e = f.walk("e").unwrap();
    f.tree.stat(e).unwrap();
    f.tree.stat(e).unwrap();
    std::fs::remove_file(f.host("e")).unwrap();
    assert_eq!(f.read(e).as_deref(), Ok("d"));
}

#[test]
fn nothing_leads_out_of_the_folder() {
    let mut f = folder(Mount::ReadWrite);
    let root = f.root;
    std::fs::create_dir_all(f.host("dir/deep")).unwrap();
    symlink("../secret", f.host("link")).unwrap();
    symlink("..", f.host("up")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, f.host("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    let link = f.walk("link").unwrap();
    assert!(f.tree.qid(link).unwrap().is_symlink());
    assert_eq!(f.read(link), Err(Errno::ELOOP));
    assert_eq!(f.walk("up/secret"), Err(Errno::ENOTDIR));
    let pipe = f.walk("pipe").unwrap();
    assert_eq!(f.read(pipe), Err(Errno::EACCES));
    for (name, want) in [("..", Errno::EINVAL), ("", Errno::EINVAL), ("../x", Errno::EINVAL)] {
        let made = f.tree.create(root, &make(name, MakeKind::File)).unwrap_err();
        assert_eq!(made.errno, want, "{name:?}");
        assert!(f.tree.remove(root, name, Remove::Dir).is_err());
        assert!(f.tree.rename(root, "dir", root, name).is_err());
    }
    assert_eq!(f.tree.walk(root, "../secret").unwrap_err().errno, Errno::EINVAL);
    let top = f.walk("dir/deep/../../../../..").unwrap();
    assert_eq!(f.tree.qid(top).unwrap(), f.tree.qid(root).unwrap());
    // A folder that the host has moved away leads neither back nor to where it is.
    let deep = f.walk("dir/deep").unwrap();
    f.tree.qid(deep).unwrap();
    std::fs::rename(f.host("dir"), f.all.path().join("away")).unwrap();
    assert_eq!(f.tree.walk(deep, "..").unwrap_err().errno, Errno::ESTALE);
    // Renamed inside, it leads to where it is now.
    std::fs::rename(f.all.path().join("away"), f.host("back")).unwrap();
    let (back, qid) = f.tree.walk(deep, "..").unwrap();
    assert_eq!(qid.path, std::fs::metadata(f.host("back")).unwrap().ino());
    f.tree.forget(back);
}

#[test]
fn swapping_a_folder_for_a_link_helps_nobody() {
    let mut f = folder(Mount::ReadWrite);
    std::fs::create_dir(f.host("dir")).unwrap();
    std::fs::write(f.host("dir/secret"), "plain").unwrap();
    symlink(f.all.path(), f.host("trap")).unwrap();
    let (dir, trap, spare) = (f.host("dir"), f.host("trap"), f.host("spare"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::fs::rename(&dir, &spare).unwrap();
                std::fs::rename(&trap, &dir).unwrap();
                std::fs::rename(&dir, &trap).unwrap();
                std::fs::rename(&spare, &dir).unwrap();
            }
        });
        let mut read = 0;
        for i in 0..20_000 {
            let Ok(node) = f.walk("dir/secret") else { continue };
            if let Ok(text) = f.read(node) {
                assert_eq!(text, "plain", "round {i}");
                read += 1;
            }
            if f.write(node, 0, "plain").is_ok() {
                read += 1;
            }
            f.tree.forget(node);
        }
        done.store(true, Ordering::Relaxed);
        assert!(read > 0);
    });
    assert_eq!(std::fs::read_to_string(f.all.path().join("secret")).unwrap(), "secret");
}

#[test]
fn a_read_only_folder_stays_as_it_is() {
    let mut f = folder(Mount::ReadOnly);
    let root = f.root;
    std::fs::write(f.host("file"), "text").unwrap();
    std::fs::create_dir(f.host("dir")).unwrap();
    let mut file = f.walk("file").unwrap();
    let refused = |e: Result<(), Fault>| assert_eq!(e.map_err(|f| f.errno), Err(Errno::EROFS));
    for flags in [OpenFlags::WRONLY, OpenFlags::RDWR, OpenFlags(OpenFlags::TRUNC)] {
        refused(f.tree.open(&mut file, flags).map(drop));
    }
    refused(f.tree.create(root, &make("new", MakeKind::Dir)).map(drop));
    refused(f.tree.create_open(root, &make("new", MakeKind::File), OpenFlags::RDWR).map(drop));
    refused(f.tree.link(file, root, "new"));
    refused(f.tree.rename(root, "file", root, "new"));
    refused(f.tree.remove(root, "dir", Remove::Dir));
    refused(f.tree.set(file, &SetAttr { valid: setattr::MODE, ..SetAttr::default() }));
    assert_eq!(f.read(file).as_deref(), Ok("text"));
    assert_eq!(f.tree.stat(file).unwrap().mode & 0o222, 0);
    assert_eq!(std::fs::read_dir(f.host("")).unwrap().count(), 2);
}

#[test]
fn a_listing_says_what_walks_find() {
    let mut f = folder(Mount::ReadWrite);
    std::fs::create_dir(f.host("dir")).unwrap();
    std::fs::write(f.host("file"), "").unwrap();
    symlink("file", f.host("link")).unwrap();
    let mut session = Session::<HostDirs>::new(Limits::default());
    let mut client = Client::new(8192);
    client.send(&Tmsg::Attach { fid: 0, afid: NOFID, uname: "", aname: "", n_uname: 0 });
    client.send(&Tmsg::Lopen { fid: 0, flags: OpenFlags::RDONLY });
    client.send(&Tmsg::Readdir { fid: 0, offset: 0, count: 4096 });
    let mut listed = Vec::new();
    for _ in 0..2 {
        // The client asks for the version first, and sends the rest when it knows it.
        let n = session.feed(client.output());
        client.sent(n);
        while session.step(&mut f.tree) {}
        client.feed(session.output());
        session.sent(session.output().len());
        while let Some((_, answer)) = client.poll().unwrap() {
            if let Rmsg::Readdir { data } = answer {
                listed = entries(data).map(|e| (e.qid, e.name.to_owned())).collect();
            }
        }
    }
    let mut names = Vec::new();
    for (listed, name) in listed {
        let node = f.walk(&name).unwrap();
        let qid = f.tree.qid(node).unwrap();
        assert_eq!((listed.ty, listed.path), (qid.ty, qid.path), "{name}");
        names.push(name);
    }
    session.close(&mut f.tree);
    names.sort();
    assert_eq!(names, ["dir", "file", "link"]);
}

#[test]
fn descriptors_are_shared_bounded_and_given_back() {
    let mut f = folder(Mount::ReadWrite);
    std::fs::write(f.host("one"), "1").unwrap();
    let before = f.tree.nodes.descriptors();
    let mut all: Vec<(u64, Open)> = (0..100)
        .map(|_| {
            let mut node = f.walk("one").unwrap();
            let open = f.tree.open(&mut node, OpenFlags::RDONLY).unwrap();
            (node, open)
        })
        .collect();
    assert_eq!(f.tree.nodes.descriptors(), before + 100, "one for each open file");
    f.tree.limit(before + 101);
    let mut node = f.walk("one").unwrap();
    let fault = f.tree.open(&mut node, OpenFlags::RDONLY).unwrap_err();
    assert!(fault.errno == Errno::EMFILE && fault.text().contains("RLIMIT_NOFILE"));
    assert_eq!(f.tree.stat(node).unwrap().size, 1, "looking costs none");
    let (was, open) = all.pop().unwrap();
    f.tree.close(was, open);
    f.tree.forget(was);
    assert!(f.read(node).is_ok());
    for (node, open) in all {
        f.tree.close(node, open);
        f.tree.forget(node);
    }
    f.tree.forget(node);
    assert_eq!(f.tree.nodes.descriptors(), before);
}

#[test]
fn what_was_open_is_still_known_when_it_is_closed() {
    let mut f = folder(Mount::ReadWrite);
    let root = f.root;
    let made = make("file", MakeKind::File);
    let before = f.tree.nodes.descriptors();
    let (node, mut open) = f.tree.create_open(root, &made, OpenFlags::WRONLY).unwrap();
    assert_eq!(f.tree.nodes.descriptors(), before + 1);
    let again = f.tree.again(node);
    f.tree.write(node, &mut open, 0, b"text").unwrap();
    f.tree.remove(root, "file", Remove::File).unwrap();
    assert_eq!(f.tree.stat(again).unwrap().nlink, 0);
    f.tree.close(node, open);
    f.tree.forget(node);
    assert_eq!(f.tree.nodes.descriptors(), before + 1);
    assert_eq!(f.read(again).as_deref(), Ok("text"));
    f.tree.forget(again);
    assert_eq!(f.tree.nodes.descriptors(), before);
}

#[test]
fn locks_are_between_open_files_and_end_with_them() {
    let mut f = folder(Mount::ReadWrite);
    std::fs::write(f.host("file"), "").unwrap();
    std::fs::hard_link(f.host("file"), f.host("other")).unwrap();
    let (mut a, mut b) = (f.walk("file").unwrap(), f.walk("other").unwrap());
    let mut open_a = f.tree.open(&mut a, OpenFlags::RDWR).unwrap();
    let mut open_b = f.tree.open(&mut b, OpenFlags::RDWR).unwrap();
    let lock = |pid| Lock { kind: LockKind::Write, start: 0, length: 0, pid, client: "c" };
    assert_eq!(f.tree.lock(a, &mut open_a, &lock(1)).unwrap(), LockStatus::Success);
    assert_eq!(f.tree.lock(b, &mut open_b, &lock(2)).unwrap(), LockStatus::Blocked);
    let in_the_way = f.tree.test_lock(b, &mut open_b, &lock(2)).unwrap();
    assert_eq!(in_the_way.map(|l| l.pid), Some(1));
    f.tree.close(a, open_a);
    assert_eq!(f.tree.lock(b, &mut open_b, &lock(2)).unwrap(), LockStatus::Success);
    f.tree.close(b, open_b);
    assert!(f.tree.locks.is_empty());
}

#[test]
fn a_named_write_is_done_once() {
    let mut f = folder(Mount::ReadWrite);
    std::fs::write(f.host("log"), "").unwrap();
    let mut node = f.walk("log").unwrap();
    let flags = OpenFlags(OpenFlags::WRONLY.0 | OpenFlags::APPEND);
    let mut open = f.tree.open(&mut node, flags).unwrap();
    for (seq, again, done) in [(1, false, true), (1, true, true), (2, true, true)] {
        let op = OpId { client: 9, seq, again };
        let reply = f.tree.write_once(node, &mut open, op, 0, b"x");
        assert_eq!(reply.is_ok(), done);
    }
    assert_eq!(std::fs::read(f.host("log")).unwrap(), b"xx");
}

#[test]
fn what_root_makes_for_a_user_is_the_users() {
    if !rustix::process::geteuid().is_root() {
        return println!("left out: only user 0 gives files away");
    }
    let mut f = folder(Mount::ReadWrite);
    let root = f.root;
    for (uid, gid, want) in [(1000, 100, (1000, 100)), (NOBODY, NOBODY, (0, 0))] {
        for kind in [MakeKind::File, MakeKind::Dir, MakeKind::Symlink("x")] {
            let user = User { uid, gid, owner: true };
            let node = f.tree.create(root, &Make { user, gid, ..make("new", kind) }).unwrap();
            let stat = f.tree.stat(node).unwrap();
            assert_eq!((stat.uid, stat.gid), want);
            let what = if kind == MakeKind::Dir { Remove::Dir } else { Remove::File };
            f.tree.remove(root, "new", what).unwrap();
            f.tree.forget(node);
        }
        let made =
            Make { user: User { uid, gid, owner: true }, gid, ..make("new", MakeKind::File) };
        let (node, open) = f.tree.create_open(root, &made, OpenFlags::RDWR).unwrap();
        let stat = f.tree.stat(node).unwrap();
        assert_eq!((stat.uid, stat.gid), want);
        f.tree.close(node, open);
        f.tree.remove(root, "new", Remove::File).unwrap();
    }
}

#[test]
fn modes_are_what_the_host_has() {
    let mut f = folder(Mount::ReadWrite);
    std::fs::write(f.host("file"), "").unwrap();
    std::fs::set_permissions(f.host("file"), std::fs::Permissions::from_mode(0o4751)).unwrap();
    let node = f.walk("file").unwrap();
    let meta = std::fs::metadata(f.host("file")).unwrap();
    let stat = f.tree.stat(node).unwrap();
    assert_eq!((stat.mode, stat.uid, stat.gid), (meta.mode(), meta.uid(), meta.gid()));
    // Another user is held to the mode, this process's own to what the host says.
    let other = User { uid: meta.uid() + 1, gid: meta.gid() + 1, owner: false };
    assert!(f.tree.may(node, other, Want::WRITE).is_err());
    assert!(f.tree.may(node, user(), Want::WRITE).is_ok());
    assert!(f.tree.may_set(node, other).is_err());
}
