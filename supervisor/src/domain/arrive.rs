//! A domain arrives: what comes over a stream becomes one, which runs once its source has
//! let go of it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd, OwnedFd};

use super::done;
use super::front::Event;
use super::travel::{self, Hello};

/// How long the other side may say nothing.
const ANSWER: Duration = Duration::from_secs(60);
/// How often it is looked whether anybody still wants what comes.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// A domain on its way here.
#[derive(Debug)]
pub(super) struct Arrival {
    stream: BufReader<UnixStream>,
    /// Where `xl` reads it from.
    pipe: OwnedFd,
    to: Option<OwnedFd>,
    epoch: u64,
}

/// Why a domain has not arrived.
pub(super) struct Refused {
    why: anyhow::Error,
    /// Its source, if that has let go of it and is not to know yet: something of the domain may
    /// still be here.
    source: Option<UnixStream>,
}

impl Refused {
    /// Tells its source, which lets it go on then, if nothing of it is here any more.
    pub(super) fn tell(self, is_gone: bool) -> anyhow::Error {
        if let Some(source) = self.source.filter(|_| is_gone) {
            refuse(&source, &self.why);
        }
        self.why
    }
}

pub(super) fn refuse(source: &UnixStream, why: &anyhow::Error) {
    let mut to = source;
    let _ = travel::say(&mut to, &format!("no {}", line(&format!("{why:#}"))));
    let _ = source.shutdown(Shutdown::Both);
}

/// The last words with its source, which says under which epoch it runs from now on. Once it has
/// said so, `run` lets it.
pub(super) fn settle(
    from: &mut impl BufRead,
    mut to: impl Write,
    epoch: u64,
    run: impl FnOnce() -> Result<()>,
) -> Result<u64> {
    travel::say(&mut to, "ready")?;
    let said = travel::hear(from).context("its source has not let go of it")?;
    let next = said.strip_prefix("go ").and_then(|n| n.parse::<u64>().ok());
    let next = next.filter(|n| *n > epoch).context("that is no epoch of its own")?;
    run()?;
    // If that does not arrive there, nobody there lets it go on.
    let _ = travel::say(&mut to, "running");
    Ok(next)
}

impl Arrival {
    /// Waits for the one that is expected; whoever else comes is told why not.
    pub(super) fn accept(listener: &UnixListener, expected: &Hello) -> Result<Arrival> {
        loop {
            let (stream, _) = listener.accept()?;
            match greet(stream, expected) {
                Ok((stream, epoch)) => {
                    let (pipe, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                    return Ok(Arrival { stream, pipe, to: Some(to), epoch });
                }
                Err(why) => eprintln!("somebody who came was sent away: {why:#}"),
            }
        }
    }

    /// The file that `xl` reads the domain from.
    pub(super) fn file(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.pipe.as_raw_fd())
    }

    /// Takes it in, until it runs: under which epoch.
    pub(super) fn take(
        mut self,
        to: mpsc::Sender<Event>,
        events: &mpsc::Receiver<Event>,
    ) -> Result<u64, Refused> {
        let begun =
            (|| Ok((self.to.take().context("no pipe")?, self.stream.get_ref().try_clone()?)))();
        let (pipe, other) = begun.map_err(|why| Refused { why, source: None })?;
        let given_up = Arc::new(AtomicBool::new(false));
        let (mut stream, is_over) = (self.stream, given_up.clone());
        let pump = std::thread::spawn(move || {
            let done = pump(&mut stream, pipe, &is_over);
            let why = done.err().map(|e| format!("{e:#}"));
            let _ = to.send(Event::Came(why));
            stream
        });
        let made = wait(events);
        if made.is_err() {
            given_up.store(true, Ordering::Release);
            let _ = other.shutdown(Shutdown::Read);
        }
        // `xl` is not to wait for what does not come.
        drop(self.pipe);
        let Ok(mut stream) = pump.join() else {
            let why = anyhow::anyhow!("the stream's thread has failed");
            return Err(Refused { why, source: None });
        };
        let mut let_go = false;
        let here = made.and_then(|domid| {
            settle(&mut stream, &other, self.epoch, || {
                let_go = true;
                done(&["unpause", &domid.to_string()]).map_err(anyhow::Error::msg)
            })
        });
        here.map_err(|why| {
            if !let_go {
                refuse(&other, &why);
            }
            Refused { why, source: Some(other).filter(|_| let_go) }
        })
    }
}

fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect()
}

fn greet(stream: UnixStream, expected: &Hello) -> Result<(BufReader<UnixStream>, u64)> {
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let mut stream = BufReader::new(stream);
    let hello: Hello = serde_json::from_str(&travel::hear(&mut stream)?).context("no greeting")?;
    if let Err(why) = hello.check(expected) {
        travel::say(stream.get_ref(), &format!("no {}", line(&why)))?;
        bail!("{why}");
    }
    travel::say(stream.get_ref(), "welcome")?;
    Ok((stream, hello.epoch))
}

/// Carries it from the stream to `xl`.
fn pump(stream: &mut BufReader<UnixStream>, pipe: OwnedFd, is_over: &AtomicBool) -> Result<()> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    let mut pipe = File::from(pipe);
    let mut buf = Vec::new();
    while let Some(mut left) = travel::piece(&mut *stream, &mut buf).context("the stream failed")? {
        while !left.is_empty() {
            ensure!(!is_over.load(Ordering::Acquire), "it was given up");
            match pipe.write(left) {
                Ok(n) => left = left.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&pipe, PollFlags::OUT)], Some(&LOOK))?;
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

/// Waits until all of it has come and `xl` has made a domain of it: its number.
fn wait(events: &mpsc::Receiver<Event>) -> Result<u16> {
    let (mut came, mut made) = (false, None);
    loop {
        match events.recv()? {
            Event::Came(None) => came = true,
            Event::Came(Some(why)) => bail!("{why}"),
            Event::There(_) | Event::Serves | Event::Moved => {}
            Event::KeeperGone => bail!("its keeper has gone"),
            Event::Said(word) => match word.split_once(' ') {
                Some(("made", domid)) => made = Some(domid.parse::<u16>()?),
                Some(("failed", why)) => bail!("{why}"),
                _ => bail!("it ended before it ran"),
            },
        }
        if let (true, Some(made)) = (came, made) {
            return Ok(made);
        }
    }
}
