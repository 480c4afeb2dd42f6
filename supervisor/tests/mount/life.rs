//! A mount from its beginning to its end, and what it outlives.

use crate::inside::{ok, possible};

/// Serves `src` at `s.sock` with `atoll export`; `$EXPORT` is its process.
const EXPORT: &str = r#"
    export_src() {
        "$ATOLL" export src --socket "$TMP/s.sock" -q &
        EXPORT=$!
        until [ -S s.sock ]; do sleep 0.05; done
    }
    mkdir src mnt
    echo hello >src/hello
    export_src
"#;

fn with_export(script: &str) -> Option<String> {
    possible().then(|| ok(&format!("{EXPORT}\n{script}"), &[]))
}

#[test]
fn what_is_mounted_is_said_and_unmounted_without_a_trace() {
    let script = r#"
        "$ATOLL" mount s.sock mnt --via fuse
        cat mnt/hello
        grep -c " $TMP/mnt .*fuse.atoll" /proc/self/mountinfo
        HELPER=$(sed -n 's/^helper //p' mnt/.atoll/status)
        "$ATOLL" umount mnt
        grep -c " $TMP/mnt .*fuse.atoll" /proc/self/mountinfo || true
        [ "$(cut -d' ' -f3 /proc/$HELPER/stat 2>/dev/null || echo Z)" = Z ] && echo gone
    "#;
    // A name with a slash is a path; without one it is a guest's name.
    let Some(said) = with_export(&script.replace("mount s.sock", "mount ./s.sock")) else { return };
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("unix:/") && lines[0].ends_with("/mnt via FUSE"), "{said}");
    assert_eq!(lines[1..], ["hello", "1", "0", "gone"], "{said}");
}

#[test]
fn a_wrong_place_is_refused_with_what_to_do() {
    let script = r#"
        say() { code=0; "$ATOLL" "$@" 2>&1 || code=$?; echo "= $code"; }
        say mount ./s.sock nowhere --via fuse
        say mount ./s.sock src/hello --via fuse
        say mount ./none.sock mnt --via fuse
        say umount mnt
        "$ATOLL" mount -q ./s.sock mnt --via fuse
        say mount ./s.sock mnt --via fuse
        "$ATOLL" umount mnt
    "#;
    let Some(said) = with_export(script) else { return };
    let parts: Vec<&str> = said.split('\n').collect();
    for (i, (text, code)) in [
        ("make it first", "= 4"),
        ("it is no directory", "= 4"),
        ("is it served?", "= 3"),
        ("is no mount of atoll's", "= 4"),
        ("a tree is mounted there already", "= 4"),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(parts[2 * i].contains(text), "{said}");
        assert_eq!(parts[2 * i + 1], code, "{said}");
    }
}

#[test]
fn a_mount_in_use_says_by_whom_and_goes_lazily() {
    let script = r#"
        "$ATOLL" mount -q ./s.sock mnt --via fuse
        exec 3<mnt/hello
        sleep 1000 & USER=$!
        exec 3<&-
        code=0; "$ATOLL" umount mnt 2>&1 || code=$?
        echo "= $code"
        "$ATOLL" umount --lazy mnt
        ls mnt
        echo "= $?, $USER"
        kill $USER
    "#;
    let Some(said) = with_export(script) else { return };
    let user = said.rsplit(", ").next().unwrap().trim();
    assert!(said.contains(&format!("(process {user}: an open file)")), "{said}");
    assert!(said.contains("--lazy") && said.contains("= 4\n= 0, "), "{said}");
}

#[test]
fn a_mount_outlives_its_server() {
    let script = r#"
        "$ATOLL" mount -q ./s.sock mnt --via fuse
        exec 3<mnt/hello
        kill -9 $EXPORT; wait $EXPORT 2>/dev/null || true
        cat mnt/hello >got & READER=$!
        until grep -q '^state waiting' mnt/.atoll/status; do sleep 0.05; done
        export_src 3<&-
        wait $READER
        cat got - <&3
        sed -n '/^state/p; /^losses/p' mnt/.atoll/status
        exec 3<&-
        "$ATOLL" umount mnt
    "#;
    let Some(said) = with_export(script) else { return };
    assert_eq!(said, "hello\nhello\nstate connected\nlosses 1\n");
}

