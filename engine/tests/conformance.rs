//! The conformance suite, on this machine: each module in `engine/conformance` does what
//! its head says, and what is no atom is refused with the reason.

mod suite;

use atoll_config::code;
use atoll_engine::{BadModule, COMPILER, CPU, LoadError, compile};
use atoll_runtime::engine::{AtomLimits, Engine};
use suite::{Suite, load};

#[test]
fn every_call_does_what_the_abi_says() {
    Suite::new(include_str!("../conformance/calls.wat")).run();
}

#[test]
fn an_atom_starts_once_and_serves_its_files() {
    Suite::new(include_str!("../conformance/files.wat")).run();
}

#[test]
fn files_of_the_namespace_are_read_and_written() {
    Suite::new(include_str!("../conformance/namespace.wat")).run();
}

#[test]
fn what_is_abandoned_leaves_what_the_abi_says() {
    Suite::new(include_str!("../conformance/faults.wat")).run();
}

#[test]
fn a_guest_that_moves_between_any_two_events_is_the_same() {
    Suite::new(include_str!("../conformance/calls.wat")).run_moving();
    Suite::new(include_str!("../conformance/files.wat")).run_moving();
    Suite::new(include_str!("../conformance/faults.wat")).run_moving();
    Suite::new(include_str!("../conformance/namespace.wat")).run_moving();
}

/// What every atom exports, but for what is put in its place.
const EXPORTS: &str = r#"
    (memory (export "memory") 1)
    (func (export "atoll_abi") (result i32) (i32.const 1))
    (func (export "invoke") (param i32 i64 i32) (result i32) (i32.const 0))"#;

fn module(more: &str) -> Suite {
    Suite::new(Box::leak(format!("(module {more} {EXPORTS})").into_boxed_str()))
}

fn without(what: &str, instead: &str) -> Suite {
    let text = format!("(module {})", EXPORTS.replacen(what, instead, 1));
    Suite::new(Box::leak(text.into_boxed_str()))
}

#[test]
fn a_module_that_is_no_atom_is_refused_with_the_reason() {
    let why = |suite: Suite| match suite.load(|_| {}) {
        Err(LoadError::Module(name, why)) => {
            assert_eq!(name, "suite");
            why
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("taken"),
    };
    let import = |text| why(module(&format!("(import {text})")));
    let named = |name: &str| BadModule::Import(name.into());
    assert_eq!(import(r#""atoll" "teleport" (func)"#), named("atoll.teleport"));
    assert_eq!(import(r#""env" "now" (func (result i64))"#), named("env.now"));
    let other_type = import(r#""atoll" "now" (func (result i32))"#);
    assert!(matches!(&other_type, BadModule::Code(w) if w.contains("now")), "{other_type}");
    for (what, instead, export) in [
        (r#""memory""#, r#""memories""#, "memory"),
        (r#""invoke""#, r#""revoke""#, "invoke"),
        ("i32 i64 i32", "i32 i32 i32", "invoke"),
        (r#""atoll_abi""#, r#""abi""#, "atoll_abi"),
        (r#""atoll_abi" (func"#, r#""abi" (func"#, "atoll_abi"),
    ] {
        if EXPORTS.contains(what) {
            assert_eq!(why(without(what, instead)), BadModule::Export(export));
        }
    }
    for (name, export) in
        [("interrupt", "interrupt"), ("future", "future"), ("_initialize", "_initialize")]
    {
        let wrong = module(&format!(r#"(func (export "{name}") (param f32))"#));
        assert_eq!(why(wrong), BadModule::Export(export));
    }
}

const LIMITS: AtomLimits = AtomLimits { memory: 1 << 20, stack: 64 << 10, deadline_ns: 10_000_000 };

#[test]
fn an_instance_that_cannot_be_made_says_why() {
    let made = |suite: Suite, limits: AtomLimits| {
        let atoms = suite.load(|_| {}).unwrap();
        atoms.make(0, &limits).map(drop).map_err(|f| f.text().to_string())
    };
    let why = made(without("(i32.const 1)", "(i32.const 2)"), LIMITS).unwrap_err();
    assert_eq!(why, "the module is of ABI 2, and this runtime of 1");
    let why = made(without("(i32.const 1)", "unreachable"), LIMITS).unwrap_err();
    assert_eq!(why, "it cannot be made: unreachable code was reached");
    let why = made(module("(start $s) (func $s unreachable)"), LIMITS).unwrap_err();
    assert_eq!(why, "it cannot be made: unreachable code was reached");
    let small = AtomLimits { memory: 1 << 15, ..LIMITS };
    assert!(made(module(""), small).unwrap_err().starts_with("it cannot be made"));
    assert!(made(module("(table 100000 funcref)"), LIMITS).is_err());
    assert_eq!(made(module(""), LIMITS), Ok(()));
    let atoms = module("").load(|_| {}).unwrap();
    assert!(atoms.make(1, &LIMITS).is_err(), "there is one module");
}

#[test]
fn code_of_another_compiler_or_processor_or_that_is_damaged_is_refused() {
    let suite = module("");
    let payload = suite.payload();
    let hash = payload.modules[0].hash;
    let native = compile(payload.modules[0].wasm).unwrap();
    let segment = |compiler, cpu| code::seal(compiler, cpu, &[(hash, &native)]).unwrap();
    let why = |segment: &[u8]| load(&payload, segment).map(drop).unwrap_err();
    assert_eq!(why(&segment("wasmtime-47", CPU)), LoadError::Compiler("wasmtime-47".into()));
    assert_eq!(why(&segment(COMPILER, "x86-64-v4")), LoadError::Cpu("x86-64-v4".into()));
    let whole = segment(COMPILER, CPU);
    for at in (code::HEADER + 200..whole.len()).step_by(997).chain([whole.len() - 1]) {
        let mut bad = whole.clone();
        bad[at] ^= 0x10;
        assert_eq!(why(&bad), LoadError::Hash, "byte {at}");
    }
    assert!(load(&payload, &whole).is_ok());
    let empty = code::seal(COMPILER, CPU, &[]).unwrap();
    assert_eq!(why(&empty), LoadError::Module("suite".into(), BadModule::Missing));
}

#[test]
fn code_that_was_cut_before_it_was_sealed_is_refused() {
    let suite = module("");
    for keep in [0, 1, 63, 64, 200, 1000, 4096, 5000] {
        let cut = suite.load(|native| native.truncate(keep)).map(drop);
        assert!(matches!(cut, Err(LoadError::Module(_, BadModule::Code(_)))), "{keep}: {cut:?}");
    }
    // wasmtime has its own mark in it: what it was compiled by and for.
    let other = suite.load(|native| {
        let at = native.windows(COMPILER.len()).position(|w| w == COMPILER.as_bytes()).unwrap();
        native[at + 9] ^= 1;
    });
    assert!(matches!(other.map(drop), Err(LoadError::Module(_, BadModule::Code(_)))));
}
