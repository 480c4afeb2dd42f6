//! The tree of a real dom0's store: of the C xenstored and of oxenstored, on Xen.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::path::Path;

use atoll_9p::client::blocking::Connection;
use atoll_9p::net::{Config, Policy};
use atoll_9p::types::{OpenFlags, unlink};
use atoll_lab::xen::{Lab, Store};
use atoll_xenstore_fs::{Limits, Link, Target, XenStoreFs, serve};

/// Joins the one who connects here to dom0's xenstored, until it has gone.
fn relay(lab: &Lab, listener: &UnixListener) {
    let (client, _) = listener.accept().unwrap();
    let stream = lab.open("UNIX-CONNECT:/run/xenstored/socket").unwrap();
    let there = stream.socket().unwrap();
    std::thread::scope(|s| {
        s.spawn(|| {
            let _ = std::io::copy(&mut &there, &mut &client);
            let _ = client.shutdown(Shutdown::Both);
        });
        let _ = std::io::copy(&mut &client, &mut &there);
        let _ = there.shutdown(Shutdown::Both);
    });
}

/// Removes what is written into a store that may be somebody's, also when a test fails.
struct Clean<'a>(&'a Lab);

impl Drop for Clean<'_> {
    fn drop(&mut self) {
        let _ = self.0.run("for path in /t /many; do xenstore-rm $path; done");
    }
}

fn with(lab: Lab, check: impl FnOnce(&Lab, &Connection)) {
    let dir = tempfile::tempdir().unwrap();
    let (xenstored, socket) = (dir.path().join("xenstored"), dir.path().join("socket"));
    let listener = UnixListener::bind(&xenstored).unwrap();
    std::thread::scope(|s| {
        s.spawn(|| relay(&lab, &listener));
        let _clean = Clean(&lab);
        serving(&xenstored, &socket, |client| check(&lab, client));
    });
}

fn serving(xenstored: &Path, socket: &Path, check: impl FnOnce(&Connection)) {
    let link = Link::open(Target::At(xenstored.into())).unwrap();
    let tree = XenStoreFs::new(link, "/", Limits::default()).unwrap();
    let mut server = serve(tree, Config::default()).unwrap();
    server.listen(UnixListener::bind(socket).unwrap(), Policy::Owner).unwrap();
    let handle = server.handle();
    let thread = std::thread::spawn(move || server.run().unwrap());
    check(&Connection::unix(socket).unwrap());
    handle.stop();
    thread.join().unwrap();
}

fn text(client: &Connection, path: &str) -> String {
    String::from_utf8(client.read(path).unwrap()).unwrap()
}

/// What holds of both.
fn shows_and_changes(lab: &Lab, client: &Connection) {
    assert_eq!(text(client, "local/domain/0/name/value"), "Domain-0");
    lab.ok("xenstore-write /t/a theirs").unwrap();
    assert_eq!(text(client, "t/a/value"), "theirs");
    let mut watch = client.open("t/watch").unwrap();
    let mut buf = [0; 100];
    assert_eq!(watch.read(&mut buf).unwrap(), 3, "the node itself");
    client.mkdir("t/b", 0o755).unwrap();
    client.write("t/b/value", b"ours").unwrap();
    client.write("t/b/perms", b"n0 r7").unwrap();
    assert_eq!(lab.ok("xenstore-read /t/b").unwrap().trim_end(), "ours");
    assert!(lab.ok("xenstore-ls -p /t").unwrap().contains("(n0,r7)"));
    let n = watch.read(&mut buf).unwrap();
    assert!(buf[..n].starts_with(b"/t/b\n"), "{:?}", String::from_utf8_lossy(&buf[..n]));
    drop(watch);

    let begin = || {
        let mut ctl = client.open_for("txn/clone", OpenFlags::RDWR).unwrap();
        let mut buf = [0; 20];
        let n = ctl.read(&mut buf).unwrap();
        (format!("txn/{}", std::str::from_utf8(&buf[..n]).unwrap().trim()), ctl)
    };
    let (dir, mut ctl) = begin();
    client.write(&format!("{dir}/t/a/value"), b"in one").unwrap();
    assert_eq!(text(client, "t/a/value"), "theirs");
    ctl.write_all(b"commit").unwrap();
    assert_eq!(lab.ok("xenstore-read /t/a").unwrap().trim_end(), "in one");
    let (dir, mut ctl) = begin();
    assert_eq!(text(client, &format!("{dir}/t/a/value")), "in one");
    lab.ok("xenstore-write /t/a between").unwrap();
    client.write(&format!("{dir}/t/a/value"), b"late").unwrap();
    assert!(ctl.write_all(b"commit").is_err());
    assert_eq!(text(client, "t/a/value"), "between");

    assert!(client.remove("t", unlink::DIR).is_err(), "it has children");
    client.remove("t/b", unlink::DIR).unwrap();
    assert_eq!(lab.ok("xenstore-list /t").unwrap().trim_end(), "a");
}

/// More children than fit into a message: 30 of 150 bytes.
const MANY: &str = "n=$(printf 'n%.0s' $(seq 148)); \
    for i in $(seq 10 39); do set -- \"$@\" /many/$n$i 1; done; xenstore-write \"$@\"";

#[test]
fn of_xenstored_in_c() {
    let Some(lab) = Lab::for_test_with(Store::C) else { return };
    with(lab, |lab, client| {
        shows_and_changes(lab, client);
        lab.ok(MANY).unwrap();
        assert_eq!(client.list("many").unwrap().len(), 30 + 3);
    });
}

#[test]
fn of_oxenstored() {
    let Some(lab) = Lab::for_test_with(Store::OCaml) else { return };
    with(lab, |lab, client| {
        shows_and_changes(lab, client);
        lab.ok(MANY).unwrap();
        let fault = client.list("many").unwrap_err().to_string();
        assert!(fault.contains("more children than"), "{fault}");
        assert_eq!(text(client, "t/a/value"), "between", "the connection goes on");
    });
}
