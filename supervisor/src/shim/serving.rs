//! A tree of ready-made files, served to a few clients by one task each.

use std::cell::{Cell, RefCell};
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
    /// Whether it has all that there is, and waits for more.
    waits: Cell<bool>,
}

/// A tree and those who are served. Clones are the same.
pub(super) struct Serving<S: 'static> {
    files: Rc<RefCell<Files<'static, S>>>,
    seats: Rc<RefCell<Vec<Rc<Seat>>>>,
    /// One of them waits for more, or is gone.
    moved: Rc<Notify>,
}

impl<S> Clone for Serving<S> {
    fn clone(&self) -> Self {
        Serving { files: self.files.clone(), seats: self.seats.clone(), moved: self.moved.clone() }
    }
}

impl<S: 'static> Serving<S> {
    pub(super) fn new(files: Files<'static, S>) -> Serving<S> {
        Serving { files: Rc::new(RefCell::new(files)), seats: Rc::default(), moved: Rc::default() }
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
                seat.waits.set(false);
                seat.notify.notify_one();
            }
        });
    }

    /// Waits until every client that is left has all that was told, and asks for more.
    pub(super) async fn heard(&self) {
        while !self.seats.borrow().iter().all(|seat| seat.waits.get()) {
            self.moved.notified().await;
        }
    }

    /// Serves a client in a task of its own, if there is room for one more.
    pub(super) fn serve(&self, stream: Stream) {
        if self.seats.borrow().len() >= CLIENTS {
            return;
        }
        let seat = Rc::new(Seat {
            news: RefCell::default(),
            notify: Notify::new(),
            waits: Cell::new(false),
        });
        self.seats.borrow_mut().push(seat.clone());
        let this = self.clone();
        spawn_local(async move {
            let mut session = Session::new(LIMITS);
            // A client's failure is the client's own, and ends with it.
            let _ = this.exchange(&stream, &mut session, &seat).await;
            session.close(&mut *this.files.borrow_mut());
            this.seats.borrow_mut().retain(|s| !Rc::ptr_eq(s, &seat));
            this.moved.notify_one();
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
            if session.waiting() > 0 && !waiting && seat.news.borrow().is_empty() {
                seat.waits.set(true);
                self.moved.notify_one();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::{Report, Spec, tree};
    use atoll_9p::client::tokio::{Connection, Stream as Client};
    use atoll_9p::types::OpenFlags;
    use tokio::net::UnixStream;

    /// Whether it is heard, as things are.
    async fn is_heard(serving: &Serving<tree::Guest>) -> bool {
        tokio::select! {
            biased;
            () = serving.heard() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[test]
    fn the_last_word_is_heard_when_more_is_asked_for_or_nobody_is_left() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let spec = Spec::new("a", std::path::Path::new("/a.img"));
            let orders = tokio::sync::mpsc::unbounded_channel().0;
            let serving = Serving::new(tree::files(tree::Guest::new(&spec, orders, 0)));
            assert!(is_heard(&serving).await);
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            serving.serve(Stream::try_from(theirs).unwrap());
            let client = Client::Unix(UnixStream::from_std(ours).unwrap());
            let conn = Connection::over(client).await.unwrap();
            let events = conn.open("events", OpenFlags::RDONLY).await.unwrap();
            let first = events.read(0, u32::MAX, Vec::new()).await.unwrap();
            assert!(!is_heard(&serving).await);
            // It waits for what is told next; as soon as that is told, it is not heard.
            let at = first.len() as u64;
            let more = spawn_local(async move {
                let more = events.read(at, u32::MAX, Vec::new()).await.unwrap();
                (events, at + more.len() as u64)
            });
            serving.heard().await;
            serving.change(|g| g.report(&Report::Paused));
            assert!(!is_heard(&serving).await);
            let (events, at) = more.await.unwrap();
            assert!(!is_heard(&serving).await);
            let last = spawn_local(async move { events.read(at, u32::MAX, Vec::new()).await });
            serving.heard().await;
            // One who is gone is not waited for.
            serving.change(|g| g.report(&Report::Resumed));
            assert!(!is_heard(&serving).await);
            last.await.unwrap().unwrap();
            drop(conn);
            serving.heard().await;
        });
    }
}
