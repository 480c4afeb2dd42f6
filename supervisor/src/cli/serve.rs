//! `atoll serve`.

use std::path::PathBuf;

use super::Usage;
use crate::address;
use crate::serve::{self, Options};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    /// Keep everything in this folder (default: $XDG_STATE_HOME/atoll or ~/.local/state/atoll)
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Serve the control tree at this socket instead of this user's default one
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Serve it on a port of this machine too, such as tcp:127.0.0.1:5640: whoever may use
    /// the machine may then use the supervisor
    #[arg(long, value_name = "ADDRESS", value_parser = address::loopback)]
    listen: Vec<std::net::SocketAddr>,
    /// Let the members of a group use it too; needs --socket, in a folder that they can look
    /// into
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// What domains of Xen that are held ready for guests may cost together (default: there are
    /// none)
    #[arg(long, value_name = "SIZE", value_parser = super::run::size)]
    shell_memory: Option<u64>,
    /// Say only what is wrong
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  atoll serve                            in one terminal; Ctrl-C ends it
  atoll run -d hello.img                 in another
  atoll ps
  atoll ls @ /guests/hello               @ is the supervisor's own tree
  atoll mount @ /mnt/atoll

Guests run on when it ends, however it does, and the next one finds them.";

/// The number of a group, by its name or as it is.
fn group(text: &str) -> Result<u32, Usage> {
    if let Ok(gid) = text.parse() {
        return Ok(gid);
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let gid = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(text)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    gid.ok_or_else(|| Usage(format!("--group {text}: no such group")))
}

pub(super) async fn serve(args: Serve) -> anyhow::Result<bool> {
    let group = args.group.as_deref().map(group).transpose()?;
    serve::run(&Options {
        state: args.state,
        socket: args.socket,
        listen: args.listen,
        group,
        shells: args.shell_memory.unwrap_or(0),
        quiet: args.quiet,
    })
    .await
}
