//! The daemon's end of the zygote, which is started when the first shim is wanted, and again
//! when it is gone.
//!
//! A message that was sent is never sent again: whether it had come to a birth is then not
//! known here, and two shims would have the same lock. Whoever asked finds it out at the
//! shim's connection, which is closed where there is no shim.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::held::{self, ANSWER};
use super::zygote::{self, receive, send};
use crate::stream::register;

/// Where a daemon's shims come from.
pub struct Births {
    /// This program, with the environment that shims are to have.
    atoll: Box<dyn Fn() -> Command + Send + Sync>,
    now: Mutex<Option<Arc<Zygote>>>,
}

/// One zygote.
struct Zygote {
    process: OwnedFd,
    socket: AsyncFd<OwnedFd>,
    /// Nothing once it is gone.
    state: Mutex<Option<State>>,
}

#[derive(Default)]
struct State {
    /// Who waits for a birth, in the order of their messages.
    asked: VecDeque<oneshot::Sender<io::Result<Born>>>,
    /// Who wants to know how a process ended.
    alive: BTreeMap<i32, oneshot::Sender<ExitStatus>>,
}

/// A shim that was born, as a process.
pub(super) struct Born {
    process: OwnedFd,
    died: oneshot::Receiver<ExitStatus>,
    /// What came of that.
    ended: Option<Option<ExitStatus>>,
}

impl Born {
    /// Waits for its end: how that was, unless nobody knows.
    pub(super) async fn wait(&mut self) -> Option<ExitStatus> {
        if let Some(ended) = self.ended {
            return ended;
        }
        let status = (&mut self.died).await.ok();
        self.ended = Some(status);
        if status.is_none() {
            // The zygote is gone, and another than us is its parent now.
            let process = self.process.try_clone().ok()?;
            let _ = register(process, Interest::READABLE).ok()?.readable().await;
        }
        status
    }

    pub(super) fn kill(&self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Births {
    /// Of zygotes that are started by a command: this program and its environment.
    pub fn by(atoll: impl Fn() -> Command + Send + Sync + 'static) -> Births {
        Births { atoll: Box::new(atoll), now: Mutex::default() }
    }

    /// Of this program.
    pub fn of_this_program() -> Births {
        Births::by(|| Command::new(held::program()))
    }

    /// Has a shim made for a folder: as a process, or nothing when nobody knows whether it
    /// has come to that.
    pub(super) async fn birth(
        &self,
        folder: &Path,
        files: [BorrowedFd<'_>; 3],
    ) -> io::Result<Option<Born>> {
        // It may have been killed since the last one.
        for _ in 0..3 {
            let zygote = self.zygote()?;
            if let Some(answer) = zygote.ask(folder, &files).await? {
                let Ok(answered) = timeout(ANSWER, answer).await else {
                    // It stands still. With it goes what it was sent, and what that holds.
                    zygote.kill();
                    return Ok(None);
                };
                return answered.ok().transpose();
            }
        }
        Err(io::Error::other("the process that shims come from ends again and again"))
    }

    fn zygote(&self) -> io::Result<Arc<Zygote>> {
        let mut now = lock(&self.now);
        match &*now {
            Some(zygote) if lock(&zygote.state).is_some() => Ok(zygote.clone()),
            _ => Ok(now.insert(Zygote::start((self.atoll)())?).clone()),
        }
    }
}

impl Drop for Births {
    fn drop(&mut self) {
        if let Some(zygote) = lock(&self.now).take() {
            let _ = shutdown(&zygote.socket, Shutdown::Both);
        }
    }
}

impl Zygote {
    fn start(mut atoll: Command) -> io::Result<Arc<Zygote>> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        atoll.arg(zygote::COMMAND).arg(" ".repeat(zygote::TITLE));
        atoll.stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let mut command = tokio::process::Command::from(atoll);
        let mut child = command.spawn()?;
        // Nobody has waited for it yet: the number is its own.
        let pid = child.id().and_then(|n| Pid::from_raw(n.cast_signed()));
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        // What was handed over is closed here with the command that holds it.
        drop(command);
        let socket = register(ours, Interest::READABLE | Interest::WRITABLE)?;
        let zygote =
            Arc::new(Zygote { process, socket, state: Mutex::new(Some(State::default())) });
        let this = zygote.clone();
        tokio::spawn(async move {
            while let Ok(Some((text, files))) = this.hear().await {
                this.take(&String::from_utf8_lossy(&text), files);
            }
            // Who still waits for something of it is told so.
            *lock(&this.state) = None;
            let _ = shutdown(&this.socket, Shutdown::Both);
            drop(this);
            let _ = child.wait().await;
        });
        Ok(zygote)
    }

    /// Ends it. Nothing is asked of it any more, also while it is still on its way out.
    fn kill(&self) {
        *lock(&self.state) = None;
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }

    /// The next message of its; nothing when there is none any more.
    async fn hear(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        loop {
            let mut ready = self.socket.readable().await?;
            if let Ok(done) = ready.try_io(receive) {
                return done;
            }
        }
    }

    fn take(&self, text: &str, mut files: Vec<OwnedFd>) {
        let mut state = lock(&self.state);
        let Some(state) = &mut *state else { return };
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "born" => {
                let Some(asked) = state.asked.pop_front() else { return };
                // Without these it is as if it had not answered.
                let Some((process, pid)) = files.pop().zip(rest.parse().ok()) else { return };
                let (tell, died) = oneshot::channel();
                state.alive.insert(pid, tell);
                let _ = asked.send(Ok(Born { process, died, ended: None }));
            }
            "refused" => {
                let Some(asked) = state.asked.pop_front() else { return };
                let _ = asked.send(Err(io::Error::other(rest.to_owned())));
            }
            "died" => {
                let Some((pid, status)) = rest.split_once(' ') else { return };
                let Some((pid, status)) = pid.parse().ok().zip(status.parse().ok()) else { return };
                if let Some(tell) = state.alive.remove(&pid) {
                    let _ = tell.send(ExitStatus::from_raw(status));
                }
            }
            _ => {}
        }
    }

    /// Sends it a message: where the answer will be, or nothing when it is gone and has not
    /// got it.
    async fn ask(
        &self,
        folder: &Path,
        files: &[BorrowedFd<'_>],
    ) -> io::Result<Option<oneshot::Receiver<io::Result<Born>>>> {
        let data = folder.as_os_str().as_bytes();
        loop {
            let mut ready = self.socket.writable().await?;
            let sent = ready.try_io(|socket| {
                let mut state = lock(&self.state);
                let Some(state) = &mut *state else { return Ok(None) };
                match send(socket.as_fd(), data, files) {
                    Ok(()) => {
                        let (tell, answer) = oneshot::channel();
                        state.asked.push_back(tell);
                        Ok(Some(answer))
                    }
                    Err(e) if is_gone(&e) => Ok(None),
                    Err(e) => Err(e),
                }
            });
            match sent {
                Ok(Ok(None)) => {
                    *lock(&self.state) = None;
                    return Ok(None);
                }
                Ok(done) => return done,
                Err(_) => {}
            }
        }
    }
}

/// Whether a message was not sent because nobody is there.
fn is_gone(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
