//! The last words of a domain that leaves, with either side killed before each thing that it does.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use super::super::arrive::{refuse, settle};
use super::{Leaves, Left, part};
use crate::shim::{FORMAT, Mark, Shim};

const GO: &str = "go 4\n";

/// A process that is killed when it has done so many things: nothing of it goes on then, and its
/// ends of streams are closed.
struct Fate(Cell<usize>);

impl Fate {
    fn tick(&self) {
        match self.0.get().checked_sub(1) {
            Some(left) => self.0.set(left),
            None => resume_unwind(Box::new(())),
        }
    }
}

struct Wire<'a>(&'a UnixStream, &'a Fate);

impl Read for Wire<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1.tick();
        self.0.read(buf)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.1.tick();
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A domain at its source.
struct Domain<'a> {
    home: &'a Path,
    fate: &'a Fate,
    stands: bool,
}

impl<'a> Domain<'a> {
    fn new(home: &'a Path, fate: &'a Fate) -> Domain<'a> {
        Domain { home, fate, stands: false }
    }
}

impl Leaves for Domain<'_> {
    fn save(&mut self) -> Result<()> {
        self.fate.tick();
        self.stands = true;
        Ok(())
    }

    fn mark(&mut self, answered: bool) -> Result<()> {
        self.fate.tick();
        let (name, uuid, to) = ("a".into(), "u".into(), "/run/b".into());
        let mark = Mark { format: FORMAT, name, uuid, epoch: 3, to, next: 4, answered };
        Ok(mark.leave(self.home)?)
    }

    fn unmark(&mut self) -> Result<()> {
        self.fate.tick();
        Ok(Mark::clear(self.home)?)
    }

    fn go_on(&mut self) {
        self.fate.tick();
        self.stands = false;
    }
}

/// What became of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Killed,
    Stays,
    Unknown,
    Moved,
}

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    Nothing,
    Doubt,
    There,
}

fn says(home: &Path) -> Says {
    match Shim::may_have_moved(home, "a", 3) {
        None => Says::Nothing,
        Some(text) if text == "to /run/b under epoch 4" => Says::There,
        Some(text) => {
            assert!(text.contains("at /run/b under epoch 4, and nobody answered"), "{text}");
            Says::Doubt
        }
    }
}

/// The target's side; `ran` if it ever let the domain run.
fn arrive(stream: &UnixStream, fate: &Fate, refuses: bool, ran: &AtomicBool) {
    let mut from = BufReader::new(Wire(stream, fate));
    let settled = settle(&mut from, Wire(stream, fate), 3, || {
        fate.tick();
        if refuses {
            bail!("xl cannot");
        }
        ran.store(true, Ordering::SeqCst);
        fate.tick();
        Ok(())
    });
    if let Err(why) = settled {
        // What was made of it is destroyed.
        fate.tick();
        refuse(stream, &why);
    }
}

/// One relocation, in which the source is killed when it has done so many things, and the target
/// so many: what became of the source, what its mark says, and whether it ran at the target.
fn relocate(source: usize, target: usize, refuses: bool) -> (Source, Says, bool) {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ran = AtomicBool::new(false);
    let became = std::thread::scope(|scope| {
        let ran = &ran;
        scope.spawn(move || {
            let fate = Fate(Cell::new(target));
            let _ = catch_unwind(AssertUnwindSafe(|| arrive(&theirs, &fate, refuses, ran)));
            drop(theirs);
        });
        let fate = Fate(Cell::new(source));
        let mut domain = Domain::new(dir.path(), &fate);
        let left = catch_unwind(AssertUnwindSafe(|| {
            let mut from = BufReader::new(Wire(&ours, &fate));
            let left = part(&mut domain, &mut from, Wire(&ours, &fate), 4);
            fate.tick();
            left
        }));
        drop(ours);
        match left {
            Err(_) => Source::Killed,
            Ok(left) => {
                let stands = domain.stands;
                let left = match left {
                    Ok(Left::Moved) => Source::Moved,
                    Ok(Left::Unknown(_)) => Source::Unknown,
                    Err(_) => Source::Stays,
                };
                assert_eq!(stands, left != Source::Stays, "{source} {target} {refuses}");
                left
            }
        }
    });
    (became, says(dir.path()), ran.into_inner())
}

