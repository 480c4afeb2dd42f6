//! Writes that are done at most once.
//!
//! A client that loses its connection does not know whether its last writes arrived.
//! In the dialect `9P2000.L.atoll` it gives each write a name ([`OpId`]) and sends it
//! again on its next connection; a tree that keeps one of these answers a write that
//! was done as it was answered then. What cannot be known is refused with ESTALE:
//! never is a write done twice. So that its first write is no such case, a client makes
//! itself known before: a named write without data is a greeting, and does nothing else.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::fault::{Errno, Fault};
use crate::tree::Reply;
use crate::types::OpId;

/// Clients that are remembered where nothing else is said.
pub const CLIENTS: usize = 64;
/// Results that are remembered of each client where nothing else is said: a client
/// must not have more named writes unanswered than this.
pub const RESULTS: usize = 64;

/// What is remembered of a client.
#[derive(Debug)]
struct Client {
    /// Its name of itself.
    id: u64,
    /// When it last wrote, as the table counts.
    used: u64,
    /// How its latest writes ended, in the order in which they did.
    results: VecDeque<(u64, Result<usize, Fault>)>,
    /// The highest write whose result is forgotten.
    forgotten: u64,
}

/// How the latest writes of the latest clients ended.
#[derive(Debug)]
pub struct Once {
    clients: Vec<Client>,
    max_clients: usize,
    max_results: usize,
    clock: u64,
}

impl Default for Once {
    fn default() -> Once {
        Once::new(CLIENTS, RESULTS)
    }
}

impl Once {
    /// A table of at most so many clients, and results of each; at least one.
    pub fn new(max_clients: usize, max_results: usize) -> Once {
        Once {
            clients: Vec::new(),
            max_clients: max_clients.max(1),
            max_results: max_results.max(1),
            clock: 0,
        }
    }

    /// Clients that are remembered now.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// What to answer without doing the write; nothing when it is to be done, and then
    /// [`Once::end`] is to be told how it ended.
    pub fn begin(&mut self, op: OpId, data: &[u8]) -> Option<Result<Reply, Fault>> {
        self.clock += 1;
        if data.is_empty() {
            self.greet(op);
            return Some(Ok(Reply::Done(0)));
        }
        let clock = self.clock;
        if let Some(client) = self.client(op) {
            client.used = clock;
            if let Some((_, result)) = client.results.iter().find(|r| r.0 == op.seq) {
                return Some(result.clone().map(Reply::Done));
            }
            let known = !op.again || op.seq > client.forgotten;
            return (!known).then(|| Err(unknown()));
        }
        if op.again {
            return Some(Err(unknown()));
        }
        // Those before it are another instance's, or forgotten.
        self.remember(op.client, op.seq.saturating_sub(1));
        None
    }

    /// Remembers a client, all of whose writes up to this one are answered. One that says
    /// so again may have been forgotten since, with writes that nobody knows of.
    fn greet(&mut self, op: OpId) {
        let clock = self.clock;
        match self.client(op) {
            Some(client) => client.used = clock,
            None if !op.again => self.remember(op.client, op.seq),
            None => {}
        }
    }

    fn remember(&mut self, id: u64, forgotten: u64) {
        if self.clients.len() >= self.max_clients {
            let oldest = self.clients.iter().zip(0..).min_by_key(|c| c.0.used).map(|c| c.1);
            oldest.map(|oldest| self.clients.swap_remove(oldest));
        }
        let results = VecDeque::new();
        self.clients.push(Client { id, used: self.clock, results, forgotten });
    }

    fn client(&mut self, op: OpId) -> Option<&mut Client> {
        self.clients.iter_mut().find(|c| c.id == op.client)
    }

    /// Says how a write ended that [`Once::begin`] let through. One that waits has not.
    pub fn end(&mut self, op: OpId, result: &Result<Reply, Fault>) {
        let result = match result {
            Ok(Reply::Later) => return,
            Ok(Reply::Done(n)) => Ok(*n),
            Err(fault) => Err(fault.clone()),
        };
        let max = self.max_results;
        let Some(client) = self.client(op) else { return };
        if client.results.len() >= max
            && let Some((seq, _)) = client.results.pop_front()
        {
            client.forgotten = client.forgotten.max(seq);
        }
        client.results.push_back((op.seq, result));
    }
}

