//! Every built-in kind: the two lists agree, and a state survives its bytes.

mod common;

use atoll_9p::synth::Command;
use atoll_config::kinds::KINDS;
use atoll_config::payload::Value;
use atoll_runtime::component::{Component, Entry, FileKind};
use atoll_runtime::native::BUILT_IN;
use common::*;

fn make(entry: &Entry) -> Box<dyn Component> {
    let kind = KINDS.iter().find(|k| k.name == entry.kind).expect("a kind");
    let params: Vec<_> = kind.params.iter().map(|p| p.default().expect("a default")).collect();
    (entry.make)(&params).expect("defaults are good")
}

#[test]
fn the_registry_is_the_list_that_the_builder_reads() {
    let ours: Vec<_> = BUILT_IN.iter().map(|e| (e.kind, e.state_version)).collect();
    let theirs: Vec<_> = KINDS.iter().map(|k| (k.name, k.state_version)).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn parameters_of_another_kind_are_refused() {
    for entry in BUILT_IN {
        make(entry);
        let kind = KINDS.iter().find(|k| k.name == entry.kind).expect("a kind");
        if !kind.params.is_empty() {
            assert!((entry.make)(&[]).is_err(), "{}", entry.kind);
            let wrong = vec![Value::Bool(true); kind.params.len()];
            assert!((entry.make)(&wrong).is_err(), "{}", entry.kind);
        }
    }
}

#[test]
fn a_period_of_nothing_is_refused() {
    for entry in BUILT_IN.iter().filter(|e| matches!(e.kind, "clock" | "sensor")) {
        let int = Value::Int(0);
        assert!((entry.make)(&[Value::Span(0), int, int, Value::Text("")]).is_err());
    }
}

#[test]
fn file_names_of_a_kind_differ_and_verbs_have_names() {
    for entry in BUILT_IN {
        for (i, f) in entry.files.iter().enumerate() {
            assert!(!f.name.is_empty() && !f.name.contains('/'));
            assert!(entry.files[..i].iter().all(|g| g.name != f.name), "{}", f.name);
            if let FileKind::Ctl(verbs) = f.kind {
                verbs.iter().for_each(|v| {
                    assert!(Command::parse(verbs, v.name.as_bytes()).is_ok() || !v.usage.is_empty())
                });
            }
        }
    }
}

#[test]
fn bytes_that_are_no_state_are_refused_and_change_nothing() {
    for entry in BUILT_IN {
        let mut c = make(entry);
        let state = c.save();
        let refused = |c: &mut Box<dyn Component>, bytes: &[u8]| {
            assert!(c.restore(bytes).is_err(), "{}: {bytes:?}", entry.kind);
            assert_eq!(c.save(), state, "{}", entry.kind);
        };
        (0..state.len()).for_each(|n| refused(&mut c, &state[..n]));
        refused(&mut c, &[state.as_slice(), &[0]].concat());
        refused(&mut c, &[0xff; 40]);
        c.restore(&state).expect("its own state");
        assert_eq!(c.save(), state);
    }
}

/// Does the same to two guests, of which the second gets the first one's states
/// in the middle; from there on nobody can tell them apart.
#[test]
fn a_restored_component_goes_on_as_the_saved_one() {
    let payload = || {
        let names = ["clock", "crash", "greeter", "reader", "sensor"];
        let mut p = reader("");
        p.components = names.iter().map(|k| component(k, k, &[])).collect();
        p
    };
    let (mut a, mut b) = (world(payload()), world(payload()));
    let mut pa = atoll_runtime::fake::Peer::open(&mut a.fake);
    let mut pb = atoll_runtime::fake::Peer::open(&mut b.fake);
    let both: [(&mut _, &mut _); 2] = [(&mut a, &mut pa), (&mut b, &mut pb)];
    let mut opened = Vec::new();
    for (i, (w, p)) in both.into_iter().enumerate() {
        // Both have the same readers; only the first is told anything else.
        opened.push((p.open_file("export/clock/tick"), p.open_file("export/sensor/next")));
        w.drive(p);
        if i == 0 {
            w.echo(p, "export/greeter/ctl", "greet moon").expect("a good command");
            w.echo(p, "export/sensor/ctl", "base 5000").expect("a good command");
            w.echo(p, "export/sensor/ctl", "period 250").expect("a good command");
            w.echo(p, "export/reader/ctl", "read /data/a").expect("a good command");
            w.echo(p, "export/reader/ctl", "read /nowhere/a").expect_err("one at a time");
        }
        common_until(w, p, 3 * SECOND + 100 * MS);
    }
    assert_eq!(opened[0], opened[1]);
    for i in 0..5 {
        let id = atoll_runtime::component::ComponentId(i);
        let state = a.rt.guest(ONE).expect("a guest").save(id).expect("a component");
        b.rt.guest(ONE).expect("a guest").restore(id, &state).expect("a state");
        assert_eq!(b.rt.guest(ONE).expect("a guest").save(id), Some(state));
    }
    // What the guest itself holds (timers) is not in a component's state; both
    // set theirs anew from here on.
    let mut seen = Vec::new();
    for (w, p) in [(&mut a, &mut pa), (&mut b, &mut pb)] {
        w.echo(p, "export/sensor/ctl", "period 400").expect("a good command");
        w.echo(p, "export/greeter/ctl", "greet sun").expect("a good command");
        let (_, next) = opened[0];
        let tag = p.read_next(next);
        w.drive(p);
        let drained = p.answer(tag);
        let tag = drained.map(|_| p.read_next(next));
        common_until(w, p, 5 * SECOND + 10 * MS);
        let files =
            ["greeter/greeting", "greeter/count", "sensor/value", "clock/now", "reader/status"];
        let mut show: Vec<String> =
            files.iter().map(|f| w.cat(p, &format!("export/{f}")).expect("a text file")).collect();
        show.push(format!("{:?}", tag.and_then(|t| p.answer(t)).map(|r| r.map(String::from_utf8))));
        seen.push(show);
    }
    assert_eq!(seen[0], seen[1]);
}

fn common_until(
    w: &mut atoll_runtime::fake::World<'_>,
    p: &mut atoll_runtime::fake::Peer,
    at: u64,
) {
    atoll_runtime::fake::drive_until(&mut w.rt, &mut w.fake, at, &mut [p]);
}
