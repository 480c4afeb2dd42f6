//! The host's half of the verbs `checkpoint`, `restore N` and `stop` of a guest's ctl.
//!
//! The guest says in `checkpoint/wanted` what its ctl was told, and has no files to keep
//! anything in; whoever reads that file does it. So a client that may write the guest's
//! ctl needs no way to the host's files.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use atoll_9p::fault::Errno;
use atoll_9p::types::OpenFlags;
use atoll_config::payload::Hash;
use tokio::time::{Instant, sleep, timeout};

use super::{Error, Source, State, Target, give, take};
use crate::conn::{self, Conn};
use crate::guard::Guard;
use crate::joint::Joint;
use crate::run::{Voice, inside};
use crate::shim::{Order, Report};

/// How long a last checkpoint may take, and how long a guest may be busy with another one.
const ASKS: Duration = Duration::from_secs(9);
/// How long until it is given a checkpoint again, while another is under way.
const AGAIN: Duration = Duration::from_millis(50);

/// Keeps a guest's checkpoints in a folder. Clones are the same.
#[derive(Clone)]
pub struct Keeper {
    state: Rc<State>,
    payload: Hash,
    joint: Joint,
    voice: Rc<dyn Voice>,
    guard: Rc<RefCell<Guard>>,
}

impl Keeper {
    /// One for the guest that meets its clients at `joint`.
    pub fn new(
        state: State,
        payload: Hash,
        joint: Joint,
        voice: Rc<dyn Voice>,
        guard: Rc<RefCell<Guard>>,
    ) -> Keeper {
        Keeper { state: Rc::new(state), payload, joint, voice, guard }
    }

    /// Does what the guest asks for, until it is gone.
    pub async fn serve(self) {
        let Some(mut conn) = inside(&self.joint).await else { return };
        if let Err(e) = self.read(&mut conn).await {
            let text = format!("no checkpoint is kept any more: {:#}", anyhow::Error::from(e));
            self.voice.tell(&text);
        }
    }

    async fn read(&self, conn: &mut Conn) -> Result<(), Error> {
        super::open(conn, "checkpoint/wanted", OpenFlags::RDONLY).await?;
        let (mut line, mut offset) = (Vec::new(), 0);
        // That the guest is gone is said by others.
        while let Ok(bytes) = conn.read(offset).await {
            if bytes.is_empty() {
                break;
            }
            offset += bytes.len() as u64;
            for b in bytes {
                if b != b'\n' {
                    line.push(b);
                } else if let Some(wanted) = Wanted::parse(&line) {
                    line.clear();
                    self.serve_one(wanted).await;
                } else {
                    line.clear();
                }
            }
        }
        Ok(())
    }

    async fn serve_one(&self, wanted: Wanted) {
        match wanted {
            Wanted::Checkpoint(n) => self.told_to_keep(n).await,
            Wanted::Stop(n, status) => {
                if timeout(ASKS, self.told_to_keep(n)).await.is_err() {
                    self.voice.tell("keeps no last checkpoint: it takes too long");
                }
                // It may be gone before it has answered.
                if let Ok(mut conn) = self.conn().await {
                    let _ = conn.write_file("ctl", format!("stop {status}").as_bytes()).await;
                }
            }
            Wanted::Restore(n) => match self.go_back(&self.state.file(n)).await {
                Ok(text) => self.voice.say(&text),
                Err(e) => self.voice.tell(&format!("restore {n} failed: {e:#}")),
            },
            Wanted::Back => self.back().await,
        }
    }

    async fn told_to_keep(&self, n: u64) {
        match self.keep(n).await {
            Ok(path) => {
                self.voice.say(&format!("checkpoint {n} is in {}", path.display()));
                self.voice.report(&Report::Checkpoint(path));
            }
            Err(e) => {
                self.voice.tell(&format!("checkpoint {n} failed: {e:#}"));
                self.voice.report(&Report::Failed(Order::Checkpoint, format!("{e:#}")));
            }
        }
    }

    /// Has the guest ask for a checkpoint, as one who writes that to its ctl.
    pub async fn ask(self) {
        let asked = async { Ok(self.conn().await?.write_file("ctl", b"checkpoint").await?) };
        if let Err::<(), anyhow::Error>(e) = asked.await {
            self.voice.report(&Report::Failed(Order::Checkpoint, format!("{e:#}")));
        }
    }

