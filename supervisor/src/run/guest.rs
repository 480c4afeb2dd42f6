//! The life of a guest that was started: one loop, whoever gives the orders.
//!
//! `atoll run` makes orders of signals and prints what is said; a shim takes them from
//! the daemon and writes it down. What happens in between is the same.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use anyhow::bail;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::clients::{accept_ours, accept_tcp, accept_unix, follow_log, restore, stop};
use super::ending::Ending;
use super::{KEEP, Plan, STOP, Voice};
use crate::backend::{self, Backend, Ended, Machine, Still};
use crate::checkpoint::{Keeper, Source};
use crate::domain::HELD;
use crate::guard::Guard;
use crate::joint::{self, Joint};
use crate::namespace::Namespace;
use crate::record::Record;
use crate::shim::{Order, Report};
use crate::socket::Private;
use crate::stream::Stream;

/// How long what a guest has said before its end may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where people find its tree.
pub(crate) struct Doors {
    /// How they call it.
    pub(crate) at: String,
    pub(crate) unix: UnixListener,
    /// For who watches it.
    pub(crate) ours: Option<UnixListener>,
    pub(crate) tcp: Vec<TcpListener>,
}

/// How it ended, and all that is known of that.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
    /// What it wrote when it failed.
    pub(crate) record: Option<Record>,
    /// Whether it was asked to stop, or to be killed.
    pub(crate) asked: bool,
    /// Why it could not go on from its checkpoint, if that was all.
    pub(crate) refused: Option<String>,
}

/// A guest that was started.
pub(crate) struct Guest {
    backend: Box<dyn Backend>,
    voice: Rc<dyn Voice>,
    namespace: Namespace,
    machine: Machine,
    joint: Joint,
    /// Keeps its checkpoints.
    keeper: Option<Keeper>,
    /// What it is to go on from.
    from: Option<Source>,
}

impl Guest {
    /// Starts its machine, which holds `held` for as long as it lives.
    pub(crate) fn start(
        plan: Plan,
        voice: &Rc<dyn Voice>,
        private: &Private,
        guard: &Rc<RefCell<Guard>>,
        held: Option<File>,
    ) -> anyhow::Result<Guest> {
        let Plan { manifest, backend, spec, namespace, state, from } = plan;
        let machine = backend::start(&*backend, &spec, private, &mut guard.borrow_mut(), held)?;
        let joint = Joint::new();
        let keeper = state.map(|state| {
            let (joint, voice, guard) = (joint.clone(), voice.clone(), guard.clone());
            Keeper::new(state, manifest.payload_hash, joint, voice, guard)
        });
        let voice = voice.clone();
        Ok(Guest { backend, voice, namespace, machine, joint, keeper, from })
    }

