//! The `host` stream: the guest is the client, and sees what was exported to it.

use std::io;

use atoll_9p::server::{Limits, Session};

use crate::exchange::{receive, send};
use crate::hostdir::HostDirs;
use crate::stream::Stream;

/// What a guest may hold: each fid is a descriptor of the supervisor's.
const LIMITS: Limits = Limits { msize: 64 << 10, fids: 256, blocked: 16, writes: 256 << 10 };

/// Serves folders on a stream until the guest is gone.
pub async fn serve(stream: &Stream, tree: &mut HostDirs) -> io::Result<()> {
    let mut session = Session::<HostDirs>::new(LIMITS);
    let done = exchange(stream, &mut session, tree).await;
    session.close(tree);
    done
}

async fn exchange(
    stream: &Stream,
    session: &mut Session<HostDirs>,
    tree: &mut HostDirs,
) -> io::Result<()> {
    loop {
        while session.step(tree) {}
        let waiting = send(stream, session)?;
        if session.is_dead() && !waiting {
            return Ok(());
        }
        if session.is_ready() {
            continue;
        }
        let room = !session.spare().is_empty();
        tokio::select! {
            r = stream.writable(), if waiting => r?,
            r = stream.readable(), if room => {
                r?;
                if !receive(stream, session)? {
                    return Ok(());
                }
            }
            else => return Ok(()),
        }
    }
}
