//! An atom that does wrong, on a processor that Xen acts for.

use atoll_9p::client::Error;

use super::*;

/// A page of an atom that was not touched, what it may not touch, and what never ends: the
/// exceptions and the timer of a processor that Xen acts for.
#[test]
fn an_atom_that_does_wrong_harms_nothing_else() {
    let Some(lab) = Lab::for_test() else { return };
    let dir = tempfile::tempdir().unwrap();
    let toml = "[guest]\nname = \"faults\"\nversion = \"1\"\nmemory = \"8MiB\"\n\
        on_fault = \"restart\"\nplatforms = [\"xen\"]\n[sponsor]\nmemory = \"4MiB\"\n\
        [[atom]]\nname = \"bad\"\npath = \"m.wat\"\nmemory = \"1MiB\"\ndeadline = \"200ms\"\n\
        [export]\nwrite = [\"bad\"]\n";
    let atom = include_str!("../../../supervisor/tests/e2e/atoms/faults.wat");
    std::fs::write(dir.path().join("guest.toml"), toml).unwrap();
    std::fs::write(dir.path().join("m.wat"), atom).unwrap();
    create(&lab, "faults", &image_of(&dir.path().join("guest.toml")), 8);
    let _client = proxy(&lab, "faults");
    let guest = session(&lab);
    for (what, why) in [
        ('a', "unreachable code was reached"),
        ('b', "a division by zero"),
        ('g', "an access outside of its memory"),
        ('p', "a call of a function that is not there"),
        ('r', "its stack is used up"),
        ('t', "beyond its time"),
    ] {
        let refused = guest.write("export/bad/do", format!("d{what}").as_bytes());
        let Err(Error::Refused(fault)) = refused else { panic!("{what}: {refused:?}") };
        assert!(fault.text().contains(why), "{what}: {}", fault.text());
        guest.write("export/bad/do", b"n").unwrap();
        assert_eq!(read(&guest, "export/bad/count"), "1", "{what}");
    }
}
