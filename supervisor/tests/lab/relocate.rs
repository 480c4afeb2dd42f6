//! Domains that move from one host to another, and those that somebody else takes.

use atoll_lab::job::Job;
use atoll_lab::xen::{Lab, Wire};

use super::{dom0, nothing_is_left, ok};

/// The guest hello, in the care of a supervisor in dom0.
const SERVE: &str = "until [ -S /run/atoll/supervisor ]; do usleep 20000; done
atoll run -d /mnt/hello.img --on xen >/dev/null; up hello
atoll write hello /export/greeter/ctl 'greet reef'";

/// Says what has become of the guest.
const END: &str = "atoll cat @ /guests/hello/wait";

/// The socket at which a guest leaves, and that at which it arrives.
const WIRE: &str = "/run/wire";
const IN: &str = "/run/in";

fn end(serve: Job) {
    serve.signal("INT").unwrap();
    serve.wait().unwrap();
}

fn relocate(lab: &Lab, to: &str) -> String {
    ok(lab, &format!("atoll write --timeout 90 @ /guests/hello/ctl 'relocate {to}' 2>&1; true"))
}

fn greeting(lab: &Lab) -> String {
    ok(lab, "up hello; atoll cat hello /export/greeter/greeting")
}

/// A program of ours that goes on in dom0.
fn start(lab: &Lab, line: &str) -> Job {
    let before = "export XDG_RUNTIME_DIR=/run PATH=/mnt:$PATH; cd /run; exec";
    lab.job(&format!("{before} {line}")).unwrap()
}

/// A host with a supervisor that has the guest hello.
fn served() -> Option<(Lab, Job)> {
    let lab = dom0()?;
    let serve = start(&lab, "atoll serve -q --state /run/state");
    ok(&lab, SERVE);
    Some((lab, serve))
}

/// Whoever waits for a guest to arrive.
fn receive(lab: &Lab, more: &str) -> Job {
    let line = format!("atoll run /mnt/hello.img --on xen --receive {IN} {more} 2>&1");
    let job = start(lab, &line);
    ok(
        lab,
        &format!(
            "n=0; until [ -S {IN} ]; do [ $((n = n + 1)) -lt 400 ] || exit 1; usleep 50000; done"
        ),
    );
    job
}

#[test]
fn a_guest_moves_to_another_host_or_stays() {
    let Some((one, serve)) = served() else { return };
    // A reader of its events, from before until after all that follows.
    let mut reader = start(&one, "atoll tail -F hello /export/greeter/events");
    reader.wait_for("reef").unwrap();

    // Nobody is there; somebody else is expected there; the stream is cut in the middle.
    let said = relocate(&one, "/run/nobody");
    assert!(said.contains("it was not moved: /run/nobody: No such file"), "{said}");
    let Some(two) = dom0() else { return };
    let other = receive(&two, "--memory 8MiB");
    let wire = Wire::new(&one, WIRE, &two, "UNIX-CONNECT:/run/in").unwrap();
    let said = relocate(&one, WIRE);
    wire.wait().unwrap();
    assert!(said.contains("its memory is 4194304, and 8388608 is expected"), "{said}");
    other.signal("INT").unwrap();
    other.wait().unwrap();
    ok(
        &one,
        "printf 'read hello; echo welcome; head -c 2000000 >/dev/null' >cut
        (socat UNIX-LISTEN:/run/cutting 'EXEC:sh /run/cut' >/dev/null 2>&1 &)
        until [ -S /run/cutting ]; do usleep 20000; done",
    );
    let said = relocate(&one, "/run/cutting");
    assert!(said.contains("it was not moved: "), "{said}");
    assert_eq!(greeting(&one), "Hello, reef!\n");
    ok(&one, "atoll write hello /export/greeter/ctl 'greet sea'");

    let there = receive(&two, "");
    let wire = Wire::new(&one, WIRE, &two, "UNIX-CONNECT:/run/in").unwrap();
    assert_eq!(relocate(&one, WIRE), "");
    wire.wait().unwrap();
    assert_eq!(ok(&one, END), "1 moved to /run/wire\n");
    assert_eq!(ok(&one, "gone; xl list | wc -l"), "2\n");
    assert_eq!(greeting(&two), "Hello, sea!\n");

    // Who finds its way there goes on where it was.
    let way = Wire::new(&one, "/run/atoll/hello.sock", &two, "UNIX-CONNECT:/run/atoll/hello.sock")
        .unwrap();
    ok(&two, "atoll write hello /export/greeter/ctl 'greet sun'");
    let events = reader.wait_for("sun").unwrap();
    for name in ["reef", "sea", "sun"] {
        assert_eq!(events.matches(name).count(), 1, "{events}");
    }
    reader.signal("INT").unwrap();
    reader.wait().unwrap();
    way.wait().unwrap();
    end(serve);
    nothing_is_left(&one);
    ok(&two, "atoll write hello /ctl stop");
    assert_eq!(there.wait().unwrap().status, 0);
    nothing_is_left(&two);
}

#[test]
fn who_is_taken_by_somebody_else_is_not_lost() {
    let Some((lab, serve)) = served() else { return };
    // Written down and gone on: it is the same run.
    ok(&lab, "xl save -c hello /run/save >/dev/null 2>&1");
    assert_eq!(greeting(&lab), "Hello, reef!\n");
    ok(&lab, "xl save hello /run/save >/dev/null 2>&1");
    assert_eq!(ok(&lab, END), "1 moved somebody else has saved it or moved it, by xl\n");
    end(serve);
    nothing_is_left(&lab);
}
