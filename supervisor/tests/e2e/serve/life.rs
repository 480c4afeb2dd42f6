//! The verbs, in the order in which somebody new would try them.

use rustix::process::{Pid, Signal, kill_process};

use super::Daemon;
use crate::fixture::{backends, image};

#[test]
fn a_guest_is_run_watched_stopped_and_forgotten() {
    for on in backends() {
        let daemon = Daemon::start();
        assert_eq!(daemon.ok(&["ps", "-q"]), "");
        daemon.run("hello", "web", on, &[]);
        assert_eq!(daemon.status("web", "state"), "running", "run -d waits until it runs");
        let ps = daemon.ok(&["ps"]);
        let (head, line) = ps.split_once('\n').unwrap();
        assert!(head.starts_with("NAME  STATE    RUN  SINCE"), "{ps}");
        assert!(line.starts_with("web   running    1  "), "{ps}");
        assert!(line.contains("hello"), "{ps}");

        // Its tree is below the supervisor's, and at a socket of its own.
        assert_eq!(daemon.ok(&["cat", "@", "/guests/web/fs/name"]), "hello\n");
        assert_eq!(daemon.ok(&["cat", "web", "/name"]), "hello\n");
        daemon.ok(&["write", "@", "/guests/web/fs/export/greeter/ctl", "greet Ada"]);
        let greeting = daemon.ok(&["cat", "web", "/export/greeter/greeting"]);
        assert!(greeting.contains("Ada"), "{greeting}");
        let names = daemon.ok(&["ls", "@", "/guests/web/fs"]);
        assert!(names.contains("export/") && names.contains("status\n"), "{names}");

        // What it says, what it uses, what it is.
        let logs = daemon.ok(&["logs", "web"]);
        assert!(!logs.is_empty() && logs.ends_with('\n'), "{logs:?}");
        let last = daemon.ok(&["logs", "-n", "1", "web"]);
        assert!(logs.ends_with(&last) && last.lines().count() == 1, "{last:?}");
        let stats = daemon.ok(&["stats"]);
        assert!(stats.starts_with("NAME") && stats.contains("\nweb "), "{stats}");
        let show = daemon.ok(&["show", "web"]);
        assert!(show.contains("\ntakes     commit, stop [MS], kill"), "{show}");
        let json: serde_json::Value =
            serde_json::from_str(&daemon.ok(&["show", "--json", "web"])).unwrap();
        assert_eq!((&json["run"], &json["state"]), (&1.into(), &"running".into()));
        assert!(json["stats"]["memory"].as_u64().unwrap() > 0, "{json}");

        // Standing still and going on.
        daemon.ok(&["pause", "web"]);
        assert_eq!(daemon.status("web", "state"), "paused");
        daemon.ok(&["resume", "web"]);
        assert_eq!(daemon.status("web", "state"), "running");

        // The end of one run, and the next.
        let waiter = daemon.follow(&["wait", "web"]);
        daemon.ok(&["stop", "web"]);
        assert_eq!(waiter.wait(), Some(0));
        assert_eq!(daemon.status("web", "state"), "stopped");
        daemon.ok(&["start", "web"]);
        assert_eq!(
            (daemon.status("web", "run"), daemon.status("web", "state")),
            ("2".into(), "running".into())
        );
        daemon.ok(&["restart", "web"]);
        assert_eq!(daemon.status("web", "run"), "3");
        daemon.ok(&["kill", "web"]);
        assert_eq!(daemon.status("web", "how"), "killed");
        let ended = daemon.follow(&["wait", "web"]);
        assert_eq!(ended.wait(), Some(1), "it did not end well");

        let events = daemon.ok(&["events", "web"]);
        let words: Vec<&str> = events.lines().filter_map(|l| l.split(' ').nth(3)).collect();
        assert_eq!(
            words,
            [
                "defined",
                "committed",
                "starting",
                "running",
                "paused",
                "resumed",
                "stopping",
                "ended",
                "starting",
                "running",
                "stopping",
                "ended",
                "starting",
                "running",
                "killing",
                "ended"
            ],
            "{events}"
        );
        daemon.ok(&["rm", "--yes", "web"]);
        assert_eq!(daemon.ok(&["ps", "-q"]), "");
        assert!(!daemon.state().join("guests/web").exists());
        daemon.finish();
    }
}

