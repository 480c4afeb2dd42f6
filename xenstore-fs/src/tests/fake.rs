//! A XenStore in memory: one connection, with transactions, watches, and a fault injector.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use atoll_xen::store::{
    Answer, Client, Error, Incoming, Limits, NO_TRANSACTION, Part, Perm, Request, TxId, parse_perms,
};

use crate::backend::{Backend, Failed};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: Vec<u8>,
    pub(super) perms: Vec<Perm>,
}

type Nodes = BTreeMap<String, Entry>;

#[derive(Debug)]
struct Tx {
    nodes: Nodes,
    /// What it read or wrote, and what that was when it began.
    began: Nodes,
    used: BTreeSet<String>,
    changed: Vec<String>,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Injected {
    /// The connection goes before it is done.
    Before,
    /// The connection goes when it is done, before the answer.
    After,
    /// It is refused.
    Quota,
}

#[derive(Debug)]
pub(super) struct Fake {
    pub(super) nodes: Nodes,
    txs: BTreeMap<u32, Tx>,
    watches: Vec<(String, String)>,
    events: VecDeque<Incoming>,
    connection: u64,
    last: u32,
    /// What is to go wrong next, request after request.
    pub(super) faults: VecDeque<Option<Injected>>,
    /// A list of more bytes comes in parts.
    pub(super) most: usize,
    /// Changes the list between two of its parts, so often.
    pub(super) churn: usize,
}

impl Default for Fake {
    fn default() -> Fake {
        let mut fake = Fake {
            nodes: Nodes::new(),
            txs: BTreeMap::new(),
            watches: Vec::new(),
            events: VecDeque::new(),
            connection: 1,
            last: 0,
            faults: VecDeque::new(),
            most: 4096,
            churn: 0,
        };
        fake.put("/", b"");
        fake
    }
}

fn is_below(path: &str, at: &str) -> bool {
    path == at || at == "/" || path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'))
}

fn write(nodes: &mut Nodes, path: &str, value: &[u8]) {
    let perms = parse_perms("n0").unwrap();
    let ends = path.char_indices().filter(|(i, c)| *c == '/' && *i != 0).map(|(i, _)| i);
    for end in ends {
        let entry = Entry { value: Vec::new(), perms: perms.clone() };
        nodes.entry(path[..end].into()).or_insert(entry);
    }
    nodes.entry(path.into()).or_insert(Entry { value: Vec::new(), perms }).value = value.to_vec();
}

impl Fake {
    /// Another client writes.
    pub(super) fn put(&mut self, path: &str, value: &[u8]) {
        write(&mut self.nodes, path, value);
        self.fire(path);
    }

    pub(super) fn value(&self, path: &str) -> Option<&[u8]> {
        self.nodes.get(path).map(|e| &*e.value)
    }

    pub(super) fn held(&self) -> (usize, usize) {
        (self.txs.len(), self.watches.len())
    }

    pub(super) fn lose_events(&mut self) {
        self.events.clear();
        self.events.push_back(Incoming::EventsLost);
    }

    /// The connection goes, with all that is its own.
    pub(super) fn disconnect(&mut self) {
        self.connection += 1;
        self.txs.clear();
        self.watches.clear();
        self.events.clear();
    }

    fn fire(&mut self, path: &str) {
        for (at, token) in &self.watches {
            if is_below(path, at) {
                let event = Incoming::Event { path: path.into(), token: token.clone() };
                self.events.push_back(event);
            }
        }
    }

