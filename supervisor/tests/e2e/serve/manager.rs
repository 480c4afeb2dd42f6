//! The supervisor below a service manager, and for a group: sockets that it is given, the
//! lines that it says, and who may use a socket that it makes.

use std::fs::{Permissions, set_permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};

use super::Daemon;
use crate::fixture::{PATIENCE, atoll};

/// Becomes `atoll serve` with the number that `LISTEN_PID` has to have.
const GIVEN: &str = r#"LISTEN_PID=$$ exec "$@""#;

/// What a manager is told next.
fn heard(socket: &UnixDatagram) -> String {
    let mut buf = [0; 256];
    let n = socket.recv(&mut buf).unwrap();
    String::from_utf8(buf[..n].to_vec()).unwrap()
}

fn ended(mut child: Child) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn it_takes_its_manager_s_socket_and_says_when_it_is_ready() {
    let daemon = Daemon::idle();
    let dir = daemon.place.dir.path();
    let at = dir.join("given");
    let listener = UnixListener::bind(&at).unwrap();
    // By path, and without one.
    let unnamed = format!("atoll-test-{:x}", crate::fixture::rand());
    for notify in [dir.join("notify").to_str().unwrap().to_owned(), format!("@{unnamed}")] {
        let socket = match notify.strip_prefix('@') {
            Some(name) => {
                use std::os::linux::net::SocketAddrExt;
                let name = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
                UnixDatagram::bind_addr(&name).unwrap()
            }
            None => UnixDatagram::bind(&notify).unwrap(),
        };
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // Whoever comes before it is there is served when it is.
        let mut early = daemon.place.atoll();
        early.args(["ps", "-q"]).env("ATOLL_HOST", format!("unix:{}", at.display()));
        let early = early.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

        let mut command = Command::new("sh");
        command.args(["-c", GIVEN, "sh"]).arg(atoll()).arg("serve").arg("--state");
        command.arg(daemon.state()).env("XDG_RUNTIME_DIR", dir);
        command.env("LISTEN_FDS", "1").env("NOTIFY_SOCKET", &notify);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&daemon.log).unwrap());
        let given = OwnedFd::from(listener.try_clone().unwrap());
        command.fd_mappings(vec![FdMapping { parent_fd: given, child_fd: 3 }]).unwrap();
        let child = command.spawn().unwrap();
        drop(command);
        assert_eq!(heard(&socket), "READY=1");
        let out = early.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(daemon.said().contains("the service manager's sockets"), "{}", daemon.said());
        assert!(!dir.join("atoll/supervisor").exists(), "it makes none of its own");

        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(heard(&socket), "STOPPING=1");
        assert_eq!(ended(child), Some(0));
        assert!(at.exists(), "the socket is its manager's");
    }
    daemon.place.assert_empty();
}

#[test]
fn a_socket_for_a_group_is_for_its_members_alone() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root has users and groups to try this with");
        return;
    }
    const GROUP: u32 = 54_321;
    let mut daemon = Daemon::idle();
    let public = tempfile::tempdir().unwrap();
    set_permissions(public.path(), Permissions::from_mode(0o755)).unwrap();
    let at = public.path().join("supervisor");
    let path = at.to_str().unwrap().to_owned();
    let state = daemon.state();
    let alone = ["serve", "--state", state.to_str().unwrap(), "--group", "54321"];
    let (code, why) = daemon.fails(&alone);
    assert!(code == 1 && why.contains("--group needs --socket"), "{code} {why}");
    daemon.begin_with(&["--socket", &path, "--group", &GROUP.to_string()]);
    let meta = at.metadata().unwrap();
    assert_eq!((meta.mode() & 0o777, meta.gid()), (0o660, GROUP));

    // The program lies where others may not look.
    let program = public.path().join("atoll");
    std::fs::copy(atoll(), &program).unwrap();
    let ask = |uid: u32, gid: u32, groups: &str, verb: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string()]);
        match groups {
            "" => command.arg("--clear-groups"),
            groups => command.args(["--groups", groups]),
        };
        command.arg(&program).args(verb).env("ATOLL_HOST", format!("unix:{path}"));
        command.env("NO_COLOR", "1").current_dir("/").process_group(0).output().unwrap()
    };
    let metrics = ["cat", "@", "/metrics"];
    for (gid, groups) in [(GROUP, ""), (1234, "54321")] {
        let out = ask(12_345, gid, groups, &metrics);
        assert!(out.status.success(), "{groups}: {}", String::from_utf8_lossy(&out.stderr));
    }
    let out = ask(12_345, 1234, "1235", &metrics);
    let why = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && why.contains("denied"), "{why}");
    // A member may do what the owner may, and is named.
    let out = ask(12_345, 1234, "54321", &["write", "@", "/ctl", "stop"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(ended(daemon.child.take().unwrap()), Some(0));
    assert!(!at.exists());
    daemon.place.assert_empty();
}

#[test]
fn its_units_are_what_systemd_takes() {
    let units = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/systemd");
    let dir = tempfile::tempdir().unwrap();
    for unit in ["atoll.socket", "atoll.service"] {
        let text = std::fs::read_to_string(format!("{units}/{unit}")).unwrap();
        // Where people install it is not where a test has it.
        let text = text.replace("%h/.cargo/bin/atoll", atoll().to_str().unwrap());
        std::fs::write(dir.path().join(unit), text).unwrap();
    }
    std::fs::write(dir.path().join("wrong.service"), "[Service]\nColour=red\n").unwrap();
    for (unit, complaint) in
        [("atoll.socket", ""), ("atoll.service", ""), ("wrong.service", "Colour")]
    {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--user", "--man=no"]).arg(dir.path().join(unit));
        let Ok(out) = command.env("XDG_RUNTIME_DIR", dir.path()).output() else {
            return eprintln!("skipped: systemd-analyze is not installed");
        };
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let about = said.lines().any(|l| l.contains(unit));
        assert!(about != complaint.is_empty() && said.contains(complaint), "{unit}: {said}");
    }
}
