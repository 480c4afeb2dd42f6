//! What atoms ask for: `runtime/MODEL.md` names these tests.

mod common;

use atoll_9p::fault::Errno;
use atoll_config::payload::{OnFault, Payload};
use common::script::*;
use common::*;

fn two() -> Guest {
    Guest::new(atoms(&[("a", ""), ("b", "")]))
}

#[test]
fn an_ask_is_answered_once() {
    let mut g = two();
    let rest = g.used();
    assert_eq!(
        g.tell("a", "ask b reply 7 hello,reply 8 again"),
        [
            "0 ask = 1",
            "1 ?0 reply 7 hello;reply 8 again",
            "1 reply replied",
            "1 reply ESTALE",
            "0 #1 0 7 hello"
        ]
    );
    // Later, and by a dispatch of its own.
    assert_eq!(g.tell("a", "ask b"), ["0 ask = 2", "1 ?0 "]);
    assert_eq!(g.tell("b", "reply 0 at last"), ["1 reply replied", "0 #2 0 0 at last"]);
    assert_eq!(g.tell("b", "reply 0 twice"), ["1 reply ESTALE"]);
    // With a fault in the place of bytes.
    assert_eq!(g.tell("a", "ask b fail").last().unwrap(), "0 #3 0 ELOOP");
    // To itself.
    assert_eq!(g.tell("a", "ask me reply 0 self").last().unwrap(), "0 #4 0 0 self");
    // Long ones too.
    let long = "x".repeat(500);
    assert_eq!(
        g.tell("a", &format!("ask b reply 1 {long}")).last().unwrap(),
        &format!("0 #5 0 1 {long}")
    );
    assert_eq!(g.tell("a", "ask c hello"), ["0 ask ENOENT"]);
    assert_eq!(g.used(), rest);
}

#[test]
fn who_asks_hears_why_there_is_no_reply() {
    let mut g = two();
    let rest = g.used();
    assert_eq!(g.tell("a", "ask b refuse").last().unwrap(), "0 #1 0 EINVAL");
    assert_eq!(g.tell("a", "ask b trap").last().unwrap(), "0 #2 0 EIO");
    assert_eq!(g.tell("a", "ask b late").last().unwrap(), "0 #3 0 ETIMEDOUT");
    // A reply that was not committed is none.
    assert_eq!(g.tell("a", "ask b reply 0 no,refuse").last().unwrap(), "0 #4 0 EINVAL");
    // Whose reply is owed when it is abandoned owes it no more.
    assert_eq!(g.tell("a", "ask b"), ["0 ask = 5", "1 ?0 "]);
    assert_eq!(g.try_tell("b", "trap").map_err(|f| f.errno), Err(Errno::EIO));
    assert_eq!(seen(), ["0 #5 0 EPIPE"]);
    // What waited for it is put to the new instance.
    assert_eq!(g.tell("a", "ask b trap; ask b reply 0 anew").len(), 7);
    assert_eq!(g.used(), rest);
}

#[test]
fn a_reply_that_was_refused_is_owed_still() {
    let mut g = two();
    g.tell("a", "ask b");
    assert!(g.try_tell("b", "reply 0 no; refuse").is_err());
    assert_eq!(seen(), ["1 reply replied"]);
    assert_eq!(g.tell("b", "reply 0 yes"), ["1 reply replied", "0 #1 0 0 yes"]);
}

#[test]
fn sleeps_end_in_order_and_not_before() {
    let mut g = two();
    let rest = g.used();
    assert_eq!(
        g.tell("a", "sleep 2000; sleep 1000; sleep 1000; sleep 3000"),
        ["0 sleep = 1", "0 sleep = 2", "0 sleep = 3", "0 sleep = 4"]
    );
    assert!(g.until(999).is_empty());
    assert_eq!(g.until(2500), ["0 #2 1000 0 ", "0 #3 1000 0 ", "0 #1 2000 0 "]);
    assert_eq!(g.tell("a", "drop; drop"), ["0 drop dropped", "0 drop ESTALE"]);
    assert!(g.until(9999).is_empty());
    assert_eq!(g.used(), rest);
}

