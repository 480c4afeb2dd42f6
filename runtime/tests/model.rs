//! The execution model, by random programs: `runtime/MODEL.md` names these tests.

mod common;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::ops::What;
use atoll_9p::synth::{Files, Synth, Verb};
use atoll_config::atom::AtomLimits;
use atoll_config::payload::{Budget, Component as Plan, Import, OnFault, Payload, Value};
use atoll_runtime::component::{
    CallId, Component, ComponentId, Cx, Entry, Event, FileKind, FileSpec,
};
use atoll_runtime::fake::{Fake, Faults, Host, Peer, World, drive_until};
use atoll_runtime::platform::Exit;
use common::*;
use proptest::prelude::*;

/// What a program asks for in one dispatch.
#[derive(Clone, Debug)]
enum Act {
    Send(u32, usize),
    After(u32, u64),
    Cancel(u32),
    Emit,
    Log,
    Read(&'static str),
    Random,
    Refuse,
    Overspend,
}

/// What happened in one dispatch, as the component saw it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    me: u32,
    now: u64,
    event: String,
    end: End,
    sent: Vec<(u32, Vec<u8>)>,
    timers: Vec<(u32, Option<u64>)>,
    calls: Vec<CallId>,
    said: Vec<String>,
    drawn: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Committed,
    Refused,
    Abandoned,
}

thread_local! {
    static PROGRAMS: RefCell<Vec<Vec<Vec<Act>>>> = const { RefCell::new(Vec::new()) };
    static TRACE: RefCell<Vec<Seen>> = const { RefCell::new(Vec::new()) };
    static STEPS: RefCell<BTreeMap<u32, usize>> = const { RefCell::new(BTreeMap::new()) };
    static SERIAL: RefCell<u64> = const { RefCell::new(0) };
    static RUNNING: RefCell<bool> = const { RefCell::new(false) };
}

/// Dispatches after which a program does nothing more, so that everything drains.
const FUEL: usize = 25;

struct Program;

