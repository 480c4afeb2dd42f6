//! `atoll export`: host folders as a tree at a socket, in the foreground.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use atoll_9p::net::{Config, Server};
use atoll_9p::server::Limits;
use rustix::fs::Mode;

use super::Usage;
use crate::address;
use crate::hostdir::{HostDirs, Mount, raise_descriptor_limit};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The folder to serve; of several, each is a directory of the tree
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Serve at this socket instead of one that is named after the folder
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Serve on a port of this machine too, such as 127.0.0.1:5640
    #[arg(long, value_name = "ADDRESS", value_parser = listen)]
    listen: Vec<SocketAddr>,
    /// Let nobody change anything
    #[arg(long)]
    read_only: bool,
    /// Say where it is served as JSON on standard output
    #[arg(long)]
    json: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  atoll export ~/src                       serve a folder; Ctrl-C ends it
  atoll export ~/src --socket /tmp/src.sock --read-only
  atoll mount /tmp/src.sock /mnt           from another terminal
  atoll ls -l /tmp/src.sock /
  atoll export /srv/a /srv/b --listen 127.0.0.1:5640

Clients may do what you may, and reach nothing outside the folder: symbolic links are shown, not \
followed. Devices, pipes and sockets are shown and never opened. Only you can connect to the \
socket, but every user of this machine to a port.";

/// A message may carry a mebibyte of data.
const MSIZE: u32 = (1 << 20) + 4096;
/// Descriptors that are kept for sockets and for opening files a moment.
const RESERVE: usize = 256;

pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    match text.strip_prefix("tcp:") {
        Some(_) => address::loopback(text),
        None => address::loopback(&format!("tcp:{text}")),
    }
}

/// The folders under the names of their last parts.
fn tree(dirs: &[PathBuf], mount: Mount) -> anyhow::Result<HostDirs> {
    let at = |dir: &Path| format!("cannot serve {}", dir.display());
    if let [dir] = dirs {
        return HostDirs::of(dir, mount).with_context(|| at(dir));
    }
    let mut tree = HostDirs::new(mount);
    let mut names = Vec::new();
    for dir in dirs {
        let whole = dir.canonicalize().with_context(|| at(dir))?;
        let Some(name) = whole.file_name().and_then(|n| n.to_str()).map(str::to_owned) else {
            bail!("{}: it has no name to show it under; export it alone", dir.display());
        };
        if names.contains(&name) {
            return Err(Usage(format!("two folders are called {name}: export them apart")).into());
        }
        tree.add(&name, dir).with_context(|| at(dir))?;
        names.push(name);
    }
    Ok(tree)
}

/// What the default socket is called: the folder's name as far as that can be one.
fn name_of(dir: &Path) -> String {
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.into());
    let name = whole.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    let name = name.trim_matches('-');
    if address::is_name(name) { name.into() } else { "export".into() }
}

pub(super) fn run(args: &Args) -> anyhow::Result<bool> {
    let mount = if args.read_only { Mount::ReadOnly } else { Mount::ReadWrite };
    let mut tree = tree(&args.dirs, mount)?;
    let descriptors = raise_descriptor_limit();
    tree.limit(descriptors.saturating_sub(RESERVE + descriptors / 8));
    let config = Config {
        limits: Limits { msize: MSIZE, fids: 1 << 16, ..Limits::default() },
        sessions: (descriptors / 8).max(1),
    };
    let server = Server::with(tree, config)?;
    let name = args.dirs.first().map(|d| name_of(d)).unwrap_or_default();
    super::serving::until_told(
        server,
        args.socket.as_deref(),
        &name,
        &args.listen,
        |socket, ports| {
            // What clients make has the modes that they say.
            rustix::process::umask(Mode::empty());
            tell(args, socket, ports)
        },
    )
}

fn tell(args: &Args, socket: &Path, ports: &[SocketAddr]) -> anyhow::Result<()> {
    if args.json {
        let line = serde_json::json!({
            "socket": socket,
            "tcp": ports.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "dirs": args.dirs,
            "read_only": args.read_only,
        });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush())?;
    }
    if !args.quiet {
        let dirs: Vec<String> = args.dirs.iter().map(|d| d.display().to_string()).collect();
        let how = if args.read_only { "read-only" } else { "read-write" };
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "export: {} at unix:{}, {how}", dirs.join(", "), socket.display());
        for port in ports {
            let _ = writeln!(err, "export: at tcp:{port} too, for every user of this machine");
        }
        let _ = writeln!(err, "export: mount it with: atoll mount {} DIR", socket.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_after_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for (folder, want) in
            [("src", "src"), ("My Files", "my-files"), ("...", "export"), (".git", "git")]
        {
            assert_eq!(name_of(&dir.path().join(folder)), want);
        }
    }

    #[test]
    fn a_port_is_given_with_or_without_its_kind() {
        assert!(listen("127.0.0.1:0").is_ok() && listen("tcp:127.0.0.1:0").is_ok());
        assert!(listen("192.0.2.1:0").is_err());
    }

    #[test]
    fn folders_of_one_name_are_not_served_together() {
        let dir = tempfile::tempdir().unwrap();
        let two = [dir.path().join("a/x"), dir.path().join("b/x")];
        for d in &two {
            std::fs::create_dir_all(d).unwrap();
        }
        assert!(tree(&two, Mount::ReadOnly).unwrap_err().is::<Usage>());
        assert!(tree(&two[..1], Mount::ReadOnly).is_ok());
        assert!(tree(&[dir.path().join("none")], Mount::ReadOnly).is_err());
    }
}