#[test]
fn what_was_dropped_does_not_return() {
    let mut g = two();
    let rest = g.used();
    // In the dispatch that made it.
    assert_eq!(
        g.tell("a", "sleep 5; drop; drop"),
        ["0 sleep = 1", "0 drop dropped", "0 drop ESTALE"]
    );
    // An ask whose turn has not come is not put.
    assert_eq!(g.tell("a", "ask b reply 0 x; drop"), ["0 ask = 2", "0 drop dropped"]);
    // One that was put is owed still; that nobody waits is not told.
    g.tell("a", "ask b");
    assert_eq!(g.tell("a", "drop"), ["0 drop dropped"]);
    assert_eq!(g.tell("b", "reply 0 late"), ["1 reply replied"]);
    assert_eq!(g.used(), rest);
    // A result that is there and waits goes too: the message comes first.
    assert_eq!(
        g.tell("a", "sleep 0; send me drop"),
        ["0 sleep = 4", "0 <0 drop", "0 drop dropped"]
    );
    assert_eq!(g.used(), rest);
    // A refused drop is none.
    g.tell("a", "sleep 100");
    assert!(g.try_tell("a", "drop; refuse").is_err());
    seen();
    assert_eq!(g.until(200), ["0 #5 100 0 "]);
    assert_eq!(g.tell("a", "drop"), ["0 drop ESTALE"]);
}

#[test]
fn abandonment_takes_all_calls_with_it() {
    let mut g = two();
    let rest = g.used();
    g.tell("a", "sleep 10; ask b; lock 1; sleep 20");
    assert!(g.try_tell("a", "trap").is_err());
    seen();
    assert_eq!(g.tell("b", "reply 0 nobody; lock 1").last().unwrap(), "1 #5 0 0 ");
    assert!(g.until(100).is_empty());
    g.tell("b", "unlock 1");
    assert_eq!(g.used(), rest);
    assert!(
        g.w.fake
            .log
            .iter()
            .any(|l| l.ends_with("a: abandoned a dispatch: divided by zero; made anew"))
    );
}

#[test]
fn the_policy_stop_ends_the_guest_whatever_the_reason() {
    for how in ["trap", "late"] {
        let mut g = Guest::new(Payload { on_fault: OnFault::Stop, ..atoms(&[("a", "")]) });
        assert!(g.try_tell("a", how).is_err());
        assert_eq!(g.w.rt.exit().map(|e| e.status), Some(1));
    }
}

#[test]
fn what_refuses_to_start_is_abandoned() {
    let mut g = Guest::new(atoms(&[("a", "start refuse\n"), ("b", "start params\n")]));
    // It is made anew eight times, and then there is no hope.
    assert_eq!(g.w.rt.exit().map(|e| e.status), Some(1));
    assert_eq!(g.w.rt.guest(ONE).expect("a guest").counters.abandoned, 8);
}

#[test]
fn one_interrupt_of_a_code_waits() {
    let mut g = two();
    let rest = g.used();
    assert_eq!(
        g.tell("a", "signal b 3 10; signal b 3 11; signal b 4 12"),
        ["1 !3 0 10", "1 !4 0 12"]
    );
    assert_eq!(g.tell("b", "mask 8"), ["1 mask was 0"]);
    assert_eq!(g.tell("a", "signal b 3 1; signal b 4 2; signal b 3 5"), ["1 !4 0 2"]);
    assert!(g.tell("a", "signal b 3 9").is_empty());
    assert_eq!(g.tell("b", "unmask 24; send me"), ["1 unmask was 8", "1 !3 0 1", "1 <1 "]);
    assert_eq!(g.tell("a", "signal b 63 1; signal c 1 1"), ["0 signal EINVAL", "0 signal ENOENT"]);
    // A mask that was refused is none; that of a component made anew is none either.
    assert!(g.try_tell("b", "mask 8; refuse").is_err());
    assert_eq!(g.tell("a", "signal b 3 1").last().unwrap(), "1 !3 0 1");
    g.tell("b", "mask -1");
    assert!(g.tell("a", "signal b 3 2").is_empty());
    assert!(g.try_tell("b", "trap").is_err());
    assert_eq!(seen(), ["1 !3 0 2"]);
    assert_eq!(g.used(), rest);
}

