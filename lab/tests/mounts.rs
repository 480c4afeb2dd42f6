//! The table of `docs/mounts.md`, against what the kernel's 9P client does: the same
//! scripts that are asked of FUSE in `supervisor/tests/mount`.

use std::path::Path;

use atoll_lab::door::HOST;
use atoll_lab::linux::{Linux, Setup};
use atoll_lab::nine::Server;

#[path = "../../supervisor/tests/mount/tree.rs"]
mod tree;

/// The rows of the table: a question's name, and the answer of v9fs.
fn rows() -> Vec<(String, String)> {
    let doc = include_str!("../../docs/mounts.md");
    let word = |cell: &str| Some(cell.trim().strip_prefix('`')?.split('`').next()?.to_owned());
    let row = |line: &str| {
        let mut cells = line.strip_prefix('|')?.split('|');
        Some((word(cells.next()?)?, word(cells.next()?)?))
    };
    doc.lines().filter_map(row).collect()
}

#[test]
fn v9fs_does_what_the_table_says() {
    // What busybox has not.
    let flock = Path::new("/usr/bin/flock");
    let linux = match Setup::new().and_then(|s| s.program("/usr/bin/flock", flock)) {
        Ok(setup) => Linux::boot(setup).unwrap(),
        Err(why) => {
            eprintln!("skipped: {why:#}");
            return;
        }
    };
    let (live, files) = (Server::start(tree::live).unwrap(), Server::start(tree::files).unwrap());
    let mount = |port: u16, at: &str| {
        let options = format!("trans=tcp,port={port},version=9p2000.L,msize=65536,cache=none");
        linux.ok(&format!("mkdir -p {at} && mount -t 9p -o {options} {HOST} {at}")).unwrap();
    };
    mount(live.port(), "/live");
    mount(files.port(), "/files");
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../supervisor/tests/mount/cases");
    let mut wrong = Vec::new();
    for (name, want) in rows() {
        let case = std::fs::read_to_string(cases.join(format!("{name}.sh"))).unwrap();
        let around = format!(
            "export LIVE=/live FILES=/files TMP=/tmp/{name}; mkdir -p $TMP; cd $TMP\n{case}"
        );
        let out = linux.run(&around).unwrap();
        // Before it a shell may have told of processes that were killed.
        let (text, is) = (out.text(), out.text());
        let is = is.trim().lines().last().unwrap_or_default();
        println!("v9fs: {name}: {is}");
        if is != want {
            wrong.push(format!("{name}: the table says {want}, it is {text}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    linux.ok("umount /live /files").unwrap();
}
