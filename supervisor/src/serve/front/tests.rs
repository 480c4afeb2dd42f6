//! The front with sockets around it: what the switch's own tests cannot see.

use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use atoll_9p::client::blocking::Connection;
use atoll_9p::net::{Handle, Policy, Server};
use atoll_9p::ram::Ram;
use atoll_9p::stream::Stream as Lines;
use atoll_9p::synth::{Files, Node, Synth};
use atoll_9p::types::OpenFlags;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::*;
use crate::address::Address;
use crate::conn::{Conn, Error};

/// Nothing here takes long; a test that hangs is to fail.
const PATIENCE: Duration = Duration::from_secs(30);

struct State {
    log: Lines,
    /// Mount points that were walked into.
    reached: Vec<u64>,
}

/// A server of files, on a thread of its own.
struct Guest {
    path: PathBuf,
    handle: Handle,
    thread: Option<JoinHandle<Server<Ram>>>,
}

impl Guest {
    fn start(path: &Path) -> Guest {
        let _ = std::fs::remove_file(path);
        let mut ram = Ram::default();
        ram.put("deep/in/it", b"a guest's file\n").unwrap();
        ram.put("large", &vec![7; 3 << 20]).unwrap();
        let mut server = Server::new(ram).unwrap();
        server.listen(StdListener::bind(path).unwrap(), Policy::Owner).unwrap();
        let handle = server.handle();
        let thread = std::thread::spawn(move || {
            server.run().unwrap();
            server
        });
        Guest { path: path.into(), handle, thread: Some(thread) }
    }

    /// Ends it; the sessions that it had then.
    fn stop(mut self) -> usize {
        // Who is answered now comes behind those who have hung up: it has seen them go.
        let last = Connection::unix(&self.path).unwrap();
        last.read("deep/in/it").unwrap();
        self.handle.stop();
        let sessions = self.thread.take().unwrap().join().unwrap().sessions();
        drop(last);
        sessions - 1
    }
}

/// A tree with `log`, and `g/1/fs` and `g/2/fs`, whose servers are in a folder.
struct Place {
    front: Front<Files<'static, State>>,
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let mut synth = Synth::new();
        let root = synth.root();
        synth.stream(root, "log", |s: &mut State| &mut s.log);
        let each = synth.huge(
            root,
            "g",
            |_, name| name.parse().ok().filter(|n| (1..3).contains(n)),
            |_, from, each| {
                let _ = (from.max(1)..3).all(|n| each(n, &n.to_string()));
            },
        );
        synth.mount(each, "fs");
        let state = State { log: Lines::new(1 << 16), reached: Vec::new() };
        let at = dir.path().to_owned();
        let reach: Reach<Files<'static, State>> = Box::new(move |files, mount| {
            let guest = Node::entry_of(mount);
            files.state.reached.push(guest);
            Ok(at.join(guest.to_string()).into())
        });
        Place { front: Front::new(Files { synth, state }, LIMITS, reach), dir }
    }

    fn guest(&self, n: u64) -> Guest {
        Guest::start(&self.dir.path().join(n.to_string()))
    }

    fn address(&self) -> Address {
        Address::Unix(self.dir.path().join("front"))
    }

    /// Runs a test against it.
    fn run<R>(&self, test: impl Future<Output = R>) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = LocalSet::new();
        let served = runtime.block_on(local.run_until(async {
            let listener = UnixListener::bind(self.dir.path().join("front")).unwrap();
            let front = self.front.clone();
            spawn_local(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let front = front.clone();
                    spawn_local(async move {
                        front.serve_client(stream.try_into().unwrap(), Identity::Owner).await;
                    });
                }
            });
            timeout(PATIENCE, test).await.unwrap()
        }));
        std::fs::remove_file(self.dir.path().join("front")).unwrap();
        served
    }
}

async fn open(conn: &mut Conn, path: &str) -> Result<(), Error> {
    conn.walk(path).await?;
    conn.open_file(OpenFlags::RDONLY).await
}

async fn read(conn: &mut Conn, path: &str) -> Result<Vec<u8>, Error> {
    open(conn, path).await?;
    let mut all = Vec::new();
    loop {
        let more = conn.read_now(all.len() as u64).await?;
        if more.is_empty() {
            return Ok(all);
        }
        all.extend(more);
    }
}

