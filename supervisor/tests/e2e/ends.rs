//! How guests end, and what is shown of it.

use rustix::process::Signal;

use crate::fixture::{Guest, Place, backends};

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