    /// The number of its machine's process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.machine.pid()
    }

    /// Where its clients meet.
    pub(crate) fn joint(&self) -> &Joint {
        &self.joint
    }

    /// Whether its checkpoints are kept.
    pub(crate) fn has_keeper(&self) -> bool {
        self.keeper.is_some()
    }

    /// How long it is given to stop if nobody says: with a last checkpoint that takes more.
    pub(crate) fn usual_stop(&self) -> Duration {
        if self.has_keeper() { STOP + KEEP } else { STOP }
    }

    /// Lives its life, to the end.
    pub(crate) async fn run(
        mut self,
        doors: Doors,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) -> anyhow::Result<Outcome> {
        let joint = self.joint;
        let (control, debug) = (self.machine.control.take(), self.machine.debug.take());
        let (Some(control), Some(debug)) = (control, debug) else {
            bail!("a machine has its streams once");
        };
        let (control_at, host_at) = self.machine.again().unzip();
        if let Some(host) = self.machine.host.take() {
            spawn_local(std::mem::take(&mut self.namespace).serve(host, host_at));
        }
        let heard = Rc::new(Cell::new(None));
        let (on, at) = (self.backend.name(), doors.at.clone());
        // What is done anew for each of its connections.
        let (j, v, h) = (joint.clone(), self.voice.clone(), heard.clone());
        let listen = move || {
            let (on, at) = (on.clone(), at.clone());
            spawn_local(follow_log(j.clone(), v.clone(), on, at, h.clone()))
        };
        let (j, keeper, again) = (joint.clone(), self.keeper.clone(), listen.clone());
        let mut guest = spawn_local(async move {
            let mut control = control;
            loop {
                let end = j.serve_guest(control).await;
                let Some(at) = control_at.as_ref().filter(|_| j.is_ready()) else { return end };
                control = match Stream::connect(at).await {
                    Ok(control) => control,
                    Err(_) => return end,
                };
                j.renew().await;
                if heard.get().is_some() {
                    spawn_local(again());
                    keeper.clone().map(|keeper| spawn_local(keeper.serve()));
                }
            }
        });
        let v = self.voice.clone();
        let record = spawn_local(backend::follow(debug, move |l| v.log(l.as_bytes())));
        let (j, keeper) = (joint.clone(), self.keeper.clone());
        // Whoever comes to the tree finds the guest as it is to be.
        let open = move || {
            if let Some(keeper) = keeper {
                spawn_local(keeper.serve());
            }
            spawn_local(accept_unix(j.clone(), doors.unix));
            if let Some(listener) = doors.ours {
                spawn_local(accept_ours(j.clone(), listener));
            }
            for listener in doors.tcp {
                spawn_local(accept_tcp(j.clone(), listener));
            }
            listen()
        };
        let (mut log, mut shut) = match self.from.is_some() {
            true => (None, Some(open)),
            false => (Some(open()), None),
        };
        let (j, from) = (joint.clone(), self.from.take());
        let mut giving = spawn_local(async move {
            match from {
                Some(from) => restore(&j, &from).await,
                None => Ok(()),
            }
        });

        let mut ending = Ending::default();
        let kill = ending.kill();
        let still = self.machine.still.take().map(|still| stands_still(still, &self.voice));
        let backend = self.backend;
        let mut machine = self.machine;
        let mut wait = spawn_local(async move { machine.wait(&*backend, &kill).await });
        let mut lost = None;
        let mut refused = None;
        let ended = loop {
            tokio::select! {
                ended = &mut wait => break ended??,
                Some(order) = orders.recv() => match order {
                    Order::Kill => ending.now(),
                    Order::Stop(ms) => {
                        if !ending.stop(ms) {
                            continue;
                        }
                        self.voice.say("is asked to stop");
                        self.voice.report(&Report::Stopping);
                        if let Some(still) = &still {
                            let _ = still.send(Order::Resume);
                        }
                        spawn_local(stop(joint.clone()));
                    }
                    order @ (Order::Pause | Order::Resume) => {
                        let none = "it has no process";
                        match &still {
                            Some(still) => drop(still.send(order)),
                            None => self.voice.report(&Report::Failed(order, none.into())),
                        }
                    }
                    Order::Relocate(to) => match &still {
                        Some(still) => drop(still.send(Order::Relocate(to))),
                        None => {
                            let none = "it has no process".into();
                            self.voice.report(&Report::Failed(Order::Relocate(to), none));
                        }
                    },
                    order @ (Order::Checkpoint | Order::Restore(_)) => match (self.keeper.clone(), &order) {
                        (Some(keeper), Order::Restore(n)) => drop(spawn_local(keeper.restore(*n))),
                        (Some(keeper), _) => drop(spawn_local(keeper.ask())),
                        (None, _) => {
                            let none = "no folder keeps its state".into();
                            self.voice.report(&Report::Failed(order, none));
                        }
                    },
                },
                done = &mut giving, if shut.is_some() => {
                    let open = shut.take();
                    match done? {
                        Ok(()) => log = open.map(|open| open()),
                        Err(why) => {
                            let why = format!("does not go on: {why:#}");
                            self.voice.tell(&why);
                            refused = Some(why);
                            ending.fail();
                        }
                    }
                }
                () = ending.late() => {}
                end = &mut guest, if lost.is_none() => {
                    // Most often it is about to end. If not, it is of no use.
                    let end = end?;
                    if !matches!(end, joint::Ended::Closed) {
                        self.voice.tell(&format!("{:#}", anyhow::Error::from(end)));
                    }
                    lost = Some(());
                    ending.within(STOP);
                }
            }
        };
        if lost.is_none() {
            let _ = timeout(LAST_WORDS, guest).await;
        }
        if let Some(log) = log {
            let _ = timeout(LAST_WORDS, log).await;
        }
        let record = timeout(LAST_WORDS, record).await.ok().and_then(Result::ok).flatten();
        refused = refused
            .filter(|_| matches!(ended, Ended::Lost(_) | Ended::Killed(_)) && record.is_none());
        Ok(Outcome { ended, record, asked: ending.is_asked(), refused })
    }
}

/// Whether nobody is there any more who could say how it went.
fn is_gone(e: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(e.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Lets a machine stand still and go on, in the order in which that is wanted, and tells
/// what came of it.
fn stands_still(mut still: Still, voice: &Rc<dyn Voice>) -> mpsc::UnboundedSender<Order> {
    let (to, mut wanted) = mpsc::unbounded_channel();
    let voice = voice.clone();
    spawn_local(async move {
        let mut stands = false;
        while let Some(order) = wanted.recv().await {
            if let Order::Relocate(to) = &order {
                match still.relocate(to.path()).await {
                    // Its end tells the rest.
                    Ok(()) => {}
                    Err(e) if is_gone(&e) => {}
                    Err(e) => {
                        let why = e.to_string();
                        if why.starts_with(HELD) {
                            stands = true;
                            voice.report(&Report::Paused);
                        }
                        voice.report(&Report::Failed(order, why));
                    }
                }
                continue;
            }
            let pause = order == Order::Pause;
            if pause == stands {
                continue;
            }
            let done = if pause { still.pause().await } else { still.resume().await };
            match done {
                Ok(()) => {
                    stands = pause;
                    voice.report(if pause { &Report::Paused } else { &Report::Resumed });
                }
                Err(e) => voice.report(&Report::Failed(order, e.to_string())),
            }
        }
    });
    to
}
