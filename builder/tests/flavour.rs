//! Kernels: the same bytes wherever the checkout lies, compiled only once, and with no
//! more in them than their guests need.

use std::path::{Path, PathBuf};

use atoll_builder::build::{Options, build};
use atoll_builder::flavour::Flavour;
use atoll_builder::repo::Repo;
use atoll_builder::ui::Ui;
use atoll_config::image::Platform;
use atoll_config::kinds::KINDS;

const UI: Ui = Ui { quiet: true, verbose: false, colours: false };

/// What a kernel and the image of hello are made of.
const PARTS: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "9p",
    "config",
    "runtime",
    "engine",
    "unikernel",
    "xen",
    "builder",
    "images/hello",
];

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            if name != "target" {
                copy(&from.join(&name), &to.join(&name));
            }
        }
    } else {
        std::fs::copy(from, to).unwrap();
    }
}

#[test]
fn two_checkouts_make_the_same_image_and_a_changed_value_compiles_nothing() {
    let here = Repo::find().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let there = Repo { root: dir.path().join("deep/in/another/place") };
    for part in PARTS {
        let to = there.path(part);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        copy(&here.path(part), &to);
    }
    let hello = PathBuf::from("images/hello/guest.toml");
    let image = |repo: &Repo| {
        let out = dir.path().join("out.img");
        let options = Options { out: Some(out.clone()), kernel: None };
        let built = build(repo, &repo.path(&hello), &options, UI).unwrap();
        (std::fs::read(out).unwrap(), built)
    };
    let (first, built) = image(&there);
    assert_eq!(built.kernel, "compiled");
    let (again, built) = image(&there);
    assert_eq!((built.kernel, again == first), ("cached", true));
    let (mine, _) = image(&here);
    assert!(mine == first, "the image depends on where the checkout lies");

    let file = there.path(&hello);
    let changed = std::fs::read_to_string(&file).unwrap().replace("\"world\"", "\"reef\"");
    std::fs::write(&file, changed).unwrap();
    let (other, built) = image(&there);
    assert_eq!((built.kernel, other == first), ("cached", false));
}

#[test]
fn a_kernel_has_the_code_that_its_kinds_ask_for() {
    let repo = Repo::find().unwrap();
    let has = |name: &str, file: &str| {
        let kinds: Vec<_> = KINDS.iter().filter(|k| k.name == name).collect();
        let flavour = Flavour::of(&repo, &kinds, false, &Platform::ALL).unwrap();
        flavour.get(&repo, UI).unwrap();
        // The table of lines names each source file that has code in it.
        let elf = std::fs::read(flavour.symbols(&repo)).unwrap();
        elf.windows(file.len()).any(|w| w == file.as_bytes())
    };
    // Only a kind that calls into its namespace wants a 9P client.
    const CLIENT: &str = "src/client/tags.rs";
    assert!(has("reader", CLIENT));
    assert!(!has("greeter", CLIENT));
}

#[test]
fn a_guest_with_atoms_has_a_kernel_of_its_own() {
    let repo = Repo::find().unwrap();
    let plain = Flavour::of(&repo, &[], false, &Platform::ALL).unwrap();
    let with = Flavour::of(&repo, &[], true, &Platform::ALL).unwrap();
    assert!(with.has_atoms() && !plain.has_atoms());
    assert_eq!(with.features, ["qemu", "xen", "atoms"]);
    let qemu = Flavour::of(&repo, &[], false, &[Platform::Qemu]).unwrap();
    let process = Flavour::of(&repo, &[], false, &[Platform::Process]).unwrap();
    assert_eq!(qemu.features, ["qemu"]);
    assert_eq!(process.key, qemu.key);
    assert_ne!(with.key, plain.key);
}
