//! Domains in the background: a supervisor that looks after them, dies, and finds them again.

use super::{dom0, nothing_is_left, ok};

/// Starts the supervisor as `$s`, and waits until it answers.
pub(super) const SERVE: &str =
    "serve() { atoll serve $more --state /run/state >>log 2>&1 & s=$!; n=0
  until atoll cat @ /version >/dev/null 2>&1; do
  [ $((n = n + 1)) -lt 200 ] || { cat log; exit 97; }; usleep 50000; done; }
adopted() { k=0; until atoll cat @ /guests/a/status | grep -q '^state running'; do
  [ $((k = k + 1)) -lt 200 ] || { atoll cat @ /guests/a/status; exit 96; }; usleep 50000; done; }
";

#[test]
fn a_domain_outlives_its_supervisor() {
    let Some(lab) = dom0() else { return };
    let said = ok(
        &lab,
        &format!(
            "{SERVE}serve; atoll run -d /mnt/hello.img --on xen --name a; up a; domid=$(xl domid a)
            atoll ps | grep -c 'a *running.* xen'; atoll logs a | grep -c 'on xen'
            atoll write a /export/greeter/ctl 'greet reef'
            atoll pause a >/dev/null; xl list a | grep -c -- '--p---\\|-bp---'
            atoll resume a >/dev/null; atoll cat a /export/greeter/greeting
            kill -9 $s; wait $s 2>/dev/null; serve; adopted
            atoll cat @ /guests/a/fs/export/greeter/greeting; test $domid = $(xl domid a); echo same $?
            atoll stop a; gone; atoll start a; n=0; up a; atoll kill a; gone
            atoll rm --yes a; atoll write @ /ctl stop; wait $s; echo ended $?"
        ),
    );
    let want = "a\n1\n1\n1\nHello, reef!\nHello, reef!\nsame 0\na\na\na\na\nended 0\n";
    assert_eq!(said, want);
    nothing_is_left(&lab);
}

#[test]
fn a_domain_at_rest_has_nobody_at_work() {
    let Some(lab) = dom0() else { return };
    // It has no use for the stream `host`, and what stands for it is not to offer that again and
    // again. How often threads have begun to wait says whether anything was done.
    let said = ok(
        &lab,
        &format!(
            "{SERVE}waits() {{ for p in $(pidof atoll); do
              tr '\\0' ' ' </proc/$p/cmdline | grep -q '__domain' && cat /proc/$p/task/*/status; done |
              grep '^voluntary_ctxt' | cut -f2 | tr '\\n' ' '; }}
            serve; atoll run -d /mnt/hello.img --on xen --name a; up a; sleep 2
            w=$(waits); set -- $w; test $# -ge 5; echo several $?; sleep 3
            test \"$w\" = \"$(waits)\"; echo same $?
            atoll kill a >/dev/null; atoll rm --yes a; atoll write @ /ctl stop; wait $s; echo ended $?"
        ),
    );
    assert_eq!(said, "a\nseveral 0\nsame 0\na\nended 0\n");
    nothing_is_left(&lab);
}
