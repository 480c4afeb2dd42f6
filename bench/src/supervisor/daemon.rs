//! A supervisor of the bench's own, and what it has started, which goes with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::p9::place::Place;
use crate::proc::{Program, Running, how};

/// How long it may take to begin, and a guest to be there.
const START: Duration = Duration::from_secs(20);

/// `atoll serve`.
#[derive(Debug)]
pub(super) struct Daemon<'a> {
    running: Running,
    atoll: &'a Path,
    place: &'a Place,
    guests: Vec<String>,
}

impl<'a> Daemon<'a> {
    /// Starts one, and waits until its tree can be listed.
    pub(super) fn start(place: &'a Place, atoll: &'a Path, tender: &Path) -> Result<Daemon<'a>> {
        let program = Program::new(atoll)?
            .args(["serve", "--quiet", "--state"])
            .arg(place.scratch()?.join("state"))
            .env("ATOLL_TENDER", tender)
            .env("XDG_RUNTIME_DIR", place.sockets());
        let running = program.urgent().start()?;
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

    /// A verb of the command line.
    fn atoll(&self, args: &[&str]) -> Result<()> {
        let out = Command::new(self.atoll)
            .args(args)
            .env("XDG_RUNTIME_DIR", self.place.sockets())
            .stdin(Stdio::null())
            .output()
            .context("cannot run atoll")?;
        if !out.status.success() {
            bail!("atoll {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim_end());
        }
        Ok(())
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
    pub(super) fn socket(&self) -> PathBuf {
        self.place.sockets().join("atoll/supervisor")
    }

    /// Where a guest's own is.
    pub(super) fn socket_of(&self, guest: &str) -> PathBuf {
        self.place.sockets().join(format!("atoll/{guest}.sock"))
    }
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
