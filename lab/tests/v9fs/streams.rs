//! When a line of a stream is seen.
//!
//! The kernel's client answers a read when its buffer is full or the server has
//! nothing more (`p9_client_read`), and asks for one message's worth at a time. So it
//! comes back for the rest of the buffer, and the server, which knows this by a count
//! that is less than the one before, answers that with nothing. A buffer that is
//! larger than a message is asked for in counts that are all the same: what comes
//! then may be the next read of a program, to which nothing would be the end of the
//! file, and has to wait. The line is in the kernel meanwhile, and is not seen.
//!
//! So `msize` has to be 24 bytes more than a reader's buffer (`P9_IOHDRSZ`). If it is
//! that much less, a line is seen that is longer than what is missing, and no other.

use atoll_9p::access::Identity;
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Files, Synth};
use atoll_lab::linux::Linux;
use atoll_lab::nine::{Server, Way};

use crate::mounts::{Mount, held};
use crate::report::Report;

/// busybox's cat asks sendfile for much, which reads 64 KiB at a time (a pipe's 16
/// pages); that of GNU has a buffer of 128 KiB, and shells read byte by byte.
const CAT: &str = "cat /mnt/log";
const GNU_CAT: &str = "gnu-cat /mnt/log";
const SHELL: &str = "while read -r line; do echo \"$line\"; done </mnt/log";
/// Reads to the end before it shows anything, whatever it is told, and a stream has none.
const TAIL: &str = "tail -n +1 -f /mnt/log";

struct Row {
    version: &'static str,
    msize: u32,
    program: &'static str,
    /// Whether it shows a line while it waits for the next.
    shows: bool,
}

const fn row(version: &'static str, msize: u32, program: &'static str, shows: bool) -> Row {
    Row { version, msize, program, shows }
}

const L: &str = "9p2000.L";
const PLAIN: &str = "9p2000";

const ROWS: &[Row] = &[
    row(L, 4096, CAT, false),
    row(L, 4096, SHELL, true),
    row(L, 64 << 10, CAT, false),
    row(L, (64 << 10) + 24, CAT, true),
    row(L, 128 << 10, GNU_CAT, false),
    row(L, 262_144, CAT, true),
    row(L, 262_144, GNU_CAT, true),
    row(L, 262_144, SHELL, true),
    row(L, 262_144, TAIL, false),
    row(PLAIN, 4096, CAT, false),
    row(PLAIN, 4096, SHELL, true),
    row(PLAIN, 262_144, CAT, true),
    // The buffer is a block of the file, which here is a message rounded up.
    row(PLAIN, 262_144, GNU_CAT, false),
    row(PLAIN, 262_144 + 24, GNU_CAT, true),
    row(PLAIN, 262_144, TAIL, false),
];

fn tree() -> Files<'static, Stream> {
    let mut synth = Synth::new();
    let root = synth.root();
    synth.stream(root, "log", |s: &mut Stream| s);
    let mut log = Stream::new(4096);
    log.push("first");
    Files { synth, state: log }
}

/// The line is there before anybody reads. So a read that waits at the server is the
/// program's second, and it has written the line; or still its first, and never will.
fn case(linux: &Linux, row: &Row, way: Way) {
    let server = Server::start_on(way, Identity::Owner, tree).unwrap();
    let options = format!("version={},msize={},cache=none", row.version, row.msize);
    let mount = Mount { name: "", options: &options, cached: false, way };
    mount.at(linux, server.port(), "/mnt");
    let reader = linux.start(row.program).unwrap();
    held(&server, |held| held.iter().any(|h| h.waiting == 1));
    if row.shows {
        // Again, at a place that is not the start.
        server.with(|t| t.state.push("second"));
        held(&server, |held| held.iter().any(|h| h.waiting == 1));
    }
    // busybox's shell goes on reading after SIGINT.
    let (signal, status) = if row.program == SHELL { ("TERM", 143) } else { ("INT", 130) };
    reader.signal(signal).unwrap();
    let out = reader.wait().unwrap();
    assert_eq!(
        (out.text().trim_end_matches("Terminated\n"), out.status),
        (if row.shows { "first\nsecond\n" } else { "" }, status)
    );
    held(&server, |held| held.iter().all(|h| h.waiting == 0));
    linux.ok("umount /mnt").unwrap();
    held(&server, <[_]>::is_empty);
}

pub(crate) fn run(linux: &Linux, report: &mut Report) {
    for (row, way) in ROWS.iter().flat_map(|row| [(row, Way::Sessions), (row, Way::Joint)]) {
        let shows = if row.shows { "shows a line at once" } else { "shows nothing" };
        let way_is = if way == Way::Joint { ", through the joint" } else { "" };
        let name = format!("{}, msize={}{way_is}: {} {shows}", row.version, row.msize, row.program);
        report.case(linux, &name, || case(linux, row, way));
    }
}
