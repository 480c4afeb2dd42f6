//! XenStore in the control tree, and alone, with Xen's own xenstored.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::process::{Child, Stdio};

use atoll_lab::xenstored::Xenstored;
use rustix::process::{Pid, Signal, kill_process};

use super::Daemon;
use crate::fixture::{Guest, Place, backends};

fn xenstored() -> Option<Xenstored> {
    Xenstored::start().inspect_err(|why| atoll_lab::left_out(why)).ok()
}

#[test]
fn a_host_of_xen_has_its_store_in_the_tree() {
    let Some(mut xenstored) = xenstored() else { return };
    xenstored.run("xenstore-write", &["/local/domain/0/name", "Domain-0"]).unwrap();
    let mut daemon = Daemon::idle();
    let socket = xenstored.socket();
    daemon.begin_as(|command| {
        command.env("XENSTORED_PATH", &socket).args(["--listen", "tcp:127.0.0.1:0"]);
    });
    let name = "/xen/store/local/domain/0/name/value";
    assert_eq!(daemon.ok(&["cat", "@", name]), "Domain-0");
    let mut watch = daemon.follow(&["cat", "@", "/xen/store/local/watch"]);
    watch.wait_for("/local\n");
    daemon.ok(&["write", "@", name, "dom0"]);
    watch.wait_for("/local/domain/0/name\n");
    drop(watch);
    assert_eq!(xenstored.run("xenstore-read", &["/local/domain/0/name"]).unwrap(), "dom0\n");
    assert!(daemon.ok(&["ls", "@", "/xen/store/txn"]).contains("clone"));
    // Whoever comes by a port may be anybody.
    let said = daemon.said();
    let port = said.lines().find_map(|l| l.strip_prefix("atoll: control tree at tcp:"));
    let tcp = format!("tcp:{}", port.unwrap());
    assert!(daemon.ok(&["ls", &tcp, "/guests"]).is_empty());
    let (_, why) = daemon.fails(&["ls", &tcp, "/xen/store"]);
    assert!(why.contains("XenStore is for uid="), "{why}");
    daemon.follow(&["cat", "@", "/audit"]).wait_for("denied - xen store");
    // The rest of the tree does not need it.
    xenstored.kill();
    let (_, why) = daemon.fails(&["cat", "@", "/xen/store/value"]);
    assert!(why.contains("no xenstored answers"), "{why}");
    daemon.ok(&["ls", "@", "/guests"]);
    daemon.finish();
}

#[test]
fn a_xenstored_that_comes_later_is_found() {
    let mut daemon = Daemon::idle();
    let path = daemon.place.dir.path().join("later");
    // Where it will be, nobody listens yet.
    std::fs::write(&path, "").unwrap();
    daemon.begin_as(|command| {
        command.env("XENSTORED_PATH", &path);
    });
    let value = "/xen/store/value";
    let (_, why) = daemon.fails(&["cat", "@", value]);
    assert!(why.contains("no xenstored answers"), "{why}");
    if let Some(xenstored) = xenstored() {
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(xenstored.socket(), &path).unwrap();
        daemon.ok(&["write", "@", value, "here"]);
        assert_eq!(xenstored.run("xenstore-read", &["/"]).unwrap(), "here\n");
    }
    daemon.finish();
}

#[test]
fn a_host_without_has_none() {
    if std::path::Path::new("/dev/xen/xenbus").exists() {
        return eprintln!("skipped: this host has a XenStore");
    }
    let mut daemon = Daemon::idle();
    let nowhere = daemon.place.dir.path().join("nowhere");
    daemon.begin_as(|command| {
        command.env("XENSTORED_PATH", nowhere);
    });
    assert!(!daemon.ok(&["ls", "@", "/"]).contains("xen"));
    daemon.finish();
}

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it, and waits until it serves.
fn serve(place: &Place, args: &[&str]) -> Served {
    let mut command = place.atoll();
    command.arg("xenstore-fs").args(args).stderr(Stdio::piped());
    let mut served = Served(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(served.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("xenstore-fs: "), "{line}");
    served
}

#[test]
fn it_is_served_alone_and_in_part() {
    let Some(xenstored) = xenstored() else { return };
    let place = Place::new();
    xenstored.run("xenstore-write", &["/local/domain/5/name", "five"]).unwrap();
    let at = xenstored.socket();
    let at = at.to_str().unwrap();
    let mut whole = serve(&place, &["--xenstored", at]);
    let five = place.dir.path().join("five");
    let five = five.to_str().unwrap();
    let part = serve(&place, &["--xenstored", at, "--root", "/local/domain/5", "--socket", five]);
    assert_eq!(place.ok(&["cat", "xenstore", "/local/domain/5/name/value"]), "five");
    assert_eq!(place.ok(&["cat", five, "/name/value"]), "five");
    assert!(!place.ok(&["ls", five, "/"]).contains("local"));
    for signalled in [&whole, &part] {
        kill_process(Pid::from_child(&signalled.0), Signal::TERM).unwrap();
    }
    assert!(whole.0.wait().unwrap().success());
    drop((whole, part));
    let (status, why) = place.fails(&["xenstore-fs", "--xenstored", "/nowhere/socket"]);
    assert!(status == 1 && why.contains("no xenstored answers: /nowhere/socket"), "{why}");
    let (status, why) = place.fails(&["xenstore-fs", "--xenstored", at, "--root", "local"]);
    assert!(status == 2 && why.contains("--root local"), "{why}");
    place.assert_empty();
}

#[test]
fn a_guest_is_given_a_part_of_it_as_its_import() {
    let Some(xenstored) = xenstored() else { return };
    for (node, value) in [("5/export/note", "for five"), ("6/export/note", "for six")] {
        let node = format!("/local/domain/{node}");
        xenstored.run("xenstore-write", &[node.as_str(), value]).unwrap();
    }
    let at = xenstored.socket();
    for on in backends() {
        let place = Place::new();
        let part = ["--xenstored", at.to_str().unwrap(), "--root", "/local/domain/5", "--socket"];
        let socket = place.socket("five");
        let folder = socket.parent().unwrap();
        std::fs::DirBuilder::new().mode(0o700).create(folder).unwrap();
        let part = serve(&place, &[&part[..], &[socket.to_str().unwrap()]].concat());
        let guest = Guest::start(&place, "reader", on, &["--import", "data=five"]);
        let read = |path: &str| {
            let status = ["cat", "reader", "/export/reader/status"];
            let before = place.ok(&status);
            place.ok(&["write", "reader", "/export/reader/ctl", "read", path]);
            for _ in 0..1000 {
                let now = place.ok(&status);
                if now != before && !now.contains("reading") {
                    return (place.ok(&["cat", "reader", "/export/reader/content"]), now);
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            panic!("{on}: {path} is never read: {}", guest.said());
        };
        let (content, status) = read("/data/note/value");
        assert_eq!(content, "for five", "{on}: {status}");
        for outside in ["/data/../6/export/note/value", "/data/../../6/export/note/value"] {
            let (content, status) = read(outside);
            assert!(!content.contains("for six"), "{on}: {outside}: {status}");
        }
        guest.stop();
        kill_process(Pid::from_child(&part.0), Signal::TERM).unwrap();
        drop(part);
    }
}
