//! Nodes, values and permissions.

use super::*;

#[test]
fn a_node_is_a_directory_with_its_files() {
    let mut fs = fs(&[("/tool", ""), ("/local/domain/0/name", "Domain-0")]);
    assert_eq!(fs.ls("/").unwrap(), ["txn", "value", "perms", "watch", "local", "tool"]);
    assert_eq!(fs.ls("/local/domain").unwrap(), ["value", "perms", "watch", "0"]);
    assert_eq!(fs.cat("/local/domain/0/name/value").unwrap(), "Domain-0");
    assert_eq!(fs.cat("/local/domain/0/name/perms").unwrap(), "n0\n");
    for none in ["/none", "/none/value", "/local/x", "/local/txn", "/local/ctl", "/a.b"] {
        assert_eq!(fs.at(none).unwrap_err().errno, Errno::ENOENT, "{none}");
    }
    assert_eq!(fs.at("/value/x").unwrap_err().errno, Errno::ENOTDIR);
    fs.assert_holds_nothing();
}

#[test]
fn every_file_knows_where_it_lies() {
    let mut fs = fs(&[("/a/b", "")]);
    for (path, same) in [
        ("/a/b/..", "/a"),
        ("/a/b/value/..", "/a/b"),
        ("/..", "/"),
        ("/a/../..", "/"),
        ("/txn/..", "/"),
        ("/txn/clone/..", "/txn"),
    ] {
        let (one, two) = (fs.at(path).unwrap(), fs.at(same).unwrap());
        assert_eq!(one, two, "{path}");
        assert_eq!(fs.qid(one).unwrap(), fs.qid(two).unwrap());
        fs.forget(one);
        fs.forget(two);
    }
    let qid = |fs: &mut Fs, path| {
        let node = fs.at(path).unwrap();
        let qid = fs.qid(node).unwrap();
        fs.forget(node);
        qid
    };
    let first = qid(&mut fs, "/a/b");
    assert_eq!(qid(&mut fs, "/a/b"), first, "also when nobody had it meanwhile");
    assert_ne!(qid(&mut fs, "/a/b/value").path, first.path);
    fs.assert_holds_nothing();
}

#[test]
fn a_value_is_replaced_as_one() {
    let mut fs = fs(&[("/a", "old value")]);
    fs.put("/a/value", "new").unwrap();
    assert_eq!(fs.backend.value("/a"), Some(&b"new"[..]));
    // In several messages.
    let (node, mut open) = fs.open_at("/a/value", OpenFlags::WRONLY).unwrap();
    for (offset, part) in [(0, "one"), (3, " and"), (7, " two")] {
        fs.write(node, &mut open, offset, part.as_bytes()).unwrap();
    }
    assert_eq!(fs.write(node, &mut open, 5, b"x").unwrap_err().errno, Errno::EINVAL);
    fs.end((node, open));
    assert_eq!(fs.backend.value("/a"), Some(&b"one and two"[..]));
    // At its end.
    let (node, mut open) = fs.open_at("/a/value", OpenFlags::WRONLY).unwrap();
    fs.write(node, &mut open, 11, b"!").unwrap();
    fs.end((node, open));
    assert_eq!(fs.backend.value("/a"), Some(&b"one and two!"[..]));
    // Emptied, when that is all that is done.
    let file = fs.open_at("/a/value", OpenFlags(1 | OpenFlags::TRUNC)).unwrap();
    assert_eq!(fs.backend.value("/a"), Some(&b"one and two!"[..]), "not before it is closed");
    fs.end(file);
    assert_eq!(fs.backend.value("/a"), Some(&b""[..]));
    let long = "x".repeat(4097);
    assert_eq!(fs.put("/a/value", &long[..4093]), Ok(()), "a path, its NUL, and the value: 4096");
    assert_eq!(fs.put("/a/value", &long[..4094]).unwrap_err().errno, Errno::EFBIG);
    assert_eq!(fs.put("/a/value", &long).unwrap_err().errno, Errno::EFBIG);
    fs.assert_holds_nothing();
}

#[test]
fn permissions_are_text() {
    let mut fs = fs(&[("/a", "")]);
    fs.put("/a/perms", "n0 r5\n").unwrap();
    assert_eq!(fs.cat("/a/perms").unwrap(), "n0 r5\n");
    assert_eq!(fs.backend.nodes["/a"].perms, parse_perms("n0 r5").unwrap());
    for bad in ["", "x", "r", "n0,r5"] {
        let fault = fs.put("/a/perms", bad).unwrap_err();
        assert_eq!(fault.errno, Errno::EINVAL);
        assert!(fault.text().contains("n0 r5"));
    }
    fs.assert_holds_nothing();
}

