//! What lies between the exports and an atom's handlers.
//!
//! [`Instance`] is an atom that runs: its state, once START has made it, and its
//! executor. On wasm32 a module has one, in a static variable that `#[atom]` declares; a
//! test has as many as it likes.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::Future;

use crate::abi::{self, kind};
use crate::error::{Errno, Error, Result};
use crate::exec::{self, Exec};
use crate::message::Component;

/// What is dispatched to an atom, but for START and its futures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'e> {
    /// Another component sent this.
    Message {
        /// Who.
        from: Component,
        /// What.
        body: &'e [u8],
    },
    /// Another component asks this.
    Ask {
        /// Who.
        from: Component,
        /// What the reply is to name.
        token: Token,
        /// What.
        body: &'e [u8],
    },
    /// Somebody reads a text.
    Read {
        /// Which.
        file: u32,
    },
    /// Somebody wrote a line to a ctl file.
    Command {
        /// Which.
        file: u32,
        /// The line, without its end.
        line: &'e str,
    },
    /// An event file got its first reader, or lost its last.
    Watched {
        /// Which.
        file: u32,
        /// Whether it has readers now.
        on: bool,
    },
    /// Somebody lists a directory.
    Names {
        /// Which.
        file: u32,
        /// How many names are not wanted.
        skip: usize,
    },
    /// Somebody reads an entry of a directory.
    Get {
        /// Which directory.
        file: u32,
        /// Which entry.
        name: &'e str,
    },
    /// Somebody wrote an entry of a directory.
    Put {
        /// Which directory.
        file: u32,
        /// Which entry.
        name: &'e str,
        /// All of it.
        data: &'e [u8],
    },
    /// Somebody removes an entry of a directory.
    Remove {
        /// Which directory.
        file: u32,
        /// Which entry.
        name: &'e str,
    },
    /// An interrupt.
    Interrupt {
        /// Its code, below 64.
        code: u32,
        /// What came with it.
        arg: i64,
    },
}

/// An ask that was not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub i64);

impl Token {
    /// Answers it. Whether anybody still waits is not told.
    pub fn reply(self, result: Result<&[u8]>) -> Result<()> {
        let (status, body) = match &result {
            Ok(body) => (0, *body),
            Err(e) => (e.status(), e.own_text().as_bytes()),
        };
        crate::error::check(abi::reply(self.0, status, body)).map(drop)
    }
}

/// The parameters of an atom: lines `key value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<'p>(pub &'p str);

impl<'p> Params<'p> {
    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = (&'p str, &'p str)> {
        self.0.lines().map(|line| line.split_once(' ').unwrap_or((line, "")))
    }

    /// The value of one.
    pub fn get(self, key: &str) -> Option<&'p str> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// The value of one as something else; what `or` says where it is not given.
    pub fn parse<T: core::str::FromStr>(self, key: &str, or: T) -> Result<T> {
        match self.get(key) {
            None => Ok(or),
            Some(value) => value.parse().map_err(|_| {
                Error::invalid(alloc::format!("parameter {key}: {value} is no such value"))
            }),
        }
    }
}

/// An atom: what `#[atom]` implements.
pub trait Atom: Sized + 'static {
    /// What its section `atoll.files` says.
    const FILES: &'static str;

    /// Makes the state.
    fn start(params: Params<'_>) -> Result<Self>;

    /// What it does as soon as there is a state.
    fn begin(this: &This<Self>) -> Result<()> {
        let _ = this;
        Ok(())
    }

    /// Handles an event, up to its first await.
    fn event(this: &This<Self>, event: Event<'_>) -> Result<()>;
}

/// The state of an atom, for handlers that wait: they use it between their awaits.
///
/// Handlers run one at a time to their next await, so what happens in one
/// [`This::with`] is never seen half done; what was true before an await may not be
/// true behind it.
#[derive(Debug)]
pub struct This<A>(Rc<RefCell<A>>);

impl<A> Clone for This<A> {
    fn clone(&self) -> This<A> {
        This(self.0.clone())
    }
}

impl<A> This<A> {
    /// Uses the state. `f` does not call this again.
    pub fn with<R>(&self, f: impl FnOnce(&mut A) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }
}

/// An atom that runs.
pub struct Instance<A> {
    exec: Rc<Exec>,
    this: Option<This<A>>,
}

impl<A> fmt::Debug for Instance<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("started", &self.this.is_some()).finish_non_exhaustive()
    }
}

impl<A: Atom> Default for Instance<A> {
    fn default() -> Instance<A> {
        Instance { exec: Rc::default(), this: None }
    }
}

impl<A: Atom> Instance<A> {
    /// The export `invoke`.
    pub fn invoke(&mut self, what: i32, id: i64, len: i32) -> i32 {
        let body = body(len);
        self.dispatch(|this, _| Self::invoked(this, what, id, &body))
    }

    /// The export `interrupt`.
    pub fn interrupt(&mut self, code: i32, arg: i64, _len: i32) -> i32 {
        self.dispatch(|this, _| {
            let code = code.cast_unsigned();
            A::event(this.as_ref().ok_or(Errno::EINVAL)?, Event::Interrupt { code, arg })
        })
    }

