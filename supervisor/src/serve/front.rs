//! The input and output of a tree and of the servers that are mounted in it: the sockets around
//! [`atoll_9p::switch::Switch`].
//!
//! Every client has a task and a switch of its own, and every server that this client has
//! walked into a task and a connection. Whoever has received something sends on what came
//! of it at once, so that a request passes through with one read and one write on each
//! side. A client that never reads stops itself and its own connections, and nobody else.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::{Rc, Weak};

use atoll_9p::access::Identity;
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::server::Limits;
use atoll_9p::switch::{Switch, UpId, Wish};
use atoll_9p::tree::Tree;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::authority::Caller;
use crate::stream::Stream;

/// What a client may hold, where nothing else was said: messages as large as those of a
/// guest's own socket.
pub const LIMITS: Limits = Limits { msize: 64 << 10, fids: 4096, blocked: 256, writes: 256 << 10 };
/// Bytes that are received at one time.
const SCRATCH: usize = 128 << 10;

/// A server whose tree is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub socket: PathBuf,
    /// Which of its trees it is: a path from its root, empty for all of it.
    pub tree: String,
    /// What to call it in a fault, if there is more to say than where it listens.
    pub called: Option<String>,
}

impl From<PathBuf> for Server {
    fn from(socket: PathBuf) -> Server {
        Server { socket, tree: String::new(), called: None }
    }
}

impl Server {
    /// It cannot be reached.
    fn away(&self, why: &io::Error) -> Fault {
        let text = match (&self.called, why.kind()) {
            // There is no socket, or nobody at it.
            (Some(called), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                format!("{called} does not run")
            }
            (Some(called), _) => format!("{called} cannot be reached: {why}"),
            (None, _) => format!("{}: {why}", self.socket.display()),
        };
        Fault::new(Errno::ENXIO, text)
    }

    /// It was reached, and is gone.
    fn ended(&self, why: Option<&io::Error>) -> Fault {
        let called = self.called.as_deref().unwrap_or("the guest's tree");
        let text = match why {
            None => format!("{called} is gone"),
            Some(e) => format!("{called} is gone: {e}"),
        };
        Fault::new(Errno::EIO, text)
    }
}

/// Says who serves a mount point: asked with the path of the mount point's
/// qid ([`atoll_9p::synth::Node::entry_of`] knows which entry that is of), whenever a client
/// walks into it and has no connection yet. A fault is what that client is told.
pub type Reach<T> = Box<dyn Fn(&mut T, u64) -> Result<Server, Fault>>;

/// Tells the tree whose requests come next.
pub type Enter<T> = Box<dyn Fn(&mut T, &Caller)>;

struct Shared<T: Tree> {
    tree: RefCell<T>,
    reach: Reach<T>,
    enter: Enter<T>,
    limits: Limits,
    clients: RefCell<BTreeMap<u64, Weak<Client<T>>>>,
    next: Cell<u64>,
    scratch: RefCell<Vec<u8>>,
}

/// A tree that is served on this thread. Clones are the same one.
pub struct Front<T: Tree>(Rc<Shared<T>>);

impl<T: Tree> Clone for Front<T> {
    fn clone(&self) -> Self {
        Front(self.0.clone())
    }
}

struct Client<T: Tree> {
    shared: Rc<Shared<T>>,
    caller: Caller,
    stream: Stream,
    switch: RefCell<Switch<T>>,
    /// Told when there is something that its own task has to see to.
    notify: Notify,
    ups: RefCell<BTreeMap<UpId, Rc<Link>>>,
    /// The client can no longer be written to.
    broken: Cell<bool>,
    /// Its own task waits for what it sends,
    listens: Cell<bool>,
    /// and until it takes more.
    writes: Cell<bool>,
    /// A connection to a server is not read from, because the client does not read.
    stopped: Cell<bool>,
}

/// A connection to a server.
#[derive(Default)]
struct Link {
    notify: Notify,
    stream: RefCell<Option<Rc<Stream>>>,
    closed: Cell<bool>,
}

