//! Our server under the 9P client that people have: the Linux kernel's.
//!
//! One guest is booted for all of it, since a boot is what costs. A case is a name
//! and a function over that guest; it mounts what it wants and leaves nothing
//! mounted. Every case is run and reported, and after each the guest's kernel must
//! have had nothing to complain about.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use atoll_9p::stream::Stream;
use atoll_9p::synth::{Files, Synth, Verb};
use atoll_lab::door::HOST;
use atoll_lab::linux::{JOBS, Linux, PATIENCE, Setup};
use atoll_lab::nine::{Held, Server};

/// What the files of the tree show.
struct State {
    level: u64,
    log: Stream,
}

type Tree = Files<'static, State>;

const VERBS: &[Verb] = &[Verb::new("level", "N", 1), Verb::new("say", "WORD", 1)];

/// What `ls` shows of it.
const NAMES: &str = "README\na\nbig\nctl\nempty\nlevel\nlog\nmany\n";

/// More than any one message carries, and of no even size.
const BIG: usize = 300_001;

fn big() -> &'static [u8] {
    Box::leak((0..BIG).map(|i| (i * 7 + i / 251) as u8).collect::<Vec<u8>>().into_boxed_slice())
}

fn tree() -> Tree {
    let mut synth = Synth::new();
    let root = synth.root();
    synth.bytes(root, "README", b"A tree for a test.\n");
    synth.bytes(root, "empty", b"");
    synth.bytes(root, "big", big());
    synth.text(root, "level", |s: &mut State, out| {
        *out += &format!("{}\n", s.level);
        Ok(())
    });
    synth.ctl(root, "ctl", VERBS, |s: &mut State, c| {
        match c.verb {
            "level" => s.level = c.number(0)?,
            _ => s.log.push(c.arg(0)),
        }
        Ok(())
    });
    synth.stream(root, "log", |s: &mut State| &mut s.log);
    let many = synth.dir(root, "many");
    for i in 0..500 {
        synth.bytes(many, format!("file-with-a-long-name-{i:03}"), b"x");
    }
    let deep = synth.dir(root, "a");
    let deeper = synth.dir(deep, "b");
    synth.bytes(deeper, "c", b"deep\n");
    Files { synth, state: State { level: 0, log: Stream::new(4096) } }
}

/// A way to mount.
struct Mount {
    name: &'static str,
    options: &'static str,
    /// The client keeps what it read, and believes sizes: a computed file, which
    /// says 0, is not read at all, and a write is sent when it suits the client.
    cached: bool,
}

/// Every case that can be is run with each.
const MOUNTS: &[Mount] = &[
    Mount { name: "9P2000.L", options: "version=9p2000.L,msize=65536,cache=none", cached: false },
    Mount {
        name: "9P2000.L, small messages",
        options: "version=9p2000.L,msize=4096,cache=none",
        cached: false,
    },
    Mount {
        name: "9P2000.L, cached",
        options: "version=9p2000.L,msize=65536,cache=loose",
        cached: true,
    },
];

/// A case at work.
struct Bench<'l> {
    linux: &'l Linux,
    server: &'l Server<Tree>,
    mount: &'l Mount,
}

