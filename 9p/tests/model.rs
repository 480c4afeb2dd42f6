//! Ready-made files against a few lines that say what they ought to do.

mod common;

use std::collections::BTreeMap;

use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, Tmsg, entries};
use atoll_9p::server::Limits;
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Files, Synth, Verb};
use atoll_9p::tree::Tree;
use atoll_9p::types::OpenFlags;
use common::*;
use proptest::prelude::*;

struct State {
    n: u64,
    log: Stream,
}

const VERBS: &[Verb] = &[Verb::new("add", "N", 1), Verb::new("reset", "", 0)];

fn files() -> Files<'static, State> {
    let mut synth = Synth::new();
    let root = synth.root();
    synth.bytes(root, "README", b"A counter.\n");
    synth.text(root, "count", |s: &mut State, out| {
        *out += &format!("{}\n", s.n);
        Ok(())
    });
    synth.ctl(root, "ctl", VERBS, |s, c| {
        s.n = if c.verb == "add" { s.n.wrapping_add(c.number(0)?) } else { 0 };
        s.log.push(format_args!("{} {}", c.verb, s.n));
        Ok(())
    });
    synth.stream(root, "log", |s| &mut s.log);
    let sub = synth.dir(root, "sub");
    synth.stream(sub, "log", |s| &mut s.log);
    Files { synth, state: State { n: 0, log: Stream::new(1 << 20) } }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Dir,
    Readme,
    Count,
    Ctl,
    Log,
}

/// What a path leads to, by hand.
const PATHS: [(&str, Result<Kind, Errno>); 9] = [
    ("", Ok(Kind::Dir)),
    ("README", Ok(Kind::Readme)),
    ("count", Ok(Kind::Count)),
    ("ctl", Ok(Kind::Ctl)),
    ("log", Ok(Kind::Log)),
    ("sub/log", Ok(Kind::Log)),
    ("sub/../sub/..", Ok(Kind::Dir)),
    ("nothing", Err(Errno::ENOENT)),
    ("../log", Ok(Kind::Log)),
];

type Effect = fn(u64) -> u64;

const COMMANDS: [(&str, Option<Effect>); 7] = [
    ("add 5\n", Some(|n| n.wrapping_add(5))),
    ("add 18446744073709551615", Some(|n| n.wrapping_sub(1))),
    (" reset \n", Some(|_| 0)),
    ("add", None),
    ("add x", None),
    ("reset\nreset", None),
    ("", None),
];

struct Fid {
    kind: Kind,
    open: Option<u32>,
    lines: usize,
}

#[derive(Default)]
struct Model {
    fids: BTreeMap<u32, Fid>,
    waiting: Vec<(u16, u32)>,
}

impl Model {
    /// The answer to a read, or nothing while it waits.
    fn read(&mut self, fid: u32, n: u64, log: &[String]) -> Result<Option<Vec<u8>>, Errno> {
        let f = self.fids.get_mut(&fid).ok_or(Errno::EBADF)?;
        if f.open.is_none_or(|flags| flags == 1) {
            return Err(Errno::EBADF);
        }
        Ok(Some(match f.kind {
            Kind::Dir => return Err(Errno::EISDIR),
            Kind::Readme => b"A counter.\n".to_vec(),
            Kind::Count => format!("{n}\n").into(),
            Kind::Ctl => b"add N\nreset\n".to_vec(),
            Kind::Log if f.lines == log.len() => return Ok(None),
            Kind::Log => {
                let from = std::mem::replace(&mut f.lines, log.len());
                log[from..].concat().into()
            }
        }))
    }

    fn open(&mut self, fid: u32, flags: u32) -> Result<(), Errno> {
        let f = self.fids.get_mut(&fid).ok_or(Errno::EBADF)?;
        match (f.open, f.kind, flags) {
            (Some(_), ..) => Err(Errno::EBADF),
            (_, Kind::Dir, 1 | 2) => Err(Errno::EISDIR),
            (_, Kind::Readme | Kind::Count | Kind::Log, 1 | 2) => Err(Errno::EACCES),
            _ => {
                f.open = Some(flags);
                Ok(())
            }
        }
    }
}

fn number(r: Result<(), Errno>) -> u32 {
    r.err().map_or(0, |e| e.0)
}

