//! Modules: what can be an atom is taken and brought into one form, everything else is
//! refused with its place, the reason and what to do.

use atoll_builder::atoms::{self, Canonical, Refusal};
use atoll_config::atom::FileKind;
use proptest::prelude::*;
use wasmparser::{ExternalKind, Parser, Payload};

/// What every atom has.
const ABI: &str = r#"
    (func (export "atoll_abi") (result i32) (i32.const 1))
    (func $invoke (export "invoke") (param i32 i64 i32) (result i32) (i32.const 0))"#;
const MEMORY: &str = r#"(memory (export "memory") 1)"#;

fn take(wat: &str) -> Result<Canonical, Refusal> {
    atoms::canonical("m", &wat::parse_str(wat).unwrap())
}

/// A module that has all it needs, with more in it.
fn with(more: &str) -> String {
    format!("(module {more} {MEMORY} {ABI})")
}

/// The module is refused with these words, the help among them.
fn refused(wat: &str, words: &[&str]) -> Refusal {
    let refusal = take(wat).expect_err("this must not be taken");
    let text = refusal.to_string();
    assert!(text.starts_with("module `m`") && text.contains("\nhelp: "), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
    refusal
}

/// The same, of an instruction in function `$bad`, whose place must be told.
fn refused_there(more: &str, words: &[&str]) {
    let refusal = refused(&with(more), words);
    assert_eq!(refusal.function.as_deref(), Some("0 (bad)"), "{refusal}");
    assert!(refusal.offset.is_some_and(|at| at > 8), "{refusal}");
}

fn exports(wasm: &[u8]) -> Vec<(String, ExternalKind)> {
    let mut out = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::ExportSection(s) = payload.unwrap() {
            out.extend(s.into_iter().flatten().map(|e| (e.name.to_owned(), e.kind)));
        }
    }
    out
}

fn sections(wasm: &[u8]) -> Vec<String> {
    let each = |p: Payload<'_>| match p {
        Payload::CustomSection(s) => Some(s.name().to_owned()),
        Payload::DataCountSection { .. } => Some("data count".to_owned()),
        _ => None,
    };
    Parser::new(0).parse_all(wasm).filter_map(|p| each(p.unwrap())).collect()
}

#[test]
fn a_module_is_brought_into_one_form() {
    let wat = with(
        r#"(import "atoll" "now" (func (result i64)))
           (@custom "atoll.files" "text count\n")
           (@custom "producers" "\00")
           (@custom "atoll.files" (after last) "events log 4096\n")
           (global $stack (mut i32) (i32.const 1024))
           (global (export "__heap_base") i32 (i32.const 2048))
           (global (mut f64) (f64.const 0))
           (table 2 9 funcref)
           (elem (i32.const 0) $invoke)
           (func (export "helper"))
           (data (i32.const 0) "abc")"#,
    );
    let made = take(&wat).unwrap();
    let files =
        [("count".to_owned(), FileKind::Text), ("log".to_owned(), FileKind::Events { keep: 4096 })];
    assert_eq!((made.files.as_slice(), made.memory, made.globals), (&files[..], 65536, 2));
    let func = |name: &str| (name.to_owned(), ExternalKind::Func);
    let global = |name: &str| (name.to_owned(), ExternalKind::Global);
    let wanted = [
        func("atoll_abi"),
        func("invoke"),
        ("memory".to_owned(), ExternalKind::Memory),
        global("__atoll_g0"),
        global("__atoll_g1"),
    ];
    assert_eq!(exports(&made.wasm), wanted);
    assert_eq!(sections(&made.wasm), ["atoll.files"]);
    for payload in Parser::new(0).parse_all(&made.wasm) {
        if let Payload::TableSection(tables) = payload.unwrap() {
            let table = tables.into_iter().next().unwrap().unwrap();
            assert_eq!((table.ty.initial, table.ty.maximum), (2, Some(2)));
        }
    }
    assert_eq!(atoms::memory_at_start(&made.wasm), 65536);
    assert_eq!(atoms::memory_at_start(b"junk"), 0);
    // It is its own canonical form.
    assert_eq!(atoms::canonical("m", &made.wasm).unwrap(), made);
}

#[test]
fn names_and_debug_information_make_no_difference() {
    let named = with("(func $f (param $a i32))");
    let plain = with("(func (param i32))");
    assert_ne!(wat::parse_str(&named).unwrap(), wat::parse_str(&plain).unwrap());
    assert_eq!(take(&named).unwrap().wasm, take(&plain).unwrap().wasm);
    let other = with("(@custom \"atoll.files\" \"ctl a\\n\") (func (param i32))");
    assert_ne!(take(&other).unwrap().wasm, take(&plain).unwrap().wasm);
}