#[test]
fn nodes_are_made_and_removed_one_by_one() {
    let mut fs = fs(&[("/a/b/c", "")]);
    fs.mkdir("/a", "new").unwrap();
    assert_eq!(fs.backend.value("/a/new"), Some(&b""[..]));
    fs.mkdir("/a", "value.node").unwrap();
    assert_eq!(fs.backend.value("/a/value"), Some(&b""[..]));
    fs.put("/a/value.node/value", "v").unwrap();
    assert_eq!(fs.ls("/a").unwrap(), ["value", "perms", "watch", "b", "new", "value.node"]);
    for bad in ["a.b", "x.node", "a b", "value"] {
        assert_eq!(fs.mkdir("/a", bad).unwrap_err().errno, Errno::EINVAL, "{bad}");
    }
    assert_eq!(fs.mkdir("/txn", "x").unwrap_err().errno, Errno::EPERM);
    assert_eq!(fs.rmdir("/a", "b").unwrap_err().errno, Errno::ENOTEMPTY);
    fs.rmdir("/a/b", "c").unwrap();
    fs.rmdir("/a", "b").unwrap();
    assert_eq!(fs.backend.value("/a/b"), None);
    for file in ["value", "perms", "watch"] {
        assert_eq!(fs.rmdir("/a", file).unwrap_err().errno, Errno::EPERM);
    }
    assert_eq!(fs.rmdir("/", "txn").unwrap_err().errno, Errno::EPERM);
    fs.assert_holds_nothing();
}

#[test]
fn a_root_is_all_that_there_is() {
    let mut fs = at(
        "/local/domain/5",
        &[
            ("/local/domain/5/name", "mine"),
            ("/local/domain/5/txn", "a node"),
            ("/local/domain/50/name", "another's"),
            ("/secret", ""),
        ],
    );
    assert_eq!(fs.ls("/").unwrap(), ["txn", "value", "perms", "watch", "name", "txn.node"]);
    assert_eq!(fs.cat("/name/value").unwrap(), "mine");
    assert_eq!(fs.cat("/txn.node/value").unwrap(), "a node");
    for up in ["/..", "/../..", "/name/../../..", "/txn/../.."] {
        assert_eq!(fs.at(up).unwrap(), fs.at("/").unwrap());
    }
    assert!(fs.at("/../50").is_err() && fs.at("/../../../secret").is_err());
    assert!(fs.attach(&Who { uname: "", user: user(), aname: "/../50" }).is_err());
    assert!(fs.attach(&Who { uname: "", user: user(), aname: "name" }).is_ok());
    assert_eq!(fs.rmdir("/name", "..").unwrap_err().errno, Errno::EBUSY);
}

#[test]
fn a_root_is_an_absolute_path() {
    for bad in ["", "a", "@releaseDomain", "/a/", "/a//b", "/a.b"] {
        assert!(XenStoreFs::new(Fake::default(), bad, Limits::default()).is_err(), "{bad}");
    }
}

#[test]
fn long_lists_come_in_parts_and_whole() {
    let names: Vec<String> = (0..300).map(|n| format!("/a/{n:03}")).collect();
    let mut fs = fs(&names.iter().map(|n| (&**n, "")).collect::<Vec<_>>());
    fs.backend.most = 100;
    assert_eq!(fs.ls("/a").unwrap().len(), 303);
    fs.backend.churn = 3;
    assert_eq!(fs.ls("/a").unwrap().len(), 306, "begun anew when it has changed");
    fs.backend.churn = usize::MAX;
    assert_eq!(fs.ls("/a").unwrap_err().errno, Errno::EBUSY);
    fs.assert_holds_nothing();
}

#[test]
fn what_clients_have_is_bounded() {
    let name = "n".repeat(60);
    let mut fs = fs(&[(&format!("/{name}"), "")]);
    fs.backend.put(&format!("/{}", [&*name; 40].join("/")), b"");
    let (mut held, mut path) = (Vec::new(), String::new());
    let fault = loop {
        path += &format!("/{name}");
        match fs.at(&path) {
            Ok(node) => held.push(node),
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault.errno, Errno::ENOMEM);
    assert!(held.len() > 5);
    held.into_iter().for_each(|node| fs.forget(node));
    fs.assert_holds_nothing();
    assert!(fs.has(&path));
}

#[test]
fn an_error_of_xenstored_says_what_it_is() {
    let mut fs = fs(&[("/a", "1")]);
    let (node, mut open) = fs.open_at("/a/value", OpenFlags::RDWR).unwrap();
    fs.backend.faults = [Some(fake::Injected::Quota)].into();
    let fault = fs.write(node, &mut open, 0, b"2").unwrap_err();
    assert_eq!((fault.errno, fault.text()), (Errno(Error::ENOSPC.errno()), Error::ENOSPC.text()));
    fs.backend.faults = [Some(fake::Injected::Before)].into();
    assert_eq!(fs.write(node, &mut open, 0, b"2").unwrap_err().errno, Errno::EIO);
    fs.write(node, &mut open, 0, b"3").unwrap();
    fs.end((node, open));
    assert_eq!(fs.cat("/a/value").unwrap(), "3");
    let deep = format!("/{}", ["d"; 1600].join("/"));
    fs.backend.put(&deep[..3001], b"");
    fs.assert_holds_nothing();
}
