//! A module that was taken and rewritten does what the one did that came: the same
//! results, traps and bytes of memory, compiled as atoms are.

use std::fs;
use std::path::Path;

use atoll_builder::atoms;
use atoll_fuzz::rng::Rng;
use atoll_fuzz::{module, wasm};
use wasmtime::{
    AsContextMut, Config, Engine, Extern, ExternType, Instance, Linker, Module, Store, Trap, Val,
};

/// What a call gives: numbers, or the trap.
type Given = Result<Vec<i64>, String>;

/// What was seen of a module: each call, with the memory behind it.
type Seen = Vec<(&'static str, Given, Vec<u8>)>;

/// The exports, in the order of their calls, each with its arguments.
const CALLS: [(&str, &[i64]); 7] = [
    ("_initialize", &[]),
    ("atoll_abi", &[]),
    ("invoke", &[1, 0, 0]),
    ("invoke", &[5, 3, 700]),
    ("interrupt", &[62, -1, 0]),
    ("future", &[1 << 40, -22, 3]),
    ("invoke", &[4, -1, -1]),
];

fn number(value: &Val) -> i64 {
    match value {
        Val::I32(n) => (*n).into(),
        Val::I64(n) => *n,
        other => panic!("{other:?}"),
    }
}

/// The imports: what they give depends on what they are given alone.
fn linker(engine: &Engine, module: &Module) -> Linker<()> {
    let mut linker = Linker::new(engine);
    for import in module.imports() {
        let ExternType::Func(ty) = import.ty() else { panic!("no function") };
        let salt = import.name().len() as i64;
        let wide = ty.results().any(|ty| ty.is_i64());
        let define = linker.func_new("atoll", import.name(), ty, move |_, given, results| {
            let n = given.iter().map(number).fold(salt, |n, g| n.wrapping_mul(31) ^ g);
            let n = if wide { Val::I64(n) } else { Val::I32(n as i32) };
            results.iter_mut().for_each(|result| *result = n);
            Ok(())
        });
        // One that is imported twice is the same.
        drop(define);
    }
    linker
}

fn call(store: &mut Store<()>, of: &Instance, name: &str, given: &[i64]) -> Option<Given> {
    let f = of.get_func(store.as_context_mut(), name)?;
    let ty = f.ty(&*store);
    let given: Vec<Val> = ty
        .params()
        .zip(given)
        .map(|(ty, n)| if ty.is_i64() { Val::I64(*n) } else { Val::I32(*n as i32) })
        .collect();
    let mut results = vec![Val::I32(0); ty.results().len()];
    let done = f.call(&mut *store, &given, &mut results);
    Some(match done {
        Ok(()) => Ok(results.iter().map(number).collect()),
        Err(e) => Err(e.downcast_ref::<Trap>().map_or_else(|| e.to_string(), Trap::to_string)),
    })
}

fn see(engine: &Engine, module: &Module) -> Seen {
    let mut store = Store::new(engine, ());
    let instance = linker(engine, module).instantiate(&mut store, module).expect("an instance");
    let mut seen = Seen::new();
    for (name, given) in CALLS {
        let Some(done) = call(&mut store, &instance, name, given) else { continue };
        let memory = match instance.get_export(&mut store, "memory") {
            Some(Extern::Memory(m)) => m.data(&store).to_vec(),
            _ => panic!("no memory"),
        };
        seen.push((name, done, memory));
    }
    seen
}

/// Compares a module with what is made of it; nothing where it is refused.
fn compare(wasm: &[u8]) -> Option<Seen> {
    let made = atoms::canonical("m", wasm).ok()?;
    // As it came: whatever wasmtime makes of it by itself.
    let engine = Engine::default();
    let before = see(&engine, &Module::new(&engine, wasm).expect("it compiles as it came"));
    let code = atoll_engine::compile(&made.wasm).expect("what was taken compiles");
    let mut config: Config = atoll_engine::config();
    config.enable_compiler(false);
    let engine = Engine::new(&config).expect("a configuration that is sound");
    #[allow(unsafe_code)] // there is no other way to native code
    // SAFETY: it is what `compile` gave.
    let module = unsafe { Module::deserialize(&engine, &code) }.expect("code of this compiler");
    let after = see(&engine, &module);
    for (b, a) in before.iter().zip(&after) {
        assert_eq!((b.0, &b.1), (a.0, &a.1));
        assert_eq!(b.2.len(), a.2.len(), "after {}", b.0);
        assert!(b.2 == a.2, "after {}: memory differs", b.0);
    }
    assert_eq!(before.len(), after.len());
    Some(before)
}

#[test]
fn a_module_that_is_rewritten_does_what_it_did() {
    let (mut taken, mut whole) = (0, 0);
    let all = if cfg!(debug_assertions) { 24 } else { 1000 };
    for seed in 0..all {
        let mut rng = Rng::new(seed);
        let choices: Vec<u8> = (0..rng.below(900)).map(|_| rng.next() as u8).collect();
        let told = std::panic::catch_unwind(|| compare(&wasm::module(&choices)));
        let Ok(seen) = told else { panic!("seed {seed}") };
        let Some(seen) = seen else { continue };
        taken += 1;
        whole += usize::from(seen.iter().all(|(_, done, _)| done.is_ok()));
    }
    // Most of them are atoms, and most of these reach their end.
    assert!(taken > all / 2, "{taken} of {all}");
    assert!(whole > taken as usize / 3, "{whole} of {taken}");
}

#[test]
fn what_is_kept_compiles_and_does_what_it_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/module");
    let mut taken = 0;
    for entry in fs::read_dir(folder).expect("a corpus").flatten() {
        let input = fs::read(entry.path()).expect("an input");
        taken += usize::from(compare(&module::of(&input)).is_some());
    }
    assert!(taken > 5, "{taken}");
}
