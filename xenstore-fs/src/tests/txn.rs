//! Transactions.

use super::*;

fn begin(fs: &mut Fs) -> (String, (Node, Open)) {
    let (node, mut open) = fs.open_at("/txn/clone", OpenFlags::RDWR).unwrap();
    let mut buf = [0; 20];
    let Ok(Reply::Done(n)) = fs.read(node, &mut open, 0, &mut buf) else { panic!() };
    let number = std::str::from_utf8(&buf[..n]).unwrap().trim().to_string();
    (format!("/txn/{number}"), (node, open))
}

fn tell(fs: &mut Fs, (node, open): &mut (Node, Open), command: &str) -> Result<(), Fault> {
    fs.write(*node, open, 0, command.as_bytes()).map(drop)
}

#[test]
fn what_is_done_in_one_is_done_by_its_commit() {
    let mut fs = fs(&[("/a", "1"), ("/b", "2"), ("/ctl", "node")]);
    let (dir, mut ctl) = begin(&mut fs);
    assert_eq!(fs.ls("/txn").unwrap(), ["clone", &dir[5..]]);
    assert_eq!(fs.ls(&dir).unwrap(), ["ctl", "value", "perms", "a", "b", "ctl.node"]);
    fs.put(&format!("{dir}/a/value"), "3").unwrap();
    fs.mkdir(&dir, "c").unwrap();
    fs.rmdir(&dir, "b").unwrap();
    assert_eq!(fs.cat(&format!("{dir}/a/value")).unwrap(), "3");
    assert_eq!(fs.cat("/a/value").unwrap(), "1");
    assert!(!fs.has(&format!("{dir}/b")) && fs.has("/b"));
    assert_eq!(tell(&mut fs, &mut ctl, "what").unwrap_err().errno, Errno::EINVAL);
    tell(&mut fs, &mut ctl, "commit\n").unwrap();
    assert_eq!(fs.cat("/a/value").unwrap(), "3");
    assert!(!fs.has("/b") && fs.has("/c"));
    // It is over, and says so until it is closed.
    assert_eq!(tell(&mut fs, &mut ctl, "commit").unwrap_err().errno, Errno::ESTALE);
    assert_eq!(fs.cat(&format!("{dir}/a/value")).unwrap_err().errno, Errno::ESTALE);
    fs.end(ctl);
    assert_eq!(fs.at(&dir).unwrap_err().errno, Errno::ENOENT);
    fs.assert_holds_nothing();
}

#[test]
fn closing_aborts() {
    let mut fs = fs(&[("/a", "1")]);
    let (dir, ctl) = begin(&mut fs);
    fs.put(&format!("{dir}/a/value"), "2").unwrap();
    // Another file of it keeps it.
    let other = fs.open_at(&format!("{dir}/a/value"), OpenFlags::RDONLY).unwrap();
    let node = fs.at(&format!("{dir}/a")).unwrap();
    fs.end(ctl);
    assert_eq!(fs.cat(&format!("{dir}/a/value")).unwrap(), "2");
    fs.end(other);
    assert_eq!(fs.cat("/a/value").unwrap(), "1");
    assert_eq!(fs.walk(node, "value").map(|(n, _)| fs.forget(n)), Ok(()));
    assert_eq!(fs.mkdir(&dir, "x").unwrap_err().errno, Errno::ENOENT);
    fs.forget(node);
    let (_, mut ctl) = begin(&mut fs);
    tell(&mut fs, &mut ctl, "abort").unwrap();
    fs.end(ctl);
    fs.assert_holds_nothing();
}

#[test]
fn a_conflict_is_said_and_nothing_is_done() {
    let mut fs = fs(&[("/a", "1"), ("/b", "1")]);
    let (dir, mut ctl) = begin(&mut fs);
    fs.cat(&format!("{dir}/a/value")).unwrap();
    fs.put(&format!("{dir}/b/value"), "2").unwrap();
    fs.put("/a/value", "other").unwrap();
    let fault = tell(&mut fs, &mut ctl, "commit").unwrap_err();
    assert_eq!(fault.errno, Errno::EAGAIN);
    assert!(fault.text().contains("nothing of it was done"));
    assert_eq!(fs.cat("/b/value").unwrap(), "1");
    assert_eq!(tell(&mut fs, &mut ctl, "commit").unwrap_err().errno, Errno::ESTALE);
    fs.end(ctl);
    fs.assert_holds_nothing();
}

#[test]
fn there_are_only_so_many() {
    let mut fs = fs(&[]);
    let all: Vec<_> = (0..3).map(|_| begin(&mut fs)).collect();
    let fault = fs.open_at("/txn/clone", OpenFlags::RDWR).unwrap_err();
    assert_eq!(fault.errno, Errno::EBUSY);
    all.into_iter().for_each(|(_, ctl)| fs.end(ctl));
    let (_, ctl) = begin(&mut fs);
    fs.end(ctl);
    fs.assert_holds_nothing();
}

#[test]
fn one_whose_connection_is_gone_is_lost() {
    let mut fs = fs(&[("/a", "1")]);
    let (dir, mut ctl) = begin(&mut fs);
    fs.put(&format!("{dir}/a/value"), "2").unwrap();
    fs.backend.disconnect();
    let fault = tell(&mut fs, &mut ctl, "commit").unwrap_err();
    assert_eq!(fault.errno, Errno::ESTALE);
    assert!(fault.text().contains("connection"));
    fs.end(ctl);
    // An answer that does not come is another thing.
    let (dir, mut ctl) = begin(&mut fs);
    fs.put(&format!("{dir}/a/value"), "3").unwrap();
    fs.backend.faults = [Some(fake::Injected::After)].into();
    let fault = tell(&mut fs, &mut ctl, "commit").unwrap_err();
    assert!(fault.text().contains("nobody knows"), "{fault}");
    fs.end(ctl);
    assert_eq!(fs.cat("/a/value").unwrap(), "3");
    fs.assert_holds_nothing();
}
