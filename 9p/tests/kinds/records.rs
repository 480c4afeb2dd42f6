//! Records, their other forms, and versions.

use super::*;

#[test]
fn a_record_is_text_here_and_bytes_below_rec() {
    let mut t = files(0);
    assert_eq!(text(&mut t, "sub/status"), "count 1\nname one\n");
    assert_eq!(cat(&mut t, "rec/sub/status").unwrap(), t.state.status.to_wire());
    let schema = text(&mut t, "rec/sub/schema");
    assert_eq!(schema, format!("file status\n{}", Status::to_schema()));
    // It is written in either form.
    echo(&mut t, "sub/status", b"name two words\ncount 2\n").unwrap();
    assert_eq!(t.state.status, Status { count: 2, name: "two words".into() });
    let three = Status { count: 3, name: "three".into() };
    echo(&mut t, "rec/sub/status", &three.to_wire()).unwrap();
    assert_eq!(t.state.status, three);
    // A write that is wrong changes nothing.
    let mut later = three.to_wire();
    later[0] = 4;
    let long = [&three.to_wire()[..], b"x"].concat();
    for (path, data, why) in [
        ("sub/status", &b"count x\nname n\n"[..], "line 1: count: \"x\" is not a whole number"),
        ("sub/status", b"count 4\n", "name is missing"),
        ("sub/status", b"count 13\nname n\n", "not 13"),
        ("sub/status", b"\xff", "UTF-8"),
        ("rec/sub/status", &later, "of version 4, known is 3"),
        ("rec/sub/status", &long, "1 bytes follow it"),
        ("rec/sub/status", b"", "version cannot be read"),
    ] {
        let fault = echo(&mut t, path, data).unwrap_err();
        assert!(fault.text().contains(why) && fault.errno == Errno::EINVAL, "{fault:?}");
        assert_eq!(t.state.status, three);
    }
    let (node, mut open) = open(&mut t, "sub/status", 1);
    assert_eq!(t.write(node, &mut open, 5, b"x").unwrap_err().errno, Errno::EINVAL);
    t.close(node, open);
}

#[test]
fn the_tree_of_bytes_shows_what_has_records_and_nothing_else() {
    let mut t = files(0);
    let root =
        ["sub", "text", "own", "conn", "console", "tty", "log", "many", "flat", "ctl", "rec"];
    assert_eq!(ls(&mut t, ""), root);
    assert_eq!(ls(&mut t, "rec"), ["sub", "conn", "many"]);
    assert_eq!(ls(&mut t, "rec/sub"), ["status", "schema"]);
    assert_eq!(ls(&mut t, "sub"), ["empty", "status"]);
    let (ctl, held) = open(&mut t, "conn/clone", 2);
    assert_eq!(ls(&mut t, "rec/conn"), ["0"]);
    assert_eq!(ls(&mut t, "rec/conn/0"), ["status", "schema"]);
    assert_eq!(
        cat(&mut t, "rec/conn/0/status").unwrap(),
        [3, 0, 6, b'c', b'a', b'l', b'l', b' ', b'0']
    );
    for none in ["rec/text", "rec/rec", "rec/schema", "sub/rec", "sub/schema", "rec/conn/clone"] {
        assert_eq!(walk(&mut t, none), Err(Errno::ENOENT), "{none}");
    }
    assert_eq!(walk(&mut t, "rec/sub/schema/x"), Err(Errno::ENOTDIR));
    // Every way up leads where it came from.
    for (path, up) in [
        ("rec/sub/schema", "rec/sub"),
        ("rec/sub/status", "rec/sub"),
        ("rec/sub", "rec"),
        ("rec", ""),
        ("conn/0/ctl", "conn/0"),
        ("conn/0", "conn"),
        ("rec/conn/0", "rec/conn"),
        ("conn/clone", "conn"),
        ("", ""),
    ] {
        let node = walk(&mut t, path).unwrap();
        assert_eq!(t.walk(node, "..").unwrap().0, walk(&mut t, up).unwrap(), "{path}");
    }
    let modes: Vec<u32> = ["rec", "rec/sub/schema", "sub/status", "rec/sub/status", "text"]
        .map(|p| walk(&mut t, p).and_then(|n| t.stat(n).map_err(|f| f.errno)).unwrap().mode)
        .into();
    let file = |perm| mode::FILE | perm;
    assert_eq!(modes, [mode::DIR | 0o555, file(0o444), file(0o644), file(0o644), file(0o444)]);
    let mut schema = walk(&mut t, "rec/sub/schema").unwrap();
    assert_eq!(t.open(&mut schema, OpenFlags::WRONLY).unwrap_err().errno, Errno::EACCES);
    t.close(ctl, held);
    // A tree without records has none of it.
    let mut plain: Synth<'_, ()> = Synth::new();
    plain.bytes(plain.root(), "f", b"");
    let mut plain = Files { synth: plain, state: () };
    let root = plain.synth.root();
    assert_eq!(plain.walk(root, "rec").unwrap_err().errno, Errno::ENOENT);
}

#[test]
fn a_version_changes_with_what_is_shown() {
    let mut t = files(0);
    for path in ["text", "sub/status", "rec/sub/status"] {
        cat(&mut t, path).unwrap();
        let first = version(&mut t, path);
        cat(&mut t, path).unwrap();
        assert_eq!(version(&mut t, path), first, "{path} shows the same");
        t.state.status.name += "!";
        cat(&mut t, path).unwrap();
        assert_ne!(version(&mut t, path), first, "{path} shows something else");
    }
    // A record has one version, whichever form was read.
    cat(&mut t, "rec/sub/status").unwrap();
    let bytes = version(&mut t, "rec/sub/status");
    cat(&mut t, "sub/status").unwrap();
    assert_eq!(version(&mut t, "sub/status"), bytes);
    echo(&mut t, "sub/status", b"count 9\nname x\n").unwrap();
    assert_ne!(version(&mut t, "sub/status"), bytes);
    assert_eq!(version(&mut t, "own"), 9);
    let before = (version(&mut t, "log"), version(&mut t, "ctl"), version(&mut t, "conn"));
    t.state.log.push("line");
    echo(&mut t, "ctl", b"count").unwrap();
    assert!(echo(&mut t, "ctl", b"wrong").is_err());
    let (node, held) = open(&mut t, "conn/clone", 2);
    let after = (version(&mut t, "log"), version(&mut t, "ctl"), version(&mut t, "conn"));
    assert_eq!((after.0, after.1), (before.0 + 1, before.1 + 1));
    assert_ne!(after.2, before.2);
    t.close(node, held);
}
