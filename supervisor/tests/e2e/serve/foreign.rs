//! Guests that are none of ours: run, logged, paused, stopped and killed as machines are.
//!
//! The kernel is one of the test's own, of 150 bytes: it says what it was given on its serial
//! port and then does what the first letter of its command line means: `b` waits for the power
//! button and turns the machine off, `r` resets it, and everything else waits for ever.

use std::path::PathBuf;

use super::Daemon;
use crate::fixture::backends;

/// Where the program lies in memory, and its code in the file.
const BASE: u32 = 0x10_0000;
const CODE: u32 = 0x100;
/// Prints what `esi` points at, up to a zero: mov dx, COM1; lodsb; test; jz; out; jmp.
const PRINT: &[u8] = &[0x66, 0xba, 0xf8, 3, 0xac, 0x84, 0xc0, 0x74, 3, 0xee, 0xeb, 0xf8];
/// mov al, '\n'; out dx, al
const LINE: &[u8] = &[0xb0, 10, 0xee];
/// mov esi, [ebx + 24]: the command line, as PVH's start of day has it.
const APPEND: &[u8] = &[0x8b, 0x73, 0x18];

/// An ELF program with a PVH entry. (Xen, docs/misc/pvh.pandoc; ACPI 6.5, 4.8.3: the power
/// button's status and enable bits, and how a machine is turned off.)
fn kernel() -> Vec<u8> {
    let mut code = vec![0xfa, 0xfc, 0xbe]; // cli; cld; mov esi, MESSAGE
    let message = code.len();
    code.extend([0; 4]);
    for part in [PRINT, APPEND, PRINT, LINE] {
        code.extend(part);
    }
    // The first module, which is the initial file system, where there is one.
    code.extend([0x83, 0x7b, 0x0c, 0, 0x74, 20, 0x8b, 0x43, 0x10, 0x8b, 0x30]);
    for part in [PRINT, LINE, APPEND] {
        code.extend(part);
    }
    code.extend([0x8a, 0x06, 0x3c, b'b', 0x74, 13, 0x3c, b'r', 0x74, 3]);
    code.extend([0xf4, 0xeb, 0xfd]); // hlt, for ever
    code.extend([0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xf7]); // the keyboard's controller resets
    code.extend([0x66, 0xba, 2, 6, 0x66, 0xb8, 0, 1, 0x66, 0xef]); // PM1_EN: the button
    code.extend([0x66, 0xba, 0, 6, 0xf3, 0x90, 0x66, 0xed, 0xf6, 0xc4, 1, 0x74, 0xf7]);
    code.extend([0x66, 0xba, 4, 6, 0x66, 0xb8, 0, 0x20, 0x66, 0xef, 0xf4, 0xeb, 0xfd]);
    let at = BASE + CODE + code.len() as u32;
    code[message..message + 4].copy_from_slice(&at.to_le_bytes());
    code.extend(b"hello from elsewhere: \0");

    let len = u64::from(CODE) + code.len() as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    elf.resize(16, 0);
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]); // an executable for x86-64
    for n in [u64::from(BASE + CODE), 64, 0] {
        elf.extend(n.to_le_bytes()); // entry, program headers, sections
    }
    for n in [0, 0, 64, 56, 2, 64, 0, 0u16] {
        elf.extend(n.to_le_bytes()); // flags twice, and sizes and counts of headers
    }
    let base = u64::from(BASE);
    for (ty, flags, offset, len) in [(1u32, 7u32, 0, len), (4, 4, 176, 24)] {
        elf.extend(ty.to_le_bytes());
        elf.extend(flags.to_le_bytes());
        for n in [offset, base + offset, base + offset, len, len, 4] {
            elf.extend(n.to_le_bytes());
        }
    }
    for n in [4, 8, 18, u32::from_le_bytes(*b"Xen\0"), BASE + CODE, 0] {
        elf.extend(n.to_le_bytes());
    }
    elf.resize(CODE as usize, 0);
    [elf, code].concat()
}

impl Daemon {
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path: PathBuf = self.place.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().into()
    }
}