#[test]
fn what_was_done_by_verbs_can_be_done_with_files() {
    let daemon = Daemon::start();
    let hello = image("hello");
    let hash = daemon.ok(&["images", "add", hello.to_str().unwrap()]);
    let hash = hash.trim();
    let list = daemon.ok(&["images"]);
    assert!(list.contains(&hash[..12]) && list.contains("hello"), "{list}");
    // 9P has mkdir and rmdir; the command line has them where a mount is.
    let tree = daemon.tree();
    tree.mkdir("guests/b", 0o755).unwrap();
    assert_eq!(daemon.status("b", "state"), "new");
    let config = format!("image = \"{hash}\"\non = \"process\" # small\n");
    daemon.ok(&["write", "@", "/guests/b/config", &config]);
    assert_eq!(daemon.ok(&["cat", "@", "/guests/b/config"]), config);
    daemon.ok(&["write", "@", "/guests/b/ctl", "commit"]);
    daemon.ok(&["write", "@", "/guests/b/ctl", "start"]);
    assert_eq!(daemon.ok(&["cat", "@", "/guests/b/fs/name"]), "hello\n");
    let busy = tree.remove("guests/b", atoll_9p::types::unlink::DIR).unwrap_err();
    assert!(busy.to_string().contains("only a stopped guest"), "{busy}");
    daemon.ok(&["write", "@", "/guests/b/ctl", "kill"]);
    let line = daemon.ok(&["cat", "@", "/guests/b/wait"]);
    assert!(line.starts_with("1 killed"), "{line}");
    tree.remove("guests/b", atoll_9p::types::unlink::DIR).unwrap();
    tree.remove(&format!("images/{hash}"), atoll_9p::types::unlink::DIR).unwrap();
    assert_eq!(daemon.ok(&["ls", "@", "/images"]), "");
    drop(tree);
    daemon.finish();
}

#[test]
fn a_guest_that_fails_is_started_again_if_that_was_asked_for() {
    let daemon = Daemon::start();
    daemon.run("crash", "c", "process", &["--restart", "on-failure"]);
    let mut events = daemon.follow(&["events", "-f", "c"]);
    // What was said before somebody listens is told, too.
    let mut log = daemon.follow(&["logs", "-f", "c"]);
    log.wait_for("on process, tree at");
    let _ = daemon.place.run(&["write", "@", "/guests/c/fs/export/crash/ctl", "panic"]);
    log.wait_for("panic");
    events.wait_for("ended crashed: panic");
    events.wait_for("again in 500 ms, failures 1");
    events.wait_for("c#2 running");
    let history = daemon.ok(&["cat", "@", "/guests/c/history"]);
    assert!(history.starts_with("run 1 time ") && history.contains(" crashed panic"), "{history}");
    assert!(history.contains("\n  "), "the record is below it: {history}");
    assert_eq!(daemon.status("c", "restarts"), "1");
    // What was stopped stays stopped.
    daemon.ok(&["stop", "c"]);
    assert_eq!(daemon.status("c", "state"), "stopped");
    drop((events, log));
    daemon.finish();
}

#[test]
fn several_guests_are_asked_at_once_and_each_is_told_of() {
    let daemon = Daemon::start();
    ["a", "b", "c"].iter().for_each(|name| daemon.run("hello", name, "process", &[]));
    // The first one takes its time, which is nothing to the others.
    let pid = daemon.status("a", "pid").parse().ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let mut stop = daemon.follow(&["stop", "--time", "600", "a", "b", "c"]);
    daemon.until("b", "stopped");
    daemon.until("c", "stopped");
    assert_eq!(daemon.status("a", "state"), "stopping");
    kill_process(pid, Signal::CONT).unwrap();
    let said: String = (0..4).map(|_| stop.line()).collect();
    assert_eq!(said, "a\nb\nc\n", "as they were named");
    assert_eq!(stop.wait(), Some(0));
    assert_eq!(daemon.status("a", "how"), "exited");

    // Whatever fails is said, and hinders no other.
    daemon.ok(&["start", "c", "b"]);
    let out = daemon.place.run(&["rm", "--yes", "none", "c", "a", "nor", "b"]);
    let said = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!((said(&out.stdout), out.status.code()), ("a\n".into(), Some(4)));
    let why = said(&out.stderr);
    let lines: Vec<&str> = why.lines().collect();
    assert_eq!(lines.len(), 4, "{why}");
    for (line, word) in lines.iter().zip(["guest \"none\"", " c: ", "guest \"nor\"", " b: "]) {
        assert!(line.starts_with("atoll: ") && line.contains(word), "{word}: {why}");
    }
    assert_eq!(daemon.ok(&["ps", "-q"]), "b\nc\n");
    assert_eq!(daemon.ok(&["rm", "--yes", "--force", "b", "c"]), "b\nc\n");
    daemon.finish();
}
