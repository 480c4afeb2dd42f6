//! `atoll export` as people run it: what it says, whom it serves, and that nothing
//! is left of it however it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use atoll_9p::client::Client;
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::types::OpenFlags;
use atoll_9p::wire::NOFID;
use rustix::process::{Gid, Pid, Signal, Uid, kill_process};
use rustix::thread::{set_thread_res_gid, set_thread_uid};

/// How long something may take that takes no time on a quiet machine.
const LONG: Duration = Duration::from_secs(30);

/// A folder with a few files, and room for sockets.
struct Place {
    dir: tempfile::TempDir,
}

/// A server, which is killed if a test forgets it.
struct Served {
    child: Child,
    said: String,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("in/sub")).unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        std::fs::write(dir.path().join("in/file"), "content").unwrap();
        symlink("file", dir.path().join("in/link")).unwrap();
        Place { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn atoll<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command.env("XDG_RUNTIME_DIR", self.at("run")).args(args);
        command
    }

    fn done(&self, args: &[&str]) -> Output {
        self.atoll(args).output().unwrap()
    }

    /// Serves; comes back when it says how to mount it.
    fn serve(&self, mut command: Command) -> Served {
        let mut child = command
            .current_dir(self.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        while !said.contains("mount it with") {
            assert_ne!(lines.read_line(&mut said).unwrap(), 0, "{said}");
        }
        Served { child, said }
    }

    fn export(&self, args: &[&str]) -> Served {
        self.serve(self.atoll(["export"].iter().chain(args)))
    }

    /// What is left beside the folder that was served.
    fn left(&self) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for dir in ["", "run"] {
            let entries = std::fs::read_dir(self.at(dir)).unwrap();
            all.extend(entries.map(|e| e.unwrap().path()));
        }
        all.retain(|p| *p != self.at("in") && *p != self.at("run"));
        all
    }
}

