//! A runtime for tests of atoms: the same ABI in plain Rust, without Wasm, with a time
//! that the test passes.
//!
//! A [`World`] is one guest. Atoms are started in it, their files are used, messages are
//! sent; every dispatch commits or does not, as `ABI.md` says, and the same calls
//! give the same results, always. The test itself is component 0, named `test`: atoms
//! can send to it, and what they send is in [`World::inbox`].
//!
//! What a test wants to see fail can be made to: [`World::fail`] for files,
//! [`World::abandon`] for a dispatch that runs too long, [`World::storage`] for a store
//! that is full, [`World::futures`] for a budget that is used up. A handler that panics is abandoned as one that traps.
//!
//! Not like the real one: an atom's static variables are shared by all of its instances
//! here, its memory has no limit, and a dispatch that never ends never does.

mod files;
mod guest;
pub(crate) mod host;
mod waits;

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::{self, kind};
use crate::{Atom, Component, Errno, Error, Instance, Result, decode, encode};
use guest::{Guest, Kind, Queued};
use host::Context;

/// What runs: an instance of any atom.
trait Runs {
    fn invoke(&mut self, kind: i32, id: i64, len: i32) -> i32;
    fn interrupt(&mut self, code: i32, arg: i64, len: i32) -> i32;
    fn future(&mut self, id: i64, status: i32, len: i32) -> i32;
}

impl<A: Atom> Runs for Instance<A> {
    fn invoke(&mut self, kind: i32, id: i64, len: i32) -> i32 {
        Instance::invoke(self, kind, id, len)
    }

    fn interrupt(&mut self, code: i32, arg: i64, len: i32) -> i32 {
        Instance::interrupt(self, code, arg, len)
    }

    fn future(&mut self, id: i64, status: i32, len: i32) -> i32 {
        Instance::future(self, id, status, len)
    }
}

fn make<A: Atom>() -> Box<dyn Runs> {
    Box::new(Instance::<A>::default())
}

/// One call of an export.
#[derive(Clone, Copy)]
enum Export {
    Invoke(i32, i64),
    Interrupt(u32, i64),
    Future(i64, i32),
}

/// An ask of the test's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(i64);

/// A guest for a test.
pub struct World {
    guest: Rc<RefCell<Guest>>,
    /// By component; none for the test, and while one runs.
    atoms: Vec<Option<Box<dyn Runs>>>,
}

impl core::fmt::Debug for World {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("World").field("atoms", &self.atoms.len()).finish_non_exhaustive()
    }
}

/// Why a dispatch was not done.
enum Stop {
    Refused(Error),
    /// It is in the log already.
    Abandoned(Error),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Stop {
        Stop::Refused(errno.into())
    }
}

impl From<core::num::TryFromIntError> for Stop {
    fn from(e: core::num::TryFromIntError) -> Stop {
        Stop::Refused(e.into())
    }
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Error {
        match stop {
            Stop::Refused(e) | Stop::Abandoned(e) => e,
        }
    }
}

/// The test.
pub const TEST: Component = Component(0);
/// Abandoned so often in a row, an atom ends its guest.
const HOPELESS: u32 = 8;

impl World {
    /// A guest without atoms, whose generator has this seed.
    pub fn new(seed: u64) -> World {
        World { guest: Rc::new(RefCell::new(Guest::new(seed))), atoms: alloc::vec![None] }
    }

    fn guest<R>(&self, f: impl FnOnce(&mut Guest) -> R) -> R {
        f(&mut self.guest.borrow_mut())
    }

    /// Starts an atom. Its parameters are lines `key value`.
    pub fn start<A: Atom>(&mut self, name: &str, params: &str) -> Result<Component> {
        let id = self.guest(|g| g.add(name, params, make::<A>, A::FILES, None))?;
        self.begin(id)?;
        Ok(Component(id))
    }

    /// What is dispatched first.
    fn begin(&mut self, id: i32) -> Result<(), Stop> {
        let fresh = self.guest(|g| {
            let comp = g.comp(id)?;
            let fresh = !core::mem::replace(&mut comp.started, true);
            Ok::<_, Errno>(fresh.then(|| (comp.make, comp.params.clone())))
        })?;
        let Some((make, params)) = fresh else { return Ok(()) };
        let at = usize::try_from(id)?;
        if self.atoms.len() <= at {
            self.atoms.resize_with(at + 1, || None);
        }
        self.atoms[at] = Some(make());
        self.dispatch(id, Export::Invoke(kind::START, 0), params.as_bytes(), None).map(drop)
    }

