//! Commands about the guests of a supervisor. Each is a client of its control tree and does
//! nothing that `ls`, `cat` and `write` could not do there.

use std::time::Duration;

use anyhow::Context;
use atoll_9p::fault::{Errno, Fault};

use super::Usage;
use crate::address::{self, Address};
use crate::conn::{Conn, Error};

pub(super) mod cons;
pub(super) mod doctor;
mod each;
pub(super) mod images;
pub(super) mod launch;
pub(super) mod list;
pub(super) mod source;
mod table;
pub(super) mod top;
pub(super) mod verbs;
pub(super) mod watch;

/// How long an answer may take that has not to wait for a guest.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) const WHERE: &str = "\
The supervisor is this user's own, or the one that $ATOLL_HOST names: a socket's path, \
unix:PATH or tcp:HOST:PORT.";

/// Why a verb was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// No such guest.
    #[error("no guest {0:?}; `atoll ps` lists those that there are")]
    Missing(String),
    /// The supervisor refused.
    #[error("{guest}: {}", .why.text())]
    Refused {
        /// The guest.
        guest: String,
        /// What it said.
        why: Fault,
    },
}

impl Failed {
    /// The exit status.
    pub(super) fn code(&self) -> u8 {
        match self {
            Failed::Missing(_) => 3,
            Failed::Refused { why, .. } => match why.errno {
                Errno::EBUSY | Errno::EEXIST => 4,
                Errno::EPERM | Errno::EACCES | Errno::EROFS => 5,
                Errno::EINVAL => 2,
                Errno::ETIMEDOUT => 7,
                _ => 1,
            },
        }
    }
}

/// An error about a guest, in words about guests.
pub(super) fn about(guest: &str, e: Error) -> anyhow::Error {
    match e {
        Error::Refused(why) if matches!(why.errno, Errno::ENOENT | Errno::ESTALE) => {
            Failed::Missing(guest.into()).into()
        }
        Error::Refused(why) => Failed::Refused { guest: guest.into(), why }.into(),
        e => e.into(),
    }
}

fn supervisor() -> anyhow::Result<Address> {
    Ok(Address::supervisor().map_err(Usage)?)
}

/// A connection to the supervisor.
pub(super) async fn connect() -> anyhow::Result<Conn> {
    Ok(Conn::open(&supervisor()?, LIMIT).await?)
}

/// The same, over restarts of the supervisor.
pub(super) async fn connect_for_long() -> anyhow::Result<Conn> {
    Ok(Conn::open_again(&supervisor()?, LIMIT).await?)
}

/// A guest's directory, if the text can be a guest's name.
pub(super) fn path(guest: &str, file: &str) -> Result<String, Usage> {
    if !address::is_name(guest) {
        return Err(Usage(format!(
            "{guest:?} is no guest's name: those have a to z, 0 to 9 and -, at most 63"
        )));
    }
    Ok(format!("guests/{guest}/{file}"))
}

/// Writes a line to a guest's ctl, and waits until it is done.
pub(super) async fn tell(conn: &mut Conn, guest: &str, line: &str) -> anyhow::Result<()> {
    let path = path(guest, "ctl")?;
    conn.tell(&path, line.as_bytes()).await.map_err(|e| about(guest, e))
}

/// Reads a text.
pub(super) async fn text(conn: &mut Conn, path: &str) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&conn.read_file(path).await?).into_owned())
}

/// Reads a guest's file.
pub(super) async fn file(conn: &mut Conn, guest: &str, file: &str) -> anyhow::Result<String> {
    text(conn, &path(guest, file)?).await.map_err(|e| about(guest, e))
}

/// Asks a person on a terminal; where there is none, `--yes` has to be said.
pub(super) fn sure(yes: bool, question: &str) -> anyhow::Result<bool> {
    use std::io::{BufRead, IsTerminal, Write};
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Usage(format!("{question} Say --yes to have it done")).into());
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("standard input")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
