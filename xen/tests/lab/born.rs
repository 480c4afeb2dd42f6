//! The rings that a domain is born with, XenStore's and the console's, in the hands of somebody
//! who keeps no rule: what the guest hears there it does not believe, and it serves its streams.

use std::process::Command;
use std::time::{Duration, Instant};

use atoll_xen::dom0::{GntDev, Mapping, Store};
use atoll_xen::store::{NO_TRANSACTION, Request};
use atoll_xen::vchan::Bytes;

use super::{PATIENCE, honest, in_dom0, path};

/// Under which references a domain's rings are lent by `xl` (`public/grant_table.h`).
const CONSOLE: u32 = 0;
const STORE: u32 = 1;
/// Where in XenStore's ring these stand (`public/io/xs_wire.h`).
const RSP: usize = 1024;
const INDICES: usize = 2048;
const RSP_CONS: usize = 2056;
const RSP_PROD: usize = 2060;
/// Where the console's indices stand (`public/io/console.h`).
const CONSOLE_INDICES: usize = 3072;

#[test]
fn a_xenstored_and_a_console_that_lie_harm_no_stream() {
    in_dom0("born::a_xenstored_and_a_console_that_lie_harm_no_stream", the_guests_enemy);
}

fn the_guests_enemy(domid: u16) {
    let mut store = Store::open().unwrap();
    let control = path(domid, "control");
    drop(honest(domid, &control));

    // Words that mean nothing, and more of them than anybody reads.
    let shutdown = format!("/local/domain/{domid}/control/shutdown");
    let long = vec![b'x'; 4000];
    for word in [&b""[..], b"powerof", b"\0\xff", &long].iter().cycle().take(400) {
        store.ask(NO_TRANSACTION, &Request::Write(&shutdown, word)).unwrap();
    }
    drop(honest(domid, &control));
    store.ask(NO_TRANSACTION, &Request::Write(&shutdown, b"")).unwrap();
    sleeps("after the words");

    let gntdev = GntDev::open().unwrap();
    let console = gntdev.map(domid, &[CONSOLE]).unwrap();
    for (turn, lie) in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 2049].into_iter().enumerate() {
        for index in 0..4 {
            console
                .write(CONSOLE_INDICES + 4 * index, &lie.wrapping_add(index as u32).to_le_bytes());
            drop(honest(domid, &control));
        }
        println!("console, turn {turn}: the next client is served");
    }
    sleeps("after the console");

    let ring = gntdev.map(domid, &[STORE]).unwrap();
    // More than a ring holds is said to be there.
    say(&ring, &[], 5000);
    drop(honest(domid, &control));
    sleeps("before an index that cannot be");
    // Bytes that mean nothing.
    say(&ring, &[0xa5; 700], 700);
    drop(honest(domid, &control));
    sleeps("behind bytes that mean nothing");
    for (turn, lie) in [1, 1024, 0x8000_0000, u32::MAX].into_iter().enumerate() {
        for index in 0..4 {
            ring.write(INDICES + 4 * index, &lie.wrapping_mul(index as u32 + 1).to_le_bytes());
            drop(honest(domid, &control));
        }
        println!("XenStore, turn {turn}: the next client is served");
    }
    sleeps("after XenStore");
    drop((console, ring));
    assert!(Command::new("xl").args(["destroy", "hello"]).status().unwrap().success());
}

/// Writes bytes behind what the guest has read, and says that there are so many.
fn say(ring: &Mapping, bytes: &[u8], len: u32) {
    let mut cons = [0; 4];
    ring.read(RSP_CONS, &mut cons);
    let cons = u32::from_le_bytes(cons);
    for (at, byte) in bytes.iter().enumerate() {
        ring.write(RSP + (cons as usize + at) % 1024, &[*byte]);
    }
    ring.write(RSP_PROD, &cons.wrapping_add(len).to_le_bytes());
}

/// Waits until the guest sleeps: one that is kept awake never does.
fn sleeps(when: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let list = Command::new("xl").args(["list", "hello"]).output().unwrap();
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        if list.contains(" -b----") {
            return;
        }
        assert!(Instant::now() < until, "{when}: {list}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
