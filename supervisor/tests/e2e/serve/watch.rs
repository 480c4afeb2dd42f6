//! Looking on: all guests' figures in one file, a console, ends, and what a shell completes.

use std::process::{Command, Stdio};

use super::Daemon;
use crate::fixture::{atoll, image};

#[test]
fn stats_has_the_figures_of_all_guests_at_once() {
    let daemon = Daemon::start();
    daemon.run("hello", "a", "process", &[]);
    daemon.run("hello", "b", "process", &[]);
    daemon.ok(&["create", image("hello").to_str().unwrap(), "--name", "c"]);
    daemon.ok(&["kill", "b"]);
    let stats = daemon.ok(&["cat", "@", "/stats"]);
    let lines: Vec<&str> = stats.lines().collect();
    let [a, b, c] = lines[..] else { panic!("{stats}") };
    let get = |line: &str, key: &str| -> Option<u64> {
        line.split(' ').find_map(|w| w.strip_prefix(key)?.parse().ok())
    };
    assert!(a.starts_with("a state=running run=1 program=hello backend=process since="), "{a}");
    assert!(get(a, "cpu=").is_some() && get(a, "memory=").unwrap() > 0, "{a}");
    assert!(b.contains(" how=killed ") && get(b, "memory=").is_none(), "{b}");
    assert_eq!(c, "c state=stopped run=0 program=hello");
    let cpu = daemon.ok(&["cat", "@", "/host/cpu"]);
    assert!(cpu.contains("\nbusy ") && cpu.contains("\nidle "), "{cpu}");
    daemon.finish();
}

#[test]
fn a_console_goes_on_over_runs() {
    let daemon = Daemon::start();
    daemon.run("hello", "web", "process", &[]);
    let mut cons = daemon.follow(&["cons", "web"]);
    cons.wait_for("tree at unix:");
    let mut waiter = daemon.follow(&["wait", "--json", "web"]);
    // Or it would wait for the end of the next run.
    daemon.until_asked();
    daemon.ok(&["restart", "web"]);
    cons.wait_for("tree at unix:");
    let end: serde_json::Value = serde_json::from_str(&waiter.wait_for("web")).unwrap();
    assert_eq!((&end["name"], &end["run"]), (&"web".into(), &1.into()));
    assert_eq!((&end["how"], &end["status"]), (&"exited".into(), &0.into()));
    drop(cons);
    let takes: Vec<String> = serde_json::from_str(&daemon.ok(&["ctl", "--json", "web"])).unwrap();
    assert!(takes.iter().any(|verb| verb == "kill"), "{takes:?}");
    let (code, why) = daemon.fails(&["cons", "nobody"]);
    assert!(code == 3 && why.contains("no guest \"nobody\""), "{code} {why}");
    daemon.finish();
}

#[test]
fn a_shell_completes_the_names_of_guests() {
    let daemon = Daemon::start();
    let image = image("hello");
    for name in ["web", "web-2", "db"] {
        daemon.ok(&["create", image.to_str().unwrap(), "--name", name]);
    }
    // Bash itself does this, with the script that it was given.
    let script = "source <(\"$1\" completions bash) || exit 1
        COMP_WORDS=(atoll $2 \"$3\") COMP_CWORD=2 COMP_TYPE=9
        _clap_complete_atoll atoll \"$3\" \"$2\"
        echo \"${COMPREPLY[@]}\"";
    let complete = |verb: &str, begun: &str| -> String {
        let mut bash = Command::new("bash");
        let out = bash
            .args(["--norc", "-c", script, "bash"])
            .args([atoll().as_os_str(), verb.as_ref(), begun.as_ref()])
            .envs(daemon.place.atoll().get_envs().filter_map(|(k, v)| Some((k, v?))))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("stop", "we"), "web web-2");
    assert_eq!(complete("logs", "d"), "db");
    assert!(complete("ls", "").starts_with("@ db web web-2"), "{}", complete("ls", ""));
    assert_eq!(complete("cons", "x"), "");
    daemon.finish();
}
