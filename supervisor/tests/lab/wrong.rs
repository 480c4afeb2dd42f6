//! Whatever goes wrong where a domain is to be made: it is said, and leaves nothing.

use atoll_lab::xen::Lab;

use super::serve::SERVE;
use super::{dom0, dom0_apart, file, nothing_is_left, ok};

/// Runs hello with something wrong, which is set up before. It says why within a minute, and
/// does not end well.
fn refused(lab: &Lab, before: &str, what: &str, why: &str) {
    let said =
        ok(lab, &format!("{before}\ntimeout 60 atoll run {what} --on xen 2>&1; echo ended $?"));
    let ended = ["ended 1\n", "ended 2\n"].iter().any(|end| said.ends_with(end));
    assert!(said.contains(why) && ended, "{before}; {what}: {said}");
    nothing_is_left(lab);
}

/// A program that is found in place of `xl`; the real one is `$real`.
pub(super) fn other_xl(body: &str) -> String {
    format!(
        "real=$(command -v xl); mkdir -p /run/other; export real PATH=/run/other:$PATH
        printf '#!/bin/sh\\n%s\\n' '{body}' >/run/other/xl; chmod +x /run/other/xl"
    )
}

#[test]
fn killed_in_every_phase_of_create() {
    let Some(lab) = dom0() else { return };
    // While `xl` makes the domain, and when the guest runs.
    for wait in ["true", "until [ -n \"$(pidof xl)\" ]; do :; done", "usleep 600000", "up hello"] {
        let script = format!(
            "atoll run /mnt/hello.img --on xen >log 2>&1 & run=$!; {wait}; kill -9 $run; wait $run; true"
        );
        ok(&lab, &script);
        nothing_is_left(&lab);
    }
}

#[test]
fn a_domain_that_dies_in_any_phase_of_create() {
    let Some(lab) = dom0() else { return };
    let known = "until d=$(xl domid hello 2>/dev/null); do :; done";
    for wait in [
        "true",
        "usleep 100000",
        "until xenstore-exists /local/domain/$d/device; do :; done",
        "until xenstore-exists /local/domain/$d/data/vchan/control; do :; done",
        "until xenstore-exists /local/domain/$d/data/vchan/control/ring-ref; do :; done",
    ] {
        let said = ok(
            &lab,
            &format!(
                "(timeout 60 atoll run /mnt/hello.img --on xen >log 2>&1; echo ended $? >>log) &
                {known}; {wait}; xl destroy hello 2>/dev/null; wait; cat log"
            ),
        );
        let why = ["somebody else has destroyed", "xl has made no domain", "xl is done, and there"];
        assert!(
            why.iter().any(|why| said.contains(why)) && said.ends_with("ended 1\n"),
            "{wait}: {said}"
        );
        nothing_is_left(&lab);
    }
}

#[test]
fn wrong_images_and_too_little_memory() {
    let Some(lab) = dom0() else { return };
    refused(&lab, "", "/mnt/nothing.img", "No such file");
    let make = "head -c 60000 /mnt/hello.img >/run/cut.img; head -c 99999 /dev/urandom >/run/any.img
        cp /mnt/hello.img /run/bit.img
        printf '\\377' | dd of=/run/bit.img bs=1 seek=100000 conv=notrunc 2>/dev/null; : >/run/no.img";
    refused(&lab, make, "/run/cut.img", "cut.img");
    refused(&lab, "", "/run/any.img", "any.img");
    refused(&lab, "", "/run/bit.img", "bit.img");
    refused(&lab, "", "/run/no.img", "no.img");
    // Less than the image takes, and more than the host has.
    refused(&lab, "", "/mnt/hello.img --memory 64K", "64K: from 2MiB");
    refused(&lab, "", "/mnt/hello.img --memory 1M", "1M: from 2MiB");
    let whole = ok(&lab, "xl info total_memory");
    let more = format!("/mnt/hello.img --memory {}M", 2 * whole.trim().parse::<u64>().unwrap());
    refused(&lab, "", &more, "xl has made no domain: ");
}

#[test]
fn a_guest_that_is_dead_at_once() {
    let Some(lab) = dom0() else { return };
    // Its first instruction is none, and there is nobody yet who could say so.
    let mut image = std::fs::read(file("hello.img")).unwrap();
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
    // The entry, and the first segment, which has it.
    let (entry, segment) = (word(24), word(32));
    let (offset, address) = (word(segment + 8), word(segment + 16));
    image[offset + entry - address..][..2].copy_from_slice(b"\x0f\x0b");
    lab.put("dead", &image).unwrap();
    let dead = other_xl(
        "case $1 in create) sed \"s:^kernel.*:kernel=\\\"/mnt/dead\\\":\" /proc/self/fd/9 >/run/dead.cfg
        exec $real create -F -q /run/dead.cfg;; esac; exec $real \"$@\"",
    );
    let why = "the domain crashed, or reset itself (a triple fault)";
    refused(&lab, &dead, "/mnt/hello.img", why);
    let said = ok(
        &lab,
        &format!(
            "{dead}\n{SERVE}serve; atoll create /mnt/hello.img --on xen --name a
            atoll start a 2>&1; echo $?; atoll cat @ /guests/a/wait; atoll rm --yes a
            atoll write @ /ctl stop; wait $s"
        ),
    );
    assert!(said.contains(&format!("1 lost {why}")), "{said}");
    nothing_is_left(&lab);
}

