//! Supervisors that are killed at any step: no guest is lost, none runs twice, nothing that
//! was acknowledged is forgotten, and the log tells every run once.

use proptest::prelude::*;

use super::world::{World, image, name};
use crate::core::*;
use crate::shim::How;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn any_name(world: &mut World) -> Name {
    name(NAMES[world.rng.below(NAMES.len() as u64) as usize])
}

fn any_definition(world: &mut World) -> Definition {
    let n = world.rng.below(3);
    let mut definition = Definition::new(image(n).0);
    let rng = &mut world.rng;
    definition.restart = Restart {
        policy: [Policy::Never, Policy::OnFailure, Policy::Always][rng.below(3) as usize],
        delay: 1 + rng.below(300),
        limit: 2000,
        tries: rng.below(5) as u32,
        healthy: 500,
    };
    definition.stop = rng.below(3000);
    if n == 1 {
        let from = NAMES[rng.below(NAMES.len() as u64) as usize];
        definition.imports.insert("x".into(), Bind::try_from(from.to_owned()).unwrap());
    }
    definition
}

fn any_verb(world: &mut World) -> Verb {
    match world.rng.below(16) {
        0..=3 => Verb::Start,
        4 => Verb::Anyway,
        5 => Verb::Stop(Some(world.rng.below(500))),
        6 => Verb::Stop(None),
        7 => Verb::Kill,
        8 | 9 => Verb::Pause,
        10 => Verb::Resume,
        11 => Verb::Restart(None),
        12 => Verb::Checkpoint,
        13 => Verb::Restore(3),
        14 => Verb::Fork(any_name(world)),
        _ => Verb::Forget,
    }
}

fn any_ask(world: &mut World) {
    let guest = any_name(world);
    match world.rng.below(12) {
        0 => drop(world.ask(|ask| Input::Make { ask, guest })),
        1 => {
            let text = Some(format!("draft {}", world.step));
            world.ask(|ask| Input::Draft { ask, guest, text });
        }
        2 | 3 => {
            let definition = Box::new(any_definition(world));
            let text = format!("# {}", world.step);
            world.ask(|ask| Input::Define { ask, guest, definition, text });
        }
        4 => {
            let until = [Until::Running, Until::Ended][world.rng.below(2) as usize];
            world.ask(|ask| Input::Wait { ask, guest, until });
        }
        5 if world.rng.percent(30) => {
            let (hash, image) = image(world.rng.below(4));
            world.ask(|ask| Input::AddImage { ask, hash, image });
        }
        5 if world.rng.percent(30) => {
            let hash = image(world.rng.below(4)).0;
            world.ask(|ask| Input::DropImage { ask, hash });
        }
        _ => {
            let verb = any_verb(world);
            world.ask(|ask| Input::Ask { ask, guest, verb });
        }
    }
}

