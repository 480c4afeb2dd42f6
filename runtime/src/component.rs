//! What an atom or a built-in part of a guest is to the runtime.
//!
//! A [`Component`] takes one event at a time, to its next suspension point, and
//! asks for effects through a [`Cx`]. The effects of a dispatch become visible
//! together when it ends well, and not at all otherwise. Between two dispatches a
//! component is data: [`Component::save`] gives it, [`Component::restore`] takes it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use atoll_9p::fault::Fault;
use atoll_9p::synth::{Command, Verb};
use atoll_config::payload::Value;

pub use crate::effects::Cx;

/// A component of a guest: its place in the guest's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComponentId(pub u16);

/// A call into the guest's namespace that has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What is dispatched.
#[derive(Debug)]
pub enum Event<'e> {
    /// The first event of a component's life, also after it was made anew.
    Start,
    /// Another component sent this.
    Message {
        /// Who.
        from: ComponentId,
        /// What.
        body: &'e [u8],
    },
    /// A timer set with [`Cx::after`] has come.
    Timer {
        /// Which.
        id: u32,
    },
    /// Somebody reads a text file: write what it shows.
    Read {
        /// Its place in [`Entry::files`].
        file: usize,
        /// Where to.
        out: &'e mut String,
    },
    /// Somebody wrote a command to a ctl file.
    Command {
        /// Its place in [`Entry::files`].
        file: usize,
        /// Verb and arguments, their number checked.
        command: &'e Command<'e>,
    },
    /// An event file got its first reader, or lost its last.
    Watched {
        /// Its place in [`Entry::files`].
        file: usize,
        /// Whether it has readers now.
        on: bool,
    },
    /// A call into the namespace has returned.
    Done {
        /// Which.
        call: CallId,
        /// What was read or listed, nothing for a write, or why not.
        result: Result<&'e [u8], &'e Fault>,
    },
}

/// A component. See the module's text for the rules.
pub trait Component {
    /// Handles one event. An error is a refusal: the effects that were asked for
    /// are dropped, the state must be what it was, and whoever caused the event
    /// gets the fault.
    fn dispatch(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Result<(), Fault>;

    /// The state between two events: little endian, no pointers, no native code.
    fn save(&self) -> Vec<u8>;

    /// Takes up a state that [`Component::save`] of the same kind and state
    /// version gave. On an error nothing has changed.
    fn restore(&mut self, state: &[u8]) -> Result<(), Fault>;
}

/// A kind of native component, as a registry lists it.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The name in [`atoll_config::kinds::KINDS`].
    pub kind: &'static str,
    /// What `save` writes; as in the table of kinds.
    pub state_version: u16,
    /// The files of a component of this kind, in `export/NAME/`.
    pub files: &'static [FileSpec],
    /// Whether it wants to hear [`Event::Start`]. One that does not costs nothing
    /// until somebody asks something of it.
    pub starts: bool,
    /// Makes a component from its parameters, in the kind's order.
    pub make: Make,
}

/// Makes a component from its parameters.
pub type Make = fn(&[Value<'_>]) -> Result<Box<dyn Component>, Fault>;

/// A file of a component.
#[derive(Clone, Copy, Debug)]
pub struct FileSpec {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: FileKind,
}

/// What a file of a component is.
#[derive(Clone, Copy, Debug)]
pub enum FileKind {
    /// Rendered by [`Event::Read`].
    Text,
    /// Takes commands: [`Event::Command`].
    Ctl(&'static [Verb]),
    /// Lines of [`Cx::emit`], the newest `keep` bytes; a new reader starts with
    /// the oldest of them.
    Events {
        /// Bytes kept.
        keep: usize,
    },
    /// The same, but a new reader waits for the next line.
    Next {
        /// Bytes kept.
        keep: usize,
    },
}
