//! A guest that goes on from a checkpoint goes on as the one that it was taken of:
//! `runtime/MODEL.md` names these tests.

mod common;

use atoll_9p::fault::Fault;
use atoll_runtime::core::Core;
use atoll_runtime::fake::Fake;
use atoll_runtime::snapshot::{Fresh, Incoming, State};
use common::script::*;
use common::*;
use proptest::prelude::*;

const ATOMS: [&str; 3] = ["a", "b", "c"];

/// One thing to do, as a script says it.
fn act() -> impl Strategy<Value = String> {
    let who = || prop::sample::select(ATOMS.to_vec());
    prop_oneof![
        who().prop_map(|w| format!("send {w} hello")),
        who().prop_map(|w| format!("send {w} ask {w} sleep 5")),
        who().prop_map(|w| format!("ask {w} reply 1 ok")),
        who().prop_map(|w| format!("ask {w}")),
        Just("reply 0 late".to_owned()),
        (0u64..60).prop_map(|ns| format!("sleep {ns}")),
        Just("lose".to_owned()),
        Just("lock 1".to_owned()),
        Just("share 1".to_owned()),
        Just("unlock 1".to_owned()),
        (who(), 0..3).prop_map(|(w, code)| format!("signal {w} {code} 1")),
        (0..8).prop_map(|bits| format!("mask {bits}")),
        (0..8).prop_map(|bits| format!("unmask {bits}")),
        (0..3, 0..9).prop_map(|(k, v)| format!("put k{k} v{v}")),
        (0..3).prop_map(|k| format!("del k{k}")),
        Just("append r".to_owned()),
        Just("add 8 1".to_owned()),
        (0..2).prop_map(|n| format!("register n{n}")),
        (0..3).prop_map(|n| format!("spawn s{n} start sleep 9")),
        (0..3).prop_map(|n| format!("kill s{n}")),
        (0..3).prop_map(|n| format!("send s{n} random")),
        Just("emit a line".to_owned()),
        Just("cat /data/x 0 10".to_owned()),
        Just("echo /data/x 0 text".to_owned()),
        (1..9000).prop_map(|n| format!("grow {n}")),
        (0..9000).prop_map(|at| format!("fill {at} abc")),
        Just("sum".to_owned()),
        Just("random".to_owned()),
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

fn core(g: &mut Guest) -> &mut Core<'static> {
    g.w.rt.guest(ONE).expect("a guest")
}

/// What a guest is, as bytes that are the same for guests that are the same.
fn state(g: &mut Guest) -> Vec<u8> {
    let state = core(g).capture();
    State::without_figures(state).to_bytes()
}

/// A checkpoint.
fn cut(g: &mut Guest) -> Vec<u8> {
    bytes(&core(g).cut(false).expect("a checkpoint"))
}

fn bytes(cut: &atoll_runtime::snapshot::Cut) -> Vec<u8> {
    let mut bytes = vec![0; cut.len() as usize];
    assert_eq!(cut.read(0, &mut bytes), bytes.len());
    bytes
}

/// A machine on which another guest of the same payload has begun.
fn other(now: u64) -> Guest {
    let mut fake = Fake::new(99);
    fake.now = now;
    Guest::on(fake, atoms(&ATOMS.map(|name| (name, ""))))
}

/// Makes a guest go on from a checkpoint, without its being told.
fn go_on(g: &mut Guest, checkpoint: &[u8]) -> Result<(), Fault> {
    let mut incoming = Incoming::default();
    let mut whole = false;
    for piece in checkpoint.chunks(1000) {
        whole = incoming.feed(core(g), piece)?;
    }
    assert!(whole);
    let fresh: Fresh<'_> = incoming.take().expect("a guest");
    core(g).become_other(fresh);
    Ok(())
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
        let mut a = Guest::new(atoms(&ATOMS.map(|name| (name, ""))));
        for c in &before {
            perform(&mut a, c);
            a.wait(3);
        }
        if a.w.rt.exit().is_some() {
            return Ok(());
        }
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
