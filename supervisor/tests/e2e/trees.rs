//! A guest's tree, read and written with everything that can.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Guest, Place, backends, image};

#[test]
fn a_tree_is_listed_read_written_and_followed() {
    for on in backends() {
        let place = Place::new();
        let guest = Guest::start(&place, "hello", on, &[]);
        let root = place.ok(&["ls", "hello"]);
        for name in ["name", "ctl", "status", "export/"] {
            assert!(root.lines().any(|l| l == name), "{on}: {name} in {root}");
        }
        assert_eq!(place.ok(&["cat", "hello", "name"]), "hello\n");
        let long = place.ok(&["ls", "-l", "hello", "/export"]);
        assert!(long.lines().any(|l| l.starts_with("dr-x") && l.ends_with(" greeter/")), "{long}");
        let json = place.ok(&["ls", "--json", "hello", "/export/greeter"]);
        for line in json.lines() {
            let file: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(file["name"].is_string() && file["qid"]["path"].is_u64(), "{line}");
        }
        let stat = place.ok(&["stat", "hello", "/export/greeter/ctl"]);
        assert!(stat.contains("mode -rw-") && stat.contains("name /export/greeter/ctl"), "{stat}");

        // A write has an effect, and what follows sees it.
        let mut tail = place
            .atoll()
            .args(["tail", "-n", "0", "hello", "/export/greeter/events"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(tail.stdout.take().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(300));
        place.ok(&["write", "hello", "/export/greeter/ctl", "greet", "Ada"]);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.contains("Ada"), "{on}: {line:?}");
        kill_process(Pid::from_child(&tail), Signal::INT).unwrap();
        assert_eq!(tail.wait().unwrap().code(), Some(0), "an interrupt ends it cleanly");
        let greeting = place.ok(&["cat", "hello", "/export/greeter/greeting"]);
        assert!(greeting.contains("Ada"), "{on}: {greeting:?}");

        // What is wrong is said, with the guest's own words.
        let (code, error) = place.fails(&["write", "hello", "export/greeter/ctl", "foo"]);
        assert_eq!(code, 1);
        assert!(error.starts_with("atoll: write export/greeter/ctl: "), "{error}");
        assert!(error.contains("\"foo\"") && error.contains("(EINVAL)"), "{error}");
        let (code, error) = place.fails(&["cat", "hello", "/nothing"]);
        assert!(code == 1 && error.contains("(ENOENT)"), "{error}");
        let (code, error) = place.fails(&["write", "hello", "/name", "x"]);
        assert!(code == 5 && error.contains("(EACCES)"), "{code}: {error}");

        assert_eq!(place.ok(&["write", "hello", "/ctl", "stop"]), "");
        let (code, said) = guest.wait();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with("hello: stopped\n"), "{said}");
        let (code, error) = place.fails(&["ls", "hello"]);
        assert!(code == 3 && error.contains("no guest at"), "{error}");
        place.assert_empty();
    }
}

#[test]
fn diod_tools_read_the_tree_over_tcp_and_the_socket() {
    let tools = ["diodls", "diodcat"].map(|tool| atoll_lab::program(tool, "diod"));
    let [Some(diodls), Some(diodcat)] = tools else { return };
    for on in backends() {
        let place = Place::new();
        let guest = Guest::start(&place, "hello", on, &["--listen", "tcp:127.0.0.1:0"]);
        let said = guest.said();
        let port = said.split("tree at tcp:").nth(1).unwrap().lines().next().unwrap();
        let socket = place.socket("hello");
        for server in [port, socket.to_str().unwrap()] {
            let diod = |tool: &Path, path: &str| {
                let mut command = Command::new(tool);
                command.args(["-t", "10", "-s", server, "-a", "/", path]);
                let out = command.output().unwrap();
                let error = String::from_utf8_lossy(&out.stderr).into_owned();
                assert!(out.status.success(), "{tool:?} -s {server} {path}: {error}");
                String::from_utf8(out.stdout).unwrap()
            };
            let names = diod(&diodls, "/");
            assert!(names.contains("export") && names.contains("status"), "{names}");
            assert_eq!(diod(&diodcat, "name"), "hello\n");
        }
        guest.stop();
        place.assert_empty();
    }
}

