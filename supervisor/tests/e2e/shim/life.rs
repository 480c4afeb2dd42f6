//! What a guest is told, and what is told of it.

use std::process::Stdio;

use atoll_supervisor::guestlog::{Piece, Reader};
use atoll_supervisor::shim::{End, Error, Found, How, Order, Report, Shim, Spec, State};

use super::{House, block_on, ended, next};
use crate::fixture::backends;

fn log(house: &House, mut at: u64) -> String {
    let reader = Reader::open(&house.folder().join("log"));
    let mut text = Vec::new();
    loop {
        match reader.read(at, 1 << 20).unwrap() {
            Piece::Bytes(bytes) if bytes.is_empty() => return String::from_utf8(text).unwrap(),
            Piece::Bytes(bytes) => {
                at += bytes.len() as u64;
                text.extend(bytes);
            }
            Piece::Gap(n) => panic!("{n} bytes are lost"),
        }
    }
}

async fn stop(shim: &Shim) -> End {
    shim.order(Order::Stop(10_000)).await.unwrap();
    assert_eq!(next(shim).await, Report::Stopping);
    ended(shim).await
}

#[test]
fn a_guest_stands_still_goes_on_and_stops() {
    for on in backends() {
        block_on(async {
            let house = House::new("hello");
            let spec = house.spec(on, 1);
            let shim = house.start(&spec).await;
            let status = shim.status().await.unwrap();
            assert_eq!((&*status.name, status.run, status.state), ("hello", 1, State::Running));
            assert!(status.backend.starts_with(on), "{}", status.backend);
            assert!(status.memory > 0, "{status:?}");
            let ask = || house.place.run(&["cat", "hello", "/name", "--timeout", "1"]);
            assert!(ask().status.success());

            shim.order(Order::Pause).await.unwrap();
            assert_eq!(next(&shim).await, Report::Paused);
            assert_eq!(ask().status.code(), Some(7), "{on}: it answers");
            let refused = shim.order(Order::Pause).await.unwrap_err();
            assert_eq!(refused.to_string(), "pause: the guest is paused already");
            // A daemon that comes now is told so.
            match house.adopt().await {
                Found::Alive(other) => {
                    assert!(matches!(next(&other).await, Report::Running(_)));
                    assert_eq!(next(&other).await, Report::Paused);
                    other.order(Order::Resume).await.unwrap();
                    assert_eq!(next(&other).await, Report::Resumed);
                }
                _ => panic!("it is not alive"),
            }
            assert_eq!(next(&shim).await, Report::Resumed);
            assert!(ask().status.success());
            let refused = shim.order(Order::Checkpoint).await.unwrap_err();
            assert!(refused.to_string().contains("no folder"), "{refused}");

            // Told to stop while it stands still, it goes on for that.
            shim.order(Order::Pause).await.unwrap();
            assert_eq!(next(&shim).await, Report::Paused);
            let end = stop(&shim).await;
            assert_eq!((end.run, end.how, end.asked), (1, How::Exited(0), true), "{end:?}");
            assert_eq!(next(&shim).await, Report::Ended(end.clone()));
            assert!(matches!(shim.order(Order::Kill).await, Err(Error::Gone)));
            house.assert_empty();
            let first = log(&house, 0);
            assert_eq!(first.len() as u64, end.log);
            assert!(first.contains("atoll: is asked to stop"), "{first}");

            // Another run goes on in the same log, under a greater number alone.
            assert!(matches!(house.try_start(&spec).await, Err(Error::Stale { .. })));
            let shim = house.start(&house.spec(on, 2)).await;
            let again = stop(&shim).await;
            assert_eq!((again.run, again.how), (2, How::Exited(0)));
            assert!(again.log > end.log);
            assert_eq!(log(&house, end.log).len() as u64, again.log - end.log);
            for run in [&end, &again] {
                let kept = house.folder().join("history").join(run.run.to_string());
                let text = std::fs::read(kept.join("end.json")).unwrap();
                assert_eq!(End::from_json(&text).unwrap(), *run);
                assert!(kept.join("log").exists() && !kept.join("record").exists());
            }
            house.assert_empty();
        });
    }
}

