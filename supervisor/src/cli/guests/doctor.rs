//! `atoll doctor`: what this machine lacks, and what was left behind.
//!
//! It works without a supervisor, for that is when somebody wants it. It removes nothing
//! unless it is told to, and nothing that is in use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::address::{self, Address};
use crate::backend::{find_program, kvm};
use crate::cli::files::print;
use crate::conn::Conn;
use crate::doctor::{Done, look};
use crate::domain::{self, shell};
use crate::serve::default_state;

/// How long an `xl` that was killed may keep a lock.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// The folder of the supervisor's state, if not the default one
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Remove what was left behind
    #[arg(long)]
    fix: bool,
    /// Print JSON, a line a finding
    #[arg(long)]
    json: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Fine,
    /// Something cannot be done, and nothing is broken.
    Lacks,
    /// Something was left behind.
    Left,
    Fixed,
}

struct Report {
    json: bool,
    left: usize,
}

impl Report {
    fn say(&mut self, is: Is, what: &str, text: &str) -> anyhow::Result<()> {
        let word = match is {
            Is::Fine => "ok",
            Is::Lacks => "--",
            Is::Left => "!!",
            Is::Fixed => "removed",
        };
        self.left += usize::from(is == Is::Left);
        let line = if self.json {
            serde_json::json!({ "is": word, "what": what, "text": text }).to_string()
        } else {
            format!("{word:<7} {what:<10} {text}")
        };
        Ok(print(format!("{line}\n").as_bytes())?)
    }
}

pub(crate) async fn doctor(args: Doctor) -> anyhow::Result<bool> {
    let mut report = Report { json: args.json, left: 0 };
    programs(&mut report).await?;
    match super::connect().await {
        Ok(mut conn) => {
            supervisor(&mut report, &mut conn).await?;
            orphans(&mut report, &mut conn, args.fix).await?;
        }
        Err(e) => report.say(Is::Lacks, "supervisor", &format!("{e:#}"))?,
    }
    let state = args.state.map_or_else(default_state, Ok)?;
    left(&mut report, &state, args.fix).await?;
    shells(&mut report, &state, args.fix)?;
    if report.left > 0 && !args.fix {
        eprintln!("atoll: `atoll doctor --fix` removes what was left behind");
    }
    Ok(report.left == 0)
}

/// What guests run on.
async fn programs(report: &mut Report) -> anyhow::Result<()> {
    let atoll = std::env::current_exe()?;
    match find_program("atoll-tender", "ATOLL_TENDER", &atoll) {
        Some(path) => report.say(Is::Fine, "process", &path.display().to_string())?,
        None => {
            report.say(Is::Lacks, "process", "atoll-tender is neither beside atoll nor on PATH")?;
        }
    }
    match domain::look() {
        Ok(text) => report.say(Is::Fine, "xen", &text)?,
        Err(why) => report.say(Is::Lacks, "xen", &why)?,
    }
    let Some(qemu) = find_program("qemu-system-x86_64", "ATOLL_QEMU", &atoll) else {
        return report.say(
            Is::Lacks,
            "qemu",
            "qemu-system-x86_64 is not on PATH: install qemu-system-x86",
        );
    };
    let (accel, why) = kvm::choose(&qemu).await;
    let text = format!("{}, {accel:?}: {why}", qemu.display());
    report.say(Is::Fine, "qemu", &text)
}

async fn supervisor(report: &mut Report, conn: &mut Conn) -> anyhow::Result<()> {
    let version = super::text(conn, "version").await?;
    let index = super::text(conn, "index").await?;
    let alive = index.lines().map(super::list::Line::parse).filter(super::list::Line::is_alive);
    let text = format!(
        "version {}, {} guests, {} run",
        version.trim(),
        index.lines().count(),
        alive.count()
    );
    report.say(Is::Fine, "supervisor", &text)
}

/// Guests of which the supervisor knows nothing.
async fn orphans(report: &mut Report, conn: &mut Conn, fix: bool) -> anyhow::Result<()> {
    for name in super::text(conn, "orphans").await?.lines() {
        let shim = Address::Unix(address::guest_sockets(name).join("shim"));
        match Conn::open(&shim, super::LIMIT).await {
            Ok(mut shim) if fix => {
                shim.tell("ctl", b"kill").await?;
                report.say(Is::Fixed, "guest", &format!("{name}: was killed"))?;
            }
            Ok(_) => {
                let text = format!("{name}: it runs, and the supervisor knows nothing of it");
                report.say(Is::Left, "guest", &text)?;
            }
            Err(_) => {
                let text = format!(
                    "{name}: the supervisor knows nothing of guests/{name} in its folder; \
                     remove that, and start the supervisor again"
                );
                report.say(Is::Left, "folder", &text)?;
            }
        }
    }
    Ok(())
}

/// What nobody has any more.
async fn left(report: &mut Report, state: &Path, fix: bool) -> anyhow::Result<()> {
    for found in look(state, &address::socket_dir(), fix).await? {
        let is = match found.done {
            Done::Fine => Is::Fine,
            Done::Doubt => Is::Lacks,
            Done::Cleared => Is::Fixed,
            Done::Left => Is::Left,
        };
        report.say(is, found.kind, &format!("{}: {}", found.path.display(), found.why))?;
    }
    Ok(())
}

/// Domains that were made ahead of need, and that nobody has.
fn shells(report: &mut Report, state: &Path, fix: bool) -> anyhow::Result<()> {
    for path in shell::records(&shell::folder(state))? {
        let mut held = shell::Held::lock(&path, Duration::ZERO)?;
        if held.is_err() && shell::end_maker(&path, fix).unwrap_or(false) {
            if !fix {
                let why = "xl makes it still, and nobody waits for that";
                report.say(Is::Left, "shell", &format!("{}: {why}", path.display()))?;
                continue;
            }
            held = shell::Held::lock(&path, ENDS_WITHIN)?;
        }
        // The supervisor has it, or a guest.
        let Ok(held) = held else { continue };
        let path = path.display();
        match fix.then(|| held.destroy()) {
            None => report.say(Is::Left, "shell", &format!("{path}: nobody has it"))?,
            Some(Ok(())) => report.say(Is::Fixed, "shell", &format!("{path}: nobody had it"))?,
            Some(Err(why)) => report.say(Is::Left, "shell", &format!("{path}: {why:#}"))?,
        }
    }
    Ok(())
}
