//! The tree of Xen's own xenstored, by our own client over a socket, beside Xen's own tools.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use atoll_9p::client::blocking::Connection;
use atoll_9p::net::{Config, Handle, Policy};
use atoll_9p::types::{OpenFlags, unlink};
use atoll_lab::xenstored::Xenstored;
use atoll_xenstore_fs::{Limits, Link, Target, XenStoreFs, serve};

struct Host {
    xenstored: Xenstored,
    dir: tempfile::TempDir,
    serving: Vec<(Handle, JoinHandle<()>)>,
}

impl Host {
    fn start() -> Option<Host> {
        match Xenstored::start() {
            Ok(xenstored) => {
                Some(Host { xenstored, dir: tempfile::tempdir().unwrap(), serving: Vec::new() })
            }
            Err(why) => {
                atoll_lab::left_out(why);
                None
            }
        }
    }

    /// Serves a part of the store.
    fn serve(&mut self, root: &str) -> PathBuf {
        let path = self.dir.path().join(format!("socket{}", self.serving.len()));
        let link = Link::open(Target::At(self.xenstored.socket())).unwrap();
        let tree = XenStoreFs::new(link, root, Limits::default()).unwrap();
        let mut server = serve(tree, Config::default()).unwrap();
        server.listen(UnixListener::bind(&path).unwrap(), Policy::Owner).unwrap();
        let handle = server.handle();
        self.serving.push((handle, std::thread::spawn(move || server.run().unwrap())));
        path
    }

    fn run(&self, tool: &str, args: &[&str]) -> String {
        self.xenstored.run(tool, args).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for (handle, thread) in self.serving.drain(..) {
            handle.stop();
            let _ = thread.join();
        }
    }
}

fn text(client: &Connection, path: &str) -> String {
    String::from_utf8(client.read(path).unwrap()).unwrap()
}

fn put(client: &Connection, path: &str, data: &str) -> Result<(), String> {
    let mut file = client.open_for(path, OpenFlags::WRONLY).map_err(|e| e.to_string())?;
    file.write_all(data.as_bytes()).map_err(|e| e.to_string())
}

/// All nodes below one, as `xenstore-ls -f` prints them.
fn walk(client: &Connection, at: &str, out: &mut Vec<String>) {
    for entry in client.list(at).unwrap() {
        let name = entry.name.strip_suffix(".node").unwrap_or(&entry.name);
        let path = format!("{}/{name}", at.trim_end_matches('/'));
        if entry.qid.is_dir() && path != "/txn" {
            out.push(format!("{path} = \"{}\"", text(client, &format!("{path}/value"))));
            walk(client, &path, out);
        }
    }
}

#[test]
fn the_tree_is_what_the_tools_show() {
    let Some(mut host) = Host::start() else { return };
    let client = Connection::unix(host.serve("/")).unwrap();
    for (path, value) in [("/a/b", "1"), ("/a/b/c", "two"), ("/a/d", ""), ("/e-f_g@h", "x")] {
        host.run("xenstore-write", &[path, value]);
    }
    let shown = host.run("xenstore-ls", &["-f"]);
    let mut ours = Vec::new();
    walk(&client, "/", &mut ours);
    let mut theirs: Vec<_> = shown.lines().map(String::from).collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);

    client.mkdir("a/new", 0o755).unwrap();
    put(&client, "a/new/value", "ours").unwrap();
    assert_eq!(host.run("xenstore-read", &["/a/new"]), "ours\n");
    put(&client, "a/new/perms", "n0 r3").unwrap();
    assert!(host.run("xenstore-ls", &["-p", "/a"]).contains("(n0,r3)"));
    host.run("xenstore-chmod", &["/a/new", "b0", "w7"]);
    assert_eq!(text(&client, "a/new/perms"), "b0 w7\n");
    let full = client.remove("a/b", unlink::DIR).unwrap_err();
    assert!(full.to_string().contains("not empty"), "{full}");
    client.remove("a/b/c", unlink::DIR).unwrap();
    client.remove("a/b", unlink::DIR).unwrap();
    assert_eq!(host.run("xenstore-list", &["/a"]), "d\nnew\n");
}

#[test]
fn many_children_are_listed() {
    let Some(mut host) = Host::start() else { return };
    let client = Connection::unix(host.serve("/")).unwrap();
    client.mkdir("many", 0o755).unwrap();
    for n in 0..300 {
        client.mkdir(&format!("many/a-rather-long-name-{n:04}"), 0o755).unwrap();
    }
    assert_eq!(client.list("many").unwrap().len(), 300 + 3);
}

