//! The process that makes a domain and sees to its end.
//!
//! It is a double of the one that stands for the domain: to start a program for it would take
//! longer than all that it does for a prepared shell ([`super::shell`]). It goes on as long as its
//! standard input is open, and is told there, by a line of JSON, what is to arrive, and by an empty
//! line that the guest serves. What happens it says on its standard output: `made N` when one is there that has arrived, `kept N`
//! when the domain has ended and is still there, `gone` when somebody else has destroyed it, `taken`
//! when it was suspended before that, as `xl save` and `xl migrate` do, `failed WHY` when it was
//! never made. When its input ends, the domain is destroyed, in whatever state it is.

use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use atoll_fork::{Fork, Title};
use atoll_xen::dom0::Store;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, setpgid,
    setpriority_process, waitpid,
};
use rustix::stdio::{dup2_stdin, dup2_stdout};
use serde::{Deserialize, Serialize};

use super::shell::Held;
use super::state::{self, Is, Watcher};
use super::{AGAIN, KEEPER, XL, complaint, done, give_config, run as run_xl, store};

/// How long `xl` may take to make a domain that nobody wants any more.
const GOES_WITHIN: Duration = Duration::from_secs(60);
/// How long before XenStore knows of it. What `xl` does until then takes it milliseconds.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// How nice `xl` is from the moment on in which the guest serves: what it still does then is to
/// tidy up, and whoever has waited for the guest comes first.
const NICE: i32 = 10;
/// How long a process that was killed may take to be gone.
const DIES_WITHIN: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// What it does first.
pub(super) enum Begin {
    /// Looks after a shell, which runs.
    Taken(Held),
    /// Makes a domain.
    Make(Order),
    /// Waits until it is told what arrives.
    Wait,
}

/// What is to be made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The configuration.
    pub(super) config: String,
    /// The domain's own number for ever, which is in there.
    pub(super) uuid: String,
    /// The file that it is read from, if it is one that arrives. It does not run then.
    pub(super) from: Option<String>,
}

enum Event {
    /// `xl create -F` has ended: whether well, and what it said.
    Xl(bool, Vec<u8>),
    /// The domain has ended, or was there and is gone.
    Over,
    /// The guest serves.
    Serves,
    /// Nobody wants the domain any more.
    Unwanted,
}

/// Whether `xl` has done all that makes a domain: the last is to keep its configuration.
fn is_made(domid: u16) -> bool {
    let listed = run_xl(&["list", "-l", &domid.to_string()]).ok();
    let listed =
        listed.and_then(|out| serde_json::from_slice::<serde_json::Value>(&out.stdout).ok());
    listed.and_then(|l| Some(!l.as_array()?.is_empty())).unwrap_or(false)
}

/// The front's end of its keeper. To drop it is to say that no domain is wanted any more, and to
/// wait until there is none.
pub(super) struct Keeper {
    process: Pid,
    to: Option<PipeWriter>,
    from: Option<PipeReader>,
}

impl Keeper {
    /// Goes on as two, of which only the first one returns. The other has the connection to
    /// xenstored and the lock of the shell, if there is one.
    pub(super) fn double(name: &str, store: Store, begin: Begin) -> Result<Keeper> {
        let ((input, to), (from, output)) = (io::pipe()?, io::pipe()?);
        match atoll_fork::fork() {
            Ok(Fork::Parent(process)) => Ok(Keeper { process, to: Some(to), from: Some(from) }),
            Ok(Fork::Child) => {
                drop((to, from));
                let done = child(name, input, output, store, begin);
                if let Err(why) = &done {
                    eprintln!("{why:#}");
                }
                std::process::exit(i32::from(done.is_err()))
            }
            Err(why) => {
                if let Begin::Taken(held) = begin {
                    held.destroy()?;
                }
                Err(why.into())
            }
        }
    }

