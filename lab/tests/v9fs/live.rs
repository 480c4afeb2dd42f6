//! Computed files and streams. A case is a name and a function over the guest; it
//! mounts what it wants and leaves nothing mounted.

use atoll_9p::access::Identity;
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Files, Synth, Verb};
use atoll_lab::linux::{JOBS, Linux};
use atoll_lab::nine::{Held, Server};

use crate::mounts::{MOUNTS, Mount, held};
use crate::report::Report;

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

/// A case at work.
struct Bench<'l> {
    linux: &'l Linux,
    server: &'l Server<Tree>,
    mount: &'l Mount<'l>,
}

impl Bench<'_> {
    fn mount(&self, at: &str) {
        self.mount.at(self.linux, self.server.port(), at);
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

    fn held(&self, what: impl Fn(&[Held]) -> bool) {
        held(self.server, what);
    }
}

/// Which mounts a case is for.
#[derive(Clone, Copy, PartialEq)]
enum For {
    All,
    /// Those that show what there is now.
    Uncached,
    /// The others.
    Cached,
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
    ("lengths are believed", For::Cached, believed),
];

fn listed(b: &Bench<'_>) {
    b.mount("/mnt");
    assert_eq!(b.ok("ls /mnt"), NAMES);
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
    if b.mount.has_numbers() {
        assert!(bad.contains("Invalid argument"), "{bad}");
    } else {
        // An error is words, of which this client knows Linux's own. Of others it
        // makes a number that has no name, and it puts them into its log. Only one that
        // has proposed 9P2000.u is known to want Linux's.
        assert!(bad.contains("nknown error 526"), "{bad}");
        let said = b.linux.complaints().unwrap();
        assert!(said.len() == 1 && said[0].contains("no command in \"jump 9\""), "{said:?}");
    }
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
    // A signal that finds the client about to ask is put aside until there is an answer.
    b.held(|held| held.iter().any(|h| h.waiting == 1));
    one.signal("TERM").unwrap();
    assert_eq!(one.wait().unwrap().status, 143);
    b.umount("/tmp/one");
    b.held(|held| held.len() == 1);
    assert_eq!(b.ok("cat /tmp/two/README"), "A tree for a test.\n");
    b.umount("/tmp/two");
}

/// What is computed when it is read says that it has no bytes, and none are asked for.
fn believed(b: &Bench<'_>) {
    b.mount("/mnt");
    for file in ["level", "ctl", "log"] {
        assert_eq!(b.ok(&format!("cat /mnt/{file}")), "", "{file}");
    }
    b.umount("/mnt");
}

fn measured(b: &Bench<'_>) {
    b.mount("/mnt");
    // Type (V9FS_MAGIC), block size.
    assert_eq!(b.ok("stat -f -c '%t %s' /mnt"), "1021997 4096\n");
    assert!(b.ok("df -a /mnt").contains("/mnt"));
    b.umount("/mnt");
}

pub(crate) fn run(linux: &Linux, report: &mut Report) {
    for mount in MOUNTS {
        for (name, which, case) in CASES {
            if *which == if mount.cached { For::Uncached } else { For::Cached } {
                continue;
            }
            report.case(linux, &format!("{}: {name}", mount.name), || {
                // A server of its own each: what one leaves behind is seen here.
                let server = Server::start_on(mount.way, Identity::Owner, tree).unwrap();
                let bench = Bench { linux, server: &server, mount };
                case(&bench);
                bench.held(<[Held]>::is_empty);
            });
        }
    }
}
