//! Follows what a shim tells, to its end.

use atoll_9p::client::tokio::Connection;
use atoll_9p::types::OpenFlags;
use tokio::sync::mpsc;

use super::births::Born;
use super::folder::Folder;
use super::held::{over, settled};
use super::{End, Error, Report, Spec, State, Status, tree};

/// The longest line of events that is looked at.
const MAX_LINE: usize = 16 << 10;

/// Tells what a shim tells, since it had a status, until it is gone or nobody wants to know.
pub(super) async fn follow(
    (conn, now): (Connection, Status),
    folder: Folder,
    spec: Spec,
    born: Option<Born>,
    to: mpsc::Sender<Report>,
) {
    let mut told = None;
    tokio::select! {
        _ = events(conn, now, &spec, &to, &mut told) => {}
        () = to.closed() => return,
    }
    let status = match born {
        Some(mut born) => born.wait().await,
        None => None,
    };
    let report = match settled(&folder).await {
        Ok(()) => over(&folder, &spec, told, status, true),
        Err(e) => Report::Gone(e.to_string()),
    };
    let _ = to.send(report).await;
}

/// Passes on what is told, until there is no more. How it ended is kept: it is not over
/// before nothing of it is left.
async fn events(
    conn: Connection,
    now: Status,
    spec: &Spec,
    to: &mpsc::Sender<Report>,
    told: &mut Option<End>,
) -> Result<(), Error> {
    let file = conn.open("events", OpenFlags::RDONLY).await?;
    // What the status says is not told again by the lines that it counts.
    let first = match now.state {
        State::Starting | State::Ended => [None, None],
        State::Running => [Some(Report::Running(now.backend)), None],
        State::Paused => [Some(Report::Running(now.backend)), Some(Report::Paused)],
        State::Stopping => [Some(Report::Running(now.backend)), Some(Report::Stopping)],
    };
    for report in first.into_iter().flatten() {
        let _ = to.send(report).await;
    }
    let (mut offset, mut line, mut lines, mut buf) = (0, Vec::new(), 0u64, Vec::new());
    loop {
        buf = file.read(offset, u32::MAX, std::mem::take(&mut buf)).await?;
        if buf.is_empty() {
            return Ok(());
        }
        offset += buf.len() as u64;
        for b in &buf {
            if *b != b'\n' {
                if line.len() < MAX_LINE {
                    line.push(*b);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            if let Some(n) = text.strip_prefix("gap ").and_then(|n| n.parse::<u64>().ok()) {
                lines = lines.saturating_add(n);
                continue;
            }
            lines += 1;
            match tree::parse(&text, spec.run) {
                Some(Report::Ended(end)) => *told = Some(end),
                Some(report) if lines > now.events => drop(to.send(report).await),
                _ => {}
            }
        }
    }
}
