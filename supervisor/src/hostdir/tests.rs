//! What a guest can reach of a host folder, and what it cannot.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use super::*;
use atoll_9p::access::Identity;
use atoll_9p::client::{Client, fault as refused};
use atoll_9p::msg::{Rmsg, Tmsg, entries};
use atoll_9p::server::{Limits, Session};
use atoll_9p::wire::NOFID;

fn tree() -> (tempfile::TempDir, HostDirs) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("in/sub")).unwrap();
    std::fs::write(at("secret"), "secret").unwrap();
    std::fs::write(at("in/plain"), "plain text").unwrap();
    std::fs::write(at("in/sub/deep"), "deep").unwrap();
    symlink("../plain", at("in/sub/back")).unwrap();
    symlink("sub", at("in/link")).unwrap();
    symlink("../secret", at("in/out")).unwrap();
    symlink("/etc/passwd", at("in/abs")).unwrap();
    symlink("loop", at("in/loop")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("in/fifo"), Mode::RUSR).unwrap();
    let mut tree = HostDirs::new(Mount::Guest);
    tree.add("data", &at("in")).unwrap();
    (dir, tree)
}

fn walk(tree: &mut HostDirs, path: &str) -> Result<u64, Errno> {
    let who = Who { uname: "", user: Identity::Owner.user(0), aname: path };
    tree.attach(&who).map_err(|f| f.errno)
}

fn cat(tree: &mut HostDirs, path: &str) -> Result<String, Errno> {
    let mut node = walk(tree, path)?;
    let mut open = tree.open(&mut node, OpenFlags::RDONLY).map_err(|f| f.errno)?;
    let mut buf = [0; 64];
    let Reply::Done(n) = tree.read(node, &mut open, 0, &mut buf).map_err(|f| f.errno)? else {
        panic!("a host file does not block");
    };
    tree.forget(node);
    Ok(String::from_utf8_lossy(&buf[..n]).into())
}

#[test]
fn files_below_are_read_and_links_lead_only_below() {
    let (_dir, mut tree) = tree();
    for (path, want) in [
        ("data/plain", Ok("plain text")),
        ("data/sub/deep", Ok("deep")),
        ("data/sub/back", Ok("plain text")),
        ("data/link/deep", Ok("deep")),
        ("data/sub/../plain", Ok("plain text")),
        ("../../data/../../data/plain", Ok("plain text")),
        ("data/out", Err(Errno::ENOENT)),
        ("data/abs", Err(Errno::ENOENT)),
        ("data/loop", Err(Errno::ENOENT)),
        ("data/../secret", Err(Errno::ENOENT)),
        ("data/fifo", Err(Errno::EACCES)),
        ("other", Err(Errno::ENOENT)),
    ] {
        assert_eq!(cat(&mut tree, path), want.map(str::to_owned), "{path}");
    }
    let mut node = walk(&mut tree, "data/plain").unwrap();
    let error = tree.open(&mut node, OpenFlags::WRONLY).unwrap_err();
    assert_eq!(error.errno, Errno::EROFS);
    let stat = tree.stat(node).unwrap();
    assert!(stat.size == 10 && stat.mtime.sec > 1_600_000_000 && stat.mode & 0o222 == 0);
}

#[test]
fn a_session_lists_in_parts_and_leaves_nothing_held() {
    let (dir, mut tree) = tree();
    for i in 0..300 {
        std::fs::write(dir.path().join(format!("in/sub/file-{i}")), "").unwrap();
    }
    let mut session = Session::<HostDirs>::new(Limits { msize: 4096, ..Limits::default() });
    let mut client = Client::new(4096);
    let mut ask = |m: &Tmsg<'_>| -> Vec<(u64, String)> {
        client.send(m);
        let n = session.feed(client.output());
        client.sent(n);
        while session.step(&mut tree) {}
        client.feed(session.output());
        session.sent(session.output().len());
        let mut got = Vec::new();
        while let Some((_, answer)) = client.poll().unwrap() {
            match answer {
                Rmsg::Readdir { data } => {
                    got = entries(data).map(|e| (e.cookie, e.name.to_owned())).collect();
                }
                Rmsg::Lerror { errno, text } => panic!("{}", refused(errno, text)),
                _ => {}
            }
        }
        got
    };
    ask(&Tmsg::Attach { fid: 0, afid: NOFID, uname: "", aname: "data/sub", n_uname: 0 });
    ask(&Tmsg::Lopen { fid: 0, flags: OpenFlags::RDONLY });
    let (mut names, mut cookie, mut rounds) = (BTreeSet::new(), 0, 0);
    loop {
        let some = ask(&Tmsg::Readdir { fid: 0, offset: cookie, count: 1024 });
        let Some((last, _)) = some.last() else { break };
        cookie = *last;
        rounds += 1;
        for (_, name) in some {
            assert!(names.insert(name), "no name comes twice");
        }
    }
    assert!(rounds > 5);
    assert_eq!(names.len(), 302);
    assert!(names.contains("back") && names.contains("file-299"));
    session.close(&mut tree);
    assert_eq!(tree.held(), 0);
}