#[test]
fn a_foreign_guest_is_run_logged_paused_stopped_and_killed() {
    if !backends().contains(&"qemu") {
        return;
    }
    let mut daemon = Daemon::start();
    let kernel = daemon.file("alien.elf", &kernel());
    let files = daemon.file("files", b"and brought files\0");
    let run = ["run", "-d", "--kernel", &kernel, "--initrd", &files];
    let more = ["--append", "button \"a b\"", "--name", "a"];
    assert_eq!(daemon.ok(&[&run[..], &more].concat()), "a\n");
    let mut log = daemon.follow(&["logs", "-f", "a"]);
    log.wait_for("on qemu (");
    log.wait_for("hello from elsewhere: button \"a b\"");
    log.wait_for("and brought files");
    assert_eq!(daemon.status("a", "program"), "alien-elf");
    assert!(daemon.status("a", "backend").starts_with("qemu ("));
    let takes = daemon.ok(&["ctl", "a"]);
    assert_eq!(takes, "commit\nstop [MS]\nkill\npause\nrestart [MS]\n");

    // What it has not is refused, and nothing happens.
    let (code, why) = daemon.fails(&["ls", "@", "/guests/a/fs"]);
    assert!(code == 1 && why.contains("a is none of Atoll's guests, and has no tree"), "{why}");
    for line in [&["checkpoint"][..], &["restore", "1"], &["fork", "b"]] {
        let (_, why) = daemon.fails(&[&["ctl", "a"], line].concat());
        assert!(why.contains("keep no checkpoints"), "{why}");
    }
    daemon.ok(&["pause", "a"]);
    assert_eq!(daemon.status("a", "state"), "paused");
    daemon.ok(&["resume", "a"]);

    // It outlives the supervisor, and a paused one is resumed to be stopped: its power button
    // is pressed, which this one heeds.
    daemon.ok(&["pause", "a"]);
    daemon.kill();
    daemon.begin();
    assert_eq!(daemon.status("a", "state"), "paused");
    daemon.ok(&["stop", "-t", "60", "a"]);
    assert_eq!(
        (daemon.status("a", "how"), daemon.status("a", "state")),
        ("exited".into(), "stopped".into())
    );
    log.wait_for("its power button is pressed");

    // The same image is there under its hash, and one that does not heed it is killed.
    let images = daemon.ok(&["images"]);
    let hash = images.lines().nth(1).unwrap().split(' ').next().unwrap();
    daemon.ok(&["create", hash, "--name", "b"]);
    let deaf = daemon.ok(&["images", "add", "--kernel", &kernel, "--name", "deaf"]);
    assert_eq!(daemon.ok(&["run", "-d", deaf.trim()]), "deaf\n");
    let mut log = daemon.follow(&["logs", "-f", "deaf"]);
    log.wait_for("hello from elsewhere:");
    daemon.ok(&["stop", "-t", "0.1", "deaf"]);
    assert_eq!(daemon.status("deaf", "how"), "killed");
    daemon.ok(&["start", "deaf"]);
    daemon.ok(&["kill", "deaf"]);
    assert_eq!(daemon.ok(&["cat", "@", "/guests/deaf/wait"]), "2 killed\n");
    daemon.finish();
}

#[test]
fn a_foreign_guest_that_resets_its_machine_has_failed() {
    if !backends().contains(&"qemu") {
        return;
    }
    let daemon = Daemon::start();
    let kernel = daemon.file("alien.elf", &kernel());
    let args = ["--kernel", &kernel, "--append", "reset", "--name", "r"];
    daemon.ok(&[&["create"], &args[..], &["--restart", "on-failure"]].concat());
    let mut events = daemon.follow(&["events", "-f", "r"]);
    let _ = daemon.place.run(&["start", "r"]);
    events.wait_for("ended lost: the machine reset itself");
    events.wait_for("again in 500 ms, failures 1");
    events.wait_for("r#2 running");
    let _ = daemon.place.run(&["stop", "r"]);
    drop(events);
    daemon.finish();
}

#[test]
fn what_no_machine_can_start_is_refused_with_why() {
    let daemon = Daemon::start();
    let alien = daemon.file("alien.elf", &kernel());
    let text = daemon.file("text", b"#!/bin/sh\n");
    let own = crate::fixture::atoll().to_str().unwrap();
    let hello = crate::fixture::image("hello");
    let hello = hello.to_str().unwrap();
    for (args, code, says) in [
        (&["create", "--kernel", &text][..], 1, "neither a Linux kernel (bzImage) nor an ELF"),
        (&["create", "--kernel", own], 1, "without a PVH entry"),
        (&["create", "--kernel", hello], 2, "leave --kernel out"),
        (&["create", hello, "--kernel", &alien], 2, "cannot be used with"),
        (&["create", hello, "--append", "x"], 2, "--append goes with --kernel"),
        (&["run", hello, "--initrd", &text], 2, "--initrd goes with --kernel"),
        (&["create", "--kernel", &alien, "--append", "a\nb"], 1, "one line"),
        (&["create", "--kernel", &alien, "--on", "process"], 2, "runs on qemu only"),
        (&["create", "--kernel", &alien, "--resume"], 2, "keep no checkpoints"),
        (&["create", "--kernel", &alien, "--listen", "tcp:127.0.0.1:0"], 2, "no tree to serve"),
        (&["create", "--kernel", &alien, "--export", "a=/"], 2, "no import of that name"),
        (&["create", "beef"], 2, "no image's hash begins so"),
        (&["create"], 2, "<IMAGE>"),
        (&["run", "--kernel", &alien], 2, "--kernel needs -d"),
    ] {
        let (got, why) = daemon.fails(args);
        assert!(got == code && why.contains(says), "{args:?}: {got}: {why}");
    }
    assert_eq!(daemon.ok(&["ps", "-q"]), "");
    daemon.finish();
}
