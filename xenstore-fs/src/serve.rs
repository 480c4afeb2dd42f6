//! The tree of a real xenstored on a [`Server`].

use std::io;

use atoll_9p::net::{Config, Server};

use crate::fs::XenStoreFs;
use crate::link::Link;

/// A server of the tree that listens nowhere yet.
pub fn serve(mut tree: XenStoreFs<Link>, config: Config) -> io::Result<Server<XenStoreFs<Link>>> {
    let events = tree.backend().events()?;
    let mut server = Server::with(tree, config)?;
    server.watch(events, XenStoreFs::pump)?;
    Ok(server)
}
