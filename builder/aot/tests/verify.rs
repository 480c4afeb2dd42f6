//! What `atoll-aot verify` says of images that are as they should be, and of others.

#[path = "../../tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::process::{Command, Output};

use atoll_builder::{assemble, atoms};
use atoll_config::code;
use atoll_config::image::Platform;
use atoll_config::text::{Modules, OwnedModule};
use common::{GUEST, guest, kernel};
use tempfile::TempDir;

const WAT: &str = r#"(module (memory (export "memory") 1)
    (global (mut i32) (i32.const 7))
    (@custom "atoll.files" "text count\n")
    (func (export "atoll_abi") (result i32) (i32.const 1))
    (func (export "invoke") (param i32 i64 i32) (result i32) (local.get 2)))"#;

fn aot(args: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_atoll-aot")).args(args).output().unwrap()
}

/// An image with one atom, its module or its code changed on the way.
fn image(dir: &TempDir, change: impl FnOnce(&mut OwnedModule, &mut Vec<u8>)) -> Output {
    let made = atoms::canonical("count", &wat::parse_str(WAT).unwrap()).unwrap();
    let (wasm, out) = (dir.path().join("m.wasm"), dir.path().join("m.code"));
    std::fs::write(&wasm, &made.wasm).unwrap();
    assert!(aot(&[Path::new("compile"), &wasm, &out]).status.success());
    let mut native = std::fs::read(&out).unwrap();
    let mut module = OwnedModule::new("count".into(), made.wasm, made.files);
    change(&mut module, &mut native);
    let module = OwnedModule::new(module.name, module.wasm, module.files);
    let sealed =
        code::seal(code::COMPILER, code::CPU, &[(module.hash, native.as_slice())]).unwrap();
    let mut modules = Modules::default();
    modules.push(module);
    let guest = guest(&format!("{GUEST}[[atom]]\nname = \"count\"\npath = \"count.wat\"\n"));
    let payload = guest.payload(&modules);
    let image = assemble::assemble(&kernel(), &payload, Some(&sealed), &Platform::ALL).unwrap();
    let path = dir.path().join("a.img");
    std::fs::write(&path, image.bytes()).unwrap();
    aot(&[Path::new("verify"), &path])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn code_that_is_the_modules_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let out = image(&dir, |_, _| {});
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&out.stdout).starts_with("same      count "), "{}", text(&out.stdout));
    let json = aot(&[Path::new("verify"), &dir.path().join("a.img"), Path::new("--json")]);
    let line: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((line["module"].as_str(), line["ok"].as_bool()), (Some("count"), Some(true)));
}

#[test]
fn code_that_is_not_is_told_though_every_hash_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let different = |change: fn(&mut OwnedModule, &mut Vec<u8>), why: &str| {
        let out = image(&dir, change);
        assert_eq!(out.status.code(), Some(1));
        assert!(text(&out.stdout).contains(why), "{why}: {}", text(&out.stdout));
        assert!(text(&out.stderr).contains("do not run this image"), "{}", text(&out.stderr));
    };
    different(|_, code| *code.last_mut().unwrap() ^= 1, "the code differs from byte 0x");
    different(|_, code| code.push(0), "bytes of code, but it compiles to");
    different(|m, _| m.files[0].0 = "other".into(), "other files than the module declares");
    different(|m, _| m.wasm = wat::parse_str(WAT).unwrap(), "not in its canonical form");
    different(|m, _| m.wasm = b"junk".to_vec(), "it is no Wasm");
}

#[test]
fn what_cannot_be_compiled_or_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let junk = dir.path().join("junk");
    std::fs::write(&junk, "junk").unwrap();
    let out = aot(&[Path::new("compile"), &junk, &dir.path().join("out")]);
    assert_eq!(out.status.code(), Some(1));
    assert!(!dir.path().join("out").exists());
    let out = aot(&[Path::new("verify"), &junk]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("not an image"), "{}", text(&out.stderr));
}
