//! `atoll xenstore-fs`: a XenStore as a tree at a socket, in the foreground.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use atoll_9p::net::Config;
use atoll_9p::server::Limits;
use atoll_xenstore_fs::{Link, Target, XenStoreFs};

use super::Usage;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Serve at this socket instead of the one that is called xenstore
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Serve on a port of this machine too, such as 127.0.0.1:5640
    #[arg(long, value_name = "ADDRESS", value_parser = super::export::listen)]
    listen: Vec<SocketAddr>,
    /// The node that is shown as the root
    #[arg(long, value_name = "NODE", default_value = "/")]
    root: String,
    /// xenstored's socket, or the kernel's device for it
    #[arg(long, value_name = "PATH")]
    xenstored: Option<PathBuf>,
    /// Say where it is served as JSON on standard output
    #[arg(long)]
    json: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  atoll xenstore-fs                        serve it; Ctrl-C ends it
  atoll cat xenstore /local/domain/0/name/value
  atoll cat xenstore /local/domain/watch   follow what changes below it
  atoll xenstore-fs --root /local/domain/5 --socket /tmp/five.sock
  atoll mount xenstore /mnt                from another terminal

A node is a directory with value, perms and watch; a directory of a transaction is made by \
opening /txn/clone. Without --xenstored it is XENSTORED_PATH, the socket in XENSTORED_RUNDIR or \
/run/xenstored, or /dev/xen/xenbus. Only you can connect to the socket, but every user of this \
machine to a port.";

pub(super) fn run(args: &Args) -> anyhow::Result<bool> {
    let target = args.xenstored.clone().map_or(Target::Usual, Target::At);
    let link = Link::open(target).map_err(anyhow::Error::msg)?;
    let mut tree = XenStoreFs::new(link, &args.root, atoll_xenstore_fs::Limits::default())
        .map_err(|bad| Usage(format!("--root {}: {bad}; it begins with a slash", args.root)))?;
    tree.uid = rustix::process::geteuid().as_raw();
    tree.gid = rustix::process::getegid().as_raw();
    let config = Config { limits: Limits::default(), ..Config::default() };
    let server = atoll_xenstore_fs::serve(tree, config)?;
    let at = args.socket.as_deref();
    super::serving::until_told(server, at, "xenstore", &args.listen, |socket, ports| {
        tell(args, socket, ports)
    })
}

fn tell(args: &Args, socket: &Path, ports: &[SocketAddr]) -> anyhow::Result<()> {
    if args.json {
        let line = serde_json::json!({
            "socket": socket,
            "tcp": ports.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "root": args.root,
        });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush())?;
    }
    if !args.quiet {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "xenstore-fs: {} at unix:{}", args.root, socket.display());
        for port in ports {
            let _ = writeln!(err, "xenstore-fs: at tcp:{port} too, for every user of this machine");
        }
    }
    Ok(())
}
