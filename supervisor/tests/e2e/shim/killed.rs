//! What is left when a daemon or a shim is killed, at any instant.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use atoll_supervisor::shim::{Births, End, FORMAT, Found, How, Mark, Order, Report, Shim, Spec};
use rustix::process::{Pid, Signal, kill_process};

use super::{House, block_on, ended, next};
use crate::fixture::{PATIENCE, backends, rand};

/// Tells the daemon of a test, which is the same test in a process of its own, what it is
/// to start.
const DAEMON: &str = "ATOLL_TEST_DAEMON";
/// That test.
const DAEMON_TEST: &str =
    "shim::killed::a_daemon_that_is_killed_at_any_instant_leaves_its_guest_to_the_next";

/// The daemon: starts what it is told to, and waits to be killed.
async fn daemon(folder: &Path) {
    let spec = std::fs::read(folder.with_extension("spec")).unwrap();
    let spec = Spec::from_json(&spec).unwrap();
    let births = Births::by(|| Command::new(crate::fixture::atoll()));
    let shim = Shim::start(&births, folder, &spec).await.unwrap();
    loop {
        shim.next().await;
    }
}

impl House {
    /// Starts a guest by a daemon in another process.
    fn daemon(&self, spec: &Spec) -> std::process::Child {
        std::fs::write(self.folder().with_extension("spec"), spec.to_json().unwrap()).unwrap();
        let mut daemon = Command::new(std::env::current_exe().unwrap());
        daemon.args(["--exact", DAEMON_TEST, "--test-threads", "1"]);
        for (name, value) in self.place.atoll().get_envs() {
            daemon.env(name, value.unwrap_or_default());
        }
        daemon.env(DAEMON, self.folder()).stdin(Stdio::null()).stdout(Stdio::null());
        daemon.spawn().unwrap()
    }
}

pub(super) fn kill(pid: u64) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_daemon_that_is_killed_at_any_instant_leaves_its_guest_to_the_next() {
    if let Some(folder) = std::env::var_os(DAEMON) {
        return block_on(daemon(Path::new(&folder)));
    }
    for on in backends() {
        block_on(async {
            let house = House::new("hello");
            let (mut alive, mut none) = (0, 0);
            let mut run = 0;
            while run < 24 || alive == 0 || none == 0 {
                run += 1;
                assert!(run < 500, "{on}: alive {alive}, none {none}");
                let spec = house.spec(on, run);
                let mut daemon = house.daemon(&spec);
                std::thread::sleep(Duration::from_micros(rand() % 12_000));
                daemon.kill().unwrap();
                daemon.wait().unwrap();
                let found = match Shim::adopt(&house.folder()).await {
                    Ok(found) => found,
                    // It was killed before it had made the folder.
                    Err(_) if alive == 0 && !house.folder().exists() => Found::Nothing,
                    Err(e) => panic!("{on}: {e}"),
                };
                let now = match found {
                    Found::Alive(shim) => {
                        assert_eq!(shim.spec(), &spec);
                        assert!(matches!(next(&shim).await, Report::Running(_)));
                        shim.order(Order::Stop(10_000)).await.unwrap();
                        assert!(ended(&shim).await.is_well());
                        true
                    }
                    // Not started: no guest of that number is, or will be.
                    Found::Nothing => false,
                    Found::Gone { run: n, .. } => {
                        assert!(n <= run, "{n} of {run}");
                        false
                    }
                    Found::Ended(end) => {
                        assert!(end.run < run && end.is_well(), "{on}: {run}: {end:?}");
                        false
                    }
                };
                if now {
                    alive += 1;
                } else {
                    none += 1;
                }
                house.assert_empty();
            }
        });
    }
}

#[test]
fn a_shim_that_is_killed_at_any_instant_leaves_nothing_and_that_is_told() {
    for on in backends() {
        block_on(async {
            let house = House::new("hello");
            for run in 1..=20 {
                let shim = house.try_start(&house.spec(on, run)).await.unwrap();
                let pid = shim.status().await.unwrap().shim;
                // Most of a start takes some milliseconds; now and then it is up.
                let limit = if run % 5 == 4 { 150_000 } else { 20_000 };
                tokio::time::sleep(Duration::from_micros(rand() % limit)).await;
                kill(pid);
                let why = loop {
                    match next(&shim).await {
                        Report::Gone(why) => break why,
                        Report::Ended(end) => panic!("{on}: {end:?}"),
                        _ => {}
                    }
                };
                assert!(why.contains("its shim is gone") && why.contains("signal: 9"), "{why}");
                // It is told when that is so, and not before.
                assert_eq!(house.processes(), Vec::<String>::new(), "{on}");
                assert!(!house.place.dir.path().join("atoll").exists(), "{on}");
                match house.adopt().await {
                    Found::Gone { run: n, .. } => assert_eq!(n, run),
                    _ => panic!("{on}: it is not gone"),
                }
            }
            let shim = house.start(&house.spec(on, 21)).await;
            // Nobody cleans up behind it: what is left is cleared by who comes next.
            let pid = shim.status().await.unwrap().shim;
            guards(pid).into_iter().for_each(kill);
            kill(pid);
            assert!(matches!(next(&shim).await, Report::Gone(_)));
            house.assert_empty();
        });
    }
}

