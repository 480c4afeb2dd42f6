//! Serving a tree on sockets: one thread, one epoll, any number of sessions.
//!
//! The rest of this crate takes bytes and gives bytes; this is what carries them on
//! Linux (feature `std`). A [`Server`] owns the tree, so there is no lock anywhere,
//! and what it does for a request that comes alone is what a bare echo would do:
//! wait, read, write. Sessions that have something to do get their turns one after
//! another, each a bounded number of requests, so a client that floods its own
//! session holds nobody else off; and one that waits, or does nothing, costs
//! memory only.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! # let tree = atoll_9p::synth::Files { synth: atoll_9p::synth::Synth::new(), state: () };
//! atoll_9p::net::serve(std::os::unix::net::UnixListener::bind("tree.sock")?, tree)
//! # }
//! ```

use std::io;

mod alone;
mod handle;
mod listener;
mod peer;
mod server;
mod slots;

pub use handle::Handle;
pub use listener::{Listener, Policy};
pub use server::{Config, Server};

use crate::tree::Tree;

/// Serves a tree on a listening socket, for whoever may connect to it, as the owner
/// of everything. Returns only with an error.
pub fn serve<T: Tree>(listener: impl Into<Listener>, tree: T) -> io::Result<()> {
    let mut server = Server::new(tree)?;
    server.listen(listener, Policy::Owner)?;
    server.run()
}
