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

#[cfg(feature = "atoms")]
use crate::atoms::held::{Files, Held, Place, Ready};
#[cfg(feature = "atoms")]
use crate::atoms::keep::wire::{self, Wire};
#[cfg(feature = "atoms")]
use crate::atoms::part::{Job, Part};
use crate::component::{CallId, ComponentId};
use crate::effects::{Call, Todo};
use crate::sponsor::{Amount, Sponsor};

/// Whether a kind that is linked here calls into the namespace. Where none does, a
/// guest takes no connection of the host's, and has no code for one.
pub(crate) const CALLS: bool = cfg!(feature = "calls");
/// The fid of the served root. Calls use those above it.
const ROOT: u32 = 0;
/// The last of those; the one above it is that of what is stored.
const LAST: u32 = NOFID - 2;
/// Calls that run side by side; more of them wait.
const RUNNING: usize = 64;
/// Bytes of a Twalk beside the path: its fields, and a length of 16 names.
const WALK: usize = 17 + 2 * 16;

/// A result for a component.
pub(crate) struct Returned {
    /// None when the one who asked is no more.
    pub(crate) to: Option<ComponentId>,
    pub(crate) call: CallId,
    /// What was charged for the call.
    pub(crate) charged: Amount,
    pub(crate) result: Result<Vec<u8>, Fault>,
    /// The file that it has opened.
    #[cfg(feature = "atoms")]
    pub(crate) opened: Option<Held>,
}

/// What is done with a file.
enum Work {
    Whole(Op),
    #[cfg(feature = "atoms")]
    Part(Part),
}

/// The same for both.
macro_rules! work {
    ($work:expr, $op:ident => $do:expr) => {
        match $work {
            Work::Whole($op) => $do,
            #[cfg(feature = "atoms")]
            Work::Part($op) => $do,
        }
    };
}

/// A call under way.
struct Running {
    to: Option<ComponentId>,
    call: CallId,
    charged: Amount,
    /// Bytes of the result so far, which are part of what was charged.
    held: usize,
    work: Work,
    /// Where it leads, and what it does, if that can be asked for again.
    #[cfg(feature = "atoms")]
    again: Option<(String, Todo)>,
}

impl Running {
    fn returned(self, result: Result<Vec<u8>, Fault>) -> Returned {
        Returned {
            to: self.to,
            call: self.call,
            charged: self.charged,
            result,
            #[cfg(feature = "atoms")]
            opened: None,
        }
    }
}

struct Link {
    client: Client,
    /// The Tattach, until it was answered.
    attach: Option<Tag>,
    running: Vec<Running>,
    next_fid: u32,
}

impl Link {
    /// A fid is in use now.
    fn used(&mut self, fid: u32) {
        self.next_fid = if fid == LAST { ROOT + 1 } else { fid + 1 };
    }

    /// Begins to look for a file that was open on another connection.
    #[cfg(feature = "atoms")]
    fn find(&mut self, of: Held, place: Place) -> Result<(), Fault> {
        let (fid, path) = (self.next_fid, place.path.clone().unwrap_or_default());
        let job = Job::Find { of, place };
        let work = Work::Part(Part::start(&mut self.client, (ROOT, fid), None, &path, job)?);
        self.used(fid);
        let (call, charged) = (CallId(0), Amount::default());
        self.running.push(Running { to: None, call, charged, held: 0, work, again: None });
        Ok(())
    }
}

/// The namespace.
pub(crate) struct Namespace {
    /// Where, and the name that the supervisor serves it under.
    mounts: Vec<(String, String)>,
    msize: u32,
    link: Option<Link>,
    /// What is open.
    #[cfg(feature = "atoms")]
    files: Files,
    /// The host's file of what is stored.
    #[cfg(feature = "atoms")]
    pub(crate) wire: Wire,
    /// Calls that have not started. Their paths are the host's.
    waiting: VecDeque<(ComponentId, Call)>,
}

/// A result for which the sponsor cannot pay.
pub(crate) fn too_large() -> Fault {
    Fault::new(Errno::EDQUOT, "the result is larger than the guest's budget").blame(Blame::Guest)
}

