//! A guest that is stopped on one machine and goes on, on another; and what is refused.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixture::{Guest, PATIENCE, Place, atoll, backends, image, rand};

/// A place with a folder for checkpoints, which sockets have no part in.
struct Kept {
    place: Place,
    dir: tempfile::TempDir,
}

impl Kept {
    fn new() -> Kept {
        Kept { place: Place::new(), dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().into()
    }

    /// What is in the folder.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn start(&self, on: &str, more: &[&str]) -> Guest {
        Guest::start(&self.place, "counter", on, more)
    }

    fn count(&self) -> i64 {
        let text = self.place.ok(&["cat", "counter", "/export/counter/count"]);
        text.trim().parse().unwrap()
    }

    fn tell(&self, line: &str) {
        assert_eq!(self.place.ok(&["write", "counter", "/export/counter/ctl", line]), "");
    }

    fn wait_for(&self, count: i64) {
        let until = Instant::now() + PATIENCE;
        while self.count() != count {
            assert!(Instant::now() < until, "it counts to {} and no further", self.count());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    fn take(&self, name: &str) -> String {
        let file = self.file(name);
        assert_eq!(self.place.ok(&["checkpoint", "counter", &file]), "");
        file
    }

    /// A field of what `atoll checkpoint show` says.
    fn shown(&self, file: &str, key: &str) -> String {
        let text = self.place.ok(&["checkpoint", "show", file]);
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {key} in {text}")).to_owned()
    }
}

#[test]
fn a_guest_goes_on_where_it_was_from_machine_to_machine() {
    let kept = Kept::new();
    let others = backends().iter().rev().chain(backends());
    let guest = kept.start(backends()[0], &[]);
    kept.tell("add 42");
    // What is under way goes on, too: this adds forty, five milliseconds apart.
    kept.tell("every 5 40");
    let mut file = kept.take("first");
    guest.stop();
    kept.place.assert_empty();
    let payload = kept.shown(&file, "payload_hash");
    for (step, on) in others.enumerate() {
        let guest = kept.start(on, &["--restore", &file]);
        let goal = 82 + step as i64;
        kept.wait_for(goal);
        kept.tell("add 1");
        assert_eq!(kept.count(), goal + 1, "on {on}");
        file = kept.take(&format!("next-{step}"));
        assert_eq!(kept.shown(&file, "payload_hash"), payload);
        let said = guest.stop();
        assert!(said.contains("goes on at "), "{on}: {said}");
        kept.place.assert_empty();
    }
}

#[test]
fn a_running_guest_becomes_what_it_was() {
    let kept = Kept::new();
    let guest = kept.start("process", &[]);
    kept.tell("add 42");
    let file = kept.take("then");
    assert_eq!(kept.names(), ["then"]);
    kept.tell("add 8");
    assert_eq!(kept.count(), 50);
    assert_eq!(kept.place.ok(&["restore", "counter", &file]), "");
    assert_eq!(kept.count(), 42);
    kept.tell("add 1");
    assert_eq!(kept.count(), 43);
    // The name is taken over by what is newer.
    let before = kept.shown(&file, "hash");
    kept.take("then");
    assert_ne!(kept.shown(&file, "hash"), before);
    assert_eq!(kept.names(), ["then"]);
    let json = kept.place.ok(&["checkpoint", "show", "--json", &file]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["components"][0]["name"], "counter");
    assert_eq!(json["bytes"], fs::metadata(&file).unwrap().len());
    guest.stop();
    kept.place.assert_empty();
}

#[test]
fn what_changed_is_put_onto_what_there_was() {
    let kept = Kept::new();
    let guest = kept.start("process", &[]);
    kept.tell("add 42");
    let first = kept.take("first");
    kept.tell("add 8");
    let (more, last) = (kept.file("more"), kept.file("last"));
    let since =
        |file: &str, base: &str| kept.place.run(&["checkpoint", "counter", file, "--since", base]);
    assert!(since(&more, &first).status.success());
    kept.tell("add 1");
    // What the guest tells is what changed since the last one, and no other.
    let refused = since(&last, &first);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("take all of it again"), "{why}");
    assert!(since(&last, &more).status.success());
    assert_ne!(kept.shown(&last, "base"), kept.shown(&first, "hash"));
    let whole = kept.file("whole");
    let join = |files: &[&str]| kept.place.run(&[&["checkpoint", "join", &whole], files].concat());
    for (files, says) in [
        (&[&*first, &*last][..], "builds on another checkpoint"),
        (&[&*more, &*last], "only what changed since another"),
    ] {
        let refused = join(files);
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && why.contains(says), "{why}");
    }
    assert!(join(&[&first, &more, &last]).status.success());
    kept.tell("add 100");
    let (code, why) = kept.place.fails(&["restore", "counter", &last]);
    assert!(code == 1 && why.contains("only what changed"), "{why}");
    kept.place.ok(&["restore", "counter", &whole]);
    assert_eq!(kept.count(), 51);
    assert_eq!(kept.names(), ["first", "last", "more", "whole"]);
    guest.stop();
    kept.place.assert_empty();
}

