//! The guest's private namespace: a mount table, and a 9P client on `host`.
//!
//! The supervisor serves one directory a bound import, named as the import is. The
//! mount table says where in the guest's own view each one appears. Calls are made
//! from effects after their dispatch was committed, and their results come back as
//! events. Calls wait while no connection is open; those under way when one
//! closes fail, and say so.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use atoll_9p::client::{Client, Tag, fault};
use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::ops::Op;
use atoll_9p::wire::NOFID;
use atoll_config::payload::Import;

use crate::component::{CallId, ComponentId};
use crate::effects::Call;
use crate::sponsor::Amount;

/// The fid of the served root. Calls use those above it.
const ROOT: u32 = 0;

/// A result for a component.
pub(crate) struct Returned {
    pub(crate) to: ComponentId,
    pub(crate) call: CallId,
    /// What was charged for the call.
    pub(crate) charged: Amount,
    pub(crate) result: Result<Vec<u8>, Fault>,
}

/// A call under way.
struct Running {
    to: ComponentId,
    call: CallId,
    charged: Amount,
    op: Op,
}

impl Running {
    fn returned(self, result: Result<Vec<u8>, Fault>) -> Returned {
        Returned { to: self.to, call: self.call, charged: self.charged, result }
    }
}

struct Link {
    client: Client,
    /// The Tattach, until it was answered.
    attach: Option<Tag>,
    running: Vec<Running>,
    next_fid: u32,
}

/// The namespace.
pub(crate) struct Namespace {
    /// Where, and the name that the supervisor serves it under.
    mounts: Vec<(String, String)>,
    msize: u32,
    link: Option<Link>,
    waiting: VecDeque<(ComponentId, Call)>,
}

impl Namespace {
    pub(crate) fn new(imports: &[Import<'_>], msize: u32) -> Namespace {
        let mounts = imports
            .iter()
            .map(|i| (String::from(i.at.trim_end_matches('/')), String::from(i.name)))
            .collect();
        Namespace { mounts, msize, link: None, waiting: VecDeque::new() }
    }

    /// The mount table, one line a mount, as Plan 9's `ns` prints it.
    pub(crate) fn show(&self, out: &mut String) {
        for (at, name) in &self.mounts {
            let _ = writeln!(out, "mount /host/{name} {at}");
        }
    }

    /// Where a path of the guest's leads: the longest mount that covers it.
    fn resolve(&self, path: &str) -> Result<String, Fault> {
        let covers = |at: &str| match path.strip_prefix(at) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Some(rest),
            _ => None,
        };
        self.mounts
            .iter()
            .filter_map(|(at, name)| covers(at).map(|rest| (at.len(), name, rest)))
            .max_by_key(|m| m.0)
            .map(|(_, name, rest)| alloc::format!("{name}{rest}"))
            .ok_or_else(|| {
                let text = alloc::format!("{path}: no import is mounted there");
                Fault::new(Errno::ENOENT, text).blame(Blame::Guest)
            })
    }

    /// A connection has opened.
    pub(crate) fn opened(&mut self) {
        let mut client = Client::new(self.msize);
        let attach =
            Tmsg::Attach { fid: ROOT, afid: NOFID, uname: "guest", aname: "", n_uname: u32::MAX };
        let attach = Some(client.send(&attach));
        self.link = Some(Link { client, attach, running: Vec::new(), next_fid: ROOT + 1 });
    }

    /// The connection is gone: what was under way fails.
    pub(crate) fn closed(&mut self, done: &mut Vec<Returned>) {
        let Some(link) = self.link.take() else { return };
        let fault = Fault::new(Errno::EPIPE, "the host closed the connection").blame(Blame::Host);
        done.extend(link.running.into_iter().map(|r| r.returned(Err(fault.clone()))));
    }

    /// Takes a call. One that cannot even start has returned at once.
    pub(crate) fn call(&mut self, to: ComponentId, call: Call, done: &mut Vec<Returned>) {
        match &mut self.link {
            Some(Link { attach: None, .. }) => self.start(to, call, done),
            _ => self.waiting.push_back((to, call)),
        }
    }

    fn start(&mut self, to: ComponentId, call: Call, done: &mut Vec<Returned>) {
        let Call { id, path, what, charged } = call;
        let path = self.resolve(&path);
        let Some(link) = &mut self.link else { return };
        let fid = link.next_fid;
        match path.and_then(|p| Op::start(&mut link.client, ROOT, fid, &p, what)) {
            Ok(op) => {
                link.next_fid = link.next_fid.checked_add(1).unwrap_or(ROOT + 1);
                link.running.push(Running { to, call: id, charged, op });
            }
            Err(fault) => done.push(Returned { to, call: id, charged, result: Err(fault) }),
        }
    }

    /// Bytes for the host.
    pub(crate) fn output(&self) -> &[u8] {
        self.link.as_ref().map(|l| l.client.output()).unwrap_or_default()
    }

    /// Says that the first `n` of them were sent.
    pub(crate) fn sent(&mut self, n: usize) {
        if let Some(link) = &mut self.link {
            link.client.sent(n);
        }
    }

    /// Takes bytes from the host. An error means that the connection is of no
    /// further use and is to be closed.
    pub(crate) fn feed(&mut self, bytes: &[u8], done: &mut Vec<Returned>) -> Result<(), Fault> {
        let Some(Link { client, attach, running, .. }) = &mut self.link else { return Ok(()) };
        client.feed(bytes);
        let broken = |e| {
            let text = alloc::format!("host: {e}");
            Fault::new(Errno::EPROTO, text).blame(Blame::Host)
        };
        let mut attached = false;
        while let Some((tag, answer)) = client.poll().map_err(broken)? {
            if *attach == Some(tag) {
                if let Rmsg::Lerror { errno, text } = answer {
                    return Err(fault(errno, text).blame(Blame::Host));
                }
                *attach = None;
                attached = true;
                continue;
            }
            let Some(at) = running.iter().position(|r| r.op.tag() == tag) else { continue };
            let Some(r) = running.get_mut(at) else { continue };
            r.op.answer(&answer);
            if let Some(result) = r.op.next(client) {
                done.push(running.swap_remove(at).returned(result));
            }
        }
        if attached {
            while let Some((to, call)) = self.waiting.pop_front() {
                self.start(to, call, done);
            }
        }
        Ok(())
    }
}