    /// Has what it says told from now on.
    pub(super) fn tells(&mut self, events: mpsc::Sender<super::front::Event>) {
        use super::front::Event;
        let Some(from) = self.from.take() else { return };
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let _ = events.send(Event::Said(line));
            }
            let _ = events.send(Event::KeeperGone);
        });
    }

    /// Says that the guest serves.
    pub(super) fn serves(&mut self) {
        // If that is not heard the keeper has gone, of which is told elsewhere.
        self.to.as_mut().map(|to| to.write_all(b"\n"));
    }

    /// Says what arrives.
    pub(super) fn order(&mut self, order: &Order) -> Result<()> {
        let to = self.to.as_mut().context("no keeper")?;
        Ok(to.write_all(format!("{}\n", serde_json::to_string(order)?).as_bytes())?)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.to.take());
        while let Err(Errno::INTR) = waitpid(Some(self.process), WaitOptions::empty()) {}
    }
}

fn child(
    name: &str,
    input: PipeReader,
    output: PipeWriter,
    store: Store,
    begin: Begin,
) -> Result<()> {
    // Out of reach of the terminal's signals, and of who kills the front's group.
    setpgid(None, None)?;
    dup2_stdin(input)?;
    dup2_stdout(output)?;
    let title = [KEEPER.as_bytes(), name.as_bytes()];
    Title::find().into_iter().for_each(|t| t.set_behind_program(&title));
    run(store, begin)
}

/// Runs until the input ends.
fn run(mut store: Store, begin: Begin) -> Result<()> {
    let (send, events) = mpsc::channel();
    let (mut kept, arrives) = match begin {
        Begin::Taken(held) => (Kept::new(held.uuid().to_owned(), None, Some(held)), false),
        Begin::Make(order) => (made(order, &send)?, false),
        Begin::Wait => {
            let mut line = String::new();
            if io::stdin().lock().read_line(&mut line)? == 0 {
                return Ok(());
            }
            (made(serde_json::from_str(&line).context("no order")?, &send)?, true)
        }
    };
    let input = send.clone();
    std::thread::spawn(move || {
        let mut from = io::stdin().lock();
        while matches!(from.read(&mut [0]), Ok(1..)) {
            let _ = input.send(Event::Serves);
        }
        let _ = input.send(Event::Unwanted);
    });
    // However that went, what is there does not stay.
    let wanted = kept.attend(&mut store, &send, &events, arrives);
    kept.end(matches!(wanted, Ok(true)), &events)?;
    wanted.map(drop)
}

/// Begins to make a domain.
fn made(order: Order, send: &mpsc::Sender<Event>) -> Result<Kept> {
    let xl = make(&order, send.clone())?;
    Ok(Kept::new(order.uuid, Some(xl), None))
}

/// Says a word; whether somebody listens.
fn say(word: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}").and_then(|()| out.flush()).is_ok()
}

/// Starts `xl`, which ends when the domain does.
fn make(order: &Order, ended: mpsc::Sender<Event>) -> Result<Xl> {
    let mut command = Command::new(XL);
    let file = give_config(&mut command, &order.config)?;
    match &order.from {
        None => command.args(["create", "-F", "-q", &file]),
        Some(from) => command.args(["restore", "-F", "-p", &file, from]),
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start xl")?;
    let pid = Pid::from_child(&child);
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(e) => {
            child.kill()?;
            return Err(e.into());
        }
    };
    std::thread::spawn(move || {
        let out = child.wait_with_output();
        let (well, said) = out.map_or((false, Vec::new()), |o| (o.status.success(), o.stderr));
        let _ = ended.send(Event::Xl(well, said));
    });
    Ok(Xl { pid, process })
}

/// `xl`, while it runs.
struct Xl {
    pid: Pid,
    process: OwnedFd,
}

/// The domain.
struct Kept {
    uuid: String,
    /// `xl`, for as long as it runs.
    xl: Option<Xl>,
    /// The shell that it was.
    held: Option<Held>,
    watcher: Option<Watcher>,
}

impl Kept {
    fn new(uuid: String, xl: Option<Xl>, held: Option<Held>) -> Kept {
        Kept { uuid, xl, held, watcher: None }
    }

    /// Watches it, from now on.
    fn watch(&mut self, events: &mpsc::Sender<Event>) -> Result<()> {
        let ended = events.clone();
        let watcher = Watcher::start(&self.uuid, move || drop(ended.send(Event::Over)))?;
        self.watcher = Some(watcher);
        Ok(())
    }