/// A path without `.`, `..` and empty names, as Plan 9's cleanname(2) makes it: what
/// is above the guest's own root is that root.
fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.iter().flat_map(|n| ["/", n]).collect()
}

/// A call that has not returned, for who asks for it again elsewhere.
#[cfg(feature = "atoms")]
pub(crate) struct Unanswered<'n> {
    pub(crate) to: ComponentId,
    pub(crate) call: CallId,
    pub(crate) path: &'n str,
    /// None where nobody knows whether it was done.
    pub(crate) what: Option<&'n Todo>,
    /// It was sent to a host.
    pub(crate) asked: bool,
    /// Bytes that were charged for it, without those of its result.
    pub(crate) memory: u64,
}

#[cfg(feature = "atoms")]
impl Todo {
    /// The open file that it works on.
    fn held(&self) -> Option<Held> {
        if let Todo::Part(job) = self { job.held() } else { None }
    }
}

impl Namespace {
    pub(crate) fn new(imports: &[Import<'_>], msize: u32) -> Namespace {
        let mounts = imports
            .iter()
            .map(|i| (String::from(i.at.trim_end_matches('/')), String::from(i.name)))
            .collect();
        Namespace {
            mounts,
            msize,
            link: None,
            #[cfg(feature = "atoms")]
            files: Files::default(),
            #[cfg(feature = "atoms")]
            wire: Wire::default(),
            waiting: VecDeque::new(),
        }
    }

    /// The mount table, one line a mount, as Plan 9's `ns` prints it.
    pub(crate) fn show(&self, out: &mut String) {
        for (at, name) in &self.mounts {
            let _ = writeln!(out, "mount /host/{name} {at}");
        }
    }

    /// Where a path of the guest's leads: the longest mount that covers it.
    fn resolve(&self, path: &str) -> Result<String, Fault> {
        // Names are taken away here and not by the host: `..` leads nowhere but to
        // what this guest has mounted.
        let clean = if path.starts_with('/') { clean(path) } else { String::from("?") };
        let covers = |at: &str| match clean.strip_prefix(at) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Some(rest),
            _ => None,
        };
        self.mounts
            .iter()
            .filter_map(|(at, name)| covers(at).map(|rest| (at.len(), name, rest)))
            .max_by_key(|m| m.0)
            .map(|(_, name, rest)| alloc::format!("{name}{rest}"))
            .ok_or_else(|| {
                Fault::new(Errno::ENOENT, "no import is mounted there").blame(Blame::Guest)
            })
    }

    /// A connection has opened.
    pub(crate) fn opened(&mut self) {
        let mut client = Client::new(self.msize);
        let attach =
            Tmsg::Attach { fid: ROOT, afid: NOFID, uname: "guest", aname: "", n_uname: u32::MAX };
        let attach = Some(client.send(&attach));
        #[cfg(feature = "atoms")]
        {
            self.files.moved();
            self.wire.lost();
        }
        self.link = Some(Link { client, attach, running: Vec::new(), next_fid: ROOT + 1 });
    }

    /// The connection is gone: what was under way fails.
    pub(crate) fn closed(&mut self, done: &mut Vec<Returned>) {
        let Some(link) = self.link.take() else { return };
        #[cfg(feature = "atoms")]
        self.wire.lost();
        let fault = Fault::new(Errno::EPIPE, "the host closed the connection").blame(Blame::Host);
        done.extend(link.running.into_iter().map(|r| r.returned(Err(fault.clone()))));
    }

    /// Takes a call. One that cannot even start has returned at once.
    pub(crate) fn call(&mut self, to: ComponentId, call: Call, done: &mut Vec<Returned>) {
        #[cfg(feature = "atoms")]
        if call.what.held().is_some() {
            // Its path begins at a file that is open already, if it has one.
            self.waiting.push_back((to, call));
            return self.start(done);
        }
        match self.resolve(&call.path) {
            Ok(path) => {
                self.waiting.push_back((to, Call { path, ..call }));
                self.start(done);
            }
            Err(fault) => done.push(unstarted(to, &call, fault)),
        }
    }

