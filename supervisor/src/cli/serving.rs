//! A tree at a socket, and at ports if it is wanted, in the foreground: until a signal.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Context;
use atoll_9p::net::{Policy, Server};
use atoll_9p::tree::Tree;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::address;
use crate::guard::Guard;
use crate::socket::{Private, Public};

/// Serves until SIGINT, SIGTERM or SIGHUP, and leaves nothing behind, also when killed.
/// Without a socket it is the one of this name. `tell` is called when both are there: the
/// socket, and the ports as they are.
pub(super) fn until_told<T: Tree>(
    mut server: Server<T>,
    socket: Option<&Path>,
    name: &str,
    listen: &[SocketAddr],
    tell: impl FnOnce(&Path, &[SocketAddr]) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let atoll = std::env::current_exe().context("which program is this?")?;
    let mut guard = Guard::start(&atoll).context("cannot start the guard")?;
    let (path, private) = match socket {
        Some(path) => (std::path::absolute(path)?, None),
        None => {
            // What makes and takes away the folder of all sockets.
            let private = Private::new(&address::socket_dir(), &mut guard)?;
            (address::default_socket(name), Some(private))
        }
    };
    // Before the socket: what comes while there is no handler would end us as if killed.
    let (ended, signalled) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, signalled.try_clone()?)?;
    }
    let handle = server.handle();
    server.watch(ended, move |_| handle.stop())?;

    let (public, listener) = Public::listen(&path, &mut guard)?;
    server.listen(listener, Policy::Owner)?;
    let mut ports = Vec::new();
    for addr in listen {
        let listener = TcpListener::bind(addr).with_context(|| format!("tcp:{addr}"))?;
        ports.push(listener.local_addr()?);
        server.listen(listener, Policy::Owner)?;
    }
    tell(public.path(), &ports)?;
    let done = server.run();
    drop(server);
    drop(public);
    drop(private);
    guard.bye();
    done.context("cannot serve any longer")?;
    Ok(true)
}
