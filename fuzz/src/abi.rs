//! Target `abi`: what atoms may ask for, with any pointers, lengths and numbers, in any
//! order and of each other, through the engine, on the runtime's fake machine.
//!
//! The atoms are of one module that does as it is told: what is written to its directory
//! is a list of calls with their arguments ([`source`]). An input is a list of such lists,
//! of times that pass, and of what people do. Nothing that an atom asks for may break its
//! host; the same input gives the same; what all of it was charged is what is left, and
//! once every atom was made anew, nothing is.

use std::sync::Arc;

use atoll_9p::ops::What;
use atoll_9p::synth::{Files, Synth};
use atoll_builder::atoms::abi::{IMPORTS, Signature};
use atoll_config::atom::{AtomLimits, FileKind, ModuleFile};
use atoll_config::code::Code;
use atoll_config::payload::{Budget, Component, Hash, Import, Module, OnFault, Payload, Value};
use atoll_engine::{Atoms, Compare, Key, Machine, Watchdog};

use atoll_runtime::fake::{Fake, Host, Peer, World, drive_until};
use atoll_runtime::{GuestId, Runtime};

use crate::rng::Rng;

const MS: u64 = 1_000_000;
const GUEST: GuestId = GuestId(0);
const HASH: Hash = Hash([9; 32]);
/// Operations of a script that are no calls: an outcome, a trap, memory that grows, a byte
/// that is stored, what handlers shall do.
const OUTCOME: u8 = 255;
const TRAP: u8 = 254;
const GROW: u8 = 253;
const STORE: u8 = 252;
const HANDLER: u8 = 251;

fn types(letters: &str) -> String {
    letters.bytes().map(|b| if b == b'l' { " i64" } else { " i32" }).collect()
}

fn import(s: &Signature) -> String {
    let result =
        if s.results.is_empty() { String::new() } else { format!("(result{})", types(s.results)) };
    format!("(import \"atoll\" \"{0}\" (func ${0} (param{1}) {result}))\n", s.name, types(s.params))
}

/// A call with arguments from the script, whose result is what was last given.
fn call(place: usize, s: &Signature) -> String {
    let argument = |b| if b == b'l' { " (call $arg)" } else { " (i32.wrap_i64 (call $arg))" };
    let arguments: String = s.params.bytes().map(argument).collect();
    let call = format!("(call ${}{arguments})", s.name);
    let done = match s.results {
        "" => call,
        "l" => format!("(global.set $last {call})"),
        _ => format!("(global.set $last (i64.extend_i32_s {call}))"),
    };
    format!("(if (i32.eq (local.get $op) (i32.const {place})) (then {done} (return)))\n")
}

