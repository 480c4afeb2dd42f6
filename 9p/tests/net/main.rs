//! The serve loop on real sockets. Server and clients take turns in one thread, so
//! that what is counted is the same every time.
#![cfg(all(feature = "std", target_os = "linux"))]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use atoll_9p::access::{Identity, User};
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::net::{Config, Policy, Server};
use atoll_9p::ram::{Budget, Ram};
use atoll_9p::server::Limits;
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Files, Synth, Verb};
use atoll_9p::tree::{Entries, Reply, Tree, Who};
use atoll_9p::types::{OpenFlags, Qid, Stat};
use atoll_9p::wire::NOFID;

mod alone;
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod few;

use cli::Cli;
use common::{frame, frames, tag_of, walk_frame};

fn turns<T: Tree>(server: &mut Server<T>, n: usize) {
    for _ in 0..n {
        server.turn(Some(Duration::ZERO)).unwrap();
    }
}

const GETATTR: Tmsg<'static> = Tmsg::Getattr { fid: 0, mask: 0x7ff };

fn ram() -> Ram {
    let mut ram = Ram::new(Budget::default());
    ram.put("file", b"content").unwrap();
    ram
}

const VERBS: &[Verb] = &[Verb::new("say", "TEXT", 1)];

struct Events {
    events: Stream,
    reads: u64,
}

/// A tree in which `say` to `ctl` ends the reads of `events` that wait; `other`
/// is another such file, to which nobody says anything.
fn events() -> Files<'static, Events> {
    let mut synth = Synth::new();
    let root = synth.root();
    synth.stream(root, "events", |s: &mut Events| {
        s.reads += 1;
        &mut s.events
    });
    synth.ctl(root, "ctl", VERBS, |s, c| {
        s.events.push(c.arg(0));
        Ok(())
    });
    Files { synth, state: Events { events: Stream::new(4096), reads: 0 } }
}

