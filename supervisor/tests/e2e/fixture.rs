//! A guest that is run for a test.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The backends that there are here.
pub(crate) fn backends() -> &'static [&'static str] {
    static FOUND: OnceLock<&[&str]> = OnceLock::new();
    FOUND.get_or_init(|| match Command::new("qemu-system-x86_64").arg("--version").output() {
        Ok(_) => &["process", "qemu"],
        Err(_) => {
            atoll_lab::left_out("on QEMU: qemu-system-x86_64 is not installed");
            &["process"]
        }
    })
}

/// The project's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The program under test.
pub(crate) fn atoll() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_atoll"))
}

/// The tender, built like the program under test and beside it.
fn tender() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = atoll().parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root()).args(["build", "--quiet", "--package", "atoll-tender"]);
        if dir.ends_with("release") {
            cargo.arg("--release");
        }
        cargo.env("CARGO_TARGET_DIR", dir.parent().unwrap());
        assert!(cargo.status().unwrap().success(), "the tender does not build");
        dir.join("atoll-tender")
    })
}

/// An image, built once.
pub(crate) fn image(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(path) = built.get(name) {
        return path.clone();
    }
    let out = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["xtask", "build", name, "--json"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(out.status.success(), "cargo xtask build {name}: {}", out.status);
    let text = String::from_utf8(out.stdout).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let path = PathBuf::from(line["image"].as_str().unwrap());
    built.insert(name.into(), path.clone());
    path
}

/// A place for sockets, in which nothing may be left.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    /// The default socket of a guest here.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("atoll/{name}.sock"))
    }

    /// `atoll`, for guests here.
    pub(crate) fn atoll(&self) -> Command {
        let mut command = Command::new(atoll());
        command.env("XDG_RUNTIME_DIR", self.dir.path());
        command.env("ATOLL_TENDER", tender()).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        self.atoll().args(args).output().unwrap()
    }

    /// What a command prints, which must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "atoll {args:?}: {}: {error}", out.status);
        String::from_utf8(out.stdout).unwrap()
    }

    /// The exit status of a command that must fail, and its complaint.
    pub(crate) fn fails<S: AsRef<OsStr>>(&self, args: &[S]) -> (i32, String) {
        let out = self.run(args);
        let error = String::from_utf8(out.stderr).unwrap();
        (out.status.code().unwrap(), error)
    }

    /// Processes that know of this place.
    pub(crate) fn processes(&self) -> Vec<String> {
        let needle = format!("XDG_RUNTIME_DIR={}\0", self.dir.path().display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if environ.windows(needle.len()).any(|w| w == needle.as_bytes()) {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found.push(String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
        found
    }

    /// Kills all processes that know of this place. For a test that has failed, or that is
    /// about guests which outlive everybody else.
    pub(crate) fn kill_all(&self) {
        for _ in 0..100 {
            let pids = self.pids();
            if pids.is_empty() {
                return;
            }
            for pid in pids {
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The same, as numbers.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        let needle = format!("XDG_RUNTIME_DIR={}\0", self.dir.path().display());
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let ours = entries.filter(|entry| {
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            environ.windows(needle.len()).any(|w| w == needle.as_bytes())
        });
        ours.filter_map(|e| Pid::from_raw(e.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// Waits until no process and no file is left.
    pub(crate) fn assert_empty(&self) {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let (processes, files) = (self.processes(), self.dir.path().join("atoll").exists());
            if processes.is_empty() && !files {
                return;
            }
            assert!(Instant::now() < until, "left behind: {processes:?}, files: {files}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A guest that `atoll run` runs.
pub(crate) struct Guest {
    pub(crate) child: Child,
    log: PathBuf,
}

impl Guest {
    /// Starts an image, and waits until its tree is there.
    pub(crate) fn start(place: &Place, name: &str, on: &str, more: &[&str]) -> Guest {
        Guest::start_image(place, name, &image(name), on, more)
    }

    /// Starts an image of a test's own, and waits until its tree is there.
    pub(crate) fn start_image(
        place: &Place,
        name: &str,
        image: &Path,
        on: &str,
        more: &[&str],
    ) -> Guest {
        let guest = Guest::spawn_image(place, name, image, on, more);
        guest.wait_for("tree at unix:");
        guest
    }

    /// Starts an image.
    pub(crate) fn spawn(place: &Place, name: &str, on: &str, more: &[&str]) -> Guest {
        Guest::spawn_image(place, name, &image(name), on, more)
    }

    fn spawn_image(place: &Place, name: &str, image: &Path, on: &str, more: &[&str]) -> Guest {
        let log = place.dir.path().join(format!("{name}-{:x}.log", rand()));
        let mut command = place.atoll();
        command.arg("run").arg(image).args(["--on", on]).args(more);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        Guest { child: command.spawn().unwrap(), log }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it says something.
    pub(crate) fn wait_for(&self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.said().contains(text) {
            assert!(Instant::now() < until, "no {text:?} in: {}", self.said());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end: the exit status, and all that was said.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), self.said());
            }
            assert!(Instant::now() < until, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Asks it to stop, which must go well.
    pub(crate) fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (code, said) = self.wait();
        assert_eq!(code, Some(0), "{said}");
        said
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // After a failed assertion only: its guard sees to the rest.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number that nobody can guess.
pub(crate) fn rand() -> u64 {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}