#[test]
fn a_folder_keeps_what_the_guest_is_told_to_keep() {
    let kept = Kept::new();
    let folder = kept.file("kept");
    let state = ["--state", folder.as_str()];
    let guest = kept.start("process", &state);
    kept.tell("add 7");
    kept.place.ok(&["write", "counter", "/ctl", "checkpoint"]);
    guest.wait_for("checkpoint 1 is in");
    kept.tell("add 3");
    kept.place.ok(&["write", "counter", "/ctl", "restore 1"]);
    guest.wait_for("goes on from checkpoint 1");
    assert_eq!(kept.count(), 7);
    kept.place.ok(&["write", "counter", "/ctl", "restore 9"]);
    guest.wait_for("restore 9 failed: cannot read ");

    // Nobody else may write there meanwhile.
    let other = kept.file("other.sock");
    let image = image("counter");
    let image = image.to_str().unwrap();
    let run = ["run", image, "--on", "process", "--state", &folder, "--socket", &other];
    let (code, why) = kept.place.fails(&run);
    assert_eq!(code, 1, "{why}");
    assert!(why.ends_with(": another run keeps its state there\n"), "{why}");

    kept.tell("add 10");
    let said = guest.stop();
    // A number that was once said is not given to another.
    assert!(said.contains("checkpoint 10 is in"), "{said}");
    let guest = kept.start("process", &["--state", &folder, "--restore", "latest"]);
    assert_eq!(kept.count(), 17);
    guest.stop();
    let mut names: Vec<_> =
        fs::read_dir(&folder).unwrap().flatten().map(|e| e.file_name()).collect();
    names.sort();
    // And what it stored, now and before it went back.
    let all = ["1.checkpoint", "10.checkpoint", "11.checkpoint", "store", "store.before"];
    assert_eq!(names, all);

    // Without a folder nobody keeps anything, which whoever asks is told.
    let guest = kept.start("process", &[]);
    let (code, why) = kept.place.fails(&["write", "counter", "/ctl", "checkpoint"]);
    assert_eq!(code, 1, "{why}");
    assert!(why.contains("--state DIR"), "{why}");
    guest.stop();
    kept.place.assert_empty();
}

#[test]
fn the_newest_are_kept_and_a_last_one_when_the_guest_itself_is_told_to_stop() {
    for on in backends() {
        let kept = Kept::new();
        let folder = kept.file("kept");
        let names = || {
            let entries = fs::read_dir(&folder).unwrap().flatten();
            let names = entries.map(|e| e.file_name().into_string().unwrap());
            let mut names: Vec<_> = names.filter(|n| n.ends_with(".checkpoint")).collect();
            names.sort();
            names
        };
        let guest = kept.start(on, &["--state", &folder, "--keep", "2"]);
        for n in 1..=3 {
            kept.tell("add 1");
            kept.place.ok(&["write", "counter", "/ctl", "checkpoint"]);
            guest.wait_for(&format!("checkpoint {n} is in"));
        }
        kept.tell("add 39");
        kept.place.ok(&["write", "counter", "/ctl", "stop 5"]);
        let (code, said) = guest.wait();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("checkpoint 4 is in"), "{on}: {said}");
        assert!(said.contains("status 5"), "{on}: {said}");
        assert_eq!(names(), ["3.checkpoint", "4.checkpoint"]);
        // It goes on from what it was at the end, and is told nothing twice.
        let guest = kept.start(on, &["--state", &folder, "--restore", "latest"]);
        assert_eq!(kept.count(), 42);
        let said = guest.stop();
        assert_eq!(said.matches(" is in ").count(), 1, "{on}: {said}");
        assert_eq!(names(), ["3.checkpoint", "4.checkpoint", "5.checkpoint"]);
        kept.place.assert_empty();
    }
    let place = Place::new();
    let image = image("counter");
    let run = ["run", image.to_str().unwrap(), "--keep", "2"];
    assert!(matches!(place.fails(&run), (2, why) if why.contains("--keep needs --state DIR")));
    let run = ["run", image.to_str().unwrap(), "--state", "/x", "--keep", "0"];
    assert!(matches!(place.fails(&run), (2, why) if why.contains("--keep")));
}

