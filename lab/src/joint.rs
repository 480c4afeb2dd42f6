//! All connections through one joint, as the clients of a guest are: the server's side
//! of [`crate::nine`] when it is asked for.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, TcpStream};

use atoll_9p::access::Identity;
use atoll_9p::mux::{ClientId, Mux, Share};
use atoll_9p::server::{Limits, Session};
use atoll_9p::tree::Tree;

use crate::nine::Held;

struct Client {
    id: ClientId,
    stream: TcpStream,
    /// What the joint does not want yet.
    unread: Vec<u8>,
}

/// A joint, the one session behind it, and its clients.
pub(crate) struct Joint<T: Tree> {
    mux: Mux,
    session: Session<T>,
    clients: BTreeMap<u64, Client>,
}

impl<T: Tree> Joint<T> {
    pub(crate) fn new(limits: Limits, identity: Identity) -> Joint<T> {
        Joint {
            mux: Mux::new(limits.msize, Share::default()),
            session: Session::serving(limits, identity),
            clients: BTreeMap::new(),
        }
    }

    /// What all of them hold, as if the first held it.
    pub(crate) fn held(&self) -> Vec<Held> {
        let mut held = vec![Held::default(); self.clients.len()];
        if let Some(first) = held.first_mut() {
            *first = Held { fids: self.session.fids(), waiting: self.session.waiting() };
        }
        held
    }

    /// Whether nothing is left of those who have gone.
    pub(crate) fn is_clean(&self) -> bool {
        !self.clients.is_empty() || (self.session.fids(), self.session.waiting()) == (0, 0)
    }

    pub(crate) fn open(&mut self, number: u64, stream: TcpStream) {
        let id = self.mux.open();
        self.clients.insert(number, Client { id, stream, unread: Vec::new() });
    }

    pub(crate) fn bytes(&mut self, number: u64, bytes: &[u8]) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.unread.extend_from_slice(bytes);
        }
    }

    pub(crate) fn close(&mut self, number: u64) {
        if let Some(client) = self.clients.remove(&number) {
            self.mux.close(client.id);
        }
    }

    /// Works off what can be worked off; says whether there was something.
    pub(crate) fn settle(&mut self, tree: &mut T, woken: &[T::Node]) -> bool {
        let Joint { mux, session, clients } = self;
        woken.iter().for_each(|node| session.wake(*node));
        let mut busy = false;
        for Client { id, stream, unread } in clients.values_mut() {
            if !unread.is_empty() && mux.wants(*id) {
                mux.from_client(*id, unread);
                unread.clear();
                busy = true;
            }
            let answers = mux.to_client(*id);
            if !answers.is_empty() {
                // Its reading end hears of it when this fails.
                let _ = stream.write_all(answers);
                mux.sent_to_client(*id, mux.to_client(*id).len());
                busy = true;
            }
            if mux.is_dead(*id) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        let taken = session.feed(mux.to_server());
        mux.sent_to_server(taken);
        busy |= taken > 0;
        while session.step(tree) || !session.output().is_empty() {
            busy = true;
            mux.from_server(session.output()).expect("our server keeps the rules");
            session.sent(session.output().len());
        }
        busy
    }
}
