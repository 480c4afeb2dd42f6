//! Files of the namespace that atoms use: `runtime/MODEL.md` names these tests.

mod common;

use atoll_9p::fault::Errno;
use atoll_9p::ops::What;
use atoll_9p::ram::Ram;
use common::script::*;

/// A guest of two atoms and what its host serves: an empty directory `data`.
fn two() -> Guest {
    let mut g = Guest::new(atoms(&[("a", ""), ("b", "")]));
    let mut ram = Ram::default();
    ram.mkdir("data").expect("a directory");
    g.disk = Some(Disk::open(&mut g.w.fake, ram));
    g.drive();
    g
}

fn write(line: &str) -> What {
    What::Write(line.as_bytes().to_vec())
}

fn last(lines: Vec<String>) -> String {
    lines.last().expect("a line").clone()
}

#[test]
fn whole_files_are_read_and_written_by_path() {
    let mut g = two();
    let rest = g.used();
    assert_eq!(last(g.tell("a", "echo /data/f -1 hello")), "0 #1 0 ENOENT");
    assert_eq!(last(g.tell("a", "open /data/f 577; close 0")), "0 #2 0 0 [0]");
    g.tell("a", "close 0");
    assert_eq!(last(g.tell("a", "echo /data/f -1 hello world")), "0 #3 0 0 ");
    assert_eq!(last(g.tell("a", "echo /data/f 6 there")), "0 #4 0 0 ");
    assert_eq!(last(g.tell("a", "cat /data/f 0 100")), "0 #5 0 0 hello there");
    assert_eq!(last(g.tell("a", "cat /data/f 6 3")), "0 #6 0 0 the");
    assert_eq!(last(g.tell("a", "cat /data/f 99 3")), "0 #7 0 0 ");
    assert_eq!(last(g.tell("a", "cat /data/none 0 3")), "0 #8 0 ENOENT");
    assert_eq!(last(g.tell("a", "cat /nowhere/f 0 3")), "0 #9 0 ENOENT");
    assert_eq!(last(g.tell("a", "ls /data")), "0 #10 0 0 f\n");
    assert!(last(g.tell("a", "stat-of /data/f")).starts_with("0 #11 0 0 "));
    // Longer than one message.
    let long = "x".repeat(3000);
    for i in 0..10 {
        g.tell("a", &format!("echo /data/f {} {long}", i * 3000));
    }
    let read = last(g.tell("a", "cat /data/f 10 29980"));
    assert_eq!(read.rsplit(' ').next().map(str::len), Some(29_980));
    assert_eq!((g.used(), g.disk.as_ref().map(Disk::fids)), (rest, Some(1)));
}

#[test]
fn files_stay_open_until_they_are_closed() {
    let mut g = two();
    let rest = g.used();
    assert_eq!(last(g.tell("a", "open /data/f 66")), "0 #1 0 0 [0]");
    assert_eq!(last(g.tell("a", "open /data/f 194")), "0 #2 0 EEXIST");
    assert_eq!(last(g.tell("a", "open /data 0")), "0 #3 0 0 [1]");
    assert_eq!(last(g.tell("a", "write 0 0 hello")), "0 #4 0 0 [5]");
    assert_eq!(last(g.tell("a", "read 0 1 3")), "0 #5 0 0 ell");
    assert_eq!(last(g.tell("a", "read 0 5 3")), "0 #6 0 0 ");
    assert!(last(g.tell("a", "stat 0")).starts_with("0 #7 0 0 "));
    assert_eq!(last(g.tell("a", "walk 1 f 0")), "0 #8 0 0 [2]");
    assert_eq!(last(g.tell("a", "read 2 0 9")), "0 #9 0 0 hello");
    assert_eq!(g.tell("a", "walk 1 ../f 0; walk 1 /f 0"), ["0 walk EINVAL", "0 walk EINVAL"]);
    // Each component has its own.
    assert_eq!(g.tell("b", "read 0 0 1; close 0"), ["1 read EBADF", "1 close EBADF"]);
    assert_eq!(last(g.tell("b", "open /data/f 0")), "1 #10 0 0 [0]");
    // To close is undone with its dispatch.
    assert!(g.try_tell("a", "close 0; close 0; refuse").is_err());
    assert_eq!(seen(), ["0 close closed", "0 close EBADF"]);
    assert_eq!(last(g.tell("a", "read 0 0 1")), "0 #11 0 0 h");
    // What is under way with a file that is closed fails.
    assert_eq!(
        g.tell("a", "read 0 0 1; close 0"),
        ["0 read = 12", "0 close closed", "0 #12 0 EBADF"]
    );
    // The least number that is free is given next; dropping the call closes the file.
    assert_eq!(last(g.tell("a", "open /data/f 0")), "0 #13 0 0 [0]");
    g.tell("a", "open /data/f 0; drop");
    assert_eq!(g.disk.as_ref().map(Disk::fids), Some(5));
    // Also when it is open already, and only its turn has not come.
    let open = g.p.start("export/a/ctl", write("open /data/f 0"));
    g.disk.as_mut().expect("a host").silent = true;
    g.drive();
    let pause = g.p.start("atom/a/ctl", write("pause"));
    g.drive();
    g.disk.as_mut().expect("a host").silent = false;
    g.drive();
    assert_eq!(g.disk.as_ref().map(Disk::fids), Some(6));
    let restart = g.p.start("atom/a/ctl", write("restart"));
    g.drive();
    assert!([open, pause, restart].iter().all(|op| g.p.result(*op) == Some(Ok(vec![]))));
    assert_eq!(g.disk.as_ref().map(Disk::fids), Some(2));
    // Abandonment closes what was open.
    for atom in ["a", "b"] {
        assert!(g.try_tell(atom, "trap").is_err());
    }
    g.drive();
    assert_eq!((g.used(), g.disk.as_ref().map(Disk::fids)), (rest, Some(1)));
}

#[test]
fn what_is_under_way_fails_with_its_connection_and_the_file_does_not() {
    let mut g = two();
    let rest = g.used();
    assert_eq!(last(g.tell("a", "open /data/f 66")), "0 #1 0 0 [0]");
    g.disk.as_mut().expect("a host").silent = true;
    g.tell("a", "read 0 0 1; open /data/f 0");
    let ram = g.hang_up();
    assert_eq!(seen(), ["0 #2 0 EPIPE", "0 #3 0 EPIPE"]);
    assert_eq!(g.tell("a", "read 0 0 1"), ["0 read = 4"]);
    g.disk = Some(Disk::open(&mut g.w.fake, ram));
    g.drive();
    assert_eq!(seen(), ["0 #4 0 0 "]);
    g.tell("a", "close 0");
    assert_eq!((g.used(), g.disk.as_ref().map(Disk::fids)), (rest, Some(1)));
    assert_eq!(g.tell("a", "sync"), [format!("0 sync {:?}", Errno::EOPNOTSUPP)]);
}
