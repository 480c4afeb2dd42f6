//! The load generator against the least server: what is right is counted, what is
//! wrong ends it.

use std::path::PathBuf;
use std::time::Duration;

use atoll_bench::load::echo::ECHO;
use atoll_bench::load::link::{Link, Wait};
use atoll_bench::load::work::{self, Work};
use atoll_bench::load::works::{Getattr, Read, Walk};
use atoll_bench::p9::one_core::OneCore;
use atoll_bench::p9::place::{DATA, OUT, Place, SMALL};
use atoll_bench::p9::servers::{self, Server};
use atoll_bench::proc::{self, Program};
use rustix::thread::sched_getaffinity;

const LONG: Duration = Duration::from_millis(5);

fn place() -> Place {
    proc::helper_is(env!("CARGO_BIN_EXE_atoll-bench").into());
    Place::new().unwrap()
}

/// The floor, of another file than it should be.
fn echo_of(place: &Place, file: &str) -> Server {
    let socket = place.socket("other");
    let data = place.files().join(file);
    let program = Program::new(proc::own().unwrap()).unwrap();
    let program = program.arg(ECHO).arg(&socket).arg(data).arg("22");
    Server::start("other", program, socket, "").unwrap()
}

fn done(link: &mut Link, mut work: impl Work, depth: usize) -> anyhow::Result<work::Done> {
    work.begin(link, depth)?;
    work::run(link, &mut work, depth, LONG)
}

#[test]
fn right_answers_are_counted() {
    let place = place();
    let echo = servers::echo(&place).unwrap();
    for (depth, wait) in [(1, Wait::Recv), (8, Wait::Recv), (1, Wait::Poll), (8, Wait::Poll)] {
        let mut link = echo.link(8192).unwrap();
        link.waits(wait);
        let attributes = done(&mut link, Getattr::new(&[SMALL.0], 22), depth).unwrap();
        assert!(attributes.units > 0 && attributes.units == attributes.answers);
        let walks = done(&mut link, Walk::new(SMALL.0), depth).unwrap();
        assert!(walks.units > 0 && walks.answers == 2 * walks.units);
        for count in [4096, 100_000] {
            let mut link = echo.link(count + 24).unwrap();
            let reads = done(&mut link, Read::new(&[DATA.0], DATA.1, count), depth).unwrap();
            assert!(reads.units > 0 && reads.units == reads.answers * u64::from(count));
        }
    }
}

#[test]
fn wrong_answers_are_errors() {
    let place = place();
    let echo = servers::echo(&place).unwrap();
    let mut link = echo.link(8192).unwrap();
    let why = done(&mut link, Getattr::new(&[SMALL.0], 23), 1).unwrap_err();
    assert!(format!("{why:#}").contains("attributes of another file"), "{why:#}");
    // A file that is all zeros.
    let other = echo_of(&place, OUT.0);
    let mut link = other.link(8192).unwrap();
    let why = done(&mut link, Read::new(&[DATA.0], DATA.1, 4096), 4).unwrap_err();
    assert!(format!("{why:#}").contains("wrong content"), "{why:#}");
    // A server that is gone.
    let mut link = other.link(8192).unwrap();
    drop(other);
    assert!(done(&mut link, Walk::new(SMALL.0), 1).is_err());
}

#[test]
fn what_was_not_written_is_noticed() {
    let place = place();
    assert!(place.check_written().is_err());
    let out = place.files().join(OUT.0);
    let mut bytes = std::fs::read(&out).unwrap();
    let page = std::fs::read(place.files().join(DATA.0)).unwrap()[8192..12_288].to_vec();
    bytes[8192..12_288].copy_from_slice(&page);
    std::fs::write(&out, &bytes).unwrap();
    place.check_written().unwrap();
    bytes[12_287] ^= 1;
    std::fs::write(&out, &bytes).unwrap();
    assert!(place.check_written().is_err());
}

#[test]
fn nothing_is_left_behind() {
    let place = place();
    let echo = servers::echo(&place).unwrap();
    let (files, pid): (PathBuf, u32) = (place.files(), echo.running.id());
    assert!(files.join("many/file-09999").exists());
    let before = sched_getaffinity(None).unwrap();
    let pinned = OneCore::pin(&echo.running).unwrap();
    assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
    drop(pinned);
    assert_eq!(sched_getaffinity(None).unwrap(), before);
    drop(echo);
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
    drop(place);
    assert!(!files.parent().unwrap().exists());
}
