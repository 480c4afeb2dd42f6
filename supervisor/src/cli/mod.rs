//! The command line: data on standard output, everything else on standard error.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::conn::Error;
use crate::{backend, domain, guard, shim, socket};

mod checkpoint;
mod export;
mod files;
mod guests;
mod image;
mod man;
mod mount;
mod names;
mod progress;
mod run;
mod serve;
mod serving;
mod tail;
mod xenstore;

/// Boots guests, and reads and writes their trees.
#[derive(Debug, Parser)]
#[command(name = "atoll", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  atoll run hello.img                    boot a guest; Ctrl-C stops it
  atoll ls -l hello /export              list its tree, from another terminal
  atoll cat hello /status
  atoll write hello /ctl stop

  atoll serve                            look after guests, in one terminal
  atoll run -d hello.img                 in another
  atoll ps
  atoll logs -f hello

Exit status: 0 done, 1 failed, 2 usage, 3 no such guest, 4 wrong state, 5 denied, \
6 no supervisor, 7 timeout.";

const WHERE: &str = "\
A guest is named by what `atoll run` or `atoll ps` calls it, or by its socket: PATH (with a \
slash), unix:PATH, tcp:HOST:PORT. The tree of the supervisor itself is @.";

const COMPLETIONS: &str = "\
Examples:
  source <(atoll completions bash)       in ~/.bashrc
  atoll completions fish | source        in ~/.config/fish/config.fish

The script asks atoll itself for what can follow, so it need not be made anew.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot a guest in the foreground, or with -d under the supervisor
    Run(run::Args),
    /// Look after guests that run in the background: the supervisor
    Serve(serve::Serve),
    /// List the supervisor's guests
    #[command(after_help = guests::WHERE)]
    Ps(guests::list::Ps),
    /// Make a guest of an image, and do not start it
    Create(guests::launch::Create),
    /// Start guests
    #[command(after_help = guests::WHERE)]
    Start(guests::verbs::Start),
    /// Ask guests to stop, and kill those that do not
    #[command(after_help = guests::WHERE)]
    Stop(guests::verbs::Stop),
    /// Kill guests
    #[command(after_help = guests::WHERE)]
    Kill(guests::verbs::Guests),
    /// Let guests stand still
    #[command(after_help = guests::WHERE)]
    Pause(guests::verbs::Guests),
    /// Let guests go on that stand still
    #[command(after_help = guests::WHERE)]
    Resume(guests::verbs::Guests),
    /// Stop guests, and start them again
    #[command(after_help = guests::WHERE)]
    Restart(guests::verbs::Stop),
    /// Forget guests that are stopped
    #[command(after_help = guests::WHERE)]
    Rm(guests::verbs::Rm),
    /// Let a guest go on as another one too
    #[command(after_help = guests::WHERE)]
    Fork(guests::verbs::Fork),
    /// Show all about a guest
    #[command(after_help = guests::WHERE)]
    Show(guests::list::Show),
    /// Print what a guest says
    #[command(after_help = guests::WHERE)]
    Logs(guests::watch::Logs),
    /// Watch what a guest says, from the last screenful on
    #[command(after_help = guests::cons::HELP)]
    Cons(guests::cons::Cons),
    /// Print what happens to guests
    #[command(after_help = guests::WHERE)]
    Events(guests::watch::Events),
    /// Show what guests use
    #[command(after_help = guests::WHERE)]
    Stats(guests::list::Stats),
    /// Watch all guests, and pause or kill them
    #[command(after_help = guests::top::HELP)]
    Top(guests::top::Top),
    /// Wait until guests have ended; fails unless all ended well
    #[command(after_help = guests::WHERE)]
    Wait(guests::watch::Wait),
    /// Write a line to a guest's ctl, or list what it takes now
    #[command(after_help = guests::WHERE)]
    Ctl(guests::verbs::Ctl),
    /// List, add and remove the supervisor's images
    #[command(after_help = guests::WHERE)]
    Images(guests::images::Images),
    /// Say what this machine lacks, and what was left behind
    Doctor(guests::doctor::Doctor),
    /// Serve folders of this machine in the foreground
    Export(export::Args),
    /// Serve this host's XenStore as a tree in the foreground
    XenstoreFs(xenstore::Args),
    /// List a directory of a guest's tree
    #[command(after_help = WHERE)]
    Ls(files::Ls),
    /// Print files; one that blocks is followed until Ctrl-C
    #[command(after_help = WHERE)]
    Cat(files::Cat),
    /// Write a text to a file, as one message if it fits
    #[command(after_help = WHERE)]
    Write(files::Write),
    /// Show what there is to know about files
    #[command(after_help = WHERE)]
    Stat(files::Stat),
    /// Print the last lines of a file, then follow it
    #[command(after_help = WHERE)]
    Tail(tail::Tail),
    /// Write a running guest down in a file, or say what is in one
    Checkpoint(checkpoint::Checkpoint),
    /// Make a running guest what it was at a checkpoint
    #[command(after_help = WHERE)]
    Restore(checkpoint::Restore),
    /// Mount a tree over a directory
    Mount(mount::Mount),
    /// Take a mount away
    Umount(mount::Umount),
    /// Look at image files
    #[command(subcommand)]
    Image(image::Image),
    /// Print a script that completes commands, and the names of guests, in a shell
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Does what a person asked for.
fn asked() -> anyhow::Result<bool> {
    // A shell asks for completions; does nothing otherwise.
    clap_complete::CompleteEnv::with_factory(Cli::command).var(names::VARIABLE).complete();
    match Cli::parse().command {
        Command::Run(args) => block_on(run::run(args)),
        Command::Serve(args) => block_on(serve::serve(args)),
        Command::Ps(args) => block_on(guests::list::ps(args)),
        Command::Create(args) => block_on(guests::launch::create(args)),
        Command::Start(args) => block_on(guests::verbs::start(args)),
        Command::Stop(args) => block_on(guests::verbs::timed(args, "stop")),
        Command::Kill(args) => block_on(guests::verbs::one(args, "kill")),
        Command::Pause(args) => block_on(guests::verbs::one(args, "pause")),
        Command::Resume(args) => block_on(guests::verbs::one(args, "resume")),
        Command::Restart(args) => block_on(guests::verbs::timed(args, "restart")),
        Command::Rm(args) => block_on(guests::verbs::rm(args)),
        Command::Fork(args) => block_on(guests::verbs::fork(args)),
        Command::Show(args) => block_on(guests::list::show(args)),
        Command::Logs(args) => block_on(guests::watch::logs(args)),
        Command::Cons(args) => block_on(guests::cons::cons(args)),
        Command::Events(args) => block_on(guests::watch::events(args)),
        Command::Stats(args) => block_on(guests::list::stats(args)),
        Command::Top(args) => block_on(guests::top::top(args)),
        Command::Wait(args) => block_on(guests::watch::wait(args)),
        Command::Ctl(args) => block_on(guests::verbs::ctl(args)),
        Command::Images(args) => block_on(guests::images::images(args)),
        Command::Doctor(args) => block_on(guests::doctor::doctor(args)),
        Command::Export(args) => export::run(&args),
        Command::XenstoreFs(args) => xenstore::run(&args),
        Command::Ls(args) => block_on(files::ls(args)),
        Command::Cat(args) => block_on(files::cat(args)),
        Command::Write(args) => block_on(files::write(args)),
        Command::Stat(args) => block_on(files::stat(args)),
        Command::Tail(args) => block_on(tail::tail(args)),
        Command::Checkpoint(args) => block_on(checkpoint::checkpoint(args)),
        Command::Restore(args) => block_on(checkpoint::restore(args)),
        Command::Mount(args) => mount::mount(&args),
        Command::Umount(args) => mount::umount(&args),
        Command::Image(args) => image::run(&args),
        Command::Completions { shell } => {
            Ok(names::script(shell).and_then(|script| files::print(&script)).map(|()| true)?)
        }
    }
}

