//! The process that stands for a domain: see [`super`].

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use atoll_config::xl::{Domain, Then};
use atoll_xen::dom0::Store;
use clap::Parser;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::arrive::Arrival;
use super::console::Console;
use super::gate::Gate;
use super::keeper::{Begin, Keeper, Order};
use super::pool::Kind;
use super::shell::{Claim, Held};
use super::travel::{FORMAT, Hello};
use super::{LOST, MOVED, RECORDED, TAKEN, UNSTARTED, lane, monitor, new_uuid, store, xl};
use crate::backend::{ARRIVAL_FD, CONTROL_FD, DEBUG_FD, Files, HOST_FD, MONITOR_FD};

/// The highest status of a guest; what is above is this program's own.
const MOST: u8 = 63;
/// How long a domain of this name may take to be gone.
const FREE_WITHIN: Duration = Duration::from_secs(5);

/// What it stands for.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[arg(long)]
    pub(crate) name: String,
    /// Bytes.
    #[arg(long)]
    pub(crate) memory: u64,
    #[arg(long)]
    pub(crate) launch: String,
    /// The payload of its image, as a hash.
    #[arg(long)]
    pub(crate) payload: String,
    /// The owner epoch.
    #[arg(long)]
    pub(crate) epoch: u64,
    /// It arrives from elsewhere.
    #[arg(long)]
    pub(crate) receive: bool,
    /// The folder that a supervisor has for it.
    #[arg(long)]
    pub(crate) home: Option<PathBuf>,
    /// The record of a shell that it may take.
    #[arg(long)]
    pub(crate) shell: Option<PathBuf>,
    pub(crate) image: PathBuf,
}

/// What the keeper says, and what XenStore does.
pub(super) enum Event {
    Said(String),
    KeeperGone,
    There(u16),
    /// It serves its tree.
    Serves,
    /// All that is to arrive has come, or why not.
    Came(Option<String>),
    /// It runs elsewhere.
    Moved,
}

/// Stands for a domain until its end, as a program: the status to end with.
pub fn run(args: impl Iterator<Item = OsString>) -> i32 {
    let program = std::iter::once(OsString::from("atoll"));
    let args = Args::try_parse_from(program.chain(args)).map_err(Into::into);
    ended(args.and_then(|args| stand(&args, inherited()?)))
}

/// The same, as a process that is no program of its own.
pub(crate) fn stand_for(args: &Args, files: Files) -> i32 {
    ended(stand(args, files))
}

fn ended(done: Result<i32>) -> i32 {
    done.unwrap_or_else(|e| {
        // As whoever cannot start a program does: the supervisor takes it for that.
        eprintln!("{e:#}");
        UNSTARTED
    })
}

/// The files that a program is given.
fn inherited() -> Result<Files> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    let numbers = [CONTROL_FD, HOST_FD, MONITOR_FD, DEBUG_FD, ARRIVAL_FD];
    let take = |number| Some((number, pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).ok()?));
    Ok(numbers.into_iter().filter_map(take).collect())
}

