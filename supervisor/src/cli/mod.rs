//! The command line: data on standard output, everything else on standard error.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::conn::Error;
use crate::{backend, guard, shim, socket};

mod checkpoint;
mod export;
mod files;
mod image;
mod mount;
mod run;
mod tail;

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

Exit status: 0 done, 1 failed, 2 usage, 3 no such guest, 4 wrong state, 5 denied, 7 timeout.";

const WHERE: &str = "\
A guest is named by what `atoll run` calls it, or by its socket: PATH (with a slash), unix:PATH, \
tcp:HOST:PORT.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot one guest in the foreground
    Run(run::Args),
    /// Serve folders of this machine in the foreground
    Export(export::Args),
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
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Does what a person asked for.
fn asked() -> anyhow::Result<bool> {
    match Cli::parse().command {
        Command::Run(args) => block_on(run::run(args)),
        Command::Export(args) => export::run(&args),
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
            // In one piece: what is generated panics when its reader has read enough.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "atoll", &mut script);
            files::print(&script).map(|()| true).map_err(anyhow::Error::from)
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
        return Some(shim::run(args.next()?.as_ref()));
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
            Error::Denied { .. } => 5,
            Error::Refused(fault) if matches!(fault.errno.0, 1 | 13 | 30) => 5,
            Error::Timeout(_) => 7,
            _ => 1,
        };
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
        assert!(!fine("atoll checkpoint") && !fine("atoll checkpoint counter"));
        assert!(!fine("atoll checkpoint show"));
    }
}