#[test]
fn a_client_reads_here_and_there() {
    let place = Place::new();
    let guests = [place.guest(1), place.guest(2)];
    place.run(async {
        let mut conn = Conn::open(&place.address(), PATIENCE).await.unwrap();
        for guest in ["1", "2", "1"] {
            let got = read(&mut conn, &format!("g/{guest}/fs/deep/in/it")).await.unwrap();
            assert_eq!(got, b"a guest's file\n");
        }
        assert_eq!(read(&mut conn, "g/2/fs/large").await.unwrap().len(), 3 << 20);
        assert_eq!(place.front.with(|files| files.state.reached.clone()), [1, 2]);
        assert_eq!(place.front.clients(), 1);
    });
    // Nobody is left at the servers when the client is gone.
    assert_eq!(place.front.clients(), 0);
    guests.into_iter().for_each(|guest| assert_eq!(guest.stop(), 0));
}

#[test]
fn who_waits_is_woken_by_what_is_done_to_the_tree() {
    let place = Place::new();
    place.run(async {
        let conns: Vec<_> = (0..20)
            .map(|_| {
                let address = place.address();
                spawn_local(async move {
                    let mut conn = Conn::open(&address, PATIENCE).await.unwrap();
                    open(&mut conn, "log").await.unwrap();
                    conn.read(0).await.unwrap()
                })
            })
            .collect();
        while place.front.clients() < 20 || place.front.waiting() < 20 {
            tokio::task::yield_now().await;
        }
        place.front.with(|files| files.state.log.push(format_args!("news")));
        for conn in conns {
            assert_eq!(conn.await.unwrap(), b"news\n");
        }
    });
}

#[test]
fn a_server_that_ends_is_told_of_and_another_is_found() {
    let place = Place::new();
    place.run(async {
        let mut conn = Conn::open(&place.address(), PATIENCE).await.unwrap();
        let refused = read(&mut conn, "g/1/fs/deep/in/it").await.unwrap_err();
        assert!(refused.to_string().contains("ENXIO"), "{refused}");
        for _ in 0..3 {
            let guest = place.guest(1);
            assert!(read(&mut conn, "g/1/fs/deep/in/it").await.is_ok());
            open(&mut conn, "g/1/fs/large").await.unwrap();
            let _ = guest.stop();
            let mut lost = conn.read(0).await;
            while lost.is_ok() {
                lost = conn.read(0).await;
            }
            let lost = lost.unwrap_err().to_string();
            assert!(lost.contains("gone") && lost.contains("EIO"), "{lost}");
        }
    });
}

#[test]
fn a_client_that_never_reads_stops_its_own_connections_alone() {
    let place = Place::new();
    let guest = place.guest(1);
    place.run(async {
        let socket = place.dir.path().join("front");
        let stream = UnixStream::connect(&socket).await.unwrap();
        let mut ask = Vec::new();
        use atoll_9p::msg::{Tmsg, encode_walk};
        use atoll_9p::wire::{NOFID, NOTAG};
        Tmsg::Version { msize: 64 << 10, version: "9P2000.L" }.encode(NOTAG, &mut ask);
        Tmsg::Attach { fid: 0, afid: NOFID, uname: "", aname: "", n_uname: 0 }.encode(0, &mut ask);
        encode_walk(1, 0, 1, "g/1/fs/large", &mut ask).unwrap();
        Tmsg::Lopen { fid: 1, flags: OpenFlags::RDONLY }.encode(2, &mut ask);
        for tag in 3..300 {
            Tmsg::Read { fid: 1, offset: 0, count: 60_000 }.encode(tag, &mut ask);
        }
        let stream = Stream::try_from(stream).unwrap();
        let mut at = 0;
        while at < ask.len() {
            stream.writable().await.unwrap();
            at += stream.try_write(&ask[at..]).unwrap().unwrap_or(0);
        }
        // Others are served as ever, while all that is asked for is far more than is held.
        for _ in 0..50 {
            let mut conn = Conn::open(&place.address(), PATIENCE).await.unwrap();
            assert!(read(&mut conn, "g/1/fs/deep/in/it").await.is_ok());
        }
        assert!(place.front.held() < 4 << 20, "{}", place.front.held());
        // And when it reads, it gets all of it.
        let (mut got, mut buf) = (0, vec![0; 1 << 20]);
        while got < 297 * 60_000 {
            stream.readable().await.unwrap();
            match stream.try_read(&mut buf).unwrap() {
                Some(0) => panic!("closed after {got} bytes"),
                Some(n) => got += n,
                None => {}
            }
        }
    });
    assert_eq!(guest.stop(), 0);
}
