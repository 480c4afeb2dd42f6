//! `atoll logs`, `events` and `wait`: what comes, as it comes. What they follow they follow
//! over a restart of the supervisor.

use atoll_9p::types::OpenFlags;

use super::{about, connect, connect_for_long, path};
use crate::cli::files::print;
use crate::cli::names;
use crate::cli::tail::follow;
use crate::conn::Conn;
use crate::show::time_text;

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// The guest
    #[arg(add = names::guests())]
    guest: String,
    /// Go on with what it says from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines to print (default: all that are kept)
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Only of this guest
    #[arg(add = names::guests())]
    guest: Option<String>,
    /// Go on with what happens from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines to print (default: all that are kept)
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Print JSON, a line an event
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// The guests
    #[arg(required = true, value_name = "GUEST", add = names::guests())]
    guests: Vec<String>,
    /// Print JSON, a line a guest
    #[arg(long)]
    json: bool,
}

async fn watched(follow: bool) -> anyhow::Result<Conn> {
    if follow { connect_for_long().await } else { connect().await }
}

pub(crate) async fn logs(args: Logs) -> anyhow::Result<bool> {
    let mut conn = watched(args.follow).await?;
    let path = path(&args.guest, "log")?;
    conn.walk(&path).await.map_err(|e| about(&args.guest, e))?;
    conn.open_file(OpenFlags::RDONLY).await.map_err(|e| about(&args.guest, e))?;
    follow(&conn, args.lines, args.follow, &mut |bytes| print(bytes)).await?;
    Ok(true)
}

pub(crate) async fn events(args: Events) -> anyhow::Result<bool> {
    let mut conn = watched(args.follow).await?;
    match &args.guest {
        Some(guest) => {
            conn.walk(&path(guest, "events")?).await.map_err(|e| about(guest, e))?;
        }
        None => conn.walk("log").await?,
    }
    conn.open_file(OpenFlags::RDONLY).await?;
    let mut rest = Vec::new();
    follow(&conn, args.lines, args.follow, &mut |bytes| {
        rest.extend_from_slice(bytes);
        let whole = rest.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = rest.drain(..whole).collect();
        let shown: String = String::from_utf8_lossy(&lines)
            .lines()
            .map(|line| if args.json { json(line) } else { plain(line) } + "\n")
            .collect();
        print(shown.as_bytes())
    })
    .await?;
    Ok(true)
}

/// `SEQ TIME GUEST RUN WHAT`, taken apart.
fn parts(line: &str) -> Option<(u64, u64, &str, u64, &str)> {
    let mut words = line.splitn(5, ' ');
    let (seq, time) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((seq, time, words.next()?, words.next()?.parse().ok()?, words.next()?))
}

fn plain(line: &str) -> String {
    match parts(line) {
        Some((_, time, guest, run, what)) => {
            let run = if run > 0 { format!("#{run}") } else { String::new() };
            format!("{} {guest}{run} {what}", time_text(time / 1000))
        }
        None => line.to_owned(),
    }
}

fn json(line: &str) -> String {
    let value = match (parts(line), line.strip_prefix("gap ")) {
        (Some((seq, time, guest, run, what)), _) => {
            let (what, more) = what.split_once(' ').unwrap_or((what, ""));
            let guest = Some(guest).filter(|g| *g != "-");
            serde_json::json!({
                "seq": seq, "time": time, "guest": guest, "run": run, "what": what, "more": more,
            })
        }
        (None, Some(lost)) => serde_json::json!({ "what": "gap", "more": lost }),
        _ => serde_json::json!({ "what": "line", "more": line }),
    };
    value.to_string()
}

/// How a run ended, for programs.
fn ended(guest: &str, run: &str, end: &str) -> serde_json::Value {
    let (how, why) = end.split_once(' ').unwrap_or((end, ""));
    let status = why.split(' ').next().and_then(|n| n.parse::<u64>().ok());
    let (status, why) = match status.filter(|_| how == "exited") {
        Some(status) => (Some(status), why.split_once(' ').map_or("", |(_, why)| why)),
        None => (None, why),
    };
    let run: u64 = run.parse().unwrap_or_default();
    serde_json::json!({ "name": guest, "run": run, "how": how, "status": status, "why": why })
}

pub(crate) async fn wait(args: Wait) -> anyhow::Result<bool> {
    let mut conn = connect_for_long().await?;
    let mut well = true;
    for guest in &args.guests {
        let path = path(guest, "wait")?;
        let read = async {
            conn.walk(&path).await?;
            conn.open_file(OpenFlags::RDONLY).await?;
            conn.read(0).await
        };
        let line = tokio::select! {
            line = read => line.map_err(|e| about(guest, e))?,
            _ = tokio::signal::ctrl_c() => return Ok(false),
        };
        let line = String::from_utf8_lossy(&line);
        let (run, end) = line.split_once(' ').unwrap_or(("", &*line));
        let shown = match args.json {
            true => ended(guest, run, end.trim_end()).to_string() + "\n",
            false => format!("{guest} {end}"),
        };
        print(shown.as_bytes())?;
        well &= end.starts_with("exited 0") || end.starts_with("never");
    }
    Ok(well)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_to_programs() {
        let value = ended("web", "3", "exited 4 it ended with status 4");
        assert_eq!((&value["run"], &value["status"]), (&3.into(), &4.into()));
        assert_eq!(
            (&value["how"], &value["why"]),
            (&"exited".into(), &"it ended with status 4".into())
        );
        let value = ended("web", "1", "crashed 7 is no status");
        assert!(value["status"].is_null() && value["why"] == "7 is no status");
        assert_eq!(ended("web", "0", "never")["how"], "never");
    }

    #[test]
    fn an_event_is_shown_to_people_and_to_programs() {
        let line = "7 1790000000123 web 3 ended crashed: panic";
        assert_eq!(plain(line), "2026-09-21 14:13:20 web#3 ended crashed: panic");
        let value: serde_json::Value = serde_json::from_str(&json(line)).unwrap();
        assert_eq!((&value["seq"], &value["what"]), (&7.into(), &"ended".into()));
        assert_eq!(value["more"], "crashed: panic");
        assert_eq!(plain("8 1790000000123 - 0 gap"), "2026-09-21 14:13:20 - gap");
        let value: serde_json::Value = serde_json::from_str(&json("8 0 - 0 gap")).unwrap();
        assert!(value["guest"].is_null());
        assert_eq!(plain("gap 5"), "gap 5");
        assert!(json("gap 5").contains("\"5\""));
    }
}
