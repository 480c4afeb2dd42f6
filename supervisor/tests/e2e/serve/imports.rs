//! Guests whose trees other guests import: in which order they start, what the one sees of the
//! other, and what becomes of that when either of them, or the supervisor, ends.

use std::time::Instant;

use super::Daemon;
use crate::fixture::{Guest, PATIENCE, Place, backends, image};

/// What the guest `reader` has found at a path of its own namespace: what there is, or why
/// there is nothing.
fn read(ok: impl Fn(&[&str]) -> String, path: &str) -> Result<String, String> {
    ask(ok, "read", path)
}

fn ask(ok: impl Fn(&[&str]) -> String, verb: &str, path: &str) -> Result<String, String> {
    ok(&["write", "reader", "/export/reader/ctl", &format!("{verb} {path}")]);
    let until = Instant::now() + PATIENCE;
    loop {
        let status = ok(&["cat", "reader", "/export/reader/status"]);
        assert!(Instant::now() < until, "{status}");
        if let Some(why) = status.strip_prefix(&format!("failed {path}: ")) {
            return Err(why.trim_end().into());
        }
        if status.starts_with(&format!("done {path} ")) {
            return Ok(ok(&["cat", "reader", "/export/reader/content"]));
        }
    }
}

#[test]
fn a_guest_reads_what_another_exports_whoever_of_them_ends() {
    for on in backends() {
        let mut daemon = Daemon::start();
        let reader = image("reader");
        let create = ["create", reader.to_str().unwrap(), "--on", on, "--import", "data=web"];
        // Nobody can wait for what is not there.
        daemon.ok(&create);
        let (code, why) = daemon.fails(&["start", "reader"]);
        assert!(code == 2 && why.contains("web, which is not defined"), "{code} {why}");
        let hello = image("hello");
        daemon.ok(&["create", hello.to_str().unwrap(), "--name", "web", "--on", on]);

        // What is imported starts first.
        daemon.ok(&["start", "reader"]);
        let events = daemon.ok(&["events"]);
        let place = |text: &str| events.find(text).unwrap_or_else(|| panic!("{text}: {events}"));
        assert!(place("web#1 running") < place("reader#1 starting"), "{events}");

        let ok = |args: &[&str]| daemon.ok(args);
        let seen = ask(ok, "list", "/data").unwrap();
        assert!(seen.contains("greeter/") && seen.contains("motd"), "{seen}");
        assert!(!seen.contains("ctl"), "no more than its export: {seen}");
        daemon.ok(&["write", "web", "/export/greeter/ctl", "greet Ada"]);
        let greeting = read(ok, "/data/greeter/greeting").unwrap();
        assert!(greeting.contains("Ada"), "{greeting}");
        for above in ["/data/../ctl", "/data/ctl", "/data/../../status"] {
            assert!(read(ok, above).is_err(), "{above}");
        }

        // The shims need no supervisor for it, and neither does the next one have to do anything.
        daemon.kill();
        let alone = |args: &[&str]| daemon.place.ok(args);
        daemon.place.ok(&["write", "web", "/export/greeter/ctl", "greet Bob"]);
        assert!(read(alone, "/data/greeter/greeting").unwrap().contains("Bob"));
        daemon.begin();
        let ok = |args: &[&str]| daemon.ok(args);
        assert!(read(ok, "/data/greeter/greeting").unwrap().contains("Bob"));

        // One that is stopped is said to be, and who imports it goes on when it is back.
        daemon.ok(&["kill", "web"]);
        let why = read(ok, "/data/greeter/greeting").unwrap_err();
        assert!(why.contains("web, whose tree is imported as data, "), "{why}");
        let why = read(ok, "/data/motd").unwrap_err();
        assert!(why.contains("web, whose tree is imported as data, does not run"), "{why}");
        assert_eq!(daemon.status("reader", "state"), "running");
        daemon.ok(&["start", "web"]);
        assert!(!read(ok, "/data/motd").unwrap().is_empty());
        assert_eq!(daemon.status("reader", "run"), "1");
        daemon.ok(&["restart", "reader"]);
        assert!(!read(ok, "/data/motd").unwrap().is_empty());
        daemon.finish();
    }
}

#[test]
fn what_cannot_be_imported_is_refused_with_why() {
    let daemon = Daemon::start();
    let reader = image("reader");
    let create = |more: &[&str]| {
        let mut args = vec!["create", reader.to_str().unwrap()];
        args.extend(more);
        daemon.place.run(&args)
    };
    let complaint = |out: std::process::Output| String::from_utf8(out.stderr).unwrap();
    for (import, why) in [
        ("data=web/ctl", "web/export/PATH"),
        ("data=web/export/../ctl", "no . or .."),
        ("data=/srv", "--export data=/srv"),
        ("data", "NAME=GUEST"),
    ] {
        let out = create(&["--import", import]);
        assert_eq!(out.status.code(), Some(2), "{import}");
        let said = complaint(out);
        assert!(said.contains(why), "{import}: {said}");
    }
    let out = create(&["--import", "data=a", "--export", "data=/srv"]);
    assert!(complaint(out).contains("--import data: given twice"));
    let out = create(&["--import", "data=a", "--import", "x=a"]);
    assert!(complaint(out).contains("no import of that name"));

    // A guest that would wait for itself.
    assert!(create(&["--name", "a", "--import", "data=b"]).status.success());
    assert!(create(&["--name", "b", "--import", "data=c"]).status.success());
    let why = complaint(create(&["--name", "c", "--import", "data=a/export/x"]));
    let way = "c imports a, which imports b, which imports c";
    assert!(why.contains(way), "{why}");
    daemon.finish();
}

#[test]
fn in_the_foreground_a_guest_imports_from_whoever_runs() {
    for on in backends() {
        let place = Place::new();
        let reader = Guest::start(&place, "reader", on, &["--import", "data=hello/export/motd"]);
        let ok = |args: &[&str]| place.ok(args);
        let why = read(ok, "/data").unwrap_err();
        assert!(why.contains("hello, whose tree is imported as data, does not run"), "{why}");
        let hello = Guest::start(&place, "hello", "process", &[]);
        assert!(!read(ok, "/data").unwrap().is_empty(), "a file can be imported too");
        hello.stop();
        let why = read(ok, "/data").unwrap_err();
        assert!(why.contains("hello, whose tree"), "{why}");
        reader.stop();
        place.assert_empty();
    }
}
