//! One behaviour at a time: order of starts, restarts, forks, and what a full disk changes.

use super::world::{World, image, name};
use crate::core::stutter::Verdict;
use crate::core::*;
use crate::shim::How;
use crate::store::Store;
use atoll_9p::fault::Errno;

fn world() -> World {
    let mut world = World::new(7);
    world.settle();
    world
}

fn define(world: &mut World, guest: &str, definition: Definition) -> Ask {
    let (definition, guest) = (Box::new(definition), name(guest));
    let ask = world.ask(|ask| Input::Define { ask, guest, definition, text: "x".into() });
    world.settle();
    ask
}

fn importing(of: &str) -> Definition {
    let mut definition = Definition::new(image(1).0);
    definition.imports.insert("x".into(), Bind::try_from(of.to_owned()).unwrap());
    definition
}

fn ask(world: &mut World, guest: &str, verb: Verb) -> Ask {
    world.ask(|ask| Input::Ask { ask, guest: name(guest), verb })
}

fn tell(world: &mut World, guest: &str, verb: Verb) -> Ask {
    let ask = ask(world, guest, verb);
    world.settle();
    ask
}

fn state(world: &World, guest: &str) -> State {
    world.core.as_ref().unwrap().guest(&name(guest)).unwrap().state()
}

fn refusal(world: &World, ask: Ask) -> (Errno, String) {
    let fault = world.answers[&ask].as_ref().unwrap_err();
    (fault.errno, fault.text().to_owned())
}

/// The words of the log about a guest.
fn words(world: &World, guest: &str) -> Vec<String> {
    let stored = world.store.peek();
    let about = stored.events.iter().filter(|e| e.guest == Some(name(guest)));
    about.map(|e| e.what.to_string()).collect()
}

#[test]
fn a_start_starts_what_is_imported_first() {
    let mut world = world();
    define(&mut world, "db", Definition::new(image(2).0));
    define(&mut world, "web", importing("db/export/kv"));
    define(&mut world, "top", importing("web"));
    let start = tell(&mut world, "top", Verb::Start);
    assert_eq!(world.answers[&start], Ok(()));
    let order: Vec<String> = world
        .store
        .peek()
        .events
        .iter()
        .filter(|e| matches!(e.what, What::Starting(_) | What::Running(_) | What::Waiting(_)))
        .map(|e| format!("{} {}", e.guest.as_ref().unwrap(), e.what.name()))
        .collect();
    let place = |text: &str| order.iter().position(|o| o == text).unwrap();
    assert!(place("db running") < place("web starting"), "{order:?}");
    assert!(place("web running") < place("top starting"), "{order:?}");
    assert!(order.contains(&"top waiting".to_owned()));
}

#[test]
fn who_waits_for_a_guest_that_does_not_come_learns_it_and_can_give_up() {
    let mut world = world();
    define(&mut world, "db", Definition::new(image(2).0));
    define(&mut world, "web", importing("db"));
    let start = ask(&mut world, "web", Verb::Start);
    // It is stopped before it runs.
    while !matches!(world.hosts.get(&name("db")), Some(h) if h.shim.is_some()) {
        world.turn();
    }
    tell(&mut world, "db", Verb::Kill);
    let (errno, text) = refusal(&world, start);
    assert_eq!(errno, Errno::EAGAIN);
    assert!(text.starts_with("web waits for db, whose tree it imports"), "{text}");
    assert_eq!(state(&world, "web"), State::Waiting);
    let stop = tell(&mut world, "web", Verb::Stop(None));
    assert_eq!(world.answers[&stop], Ok(()));
    assert_eq!(state(&world, "web"), State::Stopped);
    assert_eq!(words(&world, "web").last().unwrap(), "cancelled");
    // With what is imported, it goes on by itself.
    let start = ask(&mut world, "web", Verb::Start);
    world.settle();
    assert_eq!(world.answers[&start], Ok(()));
}

#[test]
fn guests_cannot_wait_for_themselves_or_for_nobody() {
    let mut world = world();
    let start = define(&mut world, "a", importing("b"));
    assert_eq!(world.answers[&start], Ok(()));
    let start = tell(&mut world, "a", Verb::Start);
    let (errno, text) = refusal(&world, start);
    assert_eq!(errno, Errno::EINVAL);
    assert_eq!(text, "a imports the tree of b, which is not defined");
    define(&mut world, "b", importing("c"));
    let cycle = define(&mut world, "c", importing("a"));
    let (errno, text) = refusal(&world, cycle);
    assert_eq!(errno, Errno::EINVAL);
    assert_eq!(text, "\"c\" would wait for itself: c imports a, which imports b, which imports c");
    let alone = define(&mut world, "d", importing("d"));
    assert!(refusal(&world, alone).1.ends_with("d imports d"));
}

