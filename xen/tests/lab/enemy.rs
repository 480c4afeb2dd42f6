//! A client that is an enemy: it writes into the page of a vchan what it likes, when it likes.

use std::io::{Read, Write};
use std::process::Command;
use std::time::Instant;

use atoll_xen::dom0::{EvtChn, GntDev, Mapping, Open, Port, Store, Vchan};
use atoll_xen::vchan::{Bytes, Takes};

use super::{PATIENCE, greet, honest, in_dom0, number, path};

/// Where in the page of a vchan these stand (`libxenvchan.h`).
const LEFT_PROD: usize = 4;
const RIGHT_CONS: usize = 8;
const ORDERS: usize = 16;
const CLI_LIVE: usize = 20;

#[test]
fn a_client_that_is_an_enemy_harms_nobody_else() {
    in_dom0("enemy::a_client_that_is_an_enemy_harms_nobody_else", the_enemy);
}

#[test]
fn a_stream_that_has_a_client_is_not_free() {
    in_dom0("enemy::a_stream_that_has_a_client_is_not_free", |domid| {
        let mut store = Store::open().unwrap();
        let control = path(domid, "control");
        let mut first = honest(domid, &control);
        match Vchan::open(&mut store, domid, &control, Takes::Fresh) {
            Err(Open::NotYet(why)) => assert_eq!(why, "the vchan has another client"),
            other => panic!("{other:?}"),
        }
        greet(&mut first);
        drop(first);
        drop(honest(domid, &control));
        assert!(Command::new("xl").args(["destroy", "hello"]).status().unwrap().success());
    });
}

/// The page of a vchan and its port, in the hands of somebody who keeps no rule.
struct Enemy {
    page: Mapping,
    domid: u16,
    remote: u32,
    /// A port has one other end: only while it is here, nobody else can come.
    port: Option<(EvtChn, Port)>,
}

impl Enemy {
    fn new(store: &mut Store, domid: u16, path: &str) -> Enemy {
        let [page, remote] = ["ring-ref", "event-channel"].map(|key| number(store, path, key));
        let page = GntDev::open().unwrap().map(domid, &[page]).unwrap();
        Enemy { page, domid, remote, port: None }
    }

    fn come(&mut self) {
        let evtchn = EvtChn::open().unwrap();
        let port = evtchn.bind_interdomain(self.domid, self.remote).unwrap();
        self.port = Some((evtchn, port));
    }

    fn go(&mut self) {
        self.write(CLI_LIVE, &[0], 1);
        self.port = None;
    }

    /// Writes, and sends events, more than there is a reason for.
    fn write(&self, at: usize, bytes: &[u8], events: usize) {
        self.page.write(at, bytes);
        if let Some((evtchn, port)) = &self.port {
            (0..events).for_each(|_| evtchn.notify(*port).unwrap());
        }
    }
}

/// What runs in dom0.
fn the_enemy(domid: u16) {
    let mut store = Store::open().unwrap();
    let path = |name| path(domid, name);
    let control = path("control");
    let mut seed = 7u32;
    let mut random = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize
    };
    // Both streams' pages, so that one who comes in by either is the enemy of the other.
    let mut enemies = ["control", "host"].map(|name| Enemy::new(&mut store, domid, &path(name)));
    for turn in 0..5 {
        for enemy in &mut enemies {
            enemy.come();
            match turn {
                // Indices that cannot be, from the first byte of a connection on.
                0 => {
                    enemy.write(CLI_LIVE, &[1], 1);
                    enemy.write(LEFT_PROD, &u32::MAX.to_le_bytes(), 1);
                    enemy.write(RIGHT_CONS, &0x8000_0000_u32.to_le_bytes(), 1);
                }
                // A storm about nothing.
                1 => enemy.write(CLI_LIVE, &[2], 20_000),
                // One who comes and goes.
                2 => (0..2_000).for_each(|n| enemy.write(CLI_LIVE, &[n as u8 % 2], 1)),
                // A ring of bytes that mean nothing, said to be full for ever.
                3 => {
                    enemy.write(CLI_LIVE, &[1], 1);
                    for n in 1..500u32 {
                        enemy.write(LEFT_PROD, &(n * 4096).to_le_bytes(), 1);
                    }
                }
                // Anything anywhere, but for what stays as the guest wrote it.
                _ => (0..3_000).for_each(|_| {
                    let at = [random() % ORDERS, CLI_LIVE + random() % 4][random() % 2];
                    enemy.write(at, &[random() as u8], random() % 3);
                }),
            }
        }
        enemies.iter_mut().for_each(Enemy::go);
        drop(honest(domid, &control));
        println!("turn {turn}: the next client is served");
    }

    // A domain may lie as well: of what it says where, dom0 believes nothing.
    let [enemy, _] = &enemies;
    let mut refused = |why: &str| {
        let until = Instant::now() + PATIENCE;
        loop {
            match Vchan::open(&mut store, domid, &control, Takes::Fresh) {
                Err(Open::NotYet(why)) => assert!(Instant::now() < until, "{why}"),
                other => break assert_eq!(other.unwrap_err().to_string(), why),
            }
        }
    };
    let mut orders = [0; 4];
    enemy.page.read(ORDERS, &mut orders);
    enemy.write(ORDERS, &[77, 0, 9, 0], 1);
    refused("rings of orders 77 and 9: they are 12 to 20");
    enemy.write(ORDERS, &orders, 1);

    // A page that is mapped stays, whatever becomes of its domain.
    let mut stream = honest(domid, &control);
    assert!(Command::new("xl").args(["destroy", "hello"]).status().unwrap().success());
    assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)));
    assert!(stream.write_all(&vec![0; 1 << 20]).is_err());
    let mut bytes = [0; 4096];
    enemy.page.read(0, &mut bytes);
    enemy.page.write(0, &bytes);
    assert!(Vchan::open(&mut store, domid, &control, Takes::Fresh).is_err());
}
