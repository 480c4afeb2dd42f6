//! A script inside namespaces of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use atoll_lab::left_out;

/// How long a script may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// The arguments of `unshare`, before the program.
const UNSHARE: [&str; 6] =
    ["-Urm", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation=private"];

/// The same for real root, with all users of the machine.
const UNSHARE_ROOT: [&str; 6] =
    ["-m", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation=private"];

/// Whether such namespaces and FUSE are to be had; if not, says why once.
pub(crate) fn possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(|| probe(&UNSHARE, "no user namespace with FUSE here"))
}

/// Whether this is root, who may have namespaces with other users in them.
pub(crate) fn root_possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(|| {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can be another user");
            return false;
        }
        probe(&UNSHARE_ROOT, "no mount namespace with FUSE for root here")
    })
}

fn probe(unshare: &[&str], what: &str) -> bool {
    if !Path::new("/dev/fuse").exists() {
        left_out("there is no /dev/fuse");
        return false;
    }
    let mut probe = Command::new("unshare");
    probe.args(unshare).args(["sh", "-c", "exec 3<>/dev/fuse"]);
    match probe.stdin(Stdio::null()).output() {
        Ok(out) if out.status.success() => true,
        Ok(out) => {
            let why = String::from_utf8_lossy(&out.stderr).into_owned();
            left_out(format_args!("{what}: {}", why.trim()));
            false
        }
        Err(e) => {
            left_out(format_args!("unshare: {e}"));
            false
        }
    }
}

/// Runs a script in `dir`; `$ATOLL` is the program under test.
fn run(unshare: &[&str], script: &str, dir: &Path, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-eu", "-c", script]).current_dir(dir);
    command.env("ATOLL", env!("CARGO_BIN_EXE_atoll")).env("TMP", dir).env("LC_ALL", "C");
    command.env("XDG_RUNTIME_DIR", dir).env("NO_COLOR", "1").envs(env.iter().copied());
    let (out, err) = (dir.join("stdout"), dir.join("stderr"));
    let file = |path| std::fs::File::create(path).unwrap();
    command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            let said = |path| std::fs::read_to_string(path).unwrap_or_default();
            panic!("the script does not end: {}{}\n{script}", said(&out), said(&err));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Output { status, stdout: std::fs::read(&out).unwrap(), stderr: std::fs::read(&err).unwrap() }
}

/// What a script prints, which must succeed.
pub(crate) fn ok(script: &str, env: &[(&str, &str)]) -> String {
    succeed(&UNSHARE, script, env)
}

/// The same as real root.
pub(crate) fn root_ok(script: &str) -> String {
    succeed(&UNSHARE_ROOT, script, &[])
}

fn succeed(unshare: &[&str], script: &str, env: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let out = run(unshare, script, dir.path(), env);
    let (said, error) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{}: {said}{error}\n{script}", out.status);
    said.into_owned()
}
