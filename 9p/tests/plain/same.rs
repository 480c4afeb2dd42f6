//! The joint and a session answer the same: each is asked the same of a tree that is
//! the same, and every byte of their answers is compared.

use std::collections::BTreeSet;

use atoll_9p::stream::Stream;
use atoll_9p::synth::{Files, Synth, Verb};
use proptest::prelude::*;

use super::*;

/// What is asked, made of small numbers.
#[derive(Clone, Copy, Debug)]
struct Op {
    kind: u8,
    fid: u32,
    newfid: u32,
    pick: u8,
    more: u8,
}

fn op() -> impl Strategy<Value = Op> {
    (0..24u8, 0..6u32, 0..6u32, any::<u8>(), any::<u8>())
        .prop_map(|(kind, fid, newfid, pick, more)| Op { kind, fid, newfid, pick, more })
}

const NAMES: [&str; 12] = ["a", "b", "c", "log", "ctl", "text", "a", "b", "many", "..", "", "a/b"];
const PATHS: [&[&str]; 16] = [
    &[],
    &["a"],
    &["b"],
    &["a", "b"],
    &["a", "b", "c"],
    &["b", "a"],
    &[".."],
    &["..", "a"],
    &["a", "..", "b"],
    &["a", ".."],
    &["a", ""],
    &["log"],
    &["ctl"],
    &["text"],
    &["many"],
    &["a", "no"],
];
const PERMS: [u32; 8] =
    [0o666, 0o777, DMDIR | 0o777, DMDIR | 0o755, DMDIR | 0o500, 0o400, 0o1777, 0x4000_0000];
const COUNTS: [u32; 8] = [0, 20, 100, 300, 1000, 8000, 8000, u32::MAX];
const MODES: [u8; 12] =
    [OREAD, OREAD, OREAD, ORDWR, OWRITE, OEXEC, 0x10, 0x11, 0x40, 0x42, 0x20, 0x80];

/// A session and a joint, each with a tree of its own.
struct Both<T: Tree> {
    lines: [(Line<T>, T); 2],
    /// Where reads of each fid go on.
    ends: [u64; 6],
    /// Fids whose file goes with them.
    brief: BTreeSet<u32>,
}

