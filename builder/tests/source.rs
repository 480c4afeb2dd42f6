//! Sources of atoms: each language becomes a module, the same one wherever it lies, and
//! nothing is compiled that was compiled before.

use std::path::Path;

use atoll_builder::atoms;
use atoll_builder::repo::Repo;
use atoll_builder::ui::Ui;
use atoll_config::text::{Checked, Modules, load};
use tempfile::TempDir;

const UI: Ui = Ui { quiet: true, verbose: false, colours: false };

const WAT: &str = r#"(module (memory (export "memory") 1)
    (@custom "atoll.files" "text count\n")
    (func (export "atoll_abi") (result i32) (i32.const 1))
    (func (export "invoke") (param i32 i64 i32) (result i32) (i32.const 0)))"#;

const MANIFEST: &str = r#"[package]
name = "tick"
version = "0.1.0"
edition = "2024"
[workspace]
"#;

const RUST: &str = r#"#![no_std]
mod step;
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! { core::arch::wasm32::unreachable() }
#[unsafe(no_mangle)]
pub extern "C" fn atoll_abi() -> i32 { 1 }
#[unsafe(no_mangle)]
pub extern "C" fn invoke(_kind: i32, id: i64, _len: i32) -> i32 {
    step::STEPS.get(id as usize).copied().expect("a step")
}
#[used]
#[unsafe(link_section = "atoll.files")]
static FILES: [u8; 11] = *b"text count\n";
"#;

const C: &str = r#"
__attribute__((export_name("atoll_abi"))) int atoll_abi(void) { return 1; }
__attribute__((export_name("invoke"))) int invoke(int kind, long long id, int len) {
    return kind + (int)id + len;
}
"#;

/// A guest whose atom has this source.
fn place(path: &str, more: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let toml = format!(
        "[guest]\nname = \"g\"\nmemory = \"4MiB\"\n[[atom]]\nname = \"a\"\npath = \"{path}\"\n{more}\n"
    );
    std::fs::write(dir.path().join("guest.toml"), toml).unwrap();
    dir
}

fn guest(dir: &Path) -> Checked {
    load(&dir.join("guest.toml")).unwrap()
}

fn made(dir: &Path) -> anyhow::Result<Modules> {
    atoms::modules(&Repo::find().unwrap(), &guest(dir).atoms, UI)
}

/// Why this machine cannot compile that language, if so.
fn missing(made: &anyhow::Result<Modules>) -> bool {
    let why = made.as_ref().err().map(|e| format!("{e:#}")).unwrap_or_default();
    let missing = why.contains("install");
    if missing {
        eprintln!("skipped: {why}");
    }
    missing
}

#[test]
fn text_and_binary_are_one_module() {
    let text = place("count.wat", "");
    std::fs::write(text.path().join("count.wat"), WAT).unwrap();
    let made_of_text = made(text.path()).unwrap();
    assert_eq!((made_of_text.list.len(), made_of_text.list[0].name.as_str()), (1, "a"));
    assert_eq!(made_of_text.list[0].files[0].0, "count");
    let binary = place("count.wasm", "");
    std::fs::write(binary.path().join("count.wasm"), wat::parse_str(WAT).unwrap()).unwrap();
    assert_eq!(made(binary.path()).unwrap(), made_of_text);
    let two = place("count.wat", "[[atom]]\nname = \"b\"\npath = \"count.wat\"");
    std::fs::write(two.path().join("count.wat"), WAT).unwrap();
    let both = made(two.path()).unwrap();
    assert_eq!((both.list.len(), both.of.as_slice()), (1, &[0, 0][..]));
}

#[test]
fn what_is_wrong_with_a_source_names_the_atom() {
    let bad = |path: &str, text: &str, more: &str| {
        let dir = place(path, more);
        std::fs::write(dir.path().join(path), text).unwrap();
        format!("{:#}", made(dir.path()).unwrap_err())
    };
    let syntax = bad("x.wat", "(module\n  (func (i32.cons 1)))", "");
    assert!(syntax.contains("atom `a`") && syntax.contains("x.wat:2:10"), "{syntax}");
    let junk = bad("x.wasm", "junk", "");
    assert!(junk.contains("atom `a`: module `a`, byte 0x0: it is no Wasm"), "{junk}");
    let large = bad("x.wat", &WAT.replace("\"memory\") 1", "\"memory\") 3"), "memory = \"64KiB\"");
    assert!(large.contains("192KiB of memory at its start"), "{large}");
    assert!(large.contains("write memory = \"192KiB\""), "{large}");
}

fn package(step: i32) -> TempDir {
    let dir = place("src/tick", "");
    write(dir.path(), step);
    dir
}

fn write(dir: &Path, step: i32) {
    let package = dir.join("src/tick");
    std::fs::create_dir_all(package.join("src")).unwrap();
    std::fs::write(package.join("Cargo.toml"), MANIFEST).unwrap();
    std::fs::write(package.join("src/lib.rs"), RUST).unwrap();
    let text = format!("pub const STEPS: [i32; 3] = [{step}, 2, 3];\n");
    std::fs::write(package.join("src/step.rs"), text).unwrap();
}

#[test]
fn a_package_gives_the_same_module_wherever_it_lies_until_it_changes() {
    let one = package(1);
    let first = made(one.path());
    if missing(&first) {
        return;
    }
    let first = first.unwrap();
    assert_eq!((first.list[0].name.as_str(), first.list[0].files.len()), ("a", 1));
    let wasm = &first.list[0].wasm;
    let here = one.path().to_str().unwrap();
    let names = |text: &str| wasm.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(!names(here) && !names(env!("CARGO_MANIFEST_DIR")), "a path of this machine is in it");
    let two = package(1);
    assert_eq!(made(two.path()).unwrap(), first, "it depends on where the package lies");
    // A module that lib.rs includes is an input like itself.
    write(one.path(), 7);
    let other = made(one.path()).unwrap();
    assert_ne!(other, first);
    write(one.path(), 1);
    assert_eq!(made(one.path()).unwrap(), first);
    // What is kept needs no compiler: cargo would fail on this.
    std::fs::write(one.path().join("src/tick/src/unused.rs"), "?").unwrap();
    assert_eq!(made(one.path()).unwrap(), first);
    std::fs::write(one.path().join("src/tick/src/lib.rs"), "fn main() { no }").unwrap();
    let broken = format!("{:#}", made(one.path()).unwrap_err());
    assert!(broken.contains("cannot compile the atom in"), "{broken}");
}

#[test]
fn a_c_file_becomes_a_module() {
    let dir = place("sum.c", "stack = \"8KiB\"");
    std::fs::write(dir.path().join("sum.c"), C).unwrap();
    let first = made(dir.path());
    if missing(&first) {
        return;
    }
    let first = first.unwrap();
    assert_eq!(made(dir.path()).unwrap(), first);
    std::fs::write(dir.path().join("sum.c"), C.replace("kind +", "kind -")).unwrap();
    assert_ne!(made(dir.path()).unwrap(), first);
}
