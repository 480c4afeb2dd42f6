//! Domains that are made ahead of need: taken, made anew, given up, and left to nobody.

use super::serve::SERVE;
use super::wrong::other_xl;
use super::{dom0, nothing_is_left, ok};

/// `ready N` waits until as many shells are ready and no others are there; `given N` until N are
/// not the supervisor's any more; `wants NAME` makes a guest want one; `all` are the domains that
/// are shells by their names.
pub(super) const SHELLS: &str = "more='--shell-memory 64M'
shells() { atoll cat @ /xen/shells | grep -v '^most\\|^cost'; }
ready() { r=0; until [ \"$(shells | cut -d' ' -f1 | tr '\\n' ' ')\" = \"$1\" ]; do
  [ $((r = r + 1)) -lt 400 ] || { atoll cat @ /xen/shells; cat log; xl list; exit 95; }; usleep 50000; done; }
all() { xl list | grep -c ^atoll-shell-; }
no_shells() { h=0; until [ $(all) = 0 ]; do
  [ $((h = h + 1)) -lt 200 ] || { xl list; cat log; exit 94; }; usleep 50000; done; }
wants() { i=$(atoll cat @ /guests/$1/config | cut -d'\"' -f2 | head -n 1)
  printf 'image = \"%s\"\\non = \"xen\"\\nshells = 1\\n' $i >want
  atoll write @ /guests/$1/config - <want; atoll write @ /guests/$1/ctl commit; }
begin() { serve; atoll create /mnt/hello.img --on xen --name a >/dev/null; wants a; ready 'ready '; }
number() { xl domid $(xl list | sed -n 's/^\\(atoll-shell-[^ ]*\\).*/\\1/p'); }
end() { atoll rm --yes a >/dev/null; no_shells; atoll write @ /ctl stop; wait $s; echo ended $?
  ls state/shells; }
";

fn script(lab: &atoll_lab::xen::Lab, text: &str) -> String {
    ok(lab, &format!("{SERVE}{SHELLS}{text}"))
}

#[test]
fn a_guest_takes_a_shell_and_another_is_made() {
    let Some(lab) = dom0() else { return };
    let said = script(
        &lab,
        "begin; atoll cat @ /xen/shells | grep '^cost'; all; d=$(number)
        atoll start a >/dev/null; up a; test $d = $(xl domid a); echo taken $?
        atoll cat a /export/greeter/greeting; xl list -l a | grep -c '\"name\": \"a\"'
        ready 'ready '; test $d = $(number); echo other $?; ls state/shells | wc -l
        kill -9 $s; wait $s 2>/dev/null; all; serve; adopted; ready 'ready '
        test $d = $(xl domid a); echo same $?; ls state/shells | wc -l
        atoll cat a /export/greeter/greeting; atoll stop a >/dev/null
        until ! xl domid a >/dev/null 2>&1; do usleep 50000; done; ready 'ready '
        n=0; atoll start a >/dev/null; up a; xl destroy a; atoll wait a 2>&1 | grep -c destroyed
        end",
    );
    let want = "cost 7372800\n1\ntaken 0\nHello, world!\n1\nother 1\n2\n1\nsame 0\n2\n\
        Hello, world!\n1\nended 0\n";
    assert_eq!(said, want);
    nothing_is_left(&lab);
}

#[test]
fn what_a_supervisor_leaves_that_was_killed_is_found() {
    let Some(lab) = dom0() else { return };
    // Somebody else's domain that is called like a shell stays.
    let said = script(
        &lab,
        "printf 'name=\"atoll-shell-me\"\\ntype=\"pvh\"\\nkernel=\"/mnt/hello.img\"\\nmemory=4\\nvcpus=1\\n' >cfg
        xl create -q -p cfg 2>/dev/null; begin; atoll doctor --fix --state /run/state | grep -c shell
        kill -9 $s; wait $s 2>/dev/null; all
        atoll doctor --state /run/state 2>/dev/null | grep -c 'shell .*nobody has it'; all
        atoll doctor --fix --state /run/state | grep -c 'shell .*nobody had it'; all
        serve; ready 'ready '; kill -9 $s; wait $s 2>/dev/null; more=; serve
        until [ $(all) = 1 ]; do usleep 50000; done; atoll write @ /ctl stop; wait $s
        more='--shell-memory 64M'; for t in 0 30 60 100 150 200 300 400 600; do
          serve; usleep ${t}000; kill -9 $s; wait $s 2>/dev/null; done
        serve; ready 'ready '; all; ls state/shells | wc -l
        xl destroy atoll-shell-me; end",
    );
    assert_eq!(said, "0\n2\n1\n2\n1\n1\n2\n1\nended 0\n");
    nothing_is_left(&lab);
}

#[test]
fn an_xl_that_makes_one_for_nobody_is_ended() {
    let Some(lab) = dom0() else { return };
    // It takes for ever, and has the lock for as long.
    let hangs = other_xl("case $1 in create) read x </run/never;; esac; exec $real \"$@\"");
    let said = script(
        &lab,
        &format!(
            "{hangs}; mkfifo never; serve; atoll create /mnt/hello.img --on xen --name a >/dev/null; wants a
            makes() {{ cat /proc/[0-9]*/comm 2>/dev/null | grep -cx xl; }}
            until [ \"$(ls state/shells)\" ] && [ $(makes) = 1 ]; do usleep 50000; done
            doctor() {{ atoll doctor --state /run/state $1 2>/dev/null | grep ' shell ' | cut -d: -f2-; }}
            touch -d '2020-01-01 00:00' state/shells/*; doctor; echo; makes
            kill -9 $s; wait $s 2>/dev/null; touch state/shells/*; doctor; echo
            touch -d '2020-01-01 00:00' state/shells/*; doctor; makes; doctor --fix; makes
            ls state/shells; more=; serve; atoll rm --yes a; atoll write @ /ctl stop; wait $s"
        )
    );
    let want = "\n1\n\n xl makes it still, and nobody waits for that\n1\n nobody had it\n0\na\n";
    assert_eq!(said, want);
    nothing_is_left(&lab);
}

#[test]
fn a_name_that_is_taken_costs_no_shell() {
    let Some(lab) = dom0() else { return };
    let said = script(
        &lab,
        "printf 'name=\"a\"\\ntype=\"pvh\"\\nkernel=\"/mnt/hello.img\"\\nmemory=4\\nvcpus=1\\n' >cfg
        begin; d=$(number); xl create -q -p cfg 2>/dev/null; o=$(xl domid a)
        atoll start a 2>&1 | grep -c 'there is a domain called a already'; ready 'ready '
        test $d = $(number); echo same $?; test $o = $(xl domid a); echo theirs $?
        xl destroy a; atoll start a >/dev/null; up a; test $d = $(xl domid a); echo taken $?
        atoll kill a >/dev/null; end",
    );
    assert_eq!(said, "1\nsame 0\ntheirs 0\ntaken 0\nended 0\n");
    nothing_is_left(&lab);
}

#[test]
fn a_shell_that_is_lost_costs_nothing_but_time() {
    let Some(lab) = dom0() else { return };
    let said = script(
        &lab,
        "begin; xl destroy $(number); atoll start a >/dev/null; up a
        atoll cat a /export/greeter/greeting; atoll kill a >/dev/null; ready 'ready '
        atoll start a >/dev/null; up a; d=$(xl domid a)
        k=$(pidof atoll | tr ' ' '\\n' | while read p; do
          tr '\\0' ' ' </proc/$p/cmdline | grep -q domain && echo $p; done)
        kill -9 $k; until ! xl domid $d >/dev/null 2>&1 && ! xl domid a >/dev/null 2>&1; do
          [ $((w = w + 1)) -lt 200 ] || { xl list; break; }; usleep 50000; done
        ready 'ready '; end",
    );
    assert_eq!(said, "Hello, world!\nended 0\n");
    nothing_is_left(&lab);
}

#[test]
fn memory_is_given_up_for_a_guest_that_starts() {
    let Some(lab) = dom0() else { return };
    // One of which there are two is big, and no guest fits beside both.
    let said = script(
        &lab,
        "free() { xl info | sed -n 's/^free_memory.*: //p'; }
        more=\"--shell-memory $(free)M\"; serve; atoll create /mnt/hello.img --on xen --name a >/dev/null
        m=$(($(free) / 2)); i=$(atoll cat @ /guests/a/config | cut -d'\"' -f2 | head -n 1)
        printf 'image = \"%s\"\\non = \"xen\"\\nshells = 1\\nmemory = \"%sMiB\"\\n' $i $m >want
        atoll write @ /guests/a/config - <want; atoll write @ /guests/a/ctl commit; ready 'ready '
        atoll run -d /mnt/hello.img --on xen --name b --memory $((m + 4))M; up b
        atoll cat b /export/greeter/greeting; ready ''; all; atoll kill b >/dev/null
        atoll rm --yes b >/dev/null; end",
    );
    assert_eq!(said, "b\nHello, world!\n0\nended 0\n");
    nothing_is_left(&lab);
}
