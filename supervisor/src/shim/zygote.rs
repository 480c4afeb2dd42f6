//! The process from which shims come: `atoll __zygote`.
//!
//! To become a shim by `exec`, this program has to be mapped, linked and relocated anew for each
//! guest, which costs more than all that the shim does. This one has that behind it. It has done
//! nothing else: no thread, no runtime, no guest. For each message of its daemon it doubles itself,
//! and the double is a shim, with the three open files that came along and nothing of any
//! other guest's. It ends when its daemon does; the shims run on.
//!
//! A message is a guest's folder, with the shim's connection to the daemon, the folder's lock
//! and the file for complaints. The answer is `born PID` with the process as an open
//! file, or `refused WHY`. Later comes `died PID STATUS`, for who asks what became of a shim.

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use atoll_fork::{Deaths, Fork, Title, fork};
use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, wait};
use rustix::stdio::{dup2_stderr, dup2_stdin};

use super::process;

/// The hidden command that it runs as.
pub const COMMAND: &str = "__zygote";
/// Open files that come with a message.
const FILES: usize = 3;
/// The longest message: a path, and more.
const MAX: usize = 8 << 10;

/// Bytes of the command line that shims write theirs over: a path, and more.
pub(super) const TITLE: usize = 4200;

/// A message, and the open files that came with it; nothing when the other side is gone.
pub(super) fn receive(from: impl AsFd) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut data = vec![0; MAX];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut data)];
    let got = recvmsg(from, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            files.extend(more);
        }
    }
    data.truncate(got.bytes);
    Ok((got.bytes > 0).then_some((data, files)))
}

/// Sends a message with open files.
pub(super) fn send(to: impl AsFd, data: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("too many open files for a message"));
    }
    sendmsg(to, &[IoSlice::new(data)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Serves the daemon that is at standard input. Returns in the daemon's zygote when that is
/// over, and in each shim when its guest is.
pub fn run() -> anyhow::Result<bool> {
    // Out of reach of the daemon's terminal.
    let _ = rustix::process::setsid();
    let title = Title::find();
    call(title, &[COMMAND.as_bytes()]);
    let daemon = io::stdin().as_fd().try_clone_to_owned()?;
    if rustix::net::sockopt::socket_type(&daemon).ok() != Some(rustix::net::SocketType::SEQPACKET) {
        anyhow::bail!("this is for the supervisor alone: it has a connection to it");
    }
    dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let deaths = Deaths::new()?;
    loop {
        let mut ready =
            [PollFd::new(&daemon, PollFlags::IN), PollFd::new(deaths.fd(), PollFlags::IN)];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            done => done?,
        };
        let [asked, died] = ready.map(|r| !r.revents().is_empty());
        if died {
            deaths.clear();
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                let line = format!("died {} {}", pid.as_raw_nonzero(), status.as_raw());
                send(&daemon, line.as_bytes(), &[])?;
            }
        }
        if !asked {
            continue;
        }
        let Some((folder, files)) = receive(&daemon)? else { return Ok(true) };
        let folder = PathBuf::from(OsStr::from_bytes(&folder));
        let Ok([conn, lock, said]) = <[OwnedFd; FILES]>::try_from(files) else {
            send(&daemon, b"refused open files are missing", &[])?;
            continue;
        };
        match fork() {
            Ok(Fork::Child) => {
                drop((daemon, deaths));
                dup2_stderr(said)?;
                call(title, &[process::COMMAND.as_bytes(), folder.as_os_str().as_bytes()]);
                return process::run(&folder, conn.into(), lock.into(), title);
            }
            Ok(Fork::Parent(pid)) => born(&daemon, pid)?,
            Err(e) => send(&daemon, format!("refused {e}").as_bytes(), &[])?,
        }
    }
}

/// Tells of a shim. Nobody has waited for it yet: the number is its own.
fn born(daemon: &OwnedFd, pid: Pid) -> io::Result<()> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    send(daemon, format!("born {}", pid.as_raw_nonzero()).as_bytes(), &[process.as_fd()])
}

/// Says what this process is, where that can be said.
pub(super) fn call(title: Option<Title>, words: &[&[u8]]) {
    title.into_iter().for_each(|title| title.set_behind_program(words));
}
