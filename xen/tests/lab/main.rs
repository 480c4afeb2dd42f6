//! A guest and those who are its enemies, or it theirs, on a real Xen: this program runs once
//! more in dom0, as an enemy.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use atoll_lab::xen::Lab;
use atoll_xen::dom0::{Store, Stream};
use atoll_xen::store::{Answer, NO_TRANSACTION, Request};
use atoll_xen::vchan::Takes;

mod born;
mod enemy;
mod lent;
mod ring;
mod table;

/// Says that this is what runs in dom0, and of which domain it is the enemy.
const ENEMY_OF: &str = "ATOLL_ENEMY_OF";
const PATIENCE: Duration = Duration::from_secs(60);

/// Does something to a guest: the test of that name, which calls this, is run in a lab's dom0.
/// Whatever was done, nothing of the guest stays once it is destroyed.
fn in_dom0(name: &str, enemy: impl FnOnce(u16)) {
    if let Ok(domid) = std::env::var(ENEMY_OF) {
        return enemy(domid.trim().parse().unwrap());
    }
    let Some(lab) = Lab::for_test() else { return };
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/atoll/images/hello.img");
    assert!(image.is_file(), "{} is not built: cargo xtask test lab does", image.display());
    lab.bring("hello.img", &image).unwrap();
    lab.bring("enemy", &std::env::current_exe().unwrap()).unwrap();
    lab.put("cfg", b"name=\"hello\"\ntype=\"pvh\"\nkernel=\"/mnt/hello.img\"\nmemory=4\nvcpus=1\n")
        .unwrap();
    lab.ok("xl create -q /mnt/cfg 2>/dev/null").unwrap();
    let script = format!("{ENEMY_OF}=$(xl domid hello) /mnt/enemy --exact {name} --nocapture 2>&1");
    let out = lab.run(&script).unwrap();
    assert!(out.status == 0 && out.text().contains("1 passed"), "{}\n{}", out.text(), lab.log());
    // Nothing that it had mapped keeps what is left of the domain.
    let until = Instant::now() + PATIENCE;
    while lab.ok("xl list").unwrap().lines().count() != 2 {
        assert!(Instant::now() < until, "{}", lab.ok("xl list").unwrap());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Where a domain says where a stream is.
fn path(domid: u16, name: &str) -> String {
    format!("/local/domain/{domid}/data/vchan/{name}")
}

fn number(store: &mut Store, path: &str, key: &str) -> u32 {
    let until = Instant::now() + PATIENCE;
    loop {
        match store.ask(NO_TRANSACTION, &Request::Read(&format!("{path}/{key}"))) {
            Ok(Answer::Value(value)) => return String::from_utf8(value).unwrap().parse().unwrap(),
            other => assert!(Instant::now() < until, "{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One who keeps the rules: is answered in 9P.
fn honest(domid: u16, path: &str) -> Stream {
    let mut stream =
        Stream::open(Store::open().unwrap(), domid, path, Takes::Fresh, PATIENCE).unwrap();
    greet(&mut stream);
    stream
}

/// Asks, and is answered.
fn greet(stream: &mut Stream) {
    let version = b"\x15\0\0\0\x64\xff\xff\0\x20\0\0\x08\x009P2000.L";
    stream.write_all(version).unwrap();
    let mut head = [0; 7];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[4], 101, "{head:?}");
    stream.read_exact(&mut [0; 14]).unwrap();
}