#[test]
fn whoever_is_killed_whenever_it_never_runs_twice_and_who_comes_next_knows() {
    let mut seen = BTreeSet::new();
    for refuses in [false, true] {
        for source in 0..12 {
            for target in 0..12 {
                let (became, says, ran) = relocate(source, target, refuses);
                let what = format!("{source} {target} {refuses}: {became:?} {says:?} {ran}");
                match became {
                    Source::Stays => assert!(says == Says::Nothing && !ran, "{what}"),
                    Source::Unknown => assert!(says == Says::Doubt, "{what}"),
                    Source::Moved => assert!(says == Says::There && ran, "{what}"),
                    // Its keeper destroys the domain, and it is started again if nothing is said.
                    Source::Killed => assert!(says != Says::Nothing || !ran, "{what}"),
                }
                assert!(says != Says::There || ran, "{what}");
                assert!(!(refuses && ran), "{what}");
                seen.insert((became, says, ran));
            }
        }
    }
    // Before the mark; between that and the answer, where it ran or did not; and after that.
    for (says, ran) in
        [(Says::Nothing, false), (Says::Doubt, false), (Says::Doubt, true), (Says::There, true)]
    {
        assert!(seen.contains(&(Source::Killed, says, ran)), "{says:?} {ran}: {seen:?}");
    }
    for (became, says, ran) in [
        (Source::Stays, Says::Nothing, false),
        (Source::Unknown, Says::Doubt, true),
        (Source::Unknown, Says::Doubt, false),
        (Source::Moved, Says::There, true),
    ] {
        assert!(seen.contains(&(became, says, ran)), "{became:?} {says:?} {ran}: {seen:?}");
    }
}

#[test]
fn it_goes_on_here_only_if_that_is_certain() {
    for (said, left, marked) in [
        ("ready\nrunning\n", "moved", Says::There),
        ("ready\nno luck\n", "refuses: luck", Says::Nothing),
        ("ready\n", "unknown", Says::Doubt),
        ("ready\nrunn", "unknown", Says::Doubt),
        ("ready\nready\n", "unknown", Says::Doubt),
        ("no memory\n", "refuses: memory", Says::Nothing),
        ("running\n", "instead of ready", Says::Nothing),
        ("", "the stream ended", Says::Nothing),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let fate = Fate(Cell::new(usize::MAX));
        let mut domain = Domain::new(dir.path(), &fate);
        let mut sent = Vec::new();
        let text = match part(&mut domain, &mut Cursor::new(said), &mut sent, 4) {
            Ok(Left::Moved) => "moved".to_owned(),
            Ok(Left::Unknown(_)) => "unknown".to_owned(),
            Err(why) => {
                assert!(!domain.stands, "{said:?}");
                format!("{why:#}")
            }
        };
        assert!(text.contains(left), "{said:?}: {text}");
        assert_eq!(says(dir.path()), marked, "{said:?}");
        assert_eq!(sent == GO.as_bytes(), said.starts_with("ready\n"), "{said:?}");
    }
}

#[test]
fn without_a_mark_nothing_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("none");
    let fate = Fate(Cell::new(usize::MAX));
    let mut domain = Domain::new(&home, &fate);
    let mut sent = Vec::new();
    part(&mut domain, &mut Cursor::new("ready\nrunning\n"), &mut sent, 4).unwrap_err();
    assert!(sent.is_empty() && !domain.stands);
}

/// A stream that takes no word whole.
struct Full(Vec<u8>);

impl Write for Full {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(4 - self.0.len());
        self.0.extend_from_slice(&buf[..n]);
        if n == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(n) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_word_that_was_not_said_whole_was_not_said() {
    let dir = tempfile::tempdir().unwrap();
    let fate = Fate(Cell::new(usize::MAX));
    let mut domain = Domain::new(dir.path(), &fate);
    let mut sent = Full(Vec::new());
    part(&mut domain, &mut Cursor::new("ready\n"), &mut sent, 4).unwrap_err();
    assert!(!domain.stands && says(dir.path()) == Says::Nothing);
    let heard = settle(&mut Cursor::new(sent.0), io::sink(), 3, || panic!("it runs"));
    assert!(format!("{:#}", heard.unwrap_err()).contains("has not let go"));
}
