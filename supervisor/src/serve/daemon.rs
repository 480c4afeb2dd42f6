//! One control tree, and what is done because of what happens in it.
//!
//! Everything is on one thread, and nobody holds the tree over a wait. What takes time comes
//! out of the tree as a [`Todo`], and what comes of it is given to the tree again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::synth::Node;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinError, spawn_local};
use tokio::time::sleep_until;

use super::authority::Act;
use super::front::{Front, LIMITS, Server};
use super::shells::Shells;
use super::shims::{self, Live};
use super::state::{State, Todo};
use super::tree::{Control, tree};
use crate::address;
use crate::core::{self, Input, Name};
use crate::guestlog::Watch;
use crate::shim::Births;

/// The daemon.
pub(super) struct Daemon {
    pub(super) front: Front<Control>,
    pub(super) shims: RefCell<BTreeMap<Name, Live>>,
    /// Where new ones come from.
    pub(super) births: Births,
    /// Domains made ahead of need.
    pub(super) shells: Rc<Shells>,
    /// Waits for what guests say, as long as somebody wants to hear it.
    pub(super) watch: Watch,
    end: Notify,
    begun: Instant,
    wake_at: Cell<Option<u64>>,
    alarm: Notify,
}

impl Daemon {
    pub(super) fn new(state: State, shells: Rc<Shells>) -> Rc<Daemon> {
        let begun = Instant::now() - Duration::from_millis(state.now().mono);
        let reach = |tree: &mut Control, path| {
            let (s, id) = (&mut tree.files.state, Node::entry_of(path));
            if id == 0 {
                // Of no guest: the only other tree that is mounted.
                s.may(Act::XenStore)?;
                return s.xenstore.clone().ok_or(Errno::ENXIO.into());
            }
            let (guest, state) = (s.guest(id)?, s.view(id)?.state());
            if guest.socket.is_none() && s.core.is_foreign(&guest.name) {
                let text = format!(
                    "{} is none of Atoll's guests, and has no tree: it can be run, logged, \
                     paused, stopped and killed",
                    guest.name
                );
                return Err(Fault::new(Errno::EOPNOTSUPP, text));
            }
            let alive = state.is_alive() || state == core::State::Adopting;
            // A supervisor that has just begun is still looking for it: it has its tree where
            // it always is.
            let usual = || {
                let known = state != core::State::Starting;
                known.then(|| address::default_socket(guest.name.as_str()))
            };
            let socket = guest.socket.clone().or_else(usual).filter(|_| alive);
            socket.map(Server::from).ok_or_else(|| {
                let text = format!("{} is {state}: it has no tree until it runs", guest.name);
                Fault::new(Errno::ENXIO, text)
            })
        };
        let enter = |tree: &mut Control, caller: &_| tree.files.state.caller = *caller;
        Rc::new(Daemon {
            front: Front::entering(tree(state), LIMITS, Box::new(reach), Box::new(enter)),
            shims: RefCell::default(),
            shells,
            births: Births::of_this_program(),
            watch: Watch::default(),
            end: Notify::new(),
            begun,
            wake_at: Cell::new(None),
            alarm: Notify::new(),
        })
    }

    /// Does something with the state; who waits for what it changes is told.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        self.front.with(|tree| f(&mut tree.files.state))
    }

    /// Gives the core something.
    pub(super) fn input(&self, input: Input) {
        self.with(|s| s.input(input));
    }

    /// Does what is to be done, as it comes.
    pub(super) async fn work(self: Rc<Self>, mut todo: UnboundedReceiver<Todo>) {
        while let Some(todo) = todo.recv().await {
            self.begin(todo);
        }
    }

    fn begin(self: &Rc<Self>, todo: Todo) {
        let daemon = self.clone();
        match todo {
            Todo::Start(start) => shims::start(&daemon, *start),
            Todo::Order(guest, run, order) => shims::order(&daemon, &guest, run, order),
            Todo::Remove(gone) => shims::remove(gone),
            Todo::WakeAt(at) => {
                self.wake_at.set(at);
                self.alarm.notify_one();
            }
            Todo::Check(ask, check) => {
                spawn_local(async move {
                    let id = check.id;
                    let done = tokio::task::spawn_blocking(move || check.run()).await;
                    let broken = |e: JoinError| {
                        let text = format!("the image could not be read: {e}");
                        Err(Fault::new(Errno::EIO, text).blame(Blame::Host))
                    };
                    let done = done.unwrap_or_else(broken);
                    daemon.with(|s| s.image_checked(ask, id, done));
                });
            }
            Todo::Follow(id, at) => {
                spawn_local(async move { shims::follow(&daemon, id, at).await });
            }
            Todo::End => self.end.notify_one(),
        }
    }

    /// Waits until somebody says that it is to end.
    pub(super) async fn ended(&self) {
        self.end.notified().await;
    }

    /// Guests that run.
    pub(super) fn running(&self) -> usize {
        self.with(|s| s.core.guests().filter(|(_, g)| g.state().is_alive()).count())
    }

    /// Tells the core the time, when it wants to know.
    pub(super) async fn alarm(self: Rc<Self>) {
        loop {
            match self.wake_at.get() {
                None => self.alarm.notified().await,
                Some(at) => {
                    let until = self.begun + Duration::from_millis(at);
                    tokio::select! {
                        () = self.alarm.notified() => {}
                        () = sleep_until(until.into()) => {
                            self.wake_at.set(None);
                            self.input(Input::Tick);
                        }
                    }
                }
            }
        }
    }
}
