//! The shells that guests are measured in really start, and really end.

use std::path::Path;
use std::time::Duration;

use atoll_bench::qemu::{self, Kernel, Shell};
use atoll_bench::{floor, proc, tender};

fn helper() {
    proc::helper_is(env!("CARGO_BIN_EXE_atoll-bench").into());
}

#[test]
fn the_floor_says_its_byte_in_both_shells() {
    helper();
    if let Err(why) = qemu::find() {
        return atoll_lab::left_out(why);
    }
    let kernel = Kernel::of(&floor::elf()).unwrap();
    for shell in [Shell::guest(4), Shell::bare(4)] {
        let mut machine = shell.start(&kernel, None).unwrap();
        let spent = machine.says(&[floor::SIGN], Duration::from_secs(20)).unwrap();
        assert!(spent.cpu > 0.0 && spent.wall > 0.0, "{spent:?}");
        let pid = machine.running.id();
        let (all, own) = machine.running.memory().unwrap();
        assert!(all >= own && own > 0);
        drop(machine);
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "QEMU outlived its value");
    }
}

#[test]
fn a_machine_that_does_not_start_is_an_error() {
    helper();
    if let Err(why) = qemu::find() {
        return atoll_lab::left_out(why);
    }
    let kernel = Kernel::of(b"no kernel").unwrap();
    let mut machine = Shell::bare(4).start(&kernel, None).unwrap();
    let why = machine.says(b"x", Duration::from_secs(20)).unwrap_err();
    assert!(why.to_string().contains(qemu::QEMU), "{why}");
}

#[test]
fn a_process_that_ended_keeps_its_figures() {
    helper();
    let spent = tender::floor().unwrap();
    assert!(spent.cpu > 0.0 && spent.wall >= spent.cpu * 0.5, "{spent:?}");
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    helper();
    let running = proc::Program::new("./no-such-program").unwrap().silent().start().unwrap();
    // It was started up to its exec, and ended there.
    assert!(running.spent_in_all().is_ok());
}
