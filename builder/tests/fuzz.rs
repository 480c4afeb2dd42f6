//! `cargo xtask fuzz`, as far as it goes without building a fuzzer.
#![allow(missing_docs)]

use std::path::Path;
use std::process::Command;

use atoll_builder::fuzzer;
use atoll_builder::repo::Repo;

fn repo() -> Repo {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Repo { root: root.to_owned() }
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let repo = repo();
    let targets = fuzzer::targets(&repo).unwrap();
    let manifest = std::fs::read_to_string(repo.path("fuzz/Cargo.toml")).unwrap();
    for known in ["client", "decode", "server"] {
        assert!(targets.iter().any(|t| t == known), "no {known} in {targets:?}");
    }
    for target in &targets {
        let kept = std::fs::read_dir(repo.path("fuzz/corpus").join(target)).unwrap();
        assert!(kept.count() > 20, "{target}");
        assert!(manifest.contains(&format!("name = \"fuzz-{target}\"")), "{target}");
    }
}

#[test]
fn a_target_that_there_is_not_is_wrong_usage() {
    let xtask = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(args).env("NO_COLOR", "1").current_dir(repo().root).output().unwrap()
    };
    let out = xtask(&["fuzz", "servr"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("no target `servr`; there are: abi, checkpoint, client"), "{said}");
    let out = xtask(&["fuzz", "server", "an-input", "--keep"]);
    assert_eq!(out.status.code(), Some(2), "one input is tried and not kept");
}