    /// Says what happens, until there is nothing more to say: whether nothing is there then.
    fn attend(
        &mut self,
        store: &mut Store,
        send: &mpsc::Sender<Event>,
        events: &mpsc::Receiver<Event>,
        mut arrives: bool,
    ) -> Result<bool> {
        self.watch(send)?;
        // What `xl` says of how the domain was made, as long as nobody has seen that it was.
        let mut failed = None;
        let (mut suspended, mut told) = (false, false);
        loop {
            if arrives {
                match events.recv_timeout(AGAIN) {
                    Ok(event) => {
                        arrives = false;
                        send.send(event)?;
                    }
                    Err(_) => {
                        let there = store::by_uuid(store, &self.uuid)?;
                        if let Some(domid) = there.filter(|domid| is_made(*domid)) {
                            arrives = false;
                            say(&format!("made {domid}"));
                        }
                    }
                }
                continue;
            }
            match events.recv()? {
                Event::Unwanted => return Ok(false),
                Event::Serves => {
                    // If it has just ended, this is refused.
                    let _ = self.xl.as_ref().map(|xl| setpriority_process(Some(xl.pid), NICE));
                    continue;
                }
                Event::Xl(well, said) => {
                    self.xl = None;
                    failed = (!well).then(|| complaint(&said));
                }
                Event::Over => suspended = self.watcher.take().is_some_and(Watcher::finish),
            }
            // When the domain ends `xl` does, too, and is not left to itself.
            if self.xl.is_some() || told {
                continue;
            }
            let there = store::by_uuid(store, &self.uuid)?;
            let word = match there {
                // It goes on, or may, and is looked after without `xl` from now on.
                Some(domid) if matches!(state::look(domid), Is::Alive | Is::Suspended) => {
                    failed = None;
                    if self.watcher.is_none() {
                        std::thread::sleep(AGAIN);
                        self.watch(send)?;
                    }
                    continue;
                }
                Some(domid) => format!("kept {domid}"),
                None if self.watcher.take().map_or(suspended, Watcher::finish) => {
                    "taken".to_owned()
                }
                None => match failed.take() {
                    Some(why) => format!("failed {why}"),
                    None => "gone".to_owned(),
                },
            };
            if !say(&word) || there.is_none() {
                return Ok(there.is_none());
            }
            told = true;
        }
    }

    /// What is there is destroyed; what is being made is let be made before, since half a
    /// domain is nobody's. But an `xl` that does not go on is not waited for.
    fn end(mut self, gone: bool, events: &mpsc::Receiver<Event>) -> Result<()> {
        let begun = Instant::now();
        let mut gone = gone;
        while !gone && begun.elapsed() < GOES_WITHIN * 2 {
            let there = match store::open().and_then(|mut s| store::by_uuid(&mut s, &self.uuid)) {
                Ok(there) => there,
                Err(_) => {
                    std::thread::sleep(AGAIN);
                    continue;
                }
            };
            let patience = if there.is_some() { GOES_WITHIN } else { KNOWN_WITHIN };
            if let Some(xl) = self.xl.take_if(|_| begun.elapsed() >= patience) {
                kill(&xl.process);
                continue;
            }
            if let Some(domid) = there
                && (self.xl.is_none() || is_made(domid))
                && done(&["destroy", &domid.to_string()]).is_err()
            {
                std::thread::sleep(AGAIN);
            }
            gone = there.is_none() && self.xl.is_none();
            if self.xl.is_some()
                && let Ok(Event::Xl(..)) = events.recv_timeout(Duration::from_millis(50))
            {
                self.xl = None;
            }
        }
        match self.held {
            Some(held) if gone => held.forget(),
            _ => Ok(()),
        }
    }
}

/// Kills a process, and waits until it is dead. (Who waits for its end hears of it later if
/// others have its output.)
pub(super) fn kill(process: &OwnedFd) {
    let _ = pidfd_send_signal(process, Signal::KILL);
    let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&DIES_WITHIN));
}
