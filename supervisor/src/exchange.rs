//! The bytes between a session of a tree and its stream, for whoever has the tree.
//!
//! A session is served in three steps, over and over: it is stepped against the tree, what it
//! has to say is [sent](send), and what comes is [received](receive). What else is waited
//! for meanwhile is the server's own.

use std::io;

use atoll_9p::server::Session;
use atoll_9p::tree::Tree;

use crate::stream::Stream;

/// Sends what there is room for. True when more waits for room.
pub(crate) fn send<T: Tree>(stream: &Stream, session: &mut Session<T>) -> io::Result<bool> {
    while !session.output().is_empty() {
        match stream.try_write(session.output())? {
            Some(n) => session.sent(n),
            None => return Ok(true),
        }
    }
    Ok(false)
}

/// Takes what has come, as far as the session has room. False at the stream's end.
pub(crate) fn receive<T: Tree>(stream: &Stream, session: &mut Session<T>) -> io::Result<bool> {
    match stream.try_read(session.spare())? {
        Some(0) => return Ok(false),
        Some(n) => session.received(n),
        None => {}
    }
    Ok(true)
}