    fn answer(&mut self, tx: TxId, request: &Request<'_>) -> Result<Answer, Error> {
        match *request {
            Request::Watch(path, token) => {
                let watch = (path.into(), token.into());
                if self.watches.contains(&watch) {
                    return Err(Error::EEXIST);
                }
                self.watches.push(watch);
                let event = Incoming::Event { path: path.into(), token: token.into() };
                self.events.push_back(event);
                return Ok(Answer::Done);
            }
            Request::Unwatch(path, token) => {
                let at = self.watches.iter().position(|w| (&*w.0, &*w.1) == (path, token));
                self.watches.remove(at.ok_or(Error::ENOENT)?);
                return Ok(Answer::Done);
            }
            Request::TransactionStart => {
                self.last += 1;
                let (nodes, began) = (self.nodes.clone(), self.nodes.clone());
                let tx = Tx { nodes, began, used: BTreeSet::new(), changed: Vec::new() };
                self.txs.insert(self.last, tx);
                return Ok(Answer::Transaction(TxId(self.last)));
            }
            Request::TransactionEnd(commit) => {
                let tx = self.txs.remove(&tx.0).ok_or(Error::ENOENT)?;
                if commit {
                    let conflict = |path| self.nodes.get(path) != tx.began.get(path);
                    if tx.used.iter().any(conflict) {
                        return Err(Error::EAGAIN);
                    }
                    self.nodes = tx.nodes;
                    tx.changed.iter().for_each(|path| self.fire(path));
                }
                return Ok(Answer::Done);
            }
            _ => {}
        }
        let mut changed = Vec::new();
        let done = if tx == NO_TRANSACTION {
            node(&mut self.nodes, request, &mut changed, self.most)
        } else {
            let tx = self.txs.get_mut(&tx.0).ok_or(Error::ENOENT)?;
            let done = node(&mut tx.nodes, request, &mut changed, self.most);
            tx.used.extend(path(request).map(String::from));
            tx.changed.append(&mut changed);
            done
        };
        changed.iter().for_each(|path| self.fire(path));
        if self.churn > 0 && matches!(request, Request::DirectoryPart(..)) {
            self.churn -= 1;
            let new = format!("{}/churn{}", path(request).unwrap(), self.churn);
            self.put(&new, b"");
        }
        done
    }
}

fn path<'a>(request: &Request<'a>) -> Option<&'a str> {
    match *request {
        Request::Directory(path)
        | Request::DirectoryPart(path, _)
        | Request::Read(path)
        | Request::GetPerms(path)
        | Request::Write(path, _)
        | Request::Mkdir(path)
        | Request::Rm(path)
        | Request::SetPerms(path, _) => Some(path),
        _ => None,
    }
}

/// A request about one node.
fn node(
    nodes: &mut Nodes,
    request: &Request<'_>,
    changed: &mut Vec<String>,
    most: usize,
) -> Result<Answer, Error> {
    let path = path(request).ok_or(Error::EINVAL)?;
    let list = |nodes: &Nodes| -> Vec<String> {
        let prefix = if path == "/" { "/".into() } else { format!("{path}/") };
        let below = nodes.keys().filter_map(|p| p.strip_prefix(&prefix));
        below.filter(|n| !n.is_empty() && !n.contains('/')).map(String::from).collect()
    };
    if !matches!(request, Request::Write(..) | Request::Mkdir(_)) && !nodes.contains_key(path) {
        return Err(Error::ENOENT);
    }
    Ok(match *request {
        Request::Directory(_) => {
            let names = list(nodes);
            if names.iter().map(|n| n.len() + 1).sum::<usize>() > most {
                return Err(Error::E2BIG);
            }
            Answer::Names(names)
        }
        Request::DirectoryPart(_, offset) => {
            let all = list(nodes);
            let (mut names, mut at, mut bytes) = (Vec::new(), 0, 0);
            let mut last = true;
            for name in &all {
                if at >= offset as usize {
                    if bytes + name.len() + 1 > most {
                        last = false;
                        break;
                    }
                    bytes += name.len() + 1;
                    names.push(name.clone());
                }
                at += name.len() + 1;
            }
            let generation = all.len().to_string();
            Answer::Part(Part { generation, names, bytes: bytes as u32, last })
        }
        Request::Read(_) => Answer::Value(nodes[path].value.clone()),
        Request::GetPerms(_) => Answer::Perms(nodes[path].perms.clone()),
        Request::Write(_, value) => {
            write(nodes, path, value);
            changed.push(path.into());
            Answer::Done
        }
        Request::Mkdir(_) => {
            if !nodes.contains_key(path) {
                write(nodes, path, b"");
                changed.push(path.into());
            }
            Answer::Done
        }
        Request::Rm(_) => {
            if path == "/" {
                return Err(Error::EINVAL);
            }
            nodes.retain(|p, _| !is_below(p, path));
            changed.push(path.into());
            Answer::Done
        }
        Request::SetPerms(_, perms) => {
            nodes.get_mut(path).ok_or(Error::ENOENT)?.perms = perms.to_vec();
            changed.push(path.into());
            Answer::Done
        }
        _ => return Err(Error::ENOSYS),
    })
}

impl Backend for Fake {
    fn ask(&mut self, tx: TxId, request: &Request<'_>) -> Result<Answer, Failed> {
        // What a client of the wire refuses is refused here.
        let mut wire = Client::new(Limits::default());
        wire.submit(tx, request).map_err(Failed::Refused)?;
        let down = || Failed::Down("the connection is gone".into());
        match self.faults.pop_front().flatten() {
            Some(Injected::Before) => {
                self.disconnect();
                Err(down())
            }
            Some(Injected::After) => {
                let _ = self.answer(tx, request);
                self.disconnect();
                Err(down())
            }
            Some(Injected::Quota) => Err(Failed::Store(Error::ENOSPC)),
            None => self.answer(tx, request).map_err(Failed::Store),
        }
    }

    fn event(&mut self) -> Option<Incoming> {
        self.events.pop_front()
    }

    fn connection(&mut self) -> u64 {
        self.connection
    }
}
