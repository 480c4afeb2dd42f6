//! The servers that are measured, each a process of its own at a unix socket.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::place::{DATA, Place, SMALL};
use crate::load::echo::ECHO;
use crate::load::link::Link;
use crate::proc::{self, Program, Running, how};

/// How long a server may take until it can be connected to.
const START: Duration = Duration::from_secs(20);

/// Names of our own server, the peer and the floor in tables.
pub const OURS: &str = "atoll export";
/// The peer.
pub const DIOD: &str = "diod";
/// What names of guests begin with.
pub const GUEST: &str = "guest";
/// The floor.
pub const FLOOR: &str = "bare echo";

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    /// Its name in tables.
    pub name: String,
    /// Its process.
    pub running: Running,
    socket: PathBuf,
    aname: String,
    /// Where in its tree the files are.
    dir: &'static [&'static str],
}

impl Server {
    /// Starts a program that is to listen at `socket`, and waits until it does.
    pub fn start(name: &str, program: Program, socket: PathBuf, aname: &str) -> Result<Server> {
        // One that was killed has left it behind.
        let _ = std::fs::remove_file(&socket);
        let mut running = program.urgent().start()?;
        let begin = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            if let Some(status) = running.ended()? {
                bail!("{name} {} before it listened at its socket", how(status));
            }
            if begin.elapsed() > START {
                bail!("{name} does not listen at its socket");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Server { name: name.to_owned(), running, socket, aname: aname.to_owned(), dir: &[] })
    }

    /// The same, whose files are in a directory of its tree.
    pub fn in_dir(mut self, dir: &'static [&'static str]) -> Server {
        self.dir = dir;
        self
    }

    /// A new connection, for messages of at most so many bytes.
    pub fn link(&self, msize: u32) -> Result<Link> {
        let socket = UnixStream::connect(&self.socket)
            .with_context(|| format!("cannot connect to {}", self.name))?;
        Link::open(socket, msize, &self.aname, self.dir)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has things to clean up; a server that does not is killed.
        self.running.stop(Duration::from_secs(3));
    }
}

/// diod with so many worker threads, without authentication or a look at the
/// password file.
pub fn diod(place: &Place, threads: usize) -> Result<Server> {
    let name = format!("{DIOD} -t {threads}");
    let socket = place.socket(&format!("diod-{threads}"));
    let files = utf8(&place.files())?;
    let program = Program::new(find_diod()?)?
        // It wants to leave a core where it runs, should it crash.
        .dir(&place.scratch()?)
        .args(["-f", "-n", "-N", "-t", &threads.to_string(), "-L", "/dev/null"])
        .args(["-c", "/dev/null", "-e", &files, "-l"])
        .arg(&socket);
    Server::start(&name, program, socket, &files)
}

/// The least server.
pub fn echo(place: &Place) -> Result<Server> {
    let socket = place.socket("echo");
    let program = Program::new(proc::own()?)?
        .arg(ECHO)
        .arg(&socket)
        .arg(place.files().join(DATA.0))
        .arg(SMALL.1.len().to_string());
    Server::start(FLOOR, program, socket, "")
}

/// Our own: `atoll export DIR --socket PATH`.
pub fn ours(place: &Place, atoll: &Path) -> Result<Server> {
    let words = ["export", "{dir}", "--socket", "{socket}"];
    given(OURS, atoll.as_os_str().to_owned(), &words.map(str::to_owned), place)
}

/// The example of a tree with a file of events: `events SOCKET`.
pub fn events(place: &Place, program: &Path) -> Result<Server> {
    let socket = place.socket("events");
    let program = Program::new(program)?.arg(&socket);
    Server::start("events, the example", program, socket, "")
}

/// Any other, by its command line, in which `{dir}` and `{socket}` stand for what
/// to serve and where.
pub fn other(place: &Place, line: &str) -> Result<Server> {
    let mut words = line.split_whitespace().map(str::to_owned);
    let program = words.next().context("an empty command line")?;
    let rest: Vec<String> = words.collect();
    given(line, program.into(), &rest, place)
}

fn given(name: &str, program: OsString, words: &[String], place: &Place) -> Result<Server> {
    let socket = place.socket("server");
    let (files, path) = (utf8(&place.files())?, utf8(&socket)?);
    let words = words.iter().map(|w| w.replace("{dir}", &files).replace("{socket}", &path));
    Server::start(name, Program::new(program)?.args(words), socket, "")
}

fn utf8(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a path that is not UTF-8")
}

fn find_diod() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // It is an administrator's program, which not everybody has on the path.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|dir| dir.join(DIOD))
        .find(|p| p.is_file())
        .context("there is no diod: install the package diod (scripts/setup.sh test does)")
}