fn unknown() -> Fault {
    Fault::new(Errno::ESTALE, "nobody knows any more whether this write was done")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a write; says what was answered, and counts what was done.
    fn send(
        once: &mut Once,
        done: &mut u32,
        client: u64,
        seq: u64,
        again: bool,
    ) -> Result<usize, Errno> {
        let op = OpId { client, seq, again };
        let reply = once.begin(op, b"x").unwrap_or_else(|| {
            *done += 1;
            let result = Ok(Reply::Done(*done as usize));
            once.end(op, &result);
            result
        });
        match reply {
            Ok(Reply::Done(n)) => Ok(n),
            Ok(Reply::Later) => panic!(),
            Err(fault) => Err(fault.errno),
        }
    }

    #[test]
    fn a_write_that_was_done_is_answered_as_then() {
        let (mut once, mut done) = (Once::new(4, 4), 0);
        assert_eq!(send(&mut once, &mut done, 1, 1, false), Ok(1));
        assert_eq!(send(&mut once, &mut done, 1, 2, false), Ok(2));
        assert_eq!(send(&mut once, &mut done, 1, 1, true), Ok(1));
        assert_eq!(send(&mut once, &mut done, 1, 1, false), Ok(1));
        // A client that is known, and a write that never came: it is done now.
        assert_eq!(send(&mut once, &mut done, 1, 3, true), Ok(3));
        assert_eq!(done, 3);
    }

    #[test]
    fn a_failure_is_an_answer_too_and_a_wait_is_none() {
        let mut once = Once::default();
        let op = OpId { client: 1, seq: 1, again: false };
        assert!(once.begin(op, b"x").is_none());
        once.end(op, &Ok(Reply::Later));
        let again = OpId { again: true, ..op };
        assert!(once.begin(again, b"x").is_none(), "it was never done");
        once.end(again, &Err(Fault::new(Errno::EDQUOT, "full")));
        let answer = once.begin(again, b"x").unwrap().unwrap_err();
        assert_eq!((answer.errno, answer.text()), (Errno::EDQUOT, "full"));
    }

    #[test]
    fn what_cannot_be_known_is_refused() {
        let (mut once, mut done) = (Once::new(2, 2), 0);
        assert_eq!(send(&mut once, &mut done, 1, 1, true), Err(Errno::ESTALE));
        assert_eq!(once.clients(), 0, "nobody is remembered for having been refused");
        for seq in 1..=3 {
            send(&mut once, &mut done, 1, seq, false).unwrap();
        }
        assert_eq!(send(&mut once, &mut done, 1, 1, true), Err(Errno::ESTALE));
        assert_eq!(send(&mut once, &mut done, 1, 2, true), Ok(2));
        // A third client takes the place of the one that wrote longest ago.
        send(&mut once, &mut done, 2, 1, false).unwrap();
        send(&mut once, &mut done, 1, 4, false).unwrap();
        send(&mut once, &mut done, 3, 1, false).unwrap();
        assert_eq!(once.clients(), 2);
        assert_eq!(send(&mut once, &mut done, 2, 1, true), Err(Errno::ESTALE));
        assert_eq!(send(&mut once, &mut done, 1, 4, true), Ok(5));
        assert_eq!(done, 6);
    }

    #[test]
    fn who_has_greeted_is_known_and_what_was_before_is_not() {
        let (mut once, mut done) = (Once::new(2, 2), 0);
        let greet = |once: &mut Once, seq, again| {
            let answer = once.begin(OpId { client: 1, seq, again }, b"");
            assert!(matches!(answer, Some(Ok(Reply::Done(0)))));
        };
        greet(&mut once, 4, true);
        assert_eq!(once.clients(), 0, "what may have been forgotten is not known again");
        greet(&mut once, 4, false);
        // The first write was lost on its way.
        assert_eq!(send(&mut once, &mut done, 1, 5, true), Ok(1));
        assert_eq!(send(&mut once, &mut done, 1, 4, true), Err(Errno::ESTALE));
        // A greeting of who is known changes nothing.
        greet(&mut once, 9, false);
        assert_eq!(send(&mut once, &mut done, 1, 6, true), Ok(2));
        assert_eq!(send(&mut once, &mut done, 1, 5, true), Ok(1));
        assert_eq!((done, once.clients()), (2, 1));
    }

    #[test]
    fn a_client_that_was_forgotten_is_not_taken_for_a_new_one() {
        let (mut once, mut done) = (Once::new(1, 4), 0);
        send(&mut once, &mut done, 1, 1, false).unwrap();
        send(&mut once, &mut done, 2, 1, false).unwrap();
        send(&mut once, &mut done, 1, 2, false).unwrap();
        assert_eq!(send(&mut once, &mut done, 1, 1, true), Err(Errno::ESTALE));
        assert_eq!(done, 3);
    }
}
