//! XenStore as files in a dom0, by the kernel's own device for it.

use super::{dom0, nothing_is_left, ok};

#[test]
fn the_kernels_device_is_a_xenstored_too() {
    let Some(lab) = dom0() else { return };
    // A write of each kind, a watch, and names that take more than one message.
    let said = ok(
        &lab,
        "n=$(printf 'n%.0s' $(seq 100)); for i in $(seq 10 29); do set -- \"$@\" /t/$n$i 1; done
        xenstore-write /t/a theirs \"$@\"; seen() { k=0; until grep -q \"^$1\\$\" seen; do
          [ $((k = k + 1)) -lt 200 ] || { cat seen log; exit 97; }; usleep 50000; done; }
        atoll xenstore-fs --xenstored /dev/xen/xenbus >log 2>&1 & s=$!
        until [ -S atoll/xenstore.sock ]; do usleep 20000; done
        ls -l /proc/$s/fd | grep -c ' /dev/xen/xenbus$'; atoll cat xenstore /t/a/value; echo
        atoll cat xenstore /t/watch >seen & w=$!; seen /t
        atoll write xenstore /t/a/value ours; xenstore-read /t/a; seen /t/a
        xenstore-write /t/b 2; seen /t/b; atoll ls xenstore /t | grep -c /
        atoll cat xenstore /t/none/value 2>&1 | grep -c ENOENT
        kill $w; wait $w 2>/dev/null; kill $s; wait $s; echo ended $?; xenstore-rm /t",
    );
    assert_eq!(said, "1\ntheirs\nours\n22\n1\nended 0\n");
    nothing_is_left(&lab);
}
