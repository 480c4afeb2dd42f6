//! The table of `docs/mounts.md`, against what a mount does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use atoll_lab::nine::Server;

use crate::{inside, tree};

/// The words of one column, by row: `| `row` … | `v9fs` … | `fuse` … |`.
pub(crate) fn column(which: usize) -> BTreeMap<String, String> {
    let doc = include_str!("../../../docs/mounts.md");
    let word = |cell: &str| Some(cell.trim().strip_prefix('`')?.split('`').next()?.to_owned());
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').collect();
        Some((word(cells.first()?)?, word(cells.get(which)?)?))
    };
    doc.lines().filter_map(row).collect()
}

/// A program that maps files, made in a folder. Who can build this can build that.
pub(crate) fn mapped(dir: &Path) -> PathBuf {
    let to = dir.join("mapped");
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mount/mapped.c");
    let cc = Command::new("cc").args(["-O", "-Wall", "-Werror", "-o"]).arg(&to).arg(from).status();
    assert!(cc.unwrap().success(), "cc does not compile {from}");
    to
}

#[test]
fn every_case_is_a_row_and_every_row_a_case() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mount/cases");
    let mut names: Vec<String> = std::fs::read_dir(cases)
        .unwrap()
        .filter_map(|e| Some(e.unwrap().file_name().to_str()?.strip_suffix(".sh")?.to_owned()))
        .collect();
    names.sort();
    for which in [1, 2] {
        assert_eq!(column(which).into_keys().collect::<Vec<_>>(), names, "column {which}");
    }
}

#[test]
fn a_fuse_mount_does_what_the_table_says() {
    if !inside::possible() {
        return;
    }
    let (live, files) = (Server::start(tree::live).unwrap(), Server::start(tree::files).unwrap());
    let (live, files) = (live.port().to_string(), files.port().to_string());
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mount/cases");
    let dir = tempfile::tempdir().unwrap();
    let mapped = mapped(dir.path());
    let mut env = vec![("LIVE_PORT", live.as_str()), ("FILES_PORT", files.as_str())];
    env.extend([("CASES", cases), ("MAPPED", mapped.to_str().unwrap())]);
    // A shell of its own for each, so that one that fails does not end the others.
    let script = r#"
        mkdir live files
        LIVE=$TMP/live FILES=$TMP/files; export LIVE FILES
        "$ATOLL" mount -q tcp:127.0.0.1:$LIVE_PORT "$LIVE" --via fuse
        "$ATOLL" mount -q tcp:127.0.0.1:$FILES_PORT "$FILES" --via fuse
        for case in "$CASES"/*.sh; do
            name=$(basename "$case" .sh)
            mkdir "work-$name"
            word=$(cd "work-$name" && TMP=$PWD sh "$case") || word="$word status-$?"
            echo "$name $word"
        done
        "$ATOLL" umount "$LIVE"
        "$ATOLL" umount "$FILES"
    "#;
    let said = inside::ok(script, &env);
    let pair = |l: &str| l.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let found: BTreeMap<String, String> = said.lines().filter_map(pair).collect();
    assert_eq!(found, column(2), "{said}");
}