impl Bench<'_> {
    fn mount(&self, at: &str) {
        let (port, options) = (self.server.port(), self.mount.options);
        let options = format!("trans=tcp,port={port},{options}");
        self.ok(&format!("mkdir -p {at} && mount -t 9p -o {options} {HOST} {at}"));
    }

    fn umount(&self, at: &str) {
        self.ok(&format!("umount {at}"));
    }

    fn ok(&self, script: &str) -> String {
        self.linux.ok(script).unwrap()
    }

    /// The status and the complaint of what must fail.
    fn fails(&self, script: &str) -> String {
        let out = self.linux.run(script).unwrap();
        assert_ne!(out.status, 0, "`{script}` should fail: {}", out.text());
        out.text()
    }

    /// Waits until the server's connections hold something. It hears of what a guest
    /// did a little later.
    fn held(&self, what: impl Fn(&[Held]) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let held = self.server.held();
            if what(&held) {
                return;
            }
            assert!(Instant::now() < until, "the server still holds {held:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Which mounts a case is for.
#[derive(Clone, Copy, PartialEq)]
enum For {
    All,
    /// Those that show what there is now.
    Uncached,
}

type Case = (&'static str, For, fn(&Bench<'_>));

const CASES: &[Case] = &[
    ("a tree is listed whole", For::All, listed),
    ("files are read at any place", For::All, read),
    ("what cannot be is refused", For::All, refused),
    ("a file system is measured", For::All, measured),
    ("a command is written and seen", For::Uncached, commanded),
    ("a stream is followed", For::Uncached, followed),
    ("readers that wait are interrupted", For::Uncached, interrupted),
    ("a stream reaches two mounts", For::Uncached, joined),
];

fn listed(b: &Bench<'_>) {
    b.mount("/mnt");
    assert_eq!(b.ok("ls /mnt"), NAMES);
    assert_eq!(b.ok("ls /mnt/many | wc -l"), "500\n");
    assert_eq!(b.ok("ls /mnt/many | sort -u | wc -l"), "500\n");
    assert_eq!(b.ok("find /mnt/a"), "/mnt/a\n/mnt/a/b\n/mnt/a/b/c\n");
    assert_eq!(b.ok("cd /mnt/a/b && cat ../../a/b/c"), "deep\n");
    assert_eq!(
        b.ok("stat -c '%A %s' /mnt/big /mnt/a"),
        format!("-r--r--r-- {BIG}\ndr-xr-xr-x 0\n")
    );
    b.umount("/mnt");
}

fn read(b: &Bench<'_>) {
    b.mount("/mnt");
    assert_eq!(b.ok("cat /mnt/README"), "A tree for a test.\n");
    assert_eq!(b.ok("cat /mnt/empty"), "");
    assert_eq!(b.ok("wc -c </mnt/big"), format!("{BIG}\n"));
    let out = b.linux.run("cat /mnt/big").unwrap();
    assert!(out.bytes == big(), "{} bytes, but others", out.bytes.len());
    for (size, skip, count) in [(1, 299_999, 5), (1000, 7, 3), (65_536, 4, 9), (7, 1000, 2000)] {
        let dd = format!("dd if=/mnt/big bs={size} skip={skip} count={count} 2>/dev/null");
        let out = b.linux.run(&dd).unwrap();
        let want = &big()[(size * skip).min(BIG)..(size * (skip + count)).min(BIG)];
        assert!(out.status == 0 && out.bytes == want, "{dd}: {} bytes", out.bytes.len());
    }
    b.umount("/mnt");
}

fn commanded(b: &Bench<'_>) {
    b.mount("/mnt");
    b.ok("echo level 7 >/mnt/ctl");
    assert_eq!(b.server.with(|t| t.state.level), 7);
    b.ok("echo level 8 >>/mnt/ctl");
    assert_eq!(b.server.with(|t| t.state.level), 8);
    assert_eq!(b.ok("cat /mnt/ctl"), "level N\nsay WORD\n");
    assert_eq!(b.ok("cat /mnt/level"), "8\n");
    b.server.with(|t| t.state.level = 9);
    assert_eq!(b.ok("cat /mnt/level"), "9\n");
    let bad = b.fails("echo jump 9 >/mnt/ctl");
    assert!(bad.contains("Invalid argument"), "{bad}");
    assert_eq!(b.ok("cat /mnt/level"), "9\n");
    b.umount("/mnt");
}

fn refused(b: &Bench<'_>) {
    b.mount("/mnt");
    for (script, why) in [
        ("cat /mnt/none", "No such file or directory"),
        ("cat /mnt/README/x", "Not a directory"),
        ("cat /mnt/a", "Is a directory"),
        ("ls /mnt/a/../none/b", "No such file or directory"),
    ] {
        let said = b.fails(script);
        assert!(said.contains(why), "{script}: {said}");
    }
    for script in
        ["mkdir /mnt/new", "touch /mnt/new", "rm /mnt/README", "mv /mnt/README /mnt/a/README"]
    {
        b.fails(script);
    }
    assert_eq!(b.ok("cat /mnt/README"), "A tree for a test.\n");
    assert_eq!(b.ok("ls /mnt"), NAMES);
    b.umount("/mnt");
}

/// Follows a stream. Reads as a shell does, byte by byte: this client answers a read
/// of more only when it has all of it, however often it has to ask the server, but
/// for a file that was opened with O_NONBLOCK (`p9_client_read` of Linux).
fn follow(file: &str) -> String {
    format!("while read -r line; do echo \"saw $line\"; done <{file}")
}

fn followed(b: &Bench<'_>) {
    b.mount("/mnt");
    b.server.with(|t| t.state.log.push("first"));
    let mut tail = b.linux.start(&follow("/mnt/log")).unwrap();
    tail.wait_for("saw first\n").unwrap();
    b.held(|held| held.iter().any(|h| h.waiting == 1));
    // Others are served meanwhile, by the same connection.
    assert_eq!(b.ok("cat /mnt/README"), "A tree for a test.\n");
    b.ok("echo say second >/mnt/ctl");
    tail.wait_for("saw second\n").unwrap();
    b.server.with(|t| t.state.log.push("third"));
    tail.wait_for("saw third\n").unwrap();
    b.held(|held| held.iter().any(|h| h.waiting == 1));
    // Its read waits, so what lets it end is the answer to the flush of that.
    tail.signal("TERM").unwrap();
    let out = tail.wait().unwrap();
    assert_eq!(out.status, 143, "{}", out.text());
    b.held(|held| held.iter().all(|h| h.waiting == 0));
    b.umount("/mnt");
}

/// As many readers as there are places, ended all at once.
fn interrupted(b: &Bench<'_>) {
    b.mount("/mnt");
    let tails: Vec<_> = (0..JOBS).map(|_| b.linux.start("cat /mnt/log").unwrap()).collect();
    b.held(|held| held.iter().map(|h| h.waiting).sum::<usize>() == JOBS);
    tails.iter().for_each(|tail| tail.signal("INT").unwrap());
    for tail in tails {
        assert_eq!(tail.wait().unwrap().status, 130);
    }
    b.held(|held| held.iter().all(|h| h.waiting == 0));
    // The connection has outlived it.
    assert_eq!(b.ok("cat /mnt/README"), "A tree for a test.\n");
    b.umount("/mnt");
}

fn joined(b: &Bench<'_>) {
    b.mount("/tmp/one");
    b.mount("/tmp/two");
    b.held(|held| held.len() == 2);
    let mut one = b.linux.start(&follow("/tmp/one/log")).unwrap();
    b.held(|held| held.iter().any(|h| h.waiting == 1));
    b.ok("echo say across >/tmp/two/ctl");
    one.wait_for("saw across\n").unwrap();
    one.signal("TERM").unwrap();
    assert_eq!(one.wait().unwrap().status, 143);
    b.umount("/tmp/one");
    b.held(|held| held.len() == 1);
    assert_eq!(b.ok("cat /tmp/two/README"), "A tree for a test.\n");
    b.umount("/tmp/two");
}

fn measured(b: &Bench<'_>) {
    b.mount("/mnt");
    // Type (V9FS_MAGIC), block size.
    assert_eq!(b.ok("stat -f -c '%t %s' /mnt"), "1021997 4096\n");
    assert!(b.ok("df -a /mnt").contains("/mnt"));
    b.umount("/mnt");
}

#[test]
fn the_kernels_client_is_served() {
    let linux = match Setup::new() {
        Ok(setup) => Linux::boot(setup).unwrap(),
        Err(why) => {
            eprintln!("skipped: {why:#}");
            return;
        }
    };
    let mut failed = Vec::new();
    for mount in MOUNTS {
        for (name, which, case) in CASES {
            if mount.cached && *which == For::Uncached {
                continue;
            }
            // A server of its own each: what one leaves behind is seen here.
            let server = Server::start(tree).unwrap();
            let bench = Bench { linux: &linux, server: &server, mount };
            let result = catch_unwind(AssertUnwindSafe(|| {
                case(&bench);
                bench.held(<[Held]>::is_empty);
                assert_eq!(linux.complaints().unwrap(), [""; 0], "the guest's kernel complains");
            }));
            let done = if result.is_ok() { "ok" } else { "FAILED" };
            println!("v9fs, {}: {name} ... {done}", mount.name);
            if result.is_err() {
                failed.push(format!("{}: {name}", mount.name));
                // For the next one: no mount, no old complaint. It may also be dead.
                let _ = linux.run(
                    "for m in $(grep ' 9p ' /proc/mounts | cut -d' ' -f2); do umount -l $m; done",
                );
                let _ = linux.complaints();
            }
        }
    }
    println!("the guest used {:.0} ms of CPU time", linux.cpu().unwrap());
    assert!(failed.is_empty(), "failed: {failed:#?}\nthe console: {}", linux.console());
}
