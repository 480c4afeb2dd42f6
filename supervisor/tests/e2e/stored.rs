//! What a guest stores, in the folder of its state: there again after any end of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;

use crate::fixture::{Guest, Place, backends};

/// A key that [`sync`] puts.
const MARK: &str = "zz-mark";

struct Kept {
    place: Place,
    dir: tempfile::TempDir,
}

impl Kept {
    fn new() -> Kept {
        Kept { place: Place::new(), dir: tempfile::tempdir().unwrap() }
    }

    fn state(&self) -> String {
        self.dir.path().join("state").to_str().unwrap().into()
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("state/store")
    }

    fn start(&self, on: &str, more: &[&str]) -> Guest {
        let state = self.state();
        let mut args = vec!["--state", &state];
        args.extend(more);
        Guest::start(&self.place, "kv", on, &args)
    }

    fn put(&self, key: &str, value: &str) {
        self.place.ok(&["write", "kv", &format!("/export/kv/names/{key}"), value]);
    }

    fn get(&self, key: &str) -> String {
        self.place.ok(&["cat", "kv", &format!("/export/kv/names/{key}")]).trim_end().into()
    }

    fn keys(&self) -> String {
        self.place.ok(&["ls", "kv", "/export/kv/names"]).replace(&format!("{MARK}\n"), "")
    }

    /// Waits until what was put is on the disk.
    fn sync(&self) {
        sync(&self.place, "kv");
    }
}

/// Tells a guest to sync, and waits until it says that it has.
pub(crate) fn sync(place: &Place, guest: &str) {
    let mut tail = place.atoll();
    tail.args(["tail", guest, "/export/kv/changes"]).stdout(Stdio::piped());
    let mut tail = tail.spawn().unwrap();
    let lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    // Those of syncs before this one are told first.
    let mark = 1 + crate::fixture::rand() % 9999;
    let file = format!("/export/kv/names/{MARK}");
    place.ok(&["write", guest, &file, &"x".repeat(mark as usize)]);
    let mark = format!("put {MARK} {mark}");
    place.ok(&["write", guest, "/export/kv/ctl", "sync"]);
    let marked = lines.map_while(Result::ok).skip_while(|l| *l != mark);
    assert!(marked.skip(1).any(|l| l == "durable"), "it never says that it is durable");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn what_was_synced_is_there_after_any_end() {
    for on in backends() {
        let kept = Kept::new();
        let guest = kept.start(on, &[]);
        kept.put("colour", "blue");
        kept.put("shape", "round");
        kept.sync();
        guest.signal(Signal::KILL);
        guest.wait();
        kept.place.assert_empty();

        // It begins anew, with that; and ends as it was asked to.
        let guest = kept.start(on, &[]);
        assert_eq!(kept.keys(), "colour\nshape\n");
        assert_eq!(kept.get("shape"), "round");
        kept.place.ok(&["write", "kv", "/export/kv/ctl", "clear"]);
        kept.put("colour", "red");
        kept.sync();
        guest.stop();

        // On the other machine, where an end is that is not whole.
        let mut bytes = fs::read(kept.store()).unwrap();
        let whole = bytes.len();
        bytes.extend_from_slice(b"AKPT\x20");
        fs::write(kept.store(), &bytes).unwrap();
        let other = if *on == "qemu" { "process" } else { on };
        let guest = kept.start(other, &[]);
        assert_eq!((kept.keys(), kept.get("colour")), ("colour\n".into(), "red".into()));
        let said = guest.stop();
        assert!(said.contains("5 bytes that were never synced are dropped"), "{said}");

        // What is damaged is said to be, before anything starts.
        bytes.truncate(whole);
        bytes[40] ^= 1;
        fs::write(kept.store(), &bytes).unwrap();
        let image = crate::fixture::image("kv");
        let state = kept.state();
        let args = ["run", image.to_str().unwrap(), "--on", on, "--state", &state];
        let (code, why) = kept.place.fails(&args);
        assert!(code == 1 && why.contains("store is damaged at byte 0"), "{code} {why}");
        kept.place.assert_empty();
    }
}

#[test]
fn a_guest_that_goes_back_takes_its_store_along() {
    for on in backends() {
        let kept = Kept::new();
        let then = kept.dir.path().join("then").to_str().unwrap().to_owned();
        let guest = kept.start(on, &[]);
        kept.put("colour", "blue");
        kept.sync();
        kept.place.ok(&["checkpoint", "kv", &then]);
        kept.put("colour", "red");
        kept.put("later", "x");
        kept.sync();
        let after = fs::read(kept.store()).unwrap();
        guest.signal(Signal::KILL);
        guest.wait();

        // Started from there; what there was is kept beside it.
        let guest = kept.start(on, &["--restore", &then]);
        guest.wait_for("its store goes back too");
        assert_eq!((kept.keys(), kept.get("colour")), ("colour\n".into(), "blue".into()));
        assert_eq!(fs::read(kept.dir.path().join("state/store.before")).unwrap(), after);
        kept.put("later", "y");
        kept.sync();
        guest.signal(Signal::KILL);
        guest.wait();
        let guest = kept.start(on, &[]);
        assert_eq!(kept.keys(), "colour\nlater\n");
        assert_eq!((kept.get("colour"), kept.get("later")), ("blue".into(), "y".into()));

        // And while it runs.
        kept.place.ok(&["restore", "kv", &then]);
        kept.sync();
        assert_eq!(kept.keys(), "colour\n");
        guest.signal(Signal::KILL);
        guest.wait();
        let guest = kept.start(on, &[]);
        assert_eq!(kept.keys(), "colour\n");
        guest.stop();
        kept.place.assert_empty();
    }
}

#[test]
fn killed_at_any_instant_it_has_what_was_synced_and_nothing_by_halves() {
    let kept = Kept::new();
    let mut sure = 0;
    for _ in 0..6 {
        let guest = kept.start("process", &[]);
        let there: u64 = match kept.keys().contains("n\n") {
            true => kept.get("n").parse().unwrap(),
            false => 0,
        };
        assert!(there >= sure, "{there} is older than {sure}, which was synced");
        sure = there + 1;
        kept.put("n", &sure.to_string());
        kept.sync();
        // Some more, of which nobody knows how many are there.
        let n = crate::fixture::rand() % 4;
        for n in sure + 1..=sure + n {
            kept.put("n", &n.to_string());
        }
        guest.signal(Signal::KILL);
        guest.wait();
    }
    kept.place.assert_empty();
}
