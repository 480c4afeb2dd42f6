//! Between the core and the shims: starts, orders, reports, and what is found of the guests
//! of a supervisor that is gone.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_local;

use super::CHECKPOINTS;
use super::daemon::Daemon;
use super::shells;
use super::state::{State, wall};
use super::watch::Watched;
use crate::checkpoint::state;
use crate::core::{Alive, Bind, From, Input, Name, Seen, Start};
use crate::namespace::Import;
use crate::run::Restore;
use crate::shim::{self, Births, End, FORMAT, Found, How, Order, Report, Shim, Spec, Status};

/// Guests that are looked for at one time.
const AT_ONCE: usize = 64;

/// A run that a shim has, or is about to have.
pub(super) struct Live {
    run: u64,
    orders: mpsc::UnboundedSender<Order>,
}

/// How a run ended that never was one, or of which nobody knows.
fn end(guest: &Name, run: u64, epoch: u64, how: How, why: String) -> End {
    let now = wall();
    End {
        format: FORMAT,
        name: guest.to_string(),
        run,
        epoch,
        how,
        why,
        asked: false,
        started: now,
        ended: now,
        cpu: 0,
        log: 0,
    }
}

/// What a shim is to start, and the bytes of its memory.
fn spec(s: &State, start: &Start) -> Result<(Spec, u64), String> {
    let definition = &start.definition;
    let (image, manifest) = s.images.whole(&definition.image).map_err(|f| f.text().to_owned())?;
    let keeps = manifest.image(0).can_checkpoint();
    let mut spec = Spec::new(start.guest.as_str(), &image);
    spec.foreign = manifest.is_foreign();
    (spec.run, spec.epoch) = (start.run, start.epoch);
    (spec.on, spec.accel, spec.memory) = (definition.on, definition.accel, definition.memory);
    spec.listen = definition.listen.clone();
    for (import, bind) in &definition.imports {
        match bind {
            Bind::Folder(path) => spec.exports.push((import.clone(), path.clone())),
            Bind::Guest { name, path } => {
                spec.imports.push(Import::new(import, name.as_str(), path)?);
            }
        }
    }
    let checkpoints = s.home(&start.guest).join(CHECKPOINTS);
    spec.restore = match &start.from {
        Some(From::Number(n)) => Some(Restore::File(state::file(&checkpoints, *n))),
        Some(From::File(path)) => Some(Restore::File(path.clone())),
        None => (definition.resume && keeps).then_some(Restore::Latest),
    };
    spec.state = keeps.then_some(checkpoints);
    spec.keep = keeps.then_some(definition.keep).flatten();
    let memory = spec.memory.unwrap_or(manifest.image(0).memory);
    Ok((spec, memory))
}

/// Starts a run.
pub(super) fn start(daemon: &Rc<Daemon>, start: Start) {
    let (guest, run, epoch) = (start.guest.clone(), start.run, start.epoch);
    let (home, spec) = daemon.with(|s| (s.home(&guest), spec(&*s, &start)));
    let orders = enlist(daemon, &guest, run);
    let daemon = daemon.clone();
    spawn_local(async move {
        let begun = match spec {
            Ok((mut spec, memory)) => {
                shells::prepare(&daemon, &guest, &mut spec, memory).await;
                begin(&daemon.births, &home, &spec).await.map_err(|e| e.to_string())
            }
            Err(why) => Err(why),
        };
        match begun {
            Ok(Begun::Shim(shim)) => {
                note(&daemon, &guest, &shim, shim.reached().cloned());
                attend(&daemon, guest, run, *shim, orders).await;
            }
            Ok(Begun::Over(report)) => over(&daemon, guest, run, report),
            Err(why) => {
                let end = end(&guest, run, epoch, How::Unstarted, why);
                over(&daemon, guest, run, Report::Ended(end));
            }
        }
    });
}

/// What came of a start.
enum Begun {
    /// A shim has it.
    Shim(Box<Shim>),
    /// It is over already.
    Over(Report),
}