/// Files that are no checkpoint of the counter, each with the reason.
fn bad_files(kept: &Kept, good: &str) -> Vec<(String, &'static str)> {
    let bytes = fs::read(good).unwrap();
    let mut files = Vec::new();
    let mut put = |name: &str, bytes: &[u8], why| {
        fs::write(kept.file(name), bytes).unwrap();
        files.push((kept.file(name), why));
    };
    put("empty", b"", "it is cut short here (at byte 0)");
    put("half", &bytes[..bytes.len() / 2], "it is cut short here (at byte ");
    put("short", &bytes[..bytes.len() - 1], "it is cut short here (at byte ");
    put("text", b"a text", "no checkpoint: it does not begin with ATOLLCKP (at byte 0)");
    put("longer", &[&bytes[..], b"."].concat(), "there are bytes behind its end (at byte ");
    let mut flip = |name: &str, at: usize, why| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 4;
        put(name, &bytes, why);
    };
    flip("format", 8, "checkpoint format 5, but only format 1 is read (at byte 8)");
    flip("time", 80, "the hash differs (at byte ");
    flip("end", bytes.len() - 1, "the hash differs (at byte ");
    flip("middle", bytes.len() / 2, " (at byte ");
    files
}

#[test]
fn what_is_no_checkpoint_is_refused_and_changes_nothing() {
    let kept = Kept::new();
    let guest = kept.start("process", &[]);
    kept.tell("add 42");
    let good = kept.take("good");
    // What changed since is not enough to begin with.
    kept.tell("add 1");
    let since = kept.place.run(&["cat", "counter", "/checkpoint/since"]);
    assert!(since.status.success());
    fs::write(kept.file("since"), since.stdout).unwrap();
    assert_eq!(kept.shown(&kept.file("since"), "base"), kept.shown(&good, "hash"));

    let mut files = bad_files(&kept, &good);
    files.push((kept.file("since"), "it holds only what changed since another checkpoint"));
    files.push((kept.file("missing"), "No such file or directory"));
    for (file, why) in &files {
        let (code, said) = kept.place.fails(&["restore", "counter", file]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(why) && said.contains(file.as_str()), "{file}: {said}");
        assert_eq!(kept.count(), 43, "{file}");
    }
    // Whoever speaks to the guest past `atoll restore` is refused by the guest.
    for (file, _) in files.iter().filter(|(f, _)| !f.ends_with("missing") && !f.ends_with("empty"))
    {
        let mut write = kept.place.atoll();
        write.args(["write", "counter", "/checkpoint/restore", "-"]);
        let out = write.stdin(fs::File::open(file).unwrap()).output().unwrap();
        // A checkpoint that ends too early may still go on: nothing has happened yet.
        let early = file.ends_with("half") || file.ends_with("short") || file.ends_with("text");
        assert!(early || !out.status.success(), "{file}: taken");
        assert!(file.ends_with("longer") || kept.count() == 43, "{file}: {}", kept.count());
        kept.place.ok(&["restore", "counter", &kept.file("good")]);
        kept.tell("add 1");
    }
    guest.stop();
    kept.place.assert_empty();
    for (file, why) in &files {
        let (code, said) = start_fails(&kept, "counter", file);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(why), "{file}: {said}");
        kept.place.assert_empty();
    }
}

