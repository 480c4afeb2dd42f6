//! `atoll serve`: the daemon.
//!
//! It is small on purpose. What is to happen to a guest is decided by [`crate::core`], what
//! must not be forgotten is in [`crate::store`], and machines belong to [`crate::shim`]s,
//! which are processes of their own and live on when this one does not. What is left is to
//! carry bytes: between clients and the control tree ([`tree`], [`front`]), between the
//! core and the shims (`shims.rs`).
//!
//! The order of a start is that of what may fail: the folder, the store, the sockets; then
//! the guests of the one before are looked for, and only then is it said to be ready. The
//! end is nothing: whenever it comes, the next start is the same.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use crate::address;
use crate::domain::shell;
use crate::guard::Guard;
use crate::socket::{Public, own_folder};
use crate::store::{Error, Store, disk::Disk};

pub mod answers;
pub mod authority;
mod client;
pub mod config;
pub mod cuts;
mod daemon;
mod events;
mod files;
pub mod front;
mod host;
pub mod images;
pub mod manifest;
mod metrics;
pub mod notify;
mod shells;
mod shims;
pub mod show;
pub mod state;
pub mod tree;
pub mod units;
mod watch;
mod xenstore;

use authority::Owner;
use daemon::Daemon;
use images::Images;
use shells::Shells;
use state::State;
use xenstore::XenStore;

/// The folder of images, in that of everything.
pub(crate) const IMAGES: &str = "images";
/// The folder of a guest's checkpoints, in the guest's.
const CHECKPOINTS: &str = "checkpoints";

/// What a folder has that is called by a number, in order; `number` finds it in a name.
fn numbered(folder: &Path, number: fn(&str) -> Option<u64>) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let numbered = entries.filter_map(|e| Some((number(e.file_name().to_str()?)?, e.path())));
    let mut all: Vec<_> = numbered.collect();
    all.sort_unstable();
    all
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder of everything, if not the usual one.
    pub state: Option<PathBuf>,
    /// The socket, if not the usual one.
    pub socket: Option<PathBuf>,
    /// More places to listen at, on this machine.
    pub listen: Vec<SocketAddr>,
    /// A group whose members may use it too.
    pub group: Option<u32>,
    /// What domains that no guest has yet may cost together, in bytes.
    pub shells: u64,
    /// Say nothing that is not wrong.
    pub quiet: bool,
}

/// The folder of everything, when nobody names another.
pub fn default_state() -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    Ok(base.context("there is no HOME: say where to keep state with --state DIR")?.join("atoll"))
}

/// Makes a folder for this user alone, and those above it.
fn folder(path: &Path) -> anyhow::Result<()> {
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above).with_context(|| above.display().to_string())?;
    }
    own_folder(path).map_err(|e| match e {
        crate::socket::Error::Foreign(path) => anyhow::anyhow!(
            "{} belongs to somebody else or is open to others: chmod 700, or choose another \
             folder with --state",
            path.display()
        ),
        e => e.into(),
    })
}

/// Raises the number of descriptors to what this process may have: every guest and every
/// client takes one.
fn raise_limits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where that is not allowed, fewer guests fit.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// How long a supervisor that was told to end may take until its state is free.
const ENDING: Duration = Duration::from_secs(2);

/// Opens a store, which the one before may be about to leave.
async fn when_free(open: impl Fn() -> Result<Disk, Error>) -> Result<Disk, Error> {
    let began = Instant::now();
    loop {
        match open() {
            Err(Error::Taken(_)) if began.elapsed() < ENDING => {
                sleep(Duration::from_millis(20)).await;
            }
            done => return done,
        }
    }
}