/// Starts a run. It may have been started before, by a supervisor that was killed: then it
/// is taken over as it is.
async fn begin(births: &Births, home: &Path, spec: &Spec) -> Result<Begun, shim::Error> {
    let why = match Shim::start(births, home, spec).await {
        Ok(shim) => return Ok(Begun::Shim(Box::new(shim))),
        Err(why @ (shim::Error::Locked(_) | shim::Error::Stale { .. })) => why,
        Err(why) => return Err(why),
    };
    Ok(match Shim::adopt(home).await? {
        Found::Alive(shim) if shim.spec().run == spec.run => Begun::Shim(shim),
        Found::Ended(end) if end.run == spec.run => Begun::Over(Report::Ended(end)),
        Found::Gone { run, why, .. } if run == spec.run => Begun::Over(Report::Gone(why)),
        _ => return Err(why),
    })
}

fn enlist(daemon: &Daemon, guest: &Name, run: u64) -> mpsc::UnboundedReceiver<Order> {
    let (orders, inbox) = mpsc::unbounded_channel();
    daemon.shims.borrow_mut().insert(guest.clone(), Live { run, orders });
    inbox
}

/// Tells a shim something, as soon as it is there.
pub(super) fn order(daemon: &Daemon, guest: &Name, run: u64, order: Order) {
    if let Some(live) = daemon.shims.borrow().get(guest).filter(|l| l.run == run) {
        let _ = live.orders.send(order);
    }
}

/// Passes on what a shim reports, and what it is told, to the end of its run.
async fn attend(
    daemon: &Rc<Daemon>,
    guest: Name,
    run: u64,
    shim: Shim,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let expect = daemon.with(|s| s.core.guest(&guest)?.definition()?.expect);
    let watched = expect.map(Watched::new);
    let mut watching: Option<Pin<Box<dyn Future<Output = ()> + '_>>> = None;
    loop {
        let watch = async {
            match &mut watching {
                Some(watching) => watching.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // It ends with the run.
            () = watch => {}
            report = shim.next() => {
                if matches!(report, Report::Ended(_) | Report::Gone(_)) {
                    return over(daemon, guest.clone(), run, report);
                }
                match (&report, &watched) {
                    (Report::Running(_) | Report::Resumed, Some(w)) => {
                        let w = w.clone();
                        watching = Some(Box::pin(w.go_on(daemon, &guest, run, &shim)));
                    }
                    (Report::Paused | Report::Stopping, Some(w)) => {
                        watching = None;
                        w.rest();
                    }
                    (Report::Asked, Some(w)) => {
                        w.asked();
                        continue;
                    }
                    _ => {}
                }
                if let Report::Running(on) = &report {
                    let status = match shim.reached().filter(|s| s.pid.is_some()) {
                        // The rest was known before it ran.
                        Some(reached) => Some(Status { backend: on.clone(), ..reached.clone() }),
                        None => shim.status().await.ok(),
                    };
                    note(daemon, &guest, &shim, status);
                }
                daemon.input(Input::Report { guest: guest.clone(), run, report });
            }
            Some(order) = orders.recv() => {
                if let Err(why) = shim.order(order.clone()).await {
                    let report = Report::Failed(order, why.to_string());
                    daemon.input(Input::Report { guest: guest.clone(), run, report });
                }
            }
        }
    }
}

/// Takes note of what a shim says of its guest.
fn note(daemon: &Daemon, guest: &Name, shim: &Shim, status: Option<Status>) {
    let socket = (!shim.spec().foreign).then(|| shim.spec().socket.clone());
    daemon.with(|s| {
        if let Some(guest) = s.id(guest.as_str()).and_then(|id| s.guests.get_mut(&id)) {
            guest.status = status.or(guest.status.take());
            guest.socket = socket;
        }
    });
}

/// A run is over.
fn over(daemon: &Rc<Daemon>, guest: Name, run: u64, report: Report) {
    let mut shims = daemon.shims.borrow_mut();
    if shims.get(&guest).is_some_and(|l| l.run == run) {
        shims.remove(&guest);
    }
    drop(shims);
    daemon.with(|s| {
        if let Some(guest) = s.id(guest.as_str()).and_then(|id| s.guests.get_mut(&id)) {
            (guest.status, guest.socket) = (None, None);
        }
    });
    daemon.input(Input::Report { guest, run, report });
}

/// Removes what was a guest's folder.
pub(super) fn remove(gone: PathBuf) {
    drop(tokio::task::spawn_blocking(move || std::fs::remove_dir_all(gone)));
}

/// Waits until a guest has said more, and wakes its readers.
pub(super) async fn follow(daemon: &Rc<Daemon>, id: u64, at: u64) {
    let Ok(reader) = daemon.with(|s| s.said(id)) else { return };
    let done = daemon.watch.wait(&reader, at).await;
    daemon.with(|s| {
        let node = s.nodes.said.map(|n| n.of(id));
        if let Some(guest) = s.guests.get_mut(&id) {
            guest.followed = false;
            guest.deaf = done.err().map(|e| format!("its log cannot be followed: {e}"));
        }
        s.stir(node);
    });
}

/// Looks for the guests of the supervisor before this one: how many run, of how many.
pub(super) async fn adopt(daemon: &Rc<Daemon>) -> (usize, usize) {
    // It may have guests to forget, whose folders go first.
    daemon.input(Input::Tick);
    let (known, folder) = daemon.with(|s| {
        let names: Vec<Name> = s.core.unadopted();
        (names, s.folder.join("guests"))
    });
    let mut all = known.clone();
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        match Name::new(name) {
            Ok(name) if !all.contains(&name) => all.push(name),
            // The folder of a guest that was being forgotten.
            Err(_) if name.starts_with('.') => drop(std::fs::remove_dir_all(entry.path())),
            _ => {}
        }
    }
    let count = all.len();
    let few = Arc::new(Semaphore::new(AT_ONCE));
    let tasks: Vec<_> = all
        .into_iter()
        .map(|guest| {
            let (daemon, few) = (daemon.clone(), few.clone());
            spawn_local(async move {
                let _turn = few.acquire().await;
                look(&daemon, guest).await
            })
        })
        .collect();
    let mut alive = 0;
    for task in tasks {
        alive += usize::from(task.await.unwrap_or(false));
    }
    (alive, count)
}

