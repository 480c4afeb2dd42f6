//! An atom that is taken to another place goes on there as the one that it was.

use alloc::rc::Rc;
use alloc::vec::Vec;

use atoll_runtime::component::{CHUNK, Component, Memory};

use crate::atom::{Atom, Call};
use crate::atoms::Loaded;
use crate::storm::{Random, limits, load};

/// `invoke` with kind 1 adds id to a counter in each kind of global and at a place in
/// memory that depends on it, 2 grows the memory, 3 wipes what it began with.
pub(crate) const STATE: &str = r#"(module
  (memory (export "memory") 2)
  (data (i32.const 8192) "what the memory begins with")
  (global $i (export "__atoll_g0") (mut i32) (i32.const 1))
  (global $l (export "__atoll_g1") (mut i64) (i64.const 2))
  (global $f (export "__atoll_g2") (mut f32) (f32.const 3))
  (global $d (export "__atoll_g3") (mut f64) (f64.const nan:0x8000000000123))
  (global $v (export "__atoll_g4") (mut v128) (v128.const i64x2 4 5))
  (func (export "atoll_abi") (result i32) (i32.const 1))
  (func (export "invoke") (param $kind i32) (param $id i64) (param $len i32) (result i32)
    (local $at i32)
    (if (i32.eq (local.get $kind) (i32.const 2)) (then
      (return (i32.add (memory.grow (i32.const 1)) (i32.const 1)))))
    (if (i32.eq (local.get $kind) (i32.const 3)) (then
      (memory.fill (i32.const 8192) (i32.const 0) (i32.const 64))
      (return (i32.const 0))))
    (global.set $i (i32.add (global.get $i) (i32.wrap_i64 (local.get $id))))
    (global.set $l (i64.mul (global.get $l) (i64.or (local.get $id) (i64.const 1))))
    (global.set $f (f32.add (global.get $f) (f32.convert_i64_u (local.get $id))))
    (global.set $v (i64x2.add (global.get $v) (i64x2.splat (local.get $id))))
    (local.set $at (i32.rem_u (global.get $i)
      (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 8))))
    (i64.store (local.get $at) (i64.xor (i64.load (local.get $at)) (global.get $l)))
    (i32.const 0)))"#;

fn fresh(module: &Rc<Loaded>) -> Atom {
    Atom::new(module.clone(), &limits(60_000_000_000)).unwrap()
}

fn some_events(atom: &mut Atom, random: &mut Random) {
    for _ in 0..random.below(40) {
        let kind = [1, 1, 1, 1, 1, 1, 1, 2, 3, 1][random.below(10) as usize];
        atom.run(&Call::Invoke(kind, random.below(1 << 30).cast_signed())).unwrap();
    }
}

/// Takes over what has changed since the last time.
fn copy(from: &mut Atom, to: &mut Atom) -> usize {
    let (mut dirty, size) = (Vec::new(), from.size());
    from.dirty(&mut dirty);
    from.clear();
    for &chunk in &dirty {
        let mut data = [0; CHUNK];
        from.read(chunk, &mut data);
        to.write(size, chunk, &data);
    }
    dirty.len()
}

pub(crate) fn chunks(atom: &Atom) -> Vec<[u8; CHUNK]> {
    (0..(atom.size() / CHUNK as u64) as u32)
        .map(|chunk| {
            let mut data = [0; CHUNK];
            atom.read(chunk, &mut data);
            data
        })
        .collect()
}

#[test]
fn a_restored_atom_is_the_saved_one_and_goes_on_like_it() {
    let module = load(STATE);
    let mut random = Random(11);
    for case in 0..40 {
        let (mut a, mut b) = (fresh(&module), fresh(&module));
        // What the other one did before is gone, larger memory and all; in every second
        // case it has done nothing.
        if case % 2 == 0 {
            some_events(&mut b, &mut random);
        }
        some_events(&mut a, &mut random);
        let state = a.save();
        b.restore(&state).unwrap();
        copy(&mut a, &mut b);
        for round in 0..3 {
            assert_eq!((a.save(), a.size()), (b.save(), b.size()), "{round}");
            assert!(chunks(&a) == chunks(&b), "{round}");
            // The same events have the same effects.
            let mut again = Random(random.below(u64::MAX) | 1);
            let seed = again.0;
            some_events(&mut a, &mut again);
            some_events(&mut b, &mut Random(seed));
            copy(&mut a, &mut b);
        }
    }
}