#[test]
fn what_is_stored_stays_unless_the_dispatch_fails() {
    let mut g = two();
    let rest = g.used();
    g.tell("a", "put x one; put y two; append first; append second");
    assert_eq!(
        g.tell("a", "get x; next; next x; next y; record 0; record 1; record 2; append third"),
        [
            "0 get one",
            "0 next x",
            "0 next y",
            "0 next ENOENT",
            "0 record first",
            "0 record second",
            "0 record ENOENT",
            "0 append 2"
        ]
    );
    // It is each component's own, and survives it.
    assert_eq!(g.tell("b", "get x; next"), ["1 get ENOENT", "1 next ENOENT"]);
    let stored = g.used();
    let price = |bytes: &[&str]| bytes.iter().map(|b| 64 + b.len() as u64).sum::<u64>();
    assert_eq!(stored.0 - rest.0, price(&["xone", "ytwo", "first", "second", "third"]));
    for end in ["refuse", "trap"] {
        assert!(
            g.try_tell(
                "a",
                &format!("put x three; del y; put z four; append more; get x; put x five; {end}")
            )
            .is_err()
        );
        assert_eq!(seen(), ["0 append 3", "0 get three"]);
        assert_eq!(g.used(), stored);
        assert_eq!(
            g.tell("a", "get x; get y; get z; record 3"),
            ["0 get one", "0 get two", "0 get ENOENT", "0 record ENOENT"]
        );
    }
    g.tell("a", "put x 1; put x 22; del y; del y");
    assert_eq!(g.used().0 - rest.0, price(&["x22", "first", "second", "third"]));
    // A full store is an error like others.
    for (i, full) in [false, false, false, true].into_iter().enumerate() {
        let put = g.tell("a", &format!("put-long k{i} 65000"));
        assert_eq!(put, if full { vec!["0 put-long ENOSPC"] } else { vec![] });
    }
    let long = format!("put {} 1; put", "k".repeat(256));
    assert_eq!(g.tell("a", &long), ["0 put EINVAL", "0 put EINVAL"]);
    assert_eq!(g.tell("a", "put-long k 65537"), ["0 put-long EMSGSIZE"]);
}

#[test]
fn names_in_srv_belong_to_who_lives() {
    let mut g = two();
    let rest = g.used();
    assert_eq!(
        g.tell("a", "register door; register door; register Door"),
        ["0 register registered", "0 register registered", "0 register EINVAL"]
    );
    assert_eq!(g.tell("b", "register door; send door hello"), ["1 register EEXIST", "0 <1 hello"]);
    assert_eq!(g.w.cat(&mut g.p, "srv").as_deref(), Ok("door a\n"));
    assert!(g.try_tell("a", "register other; refuse").is_err());
    assert!(g.try_tell("a", "trap").is_err());
    seen();
    assert_eq!(g.tell("b", "send door hello; register door; register other").len(), 3);
    assert_eq!(g.w.cat(&mut g.p, "srv").as_deref(), Ok("door b\nother b\n"));
    assert!(g.try_tell("b", "trap").is_err());
    assert_eq!(g.used(), rest);
    // A component's own name comes first.
    g.tell("b", "register a");
    assert_eq!(g.tell("b", "send a hello").last().unwrap(), "0 <1 hello");
}

#[test]
fn scratch_is_shared_and_put_back() {
    let mut g = two();
    assert_eq!(
        g.tell("a", "peek 65528 8; add 8 5; add 8 -2; cas 8 3 9; cas 8 3 10"),
        ["0 peek \0\0\0\0\0\0\0\0", "0 add 0", "0 add 5", "0 cas 3", "0 cas 9"]
    );
    assert_eq!(g.tell("b", "add 8 1"), ["1 add 9"]);
    let used = g.used();
    for end in ["refuse", "trap"] {
        assert!(
            g.try_tell(
                "b",
                &format!("add 8 1; poke 250 across,blocks; add 8 1; add 65528 1; {end}")
            )
            .is_err()
        );
        assert_eq!(seen(), ["1 add 10", "1 add 11", "1 add 0"]);
        assert_eq!(
            g.tell("a", "add 8 0; peek 250 6; add 65528 0"),
            ["0 add 10", "0 peek \0\0\0\0\0\0", "0 add 0"]
        );
        assert_eq!(g.used(), used);
    }
    assert_eq!(g.tell("a", "poke 250 across; peek 250 6"), ["0 peek across"]);
    let fault = "0 add EFAULT";
    assert_eq!(g.tell("a", "add 12 1; add 65536 1; add 65529 1"), ["0 add EINVAL", fault, fault]);
    assert_eq!(
        g.tell("a", "poke 65535 ab; poke 4294967295 a; poke 65536")[..2],
        ["0 poke EFAULT", "0 poke EFAULT"]
    );
    // The memory itself goes back, where the first who wanted it failed.
    let mut g = two();
    let rest = g.used();
    assert!(g.try_tell("a", "add 0 1; refuse").is_err());
    assert_eq!(g.used(), rest);
    assert_eq!(g.tell("a", "add 0 1").last().unwrap(), "0 add 0");
}

