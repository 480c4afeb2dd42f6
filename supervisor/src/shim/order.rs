//! What a shim is told to do, and what it tells.

use std::fmt;
use std::path::PathBuf;

use super::End;

/// The longest path of a socket (unix(7)).
const MAX_PLACE: usize = 107;

/// What a shim may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ask the guest to stop, and kill it if it has not after so many milliseconds. A
    /// paused one is resumed for that. Told twice, the earlier of the two ends counts.
    Stop(u64),
    /// Kill it.
    Kill,
    /// Let it stand still.
    Pause,
    /// Let it go on.
    Resume,
    /// Have it keep a checkpoint, in the folder of its state.
    Checkpoint,
    /// Give it the checkpoint of this number from that folder: it goes on from there.
    Restore(u64),
    /// Move it to whoever takes it at this socket: it ends here when it runs there.
    Relocate(Place),
}

/// Where a guest can be moved to: a unix socket, by a path that begins with `/`, without
/// spaces or colons, which end it in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// Its path.
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Place, &'static str> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        let odd = |c: char| c.is_control() || c.is_whitespace() || c == ':';
        if !path.starts_with('/') || path.len() > MAX_PLACE || path.contains(odd) {
            return Err(
                "a guest is moved to the path of a unix socket: /PATH, without spaces or colons",
            );
        }
        Ok(Place(path.into()))
    }
}

/// As the line that the shim's ctl takes.
impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Stop(ms) => write!(f, "stop {ms}"),
            Order::Kill => f.write_str("kill"),
            Order::Pause => f.write_str("pause"),
            Order::Resume => f.write_str("resume"),
            Order::Checkpoint => f.write_str("checkpoint"),
            Order::Restore(n) => write!(f, "restore {n}"),
            Order::Relocate(to) => write!(f, "relocate {to}"),
        }
    }
}

impl std::str::FromStr for Order {
    type Err = ();

    fn from_str(text: &str) -> Result<Order, ()> {
        match text {
            "kill" => Ok(Order::Kill),
            "pause" => Ok(Order::Pause),
            "resume" => Ok(Order::Resume),
            "checkpoint" => Ok(Order::Checkpoint),
            _ => {
                let (verb, n) = text.split_once(' ').ok_or(())?;
                if verb == "relocate" {
                    return n.parse().map(Order::Relocate).map_err(|_| ());
                }
                let n = n.parse().map_err(|_| ())?;
                match verb {
                    "stop" => Ok(Order::Stop(n)),
                    "restore" => Ok(Order::Restore(n)),
                    _ => Err(()),
                }
            }
        }
    }
}

atoll_9p::record! {
    /// What a guest's machine does.
    pub enum State {
        Starting = "starting",
        Running = "running",
        Paused = "paused",
        Stopping = "stopping",
        Ended = "ended",
    }
}

atoll_9p::record! {
    /// What a shim says of its guest.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Status = "shim-status", 1 {
        /// The guest.
        pub name: String,
        /// Which of its starts.
        pub run: u64,
        /// The owner epoch under which it was started.
        pub epoch: u64,
        /// What its machine does.
        pub state: State,
        /// Lines that `events` has had: what they told is in this record.
        pub events: u64,
        /// Where it runs, such as `process` or `qemu (tcg)`.
        pub backend: String,
        /// The machine's process.
        pub pid: Option<u64>,
        /// The shim's process.
        pub shim: u64,
        /// When it was started, milliseconds since 1970 UTC.
        pub started: u64,
        /// Bytes of the machine's memory that are present.
        pub memory: u64,
        /// Time for which the machine had a processor, in microseconds.
        pub cpu: u64,
        /// Bytes of its log, since ever.
        pub log: u64,
        /// Connections to its public socket.
        pub clients: u64,
    }
}

/// What becomes known of a run, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Its tree is there; said once. What it runs on is the text.
    Running(String),
    /// It stands still.
    Paused,
    /// It goes on.
    Resumed,
    /// It was asked to stop.
    Stopping,
    /// A checkpoint was kept in this file.
    Checkpoint(PathBuf),
    /// It goes on from the checkpoint of this number.
    Restored(u64),
    /// The guest was asked something; told once for each [`super::Shim::heed`].
    Asked,
    /// An order was taken and could not be carried out; the text says why. Nothing has
    /// changed.
    Failed(Order, String),
    /// It has ended, and nothing of it is left. The last report.
    Ended(End),
    /// Shim and machine are gone and nobody knows how the run ended, as when both were
    /// killed; the text says what is known. Nothing of it is left. The last report.
    Gone(String),
}
