//! What the status files of a guest say, as types.
//!
//! Their text is what people read; programs read the bytes below `/rec`, which are of
//! these types (`atoll_9p::record`).

use alloc::borrow::Cow;

use atoll_9p::record;
use atoll_9p::record::{Numbers, Of};

record! {
    /// Whether a guest goes on.
    pub enum State { Running = "running", Stopping = "stopping" }
}

record! {
    /// The file `status` of a guest.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Status = "status", 1 {
        /// Whether it goes on.
        pub state: State,
        /// Milliseconds since its start.
        pub uptime_ms: u64,
        /// Its identity.
        pub payload: [u8; 32],
        /// Components.
        pub components: u32,
        /// Dispatches that were abandoned.
        pub abandoned: u64,
    }
}

record! {
    /// The file `stats` of a guest.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Stats = "stats", 2 {
        /// 9P requests.
        pub requests: u64,
        /// Dispatches that were committed.
        pub dispatches: u64,
        /// Dispatches that were refused by their component.
        pub refused: u64,
        /// Dispatches that were abandoned.
        pub abandoned: u64,
        /// Events that wait.
        pub waiting: u64,
        /// CPU time in nanoseconds.
        pub cpu_ns: u64,
        /// Figures of the machine, and before them how many dispatches took less than so
        /// many microseconds and no less than half of that: `took_512us` and the number.
        pub machine: Numbers,
    }
}

record! {
    /// The file `mem` of a guest: bytes of the machine's memory.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Mem = "mem", 1 {
        /// What there is.
        pub total: u64,
        /// In use now.
        pub used: u64,
        /// The most that ever was.
        pub peak: u64,
    }
}

record! {
    /// The file `sponsor` of a guest: its account.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Account = "sponsor", 1 {
        /// Bytes.
        pub memory: Of,
        /// Messages and timers.
        pub messages: Of,
        /// CPU time in nanoseconds.
        pub cpu_ns: u64,
    }
}

record! {
    /// The file `status` of a component.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Component = "component", 1 {
        /// Its kind.
        pub kind: Cow<'static, str>,
        /// The version of its state.
        pub state_version: u16,
        /// Dispatches that were committed.
        pub dispatches: u64,
        /// How often it was made anew.
        pub restarts: u64,
        /// Bytes of its state.
        pub state_bytes: u64,
    }
}
