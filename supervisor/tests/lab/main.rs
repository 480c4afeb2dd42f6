//! Guests as domains of a real Xen, by a supervisor in its dom0.

use std::path::{Path, PathBuf};

use atoll_lab::xen::Lab;

mod here;
mod relocate;
mod serve;
mod shells;
mod store;
mod wrong;

/// Says where `atoll` and the images are, for who runs this program on another machine than
/// it was built on.
const FILES: &str = "ATOLL_LAB_FILES";

const IMAGES: [&str; 2] = ["hello.img", "crash.img"];

/// `atoll`, or an image that `cargo xtask test` has built.
fn file(name: &str) -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/atoll/images");
    let file = match std::env::var_os(FILES) {
        Some(folder) => Path::new(&folder).join(name),
        None if name == "atoll" => env!("CARGO_BIN_EXE_atoll").into(),
        None => built.join(name),
    };
    assert!(file.is_file(), "{} is not built: cargo xtask test lab does", file.display());
    file
}

/// A dom0 with `atoll` in it and the images.
fn dom0() -> Option<Lab> {
    Some(with_files(Lab::for_test()?))
}

/// One that is nobody's, and why it must be.
fn dom0_apart(why: &str) -> Option<Lab> {
    Some(with_files(Lab::for_test_apart(why)?))
}

fn with_files(lab: Lab) -> Lab {
    for name in IMAGES.into_iter().chain(["atoll"]) {
        lab.bring(name, &file(name)).unwrap();
    }
    lab
}

/// What every script here begins with. `up NAME` waits until a guest's tree is there.
const PRELUDE: &str = "export XDG_RUNTIME_DIR=/run PATH=/mnt:$PATH; cd /run
up() { until atoll cat $1 /name >/dev/null 2>&1; do
  [ $((n = n + 1)) -lt 200 ] || { cat log; exit 99; }; usleep 50000; done; }
gone() { while xenstore-list /local/domain | grep -qv '^0$'; do
  [ $((m = m + 1)) -lt 200 ] || { xl list; exit 98; }; usleep 50000; done; }
";

fn ok(lab: &Lab, script: &str) -> String {
    lab.ok(&format!("{PRELUDE}{script}")).unwrap()
}

/// Nothing of any domain is left in dom0: none runs, XenStore knows of none, no process of
/// ours lives, and no socket is there.
fn nothing_is_left(lab: &Lab) {
    let left = "gone; until [ -z \"$(pidof atoll xl)\" ]; do
          [ $((k = k + 1)) -lt 200 ] || break; usleep 50000; done; pidof atoll xl
        xenstore-list /vm 2>/dev/null | grep -v 00000000-0000
        xenstore-list /libxl 2>/dev/null | grep -v '^0$'; ls /run/atoll 2>&1";
    let said = ok(lab, &format!("{left}; true"));
    assert_eq!(said, "ls: /run/atoll: No such file or directory\n");
}

#[test]
fn a_guest_lives_and_ends_as_a_domain() {
    let Some(lab) = dom0() else { return };
    let said = ok(
        &lab,
        "atoll run /mnt/hello.img --on xen >log 2>&1 & run=$!; up hello
        test $(xl domid hello) -gt 0; echo domain $?; atoll cat hello /export/greeter/greeting
        atoll write hello /export/greeter/ctl 'greet reef'; atoll cat hello /export/greeter/greeting
        xl list -l hello | grep -c '\"type\": \"pvh\"'
        atoll write hello /ctl stop; wait $run; echo ended $?; grep -c 'on xen' log",
    );
    assert_eq!(said, "domain 0\nHello, world!\nHello, reef!\n1\nended 0\n1\n");
    nothing_is_left(&lab);

    let said = ok(&lab, "atoll doctor --state /run/state | grep xen");
    assert!(said.starts_with("ok ") && said.contains("xenstored answers, 1 domains"), "{said}");

    // What somebody else does to it is no end of its own.
    let said = ok(
        &lab,
        "(atoll run /mnt/hello.img --on xen >log 2>&1; echo $? >status) & up hello
        xl destroy hello; wait; cat status log",
    );
    assert!(said.starts_with("1\n") && said.contains("somebody else has destroyed"), "{said}");
    nothing_is_left(&lab);

    // A guest that dies says why, and its domain does not stay.
    let said = ok(
        &lab,
        "(timeout 60 atoll run /mnt/crash.img --on xen >log 2>&1; echo $? >status) & up crash
        atoll write crash /export/crash/ctl panic >said 2>&1; echo $? >>said
        wait; cat status log said",
    );
    assert!(said.starts_with("1\n") && said.contains("panic: asked to panic at"), "{said}");
    nothing_is_left(&lab);
}

#[test]
fn without_xen_that_is_said() {
    if Path::new("/dev/xen/xenbus").exists() {
        return;
    }
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/atoll/images/hello.img");
    if !image.is_file() {
        return atoll_lab::left_out("hello is not built");
    }
    let dir = tempfile::tempdir().unwrap();
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_atoll"))
        .args(["run", "--on", "xen"])
        .arg(image)
        .env("XDG_RUNTIME_DIR", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success() && said.contains("this is no dom0: no xenstored answers"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
