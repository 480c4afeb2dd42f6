//! A guest's own tree below the supervisor's, over one connection: what a command that
//! connects anew for each file cannot see.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::thread;

use atoll_9p::client::Error;
use atoll_9p::client::blocking::Connection;
use atoll_9p::msg::{Rmsg, Tmsg, encode_walk};
use atoll_9p::types::{OpenFlags, Stat, getattr};
use atoll_9p::wire::{NOFID, NOTAG};

use super::Daemon;
use crate::fixture::{PATIENCE, backends};

/// Everything below a directory: what is said of it, and what the files hold that are
/// always the same.
fn all(conn: &Connection, dir: &str, below: &str, found: &mut BTreeMap<String, String>) {
    for name in conn.list(&format!("{dir}{below}")).unwrap() {
        let path = format!("{below}/{}", name.name);
        let whole = format!("{dir}{path}");
        let stat = conn.stat(&whole).unwrap_or_else(|e| panic!("{whole}: {e}"));
        let Stat { qid, mode, size, .. } = stat;
        let same = path == "/name" || path.ends_with("motd") || path.ends_with("license");
        let held = if same && !qid.is_dir() { conn.read(&whole).unwrap() } else { vec![] };
        found.insert(path.clone(), format!("{} {mode:o} {size} {held:?}", qid.ty));
        if qid.is_dir() {
            all(conn, dir, &path, found);
        }
    }
}

#[test]
fn it_is_the_tree_that_its_own_socket_has() {
    for on in backends() {
        let daemon = Daemon::start();
        daemon.run("hello", "a", on, &[]);
        daemon.run("hello", "b", on, &[]);
        let through = Connection::unix(daemon.place.dir.path().join("atoll/supervisor")).unwrap();
        let direct = Connection::unix(daemon.place.socket("a")).unwrap();
        let (mut here, mut there) = (BTreeMap::new(), BTreeMap::new());
        all(&through, "guests/a/fs", "", &mut here);
        all(&direct, "", "", &mut there);
        assert!(here.len() > 20, "{here:?}");
        assert_eq!(here, there);
        // Two guests of one image have files of their own.
        let qid = |path: &str| through.stat(path).unwrap().qid;
        assert_ne!(qid("guests/a/fs/export/motd").path, qid("guests/b/fs/export/motd").path);
        let listed = through.list("guests/a").unwrap();
        let fs = listed.iter().find(|n| n.name == "fs").unwrap();
        assert_eq!(fs.qid.path, qid("guests/a/fs").path);
        drop((through, direct));
        daemon.finish();
    }
}

/// A client that sends without waiting for answers.
struct Raw(UnixStream);

impl Raw {
    fn send(&mut self, tag: u16, m: &Tmsg<'_>) {
        let mut out = Vec::new();
        m.encode(tag, &mut out);
        std::io::Write::write_all(&mut self.0, &out).unwrap();
    }

    /// The next answer: its tag, its type, and the error number if it is one.
    fn next(&mut self) -> (u16, u8, u32) {
        let mut size = [0; 4];
        self.0.read_exact(&mut size).unwrap();
        let mut frame = vec![0; u32::from_le_bytes(size) as usize];
        frame[..4].copy_from_slice(&size);
        self.0.read_exact(&mut frame[4..]).unwrap();
        let errno = match Rmsg::decode(&frame).unwrap() {
            Rmsg::Lerror { errno, .. } => errno,
            _ => 0,
        };
        (u16::from_le_bytes([frame[5], frame[6]]), frame[4], errno)
    }

    fn ask(&mut self, m: &Tmsg<'_>) -> (u8, u32) {
        self.send(1, m);
        let (tag, ty, errno) = self.next();
        assert_eq!(tag, 1);
        (ty, errno)
    }

    fn walk(&mut self, fid: u32, path: &str) -> (u8, u32) {
        let mut out = Vec::new();
        encode_walk(1, 0, fid, path, &mut out).unwrap();
        std::io::Write::write_all(&mut self.0, &out).unwrap();
        let (_, ty, errno) = self.next();
        (ty, errno)
    }

