//! The fake runtime does what ABI.md says, and the SDK on it what its own text says.
#![allow(missing_docs)] // these atoms are nobody else's

use std::time::Duration;

use atoll_atom::fake::{TEST, World};
use atoll_atom::prelude::*;
use atoll_atom::{Locked, Token, abi, files, join_all, journal, kv, mask, register, scratch};
use serde::{Deserialize, Serialize};

const MS: Duration = Duration::from_millis(1);

/// An atom that does what it is told, so that a test can say it.
#[derive(Default)]
pub struct Doer {
    notes: Vec<String>,
    owed: Vec<Token>,
    held: Vec<Locked>,
    masked: Option<atoll_atom::Masked>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Do {
    Sleep(u64),
    Nap(u64),
    Refuse,
    Panic,
    Lock(u32, bool),
    Unlock,
    Mask(u64),
    Unmask,
    Draw,
    Spawn(String),
    Kill(Component),
    Signal(Component, u32, i64),
    Ask(Component, u64),
    Race(u64, u64),
    Open,
    Later,
    Many(u16),
}

#[atom(events(events = 20), next(next = 64))]
impl Doer {
    #[start]
    fn start(params: Params<'_>) -> Result<Doer> {
        if params.get("bad").is_some() {
            return Err(Error::invalid("bad"));
        }
        Ok(Doer { notes: vec![format!("start {}", params.0.trim())], ..Doer::default() })
    }

    #[text]
    fn notes(&self) -> String {
        self.notes.join(",")
    }

    #[text("empty")]
    fn nothing(&self) -> Result<String> {
        Err(Errno::EAGAIN.into())
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    #[on_message]
    async fn run(this: This<Self>, from: Component, what: Do) -> Result<()> {
        let note = |text: String| this.with(|me| me.note(text));
        match what {
            Do::Sleep(ms) => {
                sleep(MS * u32::try_from(ms)?).await;
                note(format!("slept {ms} at {}", atoll_atom::now().as_millis()));
            }
            Do::Nap(ms) => {
                let nap = timeout(MS * u32::try_from(ms)?, core::future::pending::<Result<()>>());
                note(format!("{:?}", nap.await.unwrap_err().errno));
            }
            Do::Refuse => {
                kv::put(b"k", b"refused")?;
                scratch::write(0, &[9; 8])?;
                from.send_bytes(b"never")?;
                Component::spawn("never", "")?;
                task(async { panic!("it was refused") });
                let late = sleep(MS);
                atoll_atom::random();
                drop(late);
                return Err(Error::invalid("as you say"));
            }
            Do::Panic => {
                atoll_atom::error!("about to");
                kv::put(b"k", b"panicked")?;
                panic!("told to");
            }
            Do::Lock(n, shared) => {
                let lock = atoll_atom::lock(n, shared).await?;
                note(format!("lock {n}"));
                this.with(|me| me.held.push(lock));
            }
            Do::Unlock => this.with(|me| me.held.clear()),
            Do::Mask(bits) => this.with(|me| me.masked = Some(mask(bits))),
            Do::Unmask => this.with(|me| me.masked = None),
            Do::Draw => note(format!("drew {}", atoll_atom::random())),
            Do::Spawn(name) => {
                let child = Component::spawn(&name, "kind child\n")?;
                child.send(&Do::Draw)?;
                note(format!("spawned {}", child.0));
            }
            Do::Kill(who) => who.kill()?,
            Do::Signal(who, code, arg) => who.signal(code, arg)?,
            Do::Ask(who, n) => {
                let reply = who.ask::<u64>(&n)?.await;
                note(format!("{:?}", reply.map_err(|e| (e.errno, e.text().to_owned()))));
            }
            Do::Race(a, b) => {
                let a = sleep(MS * u32::try_from(a)?);
                let b = sleep(MS * u32::try_from(b)?);
                match select(a, b).await {
                    Either::First(()) => note("first".into()),
                    Either::Second(()) => note("second".into()),
                }
            }
            Do::Open => {
                let file = files::File::open("/data/new", files::flags::RDWR | files::flags::CREAT);
                let file = file.await?;
                assert_eq!(file.write(0, b"hello").await?, 5);
                assert_eq!(file.stat().await?.length, 5);
                note(String::from_utf8_lossy(&file.read(1, 3).await?).into_owned());
            }
            Do::Many(n) => {
                // Each races with one that is a little later, in an order of its own.
                let races = (0..n).map(|i| {
                    let ms = u32::from(i) * 7919 % 1009 + 1;
                    async move {
                        let race = select(sleep(MS * ms), sleep(MS * (ms + 5))).await;
                        (race == Either::First(())).then_some(atoll_atom::now() == MS * ms)
                    }
                });
                let done = join_all(races).await;
                note(format!("{} of {n}", done.iter().filter(|d| **d == Some(true)).count()));
            }
            Do::Later => task(async move {
                yield_now().await;
                Err(Error::invalid("too late"))
            }),
        }
        Ok(())
    }

    /// A number: twice as much. 0 is kept waiting, 13 is refused at once, 14 later.
    #[on_ask]
    fn ask(this: This<Self>, token: Token, n: u64) -> Result<()> {
        match n {
            0 => this.with(|me| me.owed.push(token)),
            13 => return Err(Error::invalid("unlucky")),
            14 => task(async move {
                yield_now().await;
                token.reply(Err(Error::new(Errno::EBUSY, "still unlucky")))
            }),
            n => token.reply(Ok(&atoll_atom::encode(&(n * 2))?))?,
        }
        Ok(())
    }

    #[on_interrupt(3)]
    fn three(&mut self, arg: i64) {
        let from = Component::sender().map_or(-1, |c| c.0);
        self.note(format!("three {arg} by {from}"));
    }

    #[on_interrupt(abi::RESTORED)]
    fn restored(&mut self) {
        self.note("restored");
    }

    #[on_watched(events)]
    fn watched(&mut self, on: bool) {
        self.note(format!("watched {on}"));
    }

    #[command(ctl)]
    fn line(&mut self, text: &str) -> Result<()> {
        Self::EVENTS.emit(text)?;
        Self::NEXT.emit(text)
    }

    #[command(ctl, "take-name")]
    fn take(&mut self, name: &str) -> Result<()> {
        register(name)
    }

    #[command(ctl)]
    fn exit(&mut self, status: u8) {
        atoll_atom::exit(status);
    }

    /// Two words, the second of which takes the rest.
    #[command(more)]
    fn two(&mut self, first: u8, rest: String) {
        self.note(format!("{first}/{rest}"));
    }
}

struct Test {
    world: World,
    a: Component,
}

impl Test {
    fn new() -> Test {
        let mut world = World::new(7);
        let a = world.start::<Doer>("a", "").unwrap();
        Test { world, a }
    }