    /// Runs one dispatch, commits it or takes it back, and gives the answer.
    fn dispatch(
        &mut self,
        to: i32,
        export: Export,
        body: &[u8],
        sender: Option<i32>,
    ) -> Result<Vec<u8>, Stop> {
        self.begin(to)?;
        let at = usize::try_from(to)?;
        let Some(mut atom) = self.atoms.get_mut(at).and_then(Option::take) else {
            return Err(Errno::EPIPE.into());
        };
        let slow = self.guest(|g| g.comp(to).is_ok_and(|c| core::mem::take(&mut c.slow)));
        let before = self.guest(|g| g.clone());
        let context = Context::new(self.guest.clone(), to, body, sender);
        let len = i32::try_from(body.len()).unwrap_or(i32::MAX);
        let (context, result) = host::run(context, || {
            catch_unwind(AssertUnwindSafe(|| match export {
                Export::Invoke(kind, id) => atom.invoke(kind, id, len),
                Export::Interrupt(code, arg) => atom.interrupt(code.cast_signed(), arg, len),
                Export::Future(id, status) => atom.future(id, status, len),
            }))
        });
        self.atoms[at] = Some(atom);
        let starts = matches!(export, Export::Invoke(kind::START, _));
        let (errno, why) = match result {
            Err(panic) => (Errno::EIO, panic_text(&*panic)),
            Ok(_) if context.over => (Errno::EDQUOT, String::from("over its budget")),
            Ok(_) if slow => (Errno::ETIMEDOUT, String::from("over its deadline")),
            Ok(0..) => {
                // Starting, being watched and being read prove nothing of an atom.
                let proof = !matches!(
                    export,
                    Export::Invoke(
                        kind::START | kind::WATCHED | kind::READ | kind::NAMES | kind::GET,
                        _
                    )
                );
                self.guest(|g| g.commit(to, proof));
                self.drop_dead();
                return Ok(context.answer);
            }
            Ok(status) => {
                let errno = Errno(if status < -abi::MAX_ERRNO { Errno::EIO.0 } else { -status });
                let text = refusal(&context.answer);
                let error = if text.is_empty() { errno.into() } else { Error::new(errno, text) };
                if starts {
                    (errno, error.text().to_string())
                } else {
                    self.roll_back(before, false);
                    return Err(Stop::Refused(error));
                }
            }
        };
        self.roll_back(before, true);
        self.abandoned(to, &why);
        Err(Stop::Abandoned(Error::new(errno, why)))
    }

    /// What was asked for has not been. Lines of the log stay where the dispatch was
    /// abandoned: they say why.
    fn roll_back(&self, mut before: Guest, abandoned: bool) {
        self.guest(|g| {
            if abandoned {
                before.log = core::mem::take(&mut g.log);
            }
            *g = before;
        });
    }

    fn abandoned(&mut self, id: i32, why: &str) {
        self.guest(|g| {
            g.say(id, &format!("abandoned: {why}"));
            g.restart(id, HOPELESS);
        });
        if let Some(slot) = usize::try_from(id).ok().and_then(|at| self.atoms.get_mut(at)) {
            *slot = None;
        }
    }

    /// Instances that were killed.
    fn drop_dead(&mut self) {
        for (at, slot) in self.atoms.iter_mut().enumerate() {
            let id = i32::try_from(at).unwrap_or(i32::MAX);
            if slot.is_some() && self.guest.borrow_mut().comp(id).is_err() {
                *slot = None;
            }
        }
    }

    /// Dispatches what waits, until nothing does. No time passes.
    pub fn run(&mut self) {
        while self.step() {}
    }

    /// Dispatches one event. Whether there was one.
    pub fn step(&mut self) -> bool {
        let Some((to, event)) = self.guest(Guest::next) else { return false };
        let refused = match event {
            Queued::Start => self.begin(to),
            Queued::Message { from, body } => self
                .dispatch(to, Export::Invoke(kind::MESSAGE, i64::from(from)), &body, Some(from))
                .map(drop),
            Queued::Ask { from, token, body } => {
                self.guest(|g| g.owe(to, token));
                let done = self.dispatch(to, Export::Invoke(kind::ASK, token), &body, Some(from));
                if let Err(stop) = done {
                    self.guest(|g| g.replied(to, token, Err(stop.into())));
                }
                return true;
            }
            Queued::Watched { file, on } => {
                let id = i64::from(file) << 1 | i64::from(on);
                self.dispatch(to, Export::Invoke(kind::WATCHED, id), &[], None).map(drop)
            }
            Queued::Interrupt { code, arg, from } => {
                self.dispatch(to, Export::Interrupt(code, arg), &[], from).map(drop)
            }
            Queued::Future { id, result } => {
                let (status, body) = match result {
                    Ok(body) => (0, body),
                    Err(e) => (e.status(), e.text().as_bytes().to_vec()),
                };
                self.dispatch(to, Export::Future(id, status), &body, None).map(drop)
            }
        };
        if let Err(Stop::Refused(e)) = refused {
            self.guest(|g| g.say(to, &format!("refused: {e}")));
        }
        true
    }