#[test]
fn another_xl_and_none() {
    let Some(lab) = dom0() else { return };
    refused(&lab, "PATH=/bin:/mnt", "/mnt/hello.img", "xl is not on the PATH");
    let body = "echo no luck >&2; exit 3";
    refused(&lab, &other_xl(body), "/mnt/hello.img", "xl has made no domain: no luck");
    let body = "exit 1";
    refused(&lab, &other_xl(body), "/mnt/hello.img", "xl does not say why");
    let body = "exit 0";
    refused(&lab, &other_xl(body), "/mnt/hello.img", "the xl on the PATH is not Xen");
    // One that takes for ever is not waited for when nobody wants the domain any more, and
    // does not stay.
    let said = ok(
        &lab,
        &format!(
            "{}\n(atoll run /mnt/hello.img --on xen >log 2>&1; echo ended $? >>log) &
            until [ -n \"$(pidof sleep)\" ]; do usleep 10000; done
            kill $(pidof atoll | tr ' ' '\\n' | sort -n | head -1); wait; cat log; pidof sleep; true",
            other_xl("exec sleep 1000")
        ),
    );
    assert!(said.ends_with("ended 1\n"), "{said}");
    nothing_is_left(&lab);
}

#[test]
fn a_name_that_is_taken() {
    let Some(lab) = dom0() else { return };
    // Somebody else's domain of that name is left alone.
    let taken = ok(
        &lab,
        "printf 'name=\"hello\"\\ntype=\"pvh\"\\nkernel=\"/mnt/hello.img\"\\nmemory=4\\nvcpus=1\\n' >cfg
        xl create -q cfg 2>/dev/null; timeout 60 atoll run /mnt/hello.img --on xen 2>&1; xl domid hello; xl destroy hello",
    );
    assert!(taken.contains("there is a domain called hello already"), "{taken}");
    nothing_is_left(&lab);
}

#[test]
fn no_privileges_and_no_xenstored() {
    let why = "it makes a user and takes devices away";
    let Some(lab) = dom0_apart(why) else { return };
    let user = "echo 'u:x:1000:1000::/:/bin/sh' >>/etc/passwd; mkdir -p /run/u; chown 1000 /run/u
        user() { su u -s /bin/sh -c \"XDG_RUNTIME_DIR=/run/u PATH=$PATH $1\"; }";
    let said = ok(
        &lab,
        &format!("{user}\nuser 'atoll run /mnt/hello.img --on xen 2>&1; echo ended $?'; ls /run/u"),
    );
    let why = "making domains needs root: use sudo: xenstored lets only root in: ";
    assert!(said.contains(why) && said.ends_with("ended 1\n"), "{said}");
    nothing_is_left(&lab);
    let doctor =
        "mv /dev/xen/privcmd away; atoll doctor --state /run/state 2>&1; mv away /dev/xen/privcmd";
    let said = ok(&lab, doctor);
    let why = "Xen does not say what domains do: /dev/xen/privcmd: No such file";
    assert!(said.contains(why), "{said}");
    let none = "export XENSTORED_PATH=/run/none; rm /dev/xen/xenbus";
    refused(&lab, none, "/mnt/hello.img", "this is no dom0: no xenstored answers");
}

#[test]
fn a_guest_that_never_connects() {
    let Some(lab) = dom0() else { return };
    // Its processor is never let run.
    let paused = "case $1 in create) shift; exec $real create -p \"$@\";; esac; exec $real \"$@\"";
    let said = ok(
        &lab,
        &format!(
            "{}\natoll run /mnt/hello.img --on xen >log 2>&1 & run=$!
            until grep -q answered log; do usleep 100000; done
            xl list hello | tail -1 | cut -c 60-; kill $run; wait $run; echo ended $?; cat log",
            other_xl(paused)
        ),
    );
    assert!(
        said.contains("has not answered for 10 s: it is paused") && said.contains("--p"),
        "{said}"
    );
    nothing_is_left(&lab);
}

#[test]
fn a_guest_that_lies_about_its_streams() {
    let Some(lab) = dom0() else { return };
    // Before it runs its keys are there already, and say what cannot be: a page that was never
    // lent, no number, a port that waits for nobody.
    let paused = "case $1 in create) shift; exec $real create -p \"$@\";; esac; exec $real \"$@\"";
    for (page, port, why) in [
        ("400", "9", "grant reference 400 is not lent to this domain to be written"),
        ("8 or 9", "9", "ring-ref is \"8 or 9\", no number"),
        ("8", "9x", "event-channel is \"9x\", no number"),
    ] {
        let said = ok(
            &lab,
            &format!(
                "{}\n(timeout 60 atoll run /mnt/hello.img --on xen >log 2>&1; echo ended $? >>log) &
                until d=$(xl domid hello 2>/dev/null); do :; done
                xenstore-write /local/domain/$d/data/vchan/control/ring-ref '{page}'
                xenstore-write /local/domain/$d/data/vchan/control/event-channel '{port}'
                wait; cat log",
                other_xl(paused)
            ),
        );
        assert!(said.contains(why) && said.ends_with("ended 1\n"), "{page}, {port}: {said}");
        nothing_is_left(&lab);
    }
}