fn stand(args: &Args, mut files: Files) -> Result<i32> {
    let mut take = |fd| files.remove(&fd).with_context(|| format!("file {fd} is missing"));
    let control = UnixListener::from(take(CONTROL_FD)?);
    let host = UnixListener::from(take(HOST_FD)?);
    let asks = UnixListener::from(take(MONITOR_FD)?);
    let debug = File::from(take(DEBUG_FD)?);

    let mut store = store::open()?;
    xl().context("xl is not on the PATH: install xen-utils")?;
    ensure!(
        rustix::process::geteuid().is_root(),
        "making a domain needs root: run the supervisor with sudo"
    );
    let shell = taken(args, &mut store);
    if shell.is_none()
        && let Some(domid) = store::wait_free(&mut store, &args.name, FREE_WITHIN)?
    {
        bail!("there is a domain called {} already (number {domid})", args.name);
    }
    let (shell, held) = shell.unzip();
    let uuid = match &held {
        Some(held) => held.uuid().to_owned(),
        None => new_uuid()?,
    };
    let begin = match held {
        Some(held) => Begin::Taken(held),
        None if args.receive => Begin::Wait,
        None => Begin::Make(made(args, &uuid, None)),
    };
    // Before there are threads.
    let mut keeper = Keeper::double(&args.name, store, begin)?;
    let (send, events) = mpsc::channel();
    keeper.tells(send.clone());
    let mut hello = Hello {
        format: FORMAT,
        name: args.name.clone(),
        payload: args.payload.clone(),
        memory: args.memory,
        epoch: args.epoch,
    };
    let arrival = match args.receive {
        true => Some(Arrival::accept(&UnixListener::from(take(ARRIVAL_FD)?), &hello)?),
        false => None,
    };
    if let Some(arrival) = arrival {
        keeper.order(&made(args, &uuid, Some(arrival.file())))?;
        match arrival.take(send.clone(), &events) {
            Ok(epoch) => hello.epoch = epoch,
            Err(refused) => {
                drop(keeper);
                let there = store::open().and_then(|mut s| store::by_uuid(&mut s, &uuid));
                let why = refused.tell(matches!(there, Ok(None)));
                bail!("{} has not arrived: {why:#}", args.name);
            }
        }
    }
    let (there, own) = (send.clone(), uuid.clone());
    match shell {
        Some(domid) => there.send(Event::There(domid))?,
        None => drop(std::thread::spawn(move || {
            if let Ok(domid) = introduced(&own) {
                let _ = there.send(Event::There(domid));
            }
        })),
    }
    let open = Arc::new(AtomicBool::new(false));
    let mut streams = Some((control, host, asks, debug));
    let mut console = None;
    let status = loop {
        let word = match events.recv()? {
            Event::There(domid) => {
                if let Some((control, host, asks, debug)) = streams.take() {
                    // The streams first: somebody waits for them.
                    let gate = Arc::new(Gate::new()?);
                    start(domid, control, host, &gate, &open, &send);
                    let (hello, moved) = (hello.clone(), send.clone());
                    let (uuid, home) = (uuid.clone(), args.home.clone());
                    let domain = monitor::Domain { domid, uuid, home, hello, gate, moved };
                    std::thread::spawn(move || monitor::serve(&asks, &domain));
                    console = Some(Console::start(store::open()?, domid, debug, open.clone())?);
                }
                continue;
            }
            Event::Serves => {
                keeper.serves();
                continue;
            }
            Event::Moved => break MOVED,
            Event::Came(_) => continue,
            Event::KeeperGone => "failed its keeper has gone".to_owned(),
            Event::Said(word) => word,
        };
        break match word.split_once(' ') {
            Some(("failed", why)) => {
                eprintln!("xl has made no domain: {why}");
                UNSTARTED
            }
            Some(("kept", domid)) => {
                let recorded = console.take().is_some_and(Console::rest);
                match status(domid)? {
                    _ if recorded => RECORDED,
                    Some(status) => status,
                    None => {
                        eprintln!("the domain crashed, or reset itself (a triple fault)");
                        LOST
                    }
                }
            }
            _ if word == "taken" => {
                console.take().map(Console::rest);
                TAKEN
            }
            // Nobody has ever seen it.
            _ if streams.is_some() => {
                eprintln!(
                    "xl is done, and there is no domain: somebody has destroyed it already, or \
                     the xl on the PATH is not Xen's"
                );
                UNSTARTED
            }
            _ => {
                console.take().map(Console::rest);
                eprintln!("somebody else has destroyed the domain");
                LOST
            }
        };
    };
    drop(keeper);
    Ok(status)
}

/// What is to be made for it.
fn made(args: &Args, uuid: &str, from: Option<String>) -> Order {
    let config = Domain {
        name: &args.name,
        uuid: Some(uuid),
        kernel: &args.image.to_string_lossy(),
        memory: args.memory,
        cmdline: &args.launch,
        then: Then::Kept,
    }
    .config();
    Order { config, uuid: uuid.to_owned(), from }
}

/// Takes the shell that it may take: its number. What is said of one that cannot be taken is for
/// people: the domain is made then.
fn taken(args: &Args, store: &mut Store) -> Option<(u16, Held)> {
    let record = args.shell.as_ref().filter(|_| !args.receive)?.clone();
    let kind = Kind::new(&args.image, args.memory, &args.launch);
    let taken = Claim { record, kind, name: args.name.clone() }.take(store);
    taken.map_err(|why| eprintln!("a prepared shell is not taken: {why:#}")).ok()
}

/// The status that a guest has left when it stopped.
fn status(domid: &str) -> Result<Option<i32>> {
    let domid = domid.parse().context("no domain")?;
    let said = store::read(&mut store::open()?, &store::path(domid, "data/status"))?;
    Ok(said.and_then(|text| text.trim().parse::<u8>().ok()).map(|n| i32::from(n.min(MOST))))
}

/// Waits until the domain is known.
fn introduced(uuid: &str) -> Result<u16> {
    let mut store = store::open()?;
    store::watch(&mut store, "@introduceDomain")?;
    loop {
        if let Some(domid) = store::by_uuid(&mut store, uuid)? {
            return Ok(domid);
        }
        let event = store.wait_event(Duration::from_secs(3600));
        event.map_err(|e| anyhow::anyhow!("{e}"))?;
    }
}

/// Starts all that goes on for the domain's life. A stream that fails ends, which the
/// supervisor notices.
fn start(
    domid: u16,
    control: UnixListener,
    host: UnixListener,
    gate: &Arc<Gate>,
    open: &Arc<AtomicBool>,
    tell: &mpsc::Sender<Event>,
) {
    for (listener, name) in [(control, "control"), (host, "host")] {
        let (gate, open, tell) = (gate.clone(), open.clone(), tell.clone());
        std::thread::spawn(move || {
            let opened = || {
                if name == "control" && !open.swap(true, Ordering::AcqRel) {
                    let _ = tell.send(Event::Serves);
                }
            };
            if let Err(e) = lane::serve(&listener, domid, name, &gate, &opened) {
                eprintln!("{e:#}");
            }
        });
    }
}
