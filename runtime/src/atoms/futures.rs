//! Calls that return: asks and their replies, sleeps, and what is common to all.
//!
//! A future is in the table from the commit of the dispatch that made it until its
//! event is dispatched, or until it is dropped. An ask stays there without an owner
//! while the one who was asked still owes the reply: whether anybody waits is not his
//! business.

use alloc::vec::Vec;
use core::mem;

use atoll_9p::fault::{Errno, Fault};

use super::{Atoms, More, Undo, gone};
use crate::component::{CallId, ComponentId, Event, Token};
use crate::core::{Alarm, Core, Queued};
use crate::effects::{Cx, Wish, message};
use crate::load::Load;
use crate::platform::Time;
use crate::sponsor::Amount;
use crate::timers::Key;

/// A call that has not returned.
#[derive(Debug)]
pub(crate) struct Future {
    pub(crate) owner: ComponentId,
    pub(crate) on: On,
    /// What is given back when it has returned, beside what its event holds.
    pub(crate) charged: Amount,
    /// Nobody waits for it.
    pub(crate) dropped: bool,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    /// A reply. It was put to `to` once its event was dispatched.
    Ask {
        to: ComponentId,
        put: bool,
        answered: bool,
    },
    Sleep(Key),
    /// Its place in the line of a lock.
    Lock(u8),
    /// The namespace.
    Call,
    /// What is stored is to last.
    Sync,
    /// Its turn.
    Ready,
    /// Its turn; the lock is held already.
    Granted(u8),
    /// Its turn; the file is open already.
    Opened(u32),
}

/// An ask that waits for its turn.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) from: ComponentId,
    pub(crate) call: CallId,
    pub(crate) body: Load,
}

impl Atoms {
    /// An ask is not answered.
    pub(super) fn owe(&mut self, token: CallId) {
        if let Some(Future { on: On::Ask { answered, .. }, .. }) = self.futures.get_mut(&token) {
            *answered = false;
        }
    }

    /// Somebody waits for a call.
    pub(super) fn wait(&mut self, call: CallId) {
        if let Some(f) = self.futures.get_mut(&call) {
            f.dropped = false;
        }
    }
}

impl Cx<'_> {
    /// Asks another component; the reply, or why there is none, is the result of the
    /// call. EPIPE when that component is abandoned or killed before it has replied.
    pub fn ask(&mut self, to: ComponentId, body: &[u8]) -> Result<CallId, Fault> {
        self.known(to)?;
        let mut both = message(body.len());
        both.add(message(0));
        self.pay(both)?;
        let call = self.number();
        self.wish(More::Ask { call, to, body: body.into() });
        Ok(call)
    }

    /// Answers an ask that was put to this component, once: ESTALE afterwards. Bytes and a
    /// status of 0 or more, or why there are none. Whether the asker still waits is
    /// not told.
    pub fn reply(
        &mut self,
        token: Token,
        status: i32,
        result: Result<&[u8], Fault>,
    ) -> Result<(), Fault> {
        let token = CallId(token.0);
        let me = self.me;
        let owed = match self.atoms.futures.get_mut(&token).map(|f| &mut f.on) {
            Some(On::Ask { to, answered, .. }) if *to == me && !*answered => answered,
            _ => return Err(Errno::ESTALE.into()),
        };
        *owed = true;
        self.effects.undo.push(Undo::Reply(token));
        let charged = message(result.as_ref().map_or_else(|f| f.text().len(), |b| b.len()));
        self.pay(charged)?;
        let result = result.map(Load::from);
        self.wish(More::Reply { token, status: status.max(0), result, charged });
        Ok(())
    }

    /// A call that returns in `ns` nanoseconds. Those that return at one instant do so
    /// in the order in which they were made.
    pub fn sleep(&mut self, ns: u64) -> Result<CallId, Fault> {
        self.pay(message(0))?;
        let call = self.number();
        self.wish(More::Sleep(call, self.now.after(ns)));
        Ok(call)
    }

    /// Gives up a call of this component's: it will not return, not even when its result
    /// is there and waits. ESTALE where it has none of that number any more. What
    /// was asked for may happen all the same.
    pub fn drop_future(&mut self, call: CallId) -> Result<(), Fault> {
        let me = self.me;
        if let Some(f) = self.atoms.futures.get_mut(&call) {
            if f.owner != me || mem::replace(&mut f.dropped, true) {
                return Err(Errno::ESTALE.into());
            }
            self.effects.undo.push(Undo::Drop(call));
        } else {
            let is = |w: &Wish| matches!(w, Wish::More(More::Drop(c)) if *c == call);
            let fresh = call.0 > self.calls_before && call.0 <= *self.next_call;
            if !fresh || self.effects.wishes.iter().any(is) {
                return Err(Errno::ESTALE.into());
            }
        }
        self.wish(More::Drop(call));
        Ok(())
    }
}

