//! Watches.

use super::*;

fn read(fs: &mut Fs, (node, open): &mut (Node, Open)) -> Result<String, Fault> {
    read_at_most(fs, (node, open), 1000)
}

fn read_at_most(
    fs: &mut Fs,
    (node, open): (&mut Node, &mut Open),
    most: usize,
) -> Result<String, Fault> {
    let mut buf = vec![0; most];
    match fs.read(*node, open, 0, &mut buf)? {
        Reply::Done(n) => Ok(String::from_utf8(buf[..n].to_vec()).unwrap()),
        Reply::Later => Ok("waits".into()),
    }
}

fn woken(fs: &mut Fs) -> Vec<Node> {
    let mut all = Vec::new();
    fs.woken(&mut |node| all.push(node));
    all
}

#[test]
fn a_watch_waits_and_tells_where_something_changed() {
    let mut fs = fs(&[("/a/b", "")]);
    let mut watch = fs.open_at("/a/watch", OpenFlags::RDONLY).unwrap();
    assert_eq!(read(&mut fs, &mut watch).unwrap(), "/a\n", "the first comes at once");
    assert_eq!(read(&mut fs, &mut watch).unwrap(), "waits");
    woken(&mut fs);
    assert!(woken(&mut fs).is_empty());
    fs.backend.put("/a/b", b"1");
    fs.backend.put("/a/b", b"2");
    fs.backend.put("/a/value", b"3");
    fs.backend.put("/c", b"4");
    assert!(woken(&mut fs).contains(&watch.0));
    assert_eq!(read(&mut fs, &mut watch).unwrap(), "/a/b\n/a/value.node\n");
    assert_eq!(read(&mut fs, &mut watch).unwrap(), "waits");
    fs.end(watch);
    fs.assert_holds_nothing();
}

#[test]
fn paths_are_those_of_the_tree() {
    let mut fs = at("/local/domain/5", &[("/local/domain/5/data", "")]);
    let mut watch = fs.open_at("/watch", OpenFlags::RDONLY).unwrap();
    assert_eq!(read(&mut fs, &mut watch).unwrap(), "/\n");
    fs.backend.put("/local/domain/5/data/x", b"");
    assert_eq!(read(&mut fs, &mut watch).unwrap(), "/data/x\n");
    fs.end(watch);
}

#[test]
fn many_readers_are_one_watch() {
    let mut fs = fs(&[("/a", "")]);
    let mut all: Vec<_> = Vec::new();
    for _ in 0..3 {
        let mut watch = fs.open_at("/a/watch", OpenFlags::RDONLY).unwrap();
        assert_eq!(read(&mut fs, &mut watch).unwrap(), "/a\n");
        all.push(watch);
    }
    assert_eq!(fs.backend.held().1, 1);
    let fault = fs.open_at("/a/watch", OpenFlags::RDONLY).unwrap_err();
    assert_eq!(fault.errno, Errno::EBUSY);
    fs.backend.put("/a", b"1");
    for watch in &mut all {
        assert_eq!(read(&mut fs, watch).unwrap(), "/a\n");
    }
    all.into_iter().for_each(|watch| fs.end(watch));
    fs.assert_holds_nothing();
}

#[test]
fn a_slow_reader_is_told_what_it_has_lost() {
    let mut fs = fs(&[("/a", "")]);
    let mut watch = fs.open_at("/a/watch", OpenFlags::RDONLY).unwrap();
    read(&mut fs, &mut watch).unwrap();
    for i in 0..200 {
        fs.backend.put(&format!("/a/{i:03}"), b"");
    }
    let first = read_at_most(&mut fs, (&mut watch.0, &mut watch.1), 20).unwrap();
    assert_eq!(first, "gap 72\n/a/072\n");
    let mut rest = first;
    while !rest.ends_with("waits") {
        rest += &read_at_most(&mut fs, (&mut watch.0, &mut watch.1), 4).unwrap();
    }
    assert_eq!(rest.lines().count(), 1 + 128 + 1);
    assert!(rest.contains("\n/a/199\n"));
    fs.backend.lose_events();
    assert_eq!(read(&mut fs, &mut watch).unwrap(), "gap 1\n");
    fs.end(watch);
    fs.assert_holds_nothing();
}

#[test]
fn a_watch_ends_with_its_connection() {
    let mut fs = fs(&[("/a", "")]);
    let mut watch = fs.open_at("/a/watch", OpenFlags::RDONLY).unwrap();
    assert_eq!(read(&mut fs, &mut watch).unwrap(), "/a\n");
    fs.backend.disconnect();
    assert_eq!(woken(&mut fs), [watch.0], "who waits is told");
    let fault = read(&mut fs, &mut watch).unwrap_err();
    assert_eq!(fault.errno, Errno::EIO);
    // Another one is on the new connection, and not the old one's.
    let mut next = fs.open_at("/a/watch", OpenFlags::RDONLY).unwrap();
    fs.end(watch);
    assert_eq!(read(&mut fs, &mut next).unwrap(), "/a\n");
    fs.backend.put("/a", b"1");
    assert_eq!(read(&mut fs, &mut next).unwrap(), "/a\n");
    fs.end(next);
    fs.assert_holds_nothing();
}
