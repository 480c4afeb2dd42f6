//! A tree of ready-made files, served to a few clients by one task each.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use atoll_9p::server::{Limits, Session};
use atoll_9p::synth::{Files, Node};
use atoll_9p::tree::Tree;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::exchange::{receive, send};
use crate::stream::Stream;

/// What a client may hold. Who speaks to a shim has little to say.
const LIMITS: Limits = Limits { msize: 8 << 10, fids: 32, blocked: 8, writes: 16 << 10 };
/// Clients at one time: a daemon, and who looks for what went wrong.
const CLIENTS: usize = 8;

/// A client whose requests may wait.
struct Seat {
    news: RefCell<Vec<Node>>,
    notify: Notify,
}

/// A tree and those who are served. Clones are the same.
pub(super) struct Serving<S: 'static> {
    files: Rc<RefCell<Files<'static, S>>>,
    seats: Rc<RefCell<Vec<Rc<Seat>>>>,
}

impl<S> Clone for Serving<S> {
    fn clone(&self) -> Self {
        Serving { files: self.files.clone(), seats: self.seats.clone() }
    }
}

impl<S: 'static> Serving<S> {
    pub(super) fn new(files: Files<'static, S>) -> Serving<S> {
        Serving { files: Rc::new(RefCell::new(files)), seats: Rc::default() }
    }

    /// Changes the state. Whoever waits for what has changed is told.
    pub(super) fn change<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        let done = f(&mut self.files.borrow_mut().state);
        self.settle();
        done
    }

    fn settle(&self) {
        let seats = self.seats.borrow();
        self.files.borrow_mut().woken(&mut |node| {
            for seat in seats.iter() {
                let mut news = seat.news.borrow_mut();
                if !news.contains(&node) {
                    news.push(node);
                }
                seat.notify.notify_one();
            }
        });
    }

    /// Serves a client in a task of its own, if there is room for one more.
    pub(super) fn serve(&self, stream: Stream) {
        if self.seats.borrow().len() >= CLIENTS {
            return;
        }
        let seat = Rc::new(Seat { news: RefCell::default(), notify: Notify::new() });
        self.seats.borrow_mut().push(seat.clone());
        let this = self.clone();
        spawn_local(async move {
            let mut session = Session::new(LIMITS);
            // A client's failure is the client's own, and ends with it.
            let _ = this.exchange(&stream, &mut session, &seat).await;
            session.close(&mut *this.files.borrow_mut());
            this.seats.borrow_mut().retain(|s| !Rc::ptr_eq(s, &seat));
        });
    }

    async fn exchange(
        &self,
        stream: &Stream,
        session: &mut Session<Files<'static, S>>,
        seat: &Seat,
    ) -> io::Result<()> {
        loop {
            for node in seat.news.take() {
                session.wake(node);
            }
            while session.step(&mut *self.files.borrow_mut()) {}
            self.settle();
            let waiting = send(stream, session)?;
            if session.is_dead() && !waiting {
                return Ok(());
            }
            if session.is_ready() && !waiting {
                continue;
            }
            let room = !session.spare().is_empty();
            tokio::select! {
                () = seat.notify.notified() => {}
                r = stream.writable(), if waiting => r?,
                r = stream.readable(), if room => {
                    r?;
                    if !receive(stream, session)? {
                        return Ok(());
                    }
                }
            }
        }
    }
}