#[test]
fn what_was_not_given_is_zero_in_whatever_order_the_rest_comes() {
    let module = load(STATE);
    let mut random = Random(12);
    let mut a = fresh(&module);
    some_events(&mut a, &mut random);
    a.run(&Call::Invoke(3, 0)).unwrap();
    let (size, whole) = (a.size(), chunks(&a));
    let mut given: Vec<_> = (0..whole.len()).filter(|i| whole[*i] != [0; CHUNK]).collect();
    assert!(given.len() > 3 && !given.contains(&2), "{given:?}");
    for case in 0..40 {
        let mut b = fresh(&module);
        if case % 2 == 0 {
            some_events(&mut b, &mut random);
        }
        b.restore(&a.save()).unwrap();
        let last = given.len() as u64;
        (0..given.len()).for_each(|i| given.swap(i, random.below(last) as usize));
        let looks = random.below(last * 2) as usize;
        for (i, &chunk) in given.iter().enumerate() {
            b.write(size, chunk as u32, &whole[chunk]);
            if i == looks {
                assert!(chunks(&b)[2] == [0; CHUNK], "{given:?}");
            }
        }
        let mut dirty = Vec::new();
        b.dirty(&mut dirty);
        assert_eq!(dirty.len(), given.len(), "{given:?}");
        assert!(chunks(&b) == whole, "{given:?}");
    }
}

#[test]
fn what_changes_little_is_copied_as_little() {
    let module = load(STATE);
    let (mut a, mut b) = (fresh(&module), fresh(&module));
    b.restore(&a.save()).unwrap();
    // The one chunk that is not zero from the start.
    assert_eq!(copy(&mut a, &mut b), 1);
    assert_eq!(copy(&mut a, &mut b), 0);
    a.run(&Call::Invoke(1, 5)).unwrap();
    assert_eq!(copy(&mut a, &mut b), 1);
    a.run(&Call::Invoke(3, 0)).unwrap();
    assert_eq!(copy(&mut a, &mut b), 1);
    assert!(chunks(&a) == chunks(&b));
}

#[test]
fn a_state_of_another_module_or_a_damaged_one_changes_nothing() {
    let module = load(STATE);
    let mut a = fresh(&module);
    a.run(&Call::Invoke(1, 7)).unwrap();
    let (state, memory) = (a.save(), chunks(&a));
    let other = fresh(&load(&STATE.replace(
        "(i32.const 1))\n  (global $l",
        "(i32.const 1))\n  (global (export \"__atoll_g5\") (mut i64) (i64.const 0)) (global $l",
    )))
    .save();
    let small = fresh(&load(&STATE.replace("\"memory\") 2)", "\"memory\") 1)"))).save();
    let mut large = state.clone();
    large[2..10].copy_from_slice(&(2u64 << 20).to_le_bytes());
    let mut odd = state.clone();
    odd[2..10].copy_from_slice(&(131_073u64).to_le_bytes());
    let mut kind = state.clone();
    kind[14] = 1;
    for (bad, what) in [
        (other, "globals"),
        (small, "smaller"),
        (large, "larger"),
        (odd, "pages"),
        (kind, "types"),
        (state[..20].to_vec(), "cut short"),
        (Vec::new(), "cut short"),
    ] {
        let why = a.restore(&bad).unwrap_err();
        assert!(why.text().contains(what), "{what}: {}", why.text());
        assert_eq!(a.save(), state);
        assert!(chunks(&a) == memory);
        // Nor does it change one in which nothing has run.
        let (new, mut b) = (fresh(&module), fresh(&module));
        assert!(b.restore(&bad).is_err());
        assert_eq!(b.save(), new.save());
        assert!(chunks(&b) == chunks(&new), "{what}");
    }
    assert!(a.restore(&state).is_ok());
}
