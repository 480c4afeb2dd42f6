//! Labs in processes of their own: those of a test that is killed, and those that stay.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use atoll_lab::linux::PATIENCE;
use atoll_lab::xen::session::{self, Session};
use atoll_lab::xen::{Lab, Store};

/// This program once more, with one of its tests and a word for that.
fn again(test: &str, word: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--quiet"]).env("ATOLL_LAB_CHILD", word);
    command
}

fn word() -> Option<String> {
    std::env::var("ATOLL_LAB_CHILD").ok()
}

fn is_qemu(process: &str) -> bool {
    std::fs::read_to_string(process).is_ok_and(|line| line.starts_with("qemu-system-x86_64"))
}

/// Waits until something is gone.
fn gone(what: &str, is_there: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while is_there() {
        assert!(Instant::now() < until, "{what} is left behind");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_lab_dies_with_its_test() {
    if word().is_some() {
        let lab = Lab::start().unwrap();
        println!("lab {} {}", lab.id(), lab.share().display());
        std::thread::sleep(PATIENCE * 2);
        return;
    }
    if Lab::for_test_apart("it is about the lab's own machine").is_none() {
        return;
    }
    let mut test =
        again("apart::a_lab_dies_with_its_test", "1").stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(test.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line = said.filter_map(|l| l.strip_prefix("lab ").map(str::to_owned)).next().unwrap();
    let (id, share) = line.split_once(' ').unwrap();
    let process = format!("/proc/{id}/cmdline");
    assert!(is_qemu(&process) && Path::new(share).is_dir());
    test.kill().unwrap();
    test.wait().unwrap();
    gone("its QEMU", || is_qemu(&process));
    gone("its folder", || Path::new(share).parent().unwrap().exists());
}

/// Ends a lab when its test fails.
struct Down(Session);

impl Drop for Down {
    fn drop(&mut self) {
        let _ = self.0.down();
    }
}

#[test]
fn a_lab_that_is_up_serves_anybody_until_it_is_told_to_go() {
    if let Some(name) = word() {
        return session::keep(&name, Store::C, &mut std::io::stdout()).unwrap();
    }
    if Lab::for_test_apart("it is about the lab's own machine").is_none() {
        return;
    }
    let name = format!("test-{}", std::process::id());
    let keeper = || again("apart::a_lab_that_is_up_serves_anybody_until_it_is_told_to_go", &name);
    assert!(Session::find(&name).unwrap_err().to_string().contains("is up"));
    let lab = Down(Session::up(&name, keeper(), &mut |_| ()).unwrap());
    let twice = Session::up(&name, keeper(), &mut |_| ()).unwrap_err().to_string();
    assert!(twice.contains("up already"), "{twice}");
    assert!(session::all().unwrap().iter().any(|l| l.name() == name));

    let run = |script: &str| {
        let mut out = Vec::new();
        let status = Session::find(&name).unwrap().run(script, &mut out).unwrap();
        (status, String::from_utf8(out).unwrap())
    };
    assert_eq!(run("echo a; printf b; exit 3"), (3, "a\nb".to_owned()));
    let share: PathBuf = lab.0.share().unwrap();
    std::fs::write(share.join("file"), "in").unwrap();
    assert_eq!(run("cat /mnt/file"), (0, "in".to_owned()));
    let mut text = String::new();
    let mut stream = lab.0.open("EXEC:echo out").unwrap();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    assert_eq!(text, "out\n");

    // Whoever goes away interrupts what they started.
    let script = "trap 'echo told >/mnt/told; exit' INT; echo up >/mnt/up; sleep 1000 & wait";
    let theirs = name.clone();
    let mut child = again("apart::runs_a_script", &format!("{theirs} {script}")).spawn().unwrap();
    gone("nothing", || !share.join("up").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    gone("nothing", || !share.join("told").exists());

    lab.0.down().unwrap();
    assert!(!share.exists());
    assert!(Session::find(&name).is_err());
}

#[test]
fn runs_a_script() {
    if let Some((name, script)) = word().as_deref().and_then(|w| w.split_once(' ')) {
        let _ = Session::find(name).unwrap().run(script, &mut std::io::sink());
    }
}