#[test]
fn nobody_overtakes_in_the_line_of_a_lock() {
    let mut g = Guest::new(atoms(&[("a", ""), ("b", ""), ("c", ""), ("d", "")]));
    let rest = g.used();
    assert_eq!(g.tell("a", "share 1").last().unwrap(), "0 #1 0 0 ");
    assert_eq!(g.tell("b", "share 1").last().unwrap(), "1 #2 0 0 ");
    assert_eq!(g.tell("c", "lock 1"), ["2 lock = 3"]);
    // It could share, but one waits before it.
    assert_eq!(g.tell("d", "share 1"), ["3 share = 4"]);
    assert_eq!(g.tell("d", "unlock 1"), ["3 unlock EPERM"]);
    assert_eq!(g.tell("a", "unlock 1; unlock 1"), ["0 unlock unlocked", "0 unlock EPERM"]);
    assert!(g.try_tell("b", "unlock 1; refuse").is_err());
    assert_eq!(seen(), ["1 unlock unlocked"]);
    // Who is abandoned holds nothing.
    assert!(g.try_tell("b", "trap").is_err());
    assert_eq!(seen(), ["2 #3 0 0 "]);
    assert_eq!(g.tell("c", "unlock 1"), ["2 unlock unlocked", "3 #4 0 0 "]);
    // Who leaves the line lets the next one in; who drops a lock that it has, too.
    assert_eq!(g.tell("a", "lock 1"), ["0 lock = 5"]);
    assert_eq!(g.tell("b", "share 1"), ["1 share = 6"]);
    assert_eq!(g.tell("a", "drop"), ["0 drop dropped", "1 #6 0 0 "]);
    g.tell("d", "unlock 1");
    g.tell("b", "unlock 1");
    assert_eq!(g.tell("a", "lock 1; drop"), ["0 lock = 7", "0 drop dropped"]);
    assert_eq!(
        g.tell("b", "lock 1; unlock 1; lock 256"),
        ["1 lock = 8", "1 unlock EPERM", "1 lock EINVAL", "1 #8 0 0 "]
    );
    g.tell("b", "unlock 1");
    assert_eq!(g.used(), rest);
}

#[test]
fn atoms_make_atoms_and_end_them() {
    let mut g = two();
    let rest = g.used();
    assert_eq!(
        g.tell(
            "a",
            "spawn w start params,send a up; send w first; spawn w; spawn W; spawn a; kill b"
        ),
        [
            "0 spawn is 2",
            "0 spawn EEXIST",
            "0 spawn EINVAL",
            "0 spawn EEXIST",
            "0 kill EPERM",
            "2 params start params;send a up",
            "2 <0 first",
            "0 <2 up"
        ]
    );
    assert_eq!(g.w.ls(&mut g.p, "atom").as_deref(), Ok("0/\n1/\n2/\n"));
    assert_eq!(g.tell("b", "send w hi; kill w"), ["1 kill EPERM", "2 <1 hi"]);
    // All that it has goes with it, and who waits for it hears so.
    g.tell("a", "send w put k v,append r,lock 3,register door,sleep 50,mask 1,signal me 0 0");
    g.tell("b", "ask w; lock 3");
    let ended = g.tell("a", "kill w; send w late");
    assert_eq!(ended, ["1 #3 0 EPIPE", "1 #4 0 0 "]);
    assert_eq!(g.tell("a", "send w x; send door x"), ["0 send ENOENT", "0 send ENOENT"]);
    g.tell("b", "unlock 3");
    assert_eq!(g.used(), rest);
    assert_eq!(g.w.ls(&mut g.p, "atom").as_deref(), Ok("0/\n1/\n"));
    // Numbers are not used again, but those of a dispatch that failed are.
    assert!(g.try_tell("a", "spawn x; spawn y; refuse").is_err());
    assert_eq!(seen(), ["0 spawn is 3", "0 spawn is 4"]);
    assert_eq!(g.used(), rest);
    assert_eq!(g.tell("a", "spawn y; kill y; spawn z"), ["0 spawn is 3", "0 spawn is 4"]);
    assert_eq!(g.w.ls(&mut g.p, "atom").as_deref(), Ok("0/\n1/\n4/\n"));
    // Who ends itself gets nothing any more.
    assert_eq!(
        g.tell("a", "ask z kill me; send z x"),
        ["0 ask = 5", "4 ?0 kill me", "0 #5 0 EPIPE"]
    );
    assert_eq!(g.used(), rest);
    // So many as the sponsor pays for.
    let many: Vec<String> = (0..200).map(|i| format!("spawn m{i}")).collect();
    assert_eq!(g.try_tell("a", &many.join(";")).map_err(|f| f.errno), Err(Errno::EDQUOT));
    assert_eq!(g.used(), rest);
}