    /// Runs, and lets so much time pass: every timer comes at its time.
    pub fn pass(&mut self, span: Duration) {
        let end = self
            .guest(|g| g.now)
            .saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        self.run();
        while let Some(at) = self.guest(|g| g.next_timer()).filter(|at| *at <= end) {
            self.guest(|g| g.advance(at));
            self.run();
        }
        self.guest(|g| g.advance(end));
        self.run();
    }

    fn find(&self, name: &str) -> Result<i32> {
        self.guest(|g| g.find(name)).ok_or_else(|| Errno::ENOENT.into())
    }

    /// An atom and the number of one of its files.
    fn file(&self, atom: &str, file: &str, kind: &[Kind]) -> Result<(i32, u32)> {
        let id = self.find(atom)?;
        let at = self.guest(|g| g.comp(id).ok().and_then(|c| c.file(file, kind)));
        Ok((id, at.ok_or(Errno::ENOENT)?))
    }

    /// What a text shows, without the end of its last line.
    pub fn read(&mut self, atom: &str, file: &str) -> Result<String> {
        let (id, at) = self.file(atom, file, &[Kind::Text])?;
        let answer = self.dispatch(id, Export::Invoke(kind::READ, i64::from(at)), &[], None)?;
        let mut text = String::from_utf8(answer)
            .map_err(|_| Error::new(Errno::EIO, "the text is no UTF-8"))?;
        if text.ends_with('\n') {
            text.pop();
        }
        Ok(text)
    }

    /// Writes a line to a ctl file.
    pub fn command(&mut self, atom: &str, file: &str, line: &str) -> Result<()> {
        let (id, at) = self.file(atom, file, &[Kind::Ctl])?;
        if line.len() > abi::MAX_LINE {
            return Err(Errno::EMSGSIZE.into());
        }
        let export = Export::Invoke(kind::COMMAND, i64::from(at));
        Ok(self.dispatch(id, export, line.as_bytes(), None).map(drop)?)
    }

    /// The lines that an event file keeps.
    pub fn lines(&self, atom: &str, file: &str) -> Result<Vec<String>> {
        let (id, at) = self.file(atom, file, &[Kind::Events, Kind::Next])?;
        Ok(self.guest(|g| g.lines(id, at)))
    }

    /// Gives an event file its first reader, or takes its last away.
    pub fn watch(&mut self, atom: &str, file: &str, on: bool) -> Result<()> {
        let (id, at) = self.file(atom, file, &[Kind::Events, Kind::Next])?;
        self.guest(|g| g.watch(id, at, on));
        Ok(())
    }

    /// The names in a directory.
    pub fn names(&mut self, atom: &str, dir: &str) -> Result<Vec<String>> {
        let (id, at) = self.file(atom, dir, &[Kind::Names])?;
        let mut all = Vec::new();
        loop {
            let skip = i64::try_from(all.len()).unwrap_or(i64::MAX);
            let export = Export::Invoke(kind::NAMES, i64::from(at) << 32 | skip);
            let answer = self.dispatch(id, export, &[], None)?;
            let names = String::from_utf8_lossy(&answer).into_owned();
            if names.is_empty() {
                return Ok(all);
            }
            all.extend(names.lines().map(String::from));
        }
    }

    /// Reads an entry of a directory.
    pub fn get(&mut self, atom: &str, dir: &str, name: &str) -> Result<Vec<u8>> {
        let (id, at) = self.file(atom, dir, &[Kind::Names])?;
        let export = Export::Invoke(kind::GET, i64::from(at));
        Ok(self.dispatch(id, export, name.as_bytes(), None)?)
    }

    /// Writes an entry of a directory.
    pub fn put(&mut self, atom: &str, dir: &str, name: &str, data: &[u8]) -> Result<()> {
        let (id, at) = self.file(atom, dir, &[Kind::Names])?;
        let len = u16::try_from(name.len()).map_err(|_| Errno::ENAMETOOLONG)?;
        let body = [&len.to_le_bytes(), name.as_bytes(), data].concat();
        if body.len() > abi::MAX_BODY {
            return Err(Errno::EMSGSIZE.into());
        }
        Ok(self.dispatch(id, Export::Invoke(kind::PUT, i64::from(at)), &body, None).map(drop)?)
    }

    /// Removes an entry of a directory.
    pub fn remove(&mut self, atom: &str, dir: &str, name: &str) -> Result<()> {
        let (id, at) = self.file(atom, dir, &[Kind::Names])?;
        let export = Export::Invoke(kind::REMOVE, i64::from(at));
        Ok(self.dispatch(id, export, name.as_bytes(), None).map(drop)?)
    }