impl<T: Tree + 'static> Front<T> {
    /// Serves a tree.
    pub fn new(tree: T, limits: Limits, reach: Reach<T>) -> Front<T> {
        Front::entering(tree, limits, reach, Box::new(|_, _| {}))
    }

    /// Serves a tree that is told whose requests come next.
    pub fn entering(tree: T, limits: Limits, reach: Reach<T>, enter: Enter<T>) -> Front<T> {
        Front(Rc::new(Shared {
            tree: RefCell::new(tree),
            reach,
            enter,
            limits,
            clients: RefCell::new(BTreeMap::new()),
            next: Cell::new(0),
            scratch: RefCell::new(vec![0; SCRATCH]),
        }))
    }

    /// Does something to the tree; requests that wait for what it changed are answered. Not
    /// from within a function of the tree's own.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let done = f(&mut self.0.tree.borrow_mut());
        self.0.settle();
        done
    }

    /// Clients that are connected.
    pub fn clients(&self) -> usize {
        self.0.clients.borrow().len()
    }

    /// Requests that wait for something in the tree.
    pub fn waiting(&self) -> usize {
        let clients = self.0.clients.borrow();
        clients.values().filter_map(Weak::upgrade).map(|c| c.switch.borrow().waiting()).sum()
    }

    /// Bytes of memory behind all clients' sessions.
    pub fn held(&self) -> usize {
        let clients = self.0.clients.borrow();
        clients.values().filter_map(Weak::upgrade).map(|c| c.switch.borrow().held()).sum()
    }

    /// Serves a client until it is gone, of whom nothing is known. Dropping the future lets
    /// it go.
    pub async fn serve_client(&self, stream: Stream, identity: Identity) {
        let nobody = Caller { client: 0, uid: None, gid: None, member: false, pid: None };
        self.serve_caller(stream, identity, nobody).await;
    }

    /// The same, of whom this is known; its number is given here.
    pub async fn serve_caller(&self, stream: Stream, identity: Identity, caller: Caller) {
        let id = self.0.next.replace(self.0.next.get() + 1);
        let caller = Caller { client: id, ..caller };
        let client = Rc::new(Client {
            shared: self.0.clone(),
            caller,
            stream,
            switch: RefCell::new(Switch::new(self.0.limits, identity)),
            notify: Notify::new(),
            ups: RefCell::default(),
            broken: Cell::new(false),
            listens: Cell::new(false),
            writes: Cell::new(false),
            stopped: Cell::new(false),
        });
        self.0.clients.borrow_mut().insert(id, Rc::downgrade(&client));
        let seat = Seat(client);
        // A client's failure is the client's own, and ends with it.
        let _ = seat.0.run().await;
    }
}

impl<T: Tree + 'static> Shared<T> {
    /// Wakes the requests that wait for nodes that have news.
    fn settle(&self) {
        let mut clients: Vec<Rc<Client<T>>> = Vec::new();
        {
            let mut tree = self.tree.borrow_mut();
            let all = self.clients.borrow();
            let mut waiting: Option<Vec<Rc<Client<T>>>> = None;
            tree.woken(&mut |node| {
                let waiting = waiting.get_or_insert_with(|| {
                    let waits = |c: &Rc<Client<T>>| c.switch.borrow().waiting() > 0;
                    all.values().filter_map(Weak::upgrade).filter(waits).collect()
                });
                waiting.iter().for_each(|c| c.switch.borrow_mut().wake(node));
            });
            clients.extend(waiting.into_iter().flatten());
            for client in &clients {
                (self.enter)(&mut tree, &client.caller);
                client.switch.borrow_mut().step(&mut tree);
            }
        }
        clients.iter().for_each(|c| c.send());
    }
}

/// A client's place, given back when its task ends, however it does.
struct Seat<T: Tree + 'static>(Rc<Client<T>>);

impl<T: Tree + 'static> Drop for Seat<T> {
    fn drop(&mut self) {
        let client = &self.0;
        client.shared.clients.borrow_mut().remove(&client.caller.client);
        client.switch.borrow_mut().close(&mut client.shared.tree.borrow_mut());
        for link in std::mem::take(&mut *client.ups.borrow_mut()).into_values() {
            link.close();
        }
        client.shared.settle();
    }
}

