//! The process that a guest runs under: `__shim FOLDER`.
//!
//! It is born with a connection to the daemon and with the folder's lock, so there is no
//! instant in which it is there and cannot be seen. Before it does anything it doubles itself:
//! the double is its guard. From then on it needs nobody: the daemon may go, and another comes
//! to its socket.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use atoll_fork::Title;
use rustix::stdio::dup2_stderr;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::folder::Folder;
use super::serving::Serving;
use super::voice::Voice;
use super::{
    End, FORMAT, How, Mark, Report, Spec, held, history, image, mark, tree, usage, zygote,
};
use crate::backend::{Ended, of_no_use};
use crate::guard::{self, Guard, Twin};
use crate::guestlog::Writer;
use crate::run::{self, Doors, Foreign, Guest, Options, Outcome, Plan};
use crate::socket::{self, Private, Public};
use crate::stream::Stream;

/// What a shim is called, where processes are listed.
pub(super) const COMMAND: &str = "__shim";
/// How long until it is tried again to write down how the guest ended.
const AGAIN: Duration = Duration::from_secs(5);
/// How long who follows it may take to read the last of it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the guest of a folder; whether there was one to run.
pub(super) fn run(
    folder: &Path,
    daemon: UnixStream,
    lock: File,
    title: Option<Title>,
) -> anyhow::Result<bool> {
    // Out of reach of the daemon's terminal.
    let _ = rustix::process::setsid();
    let folder = Folder::at(folder)?;
    if !folder.is_locked_by(&lock) {
        anyhow::bail!("this is for the supervisor alone: it has the lock of the guest's folder");
    }
    // It is free when the process is gone, and not a moment before.
    let lock: &'static File = Box::leak(Box::new(lock));
    let spec = folder.spec()?.context("there is nothing to start")?;
    std::env::set_current_dir("/")?;
    let guard = match Guard::double() {
        Ok(Twin::Shim(guard)) => Ok(guard),
        // That is told like all else that a start fails of.
        Err(e) => Err(e),
        Ok(Twin::Guard(orders)) => {
            // It holds the lock until all is cleaned up, and nothing else.
            drop(daemon);
            dup2_stderr(File::options().write(true).open("/dev/null")?)?;
            zygote::call(title, &[guard::COMMAND.as_bytes()]);
            guard::run(BufReader::with_capacity(512, orders))?;
            return Ok(true);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // On the heap: what is moved about otherwise is twenty kilobytes, a few times.
    let life = Box::pin(live(folder, spec, daemon, lock, guard));
    LocalSet::new().block_on(&runtime, life)?;
    Ok(true)
}

/// Milliseconds since 1970 UTC.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

async fn live(
    folder: Folder,
    spec: Spec,
    daemon: UnixStream,
    lock: &File,
    guard: io::Result<Guard>,
) -> anyhow::Result<()> {
    let started = now();
    let (to, orders) = mpsc::unbounded_channel();
    let log = Writer::open(&folder.log()).context("the log cannot be written")?;
    let serving = Serving::new(tree::files(tree::Guest::new(&spec, to.clone(), started)));
    serving.serve(Stream::try_from(daemon)?);
    let voice = Rc::new(Voice::new(serving.clone(), log));
    let (outcome, rest) = match start(&folder, &spec, &serving, &voice, lock, guard).await {
        Ok((begun, rest)) => {
            let outcome = match begun {
                Begun::Ours(guest, doors) => {
                    run::signals(to, guest.usual_stop())?;
                    guest.run(doors, orders).await
                }
                Begun::Foreign(guest) => {
                    run::signals(to, run::STOP)?;
                    guest.run(orders).await
                }
            };
            (outcome.map_err(|e| (How::Lost, e)), Some(rest))
        }
        Err(e) => (Err((How::Unstarted, e)), None),
    };
    let (how, why, asked, record) = judge(outcome);
    // Its machine is gone, so nobody leaves a mark any more.
    let moved = mark::of(folder.path(), &spec);
    let (how, why) = match &moved {
        Some(moved) => (How::Moved, there(moved, &why)),
        None => (how, why),
    };
    let cpu = usage::of_children();
    let (name, run, epoch) = (spec.name.clone(), spec.run, spec.epoch);
    let text = if why.is_empty() { "stopped".into() } else { why.clone() };
    run::Voice::tell(&*voice, &text);
    let (log, ended) = (voice.position(), now());
    let end =
        End { format: FORMAT, name, run, epoch, how, why: text, asked, started, ended, cpu, log };
    serving.change(|g| g.has_none(cpu));
    if let Err(e) = history::keep(&folder, &end, record.as_deref()) {
        let _ =
            writeln!(std::io::stderr(), "atoll: {}: nothing is kept of its run: {e}", spec.name);
    }
    run::Voice::report(&*voice, &Report::Ended(end.clone()));
    // Nobody else knows how it ended: that is not given up while there is a place to keep it.
    while let Err(e) = folder.set_end(&end) {
        let _ = writeln!(std::io::stderr(), "atoll: {}: its end is not kept yet: {e}", spec.name);
        if folder.is_gone() {
            break;
        }
        sleep(AGAIN).await;
    }
    if moved.is_some_and(|moved| moved.answered) {
        // That is written down now, and is no question.
        let _ = Mark::clear(folder.path());
    }
    if let Some(rest) = rest {
        rest.clear();
    }
    // What it told last is lost with it to a daemon that has not read it yet.
    let _ = timeout(LAST_WORDS, serving.heard()).await;
    Ok(())
}

/// A guest whose machine was started.
enum Begun {
    /// One of ours, and the doors to its tree.
    Ours(Box<Guest>, Doors),
    /// One that has no tree.
    Foreign(Box<Foreign>),
}

/// What there is besides the machine, and goes behind it.
struct Rest {
    public: Option<Public>,
    private: Private,
    guard: Rc<RefCell<Guard>>,
}

impl Rest {
    fn clear(self) {
        drop(self.public);
        drop(self.private);
        // What may still have it cleans up nothing any more.
        if let Some(guard) = Rc::into_inner(self.guard) {
            guard.into_inner().bye();
        }
    }
}

/// Starts the guest's machine, and opens the doors to its tree.
async fn start(
    folder: &Folder,
    spec: &Spec,
    serving: &Serving<tree::Guest>,
    voice: &Rc<Voice>,
    lock: &File,
    guard: io::Result<Guard>,
) -> anyhow::Result<(Begun, Rest)> {
    let atoll = held::program();
    let voice: Rc<dyn run::Voice> = voice.clone();
    let options = options(folder, spec);
    let plan = match spec.foreign {
        true => None,
        false => {
            let manifest = image::manifest(folder.path(), &spec.image)?;
            Some(Plan::new(&options, manifest, &atoll, &*voice).await?)
        }
    };
    let mut guard = guard.context("cannot start the guard")?;
    guard.name(&folder.path().join("end.new"))?;
    let plan = match plan {
        Some(plan) => Some((plan, socket::listen_in(&spec.socket, &mut guard)?)),
        None => None,
    };
    let private = Private::named(&spec.sockets, &mut guard)?;
    let (_, shim) = private.listen(super::SOCKET)?;
    shim.set_nonblocking(true)?;
    let shim = UnixListener::from_std(shim)?;
    let s = serving.clone();
    spawn_local(async move {
        loop {
            match shim.accept().await.and_then(|(stream, _)| stream.try_into()) {
                Ok(stream) => s.serve(stream),
                // Out of descriptors, most likely: others will be given back.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    });
    let guard = Rc::new(RefCell::new(guard));
    let held = Some(lock.try_clone()?);
    let Some((plan, (public, listener))) = plan else {
        let folder = folder.path();
        let guest =
            Foreign::start(&options, folder, &voice, &atoll, &private, &guard, held).await?;
        serving.change(|g| g.has_machine(guest.pid(), None, false));
        return Ok((Begun::Foreign(Box::new(guest)), Rest { public: None, private, guard }));
    };
    let (_, ours) = private.listen(super::OWN)?;
    ours.set_nonblocking(true)?;
    let ours = Some(UnixListener::from_std(ours)?);
    let mut tcp = Vec::new();
    for addr in &spec.listen {
        let listener = TcpListener::bind(addr).await.with_context(|| format!("tcp:{addr}"))?;
        voice.say(&format!("tree at tcp:{}", listener.local_addr()?));
        tcp.push(listener);
    }
    let guest = Guest::start(plan, &voice, &private, &guard, held)?;
    let joint = Some(guest.joint().clone());
    serving.change(|g| g.has_machine(guest.pid(), joint, guest.has_keeper()));
    let (s, joint) = (serving.clone(), guest.joint().clone());
    spawn_local(async move {
        loop {
            joint.asked().await;
            s.change(|g| g.report(&Report::Asked));
        }
    });
    let unix = UnixListener::from_std(listener)?;
    let doors = Doors { at: format!("unix:{}", public.path().display()), unix, ours, tcp };
    Ok((Begun::Ours(Box::new(guest), doors), Rest { public: Some(public), private, guard }))
}

fn options(folder: &Folder, spec: &Spec) -> Options {
    Options {
        name: Some(spec.name.clone()),
        image: spec.image.clone(),
        on: spec.on,
        exports: spec.exports.clone(),
        imports: spec.imports.clone(),
        memory: spec.memory,
        accel: spec.accel,
        restore: spec.restore.clone(),
        state: spec.state.clone(),
        keep: spec.keep,
        shell: spec.shell.clone(),
        epoch: spec.epoch,
        home: Some(folder.path().into()),
        ..Options::default()
    }
}

/// What is said of a run that may go on elsewhere, and of which this was seen here.
fn there(moved: &mark::Moved, why: &str) -> String {
    match moved.answered || why.is_empty() {
        true => moved.text.clone(),
        false => format!("{}; here it ended: {why}", moved.text),
    }
}

/// How a run ended: how, why (nothing when all was well), whether that was asked for, and
/// the record.
fn judge(outcome: Result<Outcome, (How, anyhow::Error)>) -> (How, String, bool, Option<String>) {
    let Outcome { ended, record, asked, refused } = match outcome {
        Ok(outcome) => outcome,
        Err((how, e)) => return (how, format!("{e:#}"), false, None),
    };
    if let Some(why) = refused {
        return (How::Unstarted, why, asked, None);
    }
    if let Some(record) = record {
        let text = format!("{}\n{}", record.summary(), record.details());
        return (How::Crashed, record.summary(), asked, Some(text));
    }
    let (how, why) = match ended {
        Ended::Status(0) => (How::Exited(0), String::new()),
        Ended::Status(n) => (How::Exited(n), format!("it ended with status {n}")),
        Ended::Recorded => (How::Crashed, "it failed, and its record did not arrive".into()),
        Ended::Killed(_) if asked => (How::Killed, "killed".into()),
        Ended::Killed(said) => (How::Lost, of_no_use(&said)),
        Ended::Lost(why) if asked => (How::Killed, why),
        Ended::Lost(why) => (How::Lost, why),
        Ended::Moved(why) => (How::Moved, why),
        Ended::Unstarted(why) => (How::Unstarted, why),
    };
    (how, why, asked, None)
}
