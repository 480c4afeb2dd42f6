//! The shells of this supervisor: what [`crate::domain::pool`] says is done, and what guests that
//! start are given.
//!
//! They are paid for by whoever starts the supervisor (`--shell-memory`), and none is made where
//! nothing is paid. This task has the locks of their records; one that a guest is given is let go,
//! and when the guest has started it is looked at who has it now. Records that nobody has are of
//! processes that were killed: what there is of those domains is destroyed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use atoll_config::launch::Launch;
use tokio::sync::Notify;
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::{sleep, timeout};

use super::daemon::Daemon;
use super::state::State;
use crate::core::{Name, State as Is};
use crate::domain::pool::{Came, Do, Kind, Phase, Pool};
use crate::domain::shell::{self, Held, Lack};
use crate::run::On;
use crate::shim::Spec;

/// How often it is looked whether there are enough, and whether one was left.
const LOOK: Duration = Duration::from_millis(500);
/// How long a guest waits for shells to give back their memory, and the supervisor's end for
/// them to go.
const GOES_WITHIN: Duration = Duration::from_secs(70);

/// All of them.
pub(super) struct Shells {
    folder: PathBuf,
    pool: RefCell<Pool>,
    held: RefCell<BTreeMap<String, Held>>,
    /// To which guest's run each was given.
    given: RefCell<BTreeMap<String, (Name, u64)>>,
    ending: Cell<bool>,
    /// Something came of one.
    came: Notify,
    begun: Instant,
}

