//! Links the kernel by its own script, without the C library or its start files.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    for arg in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,--gc-sections",
        "-Wl,-z,noexecstack",
        "-Wl,-z,max-page-size=4096",
    ] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    let limit =
        if std::env::var_os("CARGO_FEATURE_ATOMS").is_some() { "0x400000" } else { "0x200000" };
    println!("cargo:rustc-link-arg-bins=-Wl,--defsym=__limit={limit}");
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{here}/link.ld");
    println!("cargo:rerun-if-changed=link.ld");
    println!("cargo:rerun-if-changed=build.rs");
}