/// The module, as text. A script lies at 16384, and that of handlers at 32768. An argument
/// is a byte: below 128 it is meant itself; 128 is what the last call gave, then come
/// numbers at which mistakes are made, and then four bytes follow that say it. An instance
/// runs a hundred scripts: two that send each other theirs would not come to an end.
pub fn source() -> String {
    let imports: String = IMPORTS.iter().map(import).collect();
    let calls: String = IMPORTS.iter().enumerate().map(|(i, s)| call(i, s)).collect();
    let numbers = [-1, 65536, 65535, 65537, i64::MIN, i64::MAX, 1 << 31, 1024, 16384, 60000];
    let numbers: String = numbers
        .iter()
        .zip(129..)
        .map(|(n, tag)| {
            format!(
                "(if (i32.eq (local.get $b) (i32.const {tag})) (then (return (i64.const {n}))))\n"
            )
        })
        .collect();
    format!(
        r#"(module
{imports}
(memory (export "memory") 1)
(data (i32.const 64) "a")
(data (i32.const 72) "kid")
(data (i32.const 80) "/data/a")
(data (i32.const 96) "x\0a")
(global $at (export "__atoll_g0") (mut i32) (i32.const 0))
(global $end (export "__atoll_g1") (mut i32) (i32.const 0))
(global $last (export "__atoll_g2") (mut i64) (i64.const 0))
(global $handler (export "__atoll_g3") (mut i32) (i32.const 0))
(global $runs (export "__atoll_g4") (mut i32) (i32.const 100))
(func $byte (result i32)
  (if (i32.ge_u (global.get $at) (global.get $end)) (then (return (i32.const 0))))
  (global.set $at (i32.add (global.get $at) (i32.const 1)))
  (i32.load8_u (i32.sub (global.get $at) (i32.const 1))))
(func $arg (result i64)
  (local $b i32)
  (local.set $b (call $byte))
  (if (i32.lt_u (local.get $b) (i32.const 128))
    (then (return (i64.extend_i32_u (local.get $b)))))
  (if (i32.eq (local.get $b) (i32.const 128)) (then (return (global.get $last))))
  {numbers}
  (i64.extend_i32_s (i32.or
    (i32.or (call $byte) (i32.shl (call $byte) (i32.const 8)))
    (i32.or (i32.shl (call $byte) (i32.const 16)) (i32.shl (call $byte) (i32.const 24))))))
(func $do (param $op i32)
{calls})
(func $run (param $at i32) (param $len i32) (result i32)
  (local $op i32)
  (if (i32.eqz (global.get $runs)) (then (return (i32.const 0))))
  (global.set $runs (i32.sub (global.get $runs) (i32.const 1)))
  (global.set $at (local.get $at))
  (global.set $end (i32.add (local.get $at) (local.get $len)))
  (loop $next
    (if (i32.ge_u (global.get $at) (global.get $end)) (then (return (i32.const 0))))
    (local.set $op (call $byte))
    (if (i32.eq (local.get $op) (i32.const {OUTCOME})) (then
      (return (i32.wrap_i64 (call $arg)))))
    (if (i32.eq (local.get $op) (i32.const {TRAP})) (then unreachable))
    (if (i32.eq (local.get $op) (i32.const {GROW})) (then
      (global.set $last (i64.extend_i32_s (memory.grow (i32.wrap_i64 (call $arg)))))
      (br $next)))
    (if (i32.eq (local.get $op) (i32.const {STORE})) (then
      (i32.store8 (i32.wrap_i64 (call $arg)) (call $byte))
      (br $next)))
    (if (i32.eq (local.get $op) (i32.const {HANDLER})) (then
      (global.set $handler (i32.sub (global.get $end) (global.get $at)))
      (memory.copy (i32.const 32768) (global.get $at) (global.get $handler))
      (return (i32.const 0))))
    (call $do (i32.rem_u (local.get $op) (i32.const {})))
    (br $next))
  (unreachable))
(func (export "atoll_abi") (result i32) (i32.const 1))
(func (export "invoke") (param $kind i32) (param $id i64) (param $len i32) (result i32)
  (local $got i32)
  (global.set $last (local.get $id))
  (local.set $got (call $recv (i32.const 16384) (i32.const 16384) (i32.const 0)))
  (if (i32.eq (local.get $kind) (i32.const 9)) (then
    (return (call $run (i32.const 16387) (i32.sub (local.get $got) (i32.const 3))))))
  (if (i32.or (i32.eq (local.get $kind) (i32.const 2)) (i32.eq (local.get $kind) (i32.const 3)))
    (then (return (call $run (i32.const 16384) (local.get $got)))))
  (if (i32.and (i32.eq (local.get $kind) (i32.const 7)) (i32.eqz (i32.wrap_i64 (local.get $id))))
    (then (return (call $answer (i32.const 96) (i32.const 2)))))
  (if (i32.eq (local.get $kind) (i32.const 4)) (then
    (return (call $run (i32.const 32768) (global.get $handler)))))
  (i32.const 0))
(func (export "interrupt") (param $code i32) (param $arg i64) (param $len i32) (result i32)
  (global.set $last (local.get $arg))
  (call $run (i32.const 32768) (global.get $handler)))
(func (export "future") (param $id i64) (param $status i32) (param $len i32) (result i32)
  (global.set $last (local.get $id))
  (call $run (i32.const 32768) (global.get $handler))))"#,
        IMPORTS.len()
    )
}

