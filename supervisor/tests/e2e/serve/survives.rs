//! kill -9 of the supervisor: guests run on, and the next one has them.

use super::Daemon;
use crate::fixture::backends;

#[test]
fn guests_outlive_their_supervisor_and_the_next_one_has_them() {
    for on in backends() {
        let mut daemon = Daemon::start();
        daemon.run("hello", "a", on, &[]);
        daemon.run("hello", "b", on, &[]);
        daemon.ok(&["pause", "b"]);
        let pid = daemon.status("a", "pid");
        let mut log = daemon.follow(&["events", "-f"]);
        log.wait_for("b#1 paused");
        let waiter = daemon.follow(&["wait", "a"]);
        daemon.until_asked();

        daemon.kill();
        let (code, why) = daemon.fails(&["ps"]);
        assert!(code == 6 && why.contains("atoll serve"), "{code}: {why}");
        assert_eq!(daemon.ok(&["cat", "a", "/name"]), "hello\n", "it needs no supervisor");

        daemon.begin();
        assert!(daemon.said().contains("2 guests, 2 running"), "{}", daemon.said());
        assert_eq!(daemon.status("a", "state"), "running");
        assert_eq!((daemon.status("a", "run"), daemon.status("a", "pid")), ("1".into(), pid));
        assert_eq!(daemon.status("b", "state"), "paused");
        daemon.ok(&["resume", "b"]);
        // Who followed goes on, and is told that something may be missing.
        log.wait_for(" - gap");
        log.wait_for("b#1 resumed");
        daemon.ok(&["stop", "a"]);
        log.wait_for("a#1 ended");
        assert_eq!(waiter.wait(), Some(0));

        // No event twice, none left out.
        let events = daemon.ok(&["events", "--json"]);
        let numbers: Vec<u64> = events
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());

        // What ends while there is none is known to the next one.
        daemon.kill();
        daemon.ok(&["write", "b", "/ctl", "stop"]);
        daemon.begin();
        daemon.until("b", "stopped");
        assert_eq!(daemon.status("b", "how"), "exited");
        drop(log);
        daemon.finish();
    }
}

#[test]
fn a_supervisor_that_ends_leaves_its_guests_alone() {
    let mut daemon = Daemon::start();
    daemon.run("hello", "a", "process", &[]);
    let mut log = daemon.follow(&["logs", "-f", "a"]);
    log.wait_for("on process, tree at");
    daemon.end();
    assert!(daemon.said().contains("ends; 1 guest runs on"), "{}", daemon.said());
    assert_eq!(daemon.ok(&["cat", "a", "/name"]), "hello\n");
    daemon.begin();
    assert_eq!(daemon.status("a", "state"), "running");
    // Who followed its log goes on where they were: with the new one's first words.
    daemon.ok(&["stop", "a"]);
    let next = log.line();
    assert!(next.contains("is asked to stop"), "{next}");
    drop(log);
    daemon.finish();
}

#[test]
fn killed_at_any_instant_of_a_launch_it_loses_no_guest_and_doubles_none() {
    let mut daemon = Daemon::start();
    daemon.run("hello", "base", "process", &[]);
    for i in 0..10u64 {
        let name = format!("g{i}");
        let hello = crate::fixture::image("hello");
        let mut command = daemon.place.atoll();
        command.args(["run", "-d", hello.to_str().unwrap(), "--on", "process", "--name", &name]);
        let mut run = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(crate::fixture::rand() % 60_000));
        daemon.kill();
        let _ = run.wait();
        daemon.begin();
        // It is there and what it was asked to be, or it is not there.
        let known = daemon.ok(&["ps", "-q"]);
        if known.lines().any(|l| l == name) && daemon.status(&name, "state") != "new" {
            if daemon.status(&name, "state") == "stopped" {
                daemon.ok(&["start", &name]);
            }
            daemon.until(&name, "running");
            assert_eq!(daemon.ok(&["cat", &name, "/name"]), "hello\n");
        }
        assert_eq!(daemon.status("base", "run"), "1");
    }
    let names = daemon.ok(&["ps", "-q", "-r"]);
    let machines = daemon.place.processes().iter().filter(|p| p.contains("atoll-tender")).count();
    assert_eq!(machines, names.lines().count(), "{names}{:?}", daemon.place.processes());
    daemon.finish();
}
