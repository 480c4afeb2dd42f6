//! Files that the kernel knows by number: where each lies, and a fid for it.
//!
//! A server has only so many fids for a client, and the kernel remembers any number of
//! files. So a node keeps its name and its directory, and its fid is given back when
//! there are too many and made again when it is wanted. It is the same file only if
//! it has the same qid path; else whoever asks gets ESTALE. (That fids survive a
//! connection is [`super::link`]'s affair.)

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};

use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, Tmsg, encode_walk};
use atoll_9p::types::{Qid, Stat, getattr, qid_type};
use atoll_9p::wire::{MAX_NAME, MAX_WALK};

use super::fuse::abi;
use super::job::Job;
use super::link::{Asked, Fail, Fid, Link, ROOT};

/// Numbers from here on are those of the server's files.
const FIRST: u64 = 16;
/// The most fids that are kept for nodes which nothing is done with.
const KEPT: usize = 1024;

/// A file that the kernel knows.
#[derive(Debug)]
pub struct Node {
    /// The kernel's number for it.
    pub id: u64,
    /// The server's name for it.
    pub qid: Qid,
    /// Its length when it was last seen.
    pub size: Cell<u64>,
    /// Its directory and its name there; nothing for the root.
    place: RefCell<Option<(Rc<Node>, String)>>,
    fid: RefCell<Option<Rc<Fid>>>,
    lookups: Cell<u64>,
}

impl Node {
    /// The names that lead to it from the root.
    pub fn path(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut place = self.place.borrow().clone();
        while let Some((dir, name)) = place {
            names.push(name);
            place = dir.place.borrow().clone();
        }
        names.reverse();
        names
    }

    /// Its path, for people.
    pub fn show(&self) -> String {
        format!("/{}", self.path().join("/"))
    }

    /// Whether it is what that name in that directory was last known to be.
    fn is_at(&self, dir: u64, name: &str) -> bool {
        self.place.borrow().as_ref().is_some_and(|(d, n)| d.id == dir && n == name)
    }
}

/// All files that the kernel knows.
#[derive(Debug)]
pub struct Nodes {
    link: Rc<Link>,
    by_id: RefCell<HashMap<u64, Rc<Node>>>,
    by_qid: RefCell<HashMap<(u64, u8), u64>>,
    next: Cell<u64>,
    /// Nodes that got a fid, the oldest first.
    kept: RefCell<VecDeque<Weak<Node>>>,
}

/// A name that is being looked up.
#[derive(Debug)]
pub struct Looking {
    fid: Fid,
    walk: Asked<Result<Option<Qid>, Fail>>,
    stat: Asked<Stat>,
}

impl Looking {
    /// Waits for the answer: the file, which the kernel knows once more.
    pub async fn end(
        self,
        nodes: &Nodes,
        job: &Job,
        dir: &Rc<Node>,
        name: &str,
    ) -> Result<(Rc<Node>, Stat), Fail> {
        let qid = self.walk.answer(job).await.and_then(|done| done)?.ok_or(Errno::EPROTO)?;
        let stat = self.stat.answer(job).await?;
        Ok((nodes.known(dir, name, qid, Rc::new(self.fid), &stat), stat))
    }
}

/// What makes two files one: the path, and that they are of one kind.
fn key(qid: Qid) -> (u64, u8) {
    (qid.path, qid.ty & (qid_type::DIR | qid_type::SYMLINK))
}

/// A walk of these names that must lead to their end: the last qid, if there are names.
pub fn walked(names: usize) -> impl FnOnce(&Rmsg<'_>) -> Option<Result<Option<Qid>, Fail>> {
    move |r| match r {
        Rmsg::Walk { count, last } if usize::from(*count) == names => Some(Ok(*last)),
        Rmsg::Walk { .. } => Some(Err(Errno::ENOENT.into())),
        _ => None,
    }
}

/// Asks for a walk over a path of at most 16 names, none for a second fid.
pub fn walk(
    link: &Rc<Link>,
    from: u32,
    to: u32,
    path: &str,
) -> Result<Asked<Result<Option<Qid>, Fail>>, Fail> {
    if path.split('/').any(|n| n.len() > MAX_NAME) {
        return Err(Errno::ENAMETOOLONG.into());
    }
    let mut frame = Vec::new();
    let names = encode_walk(0, from, to, path, &mut frame).map_err(|_| Errno::ENAMETOOLONG)?;
    let request = Tmsg::decode(&frame).map_err(|_| Errno::EINVAL)?;
    link.ask(&request, walked(names))
}

/// A file's attributes.
pub fn stat_of(r: &Rmsg<'_>) -> Option<Stat> {
    match r {
        Rmsg::Getattr { stat } => Some(*stat),
        _ => None,
    }
}

impl Nodes {
    /// The root alone.
    pub fn new(link: Rc<Link>) -> Nodes {
        let root = Node {
            id: abi::ROOT,
            qid: Qid { ty: qid_type::DIR, ..Qid::default() },
            size: Cell::new(0),
            place: RefCell::default(),
            fid: RefCell::default(),
            lookups: Cell::new(1),
        };
        Nodes {
            link,
            by_id: RefCell::new(HashMap::from([(abi::ROOT, Rc::new(root))])),
            by_qid: RefCell::default(),
            next: Cell::new(FIRST),
            kept: RefCell::default(),
        }
    }

