//! `atoll mount` and `atoll umount`.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use rustix::fs::{Mode, OFlags};

use super::{Usage, block_on, files, names};
use crate::address::Address;
use crate::mount::{self, Error, helper, v9fs};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Mount {
    /// The tree: its socket, unix:PATH, tcp:HOST:PORT, or a guest's name
    #[arg(value_name = "SOCKET", add = names::trees())]
    address: String,
    /// The directory to mount it over
    dir: PathBuf,
    /// What of the kernel is to be used
    #[arg(long, value_enum, default_value = "auto")]
    via: Via,
    /// How many seconds operations wait for a server that is gone, or `forever`
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = wait)]
    wait: Wait,
    /// Let other users use the mount too, as far as the files' modes let them
    #[arg(long)]
    allow_other: bool,
    /// Let nobody change anything through it
    #[arg(long)]
    read_only: bool,
    /// Stay until it is unmounted, or this is interrupted
    #[arg(long)]
    foreground: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
    /// Leave the terminal once it is mounted
    #[arg(long, hide = true, requires = "foreground")]
    detached: bool,
}

const EXAMPLES: &str = "\
Examples:
  atoll mount hello /mnt                   a guest's tree, by what `atoll run` calls it
  atoll mount /tmp/src.sock ~/src --via fuse
  cat /mnt/.atoll/status                   what is mounted, and how it is
  cat /mnt/.atoll/error                    what the last error was, in words
  atoll umount /mnt

A process in the background stays behind a mount. When the server goes away it connects \
again, and operations wait until it is back; Ctrl-C ends one that waits. docs/mounts.md says \
what a mount does and does not do.

Exit status: 0 mounted, 1 failed, 2 usage, 3 no server, 4 the place cannot be used, 5 denied.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Via {
    /// The kernel's 9P client where there is one and it may be used, else FUSE
    Auto,
    /// The kernel's 9P client, v9fs; only root can
    Kernel,
    /// FUSE
    Fuse,
}

/// A limit, or none.
#[derive(Clone, Copy, Debug)]
struct Wait(Option<Duration>);

fn wait(text: &str) -> Result<Wait, String> {
    if text == "forever" {
        return Ok(Wait(None));
    }
    let seconds: f64 = text.parse().map_err(|_| "expected seconds, or `forever`".to_owned())?;
    Duration::try_from_secs_f64(seconds).map(|d| Wait(Some(d))).map_err(|e| e.to_string())
}

/// Where a tree is, whatever directory this process is in later.
fn address(text: &str) -> anyhow::Result<Address> {
    Ok(match Address::parse(text).map_err(Usage)? {
        Address::Unix(path) => Address::Unix(std::path::absolute(path)?),
        tcp => tcp,
    })
}

pub(super) fn mount(args: &Mount) -> anyhow::Result<bool> {
    let address = address(&args.address)?;
    let dir = mount::place(&args.dir)?;
    if !args.foreground {
        return background();
    }
    let via = via(args, &dir)?;
    if args.detached {
        // Neither a terminal nor a directory is to be kept from anybody.
        rustix::process::setsid().context("setsid")?;
        std::env::set_current_dir("/")?;
    }
    let options = helper::Options {
        address: &address,
        dir: &dir,
        wait: args.wait.0,
        others: args.allow_other,
        read_only: args.read_only,
    };
    let ready = |via| {
        let name = if via == helper::Via::Kernel { "v9fs" } else { "FUSE" };
        say(args, &format!("{address} is mounted at {} via {name}", dir.display()))?;
        if args.detached {
            silence()?;
        }
        Ok(())
    };
    block_on(async {
        let done = helper::serve(&options, via, || ready(via)).await;
        // Root of a user namespace only may use FUSE.
        match done {
            Err(e) if args.via == Via::Auto && via == helper::Via::Kernel && is_denied(&e) => {
                helper::serve(&options, helper::Via::Fuse, || ready(helper::Via::Fuse)).await?;
            }
            done => done?,
        }
        Ok(true)
    })
}

fn is_denied(e: &anyhow::Error) -> bool {
    let Some(Error::Mount { why, .. }) = e.downcast_ref() else { return false };
    why.kind() == std::io::ErrorKind::PermissionDenied
}

/// What is to be used of what there is.
fn via(args: &Mount, dir: &Path) -> Result<helper::Via, Error> {
    match args.via {
        Via::Fuse => Ok(helper::Via::Fuse),
        Via::Auto if !rustix::process::geteuid().is_root() => Ok(helper::Via::Fuse),
        _ if v9fs::is_there() => Ok(helper::Via::Kernel),
        Via::Auto => Ok(helper::Via::Fuse),
        Via::Kernel => {
            let why = "this kernel has no 9p; use --via fuse";
            Err(Error::Place { dir: dir.to_owned(), why })
        }
    }
}

/// Says what was mounted: on standard output, where whoever started us waits for it.
fn say(args: &Mount, text: &str) -> anyhow::Result<bool> {
    if !args.quiet || args.detached {
        files::print(format!("{text}\n").as_bytes())?;
    }
    Ok(true)
}

/// Runs this command again as a process of its own, and waits until it has mounted.
fn background() -> anyhow::Result<bool> {
    let mut helper = Command::new(std::env::current_exe().context("which program is this?")?);
    helper.args(std::env::args_os().skip(1)).args(["--foreground", "--detached"]);
    let mut child = helper.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut said)?;
    }
    if !said.is_empty() {
        if !std::env::args().any(|a| a == "-q" || a == "--quiet") {
            files::print(said.as_bytes())?;
        }
        return Ok(true);
    }
    // It has said why.
    let code = child.wait()?.code().unwrap_or(1);
    let _ = std::io::stderr().flush();
    std::process::exit(code)
}

/// Gives up standard input, output and error.
fn silence() -> anyhow::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

#[derive(Debug, clap::Args)]
#[command(after_help = UMOUNT)]
pub(super) struct Umount {
    /// Where it is mounted
    dir: PathBuf,
    /// Take it away at once, though it is in use
    #[arg(short, long)]
    lazy: bool,
}

const UMOUNT: &str = "\
Examples:
  atoll umount /mnt
  atoll umount --lazy /mnt                 whoever uses it keeps what is open

Exit status: 0 unmounted, 1 failed, 2 usage, 4 in use or no mount of atoll's, 5 denied.";

pub(super) fn umount(args: &Umount) -> anyhow::Result<bool> {
    mount::umount::umount(&args.dir, args.lazy)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_for_ever() {
        assert_eq!(wait("1.5").unwrap().0, Some(Duration::from_millis(1500)));
        assert_eq!(wait("0").unwrap().0, Some(Duration::ZERO));
        assert!(wait("forever").unwrap().0.is_none());
        for bad in ["", "-1", "soon", "NaN", "1e99"] {
            assert!(wait(bad).is_err(), "{bad}");
        }
    }
}