    /// Has the guest go back to one of its checkpoints.
    pub async fn restore(self, n: u64) {
        match self.go_back(&self.state.file(n)).await {
            Ok(text) => {
                self.voice.say(&text);
                self.voice.report(&Report::Restored(n));
            }
            Err(e) => {
                self.voice.tell(&format!("restore {n} failed: {e:#}"));
                self.voice.report(&Report::Failed(Order::Restore(n), format!("{e:#}")));
            }
        }
    }

    async fn conn(&self) -> anyhow::Result<Conn> {
        inside(&self.joint).await.ok_or_else(|| anyhow::anyhow!("the guest is gone"))
    }

    async fn keep(&self, n: u64) -> anyhow::Result<PathBuf> {
        let path = self.state.file(n);
        let to = Target::new(&path, &mut self.guard.borrow_mut())?;
        take(&mut self.conn().await?, to, None, &mut |_| {}).await?;
        // That there are too many is no reason to say that this one is not there.
        if let Err(e) = self.state.drop_old(n) {
            self.voice.tell(&format!("{:#}", anyhow::Error::from(e)));
        }
        Ok(path)
    }

    async fn go_back(&self, path: &Path) -> anyhow::Result<String> {
        let from = Source::open(path, &mut ())?;
        from.fits(self.payload)?;
        let mut conn = self.conn().await?;
        let until = Instant::now() + ASKS;
        // Another may be taking one just now.
        while let Err(e) = give(&mut conn, &from, &mut |_| {}).await {
            let busy =
                matches!(&e, Error::Conn(conn::Error::Refused(f)) if f.errno == Errno::EBUSY);
            if !busy || Instant::now() > until {
                return Err(e.into());
            }
            sleep(AGAIN).await;
        }
        let name = path.file_stem().unwrap_or_default();
        Ok(format!("goes on from checkpoint {}", name.display()))
    }

    /// Gives the guest its last checkpoint. It does nothing before it has that; where there
    /// is none to give, it is to end.
    async fn back(&self) {
        let last = self.state.latest().map_err(anyhow::Error::from);
        let done = match last.and_then(|path| path.context("there is no checkpoint")) {
            Ok(path) => self.go_back(&path).await,
            Err(why) => Err(why),
        };
        match done {
            Ok(text) => self.voice.say(&text),
            Err(e) => {
                // Before it is told: with the guest, who would say this may end.
                self.voice.tell(&format!("going back failed: {e:#}"));
                if let Ok(mut conn) = self.conn().await {
                    let _ = conn.write_file("ctl", b"stop 1").await;
                }
            }
        }
    }
}

/// What the guest's ctl was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Keep a checkpoint, under this number.
    Checkpoint(u64),
    /// Go on from the one with this number.
    Restore(u64),
    /// Keep a last one, under this number, and stop it with this status.
    Stop(u64, u8),
    /// Go on from the last one.
    Back,
}

impl Wanted {
    /// Reads a line of `checkpoint/wanted`.
    fn parse(line: &[u8]) -> Option<Wanted> {
        if line == b"back" {
            return Some(Wanted::Back);
        }
        let (verb, n) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        if verb == "stop" {
            let (n, status) = n.split_once(' ')?;
            return Some(Wanted::Stop(n.parse().ok()?, status.parse().ok()?));
        }
        let n = n.parse().ok()?;
        match verb {
            "checkpoint" => Some(Wanted::Checkpoint(n)),
            "restore" => Some(Wanted::Restore(n)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_wanted_are_read() {
        assert_eq!(Wanted::parse(b"checkpoint 3"), Some(Wanted::Checkpoint(3)));
        assert_eq!(Wanted::parse(b"restore 18446744073709551615"), Some(Wanted::Restore(u64::MAX)));
        assert_eq!(Wanted::parse(b"back"), Some(Wanted::Back));
        assert_eq!(Wanted::parse(b"stop 7 63"), Some(Wanted::Stop(7, 63)));
        for bad in [
            "",
            "back 1",
            "checkpoint",
            "checkpoint x",
            "gap 3",
            "restore -1",
            "stop",
            "stop 1",
            "stop 1 256",
            "stop 1 2 3",
        ] {
            assert_eq!(Wanted::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