#[test]
fn a_guest_runs_on_without_a_daemon_and_the_next_one_has_it() {
    for on in backends() {
        block_on(async {
            let house = House::new("hello");
            assert!(Shim::adopt(&house.folder()).await.is_err(), "there is no folder");
            drop(house.start(&house.spec(on, 5)).await);
            for _ in 0..3 {
                let shim = house.adopt_alive().await;
                assert_eq!(shim.spec().run, 5);
                assert!(house.place.run(&["ls", "hello", "/"]).status.success());
            }
            // Nobody else can start it meanwhile, whatever the number.
            assert!(matches!(house.try_start(&house.spec(on, 6)).await, Err(Error::Locked(_))));
            let shim = house.adopt_alive().await;
            let end = stop(&shim).await;
            assert!(end.is_well());
            match house.adopt().await {
                Found::Ended(found) => assert_eq!(found, end),
                _ => panic!("it is not known to have ended"),
            }
            house.assert_empty();
        });
    }
}

#[test]
fn checkpoints_are_kept_when_that_is_said_and_at_the_end() {
    block_on(async {
        let house = House::new("counter");
        let kept = house.dir.path().join("kept");
        let spec = Spec { state: Some(kept.clone()), ..house.spec("process", 1) };
        let shim = house.start(&spec).await;
        house.place.ok(&["write", "counter", "/export/counter/ctl", "add 42"]);
        shim.order(Order::Checkpoint).await.unwrap();
        assert_eq!(next(&shim).await, Report::Checkpoint(kept.join("1.checkpoint")));
        shim.order(Order::Stop(20_000)).await.unwrap();
        assert_eq!(next(&shim).await, Report::Stopping);
        assert_eq!(next(&shim).await, Report::Checkpoint(kept.join("2.checkpoint")));
        assert!(ended(&shim).await.is_well());
        let restore = Some(atoll_supervisor::run::Restore::Latest);
        let spec = Spec { run: 2, restore, ..spec };
        let shim = house.start(&spec).await;
        let count = house.place.ok(&["cat", "counter", "/export/counter/count"]);
        assert_eq!(count.trim(), "42");
        // What cannot be kept is told, and nothing else happens.
        std::fs::remove_dir_all(&kept).unwrap();
        shim.order(Order::Checkpoint).await.unwrap();
        match next(&shim).await {
            Report::Failed(Order::Checkpoint, why) => {
                assert!(why.contains("cannot write"), "{why}")
            }
            other => panic!("{other:?}"),
        }
        shim.order(Order::Kill).await.unwrap();
        let end = ended(&shim).await;
        assert_eq!((end.how, end.asked), (How::Killed, true));
        house.assert_empty();
    });
}

#[test]
fn nobody_is_believed_who_has_no_lock_and_no_folder_that_others_wrote() {
    block_on(async {
        let house = House::new("hello");
        let folder = house.folder();
        let path = folder.to_str().unwrap().to_owned();
        // Started by hand, it has nothing that only the supervisor gives.
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("spec.json"), house.spec("process", 1).to_json().unwrap())
            .unwrap();
        let mut by_hand = house.place.atoll();
        let by_hand = by_hand.args(["__zygote", &path]).stdin(Stdio::piped()).output().unwrap();
        assert_eq!(by_hand.status.code(), Some(1));
        house.assert_empty();
        assert!(!folder.join("end.json").exists());

        let spec = house.spec("process", 1).to_json().unwrap();
        for text in ["", "{}", &spec.replace("\"hello\"", "\"../hello\""), &spec[..spec.len() / 2]]
        {
            std::fs::write(folder.join("spec.json"), text).unwrap();
            assert!(matches!(Shim::adopt(&folder).await, Err(Error::Bad(..))), "{text}");
            let start = house.try_start(&house.spec("process", 9)).await;
            assert!(matches!(start, Err(Error::Bad(..))), "{text}");
        }
        // How another run ended is not how this one did.
        std::fs::write(folder.join("spec.json"), &spec).unwrap();
        let end = r#"{"format":1,"name":"hello","run":RUN,"epoch":1,"how":"killed","why":"","asked":true,"started":1,"ended":2,"cpu":3,"log":0}"#;
        for (run, gone) in [("2", true), ("0", true), ("1", false)] {
            std::fs::write(folder.join("end.json"), end.replace("RUN", run)).unwrap();
            let found = house.adopt().await;
            assert_eq!(matches!(found, Found::Gone { run: 1, .. }), gone, "{run}");
            assert_eq!(matches!(found, Found::Ended(_)), !gone, "{run}");
        }
        // A folder that others can write to is no guest's.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&folder, open).unwrap();
        assert!(matches!(Shim::adopt(&folder).await, Err(Error::Folder(..))));
        assert!(matches!(house.try_start(&house.spec("process", 9)).await, Err(Error::Folder(..))));
        house.assert_empty();
    });
}
