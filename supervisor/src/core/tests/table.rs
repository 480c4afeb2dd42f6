//! The table of one guest's life: every state with everything that may happen in it.

use crate::core::life::*;

const GOALS: [Goal; 5] = [Goal::Down, Goal::Up, Goal::Stop(7), Goal::Kill, Goal::Restart(7)];

const KINDS: [Kind; 13] = [
    Kind::Commit,
    Kind::Start,
    Kind::Anyway,
    Kind::Stop(5),
    Kind::Kill,
    Kind::Pause,
    Kind::Resume,
    Kind::Restart(5),
    Kind::Checkpoint,
    Kind::Restore,
    Kind::Fork,
    Kind::Relocate,
    Kind::Forget,
];

const TOLD: [Told; 9] = [
    Told::Running,
    Told::Paused,
    Told::Resumed,
    Told::Stopping(9),
    Told::NotPaused,
    Told::NotResumed,
    Told::Ended(true),
    Told::Ended(false),
    Told::Moved,
];

const FOUND: [Found; 11] = [
    Found::Alive(Alive::Starting),
    Found::Alive(Alive::Running),
    Found::Alive(Alive::Paused),
    Found::Alive(Alive::Stopping),
    Found::Ended(true),
    Found::Ended(false),
    Found::Moved,
    Found::Unbegun,
    Found::Idle(true),
    Found::Idle(false),
    Found::Blank,
];

fn stimuli() -> Vec<Stimulus> {
    let mut all = vec![Stimulus::Ready, Stimulus::Due];
    all.extend(KINDS.map(Stimulus::Verb));
    all.extend(TOLD.map(Stimulus::Told));
    all.extend(FOUND.map(Stimulus::Found));
    all
}

/// Goals that a state can have: what is wanted of what neither runs nor is to is nothing.
fn goals(state: State) -> Vec<Goal> {
    use State::*;
    match state {
        Adopting => GOALS.to_vec(),
        New | Stopped | Moved => vec![Goal::Down],
        Waiting | Backoff | Starting | Running | Pausing | Paused | Resuming => vec![Goal::Up],
        Stopping => vec![Goal::Stop(7), Goal::Restart(7)],
        Killing => vec![Goal::Kill, Goal::Stop(7), Goal::Restart(7)],
    }
}

fn lives() -> Vec<Life> {
    let all = State::ALL.into_iter();
    all.flat_map(|state| goals(state).into_iter().map(move |goal| Life { state, goal })).collect()
}

#[test]
fn whatever_happens_leads_to_a_life_that_there_is() {
    let lives = lives();
    for life in &lives {
        for stimulus in stimuli() {
            let Ok(next) = step(*life, stimulus) else {
                assert!(matches!(stimulus, Stimulus::Verb(_)), "{life:?} {stimulus:?}");
                continue;
            };
            let goals = goals(next.life.state);
            let fits = goals
                .iter()
                .any(|g| std::mem::discriminant(g) == std::mem::discriminant(&next.life.goal));
            assert!(fits, "{life:?} {stimulus:?} {next:?}");
        }
    }
}

#[test]
fn a_run_begins_where_there_is_none_and_orders_go_where_there_is_one() {
    for life in lives() {
        for stimulus in stimuli() {
            let Ok(next) = step(life, stimulus) else { continue };
            let (from, to) = (life.state, next.life.state);
            match next.act {
                Act::Launch => assert!(from == State::Waiting && to == State::Starting),
                Act::Relaunch => assert!(from == State::Adopting && to == State::Starting),
                Act::Forget => {
                    assert!(matches!(from, State::New | State::Stopped | State::Moved));
                }
                Act::Nothing => {}
                Act::Stop(_)
                | Act::Kill
                | Act::Pause
                | Act::Resume
                | Act::Checkpoint
                | Act::Restore
                | Act::Relocate => {
                    let found = matches!(stimulus, Stimulus::Found(Found::Alive(_)));
                    assert!((from.is_alive() || found) && to.is_alive(), "{life:?} {stimulus:?}");
                }
            }
            let ends = matches!(
                stimulus,
                Stimulus::Told(Told::Ended(_) | Told::Moved)
                    | Stimulus::Found(Found::Ended(_) | Found::Moved)
            );
            if from.is_alive() && !to.is_alive() {
                assert!(ends, "{life:?} {stimulus:?}: only its end ends it");
            }
            if from.is_alive() && ends {
                let told = matches!(stimulus, Stimulus::Told(_));
                assert_eq!(!to.is_alive(), told, "{life:?} {stimulus:?}");
            }
        }
    }
}

