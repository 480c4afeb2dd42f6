//! `atoll run`.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::address;
use crate::backend::qemu::Accel;
use crate::run::{On, Options, Restore};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The image, as `cargo xtask build` makes it
    image: PathBuf,
    /// Where to run it
    #[arg(long, value_enum, default_value = "auto")]
    on: OnArg,
    /// Serve the tree at this socket instead of the guest's default one
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Serve the tree on a port of this machine too, such as tcp:127.0.0.1:5640
    #[arg(long, value_name = "ADDRESS", value_parser = address::loopback)]
    listen: Vec<std::net::SocketAddr>,
    /// Bind an import of the guest's to a folder, read-only
    #[arg(long = "export", value_name = "NAME=DIR", value_parser = export)]
    exports: Vec<(String, PathBuf)>,
    /// Go on from a checkpoint of this image; `latest`: the newest in --state
    #[arg(long, value_name = "FILE", value_parser = restore)]
    restore: Option<Restore>,
    /// Keep its checkpoints in a folder: those that its ctl is told to make, and one when
    /// it is stopped here
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Give it more or less memory than the image says, such as 4MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// What QEMU is to use (default: KVM where a probe shows that it works)
    #[arg(long, value_enum)]
    accel: Option<AccelArg>,
    /// Print the command line that would be run, and run nothing
    #[arg(long)]
    print: bool,
    /// Do not print the guest's log
    #[arg(short, long)]
    quiet: bool,
    /// Say how things are decided
    #[arg(short, long)]
    verbose: bool,
}

const EXAMPLES: &str = "\
Examples:
  atoll run hello.img
  atoll run hello.img --on process --socket /tmp/hello.sock
  atoll run reader.img --export data=/srv/data
  atoll run hello.img --on qemu --print
  atoll run counter.img --state kept --restore latest

Its tree is at the socket until it ends. Ctrl-C asks it to stop; a second one, or two seconds, \
kill it. Ends with 0 when the guest ended well, else with 1.";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnArg {
    /// QEMU where image and host allow it, else a process
    Auto,
    /// A virtual machine
    Qemu,
    /// A sandboxed process
    Process,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AccelArg {
    /// QEMU's own translator
    Tcg,
    /// The processor
    Kvm,
}

fn export(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, dir)) if !name.is_empty() && !name.contains('/') && !dir.is_empty() => {
            Ok((name.into(), dir.into()))
        }
        _ => Err("expected NAME=DIR".into()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the form of a parser")]
fn restore(text: &str) -> Result<Restore, String> {
    Ok(match text {
        "latest" => Restore::Latest,
        file => Restore::File(file.into()),
    })
}

/// A size in bytes, or with a unit of powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err(format!("{text}: the units are KiB, MiB and GiB")),
    };
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    match bytes {
        Some(n)
            if (atoll_config::rules::MIN_MEMORY..=atoll_config::rules::MAX_MEMORY).contains(&n) =>
        {
            Ok(n)
        }
        _ => Err(format!("{text}: from 2MiB to 3GiB")),
    }
}

pub(super) async fn run(args: Args) -> anyhow::Result<bool> {
    if args.restore == Some(Restore::Latest) && args.state.is_none() {
        let text = "--restore latest needs --state DIR, in which to look for it";
        return Err(super::Usage(text.into()).into());
    }
    let options = Options {
        image: args.image,
        on: match args.on {
            OnArg::Auto => On::Auto,
            OnArg::Qemu => On::Qemu,
            OnArg::Process => On::Process,
        },
        socket: args.socket,
        listen: args.listen,
        exports: args.exports,
        memory: args.memory,
        accel: args.accel.map(|a| match a {
            AccelArg::Tcg => Accel::Tcg,
            AccelArg::Kvm => Accel::Kvm,
        }),
        restore: args.restore,
        state: args.state,
        quiet: args.quiet,
        verbose: args.verbose,
        print: args.print,
    };
    crate::run::run(&options).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_limits() {
        assert_eq!(size("4MiB"), Ok(4 << 20));
        assert_eq!(size("4194304"), Ok(4 << 20));
        assert_eq!(size("2M"), Ok(2 << 20));
        for bad in ["", "4", "4MB", "1GiB2", "99999999999999GiB", "-4MiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
