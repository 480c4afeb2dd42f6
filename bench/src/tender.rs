//! Guests as processes: the tender, and the least process there is.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result};

use crate::nine::Nine;
use crate::proc::{Program, Running, Spent};
use crate::qemu::PATIENCE;

/// The descriptor that the tender is given.
const CONTROL: i32 = 10;

/// The program that does nothing, which is what a process costs.
pub const TRUE: &str = "/bin/true";

/// From `exec` to the end of a process that does nothing.
pub fn floor() -> Result<Spent> {
    Program::new(TRUE)?.start()?.spent_in_all()
}

/// A guest that runs in a tender.
#[derive(Debug)]
pub struct Guest {
    /// The tender.
    pub running: Running,
    /// A connection to the guest's tree.
    pub nine: Nine,
}

/// Starts a guest, with a client that waits already.
pub fn start(tender: &Path, image: &Path) -> Result<Guest> {
    let address = format!("atoll-bench-{}-tender", std::process::id());
    let address = SocketAddr::from_abstract_name(address)?;
    let listener = UnixListener::bind_addr(&address).context("cannot listen on a socket")?;
    let client = UnixStream::connect_addr(&address)?;
    let nine = Nine::new(client, PATIENCE)?;
    let running = Program::new(tender)?
        .args(["--control-fd", &CONTROL.to_string()])
        .fd(CONTROL, listener)
        .arg(image)
        .start()?;
    Ok(Guest { running, nine })
}

/// From `exec` to the first 9P reply.
pub fn boot(tender: &Path, image: &Path) -> Result<Spent> {
    let mut guest = start(tender, image)?;
    guest.nine.version().context("the tender's guest did not answer")?;
    guest.running.spent()
}
