//! `atoll run`: one guest, in the foreground, from its first instruction to the
//! last file that it leaves behind.
//!
//! The order of a start is that of what may fail: first everything that needs no
//! process (image, exports, addresses), then the guard, then sockets, then the
//! machine. The end is the same whoever wants it: the machine is waited for, what
//! it had still to say is read, and everything goes in the reverse order.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

use crate::address;
use crate::backend::qemu::Accel;
use crate::backend::{Ended, of_no_use};
use crate::guard::Guard;
use crate::namespace::Import;
use crate::shim::{Order, Report};
use crate::show::Printer;
use crate::socket::{Private, Public};

mod clients;
mod ending;
mod foreign;
mod guest;
mod plan;

pub(crate) use clients::inside;
pub(crate) use foreign::Foreign;
pub(crate) use guest::{Doors, Guest, Outcome};
pub(crate) use plan::{Plan, manifest};

/// How long a guest may take to stop when it was asked to.
pub(crate) const STOP: Duration = Duration::from_secs(2);
/// How long the last checkpoint may take before that.
pub(crate) const KEEP: Duration = Duration::from_secs(10);
/// Interrupts within this time are one: `timeout` and some shells signal a process
/// and then its group.
const ONCE: Duration = Duration::from_millis(200);
/// A boot may take long on a slow machine, and nobody waits for it but the log.
const BOOT: Duration = Duration::from_secs(3600);

/// Where to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// On QEMU where the image and the host allow it, else as a process.
    #[default]
    Auto,
    /// On QEMU.
    Qemu,
    /// As a domain of Xen, in dom0.
    Xen,
    /// As a sandboxed process.
    Process,
}

/// Which checkpoint to go on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Restore {
    /// The one in this file.
    File(PathBuf),
    /// The newest in the folder of its state; where there is none, the guest begins anew.
    Latest,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What the guest is called, if not as its image says.
    pub name: Option<String>,
    /// The image file.
    pub image: PathBuf,
    /// Where to run.
    pub on: On,
    /// The socket, if not the default one.
    pub socket: Option<PathBuf>,
    /// More places to listen at, on this machine.
    pub listen: Vec<SocketAddr>,
    /// Host folders by the name of the import.
    pub exports: Vec<(String, PathBuf)>,
    /// Other guests' trees by the name of the import.
    pub imports: Vec<Import>,
    /// Memory in bytes, if not what the image says.
    pub memory: Option<u64>,
    /// What QEMU is to use, if that is not to be found out.
    pub accel: Option<Accel>,
    /// Where to go on from a checkpoint.
    pub restore: Option<Restore>,
    /// The folder in which its checkpoints are kept.
    pub state: Option<PathBuf>,
    /// How many of them, if somebody has said.
    pub keep: Option<NonZeroU32>,
    /// Where the guest arrives from another host, if it is to.
    pub receive: Option<PathBuf>,
    /// The record of a prepared shell that it may take, on Xen.
    pub shell: Option<PathBuf>,
    /// The owner epoch.
    pub epoch: u64,
    /// The folder that a supervisor has for it.
    pub home: Option<PathBuf>,
    /// Say nothing of what the guest says.
    pub quiet: bool,
    /// Say how things are decided.
    pub verbose: bool,
    /// Print the command line and run nothing.
    pub print: bool,
}

/// Who hears what a guest says, and what becomes of it.
pub trait Voice {
    /// A line of the guest's log.
    fn log(&self, line: &[u8]);

    /// A line about the guest.
    fn say(&self, line: &str);

    /// A line about the guest that matters, also to who wants to hear little.
    fn tell(&self, line: &str);

    /// Something became known, in the order in which it happened.
    fn report(&self, report: &Report) {
        let _ = report;
    }
}