/// The table of the module's native code.
#[cfg(feature = "compile")]
pub fn code() -> Vec<u8> {
    let wasm = wat::parse_str(source()).expect("a sound source");
    let native = atoll_engine::compile(&wasm).expect("sound Wasm");
    let compiler = atoll_engine::COMPILER;
    atoll_config::code::seal(compiler, atoll_engine::CPU, &[(HASH, &native)]).expect("one module")
}

/// The same, as `fuzz-inputs seeds` has written it: what is fuzzed has no compiler in it.
#[cfg(not(feature = "compile"))]
pub fn code() -> Vec<u8> {
    std::fs::read(crate::CODE).expect("the code of the atoms, which `fuzz-inputs seeds` writes")
}

fn payload() -> Payload<'static> {
    let file = |name, kind| ModuleFile { name, kind };
    let files = vec![
        file("text", FileKind::Text),
        file("box", FileKind::Names),
        file("events", FileKind::Events { keep: 256 }),
    ];
    let atom = |name| Component {
        name,
        kind: "atom",
        state_version: 1,
        params: vec![Value::Text("")],
        module: Some(0),
        // What is too slow is for the machine to say: here, nothing is.
        limits: AtomLimits { memory: 1 << 20, stack: 64 << 10, deadline_ns: 60_000 * MS },
    };
    Payload {
        name: "fuzz",
        version: "1",
        memory: 16 << 20,
        on_fault: OnFault::Restart,
        budget: Budget { memory: 1 << 20, messages: 100, sessions: 4, fids: 64 },
        files: Vec::new(),
        components: vec![atom("a"), atom("b")],
        imports: vec![Import { name: "data", at: "/data" }],
        writable: vec![""],
        modules: vec![Module { name: "fuzz", hash: HASH, wasm: b"", files }],
    }
}

fn load() -> &'static Atoms {
    let key = Key::new(&[9; 32]);
    let mut atoms = Atoms::new(Machine {
        guard: Arc::new(Watchdog::new().expect("a timer")),
        track: Box::new(move || Box::new(Compare::new(key.clone()))),
        config: |_| {},
    });
    let segment = code();
    #[allow(unsafe_code)] // there is no other way to native code
    // SAFETY: it is what `compile` gave for this very engine.
    let done = unsafe { atoms.load(&payload(), &Code::parse(&segment).expect("a table")) };
    done.expect("code of this compiler, for this processor");
    Box::leak(Box::new(atoms))
}

thread_local! {
    static ATOMS: &'static Atoms = load();
}