    fn attached(daemon: &Daemon) -> Raw {
        let socket = daemon.place.dir.path().join("atoll/supervisor");
        let mut raw = Raw(UnixStream::connect(socket).unwrap());
        raw.0.set_read_timeout(Some(PATIENCE)).unwrap();
        raw.send(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000.L" });
        assert_eq!(raw.next().1, 101);
        let attach = Tmsg::Attach { fid: 0, afid: NOFID, uname: "", aname: "", n_uname: NOFID };
        assert_eq!(raw.ask(&attach), (105, 0));
        raw
    }
}

#[test]
fn a_guest_that_does_not_answer_keeps_nobody_from_the_others() {
    let daemon = Daemon::start();
    daemon.run("hello", "slow", "process", &[]);
    daemon.run("hello", "quick", "process", &[]);
    let mut raw = Raw::attached(&daemon);
    assert_eq!(raw.walk(1, "guests/slow/fs/name"), (111, 0));
    assert_eq!(raw.walk(2, "guests/slow/fs/log"), (111, 0));
    assert_eq!(raw.ask(&Tmsg::Lopen { fid: 2, flags: OpenFlags::RDONLY }), (13, 0));
    daemon.ok(&["pause", "slow"]);
    raw.send(7, &Tmsg::Getattr { fid: 1, mask: getattr::BASIC });
    // The same client goes on elsewhere.
    assert_eq!(raw.walk(3, "guests/quick/fs/name"), (111, 0));
    assert_eq!(raw.ask(&Tmsg::Getattr { fid: 3, mask: getattr::BASIC }), (25, 0));
    assert_eq!(raw.walk(4, "guests/slow/status"), (111, 0));
    daemon.ok(&["resume", "slow"]);
    assert_eq!(raw.next(), (7, 25, 0));

    // A read that waits at the guest, and is taken back.
    let mut tag = 8;
    loop {
        raw.send(tag, &Tmsg::Read { fid: 2, offset: 0, count: 4000 });
        // What is there already comes first.
        raw.send(1, &Tmsg::Flush { oldtag: tag });
        match raw.next() {
            (1, 109, 0) => break,
            (t, 117, 0) if t == tag => assert_eq!(raw.next(), (1, 109, 0)),
            other => panic!("{other:?}"),
        }
        tag += 1;
    }
    drop(raw);
    daemon.finish();
}

#[test]
fn a_guest_that_ends_is_told_of_and_its_next_run_is_found() {
    let daemon = Daemon::start();
    daemon.run("hello", "a", "process", &[]);
    let mut raw = Raw::attached(&daemon);
    assert_eq!(raw.walk(1, "guests/a/fs/name"), (111, 0));
    assert_eq!(raw.walk(2, "guests/a/status"), (111, 0));
    daemon.ok(&["kill", "a"]);
    let eio = 5;
    // That its tree is gone may be seen a moment later.
    while raw.ask(&Tmsg::Getattr { fid: 1, mask: getattr::BASIC }) != (7, eio) {
        thread::yield_now();
    }
    assert_eq!(raw.walk(3, "guests/a/fs/name"), (7, 6), "it does not run");
    assert_eq!(raw.ask(&Tmsg::Getattr { fid: 2, mask: getattr::BASIC }), (25, 0));
    daemon.ok(&["start", "a"]);
    assert_eq!(raw.ask(&Tmsg::Getattr { fid: 1, mask: getattr::BASIC }), (7, eio));
    assert_eq!(raw.ask(&Tmsg::Clunk { fid: 1 }), (121, 0));
    assert_eq!(raw.walk(1, "guests/a/fs/name"), (111, 0));
    assert_eq!(raw.ask(&Tmsg::Getattr { fid: 1, mask: getattr::BASIC }), (25, 0));

    let conn = Connection::unix(daemon.place.dir.path().join("atoll/supervisor")).unwrap();
    assert_eq!(conn.read("guests/a/fs/name").unwrap(), b"hello\n");
    daemon.ok(&["stop", "a"]);
    match conn.read("guests/a/fs/name") {
        Err(Error::Refused(fault)) => assert!(fault.text().contains("stopped"), "{fault}"),
        other => panic!("{other:?}"),
    }
    drop((raw, conn));
    daemon.finish();
}