    /// Starts calls that wait, as many as may run side by side.
    fn start(&mut self, done: &mut Vec<Returned>) {
        let Some(link) = self.link.as_mut().filter(|l| l.attach.is_none()) else { return };
        #[cfg(feature = "atoms")]
        while link.running.len() < RUNNING
            && let Some((held, place)) = self.files.find_next()
        {
            if let Err(why) = link.find(held, place) {
                self.files.found(held, Err(why));
            }
        }
        // Those whose file is still to be found.
        #[cfg(feature = "atoms")]
        let mut back = VecDeque::new();
        while link.running.len() < RUNNING
            && let Some((to, call)) = self.waiting.pop_front()
        {
            if call.path.len() + WALK > link.client.msize() as usize {
                let fault = Fault::new(Errno::ENAMETOOLONG, "a path that fits no message");
                done.push(unstarted(to, &call, fault));
                continue;
            }
            let fid = link.next_fid;
            #[cfg(feature = "atoms")]
            let at = match call.what.held().map(|held| self.files.ready(held)) {
                None => None,
                Some(Ready::Go(at)) => Some(at),
                Some(Ready::Never(why)) => {
                    done.push(unstarted(to, &call, why));
                    continue;
                }
                Some(Ready::Wait) => {
                    back.push_back((to, call));
                    continue;
                }
            };
            let work = match &call.what {
                Todo::Whole(what) => {
                    Op::start(&mut link.client, ROOT, fid, &call.path, what.clone())
                        .map(Work::Whole)
                }
                #[cfg(feature = "atoms")]
                Todo::Part(job) => {
                    Part::start(&mut link.client, (ROOT, fid), at, &call.path, job.clone())
                        .map(Work::Part)
                }
            };
            match work {
                Ok(work) => {
                    link.used(fid);
                    let Call { id, path, what, charged } = call;
                    #[cfg(not(feature = "atoms"))]
                    drop((path, what));
                    link.running.push(Running {
                        to: Some(to),
                        call: id,
                        charged,
                        held: 0,
                        work,
                        #[cfg(feature = "atoms")]
                        again: what.is_harmless().then_some((path, what)),
                    });
                }
                Err(fault) => done.push(unstarted(to, &call, fault)),
            }
        }
        #[cfg(feature = "atoms")]
        {
            back.append(&mut self.waiting);
            self.waiting = back;
        }
    }

    /// Forgets who asked: the calls of a component that is no more. Those that have
    /// not started never do, and what was charged for them is added to `back`.
    pub(crate) fn forget(&mut self, id: ComponentId, back: &mut Amount) {
        self.waiting.retain(|(to, call)| {
            let gone = *to == id;
            back.add(if gone { call.charged } else { Amount::default() });
            !gone
        });
        let running = self.link.iter_mut().flat_map(|l| &mut l.running);
        running.filter(|r| r.to == Some(id)).for_each(|r| r.to = None);
    }