    fn tell(&mut self, what: Do) {
        self.world.send(self.a, &what).unwrap();
    }

    fn notes(&mut self, name: &str) -> String {
        self.world.read(name, "notes").unwrap()
    }
}

#[test]
fn timers_come_in_order_and_never_early() {
    let mut t = Test::new();
    for ms in [30, 10, 20, 10] {
        t.tell(Do::Sleep(ms));
    }
    t.world.pass(MS * 9);
    assert_eq!(t.notes("a"), "start ");
    t.world.pass(MS * 100);
    assert_eq!(t.notes("a"), "start ,slept 10 at 10,slept 10 at 10,slept 20 at 20,slept 30 at 30");
}

#[test]
fn the_loser_of_a_race_is_dropped() {
    let mut t = Test::new();
    t.world.futures(2);
    for _ in 0..10 {
        t.tell(Do::Race(5, 3));
        t.world.pass(MS * 3);
        t.tell(Do::Race(3, 5));
        t.world.pass(MS * 3);
    }
    assert_eq!(t.notes("a"), "start ".to_owned() + &",second,first".repeat(10));
    // A third one is over the budget.
    t.tell(Do::Race(5, 3));
    t.tell(Do::Nap(1));
    t.world.run();
    assert_eq!(t.world.log(), ["a: abandoned: over its budget"]);
}

#[test]
fn a_thousand_futures_are_kept_apart() {
    let mut t = Test::new();
    t.world.futures(2000);
    t.tell(Do::Many(1000));
    t.world.pass(MS * 2000);
    assert_eq!(t.notes("a"), "start ,1000 of 1000");
    // All of them are gone: there is room for as many again.
    t.tell(Do::Many(1000));
    t.world.run();
    assert_eq!(t.world.log(), [""; 0]);
}

#[test]
fn what_is_refused_has_not_happened() {
    let mut t = Test::new();
    t.tell(Do::Draw);
    t.world.run();
    let mut u = Test::new();
    u.tell(Do::Refuse);
    u.tell(Do::Draw);
    u.world.run();
    // The generator gives the same number again.
    assert_eq!(t.notes("a"), u.notes("a"));
    assert_eq!(u.world.inbox(), []);
    assert_eq!(u.world.log(), ["a: refused: as you say"]);
    assert_eq!(u.world.command("never", "ctl", "line x").unwrap_err().errno, Errno::ENOENT);
    // The numbers of its futures are given out again, and belong to others then.
    u.tell(Do::Sleep(1));
    u.world.pass(MS);
    assert!(u.notes("a").ends_with(",slept 1 at 1"));
}

#[test]
fn a_panic_is_an_abandonment() {
    let mut t = Test::new();
    t.tell(Do::Sleep(5));
    t.world.run();
    t.tell(Do::Panic);
    t.tell(Do::Draw);
    t.world.watch("a", "events", true).unwrap();
    t.world.pass(MS * 10);
    let notes = t.notes("a");
    // Anew: START, WATCHED, what waited; no timer of the old one.
    assert!(notes.starts_with("start ,watched true,drew "), "{notes}");
    assert!(!notes.contains("slept"), "{notes}");
    let log = t.world.log();
    assert_eq!(log[..2], ["a: error: about to", "a: abandoned: told to"]);
}

#[test]
fn eight_in_a_row_are_hopeless() {
    let mut t = Test::new();
    for _ in 0..8 {
        assert_eq!(t.world.exit(), None);
        t.tell(Do::Panic);
        t.world.run();
    }
    assert_eq!(t.world.exit(), Some(1));
    t.tell(Do::Draw);
    assert!(!t.world.step());
}

#[test]
fn a_bad_start_is_an_abandonment() {
    let mut world = World::new(1);
    let e = world.start::<Doer>("a", "bad 1\n").unwrap_err();
    assert_eq!((e.errno, e.text()), (Errno::EINVAL, "bad"));
    assert_eq!(world.log(), ["a: abandoned: bad"]);
}

#[test]
fn asks_are_answered_once() {
    let mut t = Test::new();
    let b = t.world.start::<Doer>("b", "").unwrap();
    for n in [4, 13, 14, 0] {
        t.tell(Do::Ask(b, n));
    }
    t.world.run();
    assert_eq!(
        t.notes("a"),
        "start ,Ok(8),Err((EINVAL, \"unlucky\")),Err((EBUSY, \"still unlucky\"))"
    );
    // The last is owed until its owner is abandoned.
    t.world.send(b, &Do::Panic).unwrap();
    t.world.run();
    assert!(t.notes("a").ends_with("Err((EPIPE, \"the other end is gone\"))"), "{}", t.notes("a"));
    // What nobody waits for any more may be answered, and who answers is not told.
    t.world.log();
    let asked = t.world.ask(t.a, &14u64).unwrap();
    t.world.step();
    t.world.forget(asked);
    t.world.run();
    assert_eq!(t.world.reply::<u64>(asked), None);
    assert_eq!(t.world.log(), [""; 0]);
}

#[test]
fn interrupts_wait_while_they_are_masked() {
    let mut t = Test::new();
    t.tell(Do::Mask(1 << 3));
    t.world.run();
    t.tell(Do::Signal(t.a, 3, 5));
    t.tell(Do::Signal(t.a, 3, 6));
    t.tell(Do::Signal(t.a, 4, 6));
    t.world.run();
    assert_eq!(t.notes("a"), "start ");
    assert_eq!(t.world.log(), ["a: refused: not supported"]);
    t.tell(Do::Unmask);
    t.world.run();
    assert_eq!(t.notes("a"), "start ,three 5 by 1");
    t.world.interrupt("a", 3).unwrap();
    t.world.restored(Duration::from_secs(1));
    t.world.run();
    assert_eq!(t.notes("a"), "start ,three 5 by 1,three 0 by -1,restored");
    assert_eq!(t.world.interrupt("a", 63).unwrap_err().errno, Errno::EINVAL);
}

#[test]
fn a_lock_goes_from_one_to_the_next_in_order() {
    let mut t = Test::new();
    let b = t.world.start::<Doer>("b", "").unwrap();
    let c = t.world.start::<Doer>("c", "").unwrap();
    t.tell(Do::Lock(1, true));
    t.world.send(b, &Do::Lock(1, false)).unwrap();
    // Shared, but behind one who is to be alone.
    t.world.send(c, &Do::Lock(1, true)).unwrap();
    t.world.run();
    assert_eq!([t.notes("a"), t.notes("b"), t.notes("c")], ["start ,lock 1", "start ", "start "]);
    t.tell(Do::Unlock);
    t.world.run();
    assert_eq!([t.notes("b"), t.notes("c")], ["start ,lock 1", "start "]);
    // Abandoned, it holds nothing.
    t.world.send(b, &Do::Panic).unwrap();
    t.world.run();
    assert_eq!(t.notes("c"), "start ,lock 1");
    t.tell(Do::Lock(256, true));
    t.world.run();
    assert!(t.world.log().iter().any(|l| l.contains("invalid argument")));
}

#[test]
fn an_atom_spawns_its_like_and_ends_it() {
    let mut t = Test::new();
    t.tell(Do::Spawn("child".into()));
    t.world.run();
    assert_eq!(t.notes("a"), "start ,spawned 2");
    assert!(t.notes("child").starts_with("start kind child,drew "));
    t.tell(Do::Spawn("child".into()));
    t.tell(Do::Spawn("No".into()));
    t.world.run();
    let child = Component(2);
    t.tell(Do::Ask(child, 0));
    t.world.run();
    t.world.send(child, &Do::Kill(t.a)).unwrap();
    t.world.run();
    t.tell(Do::Kill(child));
    t.world.run();
    assert_eq!(t.world.read("child", "notes").unwrap_err().errno, Errno::ENOENT);
    assert!(t.notes("a").ends_with("(EPIPE, \"the other end is gone\"))"));
    let log = t.world.log();
    let expected = [
        "a: refused: it exists already",
        "a: refused: invalid argument",
        "child: refused: operation not permitted",
    ];
    assert_eq!(log, expected);
    // Its number is given to no other one.
    t.tell(Do::Spawn("other".into()));
    t.world.run();
    assert!(t.notes("a").ends_with("spawned 3"));
}

#[test]
fn names_in_srv_belong_to_one() {
    let mut t = Test::new();
    t.world.start::<Doer>("b", "").unwrap();
    t.world.command("a", "ctl", "take-name echo").unwrap();
    let taken = t.world.command("b", "ctl", "take-name echo").unwrap_err();
    assert_eq!(taken.errno, Errno::EEXIST);
    assert!(t.world.read("echo", "notes").is_ok());
}

#[test]
fn files_are_read_written_and_made() {
    let mut t = Test::new();
    t.world.put_file("/data/old", b"x");
    t.tell(Do::Open);
    t.world.run();
    assert_eq!(t.notes("a"), "start ,ell");
    assert_eq!(t.world.get_file("/data/new").unwrap(), b"hello");
    t.world.fail("/data/new", Errno::EIO);
    t.tell(Do::Open);
    t.world.run();
    assert_eq!(t.world.log(), ["a: error: input/output error".replace("error: ", "warning: ")]);
}

#[test]
fn event_files_keep_the_newest_lines() {
    let mut t = Test::new();
    for line in ["one", "two three four", "five"] {
        t.world.command("a", "ctl", &format!("line {line}")).unwrap();
    }
    assert_eq!(t.world.lines("a", "events").unwrap(), ["two three four", "five"]);
    assert_eq!(t.world.lines("a", "next").unwrap(), ["one", "two three four", "five"]);
    // On and off again before it is dispatched is nothing.
    t.world.watch("a", "events", true).unwrap();
    t.world.watch("a", "events", false).unwrap();
    t.world.run();
    assert_eq!(t.notes("a"), "start ");
}

#[test]
fn commands_say_how_they_are_written() {
    let mut t = Test::new();
    t.world.command("a", "more", " two  7   and the rest ").unwrap();
    assert_eq!(t.notes("a"), "start ,7/and the rest");
    for (line, usage) in [
        ("two", "two FIRST REST"),
        ("two x y", "two FIRST REST"),
        ("two 256 y", "two FIRST REST"),
        ("three", "two FIRST REST"),
    ] {
        assert_eq!(t.world.command("a", "more", line).unwrap_err().text(), usage);
    }
    assert_eq!(t.world.read("a", "empty").unwrap_err().errno, Errno::EAGAIN);
    let long = "line ".to_owned() + &"x".repeat(abi::MAX_LINE);
    assert_eq!(t.world.command("a", "ctl", &long).unwrap_err().errno, Errno::EMSGSIZE);
}

#[test]
fn an_error_behind_an_await_is_in_the_log() {
    let mut t = Test::new();
    t.tell(Do::Later);
    t.world.run();
    assert_eq!(t.world.log(), ["a: warning: too late"]);
}

#[test]
fn a_guest_ends_with_its_first_status() {
    let mut t = Test::new();
    t.world.command("a", "ctl", "exit 7").unwrap();
    t.world.command("a", "ctl", "exit 8").unwrap();
    assert_eq!(t.world.exit(), Some(7));
}

#[test]
fn the_store_and_scratch_are_the_abis() {
    /// Everything at once, so that it is one dispatch.
    #[derive(Default)]
    struct Store;

    #[atom]
    impl Store {
        #[command(ctl)]
        fn all(&mut self) -> Result<()> {
            let invalid = |r: Result<()>| assert_eq!(r.unwrap_err().errno, Errno::EINVAL);
            invalid(kv::put(b"", b"x"));
            invalid(kv::put(&[0; abi::MAX_KEY + 1], b"x"));
            let long = vec![0; abi::MAX_BODY + 1];
            assert_eq!(kv::put(b"k", &long).unwrap_err().errno, Errno::EMSGSIZE);
            for key in [&b"b"[..], b"a", b"ab"] {
                kv::put(key, &[key, &[0; 100]].concat())?;
            }
            let keys: Vec<_> = kv::keys(b"a").collect();
            assert_eq!(keys, [&b"ab"[..], b"b"]);
            assert_eq!(kv::get(b"ab")?.unwrap().len(), 102);
            assert_eq!(kv::len(b"c")?, None);
            assert_eq!(kv::remove(b"c").unwrap_err().errno, Errno::ENOENT);
            assert_eq!([journal::append(b"x")?, journal::append(b"y")?], [0, 1]);
            assert_eq!(journal::read(1)?.unwrap(), b"y");
            assert_eq!(journal::read(2)?, None);
            assert_eq!(scratch::add(8, 5)?, 0);
            assert_eq!(scratch::add(8, -6)?, 5);
            assert_eq!(scratch::swap(8, u64::MAX, 1)?, Ok(u64::MAX));
            assert_eq!(scratch::swap(8, 2, 3)?, Err(1));
            assert_eq!(scratch::add(4, 1).unwrap_err().errno, Errno::EINVAL);
            assert_eq!(scratch::add(abi::SCRATCH, 1).unwrap_err().errno, Errno::EFAULT);
            let mut last = [0; 2];
            scratch::write(abi::SCRATCH - 2, &[1, 2])?;
            scratch::read(abi::SCRATCH - 2, &mut last)?;
            assert_eq!(last, [1, 2]);
            assert_eq!(scratch::write(abi::SCRATCH - 1, &[1, 2]).unwrap_err().errno, Errno::EFAULT);
            assert_eq!(Component::find("nobody").unwrap_err().errno, Errno::ENOENT);
            assert_eq!(TEST.send_bytes(&long).unwrap_err().errno, Errno::EMSGSIZE);
            assert_eq!(Token(99).reply(Ok(b"")).unwrap_err().errno, Errno::ESTALE);
            assert_eq!(abi::drop_future(99), -Errno::ESTALE.0);
            assert_eq!(abi::reply(1, 5, b""), -Errno::EINVAL.0);
            assert_eq!(abi::file_read(b"relative", 0, 1), i64::from(-Errno::EINVAL.0));
            assert_eq!(abi::open(b"/x", 3), i64::from(-Errno::EINVAL.0));
            assert_eq!(abi::close(0), -Errno::EBADF.0);
            Ok(())
        }

        /// Everything side by side.
        #[command(ctl)]
        async fn join(_: This<Self>) -> Result<()> {
            let spans = [3, 1, 2].map(|ms| async move {
                sleep(MS * ms).await;
                ms
            });
            assert_eq!(join_all(spans).await, [3, 1, 2]);
            assert_eq!(atoll_atom::now(), MS * 3);
            let (a, b) = join(sleep(MS), async { 5 }).await;
            assert_eq!((a, b), ((), 5));
            TEST.send(&"joined")
        }
    }

    let mut world = World::new(1);
    world.start::<Store>("s", "").unwrap();
    world.command("s", "ctl", "all").unwrap();
    world.command("s", "ctl", "join").unwrap();
    world.pass(MS * 10);
    let joined = atoll_atom::encode(&"joined").unwrap();
    assert_eq!(world.inbox(), [(Component(1), joined)]);
    assert_eq!(world.log(), [""; 0]);
}