impl Component for Program {
    fn dispatch(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Result<(), Fault> {
        assert!(!RUNNING.replace(true), "a dispatch inside a dispatch");
        let (me, now) = (cx.me().0, cx.now());
        let step = STEPS.with_borrow_mut(|s| {
            let n = s.entry(me).or_default();
            *n += 1;
            *n - 1
        });
        let acts = PROGRAMS.with_borrow(|p| {
            let program = &p[me as usize];
            if step < FUEL { program[step % program.len()].clone() } else { Vec::new() }
        });
        let mut seen = Seen {
            me,
            now: now.0,
            event: match &event {
                Event::Message { from, body } => format!("message {} {body:?}", from.0),
                Event::Done { call, result, .. } => format!("done {} {}", call.0, result.is_ok()),
                other => format!("{other:?}"),
            },
            end: End::Committed,
            sent: Vec::new(),
            timers: Vec::new(),
            calls: Vec::new(),
            said: Vec::new(),
            drawn: Vec::new(),
        };
        let starts = matches!(event, Event::Start);
        if let Event::Read { out, .. } = event {
            *out += "text\n";
        }
        for act in acts {
            let serial = SERIAL.with_borrow_mut(|s| {
                *s += 1;
                *s
            });
            match act {
                Act::Send(to, len) => {
                    let mut body = serial.to_le_bytes().to_vec();
                    body.resize(8 + len, 0);
                    let count = PROGRAMS.with_borrow(|p| p.len() as u32);
                    let to = to % count;
                    cx.send(ComponentId(to), &body)?;
                    seen.sent.push((to, body));
                }
                Act::After(id, ns) => {
                    cx.after(id, ns);
                    seen.timers.push((id, Some(now.0 + ns)));
                }
                Act::Cancel(id) => {
                    cx.cancel(id);
                    seen.timers.push((id, None));
                }
                Act::Emit => cx.emit(1, serial),
                Act::Log => {
                    cx.log(serial);
                    // What nobody pays for is not said.
                    if !cx.is_over_budget() {
                        seen.said.push(serial.to_string());
                    }
                }
                Act::Read(path) => seen.calls.push(cx.call(path, What::Read { max: 4096 })),
                Act::Random => seen.drawn.push(cx.random()),
                // What cannot even start is abandoned.
                Act::Refuse if starts => seen.end = End::Abandoned,
                Act::Refuse => seen.end = End::Refused,
                Act::Overspend => {
                    while !cx.is_over_budget() {
                        cx.after(99, 1);
                    }
                }
            }
        }
        if cx.is_over_budget() {
            seen.end = End::Abandoned;
        }
        assert_eq!(cx.now(), now, "the time moved during a dispatch");
        let end = seen.end;
        TRACE.with_borrow_mut(|t| t.push(seen));
        RUNNING.set(false);
        match end {
            End::Refused => Err(Errno::EINVAL.into()),
            End::Abandoned if starts => Err(Errno::EINVAL.into()),
            _ => Ok(()),
        }
    }
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }
    fn restore(&mut self, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

const POKE: &[Verb] = &[Verb::new("poke", "", 0)];

static REGISTRY: &[Entry] = &[Entry {
    kind: "program",
    state_version: 1,
    files: &[
        FileSpec { name: "text", kind: FileKind::Text },
        FileSpec { name: "events", kind: FileKind::Events { keep: 128 } },
        FileSpec { name: "ctl", kind: FileKind::Ctl(POKE) },
    ],
    starts: true,
    make: |_: &[Value<'_>]| Ok(Box::new(Program)),
}];

fn names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| (0..8).map(|i| format!("c{i}")).collect())
}

/// One run: what all components saw, and the machine's log.
struct Run {
    trace: Vec<Seen>,
    log: Vec<String>,
    used: (u64, u32),
    base: u64,
    exit: Option<Exit>,
    left: usize,
}

fn payload(n: usize, budget: Budget) -> Payload<'static> {
    let components = names()[..n]
        .iter()
        .map(|name| Plan {
            name,
            kind: "program",
            state_version: 1,
            params: Vec::new(),
            module: None,
            limits: AtomLimits::default(),
        })
        .collect();
    let imports = vec![Import { name: "data", at: "/data" }];
    Payload { components, imports, budget, ..empty("model") }
}

fn run(programs: &[Vec<Vec<Act>>], messages: u32, fake: Fake, cut: bool, policy: OnFault) -> Run {
    PROGRAMS.set(programs.to_vec());
    TRACE.take();
    STEPS.take();
    SERIAL.set(0);
    RUNNING.set(false);
    let base = 128 * programs.len() as u64;
    let budget = Budget { memory: base + 8192, messages, sessions: 4, fids: 64 };
    let payload = Payload { on_fault: policy, ..payload(programs.len(), budget) };
    let mut w: World<'_> = world_of(payload, REGISTRY, fake);
    let mut tree = Synth::<()>::new();
    let data = tree.dir(tree.root(), "data");
    tree.bytes(data, "a", b"some bytes");
    let mut host = Host::open(&mut w.fake, Files { synth: tree, state: () });
    let mut peer = Peer::open(&mut w.fake);
    for round in 0..30 {
        let at = w.fake.now + 10;
        drive_until(&mut w.rt, &mut w.fake, at, &mut [&mut host, &mut peer]);
        let s = w.rt.guest(ONE).expect("a guest").sponsor;
        assert!(s.used.memory <= s.limit.memory && s.used.messages <= s.limit.messages);
        let file = format!("export/c{}/text", round % programs.len());
        peer.start(&file, What::Read { max: 99 });
        if cut && round % 7 == 3 {
            w.fake.hang_up(host.conn);
            host.again(&mut w.fake);
        }
        let ctl = format!("export/c{}/ctl", (round + 1) % programs.len());
        peer.start(&ctl, What::Write(b"poke".to_vec()));
    }
    w.fake.hang_up(peer.conn);
    // Its clock may have leapt far ahead by now.
    let until = w.fake.now + 10_000;
    drive_until(&mut w.rt, &mut w.fake, until, &mut [&mut host]);
    let core = w.rt.guest(ONE).expect("a guest");
    let (used, left) = ((core.sponsor.used.memory, core.sponsor.used.messages), core.queued());
    let exit = w.rt.exit();
    Run { trace: TRACE.take(), log: w.fake.log, used, base, exit, left }
}