/// A step of an input.
#[derive(Debug)]
enum Step<'i> {
    /// This is put into an atom's directory.
    Script(&'static str, &'i [u8]),
    Pass(u64),
    /// A line for an atom's ctl file.
    Ctl(&'static str, String),
    /// A file is read, and a directory listed.
    Look(&'static str),
}

fn steps(mut input: &[u8]) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    while let [kind, len, rest @ ..] = input {
        let (bytes, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        input = rest;
        let atom = if kind & 1 == 0 { "a" } else { "b" };
        let n = bytes.first().copied().unwrap_or_default();
        steps.push(match kind >> 1 & 7 {
            0..=3 => Step::Script(atom, bytes),
            4 => Step::Pass(n.into()),
            5 => Step::Look(atom),
            _ => Step::Ctl(
                atom,
                match n % 5 {
                    0 => "pause".into(),
                    1 => "resume".into(),
                    2 => "restart".into(),
                    _ => format!("interrupt {}", n >> 2),
                },
            ),
        });
    }
    steps.truncate(40);
    steps
}

/// What is left of a run: the log, and bytes and messages that are charged.
type Left = (Vec<String>, u64, u32);

fn play(input: &[u8]) -> Left {
    let mut fake = Fake::new(1);
    let atoms = ATOMS.with(|a| *a);
    let mut rt = Runtime::new(&[], Some(atoms));
    rt.add(payload(), HASH, 0, &mut fake).expect("a guest");
    let mut w = World { rt, fake };
    let mut tree = Synth::<()>::new();
    let data = tree.dir(tree.root(), "data");
    tree.bytes(data, "a", b"some bytes");
    let mut host = Host::open(&mut w.fake, Files { synth: tree, state: () });
    let mut p = Peer::open(&mut w.fake);
    w.drive_all(&mut [&mut host, &mut p]);
    let base = w.rt.guest(GUEST).map_or(0, |g| g.sponsor.used.memory);
    let mut tell = |w: &mut World<'_>, path: &str, what: What, ms: u64| {
        let op = p.start(path, what);
        let until = w.fake.now + ms * MS;
        drive_until(&mut w.rt, &mut w.fake, until, &mut [&mut host, &mut p]);
        if let Some(guest) = w.rt.guest(GUEST) {
            let s = guest.sponsor;
            assert!(s.used.memory <= s.limit.memory && s.used.messages <= s.limit.messages);
        }
        p.result(op).and_then(Result::ok)
    };
    for step in steps(input) {
        let write = |text: &str| What::Write(text.as_bytes().to_vec());
        match step {
            Step::Script(atom, script) => {
                let path = format!("export/{atom}/box/x");
                tell(&mut w, &path, What::Write(script.to_vec()), 0)
            }
            Step::Pass(ms) => tell(&mut w, "stats", What::Read { max: 9999 }, ms),
            Step::Ctl(atom, line) => tell(&mut w, &format!("atom/{atom}/ctl"), write(&line), 0),
            Step::Look(atom) => {
                let max = 2 << 20;
                tell(&mut w, &format!("export/{atom}/text"), What::Read { max }, 0);
                tell(&mut w, &format!("export/{atom}/box"), What::List { max }, 0)
            }
        };
    }
    // Whoever was made by others goes, and the others begin anew.
    let atoms = tell(&mut w, "atom", What::List { max: 9999 }, 0);
    let atoms = String::from_utf8(atoms.unwrap_or_default()).expect("names");
    for n in atoms.lines().filter_map(|l| l.strip_suffix('/')) {
        let line = if n == "0" || n == "1" { "restart" } else { "kill" };
        tell(&mut w, &format!("atom/{n}/ctl"), What::Write(line.into()), 0);
    }
    for n in 0..2 {
        tell(&mut w, &format!("atom/{n}/ctl"), What::Write("restart".into()), 100_000);
    }
    let mut left = (core::mem::take(&mut w.fake.log), 0, 0);
    let (alive, ended) = (w.rt.guest(GUEST).is_some(), w.rt.exit().is_some());
    if alive && !ended {
        let store = |name: &str| -> u64 {
            let op = p.start(&format!("atom/{name}/mem"), What::Read { max: 999 });
            drive_until(&mut w.rt, &mut w.fake, 0, &mut [&mut host, &mut p]);
            let mem = p.result(op).expect("an answer").unwrap_or_default();
            let mem = String::from_utf8(mem).expect("a text");
            let line = mem.lines().find_map(|l| l.strip_prefix("store "));
            line.map_or(0, |n| n.parse().expect("a number"))
        };
        let stored: u64 = ["a", "b"].map(store).iter().sum();
        let used = w.rt.guest(GUEST).map(|g| g.sponsor.used).unwrap_or_default();
        // Scratch memory stays.
        let rest = used.memory.saturating_sub(base + stored);
        assert!(rest == 0 || rest == 65_536, "{rest} bytes too many: {:#?}", left.0);
        assert_eq!(used.messages, 0, "{:#?}", left.0);
        (left.1, left.2) = (used.memory, used.messages);
    }
    left
}

