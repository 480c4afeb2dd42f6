//! A guest's namespace with another guest's tree in it, over real sockets.

use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::time::Duration;

use atoll_9p::client::Error;
use atoll_9p::client::blocking::Connection;
use atoll_9p::net::{Policy, Server as Files};
use atoll_9p::ram::Ram;
use tokio::task::LocalSet;

use super::*;

/// Serves what another guest would have at a socket, until the test ends.
fn other(socket: &Path, seed: &str) -> (atoll_9p::net::Handle, std::thread::JoinHandle<()>) {
    let _ = std::fs::remove_file(socket);
    let mut ram = Ram::default();
    ram.put("export/kv/colour", seed.as_bytes()).unwrap();
    ram.put("export/motd", b"welcome").unwrap();
    ram.put("ctl", b"").unwrap();
    let mut server = Files::new(ram).unwrap();
    server.listen(StdListener::bind(socket).unwrap(), Policy::Owner).unwrap();
    let handle = server.handle();
    (handle, std::thread::spawn(move || server.run().unwrap()))
}

/// Serves a namespace while a client does something with it.
fn with<R: Send>(namespace: Namespace, client: impl FnOnce(Connection) -> R + Send) -> R {
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        let client = scope.spawn(move || {
            ours.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            client(Connection::over(ours).unwrap())
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let served = async { namespace.serve(theirs.try_into().unwrap(), None).await };
        LocalSet::new().block_on(&runtime, served);
        client.join().unwrap()
    })
}

fn refused(done: Result<Vec<u8>, Error>) -> Fault {
    match done {
        Err(Error::Refused(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn folders_and_guests_lie_side_by_side_and_a_guest_is_dialled_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "a file").unwrap();
    let socket = dir.path().join("db.sock");
    let mut namespace = Namespace::default();
    namespace.add("folder", dir.path()).unwrap();
    let kv = Import::new("kv", "db", "export/kv").unwrap();
    let all = Import::new("all", "db", "").unwrap();
    for import in [kv, all] {
        namespace.import(Import { socket: socket.clone(), ..import });
    }
    with(namespace, |conn| {
        let names = |path: &str| -> Vec<String> {
            conn.list(path).unwrap().into_iter().map(|e| e.name).collect()
        };
        assert_eq!(names(""), ["folder", "kv", "all"]);
        assert_eq!(conn.read("folder/f").unwrap(), b"a file");
        let away = refused(conn.read("kv/colour"));
        assert_eq!(away.errno, Errno::ENXIO);
        assert_eq!(away.text(), "db, whose tree is imported as kv, does not run");

        let (handle, thread) = other(&socket, "blue");
        assert_eq!(conn.read("kv/colour").unwrap(), b"blue");
        assert_eq!(names("all"), ["kv", "motd"]);
        // The one that was met first is the border of its own import.
        assert_eq!(conn.read("kv/../all/motd").unwrap(), b"welcome");
        for out in ["kv/../motd", "all/../ctl", "all/ctl", "kv/../../ctl"] {
            assert_eq!(refused(conn.read(out)).errno, Errno::ENOENT, "{out}");
        }
        conn.write("kv/colour", b"red").unwrap();
        handle.stop();
        thread.join().unwrap();
        // It is found to be gone, and then not to be there.
        let gone = refused(conn.read("kv/colour"));
        assert!(gone.text().starts_with("db, whose tree is imported as kv,"), "{gone}");
        let (handle, thread) = other(&socket, "green");
        let until = std::time::Instant::now() + Duration::from_secs(30);
        let got = loop {
            match conn.read("kv/colour") {
                Ok(got) => break got,
                Err(e) => assert!(std::time::Instant::now() < until, "{e}"),
            }
        };
        assert_eq!(got, b"green");
        handle.stop();
        thread.join().unwrap();
    });
}

#[test]
fn nothing_is_made_or_attached_to_but_what_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let mut namespace = Namespace::default();
    namespace.add("folder", dir.path()).unwrap();
    namespace.import(Import::new("kv", "db", "export/kv").unwrap());
    let who = |aname| Who { uname: "", user: Identity::Owner.user(0), aname };
    assert_eq!(namespace.attach(&who("/")).unwrap(), Node::Root);
    for part in ["kv", "folder", "kv/..", "nothing"] {
        assert_eq!(namespace.attach(&who(part)).unwrap_err().errno, Errno::ENOENT);
    }
    let (mut kv, qid) = namespace.walk(Node::Root, "kv").unwrap();
    assert_ne!(qid.ty & qid_type::MOUNT, 0);
    assert_eq!(namespace.open(&mut kv, OpenFlags::RDONLY).unwrap_err().errno, Errno::EPERM);
    assert_eq!(namespace.walk(kv, "..").unwrap().0, Node::Root);
    let (folder, _) = namespace.walk(Node::Root, "folder").unwrap();
    assert_eq!(namespace.walk(folder, "..").unwrap().0, Node::Root);
    for dir in [Node::Root, folder, kv] {
        assert_eq!(namespace.remove(dir, "x", Remove::File).unwrap_err().errno, Errno::EROFS);
    }
}

#[test]
fn only_what_is_exported_can_be_imported() {
    for (path, is) in [("", ""), ("export", ""), ("/export/", ""), ("export/a/b", "a/b")] {
        assert_eq!(exported(path), Some(is));
    }
    for path in ["ctl", "exports", "exportx/y", "export/../ctl", "export/./a", ".."] {
        assert_eq!(exported(path), None, "{path}");
        assert!(Import::new("x", "db", path).is_err());
    }
}