/// What the trace must be, given what was committed.
fn check(run: &Run) {
    let ended = run.exit.is_some();
    let mut messages: VecDeque<(u32, String)> = VecDeque::new();
    let mut timers: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut calls: BTreeMap<u64, u32> = BTreeMap::new();
    let mut said = Vec::new();
    for s in &run.trace {
        let words: Vec<&str> = s.event.split_whitespace().collect();
        match words[0] {
            "message" => {
                // In the order of all that was ever sent, and exactly once.
                assert_eq!(messages.pop_front(), Some((s.me, s.event.clone())));
            }
            "Timer" => {
                let id = words[3].parse().expect("a number");
                let at = timers.remove(&(s.me, id));
                assert!(at.is_some_and(|at| at <= s.now), "{s:?} was not set for {at:?}");
            }
            "done" => {
                let call = words[1].parse().expect("a number");
                assert_eq!(calls.remove(&call), Some(s.me), "{s:?} was not asked");
            }
            _ => {}
        }
        // What an abandoned dispatch said is kept, as the one exception.
        if s.end != End::Refused {
            said.extend(s.said.iter().map(|n| format!("c{}: {n}", s.me)));
        }
        match s.end {
            End::Committed => {
                for (to, body) in &s.sent {
                    messages.push_back((*to, format!("message {} {body:?}", s.me)));
                }
                for (id, at) in &s.timers {
                    match at {
                        Some(at) => timers.insert((s.me, *id), *at),
                        None => timers.remove(&(s.me, *id)),
                    };
                }
                for call in &s.calls {
                    assert_eq!(calls.insert(call.0, s.me), None, "a number was used twice");
                }
            }
            End::Refused => {}
            // A new instance knows nothing of what the old one set or asked.
            End::Abandoned => {
                timers.retain(|(c, _), _| *c != s.me);
                calls.retain(|_, c| *c != s.me);
            }
        }
    }
    let of_components =
        |l: &&String| !l.contains("refused") && !l.contains("abandoned") && !l.contains("host:");
    let log: Vec<&str> = run
        .log
        .iter()
        .filter(of_components)
        .filter_map(|l| l.split_once(' ').map(|x| x.1))
        .collect();
    assert_eq!(log, said, "the log is what was not refused, in order");
    if !ended {
        assert!(messages.is_empty() && timers.is_empty() && calls.is_empty() && run.left == 0);
        assert_eq!(run.used, (run.base, 0), "all that was charged was given back, once");
    }
}

fn act(faults: bool) -> impl Strategy<Value = Act> {
    let rare = u32::from(faults);
    prop_oneof![
        6 => (0u32..4, 0usize..60).prop_map(|(to, len)| Act::Send(to, len)),
        6 => (0u32..3, prop_oneof![Just(0u64), 0u64..30]).prop_map(|(id, ns)| Act::After(id, ns)),
        3 => (0u32..3).prop_map(Act::Cancel),
        2 => Just(Act::Emit),
        2 => Just(Act::Log),
        3 => prop_oneof![Just("/data/a"), Just("/data/none"), Just("/none")].prop_map(Act::Read),
        2 => Just(Act::Random),
        1 => Just(Act::Log),
        2 * rare => Just(Act::Refuse),
        rare => Just(Act::Overspend),
    ]
}