#[test]
fn definitions_are_checked_against_their_images() {
    let mut world = world();
    let mut unbound = Definition::new(image(1).0);
    unbound.stop = 1;
    let mut more = Definition::new(image(2).0);
    more.imports.insert("y".into(), Bind::Folder("/srv".into()));
    let mut far = Definition::new(image(2).0);
    far.listen.push("192.0.2.1:5".parse().unwrap());
    let resume = Definition { resume: true, ..Definition::new(image(2).0) };
    let keep = Definition { keep: Some(std::num::NonZeroU32::MIN), ..Definition::new(image(2).0) };
    for (definition, errno, text) in [
        (Definition::new(image(8).0), Errno::ENOENT, "there is no image 000"),
        (unbound, Errno::EINVAL, "imports x, and nothing is bound to it"),
        (more, Errno::EINVAL, "[imports] y: the image has no import"),
        (far, Errno::EINVAL, "only this machine's own addresses"),
        (resume, Errno::EINVAL, "resume = true"),
        (keep, Errno::EINVAL, "keep: "),
    ] {
        let ask = define(&mut world, "a", definition);
        let (found, why) = refusal(&world, ask);
        assert!(found == errno && why.contains(text), "{why}");
    }
    assert!(world.store.peek().guests.is_empty());
    define(&mut world, "a", Definition::new(image(2).0));
    let hash = image(2).0;
    let drop = world.ask(|ask| Input::DropImage { ask, hash });
    world.settle();
    assert!(refusal(&world, drop).1.contains("the guest a has this image"));
    for verb in [Verb::Checkpoint, Verb::Fork(name("b"))] {
        tell(&mut world, "a", Verb::Start);
        let ask = tell(&mut world, "a", verb);
        assert_eq!(refusal(&world, ask).0, Errno::EOPNOTSUPP);
    }
}

#[test]
fn a_guest_that_fails_is_started_again_ever_later_and_then_left() {
    let mut world = world();
    let mut definition = Definition::new(image(2).0);
    definition.restart =
        Restart { policy: Policy::OnFailure, delay: 100, limit: 300, tries: 4, healthy: 1 << 40 };
    define(&mut world, "a", definition);
    tell(&mut world, "a", Verb::Start);
    for _ in 0..4 {
        let host = world.hosts.get_mut(&name("a")).unwrap();
        host.shim.as_mut().unwrap().doomed = Some(How::Crashed);
        world.settle();
    }
    let again: Vec<String> = words(&world, "a")
        .into_iter()
        .filter(|w| w.starts_with("again") || w.starts_with("gave-up"))
        .collect();
    assert_eq!(
        again,
        [
            "again in 100 ms, failures 1",
            "again in 200 ms, failures 2",
            "again in 300 ms, failures 3",
            "gave-up failures 4"
        ]
    );
    assert_eq!(state(&world, "a"), State::Stopped);
    let record = world.store.peek().guests[&name("a")].clone();
    assert_eq!((record.run, record.restarts, record.failures), (4, 3, 4));
    // Somebody who starts it begins a new row.
    tell(&mut world, "a", Verb::Start);
    assert_eq!(world.store.peek().guests[&name("a")].failures, 0);
}

#[test]
fn a_fork_is_a_guest_of_its_own() {
    let mut world = world();
    define(&mut world, "a", Definition::new(image(0).0));
    tell(&mut world, "a", Verb::Start);
    let fork = tell(&mut world, "a", Verb::Fork(name("b")));
    assert_eq!(world.answers[&fork], Ok(()));
    let stored = world.store.peek();
    let (a, b) = (&stored.guests[&name("a")], &stored.guests[&name("b")]);
    assert_eq!((b.config.as_ref(), b.fork_of.as_ref()), (a.config.as_ref(), Some(&name("a"))));
    assert!(a.id != b.id && a.epoch != b.epoch);
    assert_eq!(state(&world, "b"), State::Running);
    let taken = tell(&mut world, "a", Verb::Fork(name("b")));
    assert_eq!(refusal(&world, taken).0, Errno::EEXIST);
    assert!(words(&world, "a").contains(&"forked b".to_owned()));
    assert!(words(&world, "b").contains(&"fork-of a".to_owned()));
}