/// So many steps of everything at once.
fn chaos(world: &mut World, steps: u64, kills: bool) {
    for _ in 0..steps {
        match world.rng.below(100) {
            0..=59 => world.turn(),
            60..=79 => world.shim(),
            80..=86 => world.pass(),
            87..=95 => any_ask(world),
            96 => {
                let open: Vec<Ask> = world.open.keys().copied().collect();
                if !open.is_empty() {
                    let at = world.rng.below(open.len() as u64) as usize;
                    world.withdraw(open[at]);
                }
            }
            97 => {
                let full = world.rng.percent(40);
                world.trouble(full);
            }
            98 if kills => world.kill(),
            _ if world.core.is_none() => world.begin(),
            _ => world.turn(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn a_supervisor_that_dies_at_any_step_loses_nothing(seed: u64, steps in 50..500u64) {
        let mut world = World::new(seed);
        for _ in 0..1 + seed % 3 {
            world.calm = false;
            chaos(&mut world, steps, true);
            world.settle();
        }
    }

    #[test]
    fn a_supervisor_that_lives_answers_everything(seed: u64) {
        let mut world = World::new(seed);
        chaos(&mut world, 400, false);
        world.settle();
    }
}

/// Goes on until nothing happens, or so many steps were taken.
fn run(world: &mut World, steps: u64) {
    world.calm = true;
    for _ in 0..steps {
        world.turn();
        if !world.is_busy() {
            world.shim();
            world.pass();
        }
    }
}

fn define(world: &mut World, guest: &str) {
    let mut definition = Definition::new(image(0).0);
    definition.restart.policy = Policy::Always;
    let (definition, guest) = (Box::new(definition), name(guest));
    world.ask(|ask| Input::Define { ask, guest, definition, text: "x".into() });
    world.settle();
}

fn ask(world: &mut World, guest: &str, verb: Verb) -> Ask {
    world.ask(|ask| Input::Ask { ask, guest: name(guest), verb })
}

/// What is done to a guest `a` that was brought to where that can be done.
fn operations() -> Vec<(&'static str, Vec<Verb>, Option<Verb>)> {
    vec![
        ("start", vec![], Some(Verb::Start)),
        ("stop", vec![Verb::Start], Some(Verb::Stop(Some(100)))),
        ("kill", vec![Verb::Start], Some(Verb::Kill)),
        ("pause", vec![Verb::Start], Some(Verb::Pause)),
        ("resume", vec![Verb::Start, Verb::Pause], Some(Verb::Resume)),
        ("restart", vec![Verb::Start], Some(Verb::Restart(Some(100)))),
        ("checkpoint", vec![Verb::Start], Some(Verb::Checkpoint)),
        ("restore", vec![], Some(Verb::Restore(1))),
        ("fork", vec![Verb::Start], Some(Verb::Fork(name("z")))),
        ("forget", vec![], Some(Verb::Forget)),
        ("make", vec![], None),
        ("define", vec![], None),
        ("draft", vec![], None),
        ("image", vec![], None),
        ("fail", vec![Verb::Start], None),
        ("move", vec![Verb::Start], None),
    ]
}

#[test]
fn every_operation_outlives_200_deaths() {
    for (what, before, verb) in operations() {
        let mut deaths = 0;
        for seed in 0..220u64 {
            let mut world = World::new(seed);
            world.settle();
            define(&mut world, "a");
            for verb in &before {
                ask(&mut world, "a", verb.clone());
                world.settle();
            }
            match (&verb, what) {
                (Some(verb), _) => drop(ask(&mut world, "a", verb.clone())),
                (None, "make") => drop(world.ask(|ask| Input::Make { ask, guest: name("n") })),
                (None, "draft") => {
                    let text = Some("later".into());
                    world.ask(|ask| Input::Draft { ask, guest: name("a"), text });
                }
                (None, "define") => {
                    let definition = Box::new(Definition::new(image(2).0));
                    let (guest, text) = (name("n"), "new".to_owned());
                    world.ask(|ask| Input::Define { ask, guest, definition, text });
                }
                (None, "image") => {
                    let (hash, image) = image(9);
                    world.ask(|ask| Input::AddImage { ask, hash, image });
                }
                (None, _) => {
                    // It ends by itself, and its policy starts it again if it has not moved.
                    let how = if what == "move" { How::Moved } else { How::Crashed };
                    let shim = world.hosts.get_mut(&name("a")).and_then(|h| h.shim.as_mut());
                    shim.unwrap().doomed = Some(how);
                }
            }
            // Death comes after so many steps: before the first, and past the last.
            run(&mut world, seed % 22);
            deaths += u64::from(world.core.is_some());
            world.kill();
            run(&mut world, seed % 5);
            world.begin();
            world.settle();
            let guest = world.core.as_ref().unwrap().guest(&name("a"));
            assert!(guest.is_some() || what == "forget", "{what}, seed {seed}: a is lost");
            match what {
                "fail" => assert_eq!(guest.unwrap().state(), State::Running, "seed {seed}"),
                "move" => assert_eq!(guest.unwrap().state(), State::Moved, "seed {seed}"),
                _ => {}
            }
        }
        assert!(deaths >= 200, "{what}: {deaths}");
    }
}