impl<T: Tree> Both<T> {
    fn new(mut tree: impl FnMut() -> T, piece: usize) -> Both<T> {
        let lines = [Way::Session, Way::Joint(piece)].map(|way| {
            let mut t = tree();
            let line = Line::new(&mut t, way);
            (line, t)
        });
        let mut both = Both { lines, ends: [0; 6], brief: BTreeSet::new() };
        both.send(&frame(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000" }));
        both.ask(&attach(0));
        both
    }

    fn send(&mut self, f: &[u8]) -> [Vec<Vec<u8>>; 2] {
        self.lines.each_mut().map(|(line, t)| line.raw(t, f))
    }

    /// Asks both; says whether both have done it.
    fn ask(&mut self, m: &Tmsg<'_>) -> bool {
        let mut f = Vec::new();
        m.encode_in(Dialect::Plain, 1, &mut f);
        self.ask_frame(&f, m)
    }

    fn ask_frame(&mut self, f: &[u8], m: &Tmsg<'_>) -> bool {
        let [want, got] = self.send(f);
        let failed = |f: &[Vec<u8>]| f.first().is_some_and(|f| f[4] == 107);
        // Of several things that are wrong, each may tell of another.
        let several = matches!(m, Tmsg::Open { .. } | Tmsg::Create { .. } | Tmsg::Wstat { .. });
        if several && failed(&want) && failed(&got) {
            return false;
        }
        // Where nothing has another name ever, a session does not look for the old one.
        if T::FIXED && failed(&want) && matches!(m, Tmsg::Wstat { .. }) {
            return false;
        }
        if let Tmsg::Open { fid, mode } = m
            && mode & 3 == OEXEC
            && failed(&got)
        {
            // What may be run and not read.
            self.send(&frame(1, &Tmsg::Clunk { fid: *fid }));
            return false;
        }
        assert_eq!(want, got, "{m:?}");
        !failed(&want)
    }

    /// Only this fid stays, and all begin again at the root. How others know a file that
    /// has gone, or has another name now, is not the same.
    fn keep(&mut self, keep: Option<u32>) {
        for fid in (0..6).filter(|f| Some(*f) != keep) {
            self.send(&frame(1, &Tmsg::Clunk { fid }));
            self.brief.remove(&fid);
        }
        if keep != Some(0) {
            self.ask(&attach(0));
        }
    }

    fn play(&mut self, op: Op) {
        let Op { kind, fid, newfid, pick, more } = op;
        let name = NAMES[usize::from(pick) % NAMES.len()];
        let mode = MODES[usize::from(more) % MODES.len()];
        let at = self.ends[fid as usize];
        match kind {
            0..6 => {
                let path = PATHS[usize::from(pick) % PATHS.len()];
                let names: Vec<_> = path.iter().map(|n| n.as_bytes()).collect();
                // Who ends at the root may end there.
                let f = walk_frame(1, fid, newfid, &names);
                self.ask_frame(&f, &Tmsg::Clunk { fid });
            }
            6..9 => {
                if self.ask(&Tmsg::Open { fid, mode }) {
                    self.ends[fid as usize] = 0;
                    if mode & ORCLOSE != 0 {
                        self.brief.insert(fid);
                    }
                }
            }
            9..12 => {
                let perm = PERMS[usize::from(pick / 16) % PERMS.len()];
                if self.ask(&Tmsg::Create { fid, name, perm, mode }) {
                    self.ends[fid as usize] = 0;
                    if mode & ORCLOSE != 0 {
                        self.brief.insert(fid);
                    }
                }
            }
            12..15 => {
                let count = COUNTS[usize::from(pick) % COUNTS.len()];
                let offset = [at, at, at, at, at, 0, 2, at + 1][usize::from(more) % 8];
                let f = frame(1, &Tmsg::Read { fid, offset, count });
                let [want, got] = self.send(&f);
                assert_eq!(want, got, "{fid} {offset} {count}");
                match want.first().map(|f| Rmsg::decode(f).unwrap()) {
                    Some(Rmsg::Read { data, .. }) => {
                        self.ends[fid as usize] = offset + data.len() as u64;
                    }
                    Some(_) => {}
                    // It waits.
                    None => {
                        let [want, got] = self.send(&frame(2, &Tmsg::Flush { oldtag: 1 }));
                        assert_eq!(want, got);
                    }
                }
            }
            15 => {
                let data = &b"say hello, world, and more"[..usize::from(pick) % 10];
                self.ask(&Tmsg::Write { fid, offset: at, data, op: None });
            }
            16 => drop(self.ask(&Tmsg::Stat { fid })),
            17..20 => {
                let stat = Wstat {
                    name: (more & 1 != 0).then_some(name),
                    length: (more & 2 != 0).then_some(u64::from(pick % 9)),
                    mode: (more & 4 != 0).then_some(PERMS[usize::from(pick) % PERMS.len()]),
                    mtime: (more & 8 != 0).then_some(pick.into()),
                    gid: (more & 48 == 48).then_some("7"),
                    ..Wstat::default()
                };
                if self.ask(&Tmsg::Wstat { fid, stat }) && stat.name.is_some() {
                    self.keep(Some(fid));
                }
            }
            20..22 => {
                self.ask(&Tmsg::Clunk { fid });
                if self.brief.remove(&fid) {
                    self.keep(None);
                }
            }
            22 => {
                self.brief.remove(&fid);
                if self.ask(&Tmsg::Remove { fid }) {
                    self.keep(None);
                }
            }
            _ => {
                let aname = ["", "a", "no"][usize::from(pick) % 3];
                let afid = if more == 0 { 0 } else { NOFID };
                self.ask(&Tmsg::Attach { fid, afid, uname: "u", aname, n_uname: 0 });
            }
        }
    }

    fn end(mut self) -> [T; 2] {
        for (line, t) in &mut self.lines {
            line.close(t);
        }
        self.lines.map(|(_, t)| t)
    }
}

fn ram() -> Ram {
    let mut t = Ram::default();
    for path in ["a/b/c", "a/text", "b", "text"] {
        t.put(path, b"some words that are read").unwrap();
    }
    for i in 0..40 {
        t.put(&format!("many/{i}-{}", "n".repeat(i * 5)), b"").unwrap();
    }
    t
}

/// All that is in a tree.
fn content(t: &mut Ram) -> Vec<(String, u32, u64)> {
    let mut c = Plan9::mount(t, Way::Session);
    let (mut all, mut dirs) = (Vec::new(), vec![String::new()]);
    while let Some(dir) = dirs.pop() {
        for (mode, length, name) in c.ls(t, &dir).unwrap_or_default() {
            let path = format!("{dir}/{name}");
            if mode & DMDIR != 0 {
                dirs.push(path.clone());
            }
            all.push((path, mode, length));
        }
    }
    all
}

struct State {
    log: Stream,
    said: u64,
}

type Synthetic = Files<'static, State>;

const VERBS: &[Verb] = &[Verb::new("say", "WORDS", 9)];

fn synthetic() -> Synthetic {
    let mut synth = Synth::new();
    let root = synth.root();
    synth.bytes(root, "b", b"some bytes");
    synth.stream(root, "log", |s: &mut State| &mut s.log);
    synth.ctl(root, "ctl", VERBS, |s: &mut State, _| {
        s.said += 1;
        s.log.push("something was said");
        Ok(())
    });
    synth.text(root, "text", |s: &mut State, out| {
        *out += &format!("said {} times\n", s.said);
        Ok(())
    });
    let many = synth.dir(root, "many");
    for i in 0..40 {
        synth.bytes(many, format!("file-{i}"), b"x");
    }
    let a = synth.dir(root, "a");
    let b = synth.dir(a, "b");
    synth.bytes(b, "c", b"deep\n");
    let mut log = Stream::new(4096);
    (0..50).for_each(|i| log.push(format!("line {i}")));
    Files { synth, state: State { log, said: 0 } }
}

proptest! {
    #[test]
    fn of_a_tree_that_can_be_changed(
        ops in prop::collection::vec(op(), 1..120), bytewise in 0..8u8,
    ) {
        let mut both = Both::new(ram, if bytewise == 0 { 1 } else { usize::MAX });
        ops.into_iter().for_each(|op| both.play(op));
        let [mut want, mut got] = both.end();
        prop_assert_eq!(content(&mut want), content(&mut got));
        prop_assert_eq!(want.used(), got.used());
    }

    #[test]
    fn of_a_tree_that_is_computed(ops in prop::collection::vec(op(), 1..120)) {
        let mut both = Both::new(synthetic, usize::MAX);
        for mut op in ops {
            // Nothing is made here, but there is a stream to be read.
            match op.kind {
                3..6 => (op.kind, op.pick) = (0, 11),
                8 => op.more = 0,
                9..12 | 18..20 => op.kind = 12,
                _ => {}
            }
            both.play(op);
            let said = both.lines.each_ref().map(|(_, t)| t.state.said);
            prop_assert_eq!(said[0], said[1]);
        }
        both.end();
    }
}

#[test]
fn a_file_that_has_gone_is_not_even_given_its_own_name() {
    let mut both = Both::new(ram, usize::MAX);
    for fid in [1, 2] {
        both.ask_frame(&walk_frame(1, 0, fid, &[b"b"]), &Tmsg::Clunk { fid });
    }
    assert!(both.ask(&Tmsg::Remove { fid: 2 }));
    let stat = Wstat { name: Some("b"), ..Wstat::default() };
    assert!(!both.ask_frame(&frame(1, &Tmsg::Wstat { fid: 1, stat }), &Tmsg::Clunk { fid: 1 }));
    both.end();
}
