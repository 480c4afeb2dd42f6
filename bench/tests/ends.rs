//! What was started for a measurement is gone after it, with all that it has started.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use atoll_bench::p9::place::Place;
use atoll_bench::p9::servers;
use atoll_bench::proc::{self, Program};
use atoll_bench::urgent::Urgent;
use rustix::process::{Pid, Signal, getpriority_process, getuid, kill_process};

/// A server that does not end when the script that runs it does.
const SCRIPT: &str = "#!/bin/sh\nsh -c 'trap \"\" TERM; while :; do sleep 1; done' &\n\
    \"$1\" __echo \"$3\" \"$2/data\" 22\n";
/// How long what was killed may take to go.
const PATIENCE: Duration = Duration::from_secs(20);

fn bench() -> PathBuf {
    env!("CARGO_BIN_EXE_atoll-bench").into()
}

fn script(dir: &Path) -> PathBuf {
    let path = dir.join("server");
    std::fs::write(&path, SCRIPT).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// Processes of a group.
fn members(group: u32) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let stat = |e: std::fs::DirEntry| std::fs::read_to_string(e.path().join("stat")).ok();
    let of = |s: &String| {
        let rest = s.rsplit_once(") ").map_or("", |s| s.1);
        rest.split(' ').nth(2) == Some(group.to_string().as_str()) && !rest.starts_with('Z')
    };
    all.filter_map(stat).filter(of).collect()
}

fn all_go(group: u32) {
    let begin = Instant::now();
    while !members(group).is_empty() {
        assert!(begin.elapsed() < PATIENCE, "left: {:?}", members(group));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_a_server_s_script_started_goes_with_it() {
    proc::helper_is(bench());
    let place = Place::new().unwrap();
    let line = format!(
        "{} {} {{dir}} {{socket}}",
        script(&place.scratch().unwrap()).display(),
        bench().display()
    );
    let server = servers::other(&place, &line).unwrap();
    let group = server.running.id();
    assert!(members(group).len() >= 3, "{:?}", members(group));
    drop(server);
    all_go(group);
}

#[test]
fn what_runs_goes_when_this_program_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("{} {} {{dir}} {{socket}}", script(dir.path()).display(), bench().display());
    let mut killed = Command::new(bench())
        .args(["9p", "--servers", "ours", "--only", "getattr", "--runs", "1000000", "--with"])
        .arg(&line)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What it measures first needs the server.
    let said = BufReader::new(killed.stderr.take().unwrap());
    let mut lines = said.lines().map_while(Result::ok);
    let mut heard = Vec::new();
    assert!(
        lines.any(|l| {
            heard.push(l);
            heard.last().is_some_and(|l| l.contains("round 1 "))
        }),
        "it has measured nothing: {heard:?}"
    );
    let children = format!("/proc/{0}/task/{0}/children", killed.id());
    let children = std::fs::read_to_string(children).unwrap();
    let groups: Vec<u32> = children.split_whitespace().map(|n| n.parse().unwrap()).collect();
    let server = groups.iter().find(|g| members(**g).len() >= 3);
    let server = *server.unwrap_or_else(|| panic!("no group of {groups:?} has the server"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    groups.into_iter().for_each(all_go);
    assert!(members(server).is_empty());
}

#[test]
fn a_measured_program_leaves_no_core_and_alone_goes_first() {
    proc::helper_is(bench());
    let place = Place::new().unwrap();
    let out = place.scratch().unwrap().join("out");
    let say = "ulimit -Sc; cut -d' ' -f19 /proc/$$/stat";
    let line = format!("{{ {say}; }} >{}", out.display());
    let mine = getpriority_process(None).unwrap();
    let shell = Program::new("sh").unwrap().args(["-c", &line]).urgent();
    shell.start().unwrap().spent_in_all().unwrap();
    let text = std::fs::read_to_string(&out).unwrap();
    let urgent = if getuid().is_root() { -20 } else { mine };
    assert_eq!(text, format!("0\n{urgent}\n"));
    assert_eq!(getpriority_process(None).unwrap(), mine);
    let now = Urgent::new();
    assert_eq!(getpriority_process(None).unwrap(), urgent);
    drop(now);
    assert_eq!(getpriority_process(None).unwrap(), mine);
}

#[test]
fn a_peer_that_crashes_leaves_nothing() {
    proc::helper_is(bench());
    let place = Place::new().unwrap();
    let mut diod = match servers::diod(&place, 2) {
        Ok(diod) => diod,
        Err(why) => return atoll_lab::left_out(why),
    };
    let at = std::fs::read_link(format!("/proc/{}/cwd", diod.running.id())).unwrap();
    assert!(at.starts_with(place.sockets()), "{}", at.display());
    let here = || std::fs::read_dir(".").unwrap().flatten().map(|e| e.file_name());
    let before: Vec<_> = here().collect();
    let id = Pid::from_raw(diod.running.id() as i32).unwrap();
    kill_process(id, Signal::ABORT).unwrap();
    assert!(diod.running.spent_in_all().is_ok());
    assert!(!diod.running.ended().unwrap().unwrap().success());
    let core = |e: &std::fs::DirEntry| e.file_name().to_string_lossy().starts_with("core");
    let cores = std::fs::read_dir(&at).unwrap().flatten().filter(core);
    // Its own wish; without any memory in it.
    cores.for_each(|c| assert!(c.metadata().unwrap().len() < 256 << 10, "{c:?}"));
    assert!(here().all(|name| before.contains(&name)));
    drop(diod);
    drop(place);
    assert!(!at.exists());
}