/// Tries one input.
pub fn run(input: &[u8]) {
    assert_eq!(play(input), play(input));
}

/// A call by its name, as a script has it.
fn op(name: &str) -> u8 {
    IMPORTS.iter().position(|s| s.name == name).map_or(0, |i| i as u8)
}

/// Each call by itself with good and with wild arguments, and conversations.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(23);
    let step = |kind: u8, bytes: &[u8]| [&[kind, bytes.len() as u8], bytes].concat();
    let mut seeds = vec![Vec::new()];
    for (i, s) in IMPORTS.iter().enumerate() {
        let mut script = Vec::new();
        for _ in 0..6 {
            script.push(i as u8);
            script.extend(s.params.bytes().map(|_| rng.below(139) as u8));
        }
        seeds.push([step(0, &script), step(8, &[9])].concat());
    }
    let ask = [op("call"), 1, 96, 2];
    let reply = [HANDLER, op("reply"), 128, 0, 96, 2];
    seeds.push([step(1, &reply), step(0, &ask), step(8, &[1])].concat());
    let spawn = [op("spawn"), 72, 3, 96, 2, op("send"), 128, 96, 2, op("kill"), 128];
    seeds.push([step(0, &spawn), step(8, &[1])].concat());
    let open = [op("open"), 80, 7, 0, HANDLER, op("read"), 0, 0, 100, op("close"), 0];
    seeds.push([step(0, &open), step(8, &[1])].concat());
    let lock = [op("lock"), 1, 0, op("sleep"), 9, op("random"), HANDLER, op("unlock"), 1];
    seeds.push([step(0, &lock), step(1, &lock), step(8, &[50])].concat());
    for last in [&[TRAP][..], &[OUTCOME, 129], &[GROW, 2], &[STORE, 130, 7], &[GROW, 133]] {
        let all = [op("kv_put"), 64, 1, 72, 3, op("log"), 64, 1, op("scratch_add"), 0, 5, 100];
        seeds.push([step(0, &[&all[..], last].concat()), step(10, &[]), step(12, &[1])].concat());
    }
    seeds
}

/// The steps, for people.
pub fn show(input: &[u8]) -> String {
    let mut out = String::new();
    for step in steps(input) {
        out += &format!("{step:?}\n");
        let Step::Script(_, script) = step else { continue };
        let name = |b: u8| IMPORTS.get(usize::from(b) % IMPORTS.len()).map_or("", |s| s.name);
        out += &format!("    begins with {}\n", script.first().map_or("nothing", |b| name(*b)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(steps: &[(u8, &[u8])]) -> Vec<String> {
        let step = |(kind, bytes): &(u8, &[u8])| [&[*kind, bytes.len() as u8], *bytes].concat();
        play(&steps.iter().flat_map(step).collect::<Vec<_>>()).0
    }

    #[test]
    fn atoms_do_as_they_are_told() {
        let said = log(&[(0, &[op("log"), 72, 3, TRAP])]);
        assert!(said[0].ends_with(" a: kid"), "{said:?}");
        assert!(said[1].contains("a: abandoned a dispatch: unreachable"), "{said:?}");
        // A script that is sent is run by whom it is sent to.
        let store = |n: u8, byte| [STORE, 100 + n, byte];
        let sent = [store(0, op("log")), store(1, 64), store(2, 1)].concat();
        let said = log(&[(0, &[&sent[..], &[op("call"), 1, 100, 3]].concat())]);
        assert!(said[0].ends_with(" b: a"), "{said:?}");
        let wild = [op("recv"), 129, 129, 129, op("log"), 129, 1, op("log"), 64, 1];
        let said = log(&[(0, &wild)]);
        assert!(said[0].ends_with(" a: a"), "{said:?}");
    }
}
