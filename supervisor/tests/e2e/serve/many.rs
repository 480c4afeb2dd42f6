//! Many guests under one daemon, each alive and answering: the number that every run of the
//! tests can bear. `cargo xtask bench density` has thousands.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Mutex;
use std::thread;

use atoll_9p::client::blocking::Connection;
use atoll_9p::types::unlink;

use super::Daemon;
use crate::fixture::{backends, image};

/// Guests as processes, and on QEMU.
const PROCESSES: usize = 200;
const MACHINES: usize = 20;
/// Clients that start and ask them.
const CLIENTS: usize = 8;

/// Does something with each guest, several at a time, each client over a connection of its own.
fn each<T: Send>(
    daemon: &Daemon,
    guests: &[(String, &str)],
    f: impl Fn(&Connection, &str, &str) -> T + Sync,
) -> Vec<T> {
    let rest = Mutex::new(guests.iter());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let tree = daemon.tree();
                loop {
                    let next = rest.lock().unwrap().next();
                    let Some((name, on)) = next else { return };
                    let value = f(&tree, name, on);
                    done.lock().unwrap().push(value);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

#[test]
fn two_hundred_processes_and_twenty_machines_live_and_answer() {
    let mut daemon = Daemon::start();
    let hash = daemon.ok(&["images", "add", image("hello").to_str().unwrap()]);
    let hash = hash.trim();
    let mut guests = Vec::new();
    for on in backends() {
        let count = if *on == "qemu" { MACHINES } else { PROCESSES };
        guests.extend((0..count).map(|i| (format!("{on}-{i:03}"), *on)));
    }
    each(&daemon, &guests, |tree, name, on| {
        tree.mkdir(&format!("guests/{name}"), 0o755).unwrap();
        let config = format!("image = \"{hash}\"\non = \"{on}\"\naccel = \"tcg\"\n");
        tree.write(&format!("guests/{name}/config"), config.as_bytes()).unwrap();
        for line in ["commit", "start"] {
            let done = tree.write(&format!("guests/{name}/ctl"), line.as_bytes());
            done.unwrap_or_else(|e| panic!("{name} {line}: {e}"));
        }
    });
    let answers = |daemon: &Daemon| {
        each(daemon, &guests, |tree, name, _| {
            let said = tree.read(&format!("guests/{name}/fs/name"));
            assert_eq!(said.unwrap_or_else(|e| panic!("{name}: {e}")), b"hello\n");
        });
    };
    answers(&daemon);

    // Each is in the list, with a process of its own.
    let list = daemon.ok(&["ps", "-q", "-r"]);
    let names: BTreeSet<&str> = guests.iter().map(|(name, _)| &**name).collect();
    assert_eq!(list.lines().collect::<BTreeSet<_>>(), names);
    let pids = |daemon: &Daemon| -> BTreeSet<String> {
        let index = daemon.ok(&["cat", "@", "/index"]);
        index.split_whitespace().filter(|w| w.starts_with("pid=")).map(str::to_owned).collect()
    };
    let before = pids(&daemon);
    assert_eq!(before.len(), guests.len());

    // Whoever comes after a supervisor that was killed has all of them, as they are.
    daemon.kill();
    // Who comes before it has found all of them is served like who comes later.
    let socket = daemon.place.dir.path().join("atoll/supervisor");
    let early = guests.iter().map(|(name, _)| format!("guests/{name}/fs/name")).collect::<Vec<_>>();
    let early = thread::spawn(move || {
        let tree = loop {
            match Connection::unix(&socket) {
                Ok(tree) => break tree,
                Err(_) => thread::yield_now(),
            }
        };
        for path in early.iter().rev() {
            let said = tree.read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(said, b"hello\n");
        }
    });
    daemon.begin();
    early.join().unwrap();
    let text = format!("{0} guests, {0} running", guests.len());
    assert!(daemon.said().contains(&text), "{}", daemon.said());
    assert_eq!(pids(&daemon), before);
    answers(&daemon);

    // The logs of all are followed at once, and each follower hears of its own guest's end.
    let followers: Vec<_> = guests
        .iter()
        .map(|(name, _)| {
            let mut log = daemon.tree().open(&format!("guests/{name}/log")).unwrap();
            let mut buf = [0; 4096];
            assert!(log.read(&mut buf).unwrap() > 0);
            thread::spawn(move || {
                let mut said = String::new();
                while !said.contains("atoll: is asked to stop\n") {
                    let n = log.read(&mut buf).unwrap();
                    said += std::str::from_utf8(&buf[..n]).unwrap();
                }
            })
        })
        .collect();
    each(&daemon, &guests, |tree, name, _| {
        tree.write(&format!("guests/{name}/ctl"), b"stop").unwrap();
    });
    followers.into_iter().for_each(|f| f.join().unwrap());
    each(&daemon, &guests, |tree, name, _| {
        assert!(tree.read(&format!("guests/{name}/wait")).unwrap().starts_with(b"1 exited 0 "));
        tree.remove(&format!("guests/{name}"), unlink::DIR).unwrap();
    });
    daemon.finish();
}
