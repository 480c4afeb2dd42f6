//! Domains that move from one host to another, and those that somebody else takes.

use atoll_lab::job::Job;
use atoll_lab::xen::{Lab, Wire};

use super::serve::SERVE as SUPERVISE;
use super::shells::SHELLS;
use super::{dom0, dom0_apart, nothing_is_left, ok};

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

/// A supervisor on this host that has the guest hello.
fn served(lab: Lab) -> (Lab, Job) {
    let serve = start(&lab, "atoll serve -q --state /run/state");
    ok(&lab, SERVE);
    (lab, serve)
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
    let Some((one, serve)) = dom0_apart("it takes two hosts").map(served) else { return };
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
    assert_eq!(ok(&one, END), "1 moved to /run/wire under epoch 2\n");
    // Where it is, is written down as its end, and it is not started here as well.
    let said = ok(&one, "ls /run/state/guests/hello; atoll start hello 2>&1; true");
    assert!(!said.contains("move.") && said.contains("would run twice"), "{said}");
    assert!(said.trim_end().ends_with("moved: to /run/wire under epoch 2"), "{said}");
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
    let Some((lab, serve)) = dom0().map(served) else { return };
    // Written down and gone on: it is the same run.
    ok(&lab, "xl save -c hello /run/save >/dev/null 2>&1");
    assert_eq!(greeting(&lab), "Hello, reef!\n");
    ok(&lab, "xl save hello /run/save >/dev/null 2>&1");
    assert_eq!(ok(&lab, END), "1 moved somebody else has saved it or moved it, by xl\n");
    // It may be restored at any time, so it is not started beside that.
    let said = ok(&lab, "atoll start hello 2>&1; echo $?; atoll restart hello 2>&1; echo $?");
    assert_eq!(said.matches("would run twice").count(), 2, "{said}");
    assert_eq!(said.matches("\n4\n").count(), 2, "{said}");
    ok(&lab, "xl restore /run/save >/dev/null 2>&1");
    let said = ok(&lab, "atoll start --anyway hello 2>&1; atoll cat @ /guests/hello/wait; xl list");
    assert!(said.contains("there is a domain called hello already"), "{said}");
    ok(&lab, "xl destroy hello; rm /run/save");
    end(serve);
    nothing_is_left(&lab);
}

#[test]
fn who_was_saved_once_and_is_destroyed_has_not_moved() {
    let Some((lab, serve)) = dom0().map(served) else { return };
    // What has made it goes when it is suspended, or is killed; it is looked after as before.
    ok(&lab, "xl save -c hello /run/save >/dev/null 2>&1");
    assert_eq!(greeting(&lab), "Hello, reef!\n");
    let said = ok(&lab, &format!("xl destroy hello; {END}; gone"));
    assert_eq!(said, "1 lost somebody else has destroyed the domain\n");
    ok(&lab, "atoll start hello; n=0; up hello; kill -9 $(pidof xl); xl destroy hello");
    assert_eq!(
        ok(&lab, &format!("{END}; gone")),
        "2 lost somebody else has destroyed the domain\n"
    );
    end(serve);
    nothing_is_left(&lab);
}