impl Core<'_> {
    pub(super) fn future(&mut self, owner: ComponentId, call: CallId, on: On, charged: Amount) {
        self.atoms.futures.insert(call, Future { owner, on, charged, dropped: false });
    }

    /// A component has called into the namespace.
    pub(crate) fn called(&mut self, from: ComponentId, call: CallId) {
        self.future(from, call, On::Call, Amount::default());
    }

    pub(super) fn ask(&mut self, from: ComponentId, call: CallId, to: ComponentId, body: Load) {
        let on = On::Ask { to, put: false, answered: false };
        self.future(from, call, on, message(0));
        self.queue.push_back((to, Queued::Asked(Asked { from, call, body })));
    }

    pub(super) fn sleep(&mut self, from: ComponentId, call: CallId, at: Time) {
        let key = self.timers.set(at, Alarm::Sleep(call));
        self.future(from, call, On::Sleep(key), message(0));
    }

    /// A sleep has ended.
    pub(crate) fn awake(&mut self, call: CallId) {
        self.ready(call, On::Ready);
    }

    /// A call returns with nothing: what was charged for it goes over to its event.
    pub(super) fn ready(&mut self, call: CallId, on: On) {
        if let Some(f) = self.atoms.futures.get_mut(&call) {
            f.on = on;
            let charged = mem::take(&mut f.charged);
            let done = Queued::Done { call, status: 0, result: Ok(Load::NONE), charged };
            self.queue.push_back((f.owner, done));
        }
    }

    /// A call returns. What its result was charged is its event's from now on.
    pub(super) fn complete(
        &mut self,
        call: CallId,
        status: i32,
        result: Result<Load, Fault>,
        charged: Amount,
    ) {
        match self.atoms.futures.get_mut(&call) {
            Some(f) if !f.dropped => {
                f.on = On::Ready;
                self.queue.push_back((f.owner, Queued::Done { call, status, result, charged }));
            }
            _ => {
                self.sponsor.refund(charged);
                self.end(call);
            }
        }
    }

    /// A call into the namespace has returned. False where nobody waits for it.
    pub(crate) fn arrived(&mut self, call: CallId) -> bool {
        let future = self.atoms.futures.get_mut(&call);
        future.map(|f| f.on = On::Ready).is_some()
    }

    /// What has returned is a file that is open.
    pub(super) fn has_opened(&mut self, call: CallId, fd: u32) {
        if let Some(f) = self.atoms.futures.get_mut(&call) {
            f.on = On::Opened(fd);
        }
    }

    /// A call's turn to return has come. False where nobody waits for it.
    pub(crate) fn redeem(&mut self, call: CallId) -> bool {
        self.end(call)
    }

    fn end(&mut self, call: CallId) -> bool {
        let future = self.atoms.futures.remove(&call);
        future.map(|f| self.sponsor.refund(f.charged)).is_some()
    }

    /// Nobody waits for a call any more.
    pub(super) fn drop_future(&mut self, call: CallId) {
        let Some(f) = self.atoms.futures.get_mut(&call) else { return };
        f.dropped = true;
        let owner = f.owner;
        match f.on {
            On::Ask { .. } => return,
            On::Sleep(key) => self.timers.cancel(key),
            On::Lock(n) => self.leave_line(n, call),
            On::Granted(n) => self.release(n, owner),
            On::Opened(fd) => self.close_file(owner, fd),
            On::Call | On::Sync | On::Ready => {}
        }
        self.end(call);
    }

    /// Puts an ask to its component. False where nobody waits for it any more.
    pub(crate) fn put(&mut self, to: ComponentId, asked: &Asked) -> bool {
        let Asked { from, call, body } = asked;
        self.sponsor.refund(message(body.len()));
        let open = |core: &Self| {
            core.atoms
                .futures
                .get(call)
                .is_some_and(|f| matches!(f.on, On::Ask { answered: false, .. }))
        };
        if !open(self) {
            return false;
        }
        if self.atoms.futures.get(call).is_some_and(|f| f.dropped) {
            self.end(*call);
            return false;
        }
        if self.slots.get(to).is_none() {
            self.complete(*call, 0, Err(gone()), Amount::default());
            return false;
        }
        let event = Event::Ask { from: *from, token: Token(call.0), body };
        match self.dispatch(to, event) {
            Ok(()) => {
                if let Some(f) = self.atoms.futures.get_mut(call)
                    && let On::Ask { put, .. } = &mut f.on
                {
                    *put = true;
                }
                // It may have ended itself.
                if open(self) && self.slots.get(to).is_none() {
                    self.complete(*call, 0, Err(gone()), Amount::default());
                }
            }
            Err(fault) if open(self) => self.complete(*call, 0, Err(fault), Amount::default()),
            Err(_) => {}
        }
        true
    }

    /// Drops the calls of a component that is no more, and fails those that it owes
    /// a reply.
    pub(super) fn forget_futures(&mut self, id: ComponentId) {
        let all = self.atoms.futures.iter();
        let of = all.filter(|(_, f)| f.owner == id).map(|(call, _)| *call);
        for call in of.collect::<Vec<_>>() {
            self.drop_future(call);
        }
        let owed = self.atoms.futures.iter().filter(
            |(_, f)| matches!(f.on, On::Ask { to, put: true, answered: false } if to == id),
        );
        for call in owed.map(|(call, _)| *call).collect::<Vec<_>>() {
            self.complete(call, 0, Err(gone()), Amount::default());
        }
    }
}