#[test]
fn a_guest_reads_a_folder_of_the_host_and_nothing_above_it() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("in")).unwrap();
    std::fs::write(data.path().join("in/note"), "from the host\n").unwrap();
    std::fs::write(data.path().join("secret"), "not for guests\n").unwrap();
    std::os::unix::fs::symlink("../secret", data.path().join("in/out")).unwrap();
    let big = "0123456789abcdef".repeat(2000);
    std::fs::write(data.path().join("in/big"), &big).unwrap();
    let export = format!("data={}", data.path().join("in").display());
    for on in backends() {
        let place = Place::new();
        let guest = Guest::start(&place, "reader", on, &["--export", &export]);
        let read = |command: &str| {
            let before = place.ok(&["cat", "reader", "/export/reader/status"]);
            place.ok(&["write", "reader", "/export/reader/ctl", command]);
            for _ in 0..1000 {
                let status = place.ok(&["cat", "reader", "/export/reader/status"]);
                if status != before && !status.contains("reading") {
                    return (place.ok(&["cat", "reader", "/export/reader/content"]), status);
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            panic!("{on}: {command} changes nothing: {before}; {}", guest.said());
        };
        let (content, status) = read("read /data/note");
        assert_eq!(content, "from the host\n", "{on}: {status}");
        let (content, _) = read("list /data");
        let mut names: Vec<&str> = content.lines().collect();
        names.sort_unstable();
        assert_eq!(names, ["big", "note"], "a link that leads out is not there");
        for outside in ["read /data/out", "read /data/../secret", "read /data/../../secret"] {
            let (content, status) = read(outside);
            assert!(!content.contains("not for guests"), "{on}: {outside}: {status}");
        }
        guest.stop();
        place.assert_empty();
    }
}

#[test]
fn two_guests_run_side_by_side() {
    let place = Place::new();
    let on = backends();
    let first = Guest::start(&place, "hello", on[0], &[]);
    let second = Guest::start(&place, "sensor", on[on.len() - 1], &[]);
    assert_eq!(place.ok(&["cat", "hello", "name"]), "hello\n");
    assert_eq!(place.ok(&["cat", "sensor", "name"]), "sensor\n");
    first.stop();
    assert_eq!(place.ok(&["cat", "sensor", "name"]), "sensor\n");
    second.stop();
    place.assert_empty();
}

#[test]
fn what_is_asked_wrongly_is_refused_before_anything_runs() {
    let place = Place::new();
    let hello = image("hello");
    let hello = hello.to_str().unwrap();
    let reader = image("reader");
    let reader = reader.to_str().unwrap();
    let broken = place.dir.path().join("broken.img");
    let mut bytes = std::fs::read(hello).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&broken, bytes).unwrap();
    let broken = broken.to_str().unwrap();
    for (args, code, want) in [
        (&["run", broken][..], 1, "does not match its hash"),
        (&["image", "verify", broken], 1, "does not match its hash"),
        (&["run", "/nowhere.img"], 1, "cannot read the image"),
        (&["run", hello, "--export", "data=/tmp"], 1, "hello imports nothing"),
        (&["run", reader], 1, "--export data=DIR"),
        (&["run", reader, "--export", "data=/nowhere"], 1, "/nowhere"),
        (&["run", hello, "--listen", "tcp:0.0.0.0:5640"], 2, "no authentication"),
        (&["run", hello, "--memory", "1MiB"], 2, "from 2MiB to 3GiB"),
        (&["run"], 2, "IMAGE"),
        (&["ls", "No Such"], 2, "no guest's name"),
        (&["ls", "unix:/nowhere/x.sock"], 3, "no guest at"),
        (&["ls", "tcp:127.0.0.1:1"], 3, "no guest at"),
    ] {
        let (got, error) = place.fails(args);
        assert_eq!(got, code, "{args:?}: {error}");
        assert!(error.contains(want), "{args:?}: {error}");
    }
    let taken = place.fails(&["run", hello, "--socket", "/nowhere/x.sock"]);
    assert!(taken.1.contains("cannot serve at /nowhere/x.sock: "), "{taken:?}");
    let mut lost = place.atoll();
    lost.env("ATOLL_QEMU", "/nowhere/qemu");
    let lost = lost.args(["run", hello, "--on", "qemu", "--accel", "tcg"]).output().unwrap();
    let error = String::from_utf8_lossy(&lost.stderr);
    assert_eq!(lost.status.code(), Some(1), "{error}");
    assert!(error.contains("cannot start /nowhere/qemu: "), "{error}");
    assert!(place.ok(&["image", "verify", hello]).contains("payload_hash "));
    let line = place.ok(&["run", hello, "--on", "qemu", "--accel", "tcg", "--print"]);
    assert!(line.contains("-M microvm,") && line.ends_with('\n'), "{line}");
    place.assert_empty();
}

#[test]
fn a_name_is_served_once_and_a_dead_socket_is_replaced() {
    let place = Place::new();
    std::fs::create_dir(place.dir.path().join("atoll")).unwrap();
    // A socket whose process is gone.
    drop(std::os::unix::net::UnixListener::bind(place.socket("hello")).unwrap());
    let guest = Guest::start(&place, "hello", "process", &[]);
    let again = Guest::spawn(&place, "hello", "process", &[]);
    let (code, said) = again.wait();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("is taken"), "{said}");
    assert_eq!(place.ok(&["cat", "hello", "name"]), "hello\n", "the first is not disturbed");
    guest.stop();
    place.assert_empty();
}

#[test]
fn a_socket_may_be_anywhere_that_is_free() {
    let place = Place::new();
    let socket = place.dir.path().join("other.sock");
    let socket = socket.to_str().unwrap();
    let guest = Guest::start(&place, "hello", "process", &["--socket", socket]);
    assert_eq!(place.ok(&["cat", socket, "name"]), "hello\n");
    assert_eq!(place.ok(&["cat", &format!("unix:{socket}"), "name"]), "hello\n");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(socket).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    guest.stop();
    assert!(!std::path::Path::new(socket).exists());
    std::fs::write(socket, "not a socket").unwrap();
    let (code, said) = Guest::spawn(&place, "hello", "process", &["--socket", socket]).wait();
    assert!(code == Some(1) && said.contains("is no socket"), "{code:?}: {said}");
    place.assert_empty();
}