    /// The calls of components that are there, those first that were sent.
    #[cfg(feature = "atoms")]
    pub(crate) fn unanswered(&self) -> Vec<Unanswered<'_>> {
        let running = self.link.iter().flat_map(|l| &l.running).filter_map(|r| {
            let (path, what) = r.again.as_ref().map_or(("", None), |(p, w)| (p.as_str(), Some(w)));
            let memory = r.charged.memory.saturating_sub(r.held as u64);
            Some(Unanswered { to: r.to?, call: r.call, path, what, asked: true, memory })
        });
        let mut all: Vec<_> = running.collect();
        // Answers come in any order; so does what is left.
        all.sort_by_key(|u| u.call);
        all.extend(self.waiting.iter().map(|(to, c)| Unanswered {
            to: *to,
            call: c.id,
            path: &c.path,
            what: Some(&c.what),
            asked: false,
            memory: c.charged.memory,
        }));
        all
    }

    /// Whether a path is one that [`Namespace::call`] makes of a guest's.
    #[cfg(feature = "atoms")]
    pub(crate) fn leads(&self, path: &str) -> bool {
        let first = path.split('/').next();
        let clean = clean(path);
        clean.strip_prefix('/') == Some(path) && self.mounts.iter().any(|m| Some(&*m.1) == first)
    }

    /// Takes a call that waited elsewhere. False where it leads nowhere in this namespace.
    #[cfg(feature = "atoms")]
    pub(crate) fn wait(&mut self, to: ComponentId, call: Call) -> bool {
        let leads = call.what.held().is_some() || self.leads(&call.path);
        self.waiting.push_back((to, call));
        leads
    }

    /// The same mount table, and nothing under way.
    #[cfg(feature = "atoms")]
    pub(crate) fn afresh(&self) -> Namespace {
        let (mounts, waiting) = (self.mounts.clone(), VecDeque::new());
        let wire = Wire::default();
        let files = Files::default();
        Namespace { mounts, msize: self.msize, link: None, files, wire, waiting }
    }

    /// Takes over the connection of a guest that was here before. What that had under way
    /// is nobody's, and its files are closed.
    #[cfg(feature = "atoms")]
    pub(crate) fn inherit(&mut self, old: &mut Namespace, files: impl Iterator<Item = Held>) {
        old.waiting.clear();
        files.for_each(|held| old.close(held, &mut Vec::new()));
        self.link = old.link.take();
        self.files.moved();
        self.wire = core::mem::take(&mut old.wire);
        let running = self.link.iter_mut().flat_map(|l| &mut l.running);
        running.for_each(|r| {
            (r.to, r.charged) = (None, Amount::default());
            if let Work::Part(part) = &mut r.work {
                part.is_nobodys();
            }
        });
    }

    /// Takes a file that was open elsewhere.
    #[cfg(feature = "atoms")]
    pub(crate) fn keep(&mut self, place: Place) -> Held {
        self.files.keep(place, None)
    }

    /// What of an open file is not a connection's.
    #[cfg(feature = "atoms")]
    pub(crate) fn place(&self, of: Held) -> Option<&Place> {
        self.files.get(of)
    }

    /// Whether there is somebody to ask.
    #[cfg(feature = "atoms")]
    pub(crate) fn is_linked(&self) -> bool {
        self.link.as_ref().is_some_and(|l| l.attach.is_none())
    }

    /// Asks the host about what is stored.
    #[cfg(feature = "atoms")]
    pub(crate) fn ask_kept(&mut self, ask: wire::Ask<'_>) {
        if let Some(link) = &mut self.link {
            self.wire.ask(&mut link.client, ROOT, ask);
        }
    }

    /// Starts what waits, where there is a connection.
    #[cfg(feature = "atoms")]
    pub(crate) fn go_on(&mut self, done: &mut Vec<Returned>) {
        self.start(done);
    }

    /// Closes a file. What is under way with it, or waits, fails; its answers are nobody's.
    #[cfg(feature = "atoms")]
    pub(crate) fn close(&mut self, of: Held, done: &mut Vec<Returned>) {
        let bad = || Fault::from(Errno::EBADF);
        for (to, call) in core::mem::take(&mut self.waiting) {
            if call.what.held() == Some(of) {
                done.push(unstarted(to, &call, bad()));
            } else {
                self.waiting.push_back((to, call));
            }
        }
        let fid = self.files.close(of);
        let Some(link) = self.link.as_mut() else { return };
        for r in &mut link.running {
            if matches!(&r.work, Work::Part(part) if part.works_on() == Some(of)) {
                let (call, charged) = (r.call, core::mem::take(&mut r.charged));
                let (to, result) = (r.to.take(), Err(bad()));
                done.push(Returned { to, call, charged, result, opened: None });
            }
        }
        if let Some(fid) = fid {
            link.client.send(&Tmsg::Clunk { fid });
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

    /// Takes bytes from the host; what they add to a result is charged as it comes.
    /// An error means that the connection is of no further use and is to be closed.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        sponsor: &mut Sponsor,
        done: &mut Vec<Returned>,
    ) -> Result<(), Fault> {
        let Some(Link { client, attach, running, .. }) = &mut self.link else { return Ok(()) };
        client.feed(bytes);
        let broken = |e| {
            let text = alloc::format!("host: {e}");
            Fault::new(Errno::EPROTO, text).blame(Blame::Host)
        };
        while let Some((tag, answer)) = client.poll().map_err(broken)? {
            if *attach == Some(tag) {
                if let Rmsg::Lerror { errno, text } = answer {
                    return Err(fault(errno, text).blame(Blame::Host));
                }
                *attach = None;
                continue;
            }
            #[cfg(feature = "atoms")]
            if self.wire.answered(tag, &answer) {
                self.wire.go_on(client);
                continue;
            }
            let Some(at) = running.iter().position(|r| work!(&r.work, op => op.tag()) == tag)
            else {
                continue;
            };
            let Some(r) = running.get_mut(at) else { continue };
            work!(&mut r.work, op => op.answer(&answer));
            let held = work!(&r.work, op => op.held());
            let more = held.saturating_sub(r.held);
            let more = Amount { memory: more as u64, messages: 0 };
            if sponsor.charge(more) {
                r.held = held;
                r.charged.add(more);
            } else {
                work!(&mut r.work, op => op.fail(too_large()));
            }
            if let Some(result) = work!(&mut r.work, op => op.next(client)) {
                let r = running.swap_remove(at);
                #[cfg(feature = "atoms")]
                {
                    let mut opened = None;
                    if let Work::Part(part) = &r.work {
                        let fid = part.opened().filter(|_| result.is_ok());
                        opened = part
                            .place(part.works_on().and_then(|of| self.files.get(of)))
                            .zip(fid)
                            .map(|(place, fid)| self.files.keep(place, Some(fid)));
                        if let Some((of, next)) = part.read_to() {
                            self.files.read_to(of, next);
                        }
                        let found = result.as_ref().map_err(Fault::clone);
                        let found = found.and(fid.ok_or(Errno::EBADF.into()));
                        if !part.finds().is_some_and(|of| self.files.found(of, found))
                            && opened.is_none()
                            && let Some(fid) = fid
                        {
                            client.send(&Tmsg::Clunk { fid });
                        }
                    }
                    done.push(Returned { opened, ..r.returned(result) });
                }
                #[cfg(not(feature = "atoms"))]
                done.push(r.returned(result));
            }
        }
        self.start(done);
        Ok(())
    }
}

