//! Back and forth in a guest's time: checkpoints, restores and forks, by verbs.

use super::Daemon;
use crate::fixture::backends;

impl Daemon {
    fn add(&self, guest: &str, n: i64) {
        let ctl = format!("/guests/{guest}/fs/export/counter/ctl");
        self.ok(&["write", "@", &ctl, &format!("add {n}")]);
    }

    fn count(&self, guest: &str) -> i64 {
        let file = format!("/guests/{guest}/fs/export/counter/count");
        self.ok(&["cat", "@", &file]).trim().parse().unwrap()
    }

    /// What may be written to a guest's ctl now.
    fn takes(&self, guest: &str) -> Vec<String> {
        self.ok(&["ctl", guest]).lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_guest_goes_back_and_a_fork_goes_on_beside_it() {
    for on in backends() {
        let daemon = Daemon::start();
        daemon.run("counter", "c", on, &[]);
        let takes = daemon.takes("c");
        for line in ["checkpoint", "restore N", "fork NAME"] {
            assert!(takes.iter().any(|l| l == line), "{line} is not in {takes:?}");
        }
        let (code, why) = daemon.fails(&["ctl", "c", "restore", "1"]);
        assert!(code == 1 && why.contains("c has no checkpoint 1; it has none"), "{code} {why}");
        daemon.add("c", 42);
        daemon.ok(&["ctl", "c", "checkpoint"]);
        daemon.add("c", 8);
        assert_eq!(daemon.count("c"), 50);

        // In the same run, for all who have its tree open.
        let pid = daemon.status("c", "pid");
        daemon.ok(&["ctl", "c", "restore", "1"]);
        assert_eq!((daemon.count("c"), daemon.status("c", "pid")), (42, pid));
        assert_eq!(daemon.status("c", "run"), "1");
        daemon.add("c", 1);
        assert_eq!(daemon.count("c"), 43);
        let (code, why) = daemon.fails(&["ctl", "c", "restore", "9"]);
        assert!(code == 1 && why.contains("c has no checkpoint 9; it has 1"), "{code} {why}");
        assert_eq!(daemon.count("c"), 43, "what was refused changes nothing");

        // One that stands still has no place for it.
        daemon.ok(&["pause", "c"]);
        assert!(!daemon.takes("c").contains(&"restore N".into()));
        let (code, why) = daemon.fails(&["ctl", "c", "restore", "1"]);
        assert!(code == 4 && why.contains("the guest is paused, and takes"), "{code} {why}");
        daemon.ok(&["resume", "c"]);

        // A fork is a guest of its own, from here on.
        daemon.ok(&["fork", "c", "d"]);
        daemon.until("d", "running");
        assert_eq!((daemon.count("c"), daemon.count("d")), (43, 43));
        assert_ne!(daemon.status("c", "epoch"), daemon.status("d", "epoch"));
        assert_ne!(daemon.status("c", "pid"), daemon.status("d", "pid"));
        daemon.add("d", 100);
        assert_eq!((daemon.count("c"), daemon.count("d")), (43, 143));
        let (code, why) = daemon.fails(&["fork", "c", "d"]);
        assert!(code == 4 && why.contains("there is a guest d already"), "{code} {why}");
        // It has checkpoints of its own, or none.
        let (_, why) = daemon.fails(&["ctl", "d", "restore", "1"]);
        assert!(why.contains("d has no checkpoint 1; it has none"), "{why}");

        // One that is stopped is started from there.
        daemon.ok(&["kill", "c"]);
        daemon.ok(&["ctl", "c", "restore", "1"]);
        assert_eq!((daemon.count("c"), daemon.status("c", "run")), (42, "2".into()));
        let events = daemon.ok(&["events", "c"]);
        for what in [" restored 1\n", " forked d\n", "1.checkpoint\n"] {
            assert!(events.contains(what), "{what:?} is not in {events}");
        }
        let history = daemon.ok(&["cat", "@", "/guests/c/history"]);
        assert!(history.starts_with("checkpoint 1 time "), "{history}");
        daemon.finish();
    }
}

#[test]
fn a_checkpoint_that_is_damaged_or_anothers_changes_nothing() {
    let daemon = Daemon::start();
    daemon.run("counter", "c", "process", &[]);
    daemon.add("c", 5);
    daemon.ok(&["ctl", "c", "checkpoint"]);
    daemon.add("c", 5);
    let file = daemon.state().join("guests/c/checkpoints/1.checkpoint");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let (code, why) = daemon.fails(&["ctl", "c", "restore", "1"]);
    assert!(code == 1 && why.contains("did not go back to checkpoint 1: "), "{code} {why}");
    assert_eq!((daemon.count("c"), daemon.status("c", "state")), (10, "running".into()));
    let events = daemon.ok(&["events", "c"]);
    assert!(events.contains(" failed restore 1: "), "{events}");
    daemon.finish();
}

#[test]
fn its_checkpoints_outlive_the_supervisor_and_its_own_end() {
    let mut daemon = Daemon::start();
    daemon.run("counter", "c", "process", &[]);
    daemon.add("c", 7);
    daemon.ok(&["ctl", "c", "checkpoint"]);
    daemon.kill();
    daemon.begin();
    daemon.add("c", 1);
    daemon.ok(&["ctl", "c", "restore", "1"]);
    assert_eq!(daemon.count("c"), 7);
    // Every start goes on from the last, where that is wanted.
    let config = daemon.ok(&["cat", "@", "/guests/c/config"]);
    daemon.ok(&["write", "@", "/guests/c/config", &format!("resume = true\n{config}")]);
    daemon.ok(&["ctl", "c", "commit"]);
    daemon.add("c", 2);
    daemon.ok(&["restart", "c"]);
    assert_eq!(daemon.count("c"), 9);
    daemon.finish();
}

#[test]
fn what_an_image_cannot_do_is_not_offered() {
    let daemon = Daemon::start();
    daemon.run("hello", "h", "process", &[]);
    let takes = daemon.takes("h");
    assert_eq!(takes, ["commit", "stop [MS]", "kill", "pause", "restart [MS]"]);
    for line in [&["checkpoint"][..], &["restore", "1"], &["fork", "i"]] {
        let (code, why) = daemon.fails(&[&["ctl", "h"], line].concat());
        assert!(code == 1 && why.contains("this image's guests keep no checkpoints"), "{why}");
    }
    let (_, why) = daemon.fails(&["start", "h"]);
    assert!(!why.contains("checkpoint") && !why.contains("fork"), "{why}");
    let config = daemon.ok(&["cat", "@", "/guests/h/config"]);
    daemon.ok(&["write", "@", "/guests/h/config", &format!("resume = true\n{config}")]);
    let (code, why) = daemon.fails(&["ctl", "h", "commit"]);
    assert!(code == 2 && why.contains("keep no checkpoints"), "{code} {why}");
    assert_eq!(daemon.ok(&["ps", "-q"]), "h\n", "no fork was made");
    daemon.until("h", "running");
    daemon.finish();
}