#[test]
fn a_doctor_finds_what_is_left_and_clears_it_when_told_to() {
    block_on(async {
        let house = House::new("hello");
        let state = house.dir.path().to_str().unwrap();
        let doctor = |more: &[&str]| {
            let out = house.place.run(&[&["doctor", "--state", state][..], more].concat());
            (out.status.code(), String::from_utf8(out.stdout).unwrap())
        };
        let shim = house.start(&house.spec("process", 1)).await;
        let (code, said) = doctor(&["--fix"]);
        assert!(code == Some(0) && said.contains("run 1 is alive"), "{said}");
        assert!(house.place.run(&["ls", "hello", "/"]).status.success());
        let pid = shim.status().await.unwrap().shim;
        // No daemon is there, and all the others are killed.
        drop(shim);
        guards(pid).into_iter().for_each(kill);
        kill(pid);
        let left = [house.place.socket("hello"), house.spec("process", 1).sockets.join("shim")];
        assert!(left.iter().all(|path| path.exists()));
        let (code, said) = doctor(&[]);
        assert!(code == Some(1) && said.contains("run 1 is lost: its shim is gone"), "{said}");
        assert!(said.contains("!!      socket") && said.contains("!!      folder"), "{said}");
        assert!(left.iter().all(|path| path.exists()));
        let (code, said) = doctor(&["--fix"]);
        assert!(code == Some(0) && said.contains("run 1 is lost: its shim is gone"), "{said}");
        house.assert_empty();
        assert!(matches!(house.adopt().await, Found::Gone { run: 1, .. }));
        assert_eq!(doctor(&[]).0, Some(0));
    });
}

#[test]
fn what_was_told_to_go_on_elsewhere_is_no_lost_run() {
    block_on(async {
        let house = House::new("hello");
        let state = house.dir.path().to_str().unwrap();
        let doctor = || {
            let out = house.place.run(&["doctor", "--state", state]);
            String::from_utf8(out.stdout).unwrap()
        };
        let mark = |epoch, answered| {
            let (name, uuid, to) = ("hello".into(), "u".into(), "/run/b".into());
            Mark { format: FORMAT, name, uuid, epoch, to, next: epoch + 1, answered }
        };
        for (run, all) in [(1, false), (2, true)] {
            let shim = house.start(&house.spec("process", run)).await;
            assert!(Mark::find(&house.folder()).unwrap().is_none(), "that of the run before");
            let status = shim.status().await.unwrap();
            mark(status.epoch, false).leave(&house.folder()).unwrap();
            // Its machine, or all that knew of it.
            match all {
                true => {
                    [guards(status.shim), vec![status.shim]].concat().into_iter().for_each(kill)
                }
                false => kill(status.pid.unwrap()),
            }
            let end = ended(&shim).await;
            assert_eq!((end.run, end.how), (run, How::Moved));
            let text = "it was told to go on at /run/b under epoch 2, and nobody answered: it runs \
                        there, or is lost";
            match all {
                true => assert_eq!(end.why, text),
                false => assert!(end.why.starts_with(&format!("{text}; here it ended: "))),
            }
            match house.adopt().await {
                Found::Ended(found) => assert_eq!((found.how, found.why), (How::Moved, end.why)),
                _ => panic!("it is not known"),
            }
            let said = doctor();
            assert!(said.contains(&format!("run {run} moved: {text}")), "{said}");
            assert!(said.contains("look there before it is started here"), "{said}");
        }
        // What was answered is written down as its end, and is no question.
        let shim = house.start(&house.spec("process", 3)).await;
        let status = shim.status().await.unwrap();
        mark(status.epoch, true).leave(&house.folder()).unwrap();
        kill(status.pid.unwrap());
        assert_eq!(ended(&shim).await.why, "to /run/b under epoch 2");
        assert!(Mark::find(&house.folder()).unwrap().is_none());
        let said = doctor();
        assert!(said.contains("run 3 moved: to /run/b under epoch 2\n"), "{said}");
        // A mark that is of another run is not believed.
        let shim = house.start(&house.spec("process", 4)).await;
        mark(7, false).leave(&house.folder()).unwrap();
        let pid = shim.status().await.unwrap().shim;
        kill(pid);
        assert!(matches!(next(&shim).await, Report::Gone(_)));
        house.assert_empty();
    });
}

#[test]
fn an_end_is_known_whole_or_not_at_all_when_the_shim_is_killed_at_it() {
    for on in backends() {
        block_on(async {
            let house = House::new("hello");
            let file = house.folder().join("end.json");
            let mut last: Option<End> = None;
            for run in 1..=20 {
                let shim = house.start(&house.spec(on, run)).await;
                let pid = shim.status().await.unwrap().shim;
                shim.order(Order::Stop(10_000)).await.unwrap();
                tokio::time::sleep(Duration::from_micros(rand() % 25_000)).await;
                // It may be gone already, and its number is nobody else's so soon.
                let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL);
                let found = loop {
                    match next(&shim).await {
                        Report::Ended(end) => break Some(end),
                        Report::Gone(_) => break None,
                        _ => {}
                    }
                };
                if let Some(end) = &found {
                    assert_eq!((end.run, end.how), (run, How::Exited(0)), "{on}");
                }
                let written = std::fs::read(&file).ok();
                let written = written.map(|text| End::from_json(&text).unwrap());
                match (&written, &found) {
                    (Some(end), _) if end.run == run => assert_eq!(Some(end), found.as_ref()),
                    // It was told, and the file was not written any more.
                    _ => assert_eq!(written, last),
                }
                last = written;
                house.assert_empty();
            }
        });
    }
}

/// The guards among the children of a process.
pub(super) fn guards(parent: u64) -> Vec<u64> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let until = Instant::now() + PATIENCE;
    loop {
        let pids = std::fs::read_to_string(&path).unwrap();
        let is = |pid: &&str| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(7).any(|w| w == b"__guard")
        };
        let found: Vec<u64> =
            pids.split_whitespace().filter(is).filter_map(|p| p.parse().ok()).collect();
        if !found.is_empty() {
            return found;
        }
        assert!(Instant::now() < until, "it has no guard");
    }
}
