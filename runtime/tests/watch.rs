//! Files that are watched: nothing is made for nobody, and nothing ticks.

mod common;

use atoll_9p::msg::Tmsg;
use atoll_config::payload::{Budget, Payload, Value};
use atoll_runtime::fake::{Peer, drive_until};
use atoll_runtime::platform::{Exit, Time};
use common::*;

fn sensor(period: u64, base: i64, swing: i64) -> Payload<'static> {
    let params = [Value::Span(period), Value::Int(base), Value::Int(swing), Value::Text("bar")];
    Payload { components: vec![component("s", "sensor", &params)], ..empty("sensor") }
}

#[test]
fn a_clock_ticks_only_while_somebody_reads() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    drive_until(&mut w.rt, &mut w.fake, 1500 * MS, &mut [&mut p]);
    assert_eq!((w.rt.deadline(), w.fake.idles), (None, 0));
    let tick = p.open_file("export/clock/tick");
    let tag = p.read_next(tick);
    w.drive(&mut p);
    assert_eq!(w.rt.deadline(), Some(Time(2 * SECOND)));
    drive_until(&mut w.rt, &mut w.fake, 2 * SECOND - 1, &mut [&mut p]);
    assert_eq!(p.answer(tag), None);
    drive_until(&mut w.rt, &mut w.fake, 2 * SECOND, &mut [&mut p]);
    assert_eq!(p.answer(tag), Some(Ok(b"1 2023-11-14T22:13:22.000Z\n".to_vec())));
    assert_eq!(w.rt.deadline(), Some(Time(3 * SECOND)));
    // The second reader changes nothing, and the last one to leave disarms.
    let mut q = Peer::open(&mut w.fake);
    let other = q.open_file("export/clock/tick");
    let (a, b) = (p.read_next(tick), q.read_next(other));
    drive_until(&mut w.rt, &mut w.fake, 3 * SECOND, &mut [&mut p, &mut q]);
    let second = Some(Ok(b"2 2023-11-14T22:13:23.000Z\n".to_vec()));
    assert_eq!((p.answer(a), q.answer(b)), (second.clone(), second));
    p.ask(&Tmsg::Clunk { fid: tick });
    w.drive(&mut p);
    assert_eq!(w.rt.deadline(), Some(Time(4 * SECOND)));
    w.fake.hang_up(q.conn);
    w.drive(&mut p);
    assert_eq!(w.rt.deadline(), None);
    assert_eq!(w.rt.guest(ONE).expect("a guest").sponsor.used.messages, 0);
    assert_eq!(w.fake.idles, 2, "one sleep a tick");
}

#[test]
fn a_sensor_is_a_function_of_time_and_announces_it() {
    let mut w = world(sensor(250 * MS, 1000, 500));
    let mut p = Peer::open(&mut w.fake);
    assert_eq!(w.cat(&mut p, "export/s/value").expect("a file"), "1.000 bar\n");
    drive_until(&mut w.rt, &mut w.fake, 15 * 250 * MS, &mut [&mut p]);
    assert_eq!(w.cat(&mut p, "export/s/value").expect("a file"), "1.500 bar\n");
    drive_until(&mut w.rt, &mut w.fake, 45 * 250 * MS, &mut [&mut p]);
    assert_eq!(w.cat(&mut p, "export/s/value").expect("a file"), "0.500 bar\n");
    assert_eq!(w.fake.idles, 0);
    let next = p.open_file("export/s/next");
    let tag = p.read_next(next);
    drive_until(&mut w.rt, &mut w.fake, 46 * 250 * MS, &mut [&mut p]);
    assert_eq!(p.answer(tag), Some(Ok(b"11500 0.534 bar\n".to_vec())));
    w.echo(&mut p, "export/s/ctl", "period 1000").expect("a good command");
    assert_eq!(w.rt.deadline(), Some(Time(12 * SECOND)));
    w.echo(&mut p, "export/s/ctl", "base -20").expect("a good command");
    for bad in ["period 0", "period 3600001", "base 1000001", "base x", "period -5"] {
        assert!(w.echo(&mut p, "export/s/ctl", bad).expect_err("bad").text().contains(bad));
    }
    assert_eq!(w.cat(&mut p, "export/s/value").expect("a file"), "0.346 bar\n");
}

#[test]
fn no_number_makes_a_sensor_panic() {
    for (base, swing) in
        [(i64::MAX, i64::MAX), (i64::MIN, i64::MIN), (i64::MIN, i64::MAX), (0, i64::MIN)]
    {
        for period in [1, 7, u64::MAX] {
            let mut w = world(sensor(period, base, swing));
            let mut p = Peer::open(&mut w.fake);
            for at in [0, 1, 14, 15, 29, 44, 45, 59, u64::MAX - 1] {
                w.fake.now = w.fake.now.max(at);
                w.cat(&mut p, "export/s/value").expect("a file");
            }
            p.open_file("export/s/next");
            w.drive(&mut p);
        }
    }
}

/// A reader that comes and goes faster than the guest gets to its events leaves
/// nothing behind in the queue.
#[test]
fn readers_that_come_and_go_do_not_fill_the_queue() {
    let mut w = world(hello());
    let mut p = Peer::open(&mut w.fake);
    w.drive(&mut p);
    for _ in 0..100 {
        let fid = p.open_file("export/clock/tick");
        p.ask(&Tmsg::Clunk { fid });
    }
    let mut most = 0;
    atoll_runtime::fake::End::pump(&mut p, &mut w.fake);
    while let Some(s) = atoll_runtime::platform::Platform::poll(&mut w.fake) {
        w.rt.signal(s, &mut w.fake);
    }
    while w.rt.step(&mut w.fake) {
        most = most.max(w.rt.guest(ONE).expect("a guest").queued());
    }
    w.drive(&mut p);
    assert!(most <= 1, "{most} events were queued at one time");
    assert_eq!(w.rt.deadline(), None);
}

/// A component that cannot even pay for what its readers need is given up in the
/// end, and does not spin.
#[test]
fn a_budget_without_timers_ends_the_guest_that_needs_one() {
    let budget = Budget { messages: 0, ..hello().budget };
    let mut w = world(Payload { budget, ..hello() });
    let mut p = Peer::open(&mut w.fake);
    p.open_file("export/clock/tick");
    atoll_runtime::fake::End::pump(&mut p, &mut w.fake);
    for _ in 0..1000 {
        while let Some(s) = atoll_runtime::platform::Platform::poll(&mut w.fake) {
            w.rt.signal(s, &mut w.fake);
        }
        w.rt.step(&mut w.fake);
    }
    assert_eq!(w.rt.exit(), Some(Exit { status: 1 }));
    assert_eq!(w.rt.guest(ONE).expect("a guest").counters.abandoned, 8);
}
