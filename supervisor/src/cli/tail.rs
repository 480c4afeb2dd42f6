//! `atoll tail`.

use std::collections::VecDeque;

use anyhow::Context;
use atoll_9p::types::OpenFlags;

use super::files::{Where, print};
use crate::conn::Conn;

#[derive(Debug, clap::Args)]
pub(super) struct Tail {
    #[command(flatten)]
    at: Where,
    /// The file
    path: String,
    /// How many lines that are there already to print; 0 for none
    #[arg(short = 'n', long, value_name = "N", default_value = "10")]
    lines: usize,
    /// When the connection breaks, make another as soon as that is possible, and go on where
    /// it was
    #[arg(short = 'F', long)]
    again: bool,
}

pub(super) async fn tail(args: Tail) -> anyhow::Result<bool> {
    let mut conn = match args.again {
        true => args.at.connect_again().await?,
        false => args.at.connect().await?,
    };
    let path = &args.path;
    let done = async {
        conn.walk(path).await?;
        conn.open_file(OpenFlags::RDONLY).await?;
        follow(&conn, Some(args.lines), true, &mut |bytes| print(bytes)).await
    };
    done.await.with_context(|| format!("tail {path}"))?;
    Ok(true)
}

/// Takes out the last lines of the file that was opened, or all of them, up to its end or to
/// where a read has to wait; and then, if that is wanted, what comes, until its end or an
/// interrupt.
pub(super) async fn follow(
    conn: &Conn,
    lines: Option<usize>,
    on: bool,
    out: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let (mut last, mut offset) = (Last::new(lines.unwrap_or(0)), 0);
    loop {
        let mut read = std::pin::pin!(conn.read(offset));
        let bytes = tokio::select! {
            biased;
            bytes = &mut read => bytes?,
            asked = conn.ping() => {
                asked?;
                last.lines.iter().try_for_each(|line| out(line))?;
                if !on {
                    return Ok(());
                }
                let mut bytes = tokio::select! {
                    bytes = &mut read => bytes?,
                    _ = tokio::signal::ctrl_c() => return Ok(()),
                };
                while !bytes.is_empty() {
                    offset += bytes.len() as u64;
                    out(&bytes)?;
                    bytes = tokio::select! {
                        bytes = conn.read(offset) => bytes?,
                        // The read that is dropped is taken back.
                        _ = tokio::signal::ctrl_c() => return Ok(()),
                    };
                }
                return Ok(());
            }
        };
        offset += bytes.len() as u64;
        if bytes.is_empty() {
            return Ok(last.lines.iter().try_for_each(|line| out(line))?);
        }
        match lines {
            Some(_) => last.push(&bytes),
            None => out(&bytes)?,
        }
    }
}

/// The last so many lines, the newest perhaps unfinished.
struct Last {
    max: usize,
    lines: VecDeque<Vec<u8>>,
}

impl Last {
    fn new(max: usize) -> Last {
        Last { max, lines: VecDeque::new() }
    }

    fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&b| b == b'\n') {
            match self.lines.back_mut() {
                Some(line) if !line.ends_with(b"\n") => line.extend_from_slice(part),
                _ => self.lines.push_back(part.to_vec()),
            }
            if self.lines.len() > self.max {
                self.lines.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_however_they_come() {
        for size in [1, 3, 100] {
            let mut last = Last::new(2);
            b"one\ntwo\nthree\nfo".chunks(size).for_each(|c| last.push(c));
            let lines: Vec<_> = last.lines.iter().map(|l| String::from_utf8_lossy(l)).collect();
            assert_eq!(lines, ["three\n", "fo"]);
        }
        let mut none = Last::new(0);
        none.push(b"one\ntwo\n");
        assert!(none.lines.is_empty());
    }
}
