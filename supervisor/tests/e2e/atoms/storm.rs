//! A kill storm on QEMU: the kernel's watchdog comes at every odd moment, thousands of
//! times, every time it is needed, and what it does not kill notices nothing.
//!
//! The kernel has no instrumentation in an atom's code; an interrupt changes where the
//! machine goes on (`unikernel/src/wasm/watchdog.rs`). That rests on what wasmtime does
//! and does not do in its trampolines, which a new version may change. The tender's own
//! is in `engine/src/storm.rs`.

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use atoll_9p::client::blocking::{Connection, File};
use atoll_9p::types::OpenFlags;

use super::{build, connect, shows};
use crate::fixture::{Guest, Place, backends};

/// Runaway dispatches of each kind, by each victim.
const ROUNDS: usize = 40;
/// How long all of it may take, on the busiest of machines, before a kill counts as lost.
const PATIENCE: Duration = Duration::from_secs(300);
/// The limits of the victims, of which each is driven by a connection of its own: devices
/// interrupt, too, while one of the others is being killed.
const DEADLINES: [&str; 3] = ["400us", "700us", "1300us"];
/// What never ends, by letter in `storm.wat`.
const KINDS: &[u8] = b"ABCDEFGHIJK";

fn toml() -> String {
    let mut out = String::from(
        "[guest]\nname = \"storm\"\nversion = \"1\"\nmemory = \"16MiB\"\non_fault = \"restart\"\n",
    );
    let mut names = Vec::new();
    for (n, deadline) in DEADLINES.iter().enumerate() {
        for (name, deadline) in [(format!("v{n}"), *deadline), (format!("n{n}"), "1m")] {
            let limits = format!("memory = \"1MiB\"\ndeadline = \"{deadline}\"\n");
            out += &format!("[[atom]]\nname = \"{name}\"\npath = \"m.wat\"\n{limits}");
            names.push(format!("{name:?}"));
        }
    }
    out + &format!("[export]\nwrite = [{}]\n", names.join(", "))
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Killed,
    Trapped,
}

fn command(file: &mut File, what: &[u8]) -> End {
    match file.write_all(what) {
        Ok(()) => End::Done,
        Err(e) => match e.to_string() {
            t if t.contains("beyond its time") => End::Killed,
            t if t.contains("outside of its memory") => End::Trapped,
            other => panic!("{other}"),
        },
    }
}

/// What one connection has seen.
#[derive(Debug, Default)]
struct Seen {
    kills: u64,
    traps: u64,
    /// Kills of what would have ended: the machine was slow.
    hasty: u64,
}

/// What an atom has counted: this instance, and all of them. None where it was killed
/// while it told.
fn account(c: &Connection, name: &str) -> Option<(u64, u64)> {
    let text = c.read(&format!("export/{name}/count")).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (one, all) = text.trim_end().split_once(' ')?;
    Some((one.parse().ok()?, all.parse().ok()?))
}

/// The account of an atom that may be killed while it tells.
fn patiently(c: &Connection, name: &str) -> u64 {
    (0..100).find_map(|_| account(c, name)).unwrap().1
}

/// Lets a victim run away again and again. It does its own work in between, and so does
/// a neighbour.
fn drive(c: &Connection, n: usize) -> Seen {
    let (v, w) = (format!("v{n}"), format!("n{n}"));
    let open = |name: &str| c.open_for(&format!("export/{name}/do"), OpenFlags::WRONLY).unwrap();
    let (mut victim, mut neighbour) = (open(&v), open(&w));
    let mut seen = Seen::default();
    let (mut stored, mut counted) = (patiently(c, &v), patiently(c, &w));
    for round in 0..ROUNDS {
        for kind in KINDS {
            assert_eq!(command(&mut victim, &[*kind]), End::Killed, "{}", char::from(*kind));
            seen.kills += 1;
            // Its own work, which a busy machine may make too slow.
            while command(&mut victim, b"n") != End::Done {
                seen.hasty += 1;
            }
            stored += 1;
            assert_eq!(command(&mut neighbour, b"n"), End::Done);
            counted += 1;
        }
        // A trap, in about the moment of the kill.
        match command(&mut victim, &[b'L', 32 + (round * 7 % 90) as u8]) {
            End::Killed => seen.kills += 1,
            End::Trapped => seen.traps += 1,
            End::Done => panic!("it returned"),
        }
        assert_eq!(account(c, &w), Some((counted, counted)));
    }
    // What it had stored before is there, and nothing of what was killed.
    assert_eq!(patiently(c, &v), stored);
    seen
}

#[test]
fn thousands_of_runaway_dispatches_are_killed_and_nobody_else_notices() {
    if !backends().contains(&"qemu") {
        return;
    }
    let image = build(&toml(), include_str!("storm.wat"));
    let place = Place::new();
    let guest = Guest::start_image(&place, "storm", &image, "qemu", &[]);
    let mut before = None;
    // Twice, so that what the first time left behind is seen to be all.
    for _ in 0..2 {
        let (send, done) = mpsc::channel();
        for n in 0..DEADLINES.len() {
            let (c, send) = (connect(&place, "storm"), send.clone());
            std::thread::spawn(move || send.send(drive(&c, n)));
        }
        drop(send);
        let mut all = Seen::default();
        for _ in DEADLINES {
            // One that has panicked hangs up.
            let seen = done.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                std::thread::sleep(Duration::from_secs(1));
                panic!("{}", guest.said())
            });
            all.kills += seen.kills;
            all.traps += seen.traps;
            all.hasty += seen.hasty;
        }
        let least = (DEADLINES.len() * KINDS.len() * ROUNDS) as u64;
        assert!(all.kills >= least && all.traps > 0, "{all:?}");
        let c = connect(&place, "storm");
        let used = number(&shows(&c, "mem"), "used");
        let first = *before.get_or_insert(used);
        // Fewer bytes than a page for each of the kills.
        assert!(used < first + (256 << 10), "{first} bytes were in use, and now {used}");
    }
    guest.stop();
    place.assert_empty();
}

/// A number out of a record.
fn number(record: &str, key: &str) -> u64 {
    let line = record.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {key} in {record}")).parse().unwrap()
}