proptest! {
    #[test]
    fn files_do_what_a_few_lines_say(
        ops in prop::collection::vec((0..3usize, 0..12u8, 1..5u32, any::<u8>()), 1..150),
    ) {
        let mut t = files();
        let mut peers: Vec<_> = (0..3).map(|_| Peer::attached(&mut t, Limits::default())).collect();
        let mut models: Vec<Model> = (0..3).map(|_| Model::default()).collect();
        let (mut n, mut log) = (0u64, Vec::<String>::new());
        let mut tag = 10;
        for (i, op, fid, pick) in ops {
            let (p, m) = (&mut peers[i], &mut models[i]);
            match op {
                0..=2 => {
                    let (path, to) = PATHS[usize::from(pick) % PATHS.len()];
                    let want = match to {
                        _ if m.fids.contains_key(&fid) => Err(Errno::EBADF),
                        Ok(kind) => {
                            m.fids.insert(fid, Fid { kind, open: None, lines: 0 });
                            Ok(())
                        }
                        Err(e) => Err(e),
                    };
                    prop_assert_eq!(p.walk(&mut t, 0, fid, path), number(want));
                }
                3..=4 => {
                    let flags = u32::from(pick) % 3;
                    let got = p.errno(&mut t, &Tmsg::Lopen { fid, flags: OpenFlags(flags) });
                    prop_assert_eq!(got, number(m.open(fid, flags)));
                }
                5..=7 => {
                    tag += 1;
                    let f = frame(tag, &Tmsg::Read { fid, offset: 0, count: 8000 });
                    let got = p.raw(&mut t, &f);
                    match m.read(fid, n, &log) {
                        Ok(None) => {
                            prop_assert!(got.is_empty());
                            m.waiting.push((tag, fid));
                        }
                        Ok(Some(want)) => prop_assert_eq!(data(&got[0]), want),
                        Err(e) => prop_assert_eq!(errno(&got[0]), e.0),
                    }
                }
                8..=9 => {
                    let (command, effect) = COMMANDS[usize::from(pick) % COMMANDS.len()];
                    let write = Tmsg::Write { fid, offset: 0, data: command.as_bytes(), op: None };
                    let got = p.errno(&mut t, &write);
                    let may = m.fids.get(&fid).is_some_and(|f| matches!(f.open, Some(1 | 2)));
                    match effect {
                        _ if !may => prop_assert_eq!(got, Errno::EBADF.0),
                        None => prop_assert_eq!(got, Errno::EINVAL.0),
                        Some(effect) => {
                            prop_assert_eq!(got, 0);
                            n = effect(n);
                            let verb = command.split_whitespace().next().unwrap();
                            log.push(format!("{verb} {n}\n"));
                        }
                    }
                }
                10 => {
                    let known = m.fids.remove(&fid).is_some();
                    let waited = m.waiting.iter().filter(|w| w.1 == fid).count();
                    m.waiting.retain(|w| w.1 != fid);
                    let got = p.raw(&mut t, &frame(1, &Tmsg::Clunk { fid }));
                    prop_assert_eq!(got.len(), 1 + waited);
                    prop_assert_eq!(got[waited][4] == 121, known);
                }
                _ => {
                    let oldtag = m.waiting.first().map_or(3, |w| w.0);
                    m.waiting.retain(|w| w.0 != oldtag);
                    prop_assert_eq!(p.one(&mut t, &frame(1, &Tmsg::Flush { oldtag }))[4], 109);
                }
            }
            // Whoever waits hears what is new; of those on one fid the first is the first.
            t.woken(&mut |node| peers.iter_mut().for_each(|p| p.s.wake(node)));
            for (p, m) in peers.iter_mut().zip(&mut models) {
                let waited = std::mem::take(&mut m.waiting);
                let mut want = Vec::new();
                for (tag, fid) in &waited {
                    match m.read(*fid, n, &log) {
                        Ok(Some(data)) => want.push((*fid, *tag, data)),
                        _ => m.waiting.push((*tag, *fid)),
                    }
                }
                let fid_of = |tag| waited.iter().find(|w| w.0 == tag).map_or(0, |w| w.1);
                let late = p.late(&mut t);
                let mut got: Vec<_> = late
                    .iter()
                    .map(|f| (fid_of(tag_of(f)), tag_of(f), data(f)))
                    .collect();
                // Whose turn it is among fids is not promised.
                want.sort_by_key(|w| w.0);
                got.sort_by_key(|w| w.0);
                prop_assert_eq!(got, want);
                prop_assert_eq!(p.s.waiting(), m.waiting.len());
            }
        }
    }
}

#[test]
fn a_shell_s_echo_into_ctl_works() {
    let mut t = files();
    let mut p = Peer::attached(&mut t, Limits::default());
    assert_eq!(p.walk(&mut t, 0, 1, "ctl"), 0);
    let set = atoll_9p::msg::SetAttr { valid: 8 | 0x40, ..Default::default() };
    assert_eq!(p.errno(&mut t, &Tmsg::Setattr { fid: 1, set }), 0);
    let flags = OpenFlags(1 | OpenFlags::TRUNC);
    assert_eq!(p.errno(&mut t, &Tmsg::Lopen { fid: 1, flags }), 0);
    assert_eq!(p.errno(&mut t, &Tmsg::Write { fid: 1, offset: 0, data: b"add 3\n", op: None }), 0);
    assert_eq!(t.state.n, 3);
    assert_eq!(p.walk(&mut t, 0, 2, "README"), 0);
    assert_eq!(p.errno(&mut t, &Tmsg::Setattr { fid: 2, set }), Errno::EACCES.0);
}

#[test]
fn a_tree_lists_what_it_holds() {
    let mut t = files();
    let mut p = Peer::attached(&mut t, Limits::default());
    p.open(&mut t, 1, "", OpenFlags::RDONLY);
    for (offset, want) in [(0, 5), (3, 2), (5, 0), (u64::MAX, 0)] {
        let f = p.ask(&mut t, &Tmsg::Readdir { fid: 1, offset, count: 8000 });
        let Ok(Rmsg::Readdir { data }) = Rmsg::decode(&f) else { panic!() };
        assert_eq!(entries(data).count(), want);
    }
}

#[test]
fn an_error_does_not_grow_with_the_line_that_it_echoes() {
    let mut t = files();
    let mut p = Peer::new(Limits::default());
    p.greet(&mut t, 65_536, "9P2000.L.atoll");
    p.ask(&mut t, &attach(0));
    p.open(&mut t, 1, "ctl", OpenFlags::WRONLY);
    for data in [vec![1; 60_000], [&b"add "[..], &[b'x'; 60_000]].concat()] {
        let f = p.ask(&mut t, &Tmsg::Write { fid: 1, offset: 0, data: &data, op: None });
        let Ok(Rmsg::Lerror { errno: 22, text: Some(text) }) = Rmsg::decode(&f) else { panic!() };
        assert!(text.len() < 450 && (text.contains("add") || text.contains("no number")), "{text}");
    }
}
