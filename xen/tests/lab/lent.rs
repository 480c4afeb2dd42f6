//! What a domain lends, and does not: it takes a page back, lends it to others, to be read
//! alone, or lends what it has not. dom0 maps none of that, says so and keeps nothing; what it
//! has mapped already stays, and is given back as ever.

use std::process::Command;
use std::time::{Duration, Instant};

use atoll_xen::dom0::{GntDev, Open, Store, Vchan};
use atoll_xen::store::{NO_TRANSACTION, Request};
use atoll_xen::vchan::{Bytes, EVENT_CHANNEL, RING_REF, Takes};

use super::table::{Entry, PERMIT, READ_ONLY, Table, balloon};
use super::{PATIENCE, greet, honest, in_dom0, number, path};

/// Where in the page of a vchan the references of its rings begin.
const GRANTS: usize = 24;
/// A frame that no domain of 4 MiB has.
const NOWHERE: u32 = 0x8_0000;

#[test]
fn a_domain_that_takes_back_what_it_lent_is_refused() {
    in_dom0("lent::a_domain_that_takes_back_what_it_lent_is_refused", the_guests_enemy);
}

/// What may stand in the table instead of what lends a page.
fn lies(fair: Entry, domid: u16) -> [(&'static str, Entry); 6] {
    [
        ("taken back", Entry { flags: 0, ..fair }),
        ("to be read alone", Entry { flags: PERMIT | READ_ONLY, ..fair }),
        ("to another", Entry { domid, ..fair }),
        ("of no frame", Entry { frame: NOWHERE, ..fair }),
        ("a page to be given", Entry { flags: 2, ..fair }),
        ("of no kind", Entry { flags: 3, ..fair }),
    ]
}

fn the_guests_enemy(domid: u16) {
    let mut store = Store::open().unwrap();
    let control = path(domid, "control");
    drop(honest(domid, &control));
    let page = number(&mut store, &control, RING_REF);
    let rings = rings(domid, page);
    let table = Table::of(domid);
    assert_eq!(table.get(page).flags, PERMIT);
    let [first, .., last] = rings[..] else { panic!("{rings:?}") };

    // Before there is a stream: the page, a ring's first page, the last one of all.
    for (at, what) in [(page, "page"), (first, "ring"), (last, "ring")] {
        let fair = table.get(at);
        for (why, lie) in lies(fair, domid) {
            table.set(at, lie);
            refused(&mut store, domid, &control, what, why);
            assert_eq!(table.mapped(), [0; 0], "{what}, {why}: kept");
            table.set(at, fair);
            drop(honest(domid, &control));
            settled(&table);
        }
    }

    // While there is one: it goes on, and what it had is given back.
    for at in [page, first, last] {
        let fair = table.get(at);
        for (_, lie) in lies(fair, domid) {
            let mut stream = honest(domid, &control);
            table.set(at, lie);
            greet(&mut stream);
            drop(stream);
            settled(&table);
            table.set(at, fair);
            drop(honest(domid, &control));
            settled(&table);
        }
    }

    // References that were never lent, or that there are none of.
    for never in ["400", "511", "512", "65536", "4294967295"] {
        let key = format!("{control}/{RING_REF}");
        store.ask(NO_TRANSACTION, &Request::Write(&key, never.as_bytes())).unwrap();
        refused(&mut store, domid, &control, "page", never);
        assert_eq!(table.mapped(), [0; 0], "{never}");
        let fair = page.to_string();
        store.ask(NO_TRANSACTION, &Request::Write(&key, fair.as_bytes())).unwrap();
    }

    // A port that waits for nobody, is XenStore's, or is none. It cannot be told from one that
    // has another client, so it is tried again.
    let key = format!("{control}/{EVENT_CHANNEL}");
    let port = number(&mut store, &control, EVENT_CHANNEL).to_string();
    let other = |store: &mut Store, port: &str| {
        let why = Vchan::open(store, domid, &control, Takes::Fresh).unwrap_err();
        let Open::NotYet(text) = &why else { panic!("{port}: {why}") };
        assert_eq!(*text, format!("domain {domid}'s vchan port: {port} waits for nobody"));
        assert_eq!(table.mapped(), [0; 0], "{port}");
    };
    for never in ["1", "2000", "4095", "4096", "4294967295"] {
        store.ask(NO_TRANSACTION, &Request::Write(&key, never.as_bytes())).unwrap();
        other(&mut store, never);
    }
    store.ask(NO_TRANSACTION, &Request::Write(&key, port.as_bytes())).unwrap();
    drop(honest(domid, &control));

    // A frame that the domain gives back, under a stream: dom0 has it, and the domain has not.
    let stream = honest(domid, &control);
    balloon(domid, table.get(last).frame);
    drop(stream);
    settled(&table);
    refused(&mut store, domid, &control, "ring", "given back");
    assert_eq!(table.mapped(), [0; 0]);

    // The other stream is served meanwhile, and all of the domain goes though this program,
    // which was refused so often, goes on.
    let host = Vchan::open(&mut store, domid, &path(domid, "host"), Takes::Fresh).unwrap();
    drop((host, table));
    assert!(Command::new("xl").args(["destroy", "hello"]).status().unwrap().success());
    let until = Instant::now() + PATIENCE;
    loop {
        let list = Command::new("xl").arg("list").output().unwrap();
        if list.stdout.iter().filter(|b| **b == b'\n').count() == 2 {
            break;
        }
        assert!(Instant::now() < until, "{}", String::from_utf8_lossy(&list.stdout));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The references of both rings, left and right.
fn rings(domid: u16, page: u32) -> Vec<u32> {
    let mapping = GntDev::open().unwrap().map(domid, &[page]).unwrap();
    let mut bytes = [0; 4 * 64];
    mapping.read(GRANTS, &mut bytes);
    let words = bytes.chunks(4).map(|w| u32::from_ne_bytes(w.try_into().unwrap()));
    words.take_while(|at| *at != 0).collect()
}

/// dom0 opens no such stream, and says whose fault that is.
fn refused(store: &mut Store, domid: u16, path: &str, what: &str, why: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        match Vchan::open(store, domid, path, Takes::Fresh) {
            Err(Open::NotYet(said)) => assert!(Instant::now() < until, "{why}: {said}"),
            Err(Open::Lie(said)) => {
                println!("{what}, {why}: {said}");
                let whose = format!("domain {domid}'s vchan {what}: ");
                return assert!(
                    said.starts_with(&whose) && said.ends_with("lent to this domain to be written"),
                    "{said}"
                );
            }
            Err(other) => panic!("{what}, {why}: {other}"),
            Ok(_) => panic!("{what}, {why}: it is open"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Nothing that was lent is mapped any more.
fn settled(table: &Table) {
    let until = Instant::now() + PATIENCE;
    while !table.mapped().is_empty() {
        assert!(Instant::now() < until, "{:?}", table.mapped());
        std::thread::sleep(Duration::from_millis(20));
    }
}
