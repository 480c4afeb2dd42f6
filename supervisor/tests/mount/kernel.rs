//! `atoll mount --via kernel`, where there is a kernel that has 9P: in a guest.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atoll_lab::door::{Door, HOST};
use atoll_lab::linux::{Linux, Setup};
use atoll_lab::nine::Server;

use crate::fixture::{PATIENCE, Place, image};
use crate::table::{column, mapped};
use crate::tree;

/// `atoll export`, which ends with this value.
struct Export {
    child: Child,
}

impl Export {
    fn start(dir: &Path, socket: &Path) -> Export {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command.arg("export").arg(dir).arg("--socket").arg(socket).arg("-q");
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            assert!(Instant::now() < until, "atoll export does not serve");
            std::thread::sleep(Duration::from_millis(10));
        }
        Export { child }
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program without what only a debugger wants, to be small in the guest's memory.
fn small(dir: &Path) -> PathBuf {
    let to = dir.join("atoll");
    let from = env!("CARGO_BIN_EXE_atoll");
    let strip = Command::new("strip").arg("-o").arg(&to).arg(from).status();
    if !strip.is_ok_and(|s| s.success()) {
        std::fs::copy(from, &to).unwrap();
    }
    to
}

#[test]
fn a_kernel_mount_outlives_its_server_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new()
        .and_then(|s| s.program("/usr/bin/atoll", &small(dir.path())))
        .and_then(|s| s.program("/usr/bin/mapped", &mapped(dir.path())))
        .and_then(|s| s.program("/usr/bin/flock", Path::new("/usr/bin/flock")))
        .and_then(|s| s.program("/usr/bin/setpriv", Path::new("/usr/bin/setpriv")));
    let linux = match setup {
        Ok(setup) => Linux::boot(setup).unwrap(),
        Err(why) => return atoll_lab::left_out(why),
    };
    let (src, socket) = (dir.path().join("src"), dir.path().join("s.sock"));
    std::fs::create_dir(&src).unwrap();
    std::fs::write(src.join("hello"), "hello\n").unwrap();
    let export = Export::start(&src, &socket);
    let door = Door::to_socket(&socket).unwrap();
    let at = format!("tcp:{HOST}:{}", door.port());
    let said = linux.ok(&format!("mkdir -p /mnt; atoll mount {at} /mnt")).unwrap();
    assert!(said.ends_with("is mounted at /mnt via v9fs\n"), "{said}");
    assert_eq!(
        linux.ok("cat /mnt/hello; echo new >/mnt/new; cat /mnt/new").unwrap(),
        "hello\nnew\n"
    );

    // It goes while a file is open, and comes back.
    let mut reader =
        linux.start("exec 3</mnt/hello; read x <&3; echo $x; read y; cat /mnt/new").unwrap();
    reader.wait_for("hello\n").unwrap();
    drop(export);
    let waiting = linux.start("cat /mnt/hello").unwrap();
    let export = Export::start(&src, &socket);
    let out = waiting.wait().unwrap();
    assert_eq!((out.status, out.text().as_str()), (0, "hello\n"));
    assert_eq!(
        linux.ok("cat /mnt/new; echo more >>/mnt/new; cat /mnt/new").unwrap(),
        "new\nnew\nmore\n"
    );
    drop(reader);

    linux.ok("atoll umount /mnt").unwrap();
    let gone = "i=0; while pidof atoll >/dev/null && [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done; pidof atoll || echo gone";
    assert_eq!(linux.ok(gone).unwrap(), "gone\n");

