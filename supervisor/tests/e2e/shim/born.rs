//! Where shims come from: what they have of it, and what becomes of it and of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use atoll_supervisor::shim::{How, Order, Report, Shim, Spec};
use rustix::process::{Pid, Signal, getsid, kill_process};

use super::killed::{guards, kill};
use super::{House, block_on, ended, next};
use crate::fixture::{PATIENCE, backends};

#[test]
fn the_process_that_shims_come_from_is_needed_for_a_birth_alone() {
    block_on(async {
        let house = House::new("hello");
        let shim = house.start(&house.spec("process", 1)).await;
        kill_zygote(&house, Signal::KILL);
        assert!(house.place.run(&["ls", "hello", "/"]).status.success());
        shim.order(Order::Stop(10_000)).await.unwrap();
        assert!(ended(&shim).await.is_well());
        // The next one has another, and without it nobody knows how it was killed.
        let shim = house.start(&house.spec("process", 2)).await;
        kill_zygote(&house, Signal::KILL);
        kill(shim.status().await.unwrap().shim);
        match next(&shim).await {
            Report::Gone(why) => {
                assert!(why.contains("its shim is gone") && !why.contains("signal"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(house.processes(), Vec::<String>::new());
        // One that stands still is not waited for, and takes what it was asked with it.
        let shim = house.start(&house.spec("process", 3)).await;
        shim.order(Order::Kill).await.unwrap();
        assert_eq!(ended(&shim).await.how, How::Killed);
        kill_zygote(&house, Signal::STOP);
        let shim = house.try_start(&house.spec("process", 4)).await.unwrap();
        assert!(matches!(next(&shim).await, Report::Gone(_)));
        let shim = house.start(&house.spec("process", 5)).await;
        shim.order(Order::Kill).await.unwrap();
        assert_eq!(ended(&shim).await.how, How::Killed);
        house.assert_empty();
    });
}

#[test]
fn a_shim_has_nothing_of_the_others_or_of_where_it_comes_from() {
    for on in backends() {
        block_on(async {
            let house = House::new("hello");
            let first = house.start(&house.spec(on, 1)).await;
            let spec = Spec {
                name: "second".into(),
                socket: house.place.socket("second"),
                sockets: house.place.dir.path().join("atoll/guests/second"),
                ..house.spec(on, 1)
            };
            let folder = house.folder().with_file_name("second");
            let second = Shim::start(&house.births(), &folder, &spec).await.unwrap();
            assert!(matches!(next(&second).await, Report::Running(_)));
            let zygote = zygote(&house).as_raw_nonzero().get() as u64;
            let all = [first.status().await.unwrap(), second.status().await.unwrap()];
            // What a test is started with, everybody has.
            let given = open(std::process::id().into());
            let open = |pid| &open(pid) - &given;
            let [one, other] = all.each_ref().map(|s| open(s.shim));
            assert_eq!(one.intersection(&other).count(), 0, "{one:?} {other:?}");
            let only = open(zygote);
            assert_eq!(only.len(), 1, "{only:?}");
            for (status, files) in all.iter().zip([one, other]) {
                assert!(files.is_disjoint(&only), "{files:?} {only:?}");
                let guard = guards(status.shim)[0];
                for pid in [status.shim, guard] {
                    assert_eq!(blocked(pid), 0);
                }
                let pid = Pid::from_raw(status.shim as i32);
                assert_eq!(getsid(pid).unwrap(), pid.unwrap());
                // A guard has the lock, and the pipe that its shim holds the other end of.
                let guards = open(guard);
                assert!(guards.len() == 2 && guards.is_subset(&files), "{guards:?} {files:?}");
                assert!(guards.iter().any(|path| path.ends_with("/lock")));
            }
            for shim in [first, second] {
                shim.order(Order::Kill).await.unwrap();
                assert_eq!(ended(&shim).await.how, How::Killed);
            }
            house.assert_empty();
        });
    }
}

/// The files, sockets and pipes that a process has open, and nobody else should.
fn open(pid: u64) -> BTreeSet<String> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let paths = files.filter_map(|f| std::fs::read_link(f.path()).ok());
    let names = paths.map(|path| path.to_string_lossy().into_owned());
    names.filter(|n| !n.starts_with("/dev/") && !n.starts_with("anon_inode:")).collect()
}

/// The signals that a process does not take now, a bit each.
fn blocked(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

/// The process that shims come from.
fn zygote(house: &House) -> Pid {
    let zygotes: Vec<Pid> = house.place.pids().into_iter().filter(is_zygote).collect();
    assert_eq!(zygotes.len(), 1);
    zygotes[0]
}

fn is_zygote(pid: &Pid) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    line.unwrap_or_default().windows(8).any(|w| w == b"__zygote")
}

/// Signals it, and waits until it is gone if that is its end.
fn kill_zygote(house: &House, signal: Signal) {
    let pid = zygote(house);
    kill_process(pid, signal).unwrap();
    let until = Instant::now() + PATIENCE;
    while signal == Signal::KILL && is_zygote(&pid) {
        assert!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}
