//! What a guest is between two dispatches, as one value.
//!
//! The memories of atoms are not in it: they are large, and known by chunks. Everything
//! else is, in an order that only what happened decides; so two guests that are the same
//! have the same bytes. They are postcard's (`postcard.jamesmunns.com/wire-format`). What
//! is said twice in a running guest is said once here: who waits for a timer holds the
//! time, and what everything costs follows from what it is.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use atoll_9p::fault::{Blame, Errno, Fault};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of what is in here. It changes with every change of these types, and with
/// every change of what they mean.
pub(crate) const VERSION: u32 = 3;

/// A guest without its atoms' memories.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The guest's time, in nanoseconds.
    pub(crate) now: u64,
    /// The number of the last call.
    pub(crate) next_call: u64,
    /// The generator.
    pub(crate) random: [u64; 4],
    /// The turn of the last timer.
    pub(crate) turn: u64,
    /// The number of the next component.
    pub(crate) next: u32,
    /// The last number of a checkpoint that the guest asked for.
    pub(crate) wanted: u64,
    pub(crate) log: Lines,
    pub(crate) components: Vec<Component>,
    pub(crate) queue: Vec<(u32, Queued)>,
    /// Calls into the namespace, those that are asked again first.
    pub(crate) calls: Vec<Call>,
    /// By number of the call.
    pub(crate) futures: Vec<Future>,
    /// Files that components have open.
    pub(crate) files: Vec<File>,
    pub(crate) srv: Vec<(String, u32)>,
    pub(crate) scratch: Option<Bytes>,
    pub(crate) locks: Vec<Lock>,
    pub(crate) figures: Figures,
}

/// What was counted and measured: it decides nothing, and differs between two guests that
/// are otherwise the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) dispatches: u64,
    pub(crate) refused: u64,
    pub(crate) abandoned: u64,
    pub(crate) requests: u64,
    pub(crate) cpu: u64,
}

/// The lines of a stream, each with its end, and the number of the first.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lines {
    pub(crate) first: u64,
    pub(crate) text: String,
}

/// A component.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Component {
    pub(crate) id: u32,
    /// Of one that is not of the configuration.
    pub(crate) spawned: Option<Spawned>,
    /// What it saves itself.
    pub(crate) state: Bytes,
    /// By file: what it was told of its readers, and its lines.
    pub(crate) streams: Vec<(bool, Lines)>,
    /// By number.
    pub(crate) timers: Vec<(u32, Timer)>,
    pub(crate) failures: u32,
    pub(crate) dispatches: u64,
    pub(crate) restarts: u64,
    /// Bytes of memory that it pays for.
    pub(crate) linear: u64,
    pub(crate) log: Lines,
    pub(crate) mask: u64,
    pub(crate) held: u64,
    pub(crate) interrupts: Vec<(u8, Option<u32>, i64)>,
    pub(crate) paused: bool,
    pub(crate) parked: Vec<Queued>,
    pub(crate) store: Vec<(Bytes, Bytes)>,
    pub(crate) records: Vec<Bytes>,
}

/// What a component that was spawned is made of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spawned {
    pub(crate) name: String,
    pub(crate) params: String,
    /// The first component of the configuration with its module and limits.
    pub(crate) like: u32,
    pub(crate) parent: u32,
}

/// A timer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Timer {
    Set { at: u64, turn: u64 },
    Came { turn: u64 },
}

/// An event that waits.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Queued {
    Start,
    Watched {
        file: u32,
    },
    Message {
        from: u32,
        body: Bytes,
    },
    Timer {
        id: u32,
        turn: u64,
    },
    Done {
        call: u64,
        status: i32,
        result: Result<Bytes, Why>,
        /// What it was charged.
        memory: u64,
        messages: u32,
    },
    Asked {
        from: u32,
        call: u64,
        body: Bytes,
    },
    Interrupt {
        code: u8,
    },
}

