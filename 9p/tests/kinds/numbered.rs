//! Clone directories and huge ones.

use super::*;

#[test]
fn a_clone_file_makes_a_numbered_directory_that_lives_as_long_as_it_is_open() {
    let mut t = files(0);
    assert_eq!(ls(&mut t, "conn"), ["clone"]);
    let mut first = open(&mut t, "conn/clone", 2);
    assert_eq!(read(&mut t, &mut first, 9).unwrap().unwrap(), b"0\n");
    let second = open(&mut t, "conn/clone", 2);
    assert_eq!(ls(&mut t, "conn"), ["clone", "0", "1"]);
    assert_eq!(ls(&mut t, "conn/1"), ["ctl", "status", "data"]);
    assert_eq!(text(&mut t, "conn/1/status"), "count 1\nname call 1\n");
    for none in ["conn/2", "conn/01", "conn/+1", "conn/x", "conn/-1"] {
        assert_eq!(walk(&mut t, none), Err(Errno::ENOENT), "{none}");
    }
    // What a second open file of it follows keeps it, when the first is closed.
    let mut data = open(&mut t, "conn/0/data", 0);
    assert_eq!(read(&mut t, &mut data, 9), Ok(None));
    t.write(first.0, &mut first.1, 0, b"say hello").unwrap();
    let mut woken = Vec::new();
    t.woken(&mut |n| woken.push(n));
    assert_eq!(woken, [data.0]);
    assert_eq!(read(&mut t, &mut data, 9).unwrap().unwrap(), b"hello\n");
    t.close(first.0, first.1);
    assert!(t.state.ended.is_empty() && walk(&mut t, "conn/0").is_ok());
    t.close(data.0, data.1);
    assert_eq!(t.state.ended, [0]);
    assert_eq!(walk(&mut t, "conn/0"), Err(Errno::ENOENT));
    // No number is used again, and there are at most three.
    let third = open(&mut t, "conn/clone", 2);
    let fourth = open(&mut t, "conn/clone", 0);
    assert_eq!(ls(&mut t, "conn"), ["clone", "1", "2", "3"]);
    let mut clone = walk(&mut t, "conn/clone").unwrap();
    let fault = t.open(&mut clone, OpenFlags::RDWR).unwrap_err();
    assert_eq!(
        (fault.errno, fault.text()),
        (Errno::ENOSPC, "there are 3 of them, and no more are allowed")
    );
    assert_eq!(clone, walk(&mut t, "conn/clone").unwrap());
    for file in [second, third, fourth] {
        t.close(file.0, file.1);
    }
    assert_eq!((t.state.ended.len(), t.state.calls.len()), (4, 0));
}

#[test]
fn a_command_ends_a_numbered_directory_and_who_waits_in_it_hears() {
    let mut t = files(0);
    let mut ctl = open(&mut t, "conn/clone", 2);
    let mut data = open(&mut t, "conn/0/data", 0);
    assert_eq!(read(&mut t, &mut data, 9), Ok(None));
    t.write(ctl.0, &mut ctl.1, 0, b"hangup").unwrap();
    assert_eq!(t.state.ended, [0]);
    let mut woken = Vec::new();
    t.woken(&mut |n| woken.push(n));
    assert_eq!(woken, [data.0]);
    assert_eq!(read(&mut t, &mut data, 9), Err(Errno::ESTALE));
    assert_eq!(t.write(ctl.0, &mut ctl.1, 0, b"say x").unwrap_err().errno, Errno::ESTALE);
    assert_eq!(t.stat(ctl.0).unwrap_err().errno, Errno::ESTALE);
    t.close(data.0, data.1);
    t.close(ctl.0, ctl.1);
    assert_eq!(t.state.ended, [0], "it ends once");
    let next = open(&mut t, "conn/clone", 2);
    assert_eq!(text(&mut t, "conn/1/ctl"), "1\n");
    t.close(next.0, next.1);
    t.woken(&mut |n| panic!("{n:?} has nothing new"));
}

#[test]
fn numbered_directories_that_are_left_are_kept_as_long_as_there_is_room() {
    let mut t = files(2);
    for _ in 0..4 {
        let ctl = open(&mut t, "conn/clone", 2);
        t.close(ctl.0, ctl.1);
    }
    assert_eq!(
        (ls(&mut t, "conn"), &t.state.ended[..]),
        (vec!["clone".into(), "2".into(), "3".into()], &[0, 1][..])
    );
    // One that is found again is not the one that was left first.
    let found = open(&mut t, "conn/2/ctl", 2);
    t.close(found.0, found.1);
    let held = [open(&mut t, "conn/clone", 2), open(&mut t, "conn/clone", 2)];
    assert_eq!(t.state.ended, [0, 1, 3]);
    assert_eq!(text(&mut t, "conn/2/status"), "count 2\nname call 2\n");
    held.into_iter().for_each(|f| t.close(f.0, f.1));
}