#[test]
fn who_waits_for_a_server_can_be_interrupted_and_waits_no_longer_than_it_may() {
    let script = r#"
        "$ATOLL" mount -q ./s.sock mnt --via fuse --wait 5
        kill -9 $EXPORT; wait $EXPORT 2>/dev/null || true
        until grep -q '^state waiting' mnt/.atoll/status; do sleep 0.05; done
        code=0; timeout -s INT -k 60 0.2 cat mnt/hello 2>/dev/null || code=$?
        echo $code
        cat mnt/hello 2>&1 || true
        cat mnt/.atoll/error
        "$ATOLL" umount mnt
    "#;
    let Some(said) = with_export(script) else { return };
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "124"), "{said}");
    assert!(lines[1].ends_with("Input/output error"), "{said}");
    assert!(lines[2].ends_with("the server cannot be reached (EIO)"), "{said}");
}

#[test]
fn a_helper_that_is_killed_leaves_no_mount() {
    let script = r#"
        i=0
        while [ $i -lt 5 ]; do
            "$ATOLL" mount -q ./s.sock mnt --via fuse
            HELPER=$(sed -n 's/^helper //p' mnt/.atoll/status)
            cat mnt/hello
            kill -9 $HELPER
            while grep -q " $TMP/mnt .*fuse.atoll" /proc/self/mountinfo; do sleep 0.05; done
            ls mnt
            i=$((i + 1))
        done
    "#;
    let Some(said) = with_export(script) else { return };
    assert_eq!(said, "hello\n".repeat(5));
}

#[test]
fn a_helper_that_is_asked_to_end_unmounts() {
    let script = r#"
        "$ATOLL" mount ./s.sock mnt --via fuse --foreground >said & HELPER=$!
        until grep -q mounted said 2>/dev/null; do sleep 0.05; done
        kill -TERM $HELPER
        wait $HELPER
        grep -c " $TMP/mnt .*fuse.atoll" /proc/self/mountinfo || true
    "#;
    let Some(said) = with_export(script) else { return };
    assert_eq!(said, "0\n");
}

#[test]
fn a_file_that_was_opened_empty_is_mapped_as_far_as_the_kernel_can() {
    let dir = tempfile::tempdir().unwrap();
    let mapped = crate::table::mapped(dir.path());
    let script = r#"
        "$ATOLL" mount -q ./s.sock mnt --via fuse
        : >mnt/new
        "$MAPPED" grow mnt/new 8192 hello || true
        head -c 5 src/new
        "$ATOLL" umount mnt
    "#;
    if possible() {
        let said = ok(&format!("{EXPORT}\n{script}"), &[("MAPPED", mapped.to_str().unwrap())]);
        let node = rustix::system::uname();
        let release = node.release().to_str().unwrap();
        let mut numbers = release.split(['.', '-']).map(|n| n.parse().unwrap_or(0));
        let version: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
        let old = "ENODEV\n\0\0\0\0\0";
        assert_eq!(said, if version >= (6, 6) { "hello" } else { old }, "Linux {release}");
    }
}

/// Set where a test runs itself inside the namespaces.
const INSIDE: &str = "ATOLL_TEST_INSIDE";

#[test]
fn nobody_is_told_of_changes_made_by_others() {
    // inotify hears what is done through the mount, and nothing of what is done
    // behind it: 9P has no message for that.
    if std::env::var_os(INSIDE).is_some() {
        return watch();
    }
    let script = r#"
        "$ATOLL" mount -q ./s.sock mnt --via fuse
        ATOLL_TEST_INSIDE=1 "$SELF" --exact life::nobody_is_told_of_changes_made_by_others --nocapture
        "$ATOLL" umount mnt
    "#;
    let me = std::env::current_exe().unwrap();
    if possible() {
        let said = ok(&format!("{EXPORT}\n{script}"), &[("SELF", me.to_str().unwrap())]);
        assert!(said.contains("behind 0, through 1"), "{said}");
    }
}

fn watch() {
    use rustix::fs::inotify;
    let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&fd, "mnt", inotify::WatchFlags::CREATE).unwrap();
    let heard = || {
        let mut space = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&fd, &mut space);
        usize::from(reader.next().is_ok())
    };
    std::fs::write("src/behind", "").unwrap();
    // It is there, and was seen through the mount, before the watcher is asked.
    assert!(std::fs::exists("mnt/behind").unwrap());
    let behind = heard();
    std::fs::write("mnt/through", "").unwrap();
    println!("behind {behind}, through {}", heard());
}
