//! `atoll run`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::ValueEnum;

use super::guests::launch::{Create, RestartArg};
use super::guests::source::Kernel;
use crate::address;
use crate::backend::qemu::Accel;
use crate::core::{Bind, Name};
use crate::namespace::Import;
use crate::run::{On, Options, Restore};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The image, as `cargo xtask build` makes it; with -d, also how the hash of one begins
    /// that the supervisor has
    #[arg(required_unless_present = "kernel")]
    image: Option<PathBuf>,
    #[command(flatten)]
    kernel: Kernel,
    /// Give it to the supervisor (`atoll serve`), which goes on when this command has ended
    #[arg(short, long, conflicts_with_all = ["socket", "restore", "state", "print"])]
    detach: bool,
    /// With -d and --receive: what the guest is called, if not as its image calls itself
    #[arg(long)]
    name: Option<String>,
    /// With -d: when to start it again after its end
    #[arg(long, value_enum, default_value = "never", requires = "detach")]
    restart: RestartArg,
    /// With -d: let every start go on from its newest checkpoint
    #[arg(long, requires = "detach")]
    resume: bool,
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
    /// Bind an import of the guest's to what another guest exports: all of it, or GUEST/export/PATH
    #[arg(long = "import", value_name = "NAME=GUEST", value_parser = import)]
    imports: Vec<Import>,
    /// Go on from a checkpoint of this image; `latest`: the newest in --state
    #[arg(long, value_name = "FILE", value_parser = restore)]
    restore: Option<Restore>,
    /// Do not start it: wait at this socket for it to arrive from another host, whose
    /// supervisor is told to `relocate` it
    #[arg(long, value_name = "PATH", conflicts_with_all = ["detach", "restore", "state"])]
    receive: Option<PathBuf>,
    /// Keep its checkpoints in a folder: those that its ctl is told to make, and one when
    /// it is stopped here
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// How many of its checkpoints are kept, the newest (default: 8)
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroU32>,
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
  atoll run reader.img --import data=hello          what the guest hello exports
  atoll run hello.img --on qemu --print
  atoll run counter.img --state kept --restore latest
  atoll run -d hello.img                 in the background; see atoll serve, atoll ps

Its tree is at the socket until it ends. Ctrl-C asks it to stop; a second one, or two seconds, \
kill it. Ends with 0 when the guest ended well, else with 1.";

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OnArg {
    /// QEMU where image and host allow it, else a process
    Auto,
    /// A virtual machine
    Qemu,
    /// A domain of Xen, in dom0
    Xen,
    /// A sandboxed process
    Process,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum AccelArg {
    /// QEMU's own translator
    Tcg,
    /// The processor
    Kvm,
}

pub(super) fn export(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, dir)) if !name.is_empty() && !name.contains('/') && !dir.is_empty() => {
            Ok((name.into(), dir.into()))
        }
        _ => Err("expected NAME=DIR".into()),
    }
}

pub(super) fn import(text: &str) -> Result<Import, String> {
    let bind = match text.split_once('=') {
        Some((name, bind)) if !name.is_empty() && !name.contains('/') => {
            (name, Bind::try_from(bind.to_owned())?)
        }
        _ => return Err("expected NAME=GUEST or NAME=GUEST/export/PATH".into()),
    };
    match bind {
        (name, Bind::Guest { name: guest, path }) => Import::new(name, guest.as_str(), &path),
        (name, Bind::Folder(dir)) => {
            Err(format!("{} is a folder: --export {name}={0}", dir.display()))
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the form of a parser")]
fn restore(text: &str) -> Result<Restore, String> {
    Ok(match text {
        "latest" => Restore::Latest,
        file => Restore::File(file.into()),
    })
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    crate::serve::units::memory(text)
}

pub(super) async fn run(args: Args) -> anyhow::Result<bool> {
    if args.detach {
        let create = Create {
            image: args.image,
            kernel: args.kernel,
            name: args.name,
            on: args.on,
            listen: args.listen,
            exports: args.exports,
            imports: args.imports,
            memory: args.memory,
            accel: args.accel,
            restart: args.restart,
            resume: args.resume,
            keep: args.keep,
        };
        return super::guests::launch::run(create).await;
    }
    if args.restore == Some(Restore::Latest) && args.state.is_none() {
        let text = "--restore latest needs --state DIR, in which to look for it";
        return Err(super::Usage(text.into()).into());
    }
    if args.keep.is_some() && args.state.is_none() {
        let text = "--keep needs --state DIR, in which they are kept, or -d";
        return Err(super::Usage(text.into()).into());
    }
    if let Some(name) = &args.name {
        if args.receive.is_none() {
            return Err(super::Usage("--name needs --detach or --receive".into()).into());
        }
        Name::new(name).map_err(|why| super::Usage(format!("--name {name}: {why}")))?;
    }
    args.kernel.file()?;
    let Some(image) = args.image else {
        let text = "--kernel needs -d: guests that are none of Atoll's run under atoll serve";
        return Err(super::Usage(text.into()).into());
    };
    let options = Options {
        name: args.name,
        image,
        on: match args.on {
            OnArg::Auto => On::Auto,
            OnArg::Qemu => On::Qemu,
            OnArg::Xen => On::Xen,
            OnArg::Process => On::Process,
        },
        socket: args.socket,
        listen: args.listen,
        exports: args.exports,
        imports: args.imports,
        memory: args.memory,
        accel: args.accel.map(|a| match a {
            AccelArg::Tcg => Accel::Tcg,
            AccelArg::Kvm => Accel::Kvm,
        }),
        restore: args.restore,
        state: args.state,
        keep: args.keep,
        shell: None,
        receive: args.receive.map(std::path::absolute).transpose()?,
        epoch: 0,
        home: None,
        quiet: args.quiet,
        verbose: args.verbose,
        print: args.print,
    };
    crate::run::run(&options).await
}
