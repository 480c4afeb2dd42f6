//! Mounts for others, and by others than root: real root's namespaces, in which there is
//! more than one user: `nobody`, whom fusermount3 wants to be known. Nothing is mounted outside of them.

use std::os::unix::fs::MetadataExt;

use atoll_lab::program;

use crate::inside::{ok, possible, root_ok, root_possible};

/// A served folder, and `other`, who runs a command as somebody else.
const EXPORT: &str = r#"
    mkdir src mnt run
    chmod 755 . src mnt
    echo hello >src/hello
    touch atoll
    mount --bind "$ATOLL" atoll
    ATOLL=$PWD/atoll
    other() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
    say() { code=0; "$@" 2>&1 || code=$?; [ $code = 0 ] || echo "= $code"; }
"#;

const SERVE: &str = r#"
    "$ATOLL" export src --socket "$PWD/run/s.sock" -q &
    until [ -S run/s.sock ]; do sleep 0.05; done
"#;

/// What was said, of each line what is behind the last colon.
fn words(said: &str) -> Vec<&str> {
    said.lines().map(|l| l.rsplit(": ").next().unwrap_or(l)).collect()
}

const DENIED: &str = "Permission denied";

#[test]
fn others_use_a_mount_only_if_it_is_said_and_modes_hold_for_them() {
    if !root_possible() {
        return;
    }
    let script = r#"
        echo secret >src/secret; chmod 600 src/secret
        "$ATOLL" mount -q "$PWD/run/s.sock" mnt --via fuse
        say other cat mnt/hello
        "$ATOLL" umount mnt
        "$ATOLL" mount -q "$PWD/run/s.sock" mnt --via fuse --allow-other
        say other cat mnt/hello
        say other cat mnt/secret
        say other touch mnt/new
        chmod 777 mnt
        say other sh -c 'echo new >mnt/new'
        cat src/new
        stat -c %u src/new
        "$ATOLL" umount mnt
    "#;
    let said = root_ok(&format!("{EXPORT}{SERVE}{script}"));
    // To the server everybody is who has mounted.
    let want = [DENIED, "= 1", "hello", DENIED, "= 1", DENIED, "= 1", "new", "0"];
    assert_eq!(words(&said), want, "{said}");
}

#[test]
fn who_is_not_root_mounts_by_fusermount3() {
    if !root_possible() {
        return;
    }
    if program("fusermount3", "fuse3").is_none() {
        return;
    }
    // Everything is that user's, the server too. `$CONF` is `/etc/fuse.conf` in here.
    let mine = r#"
        say() { code=0; "$@" 2>&1 || code=$?; [ $code = 0 ] || echo "= $code"; }
        "$ATOLL" mount "$PWD/run/s.sock" mnt
        cat mnt/hello; echo new >mnt/new; stat -c %u src/new
        grep " $TMP/mnt " /proc/self/mountinfo | grep -o 'nosuid,nodev.*fuse.atoll .*s.sock rw,user_id=65534' | tail -c 14
        say "$ATOLL" umount mnt
        grep -c " $TMP/mnt .*fuse.atoll" /proc/self/mountinfo || true
        "$ATOLL" mount -q "$PWD/run/s.sock" mnt --read-only
        cat mnt/hello
        say touch mnt/none
        exec 3<mnt/hello
        say "$ATOLL" umount mnt | grep -c 'is in use by'
        exec 3<&-
        say "$ATOLL" umount mnt
        say "$ATOLL" mount -q "$PWD/run/s.sock" mnt --allow-other
        echo user_allow_other >conf
        say "$ATOLL" mount -q "$PWD/run/s.sock" mnt --allow-other
        grep " $TMP/mnt " /proc/self/mountinfo | grep -o 'default_permissions,allow_other'
        "$ATOLL" umount mnt
        "$ATOLL" mount -q "$PWD/run/s.sock" mnt
        kill -9 $(sed -n 's/^helper //p' mnt/.atoll/status)
        while grep -q " $TMP/mnt .*fuse.atoll" /proc/self/mountinfo; do sleep 0.05; done
        ls mnt
        echo gone
    "#;
    let script = format!(
        r#"
        touch conf /etc/fuse.conf 2>/dev/null || true
        mount --bind conf /etc/fuse.conf
        # Not every machine gives the device to all, as udev does: here it is everybody's.
        mkdir dev; mount -t tmpfs none dev; mknod -m 666 dev/fuse c 10 229
        mount --bind dev/fuse /dev/fuse
        chown 65534:65534 .
        chown -R 65534:65534 src mnt run conf
        export ATOLL MINE XDG_RUNTIME_DIR=$PWD/run
        other sh -euc '{SERVE} eval "$MINE"; kill %1 || true'
        "#
    );
    let owner = || std::fs::metadata(env!("CARGO_BIN_EXE_atoll")).map(|m| (m.uid(), m.gid()));
    let before = owner().unwrap();
    let said = root_ok(&format!("MINE=$(cat <<'END'\n{mine}\nEND\n)\n{EXPORT}{script}"));
    assert_eq!(owner().unwrap(), before, "the program, which others may run as root, is theirs");
    let words = words(&said);
    assert!(words[0].ends_with("/mnt via FUSE"), "{said}");
    let refused = words.iter().position(|w| w.contains("user_allow_other")).unwrap();
    let mut rest = words[1..].to_vec();
    rest.remove(refused - 1);
    let want = [
        "hello",
        "65534",
        "user_id=65534",
        "0",
        "hello",
        "Read-only file system",
        "= 1",
        "1",
        "= 5",
        "default_permissions,allow_other",
        "gone",
    ];
    assert_eq!(rest, want, "{said}");
}

#[test]
fn nothing_is_changed_through_a_mount_that_is_read_only() {
    if !possible() {
        return;
    }
    let script = r#"
        mkdir src mnt run
        echo hello >src/hello
        say() { code=0; "$@" 2>&1 || code=$?; [ $code = 0 ] || echo "= $code"; }
        "$ATOLL" mount -q "$PWD/run/s.sock" mnt --via fuse --read-only
        cat mnt/hello mnt/.atoll/status | head -n 1
        say touch mnt/new; say rm mnt/hello; say mkdir mnt/dir; say mv mnt/hello mnt/x
        say sh -c 'echo more >>mnt/hello'
        "$ATOLL" umount mnt
        cat src/*
    "#;
    let (made, rest) = script.split_once("say()").unwrap();
    let said = ok(&format!("{made}{SERVE}say(){rest}"), &[]);
    let ro = ["Read-only file system", "= 1"].repeat(4);
    let want = [&["hello"], &ro[..], &["Read-only file system", "= 2", "hello"]].concat();
    assert_eq!(words(&said), want, "{said}");
}
