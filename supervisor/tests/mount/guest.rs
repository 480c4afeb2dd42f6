//! A running guest, driven through a mount of its tree.

use std::os::unix::ffi::OsStrExt;

use crate::fixture::{Guest, Place, image};
use crate::inside::{ok, possible};

#[test]
fn a_guest_is_read_followed_commanded_and_stopped_through_a_mount() {
    if !possible() {
        return;
    }
    image("hello");
    let place = Place::new();
    let guest = Guest::start(&place, "hello", "process", &[]);
    let socket = place.socket("hello");
    let script = r#"
        mkdir mnt
        "$ATOLL" mount -q "$SOCKET" mnt --via fuse
        grep '^state' mnt/status
        cat mnt/name mnt/export/greeter/greeting
        exec 3<mnt/export/greeter/events
        echo greet Ada >mnt/export/greeter/ctl
        cat mnt/export/greeter/greeting
        read -r event <&3; echo "$event"
        exec 3<&-
        echo jump 2>/dev/null >mnt/export/greeter/ctl || cat mnt/.atoll/error
        code=0; timeout -s INT -k 60 1 cat mnt/log >/dev/null || code=$?; echo $code
        # More readers that wait than one client may have at the guest.
        all=; for i in $(seq 100); do cat mnt/log >/dev/null & all="$all $!"; done
        until [ "$(sed -n 's/^open //p' mnt/.atoll/status)" -ge 100 ]; do sleep 0.05; done
        timeout 60 cat mnt/name; timeout 60 cat mnt/export/greeter/greeting
        kill $all; wait
        echo stop >mnt/ctl
        "$ATOLL" umount --lazy mnt
    "#;
    let socket = std::str::from_utf8(socket.as_os_str().as_bytes()).unwrap();
    let said = ok(script, &[("SOCKET", socket)]);
    let want = "state running\nhello\nHello, world!\nHello, Ada!\ngreet Ada\n\
        write: no command in \"jump\"; there are: greet, reset (EINVAL)\n124\n\
        hello\nHello, Ada!\n";
    assert_eq!(said, want);
    let (code, said) = guest.wait();
    assert_eq!(code, Some(0), "{said}");
    place.assert_empty();
}
