//! Instances that have been used, to be used again.
//!
//! Making an instance takes the system some thirty microseconds: addresses for a memory
//! of 4 GiB are asked for, and given back. An instance whose atom has ended well is
//! kept instead, and made what it was at its beginning when the next one is wanted.
//! All that an instance can have changed is its memory and its globals, which the builder
//! has exported (`__atoll_g0` and so on), as a checkpoint relies on too; so nothing of an
//! earlier one is seen in a later one. One that has trapped or was stopped is of no
//! further use, and a memory that has grown does not shrink: such instances are given up,
//! as are those whose memory is so large that a new one is cheaper.

use alloc::boxed::Box;
use alloc::vec::Vec;

use atoll_runtime::component::CHUNK;
use atoll_runtime::engine::AtomLimits;
use wasmtime::Val;

use crate::atom::Live;

/// Instances of a module that are kept. A kernel has less memory to spare.
const KEPT: usize = if cfg!(feature = "std") { 16 } else { 2 };
/// The largest memory that is put back, in bytes.
const LARGEST: usize = 256 << 10;

/// What a module's instances begin with.
struct Fresh {
    size: usize,
    /// The chunks that are not all zero, in order.
    chunks: Vec<(usize, Box<[u8; CHUNK]>)>,
    globals: Vec<Val>,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Pool {
    /// Instances of the module that were made.
    made: usize,
    fresh: Option<Fresh>,
    free: Vec<Live>,
}

impl Pool {
    /// An instance was made: nothing of its own has run in it but what tells the version.
    /// Modules of which there is one instance only are not looked at.
    pub(crate) fn made(&mut self, live: &mut Live) {
        self.made += 1;
        if self.made == 2 && live.memory.data_size(&live.store) <= LARGEST {
            self.fresh = Some(Fresh::of(live));
        }
    }

    /// An instance that is as a new one.
    pub(crate) fn take(&mut self, limits: &AtomLimits) -> Option<Live> {
        let fresh = self.fresh.as_ref().filter(|f| f.size as u64 <= limits.memory)?;
        let mut live = self.free.pop()?;
        live.store.data_mut().renew(limits, fresh.size);
        fresh.put_back(&mut live).then_some(live)
    }

    /// An instance whose atom has ended, and which has always returned.
    pub(crate) fn give(&mut self, live: Live) {
        let fits = |f: &Fresh| live.memory.data_size(&live.store) == f.size;
        if self.free.len() < KEPT && self.fresh.as_ref().is_some_and(fits) {
            self.free.push(live);
        }
    }
}

impl Fresh {
    fn of(live: &mut Live) -> Fresh {
        let globals = live.globals.iter().map(|g| g.get(&mut live.store)).collect();
        let memory = live.memory.data(&live.store);
        let chunks = memory.as_chunks::<CHUNK>().0.iter().enumerate();
        let used = chunks.filter(|(_, c)| **c != [0; CHUNK]).map(|(n, c)| (n, Box::new(*c)));
        Fresh { size: memory.len(), chunks: used.collect(), globals }
    }

    /// False where that could not be done.
    fn put_back(&self, live: &mut Live) -> bool {
        for (global, value) in live.globals.iter().zip(&self.globals) {
            if global.set(&mut live.store, *value).is_err() {
                return false;
            }
        }
        let memory = live.memory.data_mut(&mut live.store);
        let mut used = self.chunks.iter().peekable();
        for (n, chunk) in memory.as_chunks_mut::<CHUNK>().0.iter_mut().enumerate() {
            let was = used.next_if(|(at, _)| *at == n).map_or(&[0; CHUNK], |(_, was)| &**was);
            // What has not changed is not written: it may be shared with the module.
            if chunk != was {
                *chunk = *was;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use alloc::rc::Rc;
    use alloc::vec::Vec;

    use atoll_runtime::component::{Component, Memory};

    use crate::atom::{Atom, Call};
    use crate::atoms::Loaded;
    use crate::moved::{STATE, chunks};
    use crate::storm::{Random, limits, load};

    fn fresh(module: &Rc<Loaded>) -> Atom {
        Atom::new(module.clone(), &limits(60_000_000_000)).unwrap()
    }

    fn kept(module: &Rc<Loaded>) -> usize {
        module.pool.borrow().free.len()
    }

    #[test]
    fn nothing_of_an_earlier_instance_is_seen_in_a_later_one() {
        let module = load(STATE);
        let (first, second) = (fresh(&module), fresh(&module));
        let (state, memory) = (first.save(), chunks(&first));
        drop((first, second));
        assert_eq!(kept(&module), 2);
        let mut random = Random(7);
        for round in 0..200 {
            let mut all: Vec<Atom> = (0..random.below(4)).map(|_| fresh(&module)).collect();
            for atom in &mut all {
                assert_eq!(atom.save(), state, "{round}");
                assert!(chunks(atom) == memory, "{round}");
                // Like a new one, too, in what has changed since the last checkpoint.
                let (mut dirty, mut of_new) = (Vec::new(), Vec::new());
                atom.dirty(&mut dirty);
                fresh(&load(STATE)).dirty(&mut of_new);
                assert_eq!(dirty, of_new);
                for _ in 0..random.below(20) {
                    let kind = [1, 1, 3][random.below(3) as usize];
                    atom.run(&Call::Invoke(kind, random.below(1 << 30).cast_signed())).unwrap();
                }
            }
        }
        assert!(kept(&module) > 0);
    }

    #[test]
    fn an_instance_that_cannot_be_put_back_is_given_up() {
        let module = load(STATE);
        drop((fresh(&module), fresh(&module)));
        assert_eq!(kept(&module), 2);
        let mut grown = fresh(&module);
        grown.run(&Call::Invoke(2, 0)).unwrap();
        drop(grown);
        assert_eq!(kept(&module), 1);
        let module = load(
            "(module (memory (export \"memory\") 1)
            (func (export \"atoll_abi\") (result i32) (i32.const 1))
            (func (export \"invoke\") (param i32 i64 i32) (result i32) unreachable))",
        );
        drop((fresh(&module), fresh(&module)));
        assert_eq!(kept(&module), 2);
        let mut trapped = fresh(&module);
        trapped.run(&Call::Invoke(1, 0)).unwrap_err();
        drop(trapped);
        assert_eq!(kept(&module), 1);
    }
}