fn start_fails(kept: &Kept, name: &str, file: &str) -> (i32, String) {
    let image = image(name);
    kept.place.fails(&["run", image.to_str().unwrap(), "--on", "process", "--restore", file])
}

#[test]
fn a_checkpoint_of_another_guest_is_refused_before_anything_starts() {
    let kept = Kept::new();
    let guest = kept.start("process", &[]);
    // The same, of another payload: its hash says that all is well.
    let mut bytes = fs::read(kept.take("own")).unwrap();
    guest.stop();
    bytes[16..48].fill(7);
    let end = bytes.len() - 32;
    let hash = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(hash.as_bytes());
    let file = kept.file("other");
    fs::write(&file, bytes).unwrap();
    assert_eq!(kept.shown(&file, "payload_hash"), "07".repeat(32));
    let (code, said) = start_fails(&kept, "counter", &file);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("it was taken of another guest: its payload is "), "{said}");
    kept.place.assert_empty();

    let guest = kept.start("process", &[]);
    let (code, said) = kept.place.fails(&["restore", "counter", &file]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("payload"), "{said}");
    assert_eq!(kept.count(), 0);
    guest.stop();

    let (code, said) = start_fails(&kept, "hello", &file);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("it has no atoms"), "{said}");
    let guest = Guest::start(&kept.place, "hello", "process", &[]);
    let (code, said) = kept.place.fails(&["checkpoint", "hello", &kept.file("hello")]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("it has no atoms"), "{said}");
    assert_eq!(kept.names(), ["other", "own"]);
    guest.stop();
    kept.place.assert_empty();
}

#[test]
fn a_file_that_cannot_be_written_is_not_there_at_all() {
    let kept = Kept::new();
    let guest = kept.start("process", &[]);
    kept.tell("add 42");
    let good = kept.take("good");
    let hash = kept.shown(&good, "hash");
    for (path, why) in [
        (kept.file("no/such"), "No such file or directory"),
        (kept.file(""), "is a directory"),
        ("/proc/atoll.checkpoint".into(), "No such file or directory"),
    ] {
        let (code, said) = kept.place.fails(&["checkpoint", "counter", &path]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("cannot write "), "{said}");
        assert!(said.contains(why), "{path}: {said}");
    }
    // The file system is full after 512 bytes, as far as this one can see.
    let mut shell = Command::new("sh");
    let line = "ulimit -f 1; trap '' XFSZ; exec \"$0\" checkpoint counter \"$1\"";
    shell.args(["-c", line]).arg(atoll()).arg(&good).stdin(Stdio::null());
    shell.env("XDG_RUNTIME_DIR", kept.place.dir.path());
    let out = shell.output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write ") && said.contains("File too large"), "{said}");
    assert_eq!(kept.names(), ["good"]);
    assert_eq!(kept.shown(&good, "hash"), hash);
    // The guest has not noticed.
    assert_eq!(kept.count(), 42);
    kept.take("good");
    guest.stop();
    kept.place.assert_empty();
}

#[test]
fn killed_at_any_instant_half_a_checkpoint_is_nowhere() {
    let kept = Kept::new();
    let guest = kept.start("process", &[]);
    kept.tell("add 42");
    let file = kept.file("there");
    for _ in 0..20 {
        let mut take = kept.place.atoll();
        let mut take = take.args(["checkpoint", "counter", &file]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(rand() % 15_000));
        take.kill().unwrap();
        take.wait().unwrap();
        let until = Instant::now() + PATIENCE;
        while kept.names().iter().any(|n| n != "there") {
            assert!(Instant::now() < until, "left behind: {:?}", kept.names());
            std::thread::sleep(Duration::from_millis(3));
        }
        if Path::new(&file).exists() {
            kept.shown(&file, "hash");
            fs::remove_file(&file).unwrap();
        }
    }
    // Nor does the guest think that one is under way.
    let taken = || kept.place.run(&["checkpoint", "counter", &file]).status.success();
    let until = Instant::now() + PATIENCE;
    while !taken() {
        assert!(Instant::now() < until, "a checkpoint is under way that nobody reads");
    }
    guest.signal(Signal::KILL);
    assert_eq!(guest.wait().0, None);
    kept.place.assert_empty();
}
