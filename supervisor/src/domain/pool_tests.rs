//! The pool in a simulated host: shells are made and fail, guests take them or do not, memory is
//! short, and what is wanted changes, all in an order that a seed gives.

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn kind(mib: u64) -> Kind {
    Kind::new(Path::new("/i/ab.img"), mib << 20, "")
}

/// Begins what is to be made, under the next number.
fn begin(pool: &mut Pool, todo: &[Do], next: &mut u32) -> Vec<String> {
    let mut begun = Vec::new();
    for kind in todo.iter().filter_map(|d| if let Do::Make(k) = d { Some(k) } else { None }) {
        *next += 1;
        pool.begin(&next.to_string(), kind);
        begun.push(next.to_string());
    }
    begun
}

#[test]
fn a_kind_has_no_time_of_day_and_costs_what_xl_takes() {
    let told = Kind::new(Path::new("/i"), (4 << 20) - 1, "atoll.wall=5 atoll.store=1");
    assert_eq!(told.launch, "atoll.store=1");
    assert_eq!(told.cost(), (7 << 20) + (32 << 10));
    assert!(Kind { memory: u64::MAX, ..told }.cost() > 1 << 62);
}

#[test]
fn one_is_made_and_taken_and_made_again() {
    let (mut pool, mut n, wanted) = (Pool::new(1 << 30), 0, [kind(4)]);
    assert_eq!(pool.next(0, &wanted, false), []);
    let todo = pool.next(0, &wanted, true);
    begin(&mut pool, &todo, &mut n);
    // What is not made yet cannot be taken, and no other is made.
    assert_eq!((pool.take(&kind(4)), pool.next(0, &wanted, true)), (None, vec![]));
    pool.came(0, "1", Came::Ready);
    assert_eq!((pool.take(&kind(8)), pool.next(0, &wanted, true)), (None, vec![]));
    assert_eq!(pool.take(&kind(4)), Some("1".into()));
    assert_eq!((pool.take(&kind(4)), pool.cost()), (None, kind(4).cost()));
    // Another is made; the first comes back, so that there is one too many.
    let todo = pool.next(0, &wanted, true);
    assert_eq!(begin(&mut pool, &todo, &mut n), ["2"]);
    pool.came(0, "1", Came::Ready);
    pool.came(0, "2", Came::Ready);
    assert_eq!(pool.next(0, &wanted, true), [Do::Destroy("2".into())]);
    pool.came(0, "2", Came::Gone);
    assert_eq!(pool.next(0, &[], true), [Do::Destroy("1".into())]);
    assert!(pool.is_going());
    pool.came(0, "1", Came::Gone);
    assert!(!pool.is_going() && pool.shells().count() == 0);
}

#[test]
fn a_kind_that_fails_rests_longer_each_time_and_no_other_does() {
    let (mut pool, mut n, mut now) = (Pool::new(1 << 30), 0, 0);
    let wanted = [kind(4), kind(8)];
    for rest in [1_000, 5_000, 30_000, 120_000, 120_000] {
        let todo = pool.next(now, &wanted, true);
        assert_eq!(todo, [Do::Make(kind(4))]);
        let made = begin(&mut pool, &todo, &mut n);
        pool.came(now, &made[0], Came::Failed);
        // Meanwhile the other one is made, and that it works ends no rest but its own.
        let todo = pool.next(now, &wanted, true);
        assert_eq!(todo, [Do::Make(kind(8))]);
        let made = begin(&mut pool, &todo, &mut n);
        pool.came(now, &made[0], Came::Ready);
        assert_eq!(pool.next(now + rest - 1, &wanted, true), []);
        assert_eq!(pool.take(&kind(8)), Some(made[0].clone()));
        pool.came(now, &made[0], Came::Gone);
        now += rest;
    }
    let todo = pool.next(now, &wanted, true);
    let made = begin(&mut pool, &todo, &mut n);
    pool.came(now, &made[0], Came::Ready);
    pool.take(&kind(4)).unwrap();
    assert_eq!(pool.next(now, &wanted, true), [Do::Make(kind(4))]);
}

#[test]
fn all_that_is_needed_is_given_up_and_not_taken_back_at_once() {
    let (mut pool, mut n) = (Pool::new(3 * kind(4).cost()), 0);
    let wanted = vec![kind(4); 5];
    for _ in 0..3 {
        let todo = pool.next(0, &wanted, true);
        let made = begin(&mut pool, &todo, &mut n);
        pool.came(0, &made[0], Came::Ready);
    }
    // More than these would be more than is paid for.
    assert_eq!(pool.next(0, &wanted, true), []);
    let gone = pool.give_up(10, kind(4).cost() + 1);
    assert_eq!(gone, [Do::Destroy("1".into()), Do::Destroy("2".into())]);
    // What goes has its memory until it is gone.
    assert_eq!(pool.cost(), 3 * kind(4).cost());
    pool.came(20, "1", Came::Gone);
    pool.came(30, "2", Came::Gone);
    assert_eq!(pool.next(10 + SHORT - 1, &wanted, true), []);
    assert_eq!(pool.next(10 + SHORT, &wanted, true), [Do::Make(kind(4))]);
}