fn programs(faults: bool) -> impl Strategy<Value = Vec<Vec<Vec<Act>>>> {
    let dispatch = prop::collection::vec(act(faults), 0..5);
    prop::collection::vec(prop::collection::vec(dispatch, 1..6), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    /// Only what was committed happens: messages in order and once, timers when they
    /// are due, results to whom they belong, and every charge given back once.
    #[test]
    fn effects_are_those_that_were_committed(
        programs in programs(true), messages in 0u32..60, seed in any::<u64>(), cut in any::<bool>(),
    ) {
        check(&run(&programs, messages, Fake::new(seed), cut, OnFault::Restart));
    }

    #[test]
    fn a_guest_that_stops_at_a_fault_does_nothing_after_it(
        programs in programs(true), seed in any::<u64>(),
    ) {
        let run = run(&programs, 60, Fake::new(seed), false, OnFault::Stop);
        check(&run);
        let first = run.trace.iter().position(|s| s.end == End::Abandoned);
        prop_assert!(first.is_none_or(|at| at + 1 == run.trace.len()));
        prop_assert_eq!(run.exit.is_some(), first.is_some());
    }

    #[test]
    fn the_same_inputs_give_the_same_trace(
        programs in programs(true), messages in 0u32..60, seed in any::<u64>(), cut in any::<bool>(),
    ) {
        let once = || {
            let fake = Fake::new(seed).with(Faults::HARMLESS);
            run(&programs, messages, fake, cut, OnFault::Restart)
        };
        let (a, b) = (once(), once());
        check(&a);
        prop_assert_eq!(a.trace, b.trace);
        prop_assert_eq!(a.log, b.log);
    }
}

/// A program for one component, poked by its ctl file. What `poke`s see.
fn poked(acts: Vec<Vec<Act>>, pokes: usize, policy: OnFault) -> (World<'static>, Vec<Seen>) {
    PROGRAMS.set(vec![acts]);
    TRACE.take();
    STEPS.take();
    let budget = Budget { memory: 8192, messages: 16, sessions: 4, fids: 64 };
    let payload = Payload { on_fault: policy, ..payload(1, budget) };
    let mut w = world_of(payload, REGISTRY, Fake::new(1));
    let mut p = Peer::open(&mut w.fake);
    for _ in 0..pokes {
        let _ = w.echo(&mut p, "export/c0/ctl", "poke");
    }
    (w, TRACE.take())
}

#[test]
fn numbers_of_a_dispatch_that_failed_are_drawn_again() {
    let draw = || vec![Act::Random, Act::Read("/data/a")];
    let (_, seen) = poked(
        vec![vec![], [draw(), vec![Act::Refuse]].concat(), draw(), draw()],
        3,
        OnFault::Restart,
    );
    assert_eq!((seen[1].end, seen[2].end), (End::Refused, End::Committed));
    assert_eq!(seen[1].drawn, seen[2].drawn);
    assert_eq!(seen[1].calls, seen[2].calls);
    assert_ne!(seen[2].drawn, seen[3].drawn);
}

#[test]
fn eight_abandoned_in_a_row_are_hopeless() {
    let over = || vec![Act::Overspend];
    // The first dispatch and every second one are a Start, which goes well.
    let (mut w, _) = poked(vec![vec![], over()], 7, OnFault::Restart);
    assert_eq!(w.rt.exit(), None);
    let mut p = Peer::open(&mut w.fake);
    assert!(w.echo(&mut p, "export/c0/ctl", "poke").is_err());
    assert_eq!(w.rt.exit(), Some(Exit { status: 1 }));
    // One that goes well between breaks the row.
    let (mut w, _) = poked(vec![vec![], over(), vec![], vec![]], 18, OnFault::Restart);
    assert_eq!(w.rt.exit(), None);
    assert!(w.rt.guest(ONE).expect("a guest").counters.abandoned > 5);
}

#[test]
fn start_comes_before_everything_else() {
    let (_, seen) = poked(
        vec![vec![], vec![Act::Send(0, 0), Act::Send(0, 0)], vec![Act::Overspend], vec![], vec![]],
        1,
        OnFault::Restart,
    );
    let events: Vec<&str> =
        seen.iter().map(|s| s.event.split_whitespace().next().unwrap()).collect();
    assert_eq!(events, ["Start", "Command", "message", "Start", "message"]);
    // A request that is there first waits for all Starts.
    PROGRAMS.set(vec![vec![vec![]]; 3]);
    TRACE.take();
    STEPS.take();
    let budget = Budget { memory: 8192, messages: 16, sessions: 4, fids: 64 };
    let mut w = world_of(payload(3, budget), REGISTRY, Fake::new(1));
    let mut p = Peer::open(&mut w.fake);
    assert_eq!(w.cat(&mut p, "export/c2/text"), Ok("text\n".into()));
    let who: Vec<u32> = TRACE.take().iter().map(|s| s.me).collect();
    assert_eq!(who, [0, 1, 2, 2]);
}

#[test]
fn a_timer_that_came_and_waits_is_still_cancelled() {
    // Both timers come at once; the first one handled cancels the other.
    let set = vec![Act::After(0, 5), Act::After(1, 5)];
    let (mut w, _) = poked(vec![set, vec![Act::Cancel(0), Act::Cancel(1)]], 0, OnFault::Restart);
    let at = 5;
    drive_until(&mut w.rt, &mut w.fake, 0, &mut []);
    drive_until(&mut w.rt, &mut w.fake, at, &mut []);
    let events: Vec<String> = TRACE.take().into_iter().map(|s| s.event).collect();
    assert_eq!(events, ["Start", "Timer { id: 0 }"]);
    assert_eq!(w.rt.guest(ONE).expect("a guest").sponsor.used.messages, 0);
}

#[test]
fn timers_of_one_instant_come_in_the_order_in_which_they_were_set() {
    let set = vec![
        Act::After(2, 7),
        Act::After(0, 5),
        Act::After(1, 5),
        Act::After(3, 5),
        Act::After(0, 5),
    ];
    let (mut w, _) = poked(vec![set, vec![], vec![], vec![], vec![]], 0, OnFault::Restart);
    drive_until(&mut w.rt, &mut w.fake, 0, &mut []);
    w.fake.now = 50;
    drive_until(&mut w.rt, &mut w.fake, 50, &mut []);
    let events: Vec<String> = TRACE.take().into_iter().map(|s| s.event).collect();
    let timers: Vec<&str> = events[1..5].iter().map(|e| &e[12..13]).collect();
    assert_eq!(timers, ["1", "3", "0", "2"]);
}

/// Only some run side by side; the rest wait, and all return.
#[test]
fn any_number_of_calls_returns() {
    let mut program = vec![vec![Act::Read("/data/a"); 300]];
    program.resize(FUEL, Vec::new());
    PROGRAMS.set(vec![program]);
    TRACE.take();
    STEPS.take();
    let budget = Budget { memory: 1 << 20, messages: 400, sessions: 4, fids: 64 };
    let mut w = world_of(payload(1, budget), REGISTRY, Fake::new(1));
    let mut tree = Synth::<()>::new();
    let data = tree.dir(tree.root(), "data");
    tree.bytes(data, "a", b"some bytes");
    let mut host = Host::open(&mut w.fake, Files { synth: tree, state: () });
    w.drive(&mut host);
    let done = TRACE.take().iter().filter(|s| s.event.starts_with("done")).count();
    assert_eq!((done, host.fids()), (300, 1));
}

#[test]
fn what_is_waited_for_comes_after_a_leap_of_the_clock_too() {
    use Act::{After, Read, Refuse, Send};
    let programs = vec![
        vec![vec![Send(2, 0), Read("/data/a")], vec![Read("/none")], vec![Read("/data/a")], vec![]],
        vec![vec![], vec![], vec![Refuse], vec![Send(0, 0), After(0, 21)], vec![]],
        vec![vec![], vec![Send(0, 0)], vec![], vec![]],
    ];
    let fake = Fake::new(8866894921584209698).with(Faults::HARMLESS);
    check(&run(&programs, 3, fake, false, OnFault::Restart));
}
