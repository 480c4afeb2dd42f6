//! How guests end, and what is shown of it.

use rustix::process::Signal;

use crate::fixture::{Guest, Place, backends, image};

#[test]
fn every_way_to_die_is_recorded_and_shown() {
    for on in backends() {
        for (command, kind) in [
            ("panic", "panic: "),
            ("overflow", "stack-overflow: "),
            ("oom", "out-of-memory: "),
            ("read", "fault: "),
            ("code", "fault: "),
            ("data", "fault: "),
            ("double", "double-fault: "),
        ] {
            if command == "double" && *on == "process" {
                continue; // a process knows no such way
            }
            let place = Place::new();
            let guest = Guest::start(&place, "crash", on, &[]);
            // The guest may be gone before it could answer.
            let _ = place.run(&["write", "crash", "/export/crash/ctl", command]);
            let (code, said) = guest.wait();
            assert_eq!(code, Some(1), "{on}: {command}: {said}");
            let want = format!("crash: failed: {kind}");
            assert!(said.contains(&want), "{on}: {command}: {said}");
            assert!(said.contains("\n  after "), "{on}: {command}: {said}");
            assert_eq!(said.contains(" rip 0x"), kind.starts_with(['f', 's', 'd']), "{said}");
            assert!(!said.contains("cut off"), "{on}: {command}: {said}");
            place.assert_empty();
        }
    }
}

#[test]
fn a_record_ends_with_the_last_lines_of_the_log() {
    // `crash`, but with a component that is made anew, which the log tells: so there
    // is a line before the end.
    let crash = include_str!("../../../images/crash/guest.toml");
    let relapse = crash.replace("name = \"crash\"", "name = \"relapse\"");
    let relapse = relapse.replace("on_fault = \"stop\"", "on_fault = \"restart\"");
    let folder = tempfile::tempdir().unwrap();
    let toml = folder.path().join("guest.toml");
    std::fs::write(&toml, relapse).unwrap();
    let image = image(toml.to_str().unwrap());
    for on in backends() {
        for command in ["panic", "overflow", "oom", "read", "double"] {
            if command == "double" && *on == "process" {
                continue; // a process knows no such way
            }
            let place = Place::new();
            let guest = Guest::start_image(&place, "relapse", &image, on, &[]);
            for _ in 0..2 {
                let refused = place.fails(&["write", "relapse", "/export/relapse/ctl", "budget"]);
                assert!(refused.1.contains("over its budget"), "{on}: {refused:?}");
            }
            let _ = place.run(&["write", "relapse", "/export/relapse/ctl", command]);
            let (code, said) = guest.wait();
            assert_eq!(code, Some(1), "{on}: {command}: {said}");
            let last = said.split("the last lines of its log:\n").nth(1).unwrap_or_default();
            assert_eq!(last.matches("made anew").count(), 2, "{on}: {command}: {said}");
            assert!(!said.contains("cut off"), "{on}: {command}: {said}");
            place.assert_empty();
        }
    }
}

#[test]
fn a_status_of_the_guests_own_is_told() {
    for on in backends() {
        let place = Place::new();
        let guest = Guest::start(&place, "crash", on, &[]);
        let _ = place.run(&["write", "crash", "/export/crash/ctl", "exit", "7"]);
        let (code, said) = guest.wait();
        assert_eq!(code, Some(1));
        assert!(said.contains("it ended with status 7"), "{on}: {said}");
        place.assert_empty();
    }
}

#[test]
fn an_interrupt_stops_and_a_guest_that_does_not_is_killed() {
    for on in backends() {
        let place = Place::new();
        let guest = Guest::start(&place, "hello", on, &[]);
        guest.signal(Signal::INT);
        let (code, said) = guest.wait();
        assert_eq!(code, Some(0), "{on}: {said}");
        assert!(said.contains("is asked to stop") && said.contains("stopped"), "{on}: {said}");
        place.assert_empty();

        // A process and then its group, as `timeout` does it: that is once.
        let guest = Guest::start(&place, "hello", on, &[]);
        guest.signal(Signal::INT);
        guest.signal(Signal::TERM);
        let (code, said) = guest.wait();
        assert_eq!(code, Some(0), "{on}: {said}");
        place.assert_empty();

        let guest = Guest::start(&place, "hello", on, &[]);
        // A guest that does not move any more.
        let frozen = children(guest.child.id());
        assert!(!frozen.is_empty());
        for pid in &frozen {
            rustix::process::kill_process(*pid, Signal::STOP).unwrap();
        }
        guest.signal(Signal::INT);
        let (code, said) = guest.wait();
        assert_eq!(code, Some(1), "{on}: {said}");
        assert!(said.contains("was killed"), "{on}: {said}");
        place.assert_empty();
    }
}

/// The children of a process that are machines.
fn children(parent: u32) -> Vec<rustix::process::Pid> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let pids = std::fs::read_to_string(path).unwrap();
    let machine = |pid: &str| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.starts_with("qemu") || name.starts_with("atoll-tender")
    };
    pids.split_whitespace()
        .filter(|pid| machine(pid))
        .filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?))
        .collect()
}