fn text(answer: &[u8]) -> String {
    match Rmsg::decode(answer).unwrap() {
        Rmsg::Read { data, .. } => String::from_utf8_lossy(data).into(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sessions_do_not_see_each_other() {
    let mut server = Server::new(ram()).unwrap();
    let mut all: Vec<_> = (0..50).map(|_| Cli::new(&mut server)).collect();
    for (i, cli) in all.iter_mut().enumerate() {
        cli.hello(8192);
        cli.open(i as u32 + 1, "file", OpenFlags::RDONLY);
        cli.ask(9, &Tmsg::Read { fid: i as u32 + 1, offset: i as u64 % 7, count: 100 });
        cli.send();
    }
    for (i, cli) in all.iter_mut().enumerate() {
        let answers = cli.answers(&mut server, 5);
        assert_eq!(text(&answers[4]), "content"[i % 7..]);
    }
    assert_eq!(server.sessions(), 50);
    drop(all);
    turns(&mut server, 2);
    assert_eq!(server.sessions(), 0);
}

#[test]
fn a_flooding_client_holds_nobody_off() {
    let mut server = Server::new(ram()).unwrap();
    let mut floods: Vec<_> = (0..4).map(|_| Cli::new(&mut server)).collect();
    let mut polite = Cli::new(&mut server);
    for cli in floods.iter_mut().chain([&mut polite]) {
        cli.hello(1 << 16);
        cli.answers(&mut server, 2);
    }
    let (mut served, mut asked) = (0, 0);
    for round in 0..200u16 {
        for flood in &mut floods {
            while flood.unsent.len() < 64 << 10 {
                flood.ask(1, &GETATTR);
            }
            flood.send();
        }
        if round % 2 == 0 {
            polite.ask(round, &GETATTR);
            polite.send();
            asked += 1;
        }
        turns(&mut server, 1);
        for flood in &mut floods {
            let n = flood.take().len();
            assert!(n <= 64, "{n} requests of a flood in one turn");
            served += n;
        }
        let answers = polite.take();
        assert_eq!(answers.len(), usize::from(round % 2 == 0), "in the turn in which it asked");
    }
    assert!(served > 200 * 4 * 8 && asked == 100, "{served}");
}

#[test]
fn requests_come_one_byte_at_a_time() {
    let mut server = Server::new(ram()).unwrap();
    let mut cli = Cli::new(&mut server);
    cli.hello(8192);
    cli.answers(&mut server, 2);
    cli.open(1, "file", OpenFlags::RDONLY);
    cli.ask(7, &Tmsg::Read { fid: 1, offset: 0, count: 100 });
    let bytes = std::mem::take(&mut cli.unsent);
    let mut all = Vec::new();
    for byte in bytes {
        assert!(all.len() < 3);
        cli.stream.write_all(&[byte]).unwrap();
        turns(&mut server, 1);
        all.extend(cli.take());
    }
    assert_eq!((all.len(), text(&all[2])), (3, "content".into()));
}

#[test]
fn who_does_not_read_is_not_served_and_nobody_else_notices() {
    let mut server = Server::new(ram()).unwrap();
    let (mut silent, mut other) = (Cli::new(&mut server), Cli::new(&mut server));
    silent.hello(8192);
    silent.answers(&mut server, 2);
    other.hello(8192);
    other.answers(&mut server, 2);
    let mut sent = 0;
    for _ in 0..1000 {
        for _ in 0..1000 {
            silent.ask(sent as u16, &GETATTR);
            sent += 1;
        }
        silent.send();
        turns(&mut server, 10);
        if !silent.unsent.is_empty() {
            break;
        }
    }
    assert!(!silent.unsent.is_empty(), "all of it was taken");
    let unsent = silent.unsent.len();
    turns(&mut server, 100);
    silent.send();
    assert_eq!(silent.unsent.len(), unsent, "nothing more is taken");
    other.ask(1, &GETATTR);
    assert_eq!(other.answers(&mut server, 1).len(), 1);
    // All is there when it does read, in order.
    let all = silent.answers(&mut server, sent);
    for (i, answer) in all.iter().enumerate() {
        assert_eq!(tag_of(answer), i as u16);
    }
    // And one that goes away without having read is forgotten.
    for i in 0..sent {
        silent.ask(i as u16, &GETATTR);
    }
    silent.send();
    turns(&mut server, 100);
    drop(silent);
    turns(&mut server, 3);
    assert_eq!(server.sessions(), 1);
}

#[test]
fn a_hundred_thousand_connections_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut server = Server::new(ram()).unwrap();
    server.listen(UnixListener::bind(&path).unwrap(), Policy::Owner).unwrap();
    let mut hello = Vec::new();
    hello.extend(frame(0xffff, &Tmsg::Version { msize: 8192, version: "9P2000.L" }));
    let attach = Tmsg::Attach { fid: 0, afid: NOFID, uname: "", aname: "", n_uname: 0 };
    hello.extend(frame(0, &attach));
    hello.extend(walk_frame(0, 0, 1, &[b"file"]));
    for i in 0..100_000 {
        let mut stream = UnixStream::connect(&path).unwrap();
        // Some say nothing, some all of it, most stop in the middle of something.
        stream.write_all(&hello[..i % (hello.len() + 1)]).unwrap();
        drop(stream);
        if i % 16 == 0 {
            turns(&mut server, 1);
        }
    }
    turns(&mut server, 40);
    assert_eq!(server.sessions(), 0);
    // A descriptor gets the lowest number that is free.
    let fd = UnixStream::connect(&path).unwrap().as_raw_fd();
    assert!(fd < 1000, "descriptors up to {fd} are in use");
    assert_eq!(server.tree().used().files, 2);
}

#[test]
fn who_comes_when_all_places_are_taken_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let config = Config { sessions: 2, ..Config::default() };
    let mut server = Server::with(ram(), config).unwrap();
    server.listen(UnixListener::bind(&path).unwrap(), Policy::Owner).unwrap();
    let mut all: Vec<_> = (0..4)
        .map(|_| {
            let mut cli = Cli::of(UnixStream::connect(&path).unwrap());
            cli.hello(8192);
            cli.send();
            cli
        })
        .collect();
    turns(&mut server, 20);
    assert_eq!(server.sessions(), 2);
    let answered: Vec<usize> = all.iter_mut().map(|c| c.take().len()).collect();
    assert_eq!(answered, [2, 2, 0, 0]);
    all.remove(0);
    turns(&mut server, 4);
    let answered: Vec<usize> = all.iter_mut().map(|c| c.take().len()).collect();
    assert_eq!((answered, server.sessions()), (vec![0, 2, 0], 2));
    all.clear();
    turns(&mut server, 6);
    assert_eq!(server.sessions(), 0);
}

#[test]
fn reads_wait_until_there_is_something_and_only_they_are_asked_again() {
    let mut server = Server::new(events()).unwrap();
    let mut all: Vec<_> = (0..100).map(|_| Cli::new(&mut server)).collect();
    for cli in &mut all {
        cli.hello(8192);
        cli.open(1, "events", OpenFlags::RDONLY);
        cli.ask(5, &Tmsg::Read { fid: 1, offset: 0, count: 100 });
        assert_eq!(cli.answers(&mut server, 4).len(), 4);
    }
    let mut writer = Cli::new(&mut server);
    writer.hello(8192);
    writer.open(1, "ctl", OpenFlags::WRONLY);
    writer.answers(&mut server, 4);
    // What others do asks nobody.
    let before = server.tree().state.reads;
    for _ in 0..100 {
        writer.ask(1, &GETATTR);
        writer.answers(&mut server, 1);
    }
    // The tree looks at its stream for news, once a turn.
    assert!(server.tree().state.reads - before <= 400);
    for line in ["one", "two"] {
        let data = format!("say {line}");
        writer.ask(1, &Tmsg::Write { fid: 1, offset: 0, data: data.as_bytes(), op: None });
        writer.answers(&mut server, 1);
        turns(&mut server, 1);
        for cli in &mut all {
            let answers = cli.take();
            assert_eq!((answers.len(), text(&answers[0])), (1, format!("{line}\n")));
            cli.ask(5, &Tmsg::Read { fid: 1, offset: 0, count: 100 });
            cli.send();
        }
        turns(&mut server, 2);
        assert!(all.iter_mut().all(|c| c.take().is_empty()), "they wait again");
    }
    // One who waits can go.
    all.truncate(10);
    turns(&mut server, 2);
    assert_eq!(server.sessions(), 11);
}

/// A tree that says who attached, and whose one file has what came through a channel.
struct Told {
    from: Receiver<String>,
    text: String,
    users: Vec<User>,
}

impl Tree for Told {
    type Node = u8;
    type Open = ();

    fn attach(&mut self, who: &Who<'_>) -> Result<u8, Fault> {
        self.users.push(who.user);
        Ok(0)
    }

    fn walk(&mut self, _: u8, _: &str) -> Result<(u8, Qid), Fault> {
        Err(Errno::ENOENT.into())
    }

    fn stat(&mut self, _: u8) -> Result<Stat, Fault> {
        Ok(Stat { mode: 0o100_444, ..Stat::default() })
    }

    fn open(&mut self, _: &mut u8, _: OpenFlags) -> Result<(), Fault> {
        Ok(())
    }

    fn read(&mut self, _: u8, _: &mut (), _: u64, buf: &mut [u8]) -> Result<Reply, Fault> {
        if self.text.is_empty() {
            return Ok(Reply::Later);
        }
        let n = self.text.len().min(buf.len());
        buf[..n].copy_from_slice(&self.text.as_bytes()[..n]);
        self.text.clear();
        Ok(Reply::Done(n))
    }

    fn list(&mut self, _: u8, _: &mut (), _: u64, _: &mut Entries<'_>) -> Result<(), Fault> {
        Err(Errno::ENOTDIR.into())
    }

    fn woken(&mut self, wake: &mut dyn FnMut(u8)) {
        for text in self.from.try_iter() {
            self.text += &text;
            wake(0);
        }
    }
}

#[test]
fn another_thread_has_news_and_ends_the_loop() {
    let (to, from) = channel();
    let mut server = Server::new(Told { from, text: String::new(), users: Vec::new() }).unwrap();
    let mut cli = Cli::new(&mut server);
    cli.hello(8192);
    cli.ask(1, &Tmsg::Lopen { fid: 0, flags: OpenFlags::RDONLY });
    cli.ask(2, &Tmsg::Read { fid: 0, offset: 0, count: 100 });
    cli.answers(&mut server, 3);
    let handle = server.handle();
    let thread = std::thread::spawn(move || {
        server.run().unwrap();
        server
    });
    to.send("news".into()).unwrap();
    handle.wake();
    cli.stream.set_nonblocking(false).unwrap();
    let mut buf = [0; 15];
    cli.stream.read_exact(&mut buf).unwrap();
    assert_eq!(text(&buf), "news");
    handle.stop();
    let mut server = thread.join().unwrap();
    assert_eq!(server.sessions(), 1);
    server.run().unwrap(); // is over before it began
    drop(server);
    cli.stream.read_exact(&mut [0]).unwrap_err();
}

#[test]
fn a_descriptor_of_the_owners_is_part_of_the_loop() {
    let mut server = Server::new(events()).unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut reader = theirs.try_clone().unwrap();
    server
        .watch(theirs, move |tree| {
            let mut buf = [0; 16];
            let n = reader.read(&mut buf).unwrap();
            tree.state.events.push(String::from_utf8_lossy(&buf[..n]));
        })
        .unwrap();
    let mut cli = Cli::new(&mut server);
    cli.hello(8192);
    cli.open(1, "events", OpenFlags::RDONLY);
    cli.ask(5, &Tmsg::Read { fid: 1, offset: 0, count: 100 });
    cli.answers(&mut server, 4);
    ours.write_all(b"a timer").unwrap();
    turns(&mut server, 2);
    let answers = cli.take();
    assert_eq!((answers.len(), text(&answers[0])), (1, "a timer\n".into()));
}

#[test]
fn the_kernel_says_who_connects() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let (_to, from) = channel();
    let mut server = Server::new(Told { from, text: String::new(), users: Vec::new() }).unwrap();
    server.listen(UnixListener::bind(&path).unwrap(), Policy::Peer).unwrap();
    let mut cli = Cli::of(UnixStream::connect(&path).unwrap());
    cli.hello(8192);
    cli.answers(&mut server, 2);
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    assert_eq!(server.tree().users, [User { uid, gid, owner: false }]);
    // So it does of an owner, whose claims count for nothing, unless it is user 0.
    let other = dir.path().join("t");
    server.listen(UnixListener::bind(&other).unwrap(), Policy::Owner).unwrap();
    let mut cli = Cli::of(UnixStream::connect(&other).unwrap());
    cli.hello(8192);
    cli.answers(&mut server, 2);
    assert_eq!(server.tree().users[1], Identity::OwnerPeer { uid, gid }.user(NOFID));
    assert_eq!(server.tree().users[1], User { uid, gid, owner: true });
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = server.listen(tcp, Policy::Peer).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_port_is_served_beside_a_socket() {
    let mut server = Server::new(ram()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    server.listen(listener, Policy::Owner).unwrap();
    let mut unix = Cli::new(&mut server);
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut tcp = Cli { stream, got: Vec::new(), unsent: Vec::new(), eof: false };
    unix.hello(8192);
    tcp.hello(8192);
    tcp.answers(&mut server, 2);
    unix.answers(&mut server, 2);
}

#[test]
fn who_has_said_all_hears_all() {
    let mut server = Server::new(ram()).unwrap();
    let mut cli = Cli::new(&mut server);
    cli.hello(8192);
    for tag in 0..200 {
        cli.ask(tag, &GETATTR);
    }
    cli.send();
    assert!(cli.unsent.is_empty());
    cli.stream.shutdown(Shutdown::Write).unwrap();
    let all = cli.answers(&mut server, 202);
    assert_eq!(tag_of(&all[201]), 199);
    turns(&mut server, 1);
    cli.take();
    assert!(cli.eof && server.sessions() == 0);
}

#[test]
fn a_broken_frame_ends_one_session_and_is_answered() {
    let mut server = Server::new(ram()).unwrap();
    let (mut bad, mut good) = (Cli::new(&mut server), Cli::new(&mut server));
    bad.hello(8192);
    bad.answers(&mut server, 2);
    bad.unsent.extend([1, 0, 0, 0, 24, 0, 0]);
    let answers = bad.answers(&mut server, 1);
    assert_eq!(common::errno(&answers[0]), Errno::EMSGSIZE.0);
    turns(&mut server, 1);
    bad.take();
    assert!(bad.eof && server.sessions() == 1);
    good.hello(8192);
    good.answers(&mut server, 2);
}

#[test]
fn large_answers_go_out_in_parts_and_whole() {
    let mut ram = ram();
    let content: Vec<u8> = (0..3 << 20).map(|i: u32| (i / 7 + i) as u8).collect();
    ram.put("large", &content).unwrap();
    let mut server = Server::new(ram).unwrap();
    let mut cli = Cli::new(&mut server);
    cli.hello(8 << 20);
    let version = cli.answers(&mut server, 2).remove(0);
    let Rmsg::Version { msize, .. } = Rmsg::decode(&version).unwrap() else { panic!() };
    assert!(msize > 1 << 20 && msize == Config::default().limits.msize);
    cli.open(1, "large", OpenFlags::RDONLY);
    for i in 0..6u64 {
        cli.ask(i as u16, &Tmsg::Read { fid: 1, offset: i << 19, count: 1 << 20 });
    }
    let all = cli.answers(&mut server, 8);
    for (i, answer) in all[2..].iter().enumerate() {
        let Rmsg::Read { data, .. } = Rmsg::decode(answer).unwrap() else { panic!() };
        let from = i << 19;
        assert!(data == &content[from..(from + (1 << 20)).min(content.len())], "read {i}");
    }
}

#[test]
fn clients_hear_that_the_server_is_gone_and_find_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    for _ in 0..3 {
        let _ = std::fs::remove_file(&path);
        let mut server = Server::new(ram()).unwrap();
        server.listen(UnixListener::bind(&path).unwrap(), Policy::Owner).unwrap();
        let mut cli = Cli::of(UnixStream::connect(&path).unwrap());
        cli.hello(8192);
        cli.answers(&mut server, 2);
        drop(server);
        cli.take();
        assert!(cli.eof);
        assert!(UnixStream::connect(&path).is_err());
    }
}

#[test]
fn a_tree_is_told_the_time_before_its_turns() {
    let mut server = Server::new(ram()).unwrap();
    let mut now = 100;
    server.before_turns(move |ram| {
        now += 1;
        ram.set_now(atoll_9p::types::Time::from_secs(now));
    });
    let mut cli = Cli::new(&mut server);
    cli.hello(8192);
    cli.ask(1, &Tmsg::Mkdir { dfid: 0, name: "new", mode: 0o755, gid: 0 });
    cli.answers(&mut server, 3);
    let node = server.tree().find("new").unwrap();
    assert!(server.tree().stat(node).unwrap().mtime.sec > 100);
}

#[test]
fn idle_sessions_hold_no_buffers() {
    let mut server = Server::with(
        ram(),
        Config { limits: Limits { msize: 1 << 20, ..Limits::default() }, ..Config::default() },
    )
    .unwrap();
    let mut all: Vec<_> = (0..100).map(|_| Cli::new(&mut server)).collect();
    for cli in &mut all {
        cli.hello(1 << 20);
        cli.answers(&mut server, 2);
    }
    // Buffers are in the pool, and no more of them than one session needs.
    let held = server.held();
    assert!(held < (300 << 10) + 100 * 1024, "{held} bytes in all");
}

#[test]
fn a_listening_socket_that_is_not_one_is_refused() {
    let mut server = Server::new(ram()).unwrap();
    let (a, _b) = UnixStream::pair().unwrap();
    // What is no listening socket shows when somebody would be let in.
    let fd: OwnedFd = a.into();
    server.listen(UnixListener::from(fd), Policy::Owner).unwrap();
    drop(_b);
    assert!(server.turn(Some(Duration::ZERO)).is_err());
}