#[test]
fn one_that_may_come_back_is_paid_for_until_its_guest_has_it() {
    let (mut pool, mut n, wanted) = (Pool::new(kind(4).cost()), 0, [kind(4)]);
    let todo = pool.next(0, &wanted, true);
    begin(&mut pool, &todo, &mut n);
    pool.came(0, "1", Came::Ready);
    pool.take(&kind(4)).unwrap();
    assert_eq!(pool.next(0, &wanted, true), []);
    pool.came(0, "1", Came::Gone);
    assert_eq!(pool.next(0, &wanted, true), [Do::Make(kind(4))]);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Want(Vec<u64>),
    May(bool),
    Take(u64),
    /// What comes of the one of that place.
    Come(usize, u8),
    Short(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![Just(4u64), Just(8), Just(64)];
    prop_oneof![
        (0u64..90_000).prop_map(Step::Wait),
        proptest::collection::vec(size(), 0..5).prop_map(Step::Want),
        any::<bool>().prop_map(Step::May),
        size().prop_map(Step::Take),
        (0usize..8, 0u8..4).prop_map(|(at, what)| Step::Come(at, what)),
        (0u64..128 << 20).prop_map(Step::Short),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(steps in proptest::collection::vec(step(), 1..120)) {
        let most = 80 << 20;
        let (mut pool, mut n, mut now) = (Pool::new(most), 0, 0);
        let (mut wanted, mut may) = (Vec::new(), true);
        // What the host has, and those that are paid for by guests.
        let mut given = Vec::new();
        let mut told: Vec<String> = Vec::new();
        for step in steps {
            let mut todo = Vec::new();
            match step {
                Step::Wait(ms) => now += ms,
                Step::Want(sizes) => wanted = sizes.into_iter().map(kind).collect(),
                Step::May(is) => may = is,
                Step::Take(mib) => {
                    let before: Vec<_> = pool.shells().filter(|(_, s)| s.phase == Phase::Ready && s.kind == kind(mib)).map(|(u, _)| u.to_owned()).collect();
                    let taken = pool.take(&kind(mib));
                    prop_assert_eq!(taken.is_some(), !before.is_empty());
                    if let Some(uuid) = taken {
                        prop_assert!(before.contains(&uuid) && !given.contains(&uuid));
                        given.push(uuid);
                    }
                }
                Step::Come(at, what) => {
                    let all: Vec<_> = pool.shells().map(|(u, s)| (u.to_owned(), s.phase)).collect();
                    let Some((uuid, phase)) = all.get(at).cloned() else { continue };
                    let came = match (phase, what) {
                        (Phase::Making, 0) => Came::Failed,
                        (Phase::Making, _) => Came::Ready,
                        (Phase::Given, 0 | 1) => Came::Ready,
                        (Phase::Given | Phase::Going, _) => Came::Gone,
                        (Phase::Ready, _) => continue,
                    };
                    pool.came(now, &uuid, came);
                    given.retain(|u| *u != uuid);
                    told.retain(|u| *u != uuid);
                }
                Step::Short(bytes) => {
                    let ready: u64 = pool.shells().filter(|(_, s)| s.phase == Phase::Ready).map(|(_, s)| s.kind.cost()).sum();
                    let gone = pool.give_up(now, bytes);
                    let freed: u64 = pool.shells().filter(|(u, _)| gone.contains(&Do::Destroy((*u).to_owned()))).map(|(_, s)| s.kind.cost()).sum();
                    prop_assert!(freed >= bytes.min(ready));
                    todo = gone;
                }
            }
            todo.extend(pool.next(now, &wanted, may));
            let makes: Vec<_> = todo.iter().filter(|d| matches!(d, Do::Make(_))).collect();
            prop_assert!(makes.len() <= usize::from(may));
            for d in &todo {
                match d {
                    Do::Make(kind) => prop_assert!(wanted.contains(kind)),
                    // Each is told to go once, and none that a guest has.
                    Do::Destroy(uuid) => {
                        prop_assert!(!told.contains(uuid) && !given.contains(uuid));
                        told.push(uuid.clone());
                    }
                }
            }
            begin(&mut pool, &todo, &mut n);
            prop_assert!(pool.shells().filter(|(_, s)| s.phase == Phase::Making).count() <= 1);
            prop_assert!(pool.cost() <= most, "{} of {most}", pool.cost());
        }
        // Whatever was: if all goes well from now on, there is in the end what is wanted, as far as it is paid for.
        for _ in 0..40 {
            now += 200_000;
            let all: Vec<_> = pool.shells().map(|(u, s)| (u.to_owned(), s.phase)).collect();
            for (uuid, phase) in all {
                match phase {
                    Phase::Making => pool.came(now, &uuid, Came::Ready),
                    Phase::Given | Phase::Going => pool.came(now, &uuid, Came::Gone),
                    Phase::Ready => {}
                }
            }
            let todo = pool.next(now, &wanted, true);
            begin(&mut pool, &todo, &mut n);
        }
        let mut left = wanted.clone();
        for (_, shell) in pool.shells() {
            prop_assert_eq!(shell.phase, Phase::Ready);
            let at = left.iter().position(|k| *k == shell.kind);
            prop_assert!(at.is_some(), "{shell:?} is not wanted");
            left.swap_remove(at.unwrap());
        }
        prop_assert!(left.iter().all(|k| pool.cost() + k.cost() > most));
        prop_assert!(pool.cost() <= most);
    }
}