#[test]
fn a_full_disk_refuses_wishes_and_keeps_nothing_alive() {
    let mut world = world();
    define(&mut world, "a", Definition::new(image(2).0));
    define(&mut world, "b", Definition::new(image(2).0));
    tell(&mut world, "a", Verb::Start);
    world.trouble(true);
    let start = ask(&mut world, "b", Verb::Start);
    let kill = ask(&mut world, "a", Verb::Kill);
    for _ in 0..400 {
        world.turn();
        if !world.is_busy() {
            world.shim();
            world.pass();
        }
    }
    let (errno, text) = refusal(&world, start);
    assert!(errno == Errno::ENOSPC && text.contains("make room there"), "{text}");
    let (errno, text) = refusal(&world, kill);
    assert!(errno == Errno::ENOSPC && text.starts_with("the guest was told so, but"), "{text}");
    assert!(world.hosts[&name("a")].shim.is_none(), "it lives on because a disk is full");
    // What is asked of it meanwhile is refused for the same reason, at once.
    let start = ask(&mut world, "a", Verb::Start);
    for _ in 0..20 {
        world.turn();
    }
    assert_eq!(refusal(&world, start).0, Errno::ENOSPC);
    let before = world.store.peek();
    world.settle();
    let after = world.store.peek();
    assert!(before.guests[&name("a")].is_underway() && !after.guests[&name("a")].is_underway());
    assert_eq!(state(&world, "a"), State::Stopped);
    assert_eq!(state(&world, "b"), State::Stopped);
}

#[test]
fn what_runs_counts_more_than_a_store_that_is_older() {
    let mut world = world();
    define(&mut world, "a", Definition::new(image(2).0));
    define(&mut world, "b", Definition::new(image(2).0));
    let backup = world.store.load().unwrap();
    for guest in ["a", "b", "b"] {
        tell(&mut world, guest, Verb::Restart(None));
    }
    // Its shims are of runs that this store has never heard of.
    world.restore(backup);
    world.settle();
    assert_eq!((state(&world, "a"), state(&world, "b")), (State::Running, State::Running));
    let stored = world.store.peek();
    assert_eq!((stored.guests[&name("a")].run, stored.guests[&name("b")].run), (1, 2));
    tell(&mut world, "b", Verb::Restart(None));
    let stored = world.store.peek();
    assert!(stored.guests[&name("b")].run == 3 && stored.guests[&name("b")].epoch > 3);
}

#[test]
fn a_folder_that_nobody_knows_is_told_and_left_alone() {
    let mut world = world();
    define(&mut world, "a", Definition::new(image(2).0));
    tell(&mut world, "a", Verb::Start);
    world.restore(crate::store::Loaded::empty());
    world.settle();
    assert_eq!(words(&world, "a"), ["orphan"]);
    let make = world.ask(|ask| Input::Make { ask, guest: name("a") });
    world.settle();
    let (errno, text) = refusal(&world, make);
    assert!(errno == Errno::EEXIST && text.contains("atoll doctor"), "{text}");
    assert!(world.hosts[&name("a")].shim.is_some());
}

#[test]
fn many_readers_of_wait_are_answered_and_the_rest_refused() {
    let mut world = world();
    define(&mut world, "a", Definition::new(image(2).0));
    tell(&mut world, "a", Verb::Start);
    let wait = |world: &mut World| {
        world.ask(|ask| Input::Wait { ask, guest: name("a"), until: Until::Ended })
    };
    let first = wait(&mut world);
    world.withdraw(first);
    let all: Vec<Ask> = (0..5000).map(|_| wait(&mut world)).collect();
    while world.is_busy() {
        world.turn();
    }
    tell(&mut world, "a", Verb::Kill);
    let (mut done, mut refused) = (0, 0);
    for ask in all {
        match &world.answers[&ask] {
            Ok(()) => done += 1,
            Err(fault) => {
                assert_eq!(fault.errno, Errno::ENOBUFS);
                refused += 1;
            }
        }
    }
    assert_eq!((done, refused), (4096, 904));
    assert!(!world.answers.contains_key(&first));
}

