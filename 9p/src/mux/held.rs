//! What is held back of a client that has its share of requests at the server.
//!
//! A share is about waiting: a server has so many places for that. So one request more
//! than a share is not left lying behind those that wait, as it may be the one that ends
//! their waiting. It goes to the server, a read with a Tflush right behind it: what the
//! server has not answered by then would have to wait, and waits here for a place. All
//! others pass it, but reads of the same fid, which keep their order.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::port::{At, Port};
use super::{ClientId, Mux};
use crate::fault::{Errno, Fault};
use crate::fids::{self, Change};
use crate::msg::Tmsg;

/// A request with its tag.
type Request = (u16, Vec<u8>);

/// Requests of one client.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Reads that would have to wait at the server, in the order in which they came.
    waits: VecDeque<Request>,
    /// A read that is at the server to find that out.
    tried: Option<Request>,
    /// Those that came later.
    rest: VecDeque<Request>,
    /// Bytes of all of them.
    pub(super) bytes: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.waits.is_empty() && self.tried.is_none() && self.rest.is_empty()
    }

    /// Adds one that has come.
    pub(super) fn push(&mut self, tag: u16, frame: &[u8]) {
        self.bytes += frame.len();
        self.rest.push_back((tag, frame.to_vec()));
    }

    /// Forgets what has been answered, or flushed by its client. It may be none of these.
    pub(super) fn forget(&mut self, tag: u16) {
        if self.is_empty() {
            return;
        }
        self.waits.retain(|r| r.0 != tag);
        self.rest.retain(|r| r.0 != tag);
        self.tried = self.tried.take().filter(|r| r.0 != tag);
        let all = self.waits.iter().chain(&self.tried).chain(&self.rest);
        self.bytes = all.map(|r| r.1.len()).sum();
    }

    /// The server has not answered this read: if it was being tried, it has to wait.
    pub(super) fn must_wait(&mut self, tag: u16) -> bool {
        let tried = self.tried.take_if(|r| r.0 == tag);
        let was = tried.is_some();
        self.waits.extend(tried);
        was
    }

    /// The first that there is a place for.
    fn first(&mut self) -> Option<Request> {
        let request = self.waits.pop_front().or_else(|| self.rest.pop_front())?;
        self.bytes -= request.1.len();
        Some(request)
    }

    /// Lets a read wait here if an older one of its fid does: it would wait behind that.
    fn pass_on(&mut self, fid: u32) -> bool {
        let behind = self.waits.iter().any(|r| is_of(r, fid));
        if behind {
            self.waits.extend(self.rest.pop_front());
        }
        behind
    }
}

impl Port {
    /// A fid ends, and with it the reads that wait on it, as they do at a server.
    fn end_waits(&mut self, fid: u32) {
        while let Some((tag, _)) = self.held.waits.iter().find(|r| is_of(r, fid)) {
            let tag = *tag;
            self.held.forget(tag);
            self.tags.remove(&tag);
            self.refuse(tag, &Errno::EBADF.into());
        }
    }
}

fn is_of(read: &Request, of: u32) -> bool {
    matches!(Tmsg::decode(&read.1), Ok(Tmsg::Read { fid, .. }) if fid == of)
}

impl Mux {
    /// Sends what was held back of a client, as far as it may be now.
    pub(super) fn unhold(&mut self, id: ClientId) {
        while let Some(port) = self.ports.get_mut(&id).filter(|p| p.reads(&self.share)) {
            if port.held.is_empty() {
                self.thirsty.remove(&id);
                return;
            }
            if port.held.tried.is_some() || port.is_busy() {
                return;
            }
            if self.may_send(id) {
                let first = self.ports.get_mut(&id).and_then(|p| p.held.first());
                if let Some((tag, frame)) = first {
                    self.send_held(id, tag, &frame);
                }
            } else if !self.send_more(id) {
                return;
            }
        }
    }

    /// Sends one request more than a client may have at the server, or sees that it has to
    /// wait; false when it cannot be sent yet.
    fn send_more(&mut self, id: ClientId) -> bool {
        let most = 2 * self.most();
        let room = self.waiting < self.share.waiting;
        let Some(port) = self.ports.get_mut(&id) else { return false };
        let Some((tag, frame)) = port.held.rest.front() else { return false };
        let read = match Tmsg::decode_in(port.dialect, frame) {
            Ok(m @ Tmsg::Read { fid, .. }) => {
                port.plain.as_ref().is_none_or(|p| p.passes(&m)).then_some(fid)
            }
            _ => None,
        };
        let Some(fid) = read else {
            if port.waiting >= most || !room {
                return false;
            }
            let (tag, frame) = (*tag, frame.clone());
            port.held.forget(tag);
            self.send_held(id, tag, &frame);
            return true;
        };
        if port.held.pass_on(fid) {
            return true;
        }
        if !room {
            return false;
        }
        let Some((tag, frame)) = port.held.rest.pop_front() else { return false };
        port.held.tried = Some((tag, frame.clone()));
        self.send_held(id, tag, &frame);
        let up = match self.ports.get(&id).and_then(|p| p.tags.get(&tag)) {
            Some(At::Server(up)) => *up,
            // It was refused.
            _ => {
                self.ports.get_mut(&id).into_iter().for_each(|p| p.held.forget(tag));
                return true;
            }
        };
        self.hurry(up);
        true
    }

    fn send_held(&mut self, id: ClientId, tag: u16, frame: &[u8]) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        port.tags.remove(&tag);
        let done = match Tmsg::decode_in(port.dialect, frame) {
            Ok(m) => {
                if let (Change::End, Some(on)) = (fids::of(&m).change, fids::of(&m).on) {
                    port.end_waits(on.fid);
                }
                self.forward(id, tag, m, frame)
            }
            Err(bad) => Err(Fault::from(bad)),
        };
        if let (Err(fault), Some(port)) = (done, self.ports.get_mut(&id)) {
            port.refuse(tag, &fault);
        }
    }
}