/// Commands that are for this program itself, and neither shown nor completed.
fn internal() -> Option<anyhow::Result<bool>> {
    let mut args = std::env::args_os().skip(1);
    let command = args.next()?;
    if command == guard::COMMAND {
        return Some(guard::run(std::io::stdin().lock()).map(|()| true).map_err(Into::into));
    }
    if command == shim::COMMAND {
        return Some(shim::run());
    }
    if command == domain::COMMAND {
        std::process::exit(domain::front::run(args));
    }
    if command == man::COMMAND {
        return Some(man::write(args.next()?.as_ref()));
    }
    if command == backend::EXEC {
        let parent = args.next()?.to_str()?.parse().ok()?;
        let line: Vec<OsString> = args.collect();
        return Some(Err(backend::exec(parent, &line).into()));
    }
    None
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    match internal().unwrap_or_else(asked) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads us has read enough.
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "atoll: {e:#}");
            ExitCode::from(code(&e))
        }
    }
}

fn block_on(f: impl Future<Output = anyhow::Result<bool>>) -> anyhow::Result<bool> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(f)
}

/// A mistake in how the command was called.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn code(e: &anyhow::Error) -> u8 {
    let of_a_guest = match e.downcast_ref::<crate::checkpoint::Error>() {
        Some(crate::checkpoint::Error::Conn(e)) => Some(e),
        _ => e.downcast_ref::<Error>(),
    };
    if let Some(e) = of_a_guest {
        return match e {
            Error::NoGuest { .. } => 3,
            Error::NoSupervisor { .. } => 6,
            Error::Denied { .. } => 5,
            Error::Refused(fault) if matches!(fault.errno.0, 1 | 13 | 30) => 5,
            Error::Timeout(_) => 7,
            _ => 1,
        };
    }
    if let Some(e) = e.downcast_ref::<guests::Failed>() {
        return e.code();
    }
    if let Some(crate::store::Error::Taken(_)) = e.downcast_ref() {
        return 4;
    }
    if let Some(e) = e.downcast_ref::<crate::mount::Error>() {
        return e.code();
    }
    match e.downcast_ref::<socket::Error>() {
        Some(socket::Error::Taken(_)) => 4,
        _ if e.is::<Usage>() => 2,
        _ => 1,
    }
}

fn is_broken_pipe(e: &anyhow::Error) -> bool {
    let io = e.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_checkpoint_is_taken_or_shown() {
        let fine = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(fine("atoll checkpoint counter file"));
        assert!(fine("atoll checkpoint counter file --timeout 1"));
        assert!(fine("atoll checkpoint show file"));
        assert!(fine("atoll checkpoint counter file --since base"));
        assert!(fine("atoll checkpoint join file base more"));
        assert!(!fine("atoll checkpoint join file base"));
        assert!(!fine("atoll checkpoint") && !fine("atoll checkpoint counter"));
        assert!(!fine("atoll checkpoint show"));
    }
}
