//! How a guest reaches a server under test: a port of this host's loopback, open to
//! this user alone.
//!
//! The guest's kernel speaks 9P over TCP, and QEMU's user network turns that into
//! connections of the QEMU process to 127.0.0.1. (It can also hand a connection to a
//! socket of ours without TCP, `guestfwd`, but then nobody is told when the guest
//! opens or closes one, and a mount is just that.) Loopback is everybody's, so each
//! connection is looked up in `/proc/net/tcp`, which says whose it is, and another
//! user's is closed before a byte of it is read.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use rustix::process::getuid;

/// The address of this host, as the guest knows it.
pub const HOST: &str = "10.0.2.2";

/// A port that is served. Dropped, it is closed with all its connections.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    port: u16,
    inside: Arc<Inside>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Inside {
    open: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
}

impl Inside {
    fn open(&self) -> MutexGuard<'_, Vec<(TcpStream, JoinHandle<()>)>> {
        self.open.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Door {
    /// Calls `serve` with every connection, each in a thread of its own. It should
    /// return when its connection ends.
    pub fn open(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> io::Result<Door> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (inside, serve) = (Arc::new(Inside::default()), Arc::new(serve));
        let (there, theirs) = (listener.try_clone()?, inside.clone());
        let accepting = std::thread::spawn(move || {
            while let Ok((stream, from)) = there.accept() {
                let (Ok(true), Ok(end), Ok(copy)) =
                    (is_ours(port, from), stream.try_clone(), stream.try_clone())
                else {
                    continue;
                };
                let serve = serve.clone();
                let thread = std::thread::spawn(move || {
                    serve(stream);
                    let _ = end.shutdown(Shutdown::Both);
                });
                let mut open = theirs.open();
                open.retain(|(_, thread)| !thread.is_finished());
                open.push((copy, thread));
            }
        });
        Ok(Door { listener, port, inside, accepting: Some(accepting) })
    }

    /// Joins every connection to a new one of a unix socket.
    pub fn to_socket(path: &Path) -> io::Result<Door> {
        let path = path.to_owned();
        Door::open(move |tcp| {
            // What cannot be reached is a connection that ends at once.
            let _ = UnixStream::connect(&path).and_then(|unix| join(&tcp, &unix));
            let _ = tcp.shutdown(Shutdown::Both);
        })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Ends accept(): see shutdown(2), on a socket that listens.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
        let all = std::mem::take(&mut *self.inside.open());
        for (stream, thread) in all {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

/// Copies both ways until one side ends.
fn join(tcp: &TcpStream, unix: &UnixStream) -> io::Result<()> {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = copy(&mut &*tcp, &mut &*unix);
            let _ = unix.shutdown(Shutdown::Both);
        });
        let _ = copy(&mut &*unix, &mut &*tcp);
        let _ = tcp.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buf = vec![0; 128 << 10];
    loop {
        match from.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&buf[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Whether the other end of a connection to one of our ports is this user's.
fn is_ours(port: u16, from: SocketAddr) -> io::Result<bool> {
    let SocketAddr::V4(from) = from else { return Ok(false) };
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    Ok(owner(&table, from, to) == Some(getuid().as_raw()))
}

/// Who has the socket `from`, which is connected with `to`. Columns of the table:
/// `Documentation/networking/proc_net_tcp.rst` of Linux.
fn owner(table: &str, from: SocketAddrV4, to: SocketAddrV4) -> Option<u32> {
    let show =
        |a: SocketAddrV4| format!("{:08X}:{:04X}", u32::from_ne_bytes(a.ip().octets()), a.port());
    let (from, to) = (show(from), show(to));
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let ends = words.next() == Some(&*from) && words.next() == Some(&*to);
        // 1 is ESTABLISHED; a socket that its owner has closed belongs to nobody.
        (ends && words.next() == Some("01")).then_some(())?;
        // queues, timer, retransmits
        words.nth(3)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn hello() -> (Door, Arc<AtomicUsize>) {
        let served = Arc::new(AtomicUsize::new(0));
        let count = served.clone();
        let door = Door::open(move |mut stream| {
            count.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(b"hello");
        });
        (door.unwrap(), served)
    }

    #[test]
    fn a_connection_of_this_user_is_served() {
        let (door, served) = hello();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(("127.0.0.1", door.port())).unwrap();
            let mut text = [0; 5];
            stream.read_exact(&mut text).unwrap();
            assert_eq!(&text, b"hello");
        }
        drop(door);
        assert_eq!(served.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn another_users_connection_is_closed_unread() {
        if !getuid().is_root() {
            eprintln!("skipped: only root can be another user for a moment");
            return;
        }
        let (door, served) = hello();
        let other = Command::new("setpriv")
            .args(["--reuid=65534", "--clear-groups", "busybox", "nc", "127.0.0.1"])
            .arg(door.port().to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(other.stdout.is_empty(), "{other:?}");
        drop(door);
        assert_eq!(served.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_door_that_is_dropped_ends_connections_that_wait() {
        let door = Door::open(|mut stream| {
            let _ = stream.read(&mut [0]);
        })
        .unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", door.port())).unwrap();
        let port = door.port();
        drop(door);
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }

    #[test]
    fn a_unix_socket_is_reached_and_its_end_is_heard_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let door = Door::to_socket(&path).unwrap();
        let mut tcp = TcpStream::connect(("127.0.0.1", door.port())).unwrap();
        let (mut unix, _) = listener.accept().unwrap();
        tcp.write_all(b"ask").unwrap();
        let mut buf = [0; 3];
        unix.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"ask");
        unix.write_all(b"yes").unwrap();
        tcp.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"yes");
        drop(tcp);
        assert_eq!(unix.read(&mut buf).unwrap(), 0);
    }

    #[test]
    fn the_owner_is_found_by_both_ends() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
            0: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000     5        0 1\n   \
            1: 0100007F:C000 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 2\n";
        let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        assert_eq!(owner(table, at(0xc000), at(0x1f90)), Some(1000));
        assert_eq!(owner(table, at(0x1f90), at(0xc000)), Some(5));
        assert_eq!(owner(table, at(0xc001), at(0x1f90)), None);
    }
}
