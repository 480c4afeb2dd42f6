//! Lines and bytes on their way.

use super::*;

#[test]
fn bytes_reach_every_reader_and_lost_ones_show_in_the_position() {
    let mut t = files(0);
    let (mut one, mut two) = (open(&mut t, "console", 0), open(&mut t, "console", 0));
    assert_eq!(read(&mut t, &mut one, 9), Ok(None));
    t.state.console.push(b"no line end");
    let mut woken = Vec::new();
    t.woken(&mut |n| woken.push(n));
    assert_eq!(woken, [one.0], "one node, however many readers");
    assert_eq!(read(&mut t, &mut one, 3).unwrap().unwrap(), b"no ");
    let at = t.position(one.0, &mut one.1).unwrap();
    assert_eq!(at, 3);
    t.state.console.push(b"0123456789abcdef");
    // 27 bytes came, 16 are kept: who goes on at 3 finds itself at 11.
    t.seek(two.0, &mut two.1, at).unwrap();
    assert_eq!(read(&mut t, &mut two, 4).unwrap().unwrap(), b"0123");
    assert_eq!(t.position(two.0, &mut two.1), Some(15));
    assert_eq!(t.seek(two.0, &mut two.1, 28).unwrap_err().errno, Errno::ESTALE);
    let mut node = walk(&mut t, "console").unwrap();
    assert_eq!(t.open(&mut node, OpenFlags::RDWR).unwrap_err().errno, Errno::EACCES);
    t.state.console.end();
    assert_eq!(read(&mut t, &mut two, 99).unwrap().unwrap(), b"456789abcdef");
    assert_eq!(read(&mut t, &mut two, 99).unwrap().unwrap(), b"");
    for file in [one, two] {
        t.close(file.0, file.1);
    }
}

#[test]
fn a_writer_waits_while_nobody_takes_what_it_wrote() {
    let mut t = files(0);
    let mut p = Peer::attached(&mut t, Limits::default());
    p.open(&mut t, 1, "tty", OpenFlags::RDWR);
    let write = |data| Tmsg::Write { fid: 1, offset: 0, data, op: None };
    let f = p.ask(&mut t, &write(b"0123456789"));
    assert_eq!(Rmsg::decode(&f).unwrap(), Rmsg::Write { count: 8 });
    assert!(p.raw(&mut t, &frame(7, &write(b"89"))).is_empty());
    t.woken(&mut |n| p.s.wake(n));
    assert!(p.late(&mut t).is_empty(), "there is no room yet");
    let mut buf = [0; 4];
    assert_eq!((t.state.input.take(&mut buf), &buf), (4, b"0123"));
    t.woken(&mut |n| p.s.wake(n));
    let late = p.late(&mut t);
    assert_eq!((late.len(), tag_of(&late[0])), (1, 7));
    assert_eq!(t.state.input.held(), 6);
    assert!(p.raw(&mut t, &frame(8, &write(b"xyz")))[0].len() == 11, "two of three fit");
    assert!(p.raw(&mut t, &frame(9, &write(b"z"))).is_empty());
    t.state.input.end();
    t.woken(&mut |n| p.s.wake(n));
    assert_eq!(errno(&p.late(&mut t)[0]), Errno::EPIPE.0);
    p.s.close(&mut t);
}

#[test]
fn a_stream_goes_on_where_another_connection_stood() {
    let mut t = files(0);
    let mut one = open(&mut t, "log", 0);
    t.state.log.push("first");
    t.state.log.push("second");
    assert_eq!(read(&mut t, &mut one, 8).unwrap().unwrap(), b"first\n");
    let at = t.position(one.0, &mut one.1).unwrap();
    t.close(one.0, one.1);
    let mut two = open(&mut t, "log", 0);
    t.seek(two.0, &mut two.1, at).unwrap();
    assert_eq!(read(&mut t, &mut two, 99).unwrap().unwrap(), b"second\n");
    (0..100).for_each(|i| t.state.log.push(i));
    t.seek(two.0, &mut two.1, at).unwrap();
    assert_eq!(read(&mut t, &mut two, 99).unwrap().unwrap(), b"gap 80\n");
    assert_eq!(read(&mut t, &mut two, 5).unwrap().unwrap(), b"79\n");
    assert_eq!(t.seek(two.0, &mut two.1, u64::MAX >> 1).unwrap_err().errno, Errno::ESTALE);
    t.close(two.0, two.1);
    let mut plain = open(&mut t, "text", 0);
    assert_eq!(t.position(plain.0, &mut plain.1), None);
    assert_eq!(t.seek(plain.0, &mut plain.1, 0).unwrap_err().errno, Errno::EINVAL);
    t.close(plain.0, plain.1);
}
