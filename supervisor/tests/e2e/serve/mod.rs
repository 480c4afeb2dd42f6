//! The daemon, as its users have it: verbs in one terminal, `atoll serve` in another, and
//! kill -9 between any two of them.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::{PATIENCE, Place, image};

mod back;
mod files;
mod foreign;
mod fs;
mod imports;
mod life;
mod manager;
mod many;
mod stored;
mod stutter;
mod survives;
mod top;
mod watch;
mod wrong;
mod xenstore;

/// A supervisor of a test's own. When it is dropped nothing of it is left, nor of its guests.
pub(super) struct Daemon {
    pub(super) place: Place,
    state: tempfile::TempDir,
    child: Option<Child>,
    /// What it says ends up here.
    log: PathBuf,
    reaper: Child,
}

/// Kills whoever knows of a place once standard input ends: guests outlive a test that is
/// killed, as they outlive everybody.
const REAPER: &str = r#"cat > /dev/null
for p in /proc/[0-9]*; do
    grep -qaF "XDG_RUNTIME_DIR=$1" "$p/environ" 2> /dev/null && kill -9 "${p#/proc/}"
done
rm -rf "$1" "$2""#;

impl Daemon {
    /// Starts one, and waits until it is ready.
    pub(super) fn start() -> Daemon {
        let mut daemon = Daemon::idle();
        daemon.begin();
        daemon
    }

    /// One that is not started yet.
    pub(super) fn idle() -> Daemon {
        let place = Place::new();
        let log = place.dir.path().join("serve.log");
        let state = tempfile::tempdir().unwrap();
        let reaper = Command::new("sh")
            .args(["-c", REAPER, "sh"])
            .args([place.dir.path(), state.path()])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        Daemon { place, state, child: None, log, reaper }
    }

    /// Until it has been asked something that takes longer, such as `atoll wait`.
    pub(super) fn until_asked(&self) {
        while !self.ok(&["cat", "@", "/metrics"]).contains("\natoll_waiting 1\n") {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it, again.
    pub(super) fn begin(&mut self) {
        self.begin_with(&[]);
    }

    /// Starts it with more words.
    pub(super) fn begin_with(&mut self, more: &[&str]) {
        self.begin_as(|command| {
            command.args(more);
        });
    }

    /// Starts it as somebody wants it.
    pub(super) fn begin_as(&mut self, prepare: impl FnOnce(&mut Command)) {
        let log = std::fs::File::create(&self.log).unwrap();
        let mut command = self.place.atoll();
        command.args(["serve", "--state"]).arg(self.state());
        prepare(&mut command);
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let until = Instant::now() + PATIENCE;
        while !self.said().contains("atoll: ready\n") {
            assert!(Instant::now() < until, "it does not begin: {}", self.said());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Its folder.
    pub(super) fn state(&self) -> PathBuf {
        self.state.path().join("atoll")
    }

    /// What it has said since it was started last.
    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// kill -9.
    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to end, which it does at once.
    pub(super) fn end(&mut self) {
        let mut child = self.child.take().unwrap();
        self.place.ok(&["write", "@", "/ctl", "stop"]);
        let until = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// What a command prints, which must succeed.
    pub(super) fn ok(&self, args: &[&str]) -> String {
        self.place.ok(args)
    }

    /// The exit status of a command that must fail, and its complaint.
    pub(super) fn fails(&self, args: &[&str]) -> (i32, String) {
        self.place.fails(args)
    }

    /// Runs an image in the background, under a name.
    pub(super) fn run(&self, program: &str, name: &str, on: &str, more: &[&str]) {
        let image = image(program);
        let mut args = vec!["run", "-d", image.to_str().unwrap(), "--name", name, "--on", on];
        args.extend(more);
        assert_eq!(self.ok(&args), format!("{name}\n"));
    }

    /// A field of a guest's status.
    pub(super) fn status(&self, guest: &str, field: &str) -> String {
        let text = self.ok(&["cat", "@", &format!("/guests/{guest}/status")]);
        let line = text.lines().find_map(|l| l.strip_prefix(&format!("{field} ")));
        line.unwrap_or_default().to_owned()
    }

    /// Waits until a guest is in a state.
    pub(super) fn until(&self, guest: &str, state: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = self.status(guest, "state");
            if now == state {
                return;
            }
            assert!(Instant::now() < until, "{guest} is {now}, not {state}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts a command that goes on.
    pub(super) fn follow(&self, args: &[&str]) -> Follower {
        let mut command = self.place.atoll();
        let child = command.args(args).stdout(Stdio::piped()).spawn().unwrap();
        Follower::new(child)
    }

    /// Stops everything, and sees that nothing is left.
    pub(super) fn finish(mut self) {
        for guest in self.ok(&["ps", "-q"]).lines() {
            self.ok(&["rm", "--force", "--yes", guest]);
        }
        self.end();
        self.place.assert_empty();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After a failed assertion only: whoever knows of the place is killed.
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.place.kill_all();
        let _ = self.reaper.kill();
        let _ = self.reaper.wait();
    }
}

/// A command that goes on, and its lines.
pub(super) struct Follower {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Follower {
    fn new(mut child: Child) -> Follower {
        let lines = BufReader::new(child.stdout.take().unwrap());
        Follower { child, lines }
    }

    /// Waits for a line that has this in it.
    pub(super) fn wait_for(&mut self, text: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "no {text:?} in: {all}");
            if line.contains(text) {
                return line;
            }
            all += &line;
        }
    }

    /// Its next line.
    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// Waits for its end.
    pub(super) fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
