//! What atoms may not take: `runtime/MODEL.md` names these tests.

mod common;

use atoll_9p::fault::Errno;
use atoll_config::payload::{Budget, Payload};
use common::script::*;

fn two() -> Guest {
    Guest::new(atoms(&[("a", ""), ("b", "")]))
}

fn logged(g: &Guest) -> Vec<&str> {
    let lines = g.w.fake.log.iter().filter_map(|l| l.split_once(' '));
    lines.map(|(_, said)| said).collect()
}

#[test]
fn an_abandoned_dispatch_leaves_its_lines_of_the_log() {
    let mut g = two();
    let rest = g.used();
    assert!(g.try_tell("a", "log one; emit no; put k v; log two; trap").is_err());
    assert!(g.try_tell("a", "log three; refuse").is_err());
    let why = "a: abandoned a dispatch: divided by zero; made anew";
    assert_eq!(logged(&g), ["a: one", "a: two", why]);
    // What its sponsor could not pay is not there; all before it is.
    let line = format!("logs 1000 {}", "x".repeat(1000));
    assert_eq!(g.try_tell("a", &line).map_err(|f| f.errno), Err(Errno::EDQUOT));
    let last = logged(&g);
    assert!(last.len() > 100 && last.len() < 300, "{}", last.len());
    assert!(last[3].starts_with("a: 0 xxx"));
    assert_eq!(last[last.len() - 1], "a: abandoned a dispatch: over its budget; made anew");
    assert_eq!(g.tell("a", "get k"), ["0 get ENOENT"]);
    assert_eq!(g.used(), rest);
}

#[test]
fn a_linear_memory_is_charged_for_as_long_as_it_is_there() {
    let mut g = two();
    let rest = g.used();
    assert_eq!(g.tell("a", "grow 8192; grow 100000"), ["0 grow true", "0 grow true"]);
    assert_eq!(g.used().0, rest.0 + 108_192);
    assert_eq!(g.w.cat(&mut g.p, "atom/a/mem").as_deref().map(|m| &m[..13]), Ok("memory 112288"));
    // More than there is: it is told so, and goes on.
    assert_eq!(g.tell("b", "grow 200000; grow 4096"), ["1 grow false", "1 grow true"]);
    // A refused dispatch has grown, too; an abandoned one is gone with its memory.
    assert!(g.try_tell("b", "grow 4096; refuse").is_err());
    assert_eq!(g.used().0, rest.0 + 108_192 + 8192);
    assert!(g.try_tell("b", "grow 4096; trap").is_err());
    assert_eq!(g.used().0, rest.0 + 108_192);
    g.w.echo(&mut g.p, "atom/a/ctl", "restart").expect("a good command");
    assert_eq!(g.used(), rest);
    // So it is for those that are made later.
    seen();
    g.tell("a", "spawn w");
    let spawned = g.used().0;
    assert!(spawned > rest.0 + PAGE);
    g.tell("a", "send w grow 4096");
    assert_eq!(g.used().0, spawned + 4096);
    g.tell("a", "kill w");
    assert_eq!(g.used(), rest);
    // Nothing more is paid in a dispatch that is to be abandoned.
    let many = "send me x;".repeat(300) + "grow 1";
    assert_eq!(g.try_tell("a", &many).map_err(|f| f.errno), Err(Errno::EDQUOT));
    assert_eq!(seen().last().map(String::as_str), Some("0 grow false"));
    assert_eq!(g.used(), rest);
}

#[test]
fn who_waits_for_the_lines_of_an_atom_that_ends_is_told() {
    let mut g = two();
    let fid = g.p.open_file("export/b/events");
    let tag = g.p.read_next(fid);
    let log = g.p.open_file("atom/1/log");
    let line = g.p.read_next(log);
    g.drive();
    assert!(g.p.answer(tag).is_none() && g.p.answer(line).is_none());
    g.w.echo(&mut g.p, "atom/b/ctl", "kill").expect("a good command");
    for tag in [tag, line] {
        let answer = g.p.answer(tag).expect("an answer");
        assert_eq!(answer.map_err(|f| f.errno), Err(Errno::ESTALE));
    }
}

#[test]
fn a_listing_of_no_names_has_an_end() {
    let mut g = two();
    let made = g.w.ls(&mut g.p, "export/a/box");
    assert_eq!(made.as_deref(), Ok(""));
    g.tell("a", "have endless");
    assert_eq!(g.w.ls(&mut g.p, "export/a/box").as_deref(), Ok(""));
}

/// An atom with a million calls that have not returned, all of which return at one
/// instant, and another for which all interrupts that there are wait.
#[test]
fn a_million_futures_fire_once_each() {
    const MANY: u32 = 1_000_000;
    let budget = Budget { memory: 1 << 30, messages: MANY + 200, sessions: 4, fids: 64 };
    let mut g = Guest::new(Payload { budget, memory: 2 << 30, ..atoms(&[("a", ""), ("b", "")]) });
    let rest = g.used();
    g.tell("a", &format!("sleeps {MANY} 5000"));
    g.tell("b", "mask -1");
    let signals: String = (0..63).map(|code| format!("signal b {code} {code};")).collect();
    assert!(g.tell("a", &signals.repeat(2)).is_empty());
    assert_eq!(g.used().1, rest.1 + MANY + 63);
    // Nobody waits for them until they come.
    assert!(g.until(4999).is_empty());
    assert_eq!(g.tell("a", "get k"), ["0 get ENOENT"]);
    let fired = g.until(6000);
    assert_eq!(fired.len(), MANY as usize);
    assert_eq!(fired.first().map(String::as_str), Some("0 #1 5000 0 "));
    assert_eq!(fired.last().map(String::as_str), Some(&*format!("0 #{MANY} 5000 0 ")));
    assert_eq!(g.tell("b", "unmask -1").len(), 64);
    assert_eq!(g.used(), rest);
    // One more than is paid for: none of them is there.
    assert_eq!(
        g.try_tell("a", &format!("sleeps {} 5000", MANY + 300)).map_err(|f| f.errno),
        Err(Errno::EDQUOT)
    );
    assert_eq!(seen(), ["0 sleeps EDQUOT"]);
    assert!(g.until(12000).is_empty());
    assert_eq!(g.used(), rest);
}
