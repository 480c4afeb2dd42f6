//! This host's XenStore, as `/xen/store` of the control tree.
//!
//! xenstored is asked and waited for, which the daemon's one thread never does. So the tree
//! of it is a server of its own, on a thread and at a socket that nobody else can reach, and
//! is mounted as guests' trees are: one that hangs holds up those alone who look into it.

use std::path::PathBuf;
use std::thread::JoinHandle;

use anyhow::Context;
use atoll_9p::net::{Config, Handle, Policy};
use atoll_9p::server::Limits;
use atoll_xenstore_fs::{Link, Target, XenStoreFs};

use super::front::Server;
use crate::address;
use crate::guard::Guard;
use crate::socket::Private;

/// A server of it, until it is dropped.
pub(super) struct XenStore {
    socket: PathBuf,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    _folder: Private,
}

impl XenStore {
    /// Serves it, if this is a host that may have one: also if xenstored starts after this.
    pub(super) fn start(guard: &mut Guard) -> anyhow::Result<Option<XenStore>> {
        if !atoll_xen::dom0::is_there() {
            return Ok(None);
        }
        let link = Link::later(Target::Usual)?;
        let mut tree = XenStoreFs::new(link, "/", atoll_xenstore_fs::Limits::default())?;
        tree.uid = rustix::process::geteuid().as_raw();
        tree.gid = rustix::process::getegid().as_raw();
        let config = Config { limits: Limits::default(), sessions: 1024 };
        let mut server = atoll_xenstore_fs::serve(tree, config)?;
        let folder = Private::new(&address::socket_dir(), guard)?;
        let (socket, listener) = folder.listen("own")?;
        server.listen(listener, Policy::Owner)?;
        let handle = server.handle();
        let run = move || {
            if let Err(e) = server.run() {
                eprintln!("atoll: XenStore cannot be served any longer: {e}");
            }
        };
        let thread = std::thread::Builder::new().name("xenstore".into()).spawn(run);
        let thread = Some(thread.context("a thread for XenStore")?);
        Ok(Some(XenStore { socket, handle, thread, _folder: folder }))
    }

    /// Where it is served.
    pub(super) fn server(&self) -> Server {
        let called = Some("XenStore".into());
        Server { called, ..Server::from(self.socket.clone()) }
    }
}

impl Drop for XenStore {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
