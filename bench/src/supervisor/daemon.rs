//! A supervisor of the bench's own, and what it has started, which goes with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use atoll_9p::client::blocking::Connection;
use atoll_9p::types::unlink;

use crate::p9::place::Place;
use crate::proc::{Program, Running, how};

/// How long it may take to begin, and a guest to be there.
const START: Duration = Duration::from_secs(20);

/// `atoll serve`.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    pub(crate) running: Running,
    atoll: &'a Path,
    place: &'a Place,
    guests: Vec<String>,
}

impl<'a> Daemon<'a> {
    /// Starts one that goes before others' programs, and waits until its tree can be listed.
    pub(crate) fn urgent(place: &'a Place, atoll: &'a Path, tender: &Path) -> Result<Daemon<'a>> {
        Daemon::start(place, atoll, |p| p.env("ATOLL_TENDER", tender).urgent())
    }

    /// Starts one that goes before nobody.
    pub(crate) fn calm(place: &'a Place, atoll: &'a Path, tender: &Path) -> Result<Daemon<'a>> {
        Daemon::start(place, atoll, |p| p.env("ATOLL_TENDER", tender))
    }

    /// Starts one in dom0, which has so much memory for prepared shells.
    pub(crate) fn in_dom0(place: &'a Place, atoll: &'a Path, shells: &str) -> Result<Daemon<'a>> {
        Daemon::start(place, atoll, |p| p.args(["--shell-memory", shells]))
    }

    fn start(
        place: &'a Place,
        atoll: &'a Path,
        with: impl FnOnce(Program) -> Program,
    ) -> Result<Daemon<'a>> {
        let program = Program::new(atoll)?
            .args(["serve", "--quiet", "--state"])
            .arg(place.scratch()?.join("state"))
            .env("XDG_RUNTIME_DIR", place.sockets());
        let running = with(program).start()?;
        let mut daemon = Daemon { running, atoll, place, guests: Vec::new() };
        let begin = Instant::now();
        while daemon.atoll(&["ls", "@", "/guests"]).is_err() {
            if let Some(status) = daemon.running.ended()? {
                bail!("the supervisor {}", how(status));
            }
            if begin.elapsed() > START {
                bail!("the supervisor does not begin");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// A verb of the command line: what it prints.
    pub(crate) fn atoll(&self, args: &[&str]) -> Result<String> {
        let out = Command::new(self.atoll)
            .args(args)
            .env("XDG_RUNTIME_DIR", self.place.sockets())
            .stdin(Stdio::null())
            .output()
            .context("cannot run atoll")?;
        if !out.status.success() {
            bail!("atoll {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim_end());
        }
        Ok(String::from_utf8(out.stdout)?)
    }

    /// A connection to its tree.
    pub(crate) fn client(&self) -> Result<Connection> {
        let socket = self.socket();
        Connection::unix(&socket).with_context(|| format!("cannot use {}", socket.display()))
    }

    /// Gives it an image: its hash.
    pub(crate) fn image(&self, image: &Path) -> Result<String> {
        let image = image.to_str().context("a path that is not UTF-8")?;
        Ok(self.atoll(&["images", "add", image])?.trim().to_owned())
    }

    /// Runs an image in the background, as a process, and waits for its tree.
    pub(super) fn guest(&mut self, name: &str, image: &Path) -> Result<()> {
        let image = image.to_str().context("a path that is not UTF-8")?;
        self.guests.push(name.to_owned());
        self.atoll(&["run", "-d", image, "--name", name, "--on", "process"])?;
        let begin = Instant::now();
        while let Err(why) = self.atoll(&["cat", "@", &format!("/guests/{name}/fs/name")]) {
            if begin.elapsed() > START {
                return Err(why);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Where its tree is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.place.sockets().join("atoll/supervisor")
    }

    /// Where a guest's own is.
    pub(super) fn socket_of(&self, guest: &str) -> PathBuf {
        self.place.sockets().join(format!("atoll/{guest}.sock"))
    }
}

/// Makes a guest of an image, by its hash.
pub(crate) fn define(client: &Connection, name: &str, hash: &str, on: &str) -> Result<()> {
    // Which of the two QEMU is to use is not what is measured.
    define_as(client, name, &format!("image = \"{hash}\"\non = \"{on}\"\naccel = \"tcg\"\n"))
}

/// Makes a guest of a configuration.
pub(crate) fn define_as(client: &Connection, name: &str, config: &str) -> Result<()> {
    let cannot = || format!("guest {name} cannot be made");
    client.mkdir(&format!("guests/{name}"), 0o700).with_context(cannot)?;
    client.write(&format!("guests/{name}/config"), config.as_bytes()).with_context(cannot)?;
    tell(client, name, "commit")
}

/// Writes a line to a guest's `ctl`, which is answered when it is done.
pub(crate) fn tell(client: &Connection, name: &str, line: &str) -> Result<()> {
    client
        .write(&format!("guests/{name}/ctl"), line.as_bytes())
        .with_context(|| format!("{line} {name}"))
}

/// Asks a guest for its name, through the supervisor.
pub(crate) fn ask(client: &Connection, name: &str) -> Result<()> {
    let path = format!("guests/{name}/fs/name");
    client.read(&path).with_context(|| format!("guest {name} does not answer"))?;
    Ok(())
}

/// Ends a guest, and forgets it.
pub(crate) fn forget(client: &Connection, name: &str) -> Result<()> {
    tell(client, name, "kill")?;
    let removed = client.remove(&format!("guests/{name}"), unlink::DIR);
    removed.with_context(|| format!("guest {name} is not forgotten"))
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Guests outlive it: they are ended while it can be asked. What is left when this
        // program is killed goes with the place.
        for guest in &self.guests {
            let _ = self.atoll(&["rm", "--force", "--yes", guest]);
        }
        self.running.stop(Duration::from_secs(3));
    }
}