    /// The file of that number.
    pub fn get(&self, id: u64) -> Result<Rc<Node>, Fail> {
        self.by_id.borrow().get(&id).cloned().ok_or_else(|| Errno::ESTALE.into())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_id.borrow().len()
    }

    /// A fid of the file, made if there is none.
    pub async fn fid(&self, job: &Job, node: &Rc<Node>) -> Result<Rc<Fid>, Fail> {
        if let Some(fid) = node.fid.borrow().as_ref() {
            return Ok(fid.clone());
        }
        let fid = if node.id == abi::ROOT {
            Rc::new(self.link.root())
        } else {
            let (fid, qid) = self.find(job, &node.path()).await?;
            if key(qid) != key(node.qid) {
                return Err(Errno::ESTALE.into());
            }
            Rc::new(fid)
        };
        self.keep(node, fid.clone());
        Ok(fid)
    }

    /// Walks from the root. A path that leads nowhere any more is a stale one.
    async fn find(&self, job: &Job, path: &[String]) -> Result<(Fid, Qid), Fail> {
        let fid = self.link.fid();
        let mut last = None;
        for (i, names) in path.chunks(MAX_WALK).enumerate() {
            let from = if i == 0 { ROOT } else { fid.number };
            let to = fid.number;
            let asked = walk(&self.link, from, to, &names.join("/"))?;
            last = match asked.answer(job).await.and_then(|done| done) {
                Err(Fail::Refused(f)) if f.errno == Errno::ENOENT => {
                    return Err(Errno::ESTALE.into());
                }
                done => done?,
            };
        }
        Ok((fid, last.ok_or(Errno::ESTALE)?))
    }

    fn keep(&self, node: &Rc<Node>, fid: Rc<Fid>) {
        let old = node.fid.replace(Some(fid));
        let mut kept = self.kept.borrow_mut();
        if old.is_none() {
            kept.push_back(Rc::downgrade(node));
        }
        while kept.len() > KEPT {
            if let Some(node) = kept.pop_front().and_then(|n| n.upgrade()) {
                node.fid.take();
            }
        }
    }

    /// Looks a name up: the file, and its attributes. The kernel knows it once more.
    pub async fn lookup(
        &self,
        job: &Job,
        dir: &Rc<Node>,
        name: &str,
    ) -> Result<(Rc<Node>, Stat), Fail> {
        let from = self.fid(job, dir).await?;
        self.start(&from, name)?.end(self, job, dir, name).await
    }

    /// Asks for a name, without waiting for the answer.
    pub fn start(&self, dir: &Fid, name: &str) -> Result<Looking, Fail> {
        let fid = self.link.fid();
        let walk = walk(&self.link, dir.number, fid.number, name)?;
        // Behind the walk: where that fails this does too.
        let ask = Tmsg::Getattr { fid: fid.number, mask: getattr::BASIC };
        let stat = self.link.ask(&ask, stat_of)?;
        Ok(Looking { fid, walk, stat })
    }

    /// The node of a file that was found, with the fid it was found by.
    fn known(&self, dir: &Rc<Node>, name: &str, qid: Qid, fid: Rc<Fid>, stat: &Stat) -> Rc<Node> {
        let found = self.by_qid.borrow().get(&key(qid)).copied();
        let node = match found.and_then(|id| self.get(id).ok()) {
            Some(node) => node,
            None => {
                let id = self.next.replace(self.next.get() + 1);
                let node = Rc::new(Node {
                    id,
                    qid,
                    size: Cell::new(0),
                    place: RefCell::default(),
                    fid: RefCell::default(),
                    lookups: Cell::new(0),
                });
                self.by_id.borrow_mut().insert(id, node.clone());
                self.by_qid.borrow_mut().insert(key(qid), id);
                node
            }
        };
        // The newest fid and name: the file that was found before under this qid
        // path may have been removed, and its number given to this one.
        if node.id != abi::ROOT {
            node.place.replace(Some((dir.clone(), name.to_owned())));
        }
        node.size.set(stat.size);
        node.lookups.set(node.lookups.get() + 1);
        self.keep(&node, fid);
        node
    }

    /// The kernel has forgotten so many lookups.
    pub fn forget(&self, id: u64, lookups: u64) {
        let Ok(node) = self.get(id) else { return };
        let left = node.lookups.get().saturating_sub(lookups);
        node.lookups.set(left);
        if left == 0 && id != abi::ROOT {
            self.by_id.borrow_mut().remove(&id);
            self.by_qid.borrow_mut().remove(&key(node.qid));
            node.fid.take();
        }
    }

    /// A name was moved.
    pub fn moved(&self, dir: u64, name: &str, to: &Rc<Node>, newname: &str) {
        let node = self.by_id.borrow().values().find(|n| n.is_at(dir, name)).cloned();
        if let Some(node) = node {
            node.place.replace(Some((to.clone(), newname.to_owned())));
        }
    }
}
