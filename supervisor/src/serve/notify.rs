//! What a service manager gives and is told: sockets that it listens on for us
//! (`sd_listen_fds(3)`), and a line when we are ready or about to go (`sd_notify(3)`).
//!
//! The line is a datagram, so there is no crate for it here.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

/// The variable that names the manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The listening unix sockets that were handed over, if any were.
pub fn listeners() -> std::io::Result<Vec<UnixListener>> {
    let mut given = listenfd::ListenFd::from_env();
    let mut found = Vec::new();
    for i in 0..given.len() {
        found.extend(given.take_unix_listener(i)?);
    }
    Ok(found)
}

/// Tells the service manager something, such as `READY=1`. Without one nothing happens,
/// and one that does not listen is its own concern.
pub fn tell(line: &str) {
    let Some(name) = std::env::var_os(SOCKET) else { return };
    let to = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    if let (Ok(to), Ok(socket)) = (to, UnixDatagram::unbound()) {
        // A manager whose queue is full must not stop us.
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to_addr(line.as_bytes(), &to);
    }
}
