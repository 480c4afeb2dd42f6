//! A file that an atom has open goes with it from machine to machine.

use atoll_9p::client::blocking::Connection;

use super::conformance::{Host, toml};
use super::{build, connect, wait_until};
use crate::fixture::{Guest, Place, backends};

/// The atom of the suite whose commands are about files: `j` opens `/data/f` and says its
/// number, `k` reads two bytes of file 0, `m` writes ` you` at its third, `n` says what a stat
/// says, `o` closes it.
const SOURCE: &str = include_str!("../../../../engine/conformance/namespace.wat");
const GUEST: &str = "suite-open";

/// What comes of a command.
fn tell(c: &Connection, letter: &str) -> String {
    c.write("export/a/do", letter.as_bytes()).unwrap();
    wait_until(c, "export/a/out", |got| !got.is_empty())
}

#[test]
fn an_open_file_goes_on_from_machine_to_machine() {
    let script = ["atoms a", "host f hello"];
    let image = build(&toml("open", &script), SOURCE);
    let (place, kept) = (Place::new(), tempfile::tempdir().unwrap());
    let host = Host::start(&place, &script);
    let start = |on: &str, more: &[&str]| {
        let imports = ["--import", "data=files"];
        Guest::start_image(&place, GUEST, &image, on, &[&imports, more].concat())
    };
    let mut machines = backends().iter().rev().chain(backends());
    let mut n = 0;
    // Ends the guest here, and lets it go on at the next machine.
    let mut moved = |run: Guest| {
        n += 1;
        let file = kept.path().join(n.to_string());
        let file = file.to_str().unwrap();
        assert_eq!(place.ok(&["checkpoint", GUEST, file]), "");
        run.stop();
        start(machines.next().unwrap(), &["--restore", file])
    };

    let run = start(backends()[0], &[]);
    assert_eq!(tell(&connect(&place, GUEST), "j"), "f 0 4 0");
    let run = moved(run);
    let c = connect(&place, GUEST);
    assert_eq!(tell(&c, "k"), "f 0 el");
    assert_eq!(tell(&c, "m"), "f 0 4 4");
    drop(c);
    let run = moved(run);
    let c = connect(&place, GUEST);
    assert_eq!(std::fs::read(host.file("f")).unwrap(), b"hel you");
    assert_eq!(tell(&c, "n"), "f 0 33 8 0 7");
    drop(c);
    // Another file at its place is not it.
    std::fs::write(host.file("g"), "another").unwrap();
    std::fs::rename(host.file("g"), host.file("f")).unwrap();
    let run = moved(run);
    let c = connect(&place, GUEST);
    assert_eq!(tell(&c, "k"), "f -116");
    c.write("export/a/do", b"o").unwrap();
    assert_eq!(tell(&c, "j"), "f 0 4 0");
    assert_eq!(tell(&c, "k"), "f 0 no");
    drop(c);
    run.stop();
    host.stop();
    place.assert_empty();
}