/// `leave EPOCH` tells the guest `a` to go where it is taken in and never answered for, and waits
/// until it is let go of under that epoch. `front` is the process that stands for its domain, and
/// `all` are those that know of it.
const SILENT: &str = "printf 'read hello; echo welcome; echo ready; cat >/run/got' >silent.sh
pids() { for p in $(pidof atoll); do
  tr '\\0' ' ' </proc/$p/cmdline | grep -q -e \"$1\" && echo $p; done; }
front() { pids '__domain '; }
all() { for w in __shim 'atoll serve' __zygote '__domain '; do pids \"$w\"; done; }
leave() { rm -f got; (socat UNIX-LISTEN:/run/silent 'EXEC:sh /run/silent.sh' >/dev/null 2>&1 &)
  until [ -S silent ]; do usleep 20000; done
  (atoll write --timeout 90 @ /guests/a/ctl 'relocate /run/silent' >said 2>&1; echo $? >>said) & r=$!
  g=0; until [ \"$(tail -c 5 got 2>/dev/null | tr -d '\\0')\" = \"go $1\" ]; do
  [ $((g = g + 1)) -lt 400 ] || { cat said log; exit 93; }; usleep 50000; done; }
moved() { atoll cat @ /guests/a/status | grep '^state'; atoll start a 2>&1; echo $?; }
";

#[test]
fn who_is_killed_between_the_last_words_leaves_no_second_guest() {
    let Some(lab) = dom0() else { return };
    let script = |text: &str| ok(&lab, &format!("{SUPERVISE}{SILENT}{text}"));
    let doubt = |epoch: u64| {
        format!(
            "it was told to go on at /run/silent under epoch {epoch}, and nobody answered: it runs \
             there, or is lost"
        )
    };
    // The front alone: its keeper destroys the domain, and its shim knows why.
    let said = script(
        "serve; atoll run -d /mnt/hello.img --on xen --name a --restart always
        up a; leave 2; kill -9 $(front); wait $r; cat said; gone
        atoll cat @ /guests/a/wait; grep next state/guests/a/move.json; moved
        atoll ps | grep ^a; atoll doctor --state /run/state | grep 'run 1'",
    );
    let why = format!("{}; here it ended: ", doubt(2));
    assert!(said.starts_with("a\natoll: write /guests/a/ctl: it may have moved: "), "{said}");
    assert!(said.contains(&format!("\n1 moved {why}")), "{said}");
    assert!(said.contains("\n  \"next\": 2,\nstate moved\n"), "{said}");
    assert!(said.contains("takes commit, start anyway, rmdir; moved: it was told to go"), "{said}");
    assert_eq!(said.matches(&doubt(2)).count(), 5, "{said}");
    assert!(said.contains("look there before it is started here"), "{said}");

    // All that know of it: the next supervisor finds the mark, and does not start it either.
    let said = script(
        "serve; moved; atoll start --anyway a; up a; test -e state/guests/a/move.json; echo mark $?; leave 4
        kill -9 $(all); gone; wait $r; serve
        atoll cat @ /guests/a/wait; moved; xl list | grep -c '^a '
        atoll start --anyway a; n=0; up a; atoll cat a /export/greeter/greeting
        atoll kill a; gone; atoll start a; n=0; up a; atoll kill a; atoll rm --yes a
        atoll write @ /ctl stop; wait $s",
    );
    assert!(said.contains("\n4\na\nmark 1\n"), "{said}");
    assert!(said.contains(&format!("2 moved {}\nstate moved\n", doubt(4))), "{said}");
    assert!(said.contains("\n4\n0\na\nHello, world!\na\na\na\na\n"), "{said}");
    nothing_is_left(&lab);
}

#[test]
fn a_guest_that_was_a_shell_moves_as_any_other() {
    let Some(one) = dom0_apart("it takes two hosts") else { return };
    let serve = start(&one, "atoll serve -q --shell-memory 64M --state /run/state");
    let script = |text: &str| ok(&one, &format!("{SHELLS}{text}"));
    let said = script(
        "until [ -S /run/atoll/supervisor ]; do usleep 20000; done
        atoll create /mnt/hello.img --on xen --name a >/dev/null; wants a; ready 'ready '
        d=$(number); atoll start a >/dev/null; up a; test $d = $(xl domid a); echo taken $?
        atoll write a /export/greeter/ctl 'greet reef'
        xl save -c a /run/save >/dev/null 2>&1; rm save; n=0; up a
        atoll cat a /export/greeter/greeting; atoll cat @ /guests/a/status | grep '^state'",
    );
    assert_eq!(said, "taken 0\nHello, reef!\nstate running\n");
    let Some(two) = dom0() else { return };
    let there = receive(&two, "--name a");
    let wire = Wire::new(&one, WIRE, &two, "UNIX-CONNECT:/run/in").unwrap();
    let said = script("atoll write --timeout 90 @ /guests/a/ctl 'relocate /run/wire' 2>&1; true");
    assert_eq!(said, "");
    wire.wait().unwrap();
    assert_eq!(ok(&two, "up a; atoll cat a /export/greeter/greeting"), "Hello, reef!\n");
    ok(&two, "atoll write a /ctl stop");
    assert_eq!(there.wait().unwrap().status, 0);

    // The next one goes by other hands.
    let said = script(
        "atoll cat @ /guests/a/wait; ready 'ready '; d=$(number); atoll start --anyway a >/dev/null
        up a; test $d = $(xl domid a); echo taken $?",
    );
    assert_eq!(said, "1 moved to /run/wire under epoch 2\ntaken 0\n");
    let wire = Wire::new(&one, WIRE, &two, "EXEC:xl migrate-receive").unwrap();
    ok(&one, "xl migrate -s '' a 'socat - UNIX-CONNECT:/run/wire' >/dev/null 2>&1");
    wire.wait().unwrap();
    let said = script("atoll cat @ /guests/a/wait; atoll start a 2>&1; echo $?; ! xl domid a 2>&1");
    assert!(said.starts_with("2 moved somebody else has saved it or moved it, by xl\n"), "{said}");
    assert!(said.contains("would run twice") && said.contains("\n4\n"), "{said}");
    assert!(said.contains("'a', maybe this domain does not exist"), "{said}");
    ok(&two, "xl destroy a");
    nothing_is_left(&two);
    script("atoll rm --yes a >/dev/null; no_shells");
    end(serve);
    nothing_is_left(&one);
}
