//! The keeper's promises against our own server, whose connection breaks everywhere.

mod common;
mod world;
use atoll_9p::client::keeper::{Keeper, Settings};
use atoll_9p::msg::Tmsg;
use atoll_9p::server::{Limits, Session};
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Files, Synth, Verb};
use atoll_9p::tree::Tree;
use atoll_9p::types::OpenFlags;
use common::{attach, walk_frame};
use world::*;

/// What the crate's own server keeps across connections.
#[derive(Default)]
struct Kept {
    done: Vec<String>,
    log: Option<Stream>,
}

/// Writes commands and follows a stream of the crate's own server, with a connection
/// that breaks after so many bytes. Says how many bytes passed.
fn against_our_own_server(cut: usize) -> usize {
    const VERBS: &[Verb] = &[Verb::new("do", "N", 1)];
    let mut synth = Synth::new();
    let root = synth.root();
    synth.stream(root, "log", |s: &mut Kept| s.log.get_or_insert_with(|| Stream::new(64)));
    synth.ctl(root, "ctl", VERBS, |s: &mut Kept, c| {
        s.done.push(c.arg(0).into());
        s.log.get_or_insert_with(|| Stream::new(64)).push(c.arg(0));
        Ok(())
    });
    let mut tree = Files { synth, state: Kept::default() };
    let mut session: Option<Session<_>> = None;
    let mut k = Keeper::new(Settings::new(3));
    let (mut left, mut passed, mut answers, mut acked) = (Some(cut), 0, Vec::new(), Vec::new());
    let mut steps = Vec::new();
    for (fid, name) in [(1, "ctl"), (2, "log")] {
        let flags = if fid == 1 { OpenFlags::RDWR } else { OpenFlags::RDONLY };
        steps.push((walk_frame(1, 0, fid, &[name.as_bytes()]), 0));
        steps.push((common::frame(1, &Tmsg::Lopen { fid, flags }), 0));
    }
    let texts: Vec<_> = (0..6).map(|n| format!("do c{n}")).collect();
    for (n, text) in texts.iter().enumerate() {
        let write = Tmsg::Write { fid: 1, offset: 0, data: text.as_bytes(), op: None };
        steps.push((common::frame(1, &write), n + 1));
        let read = Tmsg::Read { fid: 2, offset: 0, count: 64 };
        steps.push((common::frame(1, &read), 0));
    }
    steps.insert(0, (common::frame(1, &attach(0)), 0));
    for (f, command) in steps {
        let tag = k.send(&Tmsg::decode(&f).unwrap());
        let mut answered = false;
        for _ in 0..1000 {
            while let Some((got, answer)) = k.poll().unwrap() {
                assert_eq!(got, tag);
                answered = true;
                match Got::of(&answer) {
                    Got::Count(_) => acked.push(command - 1),
                    Got::Data(data) => answers.extend(data),
                    Got::Error(e, text) => panic!("{e:?} {text}"),
                    _ => {}
                }
            }
            if answered && k.output().is_empty() {
                break;
            }
            let s = session.get_or_insert_with(|| {
                k.connected();
                Session::new(Limits::default())
            });
            let mut pass = |n: usize| {
                let n = left.map_or(n, |l| n.min(l));
                left = left.map(|l| l - n);
                passed += n;
                n
            };
            let up = k.output().to_vec();
            let up = &up[..pass(up.len())];
            k.sent(k.output().len());
            let mut at = 0;
            loop {
                at += s.feed(&up[at..]);
                if !s.step(&mut tree) && at == up.len() {
                    break;
                }
                let mut news = Vec::new();
                tree.woken(&mut |node| news.push(node));
                news.into_iter().for_each(|node| s.wake(node));
            }
            let n = pass(s.output().len());
            k.feed(&s.output()[..n]);
            s.sent(s.output().len());
            if left == Some(0) {
                // What came still counts.
                while let Some((got, answer)) = k.poll().unwrap() {
                    assert_eq!(got, tag);
                    answered = true;
                    match Got::of(&answer) {
                        Got::Count(_) => acked.push(command - 1),
                        Got::Data(data) => answers.extend(data),
                        Got::Error(e, text) => panic!("{e:?} {text}"),
                        _ => {}
                    }
                }
                left = None;
                k.broken(0);
                session.take().unwrap().close(&mut tree);
            }
        }
        assert!(answered, "cut at {cut}");
    }
    let done = &tree.state.done;
    // Each, the very first too, wherever the connection broke.
    assert_eq!((done.len(), acked.len()), (texts.len(), texts.len()), "cut at {cut}");
    for (n, text) in done.iter().enumerate() {
        assert_eq!(done.iter().filter(|d| *d == text).count(), 1, "{text} at {n}: {done:?}");
    }
    assert!(acked.iter().all(|n| done.contains(&format!("c{n}"))), "{acked:?} {done:?}");
    let lines = String::from_utf8(answers).unwrap();
    assert!(done.iter().map(|d| format!("{d}\n")).collect::<String>().starts_with(&lines));
    passed
}

#[test]
fn our_own_server_does_no_command_twice() {
    let whole = against_our_own_server(usize::MAX);
    for cut in 0..whole {
        against_our_own_server(cut);
    }
}