    // Killed, its helper leaves no mount that is dead.
    linux.ok(&format!("atoll mount -q {at} /mnt --via kernel && cat /mnt/hello")).unwrap();
    let killed = "kill -9 $(pidof atoll | tr ' ' '\\n' | sort -n | head -n 1); i=0; while grep -q ' /mnt 9p ' /proc/mounts && [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done; ls /mnt";
    assert_eq!(linux.ok(killed).unwrap(), "");
    let (v9fs, fuse) = ("Operation not permitted", "Permission denied");
    for (via, name, not) in [("kernel", "9p", v9fs), ("fuse", "fuse.atoll", fuse)] {
        keeps_to_what_was_asked_for(&linux, &at, via, (name, not));
    }
    outlives_supervisors(&linux);
    // The helper between the two changes nothing of what v9fs does.
    let tcp = "trans=tcp,version=9p2000.L,msize=65536,cache=none,port";
    does_what_the_table_says(&linux, 1, "", |port, at| {
        format!("mount -t 9p -o {tcp}={port} {HOST} {at}")
    });
    // Of FUSE what an older kernel may do otherwise; the host's is asked everything.
    for (via, which, of) in [("kernel", 1, ""), ("fuse", 2, "map")] {
        does_what_the_table_says(&linux, which, of, |port, at| {
            format!("atoll mount -q tcp:{HOST}:{port} {at} --via {via}")
        });
    }
    assert_eq!(linux.complaints().unwrap(), [""; 0], "the guest's kernel complains");
    drop(export);
}

/// `atoll serve`, of which nothing is left when this ends.
struct Serve {
    place: Place,
    state: tempfile::TempDir,
    child: Option<Child>,
}

impl Serve {
    fn new() -> Serve {
        Serve { place: Place::new(), state: tempfile::tempdir().unwrap(), child: None }
    }

