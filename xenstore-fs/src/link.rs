//! A real xenstored, connected to when it is needed.
//!
//! A connection that failed is not used again, and the next request makes another; whoever
//! had a transaction or a watch on it is told. After one that hung nothing is tried for a
//! moment, so that a xenstored that answers nobody costs each client one wait and not one
//! for every request.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use atoll_xen::dom0::{AskError, Store};
use atoll_xen::store::{Answer, Incoming, Request, TxId};
use rustix::event::epoll;

use crate::backend::{Backend, Failed};

/// How long after one that hung another connection is made.
const PAUSE: Duration = Duration::from_secs(2);

/// Where xenstored is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Where libxenstore would look.
    Usual,
    /// At that socket or device.
    At(PathBuf),
}

/// A connection, and the next when it is lost.
#[derive(Debug)]
pub struct Link {
    target: Target,
    store: Option<Store>,
    number: u64,
    hung: Option<(Instant, String)>,
    /// Stays the same whatever connection there is.
    epoll: OwnedFd,
    patience: Option<Duration>,
}

impl Link {
    /// Connects. An error says what was tried.
    pub fn open(target: Target) -> Result<Link, String> {
        let mut link = Link::later(target).map_err(|e| e.to_string())?;
        link.store().map_err(|failed| match failed {
            Failed::Down(why) | Failed::Silent(why) => why,
            other => format!("{other:?}"),
        })?;
        Ok(link)
    }

    /// Connects when something is asked, and as often as nobody was there before: xenstored may
    /// start later than this.
    pub fn later(target: Target) -> std::io::Result<Link> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Link { target, store: None, number: 0, hung: None, epoll, patience: None })
    }

    /// Waits so long for an answer.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = Some(patience);
        if let Some(store) = &mut self.store {
            store.set_patience(patience);
        }
    }

    /// A descriptor that is readable when an event may have come, for as long as this lives.
    pub fn events(&self) -> std::io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    fn store(&mut self) -> Result<&mut Store, Failed> {
        if self.store.is_none() {
            match &self.hung {
                Some((at, why)) if at.elapsed() < PAUSE => return Err(Failed::Silent(why.clone())),
                _ => self.hung = None,
            }
            let store = match &self.target {
                Target::Usual => Store::open(),
                Target::At(path) => Store::open_at(path),
            };
            let mut store = store.map_err(|e| Failed::Down(e.to_string()))?;
            if let Some(patience) = self.patience {
                store.set_patience(patience);
            }
            let flags = epoll::EventFlags::IN;
            epoll::add(&self.epoll, &store, epoll::EventData::new_u64(0), flags)
                .map_err(|e| Failed::Down(e.to_string()))?;
            self.number += 1;
            self.store = Some(store);
        }
        self.store.as_mut().ok_or_else(|| Failed::Down("no connection".into()))
    }

    /// The connection is not used any more. Closing it takes it out of the epoll.
    fn end(&mut self) {
        self.store = None;
        self.number += 1;
    }
}

impl Backend for Link {
    fn ask(&mut self, tx: TxId, request: &Request<'_>) -> Result<Answer, Failed> {
        let answer = self.store()?.ask(tx, request);
        answer.map_err(|e| match e {
            AskError::Refused(refused) => Failed::Refused(refused),
            AskError::Store(error) => Failed::Store(error),
            AskError::Io(_) => {
                self.end();
                Failed::Down(e.to_string())
            }
            AskError::Silent(_) => {
                self.end();
                self.hung = Some((Instant::now(), e.to_string()));
                Failed::Silent(e.to_string())
            }
        })
    }

    fn event(&mut self) -> Option<Incoming> {
        match self.store.as_mut()?.event() {
            Ok(event) => event,
            Err(_) => {
                self.end();
                None
            }
        }
    }

    fn connection(&mut self) -> u64 {
        self.number
    }
}
