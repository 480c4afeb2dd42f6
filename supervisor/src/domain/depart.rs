//! A domain leaves: it is saved into a stream, and does not run here any more once the
//! other side has it.
//!
//! `xl save -p` leaves it behind, standing still. Until the other side is told to let it go on
//! it can go on here; once that was told it never does, unless that was refused, or somebody who
//! knows what has become of the other lets it. Before it is told, a mark is left in the guest's
//! folder ([`Mark`]), since whoever tells it may be killed before the answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};

use super::gate::Gate;
use super::travel::{self, Hello, Refusal};
use super::{XL, complaint, done};
use crate::shim::{FORMAT, Mark};

/// Where `xl` writes the domain to.
const STREAM_FD: i32 = 9;
/// How long the other side may say nothing.
const ANSWER: Duration = Duration::from_secs(60);

/// What came of it, if it did not stay.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It runs elsewhere.
    Moved,
    /// It may: the text says why nobody here knows. It stands still here.
    Unknown(String),
}

/// What is done to a domain that leaves.
pub(super) trait Leaves {
    /// Sends all of it. It stands still then.
    fn save(&mut self) -> Result<()>;
    /// Writes down, durably, that it goes on elsewhere; whether that was answered.
    fn mark(&mut self, answered: bool) -> Result<()>;
    /// Takes that back.
    fn unmark(&mut self) -> Result<()>;
    /// Lets it go on here, if it stands still.
    fn go_on(&mut self);
}

/// From the welcome on, to where it is known who runs it, or that nobody knows. It goes on here
/// if this fails.
pub(super) fn part(
    domain: &mut impl Leaves,
    from: &mut impl BufRead,
    mut to: impl Write,
    next: u64,
) -> Result<Left> {
    let let_go = domain
        .save()
        .and_then(|()| travel::expect(from, "ready"))
        .and_then(|()| domain.mark(false))
        // A line that could not be written to its end is none.
        .and_then(|()| travel::say(&mut to, &format!("go {next}")).map_err(Into::into));
    let why = match let_go.map(|()| travel::expect(from, "running")) {
        Ok(Ok(())) => {
            // What is there already says that it was not answered, which is less.
            let _ = domain.mark(true);
            return Ok(Left::Moved);
        }
        Ok(Err(why)) if !why.is::<Refusal>() => return Ok(Left::Unknown(format!("{why:#}"))),
        Ok(Err(why)) | Err(why) => why,
    };
    let unmarked = domain.unmark();
    domain.go_on();
    match unmarked {
        Ok(()) => Err(why),
        Err(e) => Err(why.context(format!("its mark is there still ({e:#})"))),
    }
}

/// A domain of Xen, on its way to a socket.
pub(super) struct Leaver<'a> {
    pub(super) domid: u16,
    pub(super) uuid: &'a str,
    pub(super) to: &'a Path,
    pub(super) hello: &'a Hello,
    /// The guest's folder.
    pub(super) home: &'a Path,
    pub(super) gate: &'a Gate,
}

/// Sends a domain to whoever takes it. It goes on here if that fails.
pub(super) fn send(leaver: &Leaver<'_>) -> Result<Left> {
    let (to, hello) = (leaver.to, leaver.hello);
    let stream = UnixStream::connect(to).with_context(|| format!("{}", to.display()))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let mut from = BufReader::new(&stream);
    travel::say(&stream, &serde_json::to_string(hello)?)?;
    travel::expect(&mut from, "welcome")?;
    let next = hello.epoch + 1;
    part(&mut OnItsWay { leaver, stream: &stream, next }, &mut from, &stream, next)
}

struct OnItsWay<'a> {
    leaver: &'a Leaver<'a>,
    stream: &'a UnixStream,
    next: u64,
}

impl Leaves for OnItsWay<'_> {
    fn save(&mut self) -> Result<()> {
        save(self.leaver.domid, self.stream, self.leaver.gate).map(drop)
    }

    fn mark(&mut self, answered: bool) -> Result<()> {
        let Leaver { uuid, to, hello, home, .. } = self.leaver;
        let mark = Mark {
            format: FORMAT,
            name: hello.name.clone(),
            uuid: (*uuid).to_owned(),
            epoch: hello.epoch,
            to: to.to_str().context("the path of the socket is no text")?.to_owned(),
            next: self.next,
            answered,
        };
        mark.leave(home).context("its folder cannot be written to")
    }

    fn unmark(&mut self) -> Result<()> {
        Ok(Mark::clear(self.leaver.home)?)
    }

    fn go_on(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        // Not paused if it could not be saved, and then it goes on already.
        let _ = done(&["unpause", &self.leaver.domid.to_string()]);
        self.leaver.gate.open();
    }
}

/// Saves it into the stream. It stands still then.
fn save(domid: u16, stream: &UnixStream, gate: &Gate) -> Result<u64> {
    ensure!(gate.shut(), "its streams cannot be closed");
    let (pipe, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let file = format!("/proc/self/fd/{STREAM_FD}");
    let mut command = Command::new(XL);
    command
        .args(["save", "-p", &domid.to_string(), &file])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
        .fd_mappings(vec![FdMapping { parent_fd: end, child_fd: STREAM_FD }])
        .map_err(std::io::Error::other)?;
    let mut child = command.spawn().context("cannot start xl")?;
    // What it holds of the pipe here goes with it.
    drop(command);
    let said = child.stderr.take();
    let said = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = said.map(|s| s.take(64 << 10).read_to_end(&mut text));
        text
    });
    let sent = travel::send(std::fs::File::from(pipe), stream);
    // A pipe that nobody reads any more ends it.
    let status = child.wait()?;
    let said = said.join().unwrap_or_default();
    let sent = sent.context("the stream failed")?;
    if !status.success() {
        bail!("xl cannot save it: {}", complaint(&said));
    }
    travel::end(stream)?;
    Ok(sent)
}

#[cfg(test)]
#[path = "part_tests.rs"]
mod tests;