    fn begin(&mut self) {
        let mut command = self.place.atoll();
        command.args(["serve", "--quiet", "--state"]).arg(self.state.path().join("state"));
        self.child = Some(command.spawn().unwrap());
        let until = Instant::now() + PATIENCE;
        while !self.place.run(&["ps"]).status.success() {
            assert!(Instant::now() < until, "atoll serve does not serve");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// As whoever puts a newer program in its place.
    fn end(&mut self) {
        self.place.ok(&["write", "@", "/ctl", "stop"]);
        let ended = self.child.take().map(|mut child| child.wait().unwrap().success());
        assert_eq!(ended, Some(true));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.kill();
        self.place.kill_all();
    }
}

/// The supervisor's tree, and a file in it that stays open, over supervisors.
fn outlives_supervisors(linux: &Linux) {
    let mut serve = Serve::new();
    serve.begin();
    let hello = image("hello");
    serve.place.ok(&["run", "-d", hello.to_str().unwrap(), "--name", "web", "--on", "process"]);
    let door = Door::to_socket(&serve.place.dir.path().join("atoll/supervisor")).unwrap();
    let at = format!("tcp:{HOST}:{}", door.port());
    linux.ok(&format!("mkdir -p /up; atoll mount -q {at} /up --via kernel")).unwrap();
    for (i, upgrade) in [true, false].into_iter().enumerate() {
        let read = "dd bs=1 count=2 2>/dev/null <&3; echo";
        let go = format!("while [ ! -e /tmp/go{i} ]; do sleep 0.1; done");
        let script = format!("exec 3</up/guests/web/fs/name; {read}; {go}; cat <&3");
        let mut reader = linux.start(&script).unwrap();
        reader.wait_for("he\n").unwrap();
        if upgrade {
            serve.end()
        } else {
            serve.kill()
        }
        // Who comes while there is none waits.
        let waiting = linux.start("cat /up/guests/web/fs/name").unwrap();
        serve.begin();
        let out = waiting.wait().unwrap();
        assert_eq!((out.status, out.text().as_str()), (0, "hello\n"));
        linux.ok(&format!("touch /tmp/go{i}")).unwrap();
        let out = reader.wait().unwrap();
        assert_eq!((out.status, out.text().as_str()), (0, "he\nllo\n"));
        // It is the same guest, and one can go on with it.
        let said = linux.ok("grep -e '^state ' -e '^run ' /up/guests/web/status").unwrap();
        assert_eq!(said, "state running\nrun 1\n");
        let greeter = "/up/guests/web/fs/export/greeter";
        let ask = format!("echo greet Ada{i} >{greeter}/ctl; cat {greeter}/greeting");
        assert!(linux.ok(&ask).unwrap().contains(&format!("Ada{i}")));
    }
    linux.ok("echo stop >/up/guests/web/ctl; rmdir /up/guests/web; atoll umount /up").unwrap();
    serve.end();
    serve.place.assert_empty();
}

/// Read-only and for others, or not.
fn keeps_to_what_was_asked_for(
    linux: &Linux,
    at: &str,
    via: &str,
    (name, not_others): (&str, &str),
) {
    let script = format!(
        "say() {{ \"$@\" 2>&1 || echo \"= $?\"; }}
        atoll mount -q {at} /mnt --via {via} --read-only
        grep -c ' /mnt {name} ro,' /proc/mounts
        cat /mnt/hello
        say touch /mnt/none; say rm /mnt/hello; say sh -c 'echo more >>/mnt/hello'
        atoll umount /mnt
        other='/usr/bin/setpriv --reuid 9 --regid 9 --clear-groups'
        atoll mount -q {at} /mnt --via {via}
        say $other cat /mnt/hello
        atoll umount /mnt
        atoll mount -q {at} /mnt --via {via} --allow-other
        say $other cat /mnt/hello
        chmod 600 /mnt/new; say $other cat /mnt/new; chmod 644 /mnt/new
        atoll umount /mnt"
    );
    let said = linux.run(&script).unwrap().text();
    let said: Vec<&str> = said.lines().map(|l| l.rsplit(": ").next().unwrap_or(l)).collect();
    let (ro, not) = ("Read-only file system", "Permission denied");
    let want =
        ["1", "hello", ro, "= 1", ro, "= 1", ro, "= 1", not_others, "= 1", "hello", not, "= 1"];
    assert_eq!(said, want, "{via}");
}

/// Asks each question of the table whose name begins so, and compares with a column.
fn does_what_the_table_says(
    linux: &Linux,
    which: usize,
    begin: &str,
    mount: impl Fn(u16, &str) -> String,
) {
    let (live, files) = (Server::start(tree::live).unwrap(), Server::start(tree::files).unwrap());
    for (port, at) in [(live.port(), "/live"), (files.port(), "/files")] {
        linux.ok(&format!("mkdir -p {at} && {}", mount(port, at))).unwrap();
    }
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mount/cases");
    let mut wrong = Vec::new();
    for (name, want) in column(which).into_iter().filter(|row| row.0.starts_with(begin)) {
        let case = std::fs::read_to_string(cases.join(format!("{name}.sh"))).unwrap();
        let around = format!(
            "export LIVE=/live FILES=/files TMP=/tmp/{name} MAPPED=mapped
            mkdir -p $TMP; cd $TMP\n{case}"
        );
        let text = linux.run(&around).unwrap().text();
        // Before it a shell may have told of processes that were killed.
        let is = text.trim().lines().last().unwrap_or_default();
        println!("column {which}: {name}: {is}");
        if is != want {
            wrong.push(format!("{name}: the table says {want}, it is {text}"));
        }
        linux.ok(&format!("rm -rf /tmp/{name}")).unwrap();
    }
    assert!(wrong.is_empty(), "{}: {wrong:#?}", mount(0, ""));
    if begin == "map" {
        // Opened empty it is of direct I/O; since Linux 6.6 that can be mapped too.
        let grow = ": >/files/new; mapped grow /files/new 8192 hello; \
            mapped write /files/new hello && head -c 5 /files/new";
        let said = linux.run(grow).unwrap();
        assert_eq!(said.text(), "ENODEV\nhello");
    }
    linux.ok("umount /live && umount /files").unwrap();
}