    /// Sends a message from the test.
    pub fn send(&mut self, to: Component, message: &impl Serialize) -> Result<()> {
        self.send_bytes(to, &encode(message)?)
    }

    /// Sends a message of bytes from the test.
    pub fn send_bytes(&mut self, to: Component, body: &[u8]) -> Result<()> {
        self.guest(|g| g.send(TEST.0, to.0, body)).map_err(Error::from)
    }

    /// Asks from the test. [`World::reply`] has the answer, some time after it was run.
    pub fn ask(&mut self, to: Component, question: &impl Serialize) -> Result<Asked> {
        self.ask_bytes(to, &encode(question)?)
    }

    /// Asks in bytes from the test.
    pub fn ask_bytes(&mut self, to: Component, body: &[u8]) -> Result<Asked> {
        self.guest(|g| g.ask(TEST.0, to.0, body)).map(Asked).map_err(Error::from)
    }

    /// The reply to an ask of the test's, once, when it is there.
    pub fn reply<R: DeserializeOwned>(&mut self, asked: Asked) -> Option<Result<R>> {
        self.reply_bytes(asked).map(|reply| decode(&reply?))
    }

    /// The same in bytes.
    pub fn reply_bytes(&mut self, asked: Asked) -> Option<Result<Vec<u8>>> {
        self.guest(|g| g.replies.remove(&asked.0))
    }

    /// The test waits for it no more.
    pub fn forget(&mut self, asked: Asked) {
        self.guest(|g| g.drop_future(TEST.0, asked.0)).ok();
    }

    /// Messages that were sent to the test since the last call.
    pub fn inbox(&mut self) -> Vec<(Component, Vec<u8>)> {
        self.guest(|g| core::mem::take(&mut g.inbox))
    }

    /// Interrupts an atom, as its control file does.
    pub fn interrupt(&mut self, atom: &str, code: u32) -> Result<()> {
        let id = self.find(atom)?;
        if code >= abi::RESTORED {
            return Err(Errno::EINVAL.into());
        }
        self.guest(|g| g.interrupt(id, code, 0, None));
        Ok(())
    }

    /// What every atom sees when its guest goes on from a checkpoint: the time of day has
    /// leapt by this, and interrupt [`abi::RESTORED`] comes.
    pub fn restored(&mut self, leap: Duration) {
        self.guest(|g| {
            g.wall = g.wall.saturating_add(u64::try_from(leap.as_nanos()).unwrap_or(u64::MAX));
            for id in g.alive() {
                g.interrupt(id, abi::RESTORED, 0, None);
            }
        });
    }

    /// Puts a file into the namespace.
    pub fn put_file(&mut self, path: &str, data: &[u8]) {
        self.guest(|g| g.namespace.put(path, data));
    }

    /// What is in a file of the namespace.
    pub fn get_file(&self, path: &str) -> Option<Vec<u8>> {
        self.guest(|g| g.namespace.get(path))
    }

    /// Lets all that is done with a file of the namespace fail.
    pub fn fail(&mut self, path: &str, errno: Errno) {
        self.guest(|g| g.namespace.fail(path, errno));
    }

    /// The next dispatch of this atom runs too long: it is abandoned when it has run.
    pub fn abandon(&mut self, atom: &str) -> Result<()> {
        let id = self.find(atom)?;
        self.guest(|g| g.comp(id).map(|c| c.slow = true)).map_err(Error::from)
    }

    /// Bytes that the stores may hold together.
    pub fn storage(&mut self, bytes: usize) {
        self.guest(|g| g.storage = bytes);
    }

    /// How many futures there may be at one time: more are over the budget.
    pub fn futures(&mut self, most: usize) {
        self.guest(|g| g.most_futures = most);
    }

    /// Lines of the guest's log since the last call.
    pub fn log(&mut self) -> Vec<String> {
        self.guest(|g| core::mem::take(&mut g.log))
    }

    /// Time since the guest's start.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.guest(|g| g.now))
    }

    /// The status with which the guest has ended.
    pub fn exit(&self) -> Option<i32> {
        self.guest(|g| g.exit)
    }
}

fn panic_text(panic: &(dyn core::any::Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_string(),
        (_, Some(text)) => text.clone(),
        _ => String::from("a panic"),
    }
}

/// What a refused dispatch gave to `answer`, as its text.
fn refusal(answer: &[u8]) -> String {
    let Ok(text) = core::str::from_utf8(answer) else { return String::new() };
    let end = (0..=text.len().min(abi::MAX_TEXT)).rev().find(|n| text.is_char_boundary(*n));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_string()
}