/// Looks for one guest; whether it is alive.
async fn look(daemon: &Rc<Daemon>, guest: Name) -> bool {
    let home = daemon.with(|s| s.home(&guest));
    let lost = |run, epoch, why| Seen::Ended(end(&guest, run, epoch, How::Lost, why));
    let found = match Shim::adopt(&home).await {
        Ok(Found::Alive(shim)) => {
            let (run, epoch) = (shim.spec().run, shim.spec().epoch);
            note(daemon, &guest, &shim, shim.reached().cloned());
            // Before it is said to be there, its tree is.
            let alive = match shim.reached().map(|s| &s.state) {
                Some(shim::State::Running) => Alive::Running,
                Some(shim::State::Paused) => Alive::Paused,
                Some(shim::State::Stopping | shim::State::Ended) => Alive::Stopping,
                Some(shim::State::Starting) | None => Alive::Starting,
            };
            let orders = enlist(daemon, &guest, run);
            let found = Seen::Alive { run, epoch, alive };
            daemon.input(Input::Adopted { guest: guest.clone(), found });
            let daemon = daemon.clone();
            spawn_local(async move { attend(&daemon, guest, run, *shim, orders).await });
            return true;
        }
        Ok(Found::Ended(end)) => Seen::Ended(end),
        Ok(Found::Gone { run, epoch, why }) => lost(run, epoch, why),
        Ok(Found::Nothing) => Seen::Nothing,
        Err(e) => {
            eprintln!("atoll: {guest}: {e}");
            let known = daemon.with(|s| s.core.guest(&guest).map(|g| g.record().clone()));
            let (run, epoch) = known.map_or((0, 0), |r| (r.run, r.epoch));
            match Shim::may_have_moved(&home, guest.as_str(), epoch) {
                Some(why) => Seen::Ended(end(&guest, run, epoch, How::Moved, why)),
                None => lost(run, epoch, e.to_string()),
            }
        }
    };
    daemon.input(Input::Adopted { guest, found });
    false
}