    /// The export `future`.
    pub fn future(&mut self, id: i64, status: i32, len: i32) -> i32 {
        let body = body(len);
        self.dispatch(|_, exec| {
            exec.fire(id, status, body);
            Ok(())
        })
    }

    fn dispatch(&mut self, handle: impl FnOnce(&mut Option<This<A>>, &Exec) -> Result<()>) -> i32 {
        let (exec, this) = (&self.exec, &mut self.this);
        exec::enter(exec, || {
            exec.begin();
            outcome(exec, handle(this, exec))
        })
    }

    fn invoked(this: &mut Option<This<A>>, what: i32, id: i64, body: &[u8]) -> Result<()> {
        if what == kind::START {
            let state = A::start(Params(text(body)?))?;
            return A::begin(this.insert(This(Rc::new(RefCell::new(state)))));
        }
        A::event(this.as_ref().ok_or(Errno::EINVAL)?, event(what, id, body)?)
    }
}

/// Ends a dispatch: threads that were woken run, or what was begun is taken back.
fn outcome(exec: &Exec, result: Result<()>) -> i32 {
    match result {
        Ok(()) => {
            exec.run();
            0
        }
        Err(e) => {
            exec.undo();
            // The runtime has its own words for a bare number.
            if !e.own_text().is_empty() {
                // A text that is cut is help, too.
                let _ = abi::answer(e.own_text().as_bytes());
            }
            e.status()
        }
    }
}

/// What `invoke` was called with, but for START.
fn event(what: i32, id: i64, body: &[u8]) -> Result<Event<'_>> {
    let file = u32::try_from(id);
    Ok(match what {
        kind::MESSAGE => Event::Message { from: component(id)?, body },
        kind::ASK => {
            let from = component(i64::from(abi::sender()))?;
            Event::Ask { from, token: Token(id), body }
        }
        kind::READ => Event::Read { file: file? },
        kind::COMMAND => Event::Command { file: file?, line: text(body)? },
        kind::WATCHED => Event::Watched { file: u32::try_from(id >> 1)?, on: id & 1 == 1 },
        kind::NAMES => Event::Names {
            file: u32::try_from(id >> 32)?,
            skip: usize::try_from(id & i64::from(u32::MAX))?,
        },
        kind::GET => Event::Get { file: file?, name: text(body)? },
        kind::PUT => {
            let (len, rest) = body.split_first_chunk().ok_or(Errno::EINVAL)?;
            let len = usize::from(u16::from_le_bytes(*len));
            let (name, data) = rest.split_at_checked(len).ok_or(Errno::EINVAL)?;
            Event::Put { file: file?, name: text(name)?, data }
        }
        kind::REMOVE => Event::Remove { file: file?, name: text(body)? },
        _ => return Err(Errno::EOPNOTSUPP.into()),
    })
}

/// A number that does not fit is none that the ABI knows.
impl From<core::num::TryFromIntError> for Error {
    fn from(_: core::num::TryFromIntError) -> Error {
        Errno::EINVAL.into()
    }
}

fn component(id: i64) -> Result<Component> {
    Ok(Component(i32::try_from(id)?))
}

fn text(body: &[u8]) -> Result<&str> {
    core::str::from_utf8(body).map_err(|_| Error::invalid("this is no UTF-8"))
}

/// The body of the event.
fn body(len: i32) -> Vec<u8> {
    let mut body = alloc::vec![0; usize::try_from(len).unwrap_or(0)];
    if !body.is_empty() {
        let got = abi::recv(&mut body, 0);
        body.truncate(usize::try_from(got).unwrap_or(0));
    }
    body
}

/// Runs a handler that waits: as far as its first await now.
pub fn wait(handler: impl Future<Output = Result<()>> + 'static) -> Result<()> {
    match exec::current() {
        Some(exec) => exec.first(Box::pin(handler)),
        None => Err(Errno::EINVAL.into()),
    }
}

/// The same for a handler of an ask, whose result is the reply.
pub fn wait_and_reply(
    token: Token,
    handler: impl Future<Output = Result<Vec<u8>>> + 'static,
) -> Result<()> {
    wait(async move {
        match handler.await {
            Ok(body) => token.reply(Ok(&body)),
            // To refuse is to reply so, and takes back what the handler asked for.
            Err(e) if exec::current().is_some_and(|exec| exec.is_first()) => Err(e),
            Err(e) => token.reply(Err(e)),
        }
    })
}

/// A reader's text: lines, the last of which is ended too.
pub fn answer(text: impl fmt::Display) -> Result<()> {
    let mut text = show(text)?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    answer_bytes(text.as_bytes())
}

/// A reader's data.
pub fn answer_bytes(data: &[u8]) -> Result<()> {
    crate::error::check(abi::answer(data)).map(drop)
}

pub(crate) fn show(text: impl fmt::Display) -> Result<String> {
    use core::fmt::Write;
    let mut out = String::new();
    write!(out, "{text}")?;
    Ok(out)
}
