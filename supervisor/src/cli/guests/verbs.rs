//! `atoll start`, `stop`, `kill`, `pause`, `resume`, `restart`, `rm`, `fork` and `ctl`.

use super::each::each;
use super::{about, connect, path, sure, tell};
use crate::cli::Usage;
use crate::cli::files::print;
use crate::cli::names;
use crate::cli::progress::{Progress, Size};
use crate::conn::Conn;

/// Guests.
#[derive(Debug, clap::Args)]
pub(crate) struct Guests {
    /// The guests
    #[arg(required = true, value_name = "GUEST", add = names::guests())]
    guests: Vec<String>,
}

/// Guests that are to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// The guests
    #[arg(required = true, value_name = "GUEST", add = names::guests())]
    guests: Vec<String>,
    /// Also one that has moved, or may have: look where it was told to go first, since it runs
    /// twice if it runs there
    #[arg(long)]
    anyway: bool,
}

/// Guests, and how long each may take.
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// The guests
    #[arg(required = true, value_name = "GUEST", add = names::guests())]
    guests: Vec<String>,
    /// How many seconds it may take to stop before it is killed (default: what its config
    /// says)
    #[arg(short, long, value_name = "SECONDS")]
    time: Option<f64>,
}

impl Stop {
    fn line(&self, verb: &str) -> Result<String, Usage> {
        match self.time {
            None => Ok(verb.into()),
            Some(s) if (0.0..=86_400.0).contains(&s) => Ok(format!("{verb} {:.0}", s * 1000.0)),
            Some(s) => Err(Usage(format!("--time {s}: from 0 to 86400 seconds"))),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// The guests
    #[arg(required = true, value_name = "GUEST", add = names::guests())]
    guests: Vec<String>,
    /// Kill them first, if they run
    #[arg(short, long)]
    force: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Fork {
    /// The guest
    #[arg(add = names::guests())]
    guest: String,
    /// The name of the new one
    name: String,
    /// Start the new one
    #[arg(short, long)]
    start: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ctl {
    /// The guest
    #[arg(add = names::guests())]
    guest: String,
    /// A line for its ctl; without one, what it takes now is listed
    line: Vec<String>,
    /// Print what it takes now as JSON, a list
    #[arg(long, conflicts_with = "line")]
    json: bool,
}

/// A line was written to a guest's ctl, and may take a while.
fn begin(line: &str, guest: &str) -> Progress {
    let verb = line.split(' ').next().unwrap_or_default();
    Progress::begin(&format!("{verb} {guest}"), Size::Whole)
}

/// One verb for several guests.
async fn all(guests: Vec<String>, line: String) -> anyhow::Result<bool> {
    let verb = line.split(' ').next().unwrap_or_default().to_owned();
    each(guests, &verb, async move |conn: &mut Conn, guest: &str| tell(conn, guest, &line).await)
        .await
}

/// One that has not moved needs nobody who insists.
pub(crate) async fn start(args: Start) -> anyhow::Result<bool> {
    let start = async move |conn: &mut Conn, guest: &str| {
        let status = super::file(conn, guest, "status").await?;
        let moved = args.anyway && status.lines().any(|l| l == "state moved");
        tell(conn, guest, if moved { "start anyway" } else { "start" }).await
    };
    each(args.guests, "start", start).await
}

pub(crate) async fn one(args: Guests, verb: &str) -> anyhow::Result<bool> {
    all(args.guests, verb.into()).await
}

pub(crate) async fn timed(args: Stop, verb: &str) -> anyhow::Result<bool> {
    let line = args.line(verb)?;
    all(args.guests, line).await
}

pub(crate) async fn rm(args: Rm) -> anyhow::Result<bool> {
    // Nobody is asked in vain.
    drop(connect().await?);
    let names = args.guests.join(", ");
    let question = format!("Forget {names}, with logs and checkpoints?");
    if !sure(args.yes, &question)? {
        return Ok(false);
    }
    let forget = async move |conn: &mut Conn, guest: &str| {
        let state = super::file(conn, guest, "status").await?;
        let state = state.lines().find_map(|l| l.strip_prefix("state ")).unwrap_or_default();
        if args.force && !matches!(state, "new" | "stopped" | "moved") {
            tell(conn, guest, "kill").await?;
        }
        let dir = path(guest, "")?;
        conn.rmdir(dir.trim_end_matches('/')).await.map_err(|e| about(guest, e))
    };
    each(args.guests, "rm", forget).await
}

pub(crate) async fn fork(args: Fork) -> anyhow::Result<bool> {
    let mut conn = connect().await?;
    path(&args.name, "")?;
    let progress = begin("fork", &args.guest);
    tell(&mut conn, &args.guest, &format!("fork {}", args.name)).await?;
    drop(progress);
    if args.start {
        tell(&mut conn, &args.name, "start").await?;
    }
    print(format!("{}\n", args.name).as_bytes())?;
    Ok(true)
}

pub(crate) async fn ctl(args: Ctl) -> anyhow::Result<bool> {
    let mut conn = connect().await?;
    if args.line.is_empty() {
        let mut takes = super::file(&mut conn, &args.guest, "ctl").await?;
        if args.json {
            takes = format!("{}\n", serde_json::json!(takes.lines().collect::<Vec<_>>()));
        }
        print(takes.as_bytes())?;
    } else {
        let line = args.line.join(" ");
        let _progress = begin(&line, &args.guest);
        tell(&mut conn, &args.guest, &line).await?;
    }
    Ok(true)
}