/// Serves until it is told to end; guests run on.
pub async fn run(options: &Options) -> anyhow::Result<bool> {
    let say = |line: &str| {
        if !options.quiet {
            eprintln!("atoll: {line}");
        }
    };
    raise_limits();
    let at = match &options.state {
        Some(path) => std::path::absolute(path)?,
        None => default_state()?,
    };
    folder(&at)?;
    for part in [IMAGES, "guests", "shells"] {
        own_folder(&at.join(part))?;
    }
    let mut store = when_free(|| Disk::open(&at)).await?;
    let loaded = store.load()?;
    let images = Images::open(&at.join(IMAGES)).with_context(|| at.display().to_string())?;
    let owner = Owner { uid: rustix::process::geteuid().as_raw(), gid: options.group };
    let (todo, inbox) = tokio::sync::mpsc::unbounded_channel();
    let mut state = State::new(&at, Box::new(store), loaded, images, Box::new(owner), todo);

    let atoll = std::env::current_exe().context("which program is this?")?;
    let mut guard = Guard::start(&atoll).context("cannot start the guard")?;
    let xenstore = match XenStore::start(&mut guard) {
        Ok(xenstore) => xenstore,
        Err(e) => {
            eprintln!("atoll: there is no /xen/store: {e:#}");
            None
        }
    };
    let is_xen = xenstore.is_some();
    state.xenstore = xenstore.as_ref().map(XenStore::server);
    let given = notify::listeners().context("the sockets of the service manager")?;
    let path = match &options.socket {
        Some(path) => std::path::absolute(path)?,
        None => address::supervisor_socket(),
    };
    let mut public = None;
    let mut unix = given;
    if unix.is_empty() {
        if options.socket.is_none() {
            if options.group.is_some() {
                anyhow::bail!(
                    "--group needs --socket PATH too: {} is in a folder that nobody else can \
                     look into",
                    path.display()
                );
            }
            own_folder(&address::socket_dir())?;
        }
        let (socket, listener) = Public::listen(&path, &mut guard)?;
        if let Some(gid) = options.group {
            share(&path, gid).with_context(|| path.display().to_string())?;
        }
        say(&format!("control tree at unix:{}", path.display()));
        public = Some(socket);
        unix.push(listener);
    } else {
        say("control tree at the service manager's sockets");
    }
    // Of one that was given to us we do not know who may connect there.
    let shared = public.is_some() && options.group.is_some();
    let mut tcp = Vec::new();
    for addr in &options.listen {
        let listener = TcpListener::bind(addr).await.with_context(|| format!("tcp:{addr}"))?;
        say(&format!("control tree at tcp:{}", listener.local_addr()?));
        tcp.push(listener);
    }

    let local = LocalSet::new();
    let done = local.run_until(async {
        let shells = Shells::new(shell::folder(&at), options.shells);
        let daemon = Daemon::new(state, shells);
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // A terminal that is closed is no reason to end.
        let _hangup = signal(SignalKind::hangup())?;
        spawn_local(daemon.clone().work(inbox));
        spawn_local(daemon.clone().alarm());
        for listener in unix {
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            spawn_local(client::accept_unix(daemon.clone(), listener, shared));
        }
        for listener in tcp {
            spawn_local(client::accept_tcp(daemon.clone(), listener));
        }
        let (alive, all) = shims::adopt(&daemon).await;
        if all > 0 {
            say(&format!("{all} guest{}, {alive} running", if all == 1 { "" } else { "s" }));
        }
        if is_xen {
            spawn_local(shells::keep(daemon.clone()));
        }
        say("ready");
        notify::tell("READY=1");
        tokio::select! {
            () = daemon.ended() => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        notify::tell("STOPPING=1");
        if is_xen {
            daemon.shells.end().await;
        }
        let running = daemon.running();
        say(&match running {
            0 => "ends".to_owned(),
            1 => "ends; 1 guest runs on".to_owned(),
            n => format!("ends; {n} guests run on"),
        });
        Ok::<_, anyhow::Error>(true)
    });
    let done = done.await;
    drop(local);
    drop(public);
    drop(xenstore);
    guard.bye();
    // Goes where no guest has a socket there, and stays where one has.
    let _ = std::fs::remove_dir(address::socket_dir());
    done
}

/// Lets a group use a socket.
fn share(path: &Path, gid: u32) -> std::io::Result<()> {
    use rustix::fs::{Gid, Mode, chmod, chown};
    chown(path, None, Some(Gid::from_raw(gid)))?;
    Ok(chmod(path, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_ends_is_waited_for_and_one_that_stays_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Disk::open(dir.path());
        let first = open().unwrap();
        let (second, ()) = tokio::join!(when_free(open), async {
            sleep(Duration::from_millis(50)).await;
            drop(first);
        });
        let _second = second.unwrap();
        assert!(matches!(when_free(open).await, Err(Error::Taken(_))));
    }
}
