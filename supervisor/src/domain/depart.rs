//! A domain leaves: it is saved into a stream, and does not run here any more once the
//! other side has it.
//!
//! `xl save -p` leaves it behind, standing still. Until the other side is told to let it go on
//! it can go on here; once that was told it never does, unless somebody who knows what has
//! become of the other lets it.

use std::io::{BufReader, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};

use super::gate::Gate;
use super::travel::{self, Hello};
use super::{XL, complaint, done};

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

/// Sends a domain to whoever takes it at this socket. It goes on here if that fails.
pub(super) fn send(domid: u16, to: &Path, hello: &Hello, gate: &Gate) -> Result<Left> {
    let stream = UnixStream::connect(to).with_context(|| format!("{}", to.display()))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let mut from = BufReader::new(&stream);
    travel::say(&stream, &serde_json::to_string(hello)?)?;
    travel::expect(&mut from, "welcome")?;

    let sent = save(domid, &stream, gate).and_then(|_| travel::expect(&mut from, "ready"));
    // Whether `go` arrives is not known before it is answered.
    let left = sent.map(|()| {
        travel::say(&stream, &format!("go {}", hello.epoch + 1))?;
        travel::expect(&mut from, "running")
    });
    match left {
        Ok(Ok(())) => Ok(Left::Moved),
        Ok(Err(why)) => Ok(Left::Unknown(format!("{why:#}"))),
        Err(why) => {
            let _ = stream.shutdown(Shutdown::Both);
            // Not paused if it could not be saved, and then it goes on already.
            let _ = done(&["unpause", &domid.to_string()]);
            gate.open();
            Err(why)
        }
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
