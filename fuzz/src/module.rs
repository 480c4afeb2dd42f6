//! Target `module`: the bytes are a Wasm module that somebody wants to be an atom, or
//! choices of which one is made ([`crate::wasm`]).
//!
//! Whatever it is, it is refused with a reason, or taken: then what is made of it is valid,
//! is its own canonical form, and exports what the ABI says. That it compiles, and does what
//! the module did, `tests/meaning.rs` looks at.

use atoll_builder::atoms::{self, Canonical};
use wasmparser::{ExternalKind, Parser, Payload, Validator};

use crate::rng::Rng;
use crate::wasm;

/// The module of an input.
pub fn of(input: &[u8]) -> Vec<u8> {
    match input.split_first() {
        Some((which, bytes)) if which % 2 == 1 => wasm::module(bytes),
        Some((_, bytes)) => bytes.to_vec(),
        None => Vec::new(),
    }
}

/// Tries one input.
pub fn run(input: &[u8]) {
    let module = of(input);
    if input.first().is_some_and(|which| which % 2 == 1) {
        let valid = Validator::new_with_features(atoms::FEATURES).validate_all(&module);
        valid.expect("what is made of choices is valid");
    }
    match atoms::canonical("m", &module) {
        Ok(made) => taken(&made),
        Err(refusal) => {
            assert!(!refusal.what.is_empty() && !refusal.help.is_empty());
            assert!(refusal.offset.is_none_or(|at| at <= module.len()), "{refusal}");
        }
    }
}

fn taken(made: &Canonical) {
    let valid = Validator::new_with_features(atoms::FEATURES).validate_all(&made.wasm);
    valid.expect("what was taken is valid");
    assert_eq!(&atoms::canonical("m", &made.wasm).expect("it is taken again"), made);
    assert_eq!(atoms::memory_at_start(&made.wasm), made.memory);
    let mut globals = 0;
    for payload in Parser::new(0).parse_all(&made.wasm) {
        match payload.expect("a sound module") {
            Payload::ExportSection(exports) => {
                for export in exports.into_iter().flatten() {
                    let own = export.name.starts_with(atoms::abi::OWN);
                    assert_eq!(own, export.kind == ExternalKind::Global, "{}", export.name);
                    globals += usize::from(own);
                }
            }
            Payload::StartSection { .. } => panic!("a start function"),
            Payload::CustomSection(s) => assert_eq!(s.name(), "atoll.files"),
            Payload::TableSection(tables) => {
                for table in tables.into_iter().flatten() {
                    assert_eq!(table.ty.maximum, Some(table.ty.initial));
                }
            }
            _ => {}
        }
    }
    assert_eq!(globals, made.globals);
}

/// Choices, and modules.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(17);
    let mut seeds = vec![Vec::new(), vec![1], b"\0\0asm\x01\0\0\0".to_vec()];
    for n in 0..40 {
        let choices: Vec<u8> = (0..20 + 5 * n).map(|_| rng.next() as u8).collect();
        seeds.push([&[0], &wasm::module(&choices)[..]].concat());
        seeds.push([&[1], &choices[..]].concat());
    }
    seeds.retain(|seed| seed.len() <= crate::MAX_INPUT);
    seeds
}

/// The module and what becomes of it, for people.
pub fn show(input: &[u8]) -> String {
    let module = of(input);
    match atoms::canonical("m", &module) {
        Ok(made) => format!("{module:02x?}\ntaken: {} globals, {:?}\n", made.globals, made.files),
        Err(refusal) => format!("{module:02x?}\n{refusal}\n"),
    }
}
