//! The C header and the AssemblyScript module declare the ABI as it is, and their
//! examples are atoms. Where a compiler is not installed, its test says so and passes.

mod common;

use std::path::Path;
use std::process::Command;

/// Runs a compiler.
fn compile(command: &mut Command) {
    let out = command.output().unwrap();
    let text = [out.stdout, out.stderr].concat();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&text));
}

/// A clang that makes Wasm.
fn clang() -> Option<Command> {
    let path = common::program(&["clang", "clang-19", "clang-20", "clang-18"])?;
    let targets = Command::new(&path).arg("--print-targets").output().ok()?.stdout;
    String::from_utf8_lossy(&targets).contains("wasm32").then(|| {
        let mut clang = Command::new(path);
        clang
            .args(["--target=wasm32-unknown-unknown", "-O2", "-nostdlib", "-ffreestanding"])
            .args(["-Wall", "-Wextra", "-Werror", "-Wl,--no-entry", "-I"])
            .arg(common::folder().join("c"));
        clang
    })
}

/// The AssemblyScript compiler: from the search path, or installed beside the module.
fn asc(source: &Path, out: &Path) -> Option<Command> {
    let own = common::folder().join("as/node_modules/.bin/asc");
    let path = if own.is_file() { own } else { common::program(&["asc"])? };
    let mut asc = Command::new(path);
    asc.current_dir(source.parent()?)
        .arg(source.file_name()?)
        .args(["-O3", "--runtime", "minimal", "--use", "abort=", "--exportStart", "_initialize"])
        .arg("-o")
        .arg(out);
    Some(asc)
}

/// The body of a function that calls every import: `prefix` and name, zeros, `;`.
fn calls(prefix: &str) -> String {
    let call = |(name, ty): (String, String)| {
        let params = ty.split("->").next().unwrap().split_whitespace().count();
        format!("{prefix}{name}({});\n", vec!["0"; params].join(", "))
    };
    common::imports().into_iter().map(call).collect()
}

const FILES: &str = "text count\nctl ctl\nevents events 4096\n";

#[test]
fn the_header_is_the_abi() {
    let Some(mut clang) = clang() else { return eprintln!("skipped: no clang with wasm32 here") };
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (folder.path().join("all.c"), folder.path().join("all.wasm"));
    let text = format!(
        "#include \"atoll.h\"\nATOLL_ATOM(\"text t\\n\")\n\
         ATOLL_EXPORT(invoke) int32_t invoke(int32_t a, int64_t b, int32_t c) {{\n\
         (void)b;\n{}return a + c;\n}}\n",
        calls("atoll_")
    );
    std::fs::write(&source, text).unwrap();
    compile(clang.arg("-o").arg(&out).arg(&source));
    let module = common::check(&std::fs::read(out).unwrap());
    assert_eq!(module.imports, common::imports());
    assert_eq!(module.files, "text t\n");
}

#[test]
fn the_example_in_c_is_an_atom() {
    let Some(mut clang) = clang() else { return eprintln!("skipped: no clang with wasm32 here") };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("counter.wasm");
    compile(clang.arg("-o").arg(&out).arg(common::folder().join("c/counter.c")));
    let wasm = std::fs::read(out).unwrap();
    let module = common::check(&wasm);
    assert_eq!(module.files, FILES);
    assert!(module.exports.contains_key("future"));
    assert!(wasm.len() < 4096, "{} bytes", wasm.len());
}

/// The module for AssemblyScript in a folder of its own.
fn assembly(folder: &Path) {
    for name in ["atoll.ts", "counter.ts", "files.js", "package.json"] {
        std::fs::copy(common::folder().join("as").join(name), folder.join(name)).unwrap();
    }
}

const NO_ASC: &str = "skipped: no AssemblyScript here (npm install in atom/as)";

#[test]
fn the_assemblyscript_module_is_the_abi() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (folder.path().join("all.ts"), folder.path().join("all.wasm"));
    assembly(folder.path());
    let text = format!(
        "import {{ ABI, abi }} from \"./atoll\";\n\
         export function atoll_abi(): i32 {{ return ABI; }}\n\
         export function invoke(a: i32, b: i64, c: i32): i32 {{\n{}return a + c;\n}}\n",
        calls("abi.")
    );
    std::fs::write(&source, text).unwrap();
    let Some(mut asc) = asc(&source, &out) else { return eprintln!("{NO_ASC}") };
    compile(&mut asc);
    let module = common::check(&std::fs::read(out).unwrap());
    assert_eq!(module.imports, common::imports());
}

#[test]
fn the_example_in_assemblyscript_is_an_atom() {
    let folder = tempfile::tempdir().unwrap();
    assembly(folder.path());
    let out = folder.path().join("counter.wasm");
    let Some(mut asc) = asc(&folder.path().join("counter.ts"), &out) else {
        return eprintln!("{NO_ASC}");
    };
    // The transform finds the compiler's library beside the compiler.
    let library = Path::new(asc.get_program()).canonicalize().unwrap();
    let modules = library.ancestors().find(|p| p.ends_with("node_modules"));
    if let Some(modules) = modules {
        std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
    }
    compile(asc.args(["--transform", "./files.js"]));
    let module = common::check(&std::fs::read(out).unwrap());
    assert_eq!(module.files, FILES);
    assert!(module.exports.contains_key("_initialize"));
}