/// A fault.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Why {
    errno: u32,
    /// 0 guest, 1 host, 2 operator.
    blame: u8,
    /// Where it is not that of the number.
    text: Option<String>,
}

/// A call that has not returned.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Future {
    pub(crate) call: u64,
    pub(crate) owner: u32,
    pub(crate) on: On,
    /// Something is given back when it returns, beside what its event holds.
    pub(crate) priced: bool,
    pub(crate) dropped: bool,
}

/// What a call waits for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum On {
    Ask { to: u32, put: bool, answered: bool },
    Sleep { at: u64, turn: u64 },
    Lock(u8),
    Call,
    Ready,
    Granted(u8),
    Opened(u32),
    Sync,
}

/// A call into the namespace.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) to: u32,
    pub(crate) call: u64,
    /// As the host has it.
    pub(crate) path: String,
    pub(crate) todo: Todo,
    /// Bytes that it was charged, beside one message.
    pub(crate) memory: u64,
}

/// A file that is open.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) of: u32,
    pub(crate) fd: u32,
    /// As the host has it. None where it cannot be found again.
    pub(crate) path: Option<String>,
    pub(crate) flags: u32,
    /// The path of its qid, and whether it is a directory.
    pub(crate) qid: Option<(u64, bool)>,
    /// Where a stream goes on.
    pub(crate) next: Option<u64>,
}

/// What a call does.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Todo {
    ReadAll { max: u64 },
    List { max: u64 },
    Replace(Bytes),
    Read { from: u64, count: u32 },
    Write { from: u64, data: Bytes },
    Stat,
    Open { flags: u32 },
    Walk { fd: u32, flags: u32 },
    ReadAt { fd: u32, from: u64, count: u32 },
    WriteAt { fd: u32, from: u64, data: Bytes },
    StatOf { fd: u32 },
}

/// A lock that somebody holds or waits for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lock {
    pub(crate) n: u8,
    pub(crate) alone: bool,
    pub(crate) holders: Vec<(u32, u32)>,
    /// Who waits, and whether to share it.
    pub(crate) line: Vec<(u64, bool)>,
}

/// Bytes, which postcard otherwise takes one by one.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Bytes, D::Error> {
        struct Take;
        impl Visitor<'_> for Take {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        d.deserialize_bytes(Take)
    }
}

impl From<&Fault> for Why {
    fn from(fault: &Fault) -> Why {
        let text = Some(fault.text()).filter(|t| *t != fault.errno.text());
        let blame = match fault.blame {
            Blame::Guest => 0,
            Blame::Host => 1,
            Blame::Operator => 2,
        };
        Why { errno: fault.errno.0, blame, text: text.map(String::from) }
    }
}

impl From<Why> for Fault {
    fn from(why: Why) -> Fault {
        let fault = match why.text {
            Some(text) => Fault::new(Errno(why.errno), text),
            None => Errno(why.errno).into(),
        };
        fault.blame(match why.blame {
            0 => Blame::Guest,
            1 => Blame::Host,
            _ => Blame::Operator,
        })
    }
}

/// A checkpoint that is not believed, with the reason.
pub(crate) fn bad(why: impl fmt::Display) -> Fault {
    Fault::new(Errno::EINVAL, alloc::format!("not a state of this guest: {why}"))
}

impl State {
    /// As bytes: the same for guests that are the same.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Plain numbers and strings always encode.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// From bytes: the whole of them. What they say is not checked yet.
    pub fn from_bytes(bytes: &[u8]) -> Result<State, Fault> {
        let cut = |_| bad("its bytes end too early, or mean nothing");
        match postcard::take_from_bytes(bytes).map_err(cut)? {
            (state, []) => Ok(state),
            (_, more) => Err(bad(format_args!("{} bytes follow it", more.len()))),
        }
    }

    /// The same without what was only counted and measured, for who compares guests.
    #[must_use]
    pub fn without_figures(self) -> State {
        State { figures: Figures::default(), ..self }
    }
}