#[test]
fn through_a_session_a_clone_is_an_open_ctl() {
    let mut t = files(0);
    let mut p = Peer::attached(&mut t, Limits::default());
    p.open(&mut t, 1, "conn/clone", OpenFlags::RDWR);
    assert_eq!(p.read(&mut t, 2, 1).unwrap(), b"0\n");
    assert_eq!(p.walk(&mut t, 0, 2, "conn/0/data"), 0);
    assert_eq!(p.errno(&mut t, &Tmsg::Lopen { fid: 2, flags: OpenFlags::RDONLY }), 0);
    assert_eq!(p.read(&mut t, 3, 2), None);
    let say = Tmsg::Write { fid: 1, offset: 0, data: b"say hi", op: None };
    assert_eq!(p.errno(&mut t, &say), 0);
    t.woken(&mut |n| p.s.wake(n));
    assert_eq!(data(&p.late(&mut t)[0]), b"hi\n");
    // The connection is gone, and so is what it made.
    p.s.close(&mut t);
    assert_eq!(t.state.ended, [0]);
}

#[test]
fn a_huge_directory_costs_nothing_and_loses_nothing_between_pages() {
    let mut t = files(0);
    let mut p = Peer::attached(&mut t, Limits::default());
    p.open(&mut t, 1, "flat", OpenFlags::RDONLY);
    let (mut offset, mut n) = (0, 0u64);
    loop {
        let f = p.ask(&mut t, &Tmsg::Readdir { fid: 1, offset, count: 8000 });
        let Ok(Rmsg::Readdir { data }) = Rmsg::decode(&f) else { panic!() };
        let Some(last) = entries(data).last() else { break };
        offset = last.cookie;
        for e in entries(data) {
            assert_eq!(e.name, format!("f{n}"));
            n += 1;
        }
        assert!(p.s.held() < 100_000, "{} bytes are held", p.s.held());
    }
    assert_eq!(n, 1_000_000);
    assert_eq!(text(&mut t, "flat/f999999"), "file 999999\n");
    assert_eq!(walk(&mut t, "flat/f1000000"), Err(Errno::ENOENT));
    assert_eq!(walk(&mut t, "flat/f5/x"), Err(Errno::ENOTDIR));

    // Names come and go between the pages of somebody who lists.
    t.state.names = (0..5000).map(|i| (i * 2, format!("n{}", i * 2))).collect();
    p.open(&mut t, 2, "many", OpenFlags::RDONLY);
    let (mut offset, mut seen) = (0, Vec::new());
    let mut page = 0;
    loop {
        let f = p.ask(&mut t, &Tmsg::Readdir { fid: 2, offset, count: 500 });
        let Ok(Rmsg::Readdir { data }) = Rmsg::decode(&f) else { panic!() };
        let Some(last) = entries(data).last() else { break };
        offset = last.cookie;
        seen.extend(entries(data).map(|e| e.name.to_string()));
        page += 1;
        // One that was listed goes, and odd ones come before and behind.
        t.state.names.remove(&(page * 4));
        t.state.names.insert(page * 2 + 1, format!("n{}", page * 2 + 1));
        t.state.names.insert(9999 - 2 * page, format!("n{}", 9999 - 2 * page));
    }
    let mut even: Vec<u64> = seen.iter().map(|n| n[1..].parse().unwrap()).collect();
    assert!(even.windows(2).all(|w| w[0] < w[1]), "one came twice");
    even.retain(|n| n % 2 == 0);
    assert!(page > 100 && even.len() == 5000, "{} of 5000 in {page} pages", even.len());
    assert_eq!(text(&mut t, "many/n8000/id"), "8000\n");
    assert_eq!(text(&mut t, "many/n8000/status"), "count 8000\nname n8000\n");
    assert_eq!(cat(&mut t, "rec/many/n8000/status").unwrap()[..4], [3, 0xc0, 0x3e, 5]);
    let node = walk(&mut t, "many/n8000/status").unwrap();
    t.state.names.clear();
    assert_eq!(t.walk(node, "..").unwrap().1.ty, 0x80);
    p.s.close(&mut t);
}
