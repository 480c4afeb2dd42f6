//! What is asked wrongly, in a wrong order, or of nobody.

use super::Daemon;
use crate::fixture::{Place, image};

#[test]
fn every_refusal_says_what_would_be_right() {
    let daemon = Daemon::start();
    let hello = image("hello");
    let hello = hello.to_str().unwrap();
    daemon.ok(&["create", hello, "--name", "a", "--on", "process"]);
    for (args, code, wants) in [
        (&["start", "nobody"][..], 3, &["no guest \"nobody\"", "atoll ps"][..]),
        (&["start", "No Body"], 2, &["is no guest's name"]),
        (&["ctl", "a", "fly"], 2, &["\"fly\": no such verb; there are commit, start"]),
        (&["ctl", "a", "stop", "soon"], 2, &["the form is stop [MS]"]),
        (
            &["pause", "a"],
            4,
            &["\"pause\": not now; the guest is stopped, and takes commit, start"],
        ),
        (&["kill", "a"], 4, &["the guest is stopped"]),
        (&["create", hello, "--name", "a"], 4, &["there is a guest a already", "--name"]),
        (&["create", "/nowhere.img"], 1, &["/nowhere.img"]),
        (&["create", hello, "--name", "../x"], 2, &["is no guest's name"]),
        (&["run", "-d", hello, "--socket", "/x"], 2, &["cannot be used with"]),
        (&["run", hello, "--name", "b"], 2, &["--name needs --detach or --receive"]),
        (&["rm", "a"], 2, &["--yes"]),
        (&["rm", "--yes", "nobody"], 3, &["no guest"]),
        (&["cat", "@", "/guests/a/fs/name"], 1, &["a is stopped: it has no tree until it runs"]),
        (&["images", "rm", "fff"], 2, &["no image's hash begins so"]),
        (&["serve", "--listen", "tcp:0.0.0.0:1"], 2, &["no authentication"]),
        (&["serve", "--group", "no-such-group-here"], 2, &["no such group"]),
    ] {
        let (got, why) = daemon.fails(args);
        assert_eq!(got, code, "{args:?}: {why}");
        for want in wants {
            assert!(why.contains(want), "{args:?}: {want:?} is not in: {why}");
        }
    }
    // A config is refused as a whole, with a caret; what was committed counts.
    daemon.ok(&["write", "@", "/guests/a/config", "image = 5\n"]);
    let (_, why) = daemon.fails(&["ctl", "a", "commit"]);
    assert!(why.contains("config, line 1, column 9") && why.contains("^"), "{why}");
    daemon.ok(&["start", "a"]);
    let (code, why) = daemon.fails(&["rm", "--yes", "a"]);
    assert!(code == 4 && why.contains("only a stopped guest can be forgotten"), "{why}");
    let (code, why) = daemon.fails(&["start", "a"]);
    assert!(code == 4 && why.contains("the guest is running"), "{why}");
    daemon.finish();
}

#[test]
fn one_supervisor_has_a_state_and_a_socket() {
    let daemon = Daemon::start();
    let state = daemon.state();
    let state = state.to_str().unwrap();
    let other = daemon.place.dir.path().join("other");
    let (code, why) = daemon.fails(&["serve", "--state", state]);
    assert!(code == 4 && why.contains("another atoll serve keeps its state"), "{code}: {why}");
    let (code, why) = daemon.fails(&["serve", "--state", other.to_str().unwrap()]);
    assert!(code == 4 && why.contains("is taken"), "{code}: {why}");
    assert_eq!(daemon.ok(&["ps", "-q"]), "");
    daemon.finish();
}

#[test]
fn without_a_supervisor_it_is_said_how_to_get_one() {
    let place = Place::new();
    for args in [&["ps"][..], &["start", "a"], &["logs", "-f", "a"], &["ls", "@"]] {
        let (code, why) = place.fails(args);
        assert_eq!(code, 6, "{args:?}: {why}");
        assert!(why.contains("start one with: atoll serve"), "{args:?}: {why}");
    }
    let doctor = place.ok(&["doctor"]);
    assert!(doctor.contains("--      supervisor"), "{doctor}");
    // A socket that was left behind is found, and removed when that is asked for.
    std::fs::create_dir(place.dir.path().join("atoll")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(place.socket("dead")).unwrap());
    assert_eq!(place.run(&["doctor"]).status.code(), Some(1));
    let fixed = place.ok(&["doctor", "--fix"]);
    assert!(fixed.contains("removed") && !place.socket("dead").exists(), "{fixed}");
}
