//! Nodes that another changes or removes while a file of theirs is open: others always do,
//! and a domain's nodes all go at once when it ends.

use super::*;

fn read(fs: &mut Fs, (node, open): &mut (Node, Open), offset: u64) -> Result<String, Fault> {
    let mut buf = [0; 4];
    match fs.read(*node, open, offset, &mut buf)? {
        Reply::Done(n) => Ok(String::from_utf8(buf[..n].to_vec()).unwrap()),
        Reply::Later => Ok("waits".into()),
    }
}

fn remove(fs: &mut Fs, path: &str) {
    let gone = Request::Rm(path);
    fs.backend.ask(NO_TRANSACTION, &gone).unwrap();
}

#[test]
fn what_is_read_is_one_value_and_the_next_reading_another() {
    let mut fs = fs(&[("/a", "one value")]);
    let mut file = fs.open_at("/a/value", OpenFlags::RDONLY).unwrap();
    // It is asked for when it is read, not when it is opened.
    fs.backend.put("/a", b"1st value");
    assert_eq!(read(&mut fs, &mut file, 0).unwrap(), "1st ");
    fs.backend.put("/a", b"x");
    assert_eq!(read(&mut fs, &mut file, 4).unwrap(), "valu");
    remove(&mut fs, "/a");
    assert_eq!(read(&mut fs, &mut file, 8).unwrap(), "e");
    assert_eq!(read(&mut fs, &mut file, 9).unwrap(), "");
    assert_eq!(read(&mut fs, &mut file, 0).unwrap_err().errno, Errno::ENOENT);
    // What was read before is not shown for what is there no more.
    fs.backend.put("/a", b"2");
    assert_eq!(read(&mut fs, &mut file, 0).unwrap(), "2");
    fs.end(file);
    fs.assert_holds_nothing();
}

#[test]
fn what_has_gone_is_said_to_be_gone() {
    let mut fs = fs(&[("/a/b", "1")]);
    let mut value = fs.open_at("/a/b/value", OpenFlags::RDWR).unwrap();
    let mut perms = fs.open_at("/a/b/perms", OpenFlags::RDWR).unwrap();
    let (dir, above) = (fs.at("/a/b").unwrap(), fs.at("/a").unwrap());
    remove(&mut fs, "/a");
    assert_eq!(read(&mut fs, &mut value, 0).unwrap_err().errno, Errno::ENOENT);
    assert_eq!(read(&mut fs, &mut perms, 0).unwrap_err().errno, Errno::ENOENT);
    assert_eq!(fs.write(perms.0, &mut perms.1, 0, b"n0").unwrap_err().errno, Errno::ENOENT);
    // Added to what?
    assert_eq!(fs.write(value.0, &mut value.1, 1, b"2").unwrap_err().errno, Errno::ENOENT);
    assert_eq!(fs.stat(value.0).unwrap_err().errno, Errno::ENOENT);
    assert_eq!(fs.walk(above, "b").unwrap_err().errno, Errno::ENOENT);
    assert_eq!(fs.remove(above, "b", Remove::Dir).unwrap_err().errno, Errno::ENOENT);
    let place = fs.places.get(dir).unwrap();
    assert_eq!(fs.entries(&place).unwrap_err().errno, Errno::ENOENT);
    assert_eq!(fs.backend.value("/a"), None, "and nothing of that has made it again");
    // A write makes nodes, as XenStore's does.
    fs.write(value.0, &mut value.1, 0, b"3").unwrap();
    assert_eq!(fs.backend.value("/a/b"), Some(&b"3"[..]));
    fs.end(value);
    fs.end(perms);
    fs.forget(dir);
    fs.forget(above);
    fs.assert_holds_nothing();
}

#[test]
fn a_node_that_has_gone_is_not_emptied_into_being() {
    let mut fs = fs(&[("/a", "1"), ("/b", "2")]);
    let one = fs.open_at("/a/value", OpenFlags(1 | OpenFlags::TRUNC)).unwrap();
    let other = fs.open_at("/b/value", OpenFlags(1 | OpenFlags::TRUNC)).unwrap();
    remove(&mut fs, "/a");
    fs.end(one);
    fs.end(other);
    assert_eq!(fs.backend.value("/a"), None);
    assert_eq!(fs.backend.value("/b"), Some(&b""[..]));
    fs.assert_holds_nothing();
}

#[test]
fn a_watch_outlives_its_node() {
    let mut fs = fs(&[("/a", "1")]);
    let mut watch = fs.open_at("/a/watch", OpenFlags::RDONLY).unwrap();
    assert_eq!(read(&mut fs, &mut watch, 0).unwrap(), "/a\n");
    remove(&mut fs, "/a");
    assert_eq!(read(&mut fs, &mut watch, 0).unwrap(), "/a\n");
    fs.backend.put("/a", b"2");
    assert_eq!(read(&mut fs, &mut watch, 0).unwrap(), "/a\n");
    assert_eq!(read(&mut fs, &mut watch, 0).unwrap(), "waits");
    fs.end(watch);
    fs.assert_holds_nothing();
}