impl Link {
    fn close(&self) {
        self.closed.set(true);
        self.notify.notify_one();
    }
}

impl<T: Tree + 'static> Client<T> {
    async fn run(self: &Rc<Self>) -> io::Result<()> {
        loop {
            self.flush();
            let (wants, waiting) = {
                let switch = self.switch.borrow();
                let waiting = !switch.to_client().is_empty();
                if self.broken.get() || !waiting && switch.is_dead() {
                    return Ok(());
                }
                self.listens.set(switch.wants());
                self.writes.set(waiting);
                (switch.wants(), waiting)
            };
            tokio::select! {
                () = self.notify.notified() => {}
                r = self.stream.writable(), if waiting => r?,
                r = self.stream.readable(), if wants => {
                    r?;
                    if !self.read()? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes what the client has sent. False when that was its end.
    fn read(self: &Rc<Self>) -> io::Result<bool> {
        let mut scratch = self.shared.scratch.borrow_mut();
        match self.stream.try_read(&mut scratch)? {
            Some(0) => return Ok(false),
            Some(n) => {
                let mut tree = self.shared.tree.borrow_mut();
                let bytes = scratch.get(..n).unwrap_or_default();
                (self.shared.enter)(&mut tree, &self.caller);
                self.switch.borrow_mut().from_client(&mut tree, bytes);
            }
            None => return Ok(true),
        }
        drop(scratch);
        // What it did may be what somebody waits for.
        self.shared.settle();
        Ok(true)
    }

    /// The same, for others than its own task, which is told if it waits for the wrong
    /// things now.
    fn send(self: &Rc<Self>) {
        self.flush();
        let switch = self.switch.borrow();
        if switch.is_dead()
            || self.broken.get()
            || switch.wants() != self.listens.get()
            || !switch.to_client().is_empty() && !self.writes.get()
        {
            self.notify.notify_one();
        }
    }

    /// Sends what there is, to both sides, and does what the switch wishes.
    fn flush(self: &Rc<Self>) {
        loop {
            let wish = self.switch.borrow_mut().wish();
            match wish {
                Some(Wish::Connect(id, mount)) => self.connect(id, mount),
                Some(Wish::Close(id)) => {
                    if let Some(link) = self.ups.borrow_mut().remove(&id) {
                        link.close();
                    }
                }
                None => break,
            }
        }
        let links: Vec<_> = {
            let (ups, switch) = (self.ups.borrow(), self.switch.borrow());
            let full = |id: &UpId| !switch.to_upstream(*id).is_empty();
            ups.iter().filter(|(id, _)| full(id)).map(|(id, link)| (*id, link.clone())).collect()
        };
        for (id, link) in links {
            self.send_up(id, &link);
        }
        self.send_down();
        // What one side has read may be what the other was stopped by.
        if self.stopped.get() && self.switch.borrow().wants_upstream() {
            self.stopped.set(false);
            self.ups.borrow().values().for_each(|link| link.notify.notify_one());
        }
    }

    /// Sends to a server; its task goes on with what it does not take now.
    fn send_up(&self, id: UpId, link: &Link) {
        let stream = link.stream.borrow().clone();
        let Some(stream) = stream else { return };
        let mut tree = self.shared.tree.borrow_mut();
        let mut switch = self.switch.borrow_mut();
        (self.shared.enter)(&mut tree, &self.caller);
        while !switch.to_upstream(id).is_empty() {
            match stream.try_write(switch.to_upstream(id)) {
                Ok(Some(n)) => switch.sent_to_upstream(&mut tree, id, n),
                // That it failed shows when it is read: there may be answers still.
                Ok(None) | Err(_) => return link.notify.notify_one(),
            }
        }
    }

    /// Sends to the client; its task goes on with what it does not take now.
    fn send_down(&self) {
        let mut tree = self.shared.tree.borrow_mut();
        let mut switch = self.switch.borrow_mut();
        (self.shared.enter)(&mut tree, &self.caller);
        while !switch.to_client().is_empty() && !self.broken.get() {
            match self.stream.try_write(switch.to_client()) {
                Ok(Some(n)) => switch.sent_to_client(&mut tree, n),
                Ok(None) => return,
                Err(_) => self.broken.set(true),
            }
        }
    }

    /// Connects to the server of a mount point.
    fn connect(self: &Rc<Self>, id: UpId, mount: u64) {
        let link = Rc::new(Link::default());
        self.ups.borrow_mut().insert(id, link.clone());
        let server = {
            let mut tree = self.shared.tree.borrow_mut();
            (self.shared.enter)(&mut tree, &self.caller);
            (self.shared.reach)(&mut tree, mount)
        };
        if let Ok(server) = &server {
            self.switch.borrow_mut().mounts(id, &server.tree);
        }
        let client = Rc::downgrade(self);
        spawn_local(async move {
            let fault = match server {
                Ok(server) => {
                    tokio::select! {
                        connected = Stream::connect(&server.socket) => match connected {
                            Ok(stream) => {
                                let stream = Rc::new(stream);
                                *link.stream.borrow_mut() = Some(stream.clone());
                                let why = Client::serve_link(&client, id, &link, &stream).await;
                                server.ended(why.as_ref())
                            }
                            Err(e) => server.away(&e),
                        },
                        () = link.until_closed() => return,
                    }
                }
                Err(fault) => fault,
            };
            if let Some(client) = client.upgrade().filter(|_| !link.closed.get()) {
                client.ups.borrow_mut().remove(&id);
                client.switch.borrow_mut().lost(&mut client.shared.tree.borrow_mut(), id, &fault);
                client.shared.settle();
                client.notify.notify_one();
            }
        });
    }

    /// Moves bytes to and from a server, until that is gone or nobody wants it any more: why,
    /// if not because it has closed.
    async fn serve_link(
        client: &Weak<Self>,
        id: UpId,
        link: &Link,
        stream: &Stream,
    ) -> Option<io::Error> {
        let mut deaf = false;
        loop {
            let (wants, waiting) = {
                let client = client.upgrade()?;
                if link.closed.get() {
                    return None;
                }
                let switch = client.switch.borrow();
                client.stopped.set(client.stopped.get() || !switch.wants_upstream());
                (switch.wants_upstream(), !switch.to_upstream(id).is_empty() && !deaf)
            };
            tokio::select! {
                () = link.notify.notified() => {}
                r = stream.writable(), if waiting => {
                    let Some(client) = client.upgrade() else { continue };
                    let mut tree = client.shared.tree.borrow_mut();
                    let mut switch = client.switch.borrow_mut();
                    (client.shared.enter)(&mut tree, &client.caller);
                    match r.and_then(|()| stream.try_write(switch.to_upstream(id))) {
                        Ok(Some(n)) => switch.sent_to_upstream(&mut tree, id, n),
                        Ok(None) => {}
                        Err(_) => deaf = true,
                    }
                    drop((tree, switch));
                    client.notify.notify_one();
                }
                r = stream.readable(), if wants => {
                    let Some(client) = client.upgrade() else { continue };
                    match r.and_then(|()| client.read_up(id, stream)) {
                        Ok(true) => {}
                        Ok(false) => return None,
                        Err(e) => return Some(e),
                    }
                }
            }
        }
    }

    /// Takes what a server has sent. False when that was its end.
    fn read_up(self: &Rc<Self>, id: UpId, stream: &Stream) -> io::Result<bool> {
        let mut scratch = self.shared.scratch.borrow_mut();
        let n = match stream.try_read(&mut scratch)? {
            Some(0) => return Ok(false),
            Some(n) => n,
            None => return Ok(true),
        };
        let bytes = scratch.get(..n).unwrap_or_default();
        let mut tree = self.shared.tree.borrow_mut();
        (self.shared.enter)(&mut tree, &self.caller);
        self.switch.borrow_mut().from_upstream(&mut tree, id, bytes);
        drop(tree);
        drop(scratch);
        self.send();
        Ok(true)
    }
}

impl Link {
    async fn until_closed(&self) {
        while !self.closed.get() {
            self.notify.notified().await;
        }
    }
}

#[cfg(test)]
mod tests;
