//! A store in memory for tests, which does what it is told to: it fails, or its disk is
//! full, for as long as that is wanted.
//!
//! What it holds is shared by all that were opened on it, so a test ends one supervisor at
//! any step and lets the next begin with what was stored.

use std::cell::RefCell;
use std::rc::Rc;

use super::apply::check_claim;
use super::{Error, Loaded, Owner, Ownership, Store};
use crate::core::{Change, Name};

/// A store in memory. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Memory {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug)]
struct Inner {
    loaded: Loaded,
    trouble: Option<Error>,
    saves: u64,
}

impl Default for Memory {
    fn default() -> Memory {
        let inner = Inner { loaded: Loaded::empty(), trouble: None, saves: 0 };
        Memory { inner: Rc::new(RefCell::new(inner)) }
    }
}

impl Memory {
    /// Every save fails like this from now on; none to end that.
    pub fn fail(&self, trouble: Option<Error>) {
        self.inner.borrow_mut().trouble = trouble;
    }

    /// How many saves were done.
    pub fn saves(&self) -> u64 {
        self.inner.borrow().saves
    }

    /// What is stored now.
    pub fn peek(&self) -> Loaded {
        self.inner.borrow().loaded.clone()
    }

    /// Puts everything back to what was stored once, as from a backup.
    pub fn restore(&self, loaded: Loaded) {
        self.inner.borrow_mut().loaded = loaded;
    }

    fn change<T>(&self, f: impl FnOnce(&mut Loaded) -> Result<T, Error>) -> Result<T, Error> {
        let mut inner = self.inner.borrow_mut();
        if let Some(trouble) = &inner.trouble {
            return Err(trouble.clone());
        }
        let done = f(&mut inner.loaded)?;
        inner.saves += 1;
        Ok(done)
    }
}

impl Store for Memory {
    fn load(&mut self) -> Result<Loaded, Error> {
        Ok(self.peek())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.change(|loaded| loaded.apply(changes))
    }
}

impl Ownership for Memory {
    fn owner(&self, guest: &Name) -> Result<Option<Owner>, Error> {
        Ok(self.inner.borrow().loaded.owners.get(guest).copied())
    }

    fn claim(&mut self, guest: &Name, held: u64, next: u64) -> Result<(), Error> {
        self.apply(&[Change::Claim { guest: guest.clone(), held, next }])
    }

    fn release(&mut self, guest: &Name, held: u64) -> Result<(), Error> {
        self.change(|loaded| {
            let found = loaded.owners.get(guest).map_or(0, |o| o.epoch);
            check_claim(guest, found, 0, held, 1)?;
            loaded.owners.remove(guest);
            Ok(())
        })
    }
}