#[test]
fn an_end_that_was_asked_for_is_not_the_beginning_of_another_run() {
    for again in [true, false] {
        for (goal, state) in [
            (Goal::Up, if again { State::Backoff } else { State::Stopped }),
            (Goal::Stop(7), State::Stopped),
            (Goal::Kill, State::Stopped),
            (Goal::Restart(7), State::Waiting),
        ] {
            for from in State::ALL.into_iter().filter(|s| s.is_alive()) {
                let told = Stimulus::Told(Told::Ended(again));
                assert_eq!(step(Life { state: from, goal }, told).unwrap().life.state, state);
            }
            let adopting = Life { state: State::Adopting, goal };
            let found = Stimulus::Found(Found::Ended(again));
            assert_eq!(step(adopting, found).unwrap().life.state, state);
        }
    }
}

#[test]
fn what_has_moved_runs_here_again_only_if_somebody_insists() {
    for goal in GOALS {
        let adopting = Life { state: State::Adopting, goal };
        let moved = Life { state: State::Moved, goal: Goal::Down };
        let found = step(adopting, Stimulus::Found(Found::Moved)).unwrap();
        assert_eq!((found.life, found.act), (moved, Act::Nothing));
        for state in State::ALL.into_iter().filter(|s| s.is_alive()) {
            let told = step(Life { state, goal }, Stimulus::Told(Told::Moved)).unwrap();
            assert_eq!((told.life, told.act), (moved, Act::Nothing));
        }
    }
    let moved = Life { state: State::Moved, goal: Goal::Down };
    for stimulus in stimuli() {
        match (step(moved, stimulus), stimulus) {
            (Ok(next), Stimulus::Verb(Kind::Anyway)) => assert_eq!(next.life.goal, Goal::Up),
            (Ok(next), _) => {
                let nothing = matches!(next.act, Act::Nothing | Act::Forget);
                assert!(next.life == moved && nothing, "{stimulus:?} {next:?}");
            }
            (Err(Refused), _) => {}
        }
    }
}

#[test]
fn every_verb_has_the_places_that_it_has() {
    use State::*;
    let places: [(Kind, &[State]); 13] = [
        (
            Kind::Commit,
            &[
                New, Stopped, Moved, Waiting, Backoff, Starting, Running, Pausing, Paused,
                Resuming, Stopping, Killing,
            ],
        ),
        (Kind::Start, &[Stopped, Waiting, Backoff, Starting]),
        (Kind::Anyway, &[Moved]),
        (
            Kind::Stop(5),
            &[Waiting, Backoff, Starting, Running, Pausing, Paused, Resuming, Stopping, Killing],
        ),
        (
            Kind::Kill,
            &[Waiting, Backoff, Starting, Running, Pausing, Paused, Resuming, Stopping, Killing],
        ),
        (Kind::Pause, &[Running, Pausing]),
        (Kind::Resume, &[Paused, Resuming]),
        (
            Kind::Restart(5),
            &[
                Stopped, Waiting, Backoff, Starting, Running, Pausing, Paused, Resuming, Stopping,
                Killing,
            ],
        ),
        (Kind::Checkpoint, &[Running]),
        (Kind::Restore, &[Stopped, Waiting, Backoff, Running]),
        (Kind::Fork, &[Running]),
        (Kind::Relocate, &[Running]),
        (Kind::Forget, &[New, Stopped, Moved]),
    ];
    for (kind, states) in places {
        for life in lives() {
            let taken = step(life, Stimulus::Verb(kind)).is_ok();
            assert_eq!(taken, states.contains(&life.state), "{kind:?} {life:?}");
        }
    }
}

#[test]
fn every_state_can_be_left_for_every_other() {
    // By what somebody asks and what shims tell, from a guest that is just there.
    for from in State::ALL.into_iter().filter(|s| *s != State::Adopting) {
        let goal = goals(from)[0];
        let mut seen = vec![Life { state: from, goal }];
        let mut at = 0;
        while at < seen.len() {
            for stimulus in stimuli() {
                if let Ok(next) = step(seen[at], stimulus)
                    && !seen.contains(&next.life)
                {
                    seen.push(next.life);
                }
            }
            at += 1;
        }
        for to in State::ALL {
            // What has a configuration does not lose it, and only a new supervisor adopts.
            let never = to == State::Adopting || (to == State::New && from != State::New);
            let found = seen.iter().any(|l| l.state == to);
            assert_eq!(found, !never, "{from} to {to}");
        }
    }
}

#[test]
fn a_new_supervisor_knows_where_every_guest_is() {
    for goal in GOALS {
        for found in FOUND {
            let life = Life { state: State::Adopting, goal };
            let next = step(life, Stimulus::Found(found)).unwrap();
            assert_ne!(next.life.state, State::Adopting, "{goal:?} {found:?}");
            // What is there stays there, and what is not is not taken for running.
            let alive = matches!(found, Found::Alive(_)) || next.act == Act::Relaunch;
            assert_eq!(next.life.state.is_alive(), alive, "{goal:?} {found:?}");
        }
    }
}
