//! Commands that are answered when they are done.
//!
//! A write to a `ctl` file waits until its command has ended; how that ended is kept here
//! until the write is asked again. An open file remembers the number of its own command,
//! and one that is closed takes the number with it: then the command goes on, and nobody
//! hears how it ended.

use std::collections::BTreeMap;

use atoll_9p::fault::Fault;
use atoll_9p::synth::Node;

struct Asked {
    /// The file that waits, if one does.
    node: Option<Node>,
    line: Box<[u8]>,
    result: Option<Result<(), Fault>>,
}

/// Commands whose end somebody waits for.
#[derive(Default)]
pub struct Answers {
    last: u64,
    asked: BTreeMap<u64, Asked>,
}

impl Answers {
    /// A command was taken: its number, which is never 0.
    pub fn begin(&mut self, node: Option<Node>, line: &[u8]) -> u64 {
        self.last += 1;
        self.asked.insert(self.last, Asked { node, line: line.into(), result: None });
        self.last
    }

    /// A number for a command that nobody waits for.
    pub fn nobody(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A command has ended: the file that is to be asked again.
    pub fn end(&mut self, ask: u64, result: Result<(), Fault>) -> Option<Node> {
        let asked = self.asked.get_mut(&ask)?;
        asked.result = Some(result);
        asked.node
    }

    /// Whether a number is that of a command with this line. If not, the write that asked
    /// for it was taken back, and another one stands in its place.
    pub fn is(&self, ask: u64, line: &[u8]) -> bool {
        self.asked.get(&ask).is_some_and(|a| *a.line == *line)
    }

    /// How a command ended, told once.
    pub fn take(&mut self, ask: u64) -> Option<Result<(), Fault>> {
        self.asked.get(&ask)?.result.as_ref()?;
        self.asked.remove(&ask)?.result
    }

    /// Nobody waits for it any longer.
    pub fn forget(&mut self, ask: u64) {
        self.asked.remove(&ask);
    }

    /// How many are waited for.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }
}
