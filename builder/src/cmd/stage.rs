//! Not a verb: the stage of the demo, with all that must be cleared away.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Context;
use super::folder::Folder;

/// How long anything may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stage: a private folder, and programs in the background.
pub(super) struct Stage<'c> {
    cx: &'c Context,
    atoll: PathBuf,
    pause: Duration,
    /// Whether somebody pressed Ctrl-C.
    stopped: Arc<AtomicBool>,
    /// The guest first; stopped in the opposite order.
    programs: Vec<Child>,
    /// Taken away at the end, and when the stage is dropped.
    folder: Option<Folder>,
}

/// A program in the background that prints lines.
pub(super) struct Lines(mpsc::Receiver<String>);

impl<'c> Stage<'c> {
    pub(super) fn new(cx: &'c Context, atoll: PathBuf, fast: bool) -> Result<Stage<'c>> {
        let stopped = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, stopped.clone())?;
        }
        let pace = if fast || !std::io::stdout().is_terminal() { 0 } else { 900 };
        let folder = Folder::new(&atoll)?;
        let pause = Duration::from_millis(pace);
        Ok(Stage { cx, atoll, pause, stopped, programs: Vec::new(), folder: Some(folder) })
    }

    /// Begins a chapter.
    pub(super) fn heading(&self, text: &str) {
        println!("\n{}", self.cx.ui.paint("1;36", &format!("== {text}")));
        self.rest();
    }

    /// Shows a command as a user would type it.
    pub(super) fn type_out(&self, command: &str) {
        println!("{}", self.cx.ui.paint("1", &format!("$ {command}")));
        let _ = std::io::stdout().flush();
    }

    fn rest(&self) {
        let end = Instant::now() + self.pause;
        while Instant::now() < end && !self.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// An `atoll` that is shown as a user would type it.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.untold(args);
        command.args(args);
        command
    }

    /// The same, which ends with this program, even when that is killed.
    fn tied(&self, args: &[&str]) -> Command {
        let mut command = self.untold(args);
        // A command of atoll's own: sets the signal of the parent's death, and is
        // then the program named.
        command.args(["__exec", &std::process::id().to_string()]).arg(&self.atoll).args(args);
        command
    }

    /// An `atoll` whose sockets are in the private folder, still without arguments.
    fn untold(&self, shown: &[&str]) -> Command {
        let shown: Vec<_> = shown.iter().map(|a| quoted(a)).collect();
        self.type_out(&format!("atoll {}", shown.join(" ")));
        let mut command = Command::new(&self.atoll);
        command
            .current_dir(&self.cx.repo.root)
            .env("XDG_RUNTIME_DIR", self.private())
            .stdin(Stdio::null());
        command
    }

    /// Waits for a program, unless somebody presses Ctrl-C or it takes too long.
    fn wait(&self, child: &mut Child, what: &str) -> Result<std::process::ExitStatus> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if self.stopped.load(Ordering::Relaxed) || Instant::now() > end {
                stop(child);
                self.interrupted()?;
                bail!("{what} took more than {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn interrupted(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) {
            bail!("interrupted; the guest is stopped and nothing is left behind");
        }
        Ok(())
    }

    /// Runs an `atoll` that must succeed.
    pub(super) fn atoll(&self, args: &[&str]) -> Result<()> {
        self.interrupted()?;
        let mut child = self.command(args).spawn().context("cannot run atoll")?;
        let status = self.wait(&mut child, args[0])?;
        // Ctrl-C reaches the other programs, too: they failed because of it.
        self.interrupted()?;
        if !status.success() {
            bail!("atoll {} did not succeed ({status})", args.join(" "));
        }
        self.rest();
        self.interrupted()
    }

    /// Runs an `atoll` that must fail.
    pub(super) fn atoll_fails(&self, args: &[&str]) -> Result<()> {
        let mut command = self.command(args);
        // What it says belongs between the other lines.
        let mut child = command.stderr(std::io::stdout()).spawn().context("cannot run atoll")?;
        if self.wait(&mut child, args[0])?.success() {
            bail!("atoll {} should have been refused", args.join(" "));
        }
        self.rest();
        self.interrupted()
    }

    /// Starts the guest and waits until it answers.
    pub(super) fn boot(&mut self, args: &[&str], name: &str) -> Result<()> {
        let log = std::fs::File::create(self.log())?;
        let mut command = self.tied(args);
        command.stdout(log.try_clone()?).stderr(log);
        let start = Instant::now();
        self.programs.push(command.spawn().context("cannot run atoll")?);
        loop {
            self.interrupted()?;
            let answer = Command::new(&self.atoll)
                .args(["cat", name, "/name"])
                .env("XDG_RUNTIME_DIR", self.private())
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output()?;
            if answer.status.success() {
                break;
            }
            let guest = self.programs.first_mut().context("no guest")?;
            let ended = guest.try_wait()?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                bail!("the guest does not answer; it and its supervisor said:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("(in the background; it answered after {} ms)", start.elapsed().as_millis());
        self.rest();
        Ok(())
    }

    /// The private folder, where the sockets are.
    fn private(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new("/nonexistent"), |f| &f.path)
    }

    /// A file of that name in the private folder.
    pub(super) fn file(&self, name: &str) -> String {
        self.private().join(name).to_string_lossy().into_owned()
    }

    fn log(&self) -> PathBuf {
        self.private().join("log")
    }

    /// Starts an `atoll` in the background that prints lines.
    pub(super) fn background(&mut self, args: &[&str]) -> Result<Lines> {
        let mut child = self.command(args).stdout(Stdio::piped()).spawn()?;
        println!("(in the background)");
        let out = child.stdout.take().context("no output")?;
        self.programs.push(child);
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        // It has to be there before the event is.
        std::thread::sleep(Duration::from_millis(300));
        Ok(Lines(lines))
    }

    /// Shows the first line that the latest background program prints, and ends it.
    pub(super) fn first_line(&mut self, lines: Lines) -> Result<()> {
        let line = lines.0.recv_timeout(Duration::from_secs(10));
        let line = line.context("no event came within 10 s")?;
        if let Some(mut child) = self.programs.pop() {
            stop(&mut child);
        }
        println!("(the one in the background printed)  {line}");
        self.rest();
        self.interrupted()
    }

    /// Waits for the guest's end, and shows what was logged.
    pub(super) fn ended(&mut self) -> Result<()> {
        let mut guest = self.programs.remove(0);
        let status = self.wait(&mut guest, "stopping the guest");
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        println!("(what `atoll run` printed meanwhile)\n{}", log.trim_end());
        let status = status?;
        if !status.success() {
            bail!("the guest did not end well: {status}");
        }
        Ok(())
    }

    /// Clears the stage and says that nothing is left.
    pub(super) fn close(mut self) -> Result<()> {
        self.programs.iter_mut().rev().for_each(stop);
        self.programs.clear();
        let left: Vec<_> = std::fs::read_dir(self.private().join("atoll"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        if !left.is_empty() {
            bail!("the supervisor left {} behind", left.join(", "));
        }
        if let Some(folder) = self.folder.take() {
            folder.close()?;
        }
        println!(
            "\n{}",
            self.cx.ui.paint("1;36", "== Nothing is left: no process, no socket, no file")
        );
        println!("Next: cargo xtask new greet && cargo xtask run greet");
        Ok(())
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.programs.iter_mut().rev().for_each(stop);
    }
}

/// Asks a program to end, and sees to it that it does.
fn stop(child: &mut Child) {
    if let Ok(None) = child.try_wait() {
        if let Some(pid) = Pid::from_raw(child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Ok(None) = child.try_wait() {
            let _ = child.kill();
        }
    }
    let _ = child.wait();
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}
