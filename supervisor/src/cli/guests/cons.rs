//! `atoll cons`: what a guest says, live, as if one sat before it.
//!
//! A guest of today reads no console: its machines are given none, for commands go to the
//! files of its tree. So this is the log from the last screenful on, with a line between
//! where a run begins or ends, and it says that nothing can be typed.

use std::io::IsTerminal;

use atoll_9p::types::OpenFlags;

use super::{about, connect_for_long, path};
use crate::cli::files::print;
use crate::cli::names;
use crate::cli::tail::follow;

pub(crate) const HELP: &str = "\
It begins with the last screenful of what was said and goes on over restarts of the guest and of \
the supervisor, until Ctrl-C. Where runs begin and end is said on standard error.

Guests read no console: nothing that is typed goes anywhere. Commands are written to files, as in: \
atoll write GUEST /ctl stop";

#[derive(Debug, clap::Args)]
pub(crate) struct Cons {
    /// The guest
    #[arg(add = names::guests())]
    guest: String,
}

/// Lines of a terminal where nobody knows better.
const LINES: usize = 24;

/// Lines of the log that are seen together.
fn screenful() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    let rows = size.map_or(0, |size| usize::from(size.ws_row));
    if rows > 2 { rows - 2 } else { LINES }
}

/// What is said of an event, `RUN WHAT ...`, if it is the begin or the end of a run.
fn told(line: &str) -> Option<String> {
    let mut words = line.splitn(5, ' ').skip(2);
    let (guest, run, what) = (words.next()?, words.next()?, words.next()?);
    let (word, _) = what.split_once(' ').unwrap_or((what, ""));
    let of_a_run = ["running", "paused", "resumed", "restored", "ended", "gave-up"];
    of_a_run.contains(&word).then(|| format!("-- {guest}#{run} {what}"))
}

pub(crate) async fn cons(args: Cons) -> anyhow::Result<bool> {
    let guest = &args.guest;
    let (mut log, mut events) = (connect_for_long().await?, connect_for_long().await?);
    for (conn, file) in [(&mut log, "log"), (&mut events, "events")] {
        conn.walk(&path(guest, file)?).await.map_err(|e| about(guest, e))?;
        conn.open_file(OpenFlags::RDONLY).await.map_err(|e| about(guest, e))?;
    }
    if std::io::stderr().is_terminal() {
        eprintln!("-- {guest}: takes no input; Ctrl-C leaves it alone");
    }
    let mut rest = Vec::new();
    let mut say = |bytes: &[u8]| {
        rest.extend_from_slice(bytes);
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if let Some(text) = told(String::from_utf8_lossy(&line).trim_end()) {
                eprintln!("{text}");
            }
        }
        Ok(())
    };
    let mut show = |bytes: &[u8]| print(bytes);
    tokio::select! {
        done = follow(&log, Some(screenful()), true, &mut show) => done?,
        done = follow(&events, Some(0), true, &mut say) => done?,
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_begin_and_the_end_of_a_run_are_told() {
        let line = "7 1790000000123 web 3 ended crashed: panic";
        assert_eq!(told(line).as_deref(), Some("-- web#3 ended crashed: panic"));
        assert_eq!(told("8 1 web 4 running process").as_deref(), Some("-- web#4 running process"));
        for other in ["", "gap 5", "7 1 web 3", "9 1 web 4 checkpoint 1", "9 1 web 4 runs"] {
            assert_eq!(told(other), None, "{other}");
        }
    }
}
