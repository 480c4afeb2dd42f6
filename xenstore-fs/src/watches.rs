//! Who waits for what.
//!
//! xenstored knows one watch for each node that is watched, however many read it. An event
//! says where something has changed, not what; so of one path a reader is told once, however
//! often it changed before it was read, and one that falls far behind is told how much it
//! has lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use atoll_9p::fault::{Blame, Errno, Fault};

use crate::node::Node;

/// Paths that wait for a reader.
const QUEUE: usize = 128;

#[derive(Debug)]
struct Reader {
    node: Node,
    token: u64,
    /// What has changed, as it is shown.
    queue: VecDeque<String>,
    lost: u64,
    /// What of a line did not fit into the last answer.
    rest: Vec<u8>,
    /// The connection has gone, and with it the watch.
    dead: bool,
}

#[derive(Debug)]
struct Watch {
    path: String,
    connection: u64,
    readers: usize,
}

#[derive(Debug)]
pub(crate) struct Watches {
    readers: BTreeMap<u64, Reader>,
    watches: BTreeMap<u64, Watch>,
    /// Which watch a node has on the connection that there is now.
    by_path: BTreeMap<String, u64>,
    last: u64,
    max: usize,
    stirred: BTreeSet<Node>,
}

/// A reader came: what is to be asked of xenstored.
pub(crate) enum Begin {
    /// A watch under this token.
    Watch(u64),
    /// Nothing: the node is watched.
    Shared(u64),
}

fn gone() -> Fault {
    Fault::new(
        Errno::EIO,
        "the connection to xenstored is gone, and the watch with it: open it again",
    )
    .blame(Blame::Host)
}

impl Watches {
    pub(crate) fn new(max: usize) -> Watches {
        Watches {
            readers: BTreeMap::new(),
            watches: BTreeMap::new(),
            by_path: BTreeMap::new(),
            last: 0,
            max,
            stirred: BTreeSet::new(),
        }
    }

    pub(crate) fn has_readers(&self) -> bool {
        !self.readers.is_empty()
    }

    /// What a reader of a node has to have. Nothing is kept yet.
    pub(crate) fn begin(&mut self, path: &str) -> Result<Begin, Fault> {
        if self.readers.len() >= self.max {
            return Err(Fault::new(Errno::EBUSY, format!("{} watches are open already", self.max)));
        }
        match self.by_path.get(path) {
            Some(token) => Ok(Begin::Shared(*token)),
            None => {
                self.last += 1;
                Ok(Begin::Watch(self.last))
            }
        }
    }

    /// Keeps a reader of a watch that there is, or is new. Of a new one xenstored tells the
    /// node itself first; `first` is that line for who shares one.
    pub(crate) fn add(
        &mut self,
        node: Node,
        token: u64,
        path: &str,
        connection: u64,
        first: Option<String>,
    ) -> u64 {
        let watch = self.watches.entry(token).or_insert_with(|| {
            self.by_path.insert(path.into(), token);
            Watch { path: path.into(), connection, readers: 0 }
        });
        watch.readers += 1;
        self.last += 1;
        let queue = first.into_iter().collect();
        let reader = Reader { node, token, queue, lost: 0, rest: Vec::new(), dead: false };
        self.readers.insert(self.last, reader);
        self.last
    }

    /// A reader has gone: the node and token that nobody watches any more.
    pub(crate) fn remove(&mut self, reader: u64, connection: u64) -> Option<(String, u64)> {
        let reader = self.readers.remove(&reader)?;
        if self.readers.values().all(|r| r.node != reader.node) {
            self.stirred.remove(&reader.node);
        }
        let watch = self.watches.get_mut(&reader.token)?;
        watch.readers -= 1;
        if watch.readers != 0 {
            return None;
        }
        let watch = self.watches.remove(&reader.token)?;
        if self.by_path.get(&watch.path) == Some(&reader.token) {
            self.by_path.remove(&watch.path);
        }
        (watch.connection == connection).then_some((watch.path, reader.token))
    }

    /// Something changed.
    pub(crate) fn event(&mut self, token: &str, shown: Option<&str>) {
        let Ok(token) = token.parse::<u64>() else { return };
        let Some(shown) = shown else { return };
        for reader in self.readers.values_mut().filter(|r| r.token == token) {
            if reader.queue.iter().any(|path| path == shown) {
                continue;
            }
            if reader.queue.len() == QUEUE {
                reader.queue.pop_front();
                reader.lost += 1;
            }
            reader.queue.push_back(shown.into());
            self.stirred.insert(reader.node);
        }
    }

    /// Events were lost, nobody knows whose.
    pub(crate) fn lost(&mut self) {
        for reader in self.readers.values_mut() {
            reader.lost += 1;
            self.stirred.insert(reader.node);
        }
    }

    /// Forgets the watches of all connections but this one.
    pub(crate) fn connected(&mut self, connection: u64) {
        let watches = &self.watches;
        for reader in self.readers.values_mut().filter(|r| !r.dead) {
            if watches.get(&reader.token).is_none_or(|w| w.connection != connection) {
                reader.dead = true;
                self.stirred.insert(reader.node);
            }
        }
        self.by_path.retain(|_, t| watches.get(t).is_some_and(|w| w.connection == connection));
    }

    /// Gives a reader lines, as many as fit, or the beginning of one; 0 bytes when there is
    /// none yet.
    pub(crate) fn read(&mut self, reader: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        let reader = self.readers.get_mut(&reader).ok_or(Errno::ESTALE)?;
        let mut n = 0;
        while n < buf.len() {
            if reader.rest.is_empty() {
                let line = match core::mem::take(&mut reader.lost) {
                    0 => reader.queue.pop_front(),
                    lost => Some(format!("gap {lost}")),
                };
                let Some(line) = line else { break };
                // A line is whole where it can be.
                if n != 0 && line.len() + 1 > buf.len() - n {
                    reader.queue.push_front(line);
                    break;
                }
                reader.rest = line.into_bytes();
                reader.rest.push(b'\n');
            }
            let fits = reader.rest.len().min(buf.len() - n);
            if let Some(to) = buf.get_mut(n..n + fits) {
                to.copy_from_slice(reader.rest.get(..fits).unwrap_or_default());
            }
            reader.rest.drain(..fits);
            n += fits;
        }
        if n == 0 && reader.dead { Err(gone()) } else { Ok(n) }
    }

    /// The files whose readers have something new, since the last call.
    pub(crate) fn take_stirred(&mut self) -> BTreeSet<Node> {
        core::mem::take(&mut self.stirred)
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.readers.len() + self.watches.len() + self.by_path.len() + self.stirred.len()
    }
}