fn unstarted(to: ComponentId, call: &Call, fault: Fault) -> Returned {
    Returned {
        to: Some(to),
        call: call.id,
        charged: call.charged,
        result: Err(fault),
        #[cfg(feature = "atoms")]
        opened: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_what_is_mounted() {
        let imports = [("a", "/data"), ("b", "/data/deep/"), ("c", "/c")]
            .map(|(name, at)| Import { name, at });
        let ns = Namespace::new(&imports, 8192);
        let leads = |path: &str| ns.resolve(path).ok();
        assert_eq!(leads("/data").as_deref(), Some("a"));
        assert_eq!(leads("//data/./x/").as_deref(), Some("a/x"));
        assert_eq!(leads("/data/deep/y").as_deref(), Some("b/y"));
        assert_eq!(leads("/data/deep/../y").as_deref(), Some("a/y"));
        assert_eq!(leads("/data/../c/y").as_deref(), Some("c/y"));
        assert_eq!(leads("/data/../../../c").as_deref(), Some("c"));
        for nowhere in ["", "/", "/dat", "/database", "/data/..", "/data/../x", "x/../.."] {
            assert_eq!(leads(nowhere), None, "{nowhere}");
        }
        let all = Namespace::new(&[Import { name: "r", at: "/" }], 8192);
        assert_eq!(all.resolve("/../x").ok().as_deref(), Some("r/x"));
        assert_eq!(all.resolve("/").ok().as_deref(), Some("r"));
    }
}