#[test]
fn who_takes_the_name_of_one_that_ended_finds_nothing_stored() {
    let mut g = two();
    let rest = g.used();
    g.tell("a", "spawn w; send w put k v,append r");
    assert_eq!(g.tell("a", "send w get k").last().map(String::as_str), Some("2 get v"));
    g.tell("a", "kill w");
    assert_eq!(g.used(), rest);
    let next = g.tell("a", "spawn w; send w get k");
    assert_eq!(next.last().map(String::as_str), Some("3 get ENOENT"));
}

#[test]
fn an_atom_is_controlled_through_its_files() {
    let mut g = two();
    let rest = g.used();
    let ctl = |g: &mut Guest, line: &str| {
        g.w.echo(&mut g.p, "atom/b/ctl", line).map(|()| seen()).map_err(|f| f.errno)
    };
    assert_eq!(ctl(&mut g, "interrupt 5"), Ok(vec!["1 !5 - 0".into()]));
    assert_eq!(ctl(&mut g, "interrupt 63"), Err(Errno::EINVAL));
    // Paused, it gets nothing, and its files say so.
    assert_eq!(ctl(&mut g, "pause"), Ok(vec![]));
    assert!(g.tell("a", "send b one; signal b 1 1; send b two").is_empty());
    assert_eq!(g.try_tell("b", "params").map_err(|f| f.errno), Err(Errno::EBUSY));
    let status = g.w.cat(&mut g.p, "atom/1/status").expect("a file");
    assert_eq!(status, "name b\nstate paused\nmodule 0\ninterrupts 1\nrestarts 0\n");
    assert_eq!(
        ctl(&mut g, "resume"),
        Ok(["1 <0 one", "1 !1 0 1", "1 <0 two"].map(String::from).to_vec())
    );
    // Made anew while it was paused: what waited still comes.
    ctl(&mut g, "pause").expect("a good command");
    g.tell("a", "send b three");
    g.tell("a", "ask b reply 0 yes");
    assert_eq!(ctl(&mut g, "restart").expect("a good command").len(), 4);
    let stats = g.w.cat(&mut g.p, "atom/1/stats").expect("a file");
    assert!(stats.ends_with("failures 0\nfutures 0\n"), "{stats}");
    assert_eq!(g.used(), rest);
    let mem = g.w.cat(&mut g.p, "atom/b/mem").expect("a file");
    assert_eq!(mem, "memory 4096\nlimit 1048576\nstore 0\n");
    let log = g.p.open_file("atom/b/log");
    let read = g.p.read_next(log);
    g.w.drive(&mut g.p);
    let said = String::from_utf8(g.p.answer(read).expect("an answer").expect("lines")).unwrap();
    assert_eq!(said, "pause\nresume\npause\nmade anew\n");
    assert_eq!(ctl(&mut g, "kill"), Ok(vec![]));
    assert_eq!(g.tell("a", "send b x"), ["0 send ENOENT"]);
    assert_eq!(g.w.cat(&mut g.p, "export/b/text").map_err(|f| f.errno), Err(Errno::ESTALE));
    assert_eq!(g.w.ls(&mut g.p, "atom").as_deref(), Ok("0/\n"));
    assert!(g.used().0 < rest.0);
}
