//! `atoll tail`.

use std::collections::VecDeque;

use anyhow::Context;
use atoll_9p::types::OpenFlags;

use super::files::{Where, copy, print};

#[derive(Debug, clap::Args)]
pub(super) struct Tail {
    #[command(flatten)]
    at: Where,
    /// The file
    path: String,
    /// How many lines that are there already to print; 0 for none
    #[arg(short = 'n', long, value_name = "N", default_value = "10")]
    lines: usize,
}

pub(super) async fn tail(args: Tail) -> anyhow::Result<bool> {
    let mut conn = args.at.connect().await?;
    let path = &args.path;
    let done = async {
        conn.walk(path).await?;
        conn.open_file(OpenFlags::RDONLY).await?;
        let (mut last, mut offset) = (Last::new(args.lines), 0);
        // What is there now, up to its end or to where a read has to wait.
        loop {
            let mut read = std::pin::pin!(conn.read(offset));
            let (bytes, waited) = tokio::select! {
                biased;
                bytes = &mut read => (bytes?, false),
                asked = conn.ping() => {
                    asked?;
                    last.print()?;
                    let bytes = tokio::select! {
                        bytes = &mut read => bytes?,
                        _ = tokio::signal::ctrl_c() => return Ok(()),
                    };
                    (bytes, true)
                }
            };
            offset += bytes.len() as u64;
            if waited {
                print(&bytes)?;
                if !bytes.is_empty() {
                    copy(&conn, offset).await?;
                }
                break;
            }
            if bytes.is_empty() {
                last.print()?;
                break;
            }
            last.push(&bytes);
        }
        Ok::<_, anyhow::Error>(())
    };
    done.await.with_context(|| format!("tail {path}"))?;
    Ok(true)
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

    fn print(&self) -> std::io::Result<()> {
        self.lines.iter().try_for_each(|line| print(line))
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
