//! What is done once, what is limited, and who may do what.

use super::*;

#[test]
fn a_named_write_is_done_once() {
    let mut t = files(0);
    let (node, mut open) = open(&mut t, "ctl", 1);
    let mut send = |t: &mut Tested, client, seq, again, data: &[u8]| {
        let op = OpId { client, seq, again };
        t.write_once(node, &mut open, op, 0, data).map_err(|f| (f.errno, f.text().to_string()))
    };
    assert_eq!(send(&mut t, 1, 1, false, b"count"), Ok(Reply::Done(5)));
    assert_eq!(send(&mut t, 1, 1, true, b"count"), Ok(Reply::Done(5)));
    assert_eq!(t.state.done, 1);
    // A failure is answered again as it was, and is not tried again.
    let fault = send(&mut t, 1, 2, false, b"say x").unwrap_err();
    assert_eq!(fault, (Errno::EINVAL, "\"say x\": hush".into()));
    assert_eq!(send(&mut t, 1, 2, true, b"say x").unwrap_err(), fault);
    assert_eq!(t.state.done, 2);
    // Known, but never seen: done. Unknown: nobody can know.
    assert_eq!(send(&mut t, 1, 3, true, b"count"), Ok(Reply::Done(5)));
    assert_eq!(send(&mut t, 9, 1, true, b"count").unwrap_err().0, Errno::ESTALE);
    assert_eq!(t.state.done, 3);
    // Other clients push the oldest out.
    for client in 100..200 {
        assert_eq!(send(&mut t, client, 1, false, b"count"), Ok(Reply::Done(5)));
    }
    assert_eq!(send(&mut t, 1, 3, true, b"count").unwrap_err().0, Errno::ESTALE);
    assert_eq!(t.state.done, 103);
    t.close(node, open);
}

#[test]
fn what_files_may_be_made_to_hold_is_limited() {
    let mut t = files(0);
    t.synth.limits = FileLimits { opens: 4, readers: 2, text: 1000, held: 1500 };
    let refused = |t: &mut Tested, path: &str, most: usize| {
        let held: Vec<_> = (0..most).map(|_| open(t, path, 0)).collect();
        let mut node = walk(t, path).unwrap();
        let fault = t.open(&mut node, OpenFlags::RDONLY).unwrap_err();
        let text = format!("the file is open {most} times, and may not be more often");
        assert_eq!((fault.errno, fault.text()), (Errno::EMFILE, &text[..]));
        held.into_iter().for_each(|f| t.close(f.0, f.1));
        let (node, again) = open(t, path, 0);
        t.close(node, again);
    };
    refused(&mut t, "text", 4);
    refused(&mut t, "log", 2);
    refused(&mut t, "console", 2);
    // Of numbered directories the limit is that of the file in all of them, and a
    // clone that cannot be opened leaves nothing behind.
    t.synth.limits.opens = 2;
    let held = [open(&mut t, "conn/clone", 2), open(&mut t, "conn/clone", 2)];
    let mut clone = walk(&mut t, "conn/clone").unwrap();
    assert_eq!(t.open(&mut clone, OpenFlags::RDWR).unwrap_err().errno, Errno::EMFILE);
    assert_eq!(t.state.ended, [2]);
    held.into_iter().for_each(|f| t.close(f.0, f.1));
    assert_eq!((t.state.ended.len(), t.state.calls.len()), (3, 0));
    t.synth.limits.opens = 4;

    t.state.status.name = "x".repeat(900);
    let mut one = open(&mut t, "text", 0);
    let mut two = open(&mut t, "text", 0);
    assert_eq!(read(&mut t, &mut one, 10).unwrap().unwrap().len(), 10);
    assert_eq!(read(&mut t, &mut two, 10), Err(Errno::ENOBUFS));
    assert_eq!(read(&mut t, &mut one, 10).unwrap().unwrap().len(), 10, "it takes its own place");
    t.close(one.0, one.1);
    assert_eq!(read(&mut t, &mut two, 2000).unwrap().unwrap().len(), 900);
    t.state.status.name = "x".repeat(1001);
    assert_eq!(read(&mut t, &mut two, 10), Err(Errno::EFBIG));
    assert_eq!(cat(&mut t, "rec/sub/status"), Err(Errno::EFBIG));
    t.close(two.0, two.1);
    t.state.status.name = "x".repeat(1000);
    assert_eq!(text(&mut t, "text").len(), 1000);
}

#[test]
fn permissions_are_what_they_are_made() {
    let mut t = files(0);
    let root = t.synth.root();
    let secret = t.synth.ctl(root, "secret", VERBS, |_, _| Ok(()));
    t.synth.perm(secret, 0o600);
    let plain = t.synth.bytes(root, "plain", b"x");
    t.synth.perm(plain, 0o666);
    (t.synth.uid, t.synth.gid) = (7, 8);
    let s = t.stat(secret).unwrap();
    assert_eq!((s.mode, s.uid, s.gid), (mode::FILE | 0o600, 7, 8));
    assert_eq!(t.stat(plain).unwrap().mode, mode::FILE | 0o444, "what cannot be written is not");
    t.synth.read_only(secret);
    assert_eq!(t.stat(secret).unwrap().mode, mode::FILE | 0o400);
    let mut node = secret;
    assert_eq!(t.open(&mut node, OpenFlags::WRONLY).unwrap_err().errno, Errno::EACCES);
}