#[test]
fn everything_of_wasm_2_that_can_be_captured_is_taken() {
    take(&with(
        r#"(table $t 3 funcref)
           (elem (i32.const 0) $invoke)
           (func (result i32 i64) (i32.const 1) (i64.const 2))
           (func (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
           (func (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
           (func (param i32) (drop (memory.grow (local.get 0))))
           (func (param i32) (result i32) (i32.extend8_s (local.get 0)))
           (func (param f64) (result i64) (i64.trunc_sat_f64_s (local.get 0)))
           (func (param v128) (result v128) (i8x16.add (local.get 0) (local.get 0)))
           (func (drop (table.get $t (i32.const 0))) (drop (table.size $t)))
           (func (drop (call_indirect (param i32 i64 i32) (result i32)
               (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0))))
           (func (export "interrupt") (param i32 i64 i32) (result i32) (i32.const 0))
           (func (export "future") (param i64 i32 i32) (result i32) (i32.const 0))
           (func (export "_initialize"))"#,
    ))
    .unwrap();
}

#[test]
fn what_changes_a_table_or_a_segment_is_refused() {
    let table = "(table $t 3 funcref) (elem $e func) (func $bad";
    let data = "(data $d \"abc\") (func $bad";
    let three = "(i32.const 0) (i32.const 0) (i32.const 0)";
    for (name, body) in [
        ("table.set", "(table.set $t (i32.const 0) (ref.null func))".to_owned()),
        ("table.grow", "(drop (table.grow $t (ref.null func) (i32.const 1)))".to_owned()),
        ("table.fill", "(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))".to_owned()),
        ("table.copy", format!("(table.copy $t $t {three})")),
        ("table.init", format!("(table.init $t $e {three})")),
    ] {
        refused_there(
            &format!("{table} {body})"),
            &[&format!("`{name}` changes a table"), "element segments"],
        );
    }
    refused_there(&format!("{table} (elem.drop $e))"), &["`elem.drop` changes a segment"]);
    let init = &["`memory.init` copies from a passive segment", "use active segments"];
    refused_there(&format!("{data} (memory.init $d {three}))"), init);
    refused_there(&format!("{data} (data.drop $d))"), &["`data.drop` changes a segment"]);
}

#[test]
fn what_is_not_deterministic_or_not_ours_to_run_is_refused() {
    refused(
        &format!("(module (memory (export \"memory\") 1 2 shared) {ABI})"),
        &["it uses threads", "without `atomics`"],
    );
    refused_there("(func $bad (atomic.fence))", &["it uses threads"]);
    refused_there(
        "(func $bad (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))",
        &["it uses relaxed SIMD", "results differ", "without `relaxed-simd`"],
    );
    refused(&with("(tag $e) (func $bad (throw $e))"), &["it uses exceptions", "panic"]);
    refused(
        &format!("(module (memory (export \"memory\") i64 1) {ABI})"),
        &["it uses a memory of 64 bits", "wasm32"],
    );
    refused(&with("(memory 1)"), &["it uses several memories", "keep to one"]);
    refused_there("(func $bad (return_call $bad))", &["it uses tail calls", "`tail-call`"]);
    refused(&with("(type (struct))"), &["it uses garbage collection", "linear memory"]);
    refused(&with("(func (param externref))"), &["references to objects of the host"]);
}

#[test]
fn what_is_imported_is_of_the_abi() {
    let import = |what: &str| with(&format!("(import {what})"));
    refused(&import("\"atoll\" \"m\" (memory 1)"), &["it uses several memories"]);
    let memory = format!(
        "(module (import \"atoll\" \"m\" (memory 1)) (export \"memory\" (memory 0)) {ABI})"
    );
    refused(&memory, &["it imports a memory, `atoll::m`", "define it"]);
    refused(&import("\"atoll\" \"t\" (table 1 funcref)"), &["it imports a table, `atoll::t`"]);
    refused(&import("\"atoll\" \"g\" (global i32)"), &["it imports a global, `atoll::g`"]);
    refused(
        &import(
            "\"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32))",
        ),
        &["`wasi_snapshot_preview1::fd_write`", "only module `atoll`", "no WASI here"],
    );
    refused(&import("\"env\" \"f\" (func)"), &["`env::f`", "atom/ABI.md"]);
    let typo = import("\"atoll\" \"lgo\" (func (param i32 i32) (result i32))");
    let refusal = refused(&typo, &["`atoll::lgo`, which is not there", "did you mean `log`?"]);
    assert!(refusal.offset.is_some());
    refused(&import("\"atoll\" \"reboot\" (func)"), &["`atoll::reboot`, which is not there"]);
    refused(
        &import("\"atoll\" \"recv\" (func (param i32 i64 i32) (result i32))"),
        &["`atoll::recv` as (i32 i64 i32) -> i32", "its type is (i32 i32 i32) -> i32"],
    );
}

#[test]
fn what_must_be_exported_is_exported() {
    let invoke = "(func (export \"invoke\") (param i32 i64 i32) (result i32) (i32.const 0))";
    let abi = "(func (export \"atoll_abi\") (result i32) (i32.const 1))";
    refused(&format!("(module {ABI})"), &["no memory of the name `memory`"]);
    refused(&format!("(module (memory (export \"mem\") 1) {ABI})"), &["--export-memory"]);
    refused(&format!("(module {MEMORY} {invoke})"), &["no `atoll_abi`", "() -> i32"]);
    refused(
        &format!("(module {MEMORY} {abi} {})", invoke.replace("invoke", "invokee")),
        &["no `invoke`", "it has `invokee`; export a function `invoke` (i32 i64 i32) -> i32"],
    );
    refused(
        &format!("(module {MEMORY} {abi} (global (export \"invoke\") i32 (i32.const 0)))"),
        &["`invoke` is no function"],
    );
    refused(
        &format!("(module {MEMORY} {abi} (func (export \"invoke\") (param i32)))"),
        &["`invoke` is (i32)", "its type is (i32 i64 i32) -> i32"],
    );
    refused(
        &with("(func (export \"future\") (param i32 i32 i32) (result i32) (i32.const 0))"),
        &["`future` is (i32 i32 i32) -> i32", "(i64 i32 i32) -> i32"],
    );
    refused(
        &format!("(module {MEMORY} {} {invoke})", abi.replace("const 1", "const 2")),
        &["it is of ABI 2, but this builder knows ABI 1"],
    );
    let counts = "(i32.add (i32.const 0) (i32.const 1))";
    refused(
        &format!("(module {MEMORY} {} {invoke})", abi.replace("(i32.const 1)", counts)),
        &["more than to give a number", "optimisation"],
    );
}

#[test]
fn nothing_runs_before_the_first_event() {
    let refusal = refused(
        &with("(func $begin) (start $begin)"),
        &["a start function, 0 (begin)", "`_initialize`"],
    );
    assert!(refusal.offset.is_some());
}

#[test]
fn what_no_instance_could_be_made_of_is_refused() {
    for (more, words) in [
        ("(table 65537 funcref)", &["table of 65537 elements", "at most 65536"][..]),
        (
            "(table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)",
            &["more than 4 tables"],
        ),
        ("(data (i32.const 65534) \"abc\")", &["data at 65534 to 65537", "into 65536"]),
        ("(data (i32.const -1) \"a\")", &["data at 4294967295 to 4294967296"]),
        (
            "(table 2 funcref) (elem (i32.const 1) $invoke $invoke)",
            &["elements at 1 to 3", "into 2"],
        ),
        (
            "(table 2 funcref) (elem (i32.const 3) funcref)",
            &["elements at 3 to 3", "make room for them"],
        ),
    ] {
        let refusal = refused(&with(more), words);
        assert!(refusal.offset.is_some());
    }
    take(&with("(table 65536 funcref) (data (i32.const 65535) \"a\") (data (i32.const 65536))"))
        .unwrap();
    take(&with("(table 2 funcref) (elem (i32.const 1) $invoke) (data \"passive\")")).unwrap();
    // An offset that a global gives could be read only where it is imported.
    refused(&with("(global i32 (i32.const 0)) (data (global.get 0))"), &["constant expression"]);
}

#[test]
fn globals_can_be_captured() {
    refused(
        &with("(global (mut funcref) (ref.null func))"),
        &["global 0 is a mutable funcref", "keep it in memory"],
    );
    refused(&with("(global (mut v128) (v128.const i64x2 0 0))"), &["global 0 is a mutable v128"]);
    let many: String = (0..1025).map(|_| "(global (mut i32) (i32.const 0))").collect();
    refused(&with(&many), &["more than 1024 mutable globals"]);
}

#[test]
fn files_are_declared_rightly() {
    let files = |text: &str| with(&format!("(@custom \"atoll.files\" \"{text}\")"));
    refused(&files("txt count\\n"), &["atoll.files: line 1, \"txt count\"", "ABI.md"]);
    refused(&files("text a\\ntext a\\n"), &["\"a\" is there twice"]);
    refused(&files("\\ff\\n"), &["is not UTF-8"]);
}

#[test]
fn what_is_no_wasm_is_refused_where_it_ends() {
    let bad = |bytes: &[u8]| atoms::canonical("m", bytes).unwrap_err();
    assert!(bad(b"").what.contains("no Wasm"));
    assert!(bad(b"(module)").help.contains(".wat"));
    let whole = take(&with("")).unwrap().wasm;
    for at in 4..whole.len() {
        let refusal = bad(&whole[..at]);
        assert!(refusal.offset.is_none_or(|o| o <= at), "{at}: {refusal}");
    }
    let wrong = "(func $bad (result i32))";
    let refusal = refused(&with(wrong), &["it is not valid: type mismatch"]);
    assert_eq!(refusal.function.as_deref(), Some("0 (bad)"));
    assert!(bad(&vec![0; 17 << 20]).what.contains("too many"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever a byte is changed to: refused, or taken and canonical.
    #[test]
    fn a_changed_module_never_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut wasm = wat::parse_str(with(
            "(global (mut i32) (i32.const 0)) (table 1 funcref) (elem (i32.const 0) $invoke)
             (@custom \"atoll.files\" \"text a\\n\") (data (i32.const 0) \"abc\")",
        )).unwrap();
        for (at, byte) in changes {
            let at = at.index(wasm.len());
            wasm[at] = byte;
        }
        if let Ok(made) = atoms::canonical("m", &wasm) {
            prop_assert_eq!(&atoms::canonical("m", &made.wasm).unwrap(), &made);
        }
    }
}