/// Runs a guest in the foreground; whether it ended well.
pub async fn run(options: &Options) -> anyhow::Result<bool> {
    let manifest = manifest(&options.image)?;
    let atoll = std::env::current_exe().context("which program is this?")?;
    let name = options.name.clone().unwrap_or_else(|| manifest.name.clone());
    let printer = Rc::new(Printer::new(&name, options.quiet));
    let voice: Rc<dyn Voice> = printer.clone();
    let mut plan = Plan::new(options, manifest, &atoll, &*voice).await?;
    if options.print {
        let words: Vec<String> =
            plan.backend.line(&plan.spec).iter().map(|w| quoted(&w.to_string_lossy())).collect();
        println!("{}", words.join(" "));
        return Ok(true);
    }

    let mut guard = Guard::start(&atoll).context("cannot start the guard")?;
    let mut arrival = None;
    if let Some(path) = &options.receive {
        let (public, listener) = Public::listen(path, &mut guard)?;
        // Who waits there does nothing else.
        listener.set_nonblocking(false)?;
        plan.backend.receive(listener)?;
        voice.say(&format!("is expected at {}", path.display()));
        arrival = Some(public);
    }
    let private = Private::new(&address::socket_dir(), &mut guard)?;
    let path = match &options.socket {
        Some(path) => std::path::absolute(path)?,
        None => address::default_socket(&name),
    };
    let (public, listener) = Public::listen(&path, &mut guard)?;
    let mut tcp = Vec::new();
    for addr in &options.listen {
        let listener = TcpListener::bind(addr).await.with_context(|| format!("tcp:{addr}"))?;
        voice.say(&format!("tree at tcp:{}", listener.local_addr()?));
        tcp.push(listener);
    }
    let guard = Rc::new(RefCell::new(guard));
    let guest = Guest::start(plan, &voice, &private, &guard, None)?;
    let unix = UnixListener::from_std(listener)?;
    let at = format!("unix:{}", public.path().display());
    let doors = Doors { at, unix, ours: None, tcp };
    let ended = LocalSet::new()
        .run_until(async {
            let (to, orders) = mpsc::unbounded_channel();
            signals(to, guest.usual_stop())?;
            guest.run(doors, orders).await
        })
        .await;
    drop(voice);
    drop(public);
    drop(private);
    drop(arrival);
    if let Some(guard) = Rc::into_inner(guard) {
        guard.into_inner().bye();
    }
    Ok(tell(&printer, &ended?))
}

/// Makes orders of the signals that a person sends: stop, and then kill.
pub(crate) fn signals(to: mpsc::UnboundedSender<Order>, limit: Duration) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate, mut hangup) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    );
    spawn_local(async move {
        let mut first: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            let order = match first {
                Some(first) if first.elapsed() < ONCE => continue,
                Some(_) => Order::Kill,
                None => Order::Stop(limit.as_millis() as u64),
            };
            first.get_or_insert_with(Instant::now);
            if to.send(order).is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// Says how it ended; whether that was well.
fn tell(printer: &Printer, outcome: &Outcome) -> bool {
    if outcome.refused.is_some() {
        return false; // that was said when it was
    }
    match (&outcome.ended, &outcome.record) {
        (Ended::Unstarted(why), _) => printer.tell(&format!("could not be started: {why}")),
        (_, Some(record)) => {
            printer.tell(&format!("failed: {}", record.summary()));
            let _ = std::io::Write::write_all(&mut std::io::stderr(), record.details().as_bytes());
        }
        (Ended::Status(0), None) => {
            printer.say("stopped");
            return true;
        }
        (Ended::Moved(to), None) => {
            printer.say(&format!("moved: {to}"));
            return true;
        }
        (Ended::Status(n), None) => printer.tell(&format!("failed: it ended with status {n}")),
        (Ended::Recorded, None) => printer.tell("failed, and its record did not arrive"),
        (Ended::Killed(_), None) if outcome.asked => printer.tell("was killed"),
        (Ended::Killed(said), None) => printer.tell(&format!("failed: {}", of_no_use(said))),
        (Ended::Lost(why), None) if outcome.asked => printer.tell(&format!("was killed: {why}")),
        (Ended::Lost(why), None) => printer.tell(&format!("failed: {why}")),
    }
    false
}

/// A word as a shell wants it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