impl Shells {
    pub(super) fn new(folder: PathBuf, most: u64) -> Rc<Shells> {
        Rc::new(Shells {
            folder,
            pool: RefCell::new(Pool::new(most)),
            held: RefCell::default(),
            given: RefCell::default(),
            ending: Cell::new(false),
            came: Notify::new(),
            begun: Instant::now(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn came(&self, uuid: &str, came: Came) {
        self.pool.borrow_mut().came(self.now(), uuid, came);
        self.came.notify_waiters();
    }

    /// Gives a guest that starts a shell of its kind: its record, of which this one lets go.
    fn give(&self, guest: &Name, run: u64, kind: &Kind) -> Option<PathBuf> {
        let uuid = self.pool.borrow_mut().take(kind)?;
        drop(self.held.borrow_mut().remove(&uuid));
        self.given.borrow_mut().insert(uuid.clone(), (guest.clone(), run));
        Some(self.folder.join(uuid))
    }

    /// Does what the pool says.
    fn carry_out(self: &Rc<Self>, todo: Vec<Do>) {
        for d in todo {
            match d {
                Do::Make(kind) => self.make(kind),
                Do::Destroy(uuid) => {
                    let held = self.held.borrow_mut().remove(&uuid);
                    let shells = self.clone();
                    spawn_local(async move {
                        if let Some(held) = held {
                            destroy(held).await;
                        }
                        shells.came(&uuid, Came::Gone);
                    });
                }
            }
        }
    }

    fn make(self: &Rc<Self>, kind: Kind) {
        let held = match Held::new(&self.folder, &kind) {
            Ok(held) => held,
            Err(e) => {
                eprintln!("atoll: a shell is not made: {e:#}");
                return self.pool.borrow_mut().failed(self.now(), &kind);
            }
        };
        let uuid = held.uuid().to_owned();
        self.pool.borrow_mut().begin(&uuid, &kind);
        let shells = self.clone();
        spawn_local(async move {
            // What panics has let go of it, and it is found by its record.
            let made = spawn_blocking(move || (held.make(), held)).await;
            let came = match made {
                Ok((Ok(()), held)) => {
                    shells.held.borrow_mut().insert(uuid.clone(), held);
                    Came::Ready
                }
                Ok((Err(why), held)) => {
                    eprintln!("atoll: a shell is not made: {why:#}");
                    destroy(held).await;
                    Came::Failed
                }
                Err(_) => Came::Failed,
            };
            shells.came(&uuid, came);
        });
    }

    /// Looks at those that were given to guests that have started, or never will.
    async fn look_after(&self, daemon: &Daemon) {
        let over = |(guest, run): &(Name, u64)| {
            daemon.with(|s| {
                let guest = s.core.guest(guest);
                guest.is_none_or(|g| g.state() != Is::Starting || g.record().run != *run)
            })
        };
        let given = self.given.borrow().clone();
        for (uuid, _) in given.into_iter().filter(|(_, to)| over(to)) {
            let path = self.folder.join(&uuid);
            let back = spawn_blocking(move || {
                let held = Held::lock(&path, Duration::ZERO)?;
                Ok::<_, anyhow::Error>(held.map(|held| (held.is_whole().unwrap_or(false), held)))
            });
            let came = match back.await {
                Ok(Ok(Ok((true, held)))) => {
                    self.held.borrow_mut().insert(uuid.clone(), held);
                    Came::Ready
                }
                Ok(Ok(Ok((false, held)))) => {
                    destroy(held).await;
                    Came::Gone
                }
                // It is the guest's, or it is looked at as one that was left.
                _ => Came::Gone,
            };
            self.given.borrow_mut().remove(&uuid);
            self.came(&uuid, came);
        }
    }

    /// Destroys what nobody has.
    async fn sweep(&self) {
        let own: BTreeSet<String> =
            self.pool.borrow().shells().map(|(uuid, _)| uuid.to_owned()).collect();
        let all = shell::records(&self.folder).unwrap_or_default();
        let own = |path: &PathBuf| {
            path.file_name().is_some_and(|name| own.contains(&*name.to_string_lossy()))
        };
        for path in all.into_iter().filter(|path| !own(path)) {
            let locked = spawn_blocking(move || Held::lock(&path, Duration::ZERO)).await;
            match locked {
                Ok(Ok(Ok(held))) => destroy(held).await,
                Ok(Ok(Err(Lack::None | Lack::Busy))) | Err(_) => {}
                Ok(Err(e)) => eprintln!("atoll: a shell that was left: {e:#}"),
            }
        }
    }

    /// As `/xen/shells` shows them.
    fn show(&self) -> String {
        let pool = self.pool.borrow();
        let mut text = format!("most {}\ncost {}\n", pool.most(), pool.cost());
        for (uuid, shell) in pool.shells() {
            let phase = match shell.phase {
                Phase::Making => "making",
                Phase::Ready => "ready",
                Phase::Given => "given",
                Phase::Going => "going",
            };
            let image = shell.kind.image.file_stem().unwrap_or_default().to_string_lossy();
            let _ = writeln!(text, "{phase} {uuid} {} {image}", shell.kind.memory);
        }
        text
    }

    /// Destroys all of them that no guest has.
    pub(super) async fn end(&self) {
        self.ending.set(true);
        let all_gone = async {
            while self.pool.borrow().shells().any(|(_, s)| s.phase != Phase::Given) {
                let _ = timeout(LOOK, self.came.notified()).await;
            }
        };
        let _ = timeout(GOES_WITHIN, all_gone).await;
    }
}

async fn destroy(held: Held) {
    let uuid = held.uuid().to_owned();
    if let Ok(Err(why)) = spawn_blocking(move || held.destroy()).await {
        eprintln!("atoll: the shell {uuid} is not destroyed: {why:#}");
    }
}

/// That of a guest which is started here and now.
fn kind(image: &Path, memory: u64, store: bool) -> Kind {
    Kind::new(image, memory, &Launch { store, ..Launch::default() }.to_string())
}

/// The shells that guests' configs ask for, and whether none is being started, which matters more.
fn wanted(s: &State) -> (Vec<Kind>, bool) {
    let (mut all, mut is_calm) = (Vec::new(), true);
    for (_, guest) in s.core.guests() {
        is_calm &= !matches!(guest.state(), Is::Starting | Is::Stopping | Is::Adopting);
        let Some(def) = guest.definition().filter(|d| d.on == On::Xen && d.shells > 0) else {
            continue;
        };
        let Ok((image, manifest)) = s.images.whole(&def.image) else { continue };
        if manifest.is_foreign() {
            continue;
        }
        let facts = manifest.image(0);
        let memory = def.memory.unwrap_or(facts.memory);
        let kind = kind(&image, memory, facts.can_checkpoint());
        all.extend(std::iter::repeat_n(kind, def.shells as usize));
    }
    (all, is_calm)
}

/// Sees to there being as many as are wanted, for ever.
pub(super) async fn keep(daemon: Rc<Daemon>) {
    let shells = daemon.shells.clone();
    shells.sweep().await;
    // Without pay there are none, and what others left was seen to.
    if shells.pool.borrow().most() == 0 {
        return;
    }
    loop {
        shells.look_after(&daemon).await;
        shells.sweep().await;
        let (mut wanted, is_calm) = daemon.with(|s| wanted(s));
        if shells.ending.get() {
            wanted.clear();
        }
        let todo = shells.pool.borrow_mut().next(shells.now(), &wanted, is_calm);
        shells.carry_out(todo);
        let shown = shells.show();
        daemon.with(|s| s.shells = shown);
        tokio::select! {
            () = sleep(LOOK) => {}
            () = shells.came.notified() => {}
        }
    }
}

/// Finds a domain for a guest that is to start: a shell, or at least memory for one.
pub(super) async fn prepare(daemon: &Daemon, guest: &Name, spec: &mut Spec, memory: u64) {
    let shells = &daemon.shells;
    if spec.on != On::Xen || shells.pool.borrow().shells().next().is_none() {
        return;
    }
    let kind = kind(&spec.image, memory, spec.state.is_some());
    // One that goes on from a checkpoint is told so before it runs.
    if spec.restore.is_none() {
        spec.shell = shells.give(guest, spec.run, &kind);
    }
    if spec.shell.is_some() {
        return daemon.with(|s| s.shells = shells.show());
    }
    let Ok(Some(free)) = spawn_blocking(shell::free_memory).await else { return };
    let lacks = kind.cost().saturating_sub(free);
    if lacks > 0 {
        let todo = shells.pool.borrow_mut().give_up(shells.now(), lacks);
        shells.carry_out(todo);
        let all_gone = async {
            while shells.pool.borrow().is_going() {
                let _ = timeout(LOOK, shells.came.notified()).await;
            }
        };
        let _ = timeout(GOES_WITHIN, all_gone).await;
    }
}
