//! Kernels: the same bytes wherever the checkout lies, and compiled only once.

use std::path::{Path, PathBuf};

use atoll_builder::build::{Options, build};
use atoll_builder::repo::Repo;
use atoll_builder::ui::Ui;

const UI: Ui = Ui { quiet: true, verbose: false, colours: false };

/// What a kernel and the image of hello are made of.
const PARTS: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "9p", "config", "runtime", "unikernel", "builder", "images/hello"];

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