#[test]
fn a_slow_guest_is_told_and_restarted_where_that_was_asked_for() {
    let mut world = world();
    let mut definition = Definition::new(image(2).0);
    define(&mut world, "a", definition.clone());
    definition.expect = Some(Expect { then: Then::Restart, ..Expect::default() });
    define(&mut world, "b", definition);
    for guest in ["a", "b"] {
        tell(&mut world, guest, Verb::Start);
        for run in [7, 1, 1] {
            let verdict = Verdict::Stuttering("too slow".into());
            world.give(Input::Judged { guest: name(guest), run, verdict });
            world.settle();
        }
        world.give(Input::Judged { guest: name(guest), run: 1, verdict: Verdict::Steady });
        world.settle();
    }
    let told = |guest| {
        let words = words(&world, guest).into_iter();
        words.filter(|w| w.starts_with("stuttering") || w == "steady").collect::<Vec<_>>()
    };
    assert_eq!(told("a"), ["stuttering too slow", "steady"]);
    assert_eq!(told("b"), ["stuttering too slow"]);
    let runs = |guest| world.store.peek().guests[&name(guest)].run;
    assert_eq!((runs("a"), runs("b")), (1, 2));
    assert_eq!(state(&world, "b"), State::Running);
}

/// A guest `a` that is always started again, and one `b` that imports its tree; `a` has moved.
fn moved() -> World {
    let mut world = world();
    let mut definition = Definition::new(image(2).0);
    definition.restart.policy = Policy::Always;
    define(&mut world, "a", definition);
    define(&mut world, "b", importing("a"));
    tell(&mut world, "a", Verb::Start);
    let host = world.hosts.get_mut(&name("a")).unwrap();
    host.shim.as_mut().unwrap().doomed = Some(How::Moved);
    world.settle();
    world
}

#[test]
fn what_has_moved_is_started_here_by_nobody_but_who_insists() {
    for dies in [false, true] {
        let mut world = moved();
        for verb in [Verb::Start, Verb::Restart(None), Verb::Restore(1)] {
            if dies {
                world.kill();
                world.begin();
            }
            let start = tell(&mut world, "a", verb);
            let (errno, text) = refusal(&world, start);
            assert!(errno == Errno::EBUSY && text.contains("would run twice"), "{text}");
            assert!(text.ends_with("start anyway, rmdir; moved"), "{text}");
        }
        // Nor is it by who needs it, who hears why.
        let start = tell(&mut world, "b", Verb::Start);
        let (errno, text) = refusal(&world, start);
        assert!(errno == Errno::EAGAIN && text.contains("does not run (moved)"), "{text}");
        assert_eq!((state(&world, "a"), state(&world, "b")), (State::Moved, State::Waiting));
        let anyway = tell(&mut world, "a", Verb::Anyway);
        assert_eq!(world.answers[&anyway], Ok(()));
        assert_eq!((state(&world, "a"), state(&world, "b")), (State::Running, State::Running));
        // Under 1 it was started, and elsewhere it is under 2.
        let record = world.store.peek().guests[&name("a")].clone();
        assert_eq!((record.run, record.epoch), (2, 3));
        let anyway = tell(&mut world, "a", Verb::Anyway);
        assert!(refusal(&world, anyway).1.contains("it has not moved"));
        tell(&mut world, "a", Verb::Kill);
        assert_eq!(state(&world, "a"), State::Stopped);
        tell(&mut world, "a", Verb::Start);
        assert_eq!(state(&world, "a"), State::Running);
    }
}

#[test]
fn who_insisted_and_thought_better_of_it_finds_it_moved() {
    let mut world = moved();
    tell(&mut world, "b", Verb::Start);
    tell(&mut world, "a", Verb::Kill);
    let mut definition = Definition::new(image(1).0);
    definition.imports.insert("x".into(), Bind::try_from("c".to_owned()).unwrap());
    define(&mut world, "c", Definition::new(image(2).0));
    tell(&mut world, "c", Verb::Start);
    let host = world.hosts.get_mut(&name("c")).unwrap();
    host.shim.as_mut().unwrap().doomed = Some(How::Moved);
    world.settle();
    define(&mut world, "a", definition);
    for dies in [false, true] {
        let anyway = tell(&mut world, "a", Verb::Anyway);
        assert_eq!(refusal(&world, anyway).0, Errno::EAGAIN);
        assert_eq!(state(&world, "a"), State::Waiting);
        if dies {
            world.kill();
            world.begin();
            world.settle();
            assert_eq!(state(&world, "a"), State::Waiting);
        }
        tell(&mut world, "a", Verb::Stop(None));
        assert_eq!(state(&world, "a"), State::Moved);
    }
    let forget = tell(&mut world, "a", Verb::Forget);
    assert_eq!(world.answers[&forget], Ok(()));
}
