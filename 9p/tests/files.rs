//! The two clients that have a socket, against a server on one.

mod common;

use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use atoll_9p::client::transfer::{Fetch, Store, Transfer};
use atoll_9p::client::{Ask, Error, Tag, blocking, tokio as many};
use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::net::{Handle, Policy, Server};
use atoll_9p::ram::{Budget, Ram};
use atoll_9p::synth::{Files, Synth};
use atoll_9p::tree::Tree;
use atoll_9p::types::OpenFlags;
use proptest::prelude::*;

/// A server in a thread of its own, which ends with it.
struct Served {
    addr: std::net::SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn new<T: Tree>(tree: impl FnOnce() -> T + Send + 'static) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut server = Server::new(tree()).unwrap();
            server.listen(listener, Policy::Owner).unwrap();
            tell.send(server.handle()).unwrap();
            server.run().unwrap();
        });
        Served { addr, handle: told.recv().unwrap(), thread: Some(thread) }
    }

    fn ram() -> Served {
        Served::new(|| {
            let mut ram = Ram::new(Budget::default());
            ram.put("small", b"hello").unwrap();
            ram.put("large", &large()).unwrap();
            ram.mkdir("dir").unwrap();
            ram.put("dir/in", b"x").unwrap();
            ram
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn large() -> Vec<u8> {
    (0..1_500_001u32).map(|i| (i * 31 % 253) as u8).collect()
}

fn errno(e: Error) -> Errno {
    match e {
        Error::Refused(fault) => fault.errno,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_waiting_program_has_files() {
    let served = Served::ram();
    let conn = blocking::Connection::tcp(served.addr).unwrap();
    let mut text = String::new();
    let mut file = conn.open("small").unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    file.seek(SeekFrom::End(-2)).unwrap();
    let mut two = [0; 9];
    assert_eq!((file.read(&mut two).unwrap(), &two[..2]), (2, &b"lo"[..]));
    assert_eq!(conn.read("large").unwrap(), large());
    let mut names: Vec<_> = conn.list("/").unwrap().into_iter().map(|n| n.name).collect();
    names.sort();
    assert_eq!(names, ["dir", "large", "small"]);
    assert_eq!(conn.stat("large").unwrap().size, large().len() as u64);

    conn.mkdir("made", 0o755).unwrap();
    let mut new = conn.create("made/new", OpenFlags::RDWR, 0o644).unwrap();
    new.write_all(&large()).unwrap();
    conn.rename("made/new", "made/newer").unwrap();
    assert_eq!(conn.read("made/newer").unwrap(), large());
    conn.write("made/newer", b"short").unwrap();
    assert_eq!(conn.read("/made//newer/").unwrap(), b"short");
    conn.remove("made/newer", 0).unwrap();
    assert_eq!(errno(conn.read("made/newer").unwrap_err()), Errno::ENOENT);
    assert_eq!(errno(conn.read("small/x").unwrap_err()), Errno::ENOENT);
    let deep = "dir/../".repeat(20) + "small";
    assert_eq!(conn.read(&deep).unwrap(), b"hello");
    let e = std::io::Error::from(conn.open("no").map(drop).unwrap_err());
    assert_eq!(e.kind(), std::io::ErrorKind::NotFound);
    // A fid goes back with its file: there are not as many as files were opened.
    for _ in 0..5000 {
        conn.open("small").unwrap();
    }
}

/// Connects, and keeps a second handle by which the test breaks the connection.
fn breakable(addr: std::net::SocketAddr, last: &Arc<Mutex<Option<TcpStream>>>) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    *last.lock().unwrap() = Some(stream.try_clone().unwrap());
    stream
}

fn snap(last: &Arc<Mutex<Option<TcpStream>>>) {
    last.lock().unwrap().take().unwrap().shutdown(Shutdown::Both).unwrap();
}

#[test]
fn a_waiting_program_outlives_its_connection() {
    let served = Served::ram();
    let (addr, last) = (served.addr, Arc::new(Mutex::new(None)));
    let l = last.clone();
    let conn =
        blocking::Connection::reconnecting(7, move || Ok(Box::new(breakable(addr, &l)))).unwrap();
    let mut file = conn.open("small").unwrap();
    let mut two = [0; 2];
    file.read_exact(&mut two).unwrap();
    snap(&last);
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!((&two, &rest[..]), (b"he", "llo"));
    // Without a keeper it says what has happened.
    let stream = TcpStream::connect(addr).unwrap();
    let other = stream.try_clone().unwrap();
    let conn = blocking::Connection::over(stream).unwrap();
    other.shutdown(Shutdown::Both).unwrap();
    assert!(matches!(conn.read("small"), Err(Error::Closed)));
}

fn block_on<R>(f: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f)
}

#[test]
fn many_tasks_share_a_connection() {
    let served = Served::ram();
    let addr = served.addr;
    for threads in [false, true] {
        let mut runtime = match threads {
            true => tokio::runtime::Builder::new_multi_thread(),
            false => tokio::runtime::Builder::new_current_thread(),
        };
        runtime.enable_all().build().unwrap().block_on(async {
            let conn = many::Connection::tcp(addr).await.unwrap();
            let mut tasks = Vec::new();
            for i in 0..50 {
                let conn = conn.clone();
                tasks.push(tokio::spawn(async move {
                    let name = format!("f{i}");
                    let data = large()[i * 1000..i * 3000 + 70_000].to_vec();
                    let flags = OpenFlags(OpenFlags::RDWR.0 | OpenFlags::TRUNC);
                    let file = match conn.create(&name, flags, 0o600).await {
                        Ok(file) => file,
                        Err(e) if matches!(&e, Error::Refused(f) if f.errno == Errno::EEXIST) => {
                            conn.open(&name, flags).await.unwrap()
                        }
                        Err(e) => panic!("{name}: {e:?}"),
                    };
                    file.write_all(0, data.clone()).await.unwrap();
                    assert_eq!(file.read_to_end(0, 1 << 30).await.unwrap(), data);
                    let part = file.read(5, 10, Vec::new()).await.unwrap();
                    assert_eq!(part, data[5..15]);
                    file.close().await.unwrap();
                    assert_eq!(conn.stat(&name).await.unwrap().size, data.len() as u64);
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            assert!(
                conn.open("", OpenFlags::RDONLY).await.unwrap().list().await.unwrap().len() > 50
            );
            let e = conn.read("large", 1000).await.unwrap_err();
            assert_eq!(errno(e), Errno::EFBIG);
        });
    }
}

#[test]
fn transfers_on_many_threads_do_not_take_each_others_places() {
    let served = Served::ram();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(4).enable_all().build().unwrap().block_on(async {
        let conn = many::Connection::tcp(served.addr).await.unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let conn = conn.clone();
                tokio::spawn(async move {
                    for _ in 0..300 {
                        assert_eq!(conn.read("small", 100).await.unwrap(), b"hello");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// A tree with a stream that says nothing, and a file that says how many read it.
fn silent() -> Served {
    Served::new(|| {
        let mut synth = Synth::new();
        let root = synth.root();
        synth.stream(root, "log", |s: &mut atoll_9p::stream::Stream| s);
        synth.text(root, "readers", |s, out| {
            *out += if s.has_readers() { "yes" } else { "no" };
            Ok(())
        });
        Files { synth, state: atoll_9p::stream::Stream::new(1000) }
    })
}

#[test]
fn a_future_that_is_dropped_leaves_nothing_behind() {
    let served = silent();
    block_on(async {
        let conn = many::Connection::tcp(served.addr).await.unwrap();
        for _ in 0..200 {
            let file = conn.open("log", OpenFlags::RDONLY).await.unwrap();
            {
                let mut read = std::pin::pin!(file.read(0, 100, Vec::new()));
                // It is underway, it waits, and others are answered meanwhile, also
                // while nobody polls it.
                tokio::select! {
                    biased;
                    got = &mut read => panic!("{got:?}"),
                    readers = conn.read("readers", 9) => assert_eq!(readers.unwrap(), b"yes"),
                }
                assert_eq!(conn.read("readers", 9).await.unwrap(), b"yes");
            }
            drop(file);
            assert_eq!(conn.read("readers", 9).await.unwrap(), b"no");
        }
        // More than 256 waiting reads at once would be refused by the server.
        assert!(conn.open("log", OpenFlags::RDONLY).await.is_ok());
    });
}

#[test]
fn many_tasks_outlive_their_connection() {
    let served = Served::ram();
    let addr = served.addr;
    block_on(async {
        let last = Arc::new(Mutex::new(None));
        let l = last.clone();
        let conn = many::Connection::reconnecting(9, move || {
            let stream = breakable(addr, &l);
            Box::pin(async move {
                stream.set_nonblocking(true)?;
                Ok(tokio::net::TcpStream::from_std(stream)?.into())
            })
        });
        let conn = conn.await.unwrap();
        let file = conn.open("large", OpenFlags::RDONLY).await.unwrap();
        for _ in 0..5 {
            let whole = file.read_to_end(0, 1 << 30);
            let breaks = async { snap(&last) };
            let (whole, ()) = tokio::join!(whole, breaks);
            assert!(whole.unwrap() == large());
        }
        drop(served);
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), file.stat());
        assert!(waits.await.is_err(), "it waits for the server");
    });
}

/// A file of a server's that answers in any order and as shortly as it likes.
struct Script {
    data: Vec<u8>,
    asked: Vec<(Tag, u64, u32, Option<Vec<u8>>)>,
    next: u16,
    most: usize,
}

impl Ask for Script {
    fn send(&mut self, m: &Tmsg<'_>) -> Tag {
        self.next += 1;
        let one = match *m {
            Tmsg::Read { offset, count, .. } => (Tag(self.next), offset, count, None),
            Tmsg::Write { offset, data, .. } => {
                (Tag(self.next), offset, data.len() as u32, Some(data.to_vec()))
            }
            _ => panic!("{m:?}"),
        };
        self.asked.push(one);
        self.most = self.most.max(self.asked.len());
        Tag(self.next)
    }
    fn msize(&self) -> u32 {
        50
    }
}

/// The most answers that any of these may take: one byte each, and every time the others
/// that were asked for ahead in vain.
const ANSWERS: usize = 2000 * 9 * 2;

/// Answers in the order of `picks` until it is done; errors from one offset on.
fn play(
    mut t: impl Transfer,
    s: &mut Script,
    picks: &[(u8, u8)],
    bad: Option<u64>,
) -> Result<Vec<u8>, Errno> {
    for i in 0..ANSWERS {
        t.pump(s, &mut |_| {});
        if t.is_done() {
            assert!(s.asked.is_empty());
            return t.result().map_err(|f| f.errno);
        }
        let (pick, short) = picks[i % picks.len()];
        let (tag, offset, count, data) = s.asked.remove(usize::from(pick) % s.asked.len());
        // The offset tells which error it was.
        if bad.is_some_and(|bad| offset + u64::from(count) > bad) {
            let errno = 1000 + offset as u32;
            assert!(t.answer(tag, &Rmsg::Lerror { errno, text: None }));
            continue;
        }
        let n = if short % 4 == 0 { count.min(1 + u32::from(short) / 8) } else { count };
        let at = offset as usize;
        let Some(data) = data else {
            let rest = s.data.get(at..).unwrap_or_default();
            let data = rest[..rest.len().min(n as usize)].to_vec();
            assert!(t.answer(tag, &Rmsg::Read { data: &data, next: None }));
            continue;
        };
        let end = at + n as usize;
        s.data.resize(s.data.len().max(end), 0);
        s.data[at..end].copy_from_slice(&data[..n as usize]);
        assert!(t.answer(tag, &Rmsg::Write { count: n }));
    }
    panic!("it never ends");
}

proptest! {
    #[test]
    fn asking_ahead_gives_what_asking_in_order_gives(
        len in 0..2000usize, window in 1..9usize,
        picks in prop::collection::vec((any::<u8>(), any::<u8>()), 1..40),
        bad in prop::option::of(0..2500u64),
    ) {
        let data: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
        let script = |data: &[u8]| Script { data: data.to_vec(), asked: vec![], next: 0, most: 0 };
        let mut s = script(&data);
        match play(Fetch::new(1, 0, 5000, window, vec![9]), &mut s, &picks, bad) {
            Ok(got) => prop_assert_eq!(&got, &data),
            Err(e) => {
                // That of the first request that could not be answered.
                let (bad, at) = (bad.unwrap(), u64::from(e.0 - 1000));
                prop_assert!(at <= bad && bad < at + 39, "{bad} {at}");
            }
        }
        prop_assert!(s.most <= window);
        let mut s = script(&[]);
        match play(Store::new(1, 0, &data, window), &mut s, &picks, bad) {
            Ok(_) => prop_assert_eq!(&s.data, &data),
            Err(e) => prop_assert!(bad.is_some() && e.0 >= 1000),
        }
        prop_assert!(s.most <= window);
    }
}
