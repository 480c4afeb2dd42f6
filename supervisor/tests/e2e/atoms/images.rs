//! The images with atoms: each is listed, read, written and followed as its README shows.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Guest, PATIENCE, Place, backends};

/// Follows an event file of a guest, in the background, from what is already there.
struct Tail(Child, BufReader<std::process::ChildStdout>);

impl Tail {
    fn new(place: &Place, guest: &str, path: &str) -> Tail {
        let mut command: Command = place.atoll();
        command.args(["tail", guest, path]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Tail(child, out)
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0), "an interrupt ends it cleanly");
    }
}

impl Place {
    /// Waits until a file shows just that.
    fn wait_for(&self, guest: &str, path: &str, want: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let got = self.ok(&["cat", guest, path]);
            if got == want {
                return;
            }
            assert!(Instant::now() < until, "{path}: {got:?} in the place of {want:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Boots an image on each machine, and does with it what there is to do.
fn each(name: &str, f: impl Fn(&Place)) {
    for on in backends() {
        let place = Place::new();
        let guest = Guest::start(&place, name, on, &[]);
        f(&place);
        let said = guest.stop();
        // The word of a guest that has done nothing wrong.
        assert!(!said.contains("abandoned"), "{on}: {said}");
        place.assert_empty();
    }
}

#[test]
fn counter_counts() {
    each("counter", |p| {
        let (ctl, count) = ("/export/counter/ctl", "/export/counter/count");
        assert_eq!(p.ok(&["ls", "counter", "/export/counter"]), "events\ncount\nctl\n");
        assert_eq!(p.ok(&["cat", "counter", count]), "0\n");
        p.ok(&["write", "counter", ctl, "add", "5"]);
        p.ok(&["write", "counter", ctl, "add", "-20"]);
        assert_eq!(p.ok(&["cat", "counter", count]), "-15\n");
        let (code, error) = p.fails(&["write", "counter", ctl, "add", "x"]);
        assert!(code == 1 && error.contains("add N") && error.contains("(EINVAL)"), "{error}");
        let mut tail = Tail::new(p, "counter", "/export/counter/events");
        assert_eq!((tail.next(), tail.next()), ("5".into(), "-15".into()));
        p.ok(&["write", "counter", ctl, "every", "5", "3"]);
        assert_eq!([tail.next(), tail.next(), tail.next()], ["-14", "-13", "-12"]);
        tail.end();
        p.wait_for("counter", count, "-12\n");
        let status = p.ok(&["cat", "counter", "/atom/counter/status"]);
        assert!(status.contains("state running") && status.contains("restarts 0"), "{status}");
        p.ok(&["write", "counter", "/atom/counter/ctl", "restart"]);
        assert_eq!(p.ok(&["cat", "counter", count]), "0\n");
    });
}

#[test]
fn kv_keeps() {
    each("kv", |p| {
        let names = "/export/kv/names";
        p.ok(&["write", "kv", "/export/kv/names/colour", "blue"]);
        p.ok(&["write", "kv", "/export/kv/names/shape", "round"]);
        assert_eq!(p.ok(&["ls", "kv", names]), "colour\nshape\n");
        assert_eq!(p.ok(&["cat", "kv", "/export/kv/names/colour"]).trim_end(), "blue");
        let (code, error) = p.fails(&["cat", "kv", "/export/kv/names/size"]);
        assert!(code == 1 && error.contains("(ENOENT)"), "{error}");
        let stats = p.ok(&["cat", "kv", "/export/kv/stats"]);
        assert!(stats.starts_with("keys 2\n"), "{stats}");
        // What is stored outlives the instance.
        p.ok(&["write", "kv", "/atom/kv/ctl", "restart"]);
        assert_eq!(p.ok(&["cat", "kv", "/export/kv/stats"]), stats);
        assert_eq!(p.ok(&["cat", "kv", "/export/kv/names/shape"]).trim_end(), "round");
        let mut tail = Tail::new(p, "kv", "/export/kv/changes");
        assert!(tail.next().starts_with("put colour ") && tail.next().starts_with("put shape "));
        p.ok(&["write", "kv", "/export/kv/ctl", "clear"]);
        assert_eq!(tail.next(), "clear");
        tail.end();
        assert_eq!(p.ok(&["ls", "kv", names]), "");
        assert_eq!(p.ok(&["cat", "kv", "/export/kv/stats"]), "keys 0\nbytes 0\n");
    });
}

#[test]
fn hash_computes() {
    /// FIPS 180-4's example: "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    /// The same, and then 20,000 times the sum of the sum.
    const LONG: &str = "2bf1601dd221ec9f4278e6288a8c90592daa7dce18d0bdf2665413fbd95cee57";
    each("hash", |p| {
        p.ok(&["write", "hash", "/export/hash/sums/abc", "abc"]);
        assert_eq!(p.ok(&["cat", "hash", "/export/hash/sums/abc"]), format!("{ABC}\n"));
        let mut tail = Tail::new(p, "hash", "/export/hash/done");
        // Many pieces, and others are served between two of them.
        p.ok(&["write", "hash", "/export/hash/ctl", "stretch", "abc", "20000"]);
        assert_eq!(p.ok(&["ls", "hash", "/export/hash/sums"]), "abc\n");
        let done = tail.next();
        tail.end();
        assert_eq!(done, format!("abc {LONG}"));
        p.wait_for("hash", "/export/hash/status", "");
    });
}

#[test]
fn chat_talks() {
    each("chat", |p| {
        let say = |who: &str, words: &str| {
            p.ok(&["write", "chat", &format!("/export/chat/clients/{who}"), words]);
        };
        let mut tail = Tail::new(p, "chat", "/export/chat/said");
        say("1", "ann");
        say("1", "/join sea");
        assert_eq!(tail.next(), "[sea] ann: joined");
        say("2", "ann");
        say("2", "bob");
        say("2", "/join sea");
        assert_eq!(tail.next(), "[sea] bob: joined");
        assert_eq!(p.ok(&["cat", "chat", "/export/chat/rooms"]), "sea: ann, bob\n");
        assert_eq!(p.ok(&["ls", "chat", "/export/chat/clients"]), "1\n2\n");
        say("1", "ahoy");
        assert_eq!(tail.next(), "[sea] ann: ahoy");
        // A conversation that waits for the other one.
        say("1", "/vote fish?");
        p.wait_for(
            "chat",
            "/export/chat/clients/2",
            "ann is here already: who are you?\n\
             welcome, bob: /join ROOM, /who, /vote QUESTION, /quit\n\
             [sea] bob: joined\n[sea] ann: ahoy\nfish? (yes or no)\n",
        );
        say("2", "yes");
        assert_eq!(tail.next(), "[sea] ann: fish?: 1 yes, 0 no, 0 silent");
        say("2", "/quit");
        assert_eq!(tail.next(), "[sea] bob: left");
        tail.end();
        p.wait_for("chat", "/export/chat/rooms", "sea: ann\n");
        let (code, error) = p.fails(&["cat", "chat", "/export/chat/clients/2"]);
        assert!(code == 1 && error.contains("(ENOENT)"), "{error}");
    });
}
