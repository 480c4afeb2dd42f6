//! Where clients of the control tree come from, and who they are.

use std::rc::Rc;
use std::time::Duration;

use atoll_9p::access::{Identity, NOBODY};
use rustix::net::sockopt::socket_peercred;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::authority::Caller;
use super::daemon::Daemon;
use crate::stream::Stream;

/// Clients at one time; more wait to be accepted.
const MAX_CLIENTS: usize = 8192;
/// How long to wait for room.
const LATER: Duration = Duration::from_millis(100);

/// Takes clients of a unix socket; `shared` if its mode lets in only the owner and a group.
pub(super) async fn accept_unix(daemon: Rc<Daemon>, listener: UnixListener, shared: bool) {
    loop {
        room(&daemon).await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(peer) = socket_peercred(&stream) else { continue };
                let caller = Caller {
                    client: 0,
                    uid: Some(peer.uid.as_raw()),
                    gid: Some(peer.gid.as_raw()),
                    member: shared,
                    pid: Some(peer.pid.as_raw_nonzero().get().unsigned_abs()),
                };
                let Ok(stream) = stream.try_into() else { continue };
                admit(&daemon, stream, caller);
            }
            // Out of descriptors, most likely: others will be given back.
            Err(_) => sleep(LATER).await,
        }
    }
}

/// Takes clients of this machine's own network.
pub(super) async fn accept_tcp(daemon: Rc<Daemon>, listener: TcpListener) {
    loop {
        room(&daemon).await;
        match listener.accept().await.and_then(|(stream, _)| stream.try_into()) {
            Ok(stream) => {
                admit(
                    &daemon,
                    stream,
                    Caller { client: 0, uid: None, gid: None, member: false, pid: None },
                );
            }
            Err(_) => sleep(LATER).await,
        }
    }
}

async fn room(daemon: &Daemon) {
    while daemon.front.clients() >= MAX_CLIENTS {
        sleep(LATER).await;
    }
}

fn admit(daemon: &Rc<Daemon>, stream: Stream, caller: Caller) {
    let identity = Identity::OwnerPeer {
        uid: caller.uid.unwrap_or(NOBODY),
        gid: caller.gid.unwrap_or(NOBODY),
    };
    let daemon = daemon.clone();
    spawn_local(async move {
        daemon.with(|s| s.clients += 1);
        daemon.front.serve_caller(stream, identity, caller).await;
        daemon.with(|s| s.clients -= 1);
    });
}
