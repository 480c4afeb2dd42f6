//! Guests that are slower than was expected of them: told, and restarted where that is wanted.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::process::{Pid, Signal, kill_process};

use super::{Daemon, Follower};
use crate::fixture::{backends, image};

/// Makes a guest of a program, of which something is expected.
fn create(daemon: &Daemon, program: &str, on: &str, expect: &str) {
    let image = image(program);
    daemon.ok(&["create", image.to_str().unwrap(), "--name", "a", "--on", on]);
    let config = daemon.ok(&["cat", "@", "/guests/a/config"]);
    let config = format!("{config}\nstop = \"300ms\"\n[expect]\n{expect}");
    daemon.ok(&["write", "@", "/guests/a/config", &config]);
    daemon.ok(&["write", "@", "/guests/a/ctl", "commit"]);
    daemon.ok(&["start", "a"]);
}

fn signal(daemon: &Daemon, signal: Signal) {
    let pid = daemon.status("a", "pid").parse().ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), signal).unwrap();
}

/// Keeps the guest busy until it is told of: how.
fn slow(daemon: &Daemon, events: &mut Follower) -> String {
    let (tree, done) = (daemon.tree(), AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            // Until it is started anew, for one.
            while !done.load(Relaxed) {
                if tree.read("guests/a/fs/export/greeter/greeting").is_err() {
                    break;
                }
            }
        });
        let line = events.wait_for("stuttering");
        done.store(true, Relaxed);
        line
    })
}

#[test]
fn a_guest_that_does_not_answer_is_told_of_and_told_when_it_does() {
    for on in backends() {
        let daemon = Daemon::start();
        create(&daemon, "hello", on, "");
        let mut events = daemon.follow(&["events", "-f", "a"]);
        events.wait_for("running");
        signal(&daemon, Signal::STOP);
        // Somebody asks it something, and gets no answer.
        let asks = daemon.follow(&["cat", "a", "/export/greeter/greeting"]);
        let line = events.wait_for("stuttering");
        assert!(line.contains("stuttering no answer in "), "{line}");
        assert!(daemon.status("a", "stuttering").starts_with("no answer in "));
        assert_eq!(daemon.status("a", "state"), "running");
        let ps = daemon.ok(&["ps"]);
        assert!(ps.contains("stuttering: no answer in "), "{ps}");
        let metrics = daemon.ok(&["cat", "@", "/metrics"]);
        assert!(metrics.contains("\natoll_stuttering 1\n"), "{metrics}");
        signal(&daemon, Signal::CONT);
        events.wait_for("steady");
        drop(asks);
        assert_eq!(daemon.status("a", "stuttering"), "");
        assert!(daemon.ok(&["cat", "@", "/metrics"]).contains("\natoll_stuttering 0\n"));
        drop(events);
        daemon.finish();
    }
}

#[test]
fn a_guest_that_hangs_is_started_anew_where_that_is_wanted() {
    let daemon = Daemon::start();
    create(&daemon, "hello", "process", "then = \"restart\"\n");
    daemon.ok(&["write", "@", "/guests/a/ctl", "pause"]);
    daemon.ok(&["write", "@", "/guests/a/ctl", "resume"]);
    let mut events = daemon.follow(&["events", "-f", "a"]);
    events.wait_for("resumed");
    signal(&daemon, Signal::STOP);
    let _asks = daemon.follow(&["cat", "a", "/export/greeter/greeting"]);
    events.wait_for("stuttering no answer");
    events.wait_for("stopping");
    let line = events.wait_for("ended");
    assert!(line.ends_with("ended killed\n"), "{line}");
    events.wait_for("running");
    assert_eq!(
        (daemon.status("a", "run"), daemon.status("a", "restarts"), daemon.status("a", "how")),
        ("2".into(), "1".into(), "killed".into())
    );
    assert_eq!(daemon.status("a", "stuttering"), "");
    assert!(daemon.ok(&["cat", "a", "/export/greeter/greeting"]).contains("world"));
    drop(events);
    daemon.finish();
}

#[test]
fn dispatches_that_take_longer_than_was_stated_are_told_with_the_figure() {
    for on in backends() {
        let daemon = Daemon::start();
        create(&daemon, "hello", on, "dispatch_p99 = \"1us\"\n");
        let mut events = daemon.follow(&["events", "-f", "a"]);
        events.wait_for("running");
        let line = slow(&daemon, &mut events);
        assert!(line.contains("stuttering dispatch p99 "), "{line}");
        assert!(line.ends_with(" us, expected 1 us\n"), "{line}");
        // One that has nothing to do is not slow.
        events.wait_for("steady");
        drop(events);
        daemon.finish();
    }
}

#[test]
fn what_is_expected_of_a_guest_the_next_supervisor_expects_too() {
    for on in backends() {
        let mut daemon = Daemon::start();
        create(&daemon, "hello", on, "dispatch_p99 = \"1us\"\nthen = \"restart\"\n");
        daemon.until("a", "running");
        let pid = daemon.status("a", "pid");
        daemon.kill();
        daemon.begin();
        assert_eq!((daemon.status("a", "run"), daemon.status("a", "pid")), ("1".into(), pid));
        // How fast it is to answer, and what becomes of it if it does not.
        let mut events = daemon.follow(&["events", "-f", "a"]);
        let line = slow(&daemon, &mut events);
        assert!(line.contains("a#1 stuttering dispatch p99 "), "{line}");
        assert!(line.ends_with(" us, expected 1 us\n"), "{line}");
        events.wait_for("a#1 stopping");
        events.wait_for("a#1 ended");
        events.wait_for("a#2 running");
        drop(events);
        daemon.finish();
    }
}
