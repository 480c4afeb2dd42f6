//! Kill storms: the watchdog comes at every odd moment, many thousand times, and what
//! it does not kill notices nothing.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;

use atoll_config::code;
use atoll_config::payload::{Budget, Hash, Module, OnFault, Payload};
use atoll_runtime::component::{Component, Memory};
use atoll_runtime::engine::AtomLimits;

use crate::atom::{Atom, Call, Fatal};
use crate::atoms::Loaded;
use crate::{Atoms, COMPILER, CPU, Compare, Guard, Key, Machine, Track, Watchdog, compile};

/// What runs for ever, by the kind of `invoke`; 8 returns, and 9 traps after a while.
const STORM: &str = r#"(module
  (import "atoll" "answer" (func $answer (param i32 i32) (result i32)))
  (import "atoll" "recv" (func $recv (param i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $count (export "__atoll_g0") (mut i64) (i64.const 0))
  (table funcref (elem $fib $leaf))
  (type $unary (func (param i32) (result i32)))
  (func (export "atoll_abi") (result i32) i32.const 1)
  (func $leaf (param i32) (result i32) local.get 0)
  (func $fib (param i32) (result i32)
    local.get 0 i32.const 2 i32.lt_s
    if (result i32) local.get 0
    else
      local.get 0 i32.const 1 i32.sub call $fib
      local.get 0 i32.const 2 i32.sub call $fib i32.add
    end)
  (func (export "invoke") (param $kind i32) (param $id i64) (param $len i32) (result i32)
    (local $i i32) (local $f f64)
    block $nop block $traps
    block $all block $float block $table block $calls block $host block $bulk block $grow block $store block $spin
      local.get $kind
      br_table $spin $store $grow $bulk $host $calls $table $float $nop $traps $all
    end
      loop $l br $l end
    end ;; store
      loop $l
        local.get $i i32.const 65532 i32.and local.get $i i32.store
        local.get $i i32.const 4 i32.add local.set $i
        br $l end
    end ;; grow
      loop $l i32.const 1 memory.grow drop br $l end
    end ;; bulk
      loop $l
        i32.const 0 i32.const 7 i32.const 131072 memory.fill
        i32.const 100 i32.const 0 i32.const 130000 memory.copy
        br $l end
    end ;; host
      loop $l
        i32.const 16 i32.const 8 i32.const 0 call $recv drop
        i32.const -1 i32.const 8 call $answer drop
        br $l end
    end ;; calls
      loop $l i32.const 20 call $fib drop br $l end
    end ;; table
      loop $l
        i32.const 9 local.get $i i32.const 1 i32.and call_indirect (type $unary) drop
        local.get $i i32.const 1 i32.add local.set $i
        br $l end
    end ;; float
      loop $l
        local.get $f f64.const 1.5 f64.add f64.sqrt f64.floor local.set $f
        i32.const 64 i32.const 64 v128.load i32.const 80 v128.load i32x4.mul v128.store
        br $l end
    end ;; all, a little of each
      loop $l
        i32.const 3 call $fib drop
        i32.const 0 memory.grow drop
        i32.const 0 i32.const 1 i32.const 64 memory.fill
        i32.const 0 i32.const 1 call $answer drop
        i32.const 7 i32.const 1 call_indirect (type $unary) drop
        br $l end
    end ;; traps
      loop $l
        local.get $i i32.const 1 i32.add local.tee $i
        i64.extend_i32_u local.get $id i64.lt_u br_if $l
      end
      i32.const -4 i32.load drop
    end ;; nop
    global.get $count local.get $id i64.add global.set $count
    i32.const 32 i32.const 32 i64.load local.get $id i64.add i64.store
    i32.const 0)
)"#;
const NOP: i32 = 8;
const TRAPS: i32 = 9;

const LONG: u64 = 60_000_000_000;

pub(crate) fn limits(deadline_ns: u64) -> AtomLimits {
    AtomLimits { memory: 1 << 20, stack: 64 << 10, deadline_ns }
}

pub(crate) fn load(text: &str) -> Rc<Loaded> {
    let wasm = wat::parse_str(text).unwrap();
    let native = compile(&wasm).unwrap();
    let hash = Hash(*blake3::hash(&wasm).as_bytes());
    let segment = code::seal(COMPILER, CPU, &[(hash, &native)]).unwrap();
    let module = Module { name: "storm", hash, wasm: &wasm, files: Vec::new() };
    let payload = Payload {
        name: "storm",
        version: "1",
        memory: 1 << 24,
        on_fault: OnFault::Stop,
        budget: Budget { memory: 0, messages: 0, sessions: 0, fids: 0 },
        files: Vec::new(),
        components: Vec::new(),
        imports: Vec::new(),
        writable: Vec::new(),
        modules: Vec::from([module]),
    };
    let guard: Arc<dyn Guard> = Arc::new(Watchdog::new().unwrap());
    let key = Key::new(&[1; 32]);
    let track: Box<dyn Fn() -> Box<dyn Track>> =
        Box::new(move || Box::new(Compare::new(key.clone())));
    let mut atoms = Atoms::new(Machine { guard, track, config: |_| {} });
    // SAFETY: the code is what `compile` gave, and it is copied.
    unsafe { atoms.load(&payload, &code::Code::parse(&segment).unwrap()) }.unwrap();
    atoms.module(0).unwrap()
}

/// A generator, as good as any: xorshift64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Atoms that live through all of it, each counting in a global and in memory.
struct Neighbours(Vec<(Atom, i64)>);

impl Neighbours {
    fn new(module: &Rc<Loaded>) -> Neighbours {
        let atom = |_| (Atom::new(module.clone(), &limits(LONG)).unwrap(), 0);
        Neighbours((0..4).map(atom).collect())
    }

    fn work(&mut self, random: &mut Random) {
        let at = random.below(4) as usize;
        let (atom, count) = &mut self.0[at];
        let add = random.below(1000).cast_signed();
        assert!(matches!(atom.run(&Call::Invoke(NOP, add)), Ok(0)));
        *count += add;
    }

    fn check(&self) {
        for (atom, count) in &self.0 {
            let mut chunk = [0; 4096];
            atom.read(0, &mut chunk);
            assert_eq!(chunk[32..40], count.to_le_bytes());
            assert_eq!(atom.save()[15..23], count.to_le_bytes(), "{:?}", atom.save());
        }
    }
}

/// What the process has: mappings, descriptors, and the timers of POSIX.
fn has() -> (usize, usize, usize) {
    let lines = |path: &str| std::fs::read_to_string(path).unwrap().lines().count();
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    (lines("/proc/self/maps"), descriptors, lines("/proc/self/timers"))
}

#[test]
fn whatever_runs_too_long_is_stopped_and_its_neighbours_notice_nothing() {
    let module = load(STORM);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut neighbours = Neighbours::new(&module);
    let mut before = None;
    for round in 0..1200 {
        for kind in [0, 1, 2, 3, 4, 5, 6, 7, 10] {
            let mut atom = Atom::new(module.clone(), &limits(random.below(80_000))).unwrap();
            let done = atom.run(&Call::Invoke(kind, 0));
            assert!(matches!(done, Err(Fatal::Deadline)), "kind {kind}: {done:?}");
            neighbours.work(&mut random);
        }
        if round % 100 == 99 {
            neighbours.check();
            // What the allocator keeps is there by now; from here on nothing is added.
            let now = has();
            let (maps, fds, timers) = *before.get_or_insert(now);
            assert!(
                now.0 <= maps + 4 && (now.1, now.2) == (fds, timers),
                "{before:?}, now {now:?}"
            );
        }
    }
}

#[test]
fn a_trap_in_the_moment_of_the_kill_is_one_of_the_two() {
    let module = load(STORM);
    let mut random = Random(7);
    let mut neighbours = Neighbours::new(&module);
    let (mut traps, mut kills) = (0, 0);
    for _ in 0..4000 {
        let mut atom = Atom::new(module.clone(), &limits(1)).unwrap();
        match atom.run(&Call::Invoke(TRAPS, random.below(400_000).cast_signed())) {
            Err(Fatal::Trap(what)) => {
                assert_eq!(what, "an access outside of its memory");
                traps += 1;
            }
            Err(Fatal::Deadline) => kills += 1,
            Ok(n) => panic!("returned {n}"),
        }
        neighbours.work(&mut random);
    }
    neighbours.check();
    assert!(traps > 0 && kills > 0, "{traps} traps, {kills} kills");
}

#[test]
fn a_signal_that_comes_to_short_dispatches_changes_nothing() {
    let module = load(STORM);
    let mut random = Random(3);
    let mut neighbours = Neighbours::new(&module);
    // So short a limit makes the timer run as fast as it ever does.
    let mut hasty = Atom::new(module.clone(), &limits(1)).unwrap();
    let mut count = 0;
    for _ in 0..300_000 {
        // What is slow to come back (the system may be busy) is a kill, and is not counted.
        match hasty.run(&Call::Invoke(NOP, 1)) {
            Ok(0) => count += 1,
            Err(Fatal::Deadline) => {
                hasty = Atom::new(module.clone(), &limits(1)).unwrap();
                count = 0;
            }
            other => panic!("{other:?}"),
        }
        neighbours.work(&mut random);
    }
    neighbours.check();
    assert_eq!(Neighbours(Vec::from([(hasty, count)])).check(), ());
}

#[test]
fn a_thread_of_its_own_has_a_watchdog_of_its_own() {
    let threads: Vec<_> = (0..3)
        .map(|n| {
            std::thread::spawn(move || {
                let module = load(STORM);
                let mut random = Random(n + 1);
                let mut neighbours = Neighbours::new(&module);
                for _ in 0..200 {
                    let mut atom = Atom::new(module.clone(), &limits(20_000)).unwrap();
                    assert!(matches!(atom.run(&Call::Invoke(10, 0)), Err(Fatal::Deadline)));
                    neighbours.work(&mut random);
                }
                neighbours.check();
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
}

#[test]
fn a_spinning_start_function_is_stopped() {
    let text = STORM.replacen("(table", "(start $s) (func $s (loop $l br $l)) (table", 1);
    let module = load(&text);
    for _ in 0..3 {
        let made = Atom::new(module.clone(), &limits(1)).map(drop).unwrap_err();
        assert!(made.text().contains("too long"), "{made:?}");
    }
}
