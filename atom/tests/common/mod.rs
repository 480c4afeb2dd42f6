//! The specification as a table, and what a module has, to compare.
#![allow(dead_code)] // each test program uses a part

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef, Validator, WasmFeatures};

/// This package.
pub(crate) fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn page() -> String {
    std::fs::read_to_string(folder().join("ABI.md")).unwrap()
}

/// The imports of ABI.md, section 6: name to parameters and results, `i32 i64 -> i32`.
pub(crate) fn imports() -> BTreeMap<String, String> {
    let page = page();
    let from = page.find("\n## 6. Imports").unwrap();
    let to = from + 1 + page[from + 1..].find("\n## ").unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let name = cells.next()?.split('(').next()?.to_owned();
        let ty = cells.next()?.trim().replace('→', "->").replace("future", "i64");
        Some((name, ty.trim().to_owned()))
    };
    page[from..to].lines().filter_map(row).collect()
}

/// What a module imports, exports and declares.
pub(crate) struct Module {
    pub(crate) imports: BTreeMap<String, String>,
    pub(crate) exports: BTreeMap<String, String>,
    pub(crate) files: String,
}

fn show(ty: &FuncType) -> String {
    let list = |types: &[wasmparser::ValType]| {
        types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    format!("{} -> {}", list(ty.params()), list(ty.results())).trim().to_owned()
}

/// Reads a module, which must be valid WebAssembly 2.0.
pub(crate) fn read(wasm: &[u8]) -> Module {
    Validator::new_with_features(WasmFeatures::WASM2).validate_all(wasm).unwrap();
    let (mut types, mut functions) = (Vec::new(), Vec::new());
    let mut module =
        Module { imports: BTreeMap::new(), exports: BTreeMap::new(), files: String::new() };
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::TypeSection(s) => {
                types.extend(s.into_iter_err_on_gc_types().map(|t| show(&t.unwrap())));
            }
            Payload::ImportSection(s) => {
                for import in s.into_imports() {
                    let import = import.unwrap();
                    assert_eq!(import.module, "atoll", "{}", import.name);
                    let TypeRef::Func(ty) = import.ty else {
                        panic!("{} is no function", import.name)
                    };
                    functions.push(ty);
                    module.imports.insert(import.name.to_owned(), types[ty as usize].clone());
                }
            }
            Payload::FunctionSection(s) => functions.extend(s.into_iter().map(Result::unwrap)),
            Payload::ExportSection(s) => {
                for export in s {
                    let export = export.unwrap();
                    let ty = match export.kind {
                        ExternalKind::Func => {
                            types[functions[export.index as usize] as usize].clone()
                        }
                        kind => format!("{kind:?}").to_lowercase(),
                    };
                    module.exports.insert(export.name.to_owned(), ty);
                }
            }
            Payload::StartSection { .. } => panic!("an atom has no start function"),
            Payload::CustomSection(s) if s.name() == atoll_atom::abi::SECTION => {
                module.files += std::str::from_utf8(s.data()).unwrap();
            }
            _ => {}
        }
    }
    module
}

/// Checks that a module is an atom as ABI.md, sections 2 and 6, says.
pub(crate) fn check(wasm: &[u8]) -> Module {
    let module = read(wasm);
    let known = imports();
    for (name, ty) in &module.imports {
        assert_eq!(known.get(name), Some(ty), "import {name}");
    }
    let has = |name: &str| module.exports.get(name).map(String::as_str);
    assert_eq!(has("memory"), Some("memory"));
    assert_eq!(has("atoll_abi"), Some("-> i32"));
    assert_eq!(has("invoke"), Some("i32 i64 i32 -> i32"));
    assert!(matches!(has("interrupt"), None | Some("i32 i64 i32 -> i32")));
    assert!(matches!(has("future"), None | Some("i64 i32 i32 -> i32")));
    assert!(matches!(has("_initialize"), None | Some("->")));
    module
}

/// The first of these programs that is in the search path.
pub(crate) fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let all = names.iter().flat_map(|n| std::env::split_paths(&path).map(move |d| d.join(n)));
    all.into_iter().find(|p| p.is_file())
}
