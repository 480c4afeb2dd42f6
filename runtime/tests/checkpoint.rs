//! A guest that goes on from a checkpoint goes on as the one that it was taken of:
//! `runtime/MODEL.md` names these tests.

mod common;

use atoll_config::checkpoint::Whole;
use atoll_runtime::fake::Fake;
use common::acts::ATOMS;
use common::checkpoint::*;
use common::script::*;
use proptest::prelude::*;

/// One thing to do, as a script says it: what the model knows, and more.
fn act() -> impl Strategy<Value = String> {
    let who = || prop::sample::select(ATOMS.to_vec());
    prop_oneof![
        20 => common::acts::act(),
        1 => who().prop_map(|w| format!("send {w} ask {w} sleep 5")),
        1 => (0..3).prop_map(|n| format!("spawn s{n} start sleep 9")),
        1 => (0..3).prop_map(|n| format!("send s{n} random")),
        1 => Just("emit a line".to_owned()),
        1 => Just("cat /data/x 0 10".to_owned()),
        1 => Just("echo /data/x 0 text".to_owned()),
        1 => (1..9000).prop_map(|n| format!("grow {n}")),
        1 => (0..9000).prop_map(|at| format!("fill {at} abc")),
        1 => Just("sum".to_owned()),
    ]
}

/// Who does what, how it ends (nothing, `refuse` or `trap`), what his ctl is told then, and
/// how many steps come before the next.
type Command = (usize, Vec<String>, &'static str, &'static str, usize);

fn command() -> impl Strategy<Value = Command> {
    let end = prop_oneof![12 => Just(""), 1 => Just("refuse"), 1 => Just("trap")];
    let ctl =
        prop_oneof![9 => Just(""), 1 => Just("pause"), 2 => Just("resume"), 1 => Just("kill")];
    (0..ATOMS.len(), prop::collection::vec(act(), 1..5), end, ctl, 0..12usize)
}

/// Asks for it all, and does a few steps of that.
fn perform(g: &mut Guest, (me, acts, end, ctl, n): &Command) {
    let line = format!("{};{end}", acts.join(";"));
    let write = |text: &str| atoll_9p::ops::What::Write(text.as_bytes().to_vec());
    g.p.start(&format!("export/{}/ctl", ATOMS[*me]), write(&line));
    g.drive_steps(*n);
    if !ctl.is_empty() {
        g.p.start(&format!("atom/{}/ctl", ATOMS[*me]), write(ctl));
        g.drive();
    }
}

/// A guest that has been through this; none if that ended it.
fn after_all(commands: &[Command]) -> Option<Guest> {
    let mut g = Guest::new(atoms(&ATOMS.map(|name| (name, ""))));
    for c in commands {
        perform(&mut g, c);
        g.wait(3);
    }
    g.w.rt.exit().is_none().then_some(g)
}

/// A machine on which another guest of the same payload has begun.
fn other(now: u64) -> Guest {
    let mut fake = Fake::new(99);
    fake.now = now;
    Guest::on(fake, atoms(&ATOMS.map(|name| (name, ""))))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    /// Wherever a checkpoint is taken, and whatever the machine on which the guest goes on:
    /// the same happens to it from then on, and at the end it is the same.
    #[test]
    fn a_restored_guest_goes_on_as_the_one_it_was_taken_of(
        before in prop::collection::vec(command(), 0..25),
        after in prop::collection::vec(command(), 0..15),
        later in 0u64..1000,
    ) {
        let Some(mut a) = after_all(&before) else { return Ok(()) };
        let (checkpoint, was) = (cut(&mut a), state(&mut a));
        let mut b = other(later);
        go_on(&mut b, &checkpoint).expect("a good checkpoint");
        prop_assert_eq!(state(&mut b), was);
        prop_assert_eq!(&cut(&mut b)[..80], &checkpoint[..80]);
        let mut both = [&mut a, &mut b].map(|g| {
            // Requests that were under way belong to a client.
            g.clients_anew();
            seen();
            let mut all = Vec::new();
            for c in &after {
                perform(g, c);
                g.wait(3);
                all.extend(seen());
            }
            g.wait(1000);
            all.extend(seen());
            let used = core(g).sponsor.used;
            (all, state(g), used, g.w.rt.exit())
        });
        let [a, b] = &mut both;
        prop_assert_eq!(&a.0, &b.0);
        prop_assert_eq!(&a.3, &b.3);
        if a.3.is_none() {
            prop_assert!(a.1 == b.1, "the guests differ at the end");
            prop_assert_eq!(a.2, b.2);
        }
    }
}

/// What is done to bytes: where, how, and with what.
type Change = (prop::sample::Index, u8, u8);

fn change(bytes: &mut Vec<u8>, (at, how, with): &Change) {
    let n = at.index(bytes.len());
    match how {
        0 => bytes[n] = *with,
        1 => bytes[n] = bytes[n].wrapping_add(1),
        2 => bytes[n] = 0xff,
        3 => bytes.insert(n, *with),
        _ => drop(bytes.remove(n)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    /// Whatever a state claims: it is refused and changes nothing, or it is a guest that
    /// runs within its budget.
    #[test]
    fn a_state_is_believed_only_as_far_as_it_was_checked(
        before in prop::collection::vec(command(), 0..15),
        changes in prop::collection::vec(prop::collection::vec((any::<prop::sample::Index>(), 0..5u8, any::<u8>()), 1..4), 1..40),
        after in prop::collection::vec(command(), 0..3),
    ) {
        let Some(mut a) = after_all(&before) else { return Ok(()) };
        let good = Whole::read(&cut(&mut a), 1 << 20).expect("a good checkpoint");
        let mut b = other(5);
        for changes in &changes {
            let mut bad = good.clone();
            changes.iter().for_each(|c| change(&mut bad.state, c));
            let was = state(&mut b);
            if go_on(&mut b, &bad.write().0).is_err() {
                prop_assert!(was == state(&mut b));
                continue;
            }
            for c in &after {
                perform(&mut b, c);
                b.wait(20);
            }
            let sponsor = core(&mut b).sponsor;
            prop_assert!(sponsor.used.memory <= sponsor.limit.memory);
            if b.w.rt.exit().is_some() {
                b = other(5);
            }
        }
    }
}
