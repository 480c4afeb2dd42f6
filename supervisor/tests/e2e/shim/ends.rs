//! How guests end under a shim, and what is kept of it.

use atoll_supervisor::shim::{How, Order, Report, Spec};
use rustix::process::{Pid, Signal, kill_process};

use super::{House, block_on, ended, next};
use crate::fixture::{Guest, backends};

#[test]
fn every_end_is_told_apart_and_kept() {
    for on in backends() {
        block_on(async {
            let house = House::new("crash");
            for (run, (command, how)) in
                [("panic", How::Crashed), ("exit 7", How::Exited(7)), ("", How::Lost)]
                    .into_iter()
                    .enumerate()
            {
                let run = run as u64 + 1;
                let shim = house.start(&house.spec(on, run)).await;
                if how == How::Lost {
                    let pid = shim.status().await.unwrap().pid.unwrap();
                    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
                } else {
                    // The guest may be gone before it could answer.
                    let _ = house.place.run(&["write", "crash", "/export/crash/ctl", command]);
                }
                let end = ended(&shim).await;
                assert_eq!((end.run, end.how, end.asked), (run, how, false), "{on}: {end:?}");
                assert!(!end.is_well() && end.ended >= end.started);
                let kept = house.folder().join("history").join(run.to_string());
                let record = std::fs::read_to_string(kept.join("record"));
                assert_eq!(record.is_ok(), how == How::Crashed, "{on}: {command}");
                if let Ok(record) = record {
                    assert!(record.starts_with("panic: "), "{record}");
                    assert!(end.why.starts_with("panic: "), "{end:?}");
                }
                let log = std::fs::read_to_string(kept.join("log")).unwrap();
                assert!(log.trim_end().ends_with(&end.why), "{on}: {log}");
                house.assert_empty();
            }
        });
    }
}

#[test]
fn a_guest_that_does_not_stop_in_time_is_killed() {
    for on in backends() {
        block_on(async {
            let house = House::new("hello");
            let shim = house.start(&house.spec(on, 1)).await;
            let pid = shim.status().await.unwrap().pid.unwrap();
            // One that does not move any more, and nobody knows of it.
            kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::STOP).unwrap();
            shim.order(Order::Stop(100)).await.unwrap();
            let end = ended(&shim).await;
            assert_eq!((end.how, end.asked), (How::Killed, true), "{on}: {end:?}");
            house.assert_empty();
        });
    }
}

#[test]
fn a_shim_whose_folder_somebody_removed_ends_with_its_guest() {
    block_on(async {
        let house = House::new("hello");
        let shim = house.start(&house.spec("process", 1)).await;
        std::fs::remove_dir_all(house.folder()).unwrap();
        shim.order(Order::Stop(1000)).await.unwrap();
        while !matches!(next(&shim).await, Report::Gone(..) | Report::Ended(_)) {}
        house.assert_empty();
    });
}

#[test]
fn what_cannot_be_started_is_told_and_leaves_nothing() {
    block_on(async {
        let house = House::new("hello");
        let good = house.spec("process", 1);
        let none = Spec { image: "/no/such.img".into(), ..good.clone() };
        let export = Spec { exports: vec![("x".into(), "/".into())], run: 2, ..good.clone() };
        for (spec, why) in [(none, "/no/such.img"), (export, "--export x")] {
            let shim = house.try_start(&spec).await.unwrap();
            let end = ended(&shim).await;
            assert_eq!(end.how, How::Unstarted);
            assert!(end.why.contains(why), "{}", end.why);
            house.assert_empty();
        }
        // Its name is taken by one that runs in the foreground, which is not touched.
        let other = Guest::start(&house.place, "hello", "process", &[]);
        let shim = house.try_start(&Spec { run: 3, ..good.clone() }).await.unwrap();
        let end = ended(&shim).await;
        assert_eq!(end.how, How::Unstarted);
        assert!(end.why.contains("is taken"), "{}", end.why);
        assert!(house.place.run(&["ls", "hello", "/"]).status.success());
        other.stop();
        house.assert_empty();
        let shim = house.start(&Spec { run: 4, ..good }).await;
        shim.order(Order::Stop(10_000)).await.unwrap();
        assert_eq!(next(&shim).await, Report::Stopping);
        assert!(ended(&shim).await.is_well());
        house.assert_empty();
    });
}
