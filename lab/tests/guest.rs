//! The fixture itself: what a test of anything else relies on.

use std::path::Path;
use std::time::{Duration, Instant};

use atoll_lab::linux::{JOBS, Linux, PATIENCE, Setup};

/// What a guest says is what it was told, and of its host nothing is left.
#[test]
fn a_guest_runs_what_it_is_told_and_leaves_nothing() {
    let setup = match Setup::new() {
        Ok(setup) => setup,
        Err(why) => return atoll_lab::left_out(why),
    };
    // A program with libraries: this one. It lists its tests without running any.
    let own = std::env::current_exe().unwrap();
    let setup = setup.program("usr/bin/own", &own).unwrap().file("etc/note", b"a note\n");
    let began = Instant::now();
    let linux = Linux::boot(setup).unwrap();
    println!("boot: {:?}, {:.0} ms of CPU time", began.elapsed(), linux.cpu().unwrap());

    assert_eq!(linux.ok("cat /etc/note").unwrap(), "a note\n");
    let list = linux.ok("own --list").unwrap();
    assert!(list.contains("a_guest_runs_what_it_is_told_and_leaves_nothing: test"), "{list}");
    assert_eq!(linux.ok("ls /dev/fuse").unwrap(), "/dev/fuse\n");
    assert_eq!(linux.ok("grep -cw -e 9p -e fuse /proc/filesystems").unwrap(), "2\n");
    assert_eq!(linux.complaints().unwrap(), [""; 0]);

    // Any bytes, no line end at the end, both outputs, a status.
    let out = linux.run("printf 'a\\0\\n\\377'; printf b >&2; exit 7").unwrap();
    assert_eq!((out.status, out.bytes), (7, b"a\0\n\xffb".to_vec()));
    let long = linux.run("head -c 300000 /dev/zero").unwrap();
    assert_eq!((long.status, long.bytes.len()), (0, 300_000));
    let script = format!("cat <<'END' | wc -c\n{}\nEND", "x".repeat(20_000));
    assert_eq!(linux.ok(&script).unwrap(), "20001\n");

    // Jobs run side by side, hear signals, and are ended with all that they started.
    let mut jobs: Vec<_> =
        (0..JOBS - 1).map(|i| linux.start(&format!("echo up {i}; sleep 1000")).unwrap()).collect();
    for (i, job) in jobs.iter_mut().enumerate() {
        job.wait_for(&format!("up {i}\n")).unwrap();
    }
    assert_eq!(linux.ok("pidof sleep | wc -w").unwrap(), format!("{}\n", JOBS - 1));
    jobs[0].signal("INT").unwrap();
    assert_eq!(jobs.remove(0).wait().unwrap().status, 130);
    drop(jobs);
    assert_eq!(linux.run("pidof sleep").unwrap().status, 1);
    assert_eq!(linux.run("sleep 1000 & kill -TERM $$").unwrap().status, 143);
    assert_eq!(linux.run("pidof sleep").unwrap().status, 1);
    let late = linux.start("sleep 1000").unwrap().wait_within(Duration::from_millis(1));
    let why = late.unwrap_err().to_string();
    // What hangs is to be seen.
    assert!(why.contains("took too long") && why.contains("nanosleep"), "{why}");
    assert_eq!(linux.run("pidof sleep").unwrap().status, 1);
    let mut short = linux.start("echo one").unwrap();
    assert!(short.wait_for("two").unwrap_err().to_string().contains("ended without"));
    drop(short);

    // A guest that dies is heard of, with its last words.
    let why = linux.run("echo c >/proc/sysrq-trigger").unwrap_err().to_string();
    assert!(why.contains("the guest has ended") && why.contains("sysrq"), "{why}");
    let process = format!("/proc/{}", linux.id());
    drop(linux);
    assert!(!Path::new(&process).exists());
}

/// The guest of a test that is killed is gone with it.
#[test]
fn a_guest_dies_with_its_test() {
    const CHILD: &str = "ATOLL_LAB_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let linux = Linux::boot(Setup::new().unwrap()).unwrap();
        println!("guest {}\n", linux.id());
        // Longer than the other waits for it.
        std::thread::sleep(PATIENCE * 2);
        return;
    }
    if let Err(why) = Setup::new() {
        return atoll_lab::left_out(why);
    }
    let mut test = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_guest_dies_with_its_test", "--nocapture"])
        .env(CHILD, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(test.stdout.take().unwrap()));
    let id = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("guest ").map(|(_, id)| id.to_owned()))
        .unwrap();
    let process = format!("/proc/{id}/cmdline");
    assert!(std::fs::read_to_string(&process).unwrap().starts_with("qemu-system-x86_64"));
    test.kill().unwrap();
    test.wait().unwrap();
    let until = Instant::now() + PATIENCE;
    // A process without a command line has ended, and waits to be forgotten.
    while std::fs::read(&process).is_ok_and(|line| !line.is_empty()) {
        assert!(Instant::now() < until, "process {id} is left behind");
        std::thread::sleep(Duration::from_millis(2));
    }
}
