//! Programs that do what a line says, and answer with a line: a guest in a tender, the
//! same work as a native program, peers.
//!
//! All of them are processes of their own, and what each has used is read from outside
//! in the same way. A guest takes the line as a command of a file and gives the answer
//! as a line of an event file; the others have two pipes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::nine::{Follow, Nine};
use crate::proc::{Program, Running};
use crate::tender;

/// Numbers of a program's pipes: lines come, answers go.
pub const LINES: i32 = 3;
/// See [`LINES`].
pub const ANSWERS: i32 = 4;
/// How long an answer may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that does work.
#[derive(Debug)]
pub struct Worker {
    /// Its name in the table.
    pub name: String,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Pipes { running: Running, to: File, from: BufReader<File> },
    Guest { guest: Box<tender::Guest>, done: Follows },
}

/// What some work took.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// What came out of it.
    pub answer: String,
    /// CPU time, in nanoseconds.
    pub cpu: f64,
}

impl Worker {
    /// Starts a program with a pipe for lines and one for answers.
    pub fn start(name: &str, program: Program) -> Result<Worker> {
        let ((theirs, to), (from, answers)) = (pipe()?, pipe()?);
        let running = program.fd(LINES, theirs).fd(ANSWERS, answers).start()?;
        let from = BufReader::new(File::from(from));
        Ok(Worker { name: name.to_owned(), way: Way::Pipes { running, to: to.into(), from } })
    }

    /// Starts a guest in a tender.
    pub fn guest(name: &str, tender: &Path, image: &Path) -> Result<Worker> {
        let mut guest = tender::start(tender, image)?;
        guest.nine.version().context("the tender's guest did not answer")?;
        guest.nine.attach()?;
        let way = Way::Guest { guest: Box::new(guest), done: Follows::default() };
        Ok(Worker { name: name.to_owned(), way })
    }

    /// Has it do so many of something. `atom` is the one that is told, in a guest.
    pub fn work(&mut self, atom: &str, what: &str, n: u32) -> Result<Done> {
        let line = format!("{what} {n}");
        let wrong = || format!("{} does not do `{what} {n}`", self.name);
        let before = self.running().used_by_all();
        let answer = self.way.ask(atom, &line).with_context(wrong)?;
        let cpu = self.running().used_by_all().since(&before) * 1e6;
        Ok(Done { answer, cpu })
    }

    /// Its process.
    pub fn running(&self) -> &Running {
        match &self.way {
            Way::Pipes { running, .. } => running,
            Way::Guest { guest, .. } => &guest.running,
        }
    }
}

impl Way {
    fn ask(&mut self, atom: &str, line: &str) -> Result<String> {
        match self {
            Way::Pipes { to, from, .. } => {
                // One write: who reads it takes what there is for the whole line.
                to.write_all(format!("{line}\n").as_bytes())?;
                if from.buffer().is_empty() {
                    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
                    let mut fds = [PollFd::new(from.get_ref(), PollFlags::IN)];
                    if poll(&mut fds, Some(&patience))? == 0 {
                        bail!("no answer in {} s", PATIENCE.as_secs());
                    }
                }
                let mut answer = String::new();
                from.read_line(&mut answer)?;
                match answer.strip_suffix('\n') {
                    Some(answer) => Ok(answer.to_owned()),
                    None => bail!("it has ended"),
                }
            }
            Way::Guest { guest, done } => done.ask(&mut guest.nine, atom, line),
        }
    }
}

/// The files in which the atoms of a guest answer.
#[derive(Debug, Default)]
pub struct Follows(Vec<(String, Follow)>);

impl Follows {
    /// Tells an atom something, and waits for its answer.
    pub fn ask(&mut self, nine: &mut Nine, atom: &str, line: &str) -> Result<String> {
        let at = match self.0.iter().position(|(a, _)| a == atom) {
            Some(at) => at,
            None => {
                let follow = nine.follow(&format!("export/{atom}/done"))?;
                self.0.push((atom.to_owned(), follow));
                self.0.len() - 1
            }
        };
        nine.write(&format!("export/{atom}/go"), line.as_bytes())?;
        let answer = String::from_utf8(nine.next(&mut self.0[at].1)?)?;
        answer.strip_suffix('\n').map(str::to_owned).context("the answer is no line")
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")
}

/// The other side, for peers that are this program: answers each line until there are no
/// more. (Their ends of the pipes are opened once more, by name.)
pub fn serve(mut f: impl FnMut(&str, u64) -> Result<u64>) -> Result<()> {
    let lines = BufReader::new(File::open(format!("/proc/self/fd/{LINES}"))?);
    let mut answers = File::options().write(true).open(format!("/proc/self/fd/{ANSWERS}"))?;
    for line in lines.lines() {
        let line = line?;
        let (what, n) = line.split_once(' ').context("a line is a word and a number")?;
        let result = f(what, n.parse()?)?;
        answers.write_all(format!("{result:016x}\n").as_bytes())?;
    }
    Ok(())
}