impl Served {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit status and what it wrote to standard output.
    fn end(mut self) -> (Option<i32>, String) {
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        (self.child.wait().unwrap().code(), out)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(out: &Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout.clone()).unwrap()
}

/// Until the guard has done its work.
fn until(what: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !what() {
        assert!(begin.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_folder_is_served_under_its_name_until_it_is_told_to_end() {
    let place = Place::new();
    let served = place.export(&["in"]);
    let socket = place.at("run/atoll/in.sock");
    assert!(served.said.contains("in at unix:") && served.said.contains("read-write"));
    assert!(served.said.contains(&format!("atoll mount {} DIR", socket.display())));
    assert_eq!(text(&place.done(&["cat", "in", "/file"])), "content");
    text(&place.done(&["write", "in", "/file", "changed"]));
    assert_eq!(std::fs::read_to_string(place.at("in/file")).unwrap(), "changed");
    let listed = text(&place.done(&["ls", "-l", "in", "/"]));
    assert!(listed.contains("lrwxrwxrwx") && listed.contains("sub/"), "{listed}");
    let second = place.done(&["export", &place.at("in").display().to_string()]);
    assert_eq!(second.status.code(), Some(4), "the socket is taken");
    served.signal(Signal::INT);
    assert_eq!(served.end(), (Some(0), String::new()));
    assert_eq!(place.left(), [] as [PathBuf; 0]);
}

#[test]
fn what_is_killed_leaves_nothing_either() {
    let place = Place::new();
    for how in [Signal::TERM, Signal::HUP, Signal::KILL] {
        let served = place.export(&["in", "--socket", "here.sock"]);
        assert!(UnixStream::connect(place.at("here.sock")).is_ok());
        served.signal(how);
        let code = served.end().0;
        assert_eq!(code, (how != Signal::KILL).then_some(0));
        until(|| place.left().is_empty());
    }
}

#[test]
fn folders_are_served_side_by_side_and_programs_are_told_where() {
    let place = Place::new();
    std::fs::create_dir(place.at("in/sub/other")).unwrap();
    let served = place.export(&[
        "in",
        "in/sub/other",
        "--socket",
        "s",
        "--read-only",
        "--json",
        "--listen",
        "127.0.0.1:0",
    ]);
    let socket = place.at("s").display().to_string();
    assert_eq!(text(&place.done(&["ls", &socket, "/"])), "in/\nother/\n");
    let refused = place.done(&["write", &socket, "/in/file", "x"]);
    assert_eq!(refused.status.code(), Some(5), "{}", String::from_utf8_lossy(&refused.stderr));
    let port = served.said.split("tcp:").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(text(&place.done(&["cat", &format!("tcp:{port}"), "/in/file"])), "content");
    served.signal(Signal::INT);
    let port = port.to_owned();
    let (code, out) = served.end();
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, json["socket"].as_str()), (Some(0), Some(&*socket)));
    assert_eq!((json["tcp"][0].as_str(), json["read_only"].as_bool()), (Some(&*port), Some(true)));
}

#[test]
fn what_cannot_be_served_is_said() {
    let place = Place::new();
    for (args, code, word) in [
        (&["export", "nowhere"][..], 1, "nowhere"),
        (&["export", "in/file"], 1, "in/file"),
        (&["export"], 2, "<DIR>"),
        (&["export", "in", "--listen", "192.0.2.1:1"], 2, "no authentication"),
        (&["export", "in", "in/../in"], 2, "two folders"),
    ] {
        let out = place.atoll(args).current_dir(place.dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(code) && said.contains(word), "{args:?}: {said}");
    }
    assert_eq!(place.left(), [] as [PathBuf; 0]);
}

fn switches(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap();
    line.rsplit_once('\t').unwrap().1.parse().unwrap()
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn a_server_without_descriptors_waits_for_some_and_does_not_spin() {
    let place = Place::new();
    let mut command = Command::new("sh");
    command
        .env("XDG_RUNTIME_DIR", place.at("run"))
        .arg("-c")
        .args(["ulimit -n 320 && exec \"$0\" export in --socket s", env!("CARGO_BIN_EXE_atoll")]);
    let served = place.serve(command);
    let pid = served.child.id();
    let before = descriptors(pid);
    let all: Vec<UnixStream> = (0..400).map_while(|_| connect(&place.at("s"))).collect();
    assert!(all.len() > 100, "{} connections", all.len());
    // No more than an eighth of them are let in; the others wait without cost.
    until(|| descriptors(pid) >= before + 40);
    let was = switches(pid);
    std::thread::sleep(Duration::from_millis(300));
    assert!(descriptors(pid) <= before + 40 && switches(pid) - was < 50);
    drop(all);
    until(|| descriptors(pid) == before);
    assert_eq!(
        text(&place.done(&["cat", &place.at("s").display().to_string(), "/file"])),
        "content"
    );
    served.signal(Signal::INT);
    assert_eq!(served.end().0, Some(0));
}

/// Connects, or says that nobody more may wait.
fn connect(path: &Path) -> Option<UnixStream> {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    connect(&fd, &SocketAddrUnix::new(path).unwrap()).ok()?;
    Some(fd.into())
}

/// The load generator of the diod project, with a session for each of its threads. It
/// asks for what diod has under `ctl`.
#[test]
fn another_projects_load_is_borne() {
    let Some(diodload) = atoll_lab::program("diodload", "diod") else { return };
    let place = Place::new();
    std::fs::create_dir(place.at("in/ctl")).unwrap();
    for name in ["null", "zero"] {
        std::fs::write(place.at("in/ctl").join(name), "").unwrap();
    }
    let served = place.export(&["in"]);
    let socket = place.at("run/atoll/in.sock");
    let out = Command::new(diodload)
        .args(["-g", "-r", "1", "-n", "16", "-s"])
        .arg(&socket)
        .output()
        .unwrap();
    let said = format!("{}{}", text(&out), String::from_utf8_lossy(&out.stderr));
    let ops = said.lines().find_map(|l| l.strip_prefix("diodload: ")?.split_once(" ops/s"));
    assert!(ops.is_some_and(|(n, _)| n.parse::<u64>().unwrap() > 0), "{said}");
    assert!(!said.contains("error"), "{said}");
    served.signal(Signal::INT);
    assert_eq!(served.end().0, Some(0));
    assert!(place.left().is_empty(), "{:?}", place.left());
}

/// Attaches as the user that it says, and makes a directory and a file of that group.
fn make(mut stream: impl Read + Write, n_uname: u32, name: &str) {
    let mut client = Client::new(8192);
    let file = format!("{name}.txt");
    let flags = OpenFlags::RDWR;
    let attach = |fid| Tmsg::Attach { fid, afid: NOFID, uname: "x", aname: "", n_uname };
    let (mut todo, mut buf) = (vec![], [0; 4096]);
    todo.push(Tmsg::Lcreate { fid: 1, name: &file, flags, mode: 0o644, gid: 5 });
    todo.push(Tmsg::Mkdir { dfid: 0, name, mode: 0o755, gid: 5 });
    todo.extend([attach(1), attach(0)]);
    loop {
        stream.write_all(client.output()).unwrap();
        client.sent(client.output().len());
        match client.poll().unwrap() {
            Some((_, Rmsg::Lerror { errno, text })) => panic!("{errno}: {text:?}"),
            Some(_) => match todo.pop() {
                Some(next) => drop(client.send(&next)),
                None => return,
            },
            None => {
                let n = stream.read(&mut buf).unwrap();
                assert_ne!(n, 0);
                client.feed(&buf[..n]);
            }
        }
    }
}

/// What is made belongs to whom the system knows to have made it, whatever was claimed.
#[test]
fn a_claim_gives_no_file_that_the_peer_could_not_give() {
    let place = Place::new();
    let served = place.export(&["in", "--socket", "s", "--listen", "127.0.0.1:0"]);
    let port = served.said.split("tcp:127.0.0.1:").nth(1).unwrap();
    let port: u16 = port.split(' ').next().unwrap().parse().unwrap();
    let owners = |name: &str| {
        ["", ".txt"].map(|end| {
            let meta = std::fs::metadata(place.at("in").join(format!("{name}{end}"))).unwrap();
            (meta.uid(), meta.gid())
        })
    };
    let mine = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());

    // Nobody knows who that is: they stay the server's.
    make(TcpStream::connect(("127.0.0.1", port)).unwrap(), 1234, "port");
    assert_eq!(owners("port"), [mine; 2]);
    make(UnixStream::connect(place.at("s")).unwrap(), NOFID, "unclaimed");
    let group = if mine.0 == 0 { 5 } else { mine.1 };
    assert!(owners("unclaimed").iter().all(|o| [mine, (mine.0, group)].contains(o)));
    make(UnixStream::connect(place.at("s")).unwrap(), 1234, "claimed");
    if mine.0 != 0 {
        assert_eq!(owners("claimed"), [mine; 2]);
    } else {
        // Root may act for others, and does where a kernel's mount has many users.
        assert_eq!(owners("claimed"), [(1234, 5); 2]);
        // Somebody else, whom root has let in, may not.
        std::fs::set_permissions(place.at("s"), PermissionsExt::from_mode(0o666)).unwrap();
        std::fs::set_permissions(place.at(""), PermissionsExt::from_mode(0o755)).unwrap();
        let socket = place.at("s");
        let other = std::thread::spawn(move || {
            // Of this thread alone.
            set_thread_res_gid(Some(Gid::from_raw(4321)), Some(Gid::from_raw(4321)), None::<Gid>)
                .unwrap();
            set_thread_uid(Uid::from_raw(4322)).unwrap();
            for (claim, name) in [(0, "zero"), (1234, "other"), (NOFID, "none")] {
                make(UnixStream::connect(&socket).unwrap(), claim, name);
            }
        });
        other.join().unwrap();
        for name in ["zero", "other", "none"] {
            assert_eq!(owners(name), [(4322, 4321); 2], "{name}");
        }
    }
    served.signal(Signal::INT);
    assert_eq!(served.end().0, Some(0));
}
