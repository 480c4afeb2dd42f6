//! Files made of functions, one of each kind there is, for sessions to be tried on.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use atoll_9p::bytes::Bytes;
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Clones, Command, FileLimits, Files, Flow, Synth, Verb};

use crate::tree::Trial;

atoll_9p::record! {
    /// A record that clients may write.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Status = "status", 3 {
        /// Any number but 13.
        pub count: u64,
        /// Any text.
        pub name: String,
    }
}

/// What the files show.
#[derive(Debug)]
pub struct State {
    n: u64,
    status: Status,
    /// Streams that keep so little that readers fall behind.
    log: Stream,
    calls: BTreeMap<u64, Stream>,
    console: Bytes,
    input: Bytes,
}

const VERBS: &[Verb] = &[
    Verb::new("add", "N", 1),
    Verb::range("say", "WORDS", 1, 99),
    Verb::new("reset", "", 0),
    Verb::new("hangup", "", 0),
];

/// Clones at a time, and how many are kept that nobody has open.
const CLONES: usize = 3;
const KEPT: usize = 1;
/// Entries of the huge directory.
const HUGE: u64 = 1_000_000;

/// Names of every length, which are made once.
static MANY: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..40).map(|i| format!("{i}-{}", "n".repeat(i * 6 % 252))).collect());

fn command(s: &mut State, n: u64, c: &Command<'_>) -> Result<(), Fault> {
    match c.verb {
        "hangup" => c.end(),
        _ => s.calls.get_mut(&n).ok_or(Errno::ESTALE)?.push(c.rest),
    }
    Ok(())
}

fn plain(synth: &mut Synth<'static, State>) {
    let root = synth.root();
    synth.bytes(root, "README", b"Files to try sessions on.\n");
    let text = synth.text(root, "text", |s: &mut State, out| {
        *out += &format!("{}\n", s.n);
        *out += &"x".repeat((s.n % 3000) as usize);
        Ok(())
    });
    synth.versioned(text, |s, _| s.n as u32);
    synth.ctl(root, "ctl", VERBS, |s, c| {
        match c.verb {
            "add" => s.n = s.n.wrapping_add(c.number(0)?),
            "say" => s.log.push(c.rest),
            _ => s.n = 0,
        }
        Ok(())
    });
    let closed = synth.ctl(root, "closed", VERBS, |_, _| Err(Errno::EIO.into()));
    synth.read_only(closed);
    synth.stream(root, "log", |s| &mut s.log);
    synth.text(root, "fault", |_, _| Err(Fault::new(Errno::EIO, "\u{e4}".repeat(400))));
    let dir = synth.dir(root, "dir");
    let deep = synth.dir(dir, "deep");
    synth.text(deep, "leaf", |s: &mut State, out| {
        s.log.push("leaf was read");
        *out += "leaf\n";
        Ok(())
    });
    synth.record_rw(
        dir,
        "status",
        |s: &mut State| Ok(s.status.clone()),
        |s, new: Status| match new.count {
            13 => Err(Fault::new(Errno::EINVAL, "not 13")),
            _ => {
                s.status = new;
                Ok(())
            }
        },
    );
    let many = synth.dir(root, "many");
    for name in MANY.iter() {
        synth.bytes(many, name.as_str(), b"");
    }
}

fn numbered(synth: &mut Synth<'static, State>) {
    let root = synth.root();
    let clones = Clones::new(
        CLONES,
        |s: &mut State, n| {
            assert!(s.calls.insert(n, Stream::new(100)).is_none(), "a number is used again");
            Ok(())
        },
        |s, n| assert!(s.calls.remove(&n).is_some(), "a clone ends twice"),
    );
    let conn = synth.clone_dir(root, "conn", clones.keep(KEPT));
    synth.each_ctl(conn, "ctl", VERBS, command);
    synth.each_record(conn, "status", |_, n| Ok(Status { count: n, name: "call".into() }));
    synth.each_stream(conn, "data", |s, n| s.calls.get_mut(&n));
    synth.flow(root, "console", Flow::new().out(|s: &mut State, _| Some(&mut s.console)));
    let both = Flow::new().out(|s: &mut State, _| Some(&mut s.console));
    synth.flow(root, "tty", both.into(|s, _| Some(&mut s.input)));
    let huge = synth.huge(
        root,
        "huge",
        |_: &mut State, name| name.strip_prefix('f')?.parse().ok().filter(|n| *n < HUGE),
        |_, from, each| {
            let mut ids = from..HUGE;
            while ids.next().is_some_and(|id| each(id, &format!("f{id}"))) {}
        },
    );
    synth.each_text(huge, "", |_, id, out| {
        *out += &format!("file {id}\n");
        Ok(())
    });
}

impl Trial for Files<'static, State> {
    fn set_up() -> Self {
        let mut synth = Synth::new();
        synth.limits = FileLimits { opens: 20, readers: 5, text: 2000, held: 6000 };
        plain(&mut synth);
        numbered(&mut synth);
        let state = State {
            n: 0,
            status: Status { count: 1, name: "one".into() },
            log: Stream::new(200),
            calls: BTreeMap::new(),
            console: Bytes::new(64),
            input: Bytes::new(64),
        };
        Files { synth, state }
    }

    fn news(&mut self, text: &str) {
        self.state.log.push(text);
        self.state.console.push(text.as_bytes());
        self.state.input.take(&mut [0; 20]);
    }

    fn check(&mut self, idle: bool) {
        let State { status, calls, .. } = &self.state;
        assert_ne!(status.count, 13, "a write that was refused changed something");
        let most = if idle { KEPT } else { CLONES };
        assert!(calls.len() <= most, "{} clones", calls.len());
        if idle {
            assert!(!self.state.log.has_readers(), "the stream believes in a reader");
            assert!(calls.values().all(|c| !c.has_readers()));
        }
    }
}
