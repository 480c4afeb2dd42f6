//! Transactions that clients have.
//!
//! One is xenstored's as long as it is open there, and takes memory there; so it lives only as
//! long as somebody has a file of it open, and there are only so many.

use std::collections::BTreeMap;

use atoll_9p::fault::{Errno, Fault};
use atoll_xen::store::TxId;

#[derive(Debug)]
struct Transaction {
    tx: TxId,
    /// The connection that it belongs to.
    connection: u64,
    /// How many of its files are open.
    opens: usize,
    /// It was committed or aborted.
    over: bool,
}

#[derive(Debug)]
pub(crate) struct Transactions {
    all: BTreeMap<u32, Transaction>,
    last: u32,
    max: usize,
}

fn over() -> Fault {
    Fault::new(Errno::ESTALE, "the transaction is over: open /txn/clone for another")
}

fn lost() -> Fault {
    Fault::new(
        Errno::ESTALE,
        "the connection on which the transaction began is gone: nothing of it was done",
    )
}

impl Transactions {
    pub(crate) fn new(max: usize) -> Transactions {
        Transactions { all: BTreeMap::new(), last: 0, max }
    }

    /// Whether there may be one more.
    pub(crate) fn room(&self) -> Result<(), Fault> {
        if self.all.len() < self.max {
            return Ok(());
        }
        Err(Fault::new(Errno::EBUSY, format!("there are {} transactions already", self.max)))
    }

    /// Keeps a new one, of which one file is open: its number here.
    pub(crate) fn add(&mut self, tx: TxId, connection: u64) -> u32 {
        self.last = self.last.wrapping_add(1).max(1);
        self.all.insert(self.last, Transaction { tx, connection, opens: 1, over: false });
        self.last
    }

    pub(crate) fn is(&self, number: u32) -> bool {
        self.all.contains_key(&number)
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.all.keys().copied()
    }

    /// What xenstored calls it, on that connection.
    pub(crate) fn tx(&self, number: u32, connection: u64) -> Result<TxId, Fault> {
        let txn = self.all.get(&number).ok_or_else(over)?;
        match txn.over {
            true => Err(over()),
            false if txn.connection != connection => Err(lost()),
            false => Ok(txn.tx),
        }
    }

    /// It was committed or aborted; that cannot be done twice.
    pub(crate) fn end(&mut self, number: u32) {
        if let Some(txn) = self.all.get_mut(&number) {
            txn.over = true;
        }
    }

    pub(crate) fn opened(&mut self, number: u32) {
        if let Some(txn) = self.all.get_mut(&number) {
            txn.opens += 1;
        }
    }

    /// A file of it was closed. When that was the last one, it is no more: what is to be
    /// aborted, if it belongs to that connection and was not ended.
    pub(crate) fn closed(&mut self, number: u32, connection: u64) -> Option<TxId> {
        let txn = self.all.get_mut(&number)?;
        txn.opens = txn.opens.saturating_sub(1);
        if txn.opens != 0 {
            return None;
        }
        let txn = self.all.remove(&number)?;
        (!txn.over && txn.connection == connection).then_some(txn.tx)
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.all.len()
    }
}