#[test]
fn a_watch_tells_what_xenstore_watch_tells() {
    let Some(mut host) = Host::start() else { return };
    let client = Connection::unix(host.serve("/")).unwrap();
    host.run("xenstore-write", &["/w/a", "0"]);
    let mut theirs = host.xenstored.tool("xenstore-watch");
    let mut theirs = theirs.args(["-n", "4", "/w"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut ours = client.open_for("w/watch", OpenFlags::RDONLY).unwrap();
    let mut buf = [0; 100];
    let n = ours.read(&mut buf).unwrap();
    assert_eq!(&buf[..n], b"/w\n");
    // The tool has its first event when it has printed it.
    let mut out = theirs.stdout.take().unwrap();
    let mut line = [0; 3];
    out.read_exact(&mut line).unwrap();
    let mut seen = String::new();
    for path in ["/w/a", "/w/b", "/w/b/c"] {
        put_new(&host, path);
        let n = ours.read(&mut buf).unwrap();
        seen += std::str::from_utf8(&buf[..n]).unwrap();
    }
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(theirs.wait().unwrap().success());
    assert_eq!((&line, rest), (b"/w\n", seen));
}

fn put_new(host: &Host, path: &str) {
    host.run("xenstore-write", &[path, "1"]);
}

#[test]
fn a_read_that_waits_can_be_given_up() {
    let Some(mut host) = Host::start() else { return };
    let path = host.serve("/");
    let client = Connection::unix(&path).unwrap();
    host.run("xenstore-write", &["/w", "0"]);
    let mut watch = client.open_for("w/watch", OpenFlags::RDONLY).unwrap();
    let mut buf = [0; 100];
    assert_eq!(watch.read(&mut buf).unwrap(), 3);
    let waits = std::thread::spawn(move || watch.read(&mut [0; 100]).map_err(|e| e.to_string()));
    // Others are served while it waits.
    let other = Connection::unix(&path).unwrap();
    assert_eq!(text(&other, "w/value"), "0");
    host.xenstored.kill();
    let ended = waits.join().unwrap();
    assert!(ended.as_ref().is_err_and(|e| e.contains("connection to xenstored")), "{ended:?}");
    let down = other.read("w/value").unwrap_err().to_string();
    assert!(down.contains("no xenstored answers"), "{down}");
}

#[test]
fn a_transaction_is_a_directory() {
    let Some(mut host) = Host::start() else { return };
    let client = Connection::unix(host.serve("/")).unwrap();
    host.run("xenstore-write", &["/t/a", "1", "/t/b", "1"]);
    let begin = || {
        let mut ctl = client.open_for("txn/clone", OpenFlags::RDWR).unwrap();
        let mut buf = [0; 20];
        let n = ctl.read(&mut buf).unwrap();
        (format!("txn/{}", std::str::from_utf8(&buf[..n]).unwrap().trim()), ctl)
    };
    let (dir, mut ctl) = begin();
    put(&client, &format!("{dir}/t/a/value"), "2").unwrap();
    assert_eq!(host.run("xenstore-read", &["/t/a"]), "1\n");
    ctl.write_all(b"commit").unwrap();
    assert_eq!(host.run("xenstore-read", &["/t/a"]), "2\n");
    drop(ctl);

    let (dir, mut ctl) = begin();
    assert_eq!(text(&client, &format!("{dir}/t/a/value")), "2");
    host.run("xenstore-write", &["/t/a", "theirs"]);
    put(&client, &format!("{dir}/t/b/value"), "2").unwrap();
    let conflict = ctl.write_all(b"commit").unwrap_err().to_string();
    drop(ctl);
    assert_eq!(host.run("xenstore-read", &["/t/b"]), "1\n");
    assert!(!conflict.is_empty());

    let (dir, ctl) = begin();
    put(&client, &format!("{dir}/t/b/value"), "3").unwrap();
    drop(ctl);
    assert_eq!(host.run("xenstore-read", &["/t/b"]), "1\n", "closing aborts");
    assert_eq!(client.list("txn").unwrap().len(), 1);
}

#[test]
fn a_part_is_served_as_a_whole() {
    let Some(mut host) = Host::start() else { return };
    host.run("xenstore-write", &["/local/domain/3/name", "mine", "/local/domain/4/name", "not"]);
    let client = Connection::unix(host.serve("/local/domain/3")).unwrap();
    assert_eq!(text(&client, "name/value"), "mine");
    assert_eq!(text(&client, "../../name/value"), "mine");
    assert!(client.read("../4/name/value").is_err());
    client.mkdir("data", 0o755).unwrap();
    assert_eq!(host.run("xenstore-exists", &["/local/domain/3/data"]), "");
}

#[test]
fn one_that_hangs_is_not_waited_for_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let deaf = dir.path().join("deaf");
    let _listener = UnixListener::bind(&deaf).unwrap();
    let mut link = Link::open(Target::At(deaf)).unwrap();
    link.set_patience(Duration::from_millis(20));
    let tree = XenStoreFs::new(link, "/", Limits::default()).unwrap();
    let mut server = serve(tree, Config::default()).unwrap();
    let path = dir.path().join("socket");
    server.listen(UnixListener::bind(&path).unwrap(), Policy::Owner).unwrap();
    let handle = server.handle();
    let thread = std::thread::spawn(move || server.run().unwrap());
    let client = Connection::unix(&path).unwrap();
    for _ in 0..50 {
        let silent = client.read("a/value").unwrap_err().to_string();
        assert!(silent.contains("has not answered"), "{silent}");
    }
    drop(client);
    handle.stop();
    thread.join().unwrap();
}
