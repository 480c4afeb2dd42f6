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
pub struct ComponentId(pub u32);

/// A call into the guest's namespace that has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Whom a reply goes to: an ask that was not answered yet. It is the number of the
/// asker's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A file of the guest's namespace that a component has open. The number is the
/// component's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fd(pub u32);

/// Why a dispatch was abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It asked for more than the sponsor pays.
    Budget,
    /// It ran longer than it may.
    Deadline,
    /// It did what no program may do: what, in words.
    Trap(&'static str),
}

/// What is dispatched.
#[derive(Debug)]
pub enum Event<'e> {
    /// The first event of a component's life, also after it was made anew. Its
    /// parameters are `Cx::params`.
    Start,
    /// Another component sent this.
    Message {
        /// Who.
        from: ComponentId,
        /// What.
        body: &'e [u8],
    },
    /// Another component asks this, and waits for `Cx::reply`.
    Ask {
        /// Who.
        from: ComponentId,
        /// What the reply is to name.
        token: Token,
        /// What.
        body: &'e [u8],
    },
    /// Something that a component may be told at any time, and may `Cx::mask`.
    Interrupt {
        /// Who signalled; nobody where it came from outside.
        from: Option<ComponentId>,
        /// Which, 0 to 63.
        code: u8,
        /// A number that came with it.
        arg: i64,
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
    /// Somebody lists a directory of the component's own ([`FileKind::Names`]): write
    /// its names, one a line, in an order that stays.
    Names {
        /// Its place in [`Entry::files`].
        file: usize,
        /// How many names, from the first one on, are not wanted.
        skip: u32,
        /// Where to.
        out: &'e mut String,
    },
    /// Somebody reads an entry of such a directory; ENOENT where there is none.
    Get {
        /// The directory's place in [`Entry::files`].
        file: usize,
        /// The entry.
        name: &'e str,
        /// Where to.
        out: &'e mut Vec<u8>,
    },
    /// Somebody wrote an entry of such a directory, all of it.
    Put {
        /// The directory's place in [`Entry::files`].
        file: usize,
        /// The entry.
        name: &'e str,
        /// What it is to hold.
        data: &'e [u8],
    },
    /// Somebody removes an entry of such a directory.
    Remove {
        /// The directory's place in [`Entry::files`].
        file: usize,
        /// The entry.
        name: &'e str,
    },
    /// An event file got its first reader, or lost its last.
    Watched {
        /// Its place in [`Entry::files`].
        file: usize,
        /// Whether it has readers now.
        on: bool,
    },
    /// A call has returned: into the namespace, to another component, for a lock, for
    /// a while. Each does so once.
    Done {
        /// Which.
        call: CallId,
        /// What the reply said beside its bytes: 0 or more, and 0 for all other calls.
        status: i32,
        /// What was read, listed or replied, nothing for a write, or why not.
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

    /// The part of the state that is large and known by pages, which `save` then
    /// leaves out.
    fn memory(&mut self) -> Option<&mut dyn Memory> {
        None
    }
}

/// Bytes in a chunk of a [`Memory`].
pub const CHUNK: usize = 4096;

/// A component's memory, in chunks of 4 KiB, and which of them have changed.
pub trait Memory {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Copies a chunk; what lies behind the end is 0.
    fn read(&self, chunk: u32, out: &mut [u8; CHUNK]);

    /// Makes the memory so large, and puts a chunk into it.
    fn write(&mut self, size: u64, chunk: u32, data: &[u8; CHUNK]);

    /// Adds the chunks that may have changed since the last [`Memory::clear`], each
    /// once and in order.
    fn dirty(&mut self, out: &mut Vec<u32>);

    /// Takes what there is as unchanged.
    fn clear(&mut self);
}

/// A kind of native component, as a registry lists it.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The name in [`atoll_config::kinds::KINDS`].
    pub kind: &'static str,
    /// What `save` writes; as in the table of kinds.
    pub state_version: u16,
    /// The files of a component of this kind, in `export/NAME/`.
    pub files: &'static [FileSpec<'static>],
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
pub struct FileSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub kind: FileKind,
}

/// What a file of a component is.
#[derive(Clone, Copy, Debug)]
pub enum FileKind {
    /// Rendered by [`Event::Read`].
    Text,
    /// Takes commands: [`Event::Command`]. That of an atom takes any line: its one
    /// verb has no name, and what was written is the command's `rest`.
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
    /// A directory whose entries are the component's own: [`Event::Names`],
    /// [`Event::Get`], [`Event::Put`], [`Event::Remove`].
    Names,
}
