//! `atoll ls`, `cat`, `write` and `stat`: a guest's tree without a mount.

use std::io::{self, Read, Write as _};
use std::time::Duration;

use anyhow::Context;
use atoll_9p::types::OpenFlags;

use super::{Usage, names};
use crate::address::Address;
use crate::conn::{Conn, Error};
use crate::show::{mode_text, stat_json, time_text};

/// Which guest, and how long to wait for it.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// The guest
    #[arg(value_name = "GUEST", add = names::trees())]
    address: String,
    /// How many seconds an answer may take that need not wait for an event
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    timeout: f64,
}

impl Where {
    /// What a command line of another form says.
    pub(super) fn new(address: String, timeout: f64) -> Where {
        Where { address, timeout }
    }

    pub(super) async fn connect(&self) -> anyhow::Result<Conn> {
        let (address, limit) = self.place()?;
        Ok(Conn::open(&address, limit).await?)
    }

    /// Connects, and again whenever the connection breaks.
    pub(super) async fn connect_again(&self) -> anyhow::Result<Conn> {
        let (address, limit) = self.place()?;
        Ok(Conn::open_again(&address, limit).await?)
    }

    fn place(&self) -> anyhow::Result<(Address, Duration)> {
        let address = Address::parse(&self.address).map_err(Usage)?;
        let limit = Duration::try_from_secs_f64(self.timeout)
            .map_err(|e| Usage(format!("--timeout {}: {e}", self.timeout)))?;
        Ok((address, limit))
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Ls {
    #[command(flatten)]
    at: Where,
    /// The directory
    #[arg(default_value = "/")]
    path: String,
    /// Show modes, sizes and times too
    #[arg(short)]
    long: bool,
    /// Print JSON, a line a file
    #[arg(long)]
    json: bool,
}

pub(super) async fn ls(args: Ls) -> anyhow::Result<bool> {
    let mut conn = args.at.connect().await?;
    let context = || format!("ls {}", args.path);
    conn.walk(&args.path).await.with_context(context)?;
    let stat = conn.stat().await.with_context(context)?;
    let mut names = Vec::new();
    if stat.qid.is_dir() {
        conn.open_file(OpenFlags::RDONLY).await.with_context(context)?;
        names = conn.list().await.with_context(context)?;
    }
    conn.clunk().await.with_context(context)?;
    let show = |name: &str, stat: &atoll_9p::types::Stat| {
        let mut out = io::stdout().lock();
        if args.json {
            writeln!(out, "{}", stat_json(name, stat))
        } else {
            let (mode, time) = (mode_text(stat.mode), time_text(stat.mtime.sec));
            let slash = if stat.qid.is_dir() { "/" } else { "" };
            writeln!(out, "{mode} {:>10} {time} {name}{slash}", stat.size)
        }
    };
    if !stat.qid.is_dir() {
        let name = args.path.rsplit('/').find(|n| !n.is_empty()).unwrap_or("/");
        match args.long || args.json {
            true => show(name, &stat)?,
            false => print(format!("{name}\n").as_bytes())?,
        }
        return Ok(true);
    }
    for name in names {
        if !args.long && !args.json {
            let slash = if name.qid.is_dir() { "/" } else { "" };
            print(format!("{}{slash}\n", name.name).as_bytes())?;
            continue;
        }
        let path = format!("{}/{}", args.path, name.name);
        let context = || format!("stat {path}");
        conn.walk(&path).await.with_context(context)?;
        let stat = conn.stat().await.with_context(context)?;
        conn.clunk().await.with_context(context)?;
        show(&name.name, &stat)?;
    }
    Ok(true)
}

#[derive(Debug, clap::Args)]
pub(super) struct Cat {
    #[command(flatten)]
    at: Where,
    /// The files
    #[arg(required = true)]
    paths: Vec<String>,
}

pub(super) async fn cat(args: Cat) -> anyhow::Result<bool> {
    let mut conn = args.at.connect().await?;
    for path in &args.paths {
        let done = async {
            conn.walk(path).await?;
            conn.open_file(OpenFlags::RDONLY).await?;
            copy(&conn, 0).await
        };
        match done.await {
            Ok(true) => conn.clunk().await?,
            Ok(false) => return Ok(true),
            Err(e) => return Err(e).with_context(|| format!("cat {path}")),
        }
    }
    Ok(true)
}

/// Prints a file from an offset on, to its end or an interrupt; whether it was the end.
pub(super) async fn copy(conn: &Conn, mut offset: u64) -> anyhow::Result<bool> {
    loop {
        let bytes = tokio::select! {
            bytes = conn.read(offset) => bytes?,
            // The read that is dropped is taken back.
            _ = tokio::signal::ctrl_c() => return Ok(false),
        };
        if bytes.is_empty() {
            return Ok(true);
        }
        offset += bytes.len() as u64;
        print(&bytes)?;
    }
}

pub(super) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

#[derive(Debug, clap::Args)]
pub(super) struct Write {
    #[command(flatten)]
    at: Where,
    /// The file
    path: String,
    /// What to write: words, with spaces between; or - for standard input
    #[arg(required = true, allow_negative_numbers = true)]
    text: Vec<String>,
}

pub(super) async fn write(args: Write) -> anyhow::Result<bool> {
    let text = match &args.text[..] {
        [dash] if dash == "-" => {
            let mut text = Vec::new();
            io::stdin().lock().read_to_end(&mut text).context("standard input")?;
            text
        }
        words => words.join(" ").into_bytes(),
    };
    let mut conn = args.at.connect().await?;
    let done = conn.write_file(&args.path, &text).await;
    done.with_context(|| format!("write {}", args.path))?;
    Ok(true)
}

#[derive(Debug, clap::Args)]
pub(super) struct Stat {
    #[command(flatten)]
    at: Where,
    /// The files
    #[arg(required = true)]
    paths: Vec<String>,
    /// Print JSON, a line a file
    #[arg(long)]
    json: bool,
}

pub(super) async fn stat(args: Stat) -> anyhow::Result<bool> {
    let mut conn = args.at.connect().await?;
    for path in &args.paths {
        let done = async {
            conn.walk(path).await?;
            let stat = conn.stat().await?;
            conn.clunk().await?;
            Ok::<_, Error>(stat)
        };
        let s = done.await.with_context(|| format!("stat {path}"))?;
        let mut out = io::stdout().lock();
        if args.json {
            writeln!(out, "{}", stat_json(path, &s))?;
            continue;
        }
        writeln!(out, "name {path}")?;
        writeln!(out, "mode {}", mode_text(s.mode))?;
        writeln!(out, "size {}", s.size)?;
        writeln!(out, "mtime {}", time_text(s.mtime.sec))?;
        writeln!(out, "qid {:#04x} {} {:#x}", s.qid.ty, s.qid.version, s.qid.path)?;
    }
    Ok(true)
}
