//! Several guests on one machine.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use atoll_9p::fault::Fault;
use atoll_9p::ops::What;
use atoll_config::atom::AtomLimits;
use atoll_config::payload::{Component as Plan, Payload, Value};
use atoll_runtime::component::{Component, Cx, Entry, Event};
use atoll_runtime::fake::{End, Fake, Peer, drive, drive_until, step_all};
use atoll_runtime::platform::{Exit, Platform, Stream};
use atoll_runtime::{GuestId, Runtime, native};
use common::*;

thread_local! {
    /// The machine's meter, and who ran.
    static CPU: RefCell<Rc<Cell<u64>>> = RefCell::default();
    static RAN: RefCell<Vec<i64>> = const { RefCell::new(Vec::new()) };
}

/// Sends itself `count` messages, one after another, and uses `cost` for each.
struct Hog {
    name: i64,
    cost: i64,
    left: i64,
    wait: u64,
}

impl Component for Hog {
    fn dispatch(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Result<(), Fault> {
        match event {
            Event::Start => cx.after(0, self.wait),
            _ if self.left > 0 => {
                self.left -= 1;
                RAN.with_borrow_mut(|r| r.push(self.name));
                CPU.with_borrow(|c| c.set(c.get() + self.cost as u64));
                cx.send(cx.me(), b"again")?;
            }
            _ => {}
        }
        Ok(())
    }
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }
    fn restore(&mut self, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

static HOGS: &[Entry] = &[Entry {
    kind: "hog",
    state_version: 1,
    files: &[],
    starts: true,
    make: |params| match params {
        [Value::Int(name), Value::Int(cost), Value::Int(left), Value::Span(wait)] => {
            Ok(Box::new(Hog { name: *name, cost: *cost, left: *left, wait: *wait }))
        }
        _ => unreachable!(),
    },
}];

fn hog(name: i64, cost: i64, count: i64, wait: u64) -> Payload<'static> {
    let params = vec![Value::Int(name), Value::Int(cost), Value::Int(count), Value::Span(wait)];
    let component = Plan {
        name: "hog",
        kind: "hog",
        state_version: 1,
        params,
        module: None,
        limits: AtomLimits::default(),
    };
    Payload { components: vec![component], ..empty("hog") }
}

/// Who ran, in order.
fn run(guests: &[(u8, Payload<'static>)]) -> Vec<i64> {
    let mut fake = Fake::new(1);
    fake.cost = 0;
    CPU.with_borrow_mut(|c| *c = fake.cpu.clone());
    RAN.take();
    let mut rt = Runtime::new(HOGS, None);
    for (priority, payload) in guests {
        rt.add(payload.clone(), HASH, *priority, &mut fake).expect("a sound payload");
    }
    drive_until(&mut rt, &mut fake, SECOND, &mut []);
    RAN.take()
}

fn count(ran: &[i64], name: i64) -> usize {
    ran.iter().filter(|n| **n == name).count()
}

#[test]
fn a_higher_priority_always_goes_first() {
    let ran = run(&[(0, hog(1, 10, 50, 0)), (1, hog(2, 1000, 50, 0))]);
    assert_eq!(ran, [vec![2; 50], vec![1; 50]].concat());
}

#[test]
fn equals_take_turns() {
    let ran = run(&[(0, hog(1, 10, 50, 0)), (0, hog(2, 10, 50, 0))]);
    assert!(ran.chunks(2).all(|c| c.contains(&1) && c.contains(&2)), "{ran:?}");
}

#[test]
fn who_uses_more_goes_less_often() {
    let ran = run(&[(0, hog(1, 900, 1000, 0)), (0, hog(2, 100, 1000, 0))]);
    let (hog, other) = (count(&ran[..500], 1), count(&ran[..500], 2));
    assert!((45..=55).contains(&hog), "{hog} of 500, beside {other}");
}

#[test]
fn who_rested_does_not_hold_the_others_off() {
    // The second one sleeps while the first uses a lot, all alone.
    let mut fake = Fake::new(1);
    fake.cost = 0;
    CPU.with_borrow_mut(|c| *c = fake.cpu.clone());
    RAN.take();
    let mut rt = Runtime::new(HOGS, None);
    rt.add(hog(1, 100, 1_000_000, 0), HASH, 0, &mut fake).expect("a sound payload");
    rt.add(hog(2, 100, 1000, 1), HASH, 0, &mut fake).expect("a sound payload");
    for _ in 0..1000 {
        rt.step(&mut fake);
    }
    assert_eq!(count(&RAN.take(), 2), 0);
    fake.now = 1;
    for _ in 0..100 {
        rt.step(&mut fake);
    }
    let ran = RAN.take();
    assert!((45..=55).contains(&count(&ran, 1)), "{ran:?}");
}

/// Who is alone dispatches many events in a step, and who is not one.
#[test]
fn a_step_is_one_event_where_others_wait() {
    let mut fake = Fake::new(1);
    CPU.with_borrow_mut(|c| *c = fake.cpu.clone());
    RAN.take();
    let mut rt = Runtime::new(HOGS, None);
    rt.add(hog(1, 1, 2000, 0), HASH, 0, &mut fake).expect("a sound payload");
    let step = |rt: &mut Runtime<'_>, fake: &mut Fake| {
        rt.step(fake);
        RAN.take().len()
    };
    // Its Start, its timer, and then itself.
    let first: usize = (0..3).map(|_| step(&mut rt, &mut fake)).sum();
    assert!((256..=768).contains(&first), "{first}");
    assert_eq!(step(&mut rt, &mut fake), 256);
    rt.add(hog(2, 1, 500, 0), HASH, 0, &mut fake).expect("a sound payload");
    let more: Vec<usize> = (0..20).map(|_| step(&mut rt, &mut fake)).collect();
    assert!(more.iter().all(|n| *n <= 1), "{more:?}");
}

/// Also when what it wakes by is a request, and nobody happens to be busy.
#[test]
fn who_is_woken_by_a_request_does_not_either() {
    let mut fake = Fake::new(1);
    let mut rt = Runtime::new(native::BUILT_IN, None);
    for _ in 0..2 {
        rt.add(hello(), HASH, 0, &mut fake).expect("a sound payload");
    }
    let mut peers: Vec<Peer> = (0..2)
        .map(|i| {
            let conn = fake.wire(Stream::Control);
            assert!(rt.connect(GuestId(i), Stream::Control, conn, &mut fake));
            Peer::on(conn)
        })
        .collect();
    let [a, b] = &mut peers[..] else { unreachable!() };
    for _ in 0..100 {
        a.start("name", What::Read { max: 99 });
        drive(&mut rt, &mut fake, &mut [a]);
    }
    for p in [&mut *a, &mut *b] {
        for _ in 0..100 {
            p.start("name", What::Read { max: 99 });
        }
        p.pump(&mut fake);
    }
    while let Some(s) = fake.poll() {
        rt.signal(s, &mut fake);
    }
    let of = |rt: &mut Runtime<'_>, i| rt.guest(GuestId(i)).expect("a guest").counters.requests;
    let before = of(&mut rt, 0);
    (0..40).for_each(|_| assert!(rt.step(&mut fake)));
    assert!((15..=25).contains(&(of(&mut rt, 0) - before)), "{}", of(&mut rt, 0) - before);
}

#[test]
fn guests_see_nothing_of_each_other() {
    let mut fake = Fake::new(1);
    let mut rt = Runtime::new(native::BUILT_IN, None);
    let names = ["a", "b", "c"];
    for name in names {
        let payload = Payload { name, ..hello() };
        rt.add(payload, HASH, 0, &mut fake).expect("a sound payload");
    }
    let mut peers: Vec<Peer> = (0..3)
        .map(|i| {
            let conn = fake.wire(Stream::Control);
            assert!(rt.connect(GuestId(i), Stream::Control, conn, &mut fake));
            Peer::on(conn)
        })
        .collect();
    let ops: Vec<_> = peers
        .iter_mut()
        .zip(names)
        .map(|(p, n)| {
            let line = format!("greet {n}{n}").into_bytes();
            (p.start("export/greeter/ctl", What::Write(line)), n)
        })
        .collect();
    let mut ends: Vec<&mut dyn End> = peers.iter_mut().map(|p| p as &mut dyn End).collect();
    drive(&mut rt, &mut fake, &mut ends);
    for (i, (op, name)) in ops.into_iter().enumerate() {
        let p = &mut peers[i];
        assert_eq!(p.result(op), Some(Ok(Vec::new())));
        let files = ["name", "export/greeter/greeting", "export/greeter/count"];
        let reads = files.map(|f| p.start(f, What::Read { max: 99 }));
        drive(&mut rt, &mut fake, &mut [p]);
        let shown = reads.map(|r| String::from_utf8(p.result(r).unwrap().unwrap()).unwrap());
        assert_eq!(shown, [format!("{name}\n"), format!("Hello, {name}{name}!\n"), "1\n".into()]);
    }
    // One that ends leaves the others alone, and its status is the machine's.
    let op = peers[1].start("ctl", What::Write(b"stop 9".to_vec()));
    drive(&mut rt, &mut fake, &mut [&mut peers[1]]);
    assert_eq!(peers[1].result(op), Some(Ok(Vec::new())));
    assert_eq!(rt.exit(), None);
    let op = peers[2].start("name", What::Read { max: 99 });
    drive(&mut rt, &mut fake, &mut [&mut peers[2]]);
    assert_eq!(peers[2].result(op), Some(Ok(b"c\n".to_vec())));
    fake.signal(atoll_runtime::platform::Signal::Stop);
    step_all(&mut rt, &mut fake);
    assert_eq!(rt.exit(), Some(Exit { status: 9 }));
}
