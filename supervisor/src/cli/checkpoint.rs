//! `atoll checkpoint` and `atoll restore`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use atoll_config::checkpoint::{CHUNK, FORMAT, Sink, Whole};
use atoll_config::payload::Hash;
use clap::Subcommand;
use serde_json::json;

use super::Usage;
use super::files::Where;
use super::names;
use super::progress::{Progress, Size};
use crate::checkpoint::{self, Source, Target};
use crate::guard::Guard;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = EXAMPLES)]
pub(super) struct Checkpoint {
    #[command(subcommand)]
    command: Option<Command>,
    /// The guest
    #[arg(value_name = "GUEST", required = true, add = names::trees())]
    address: Option<String>,
    /// The file to write
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// Only what changed since this one, which must be the last that was taken
    #[arg(long, value_name = "BASE")]
    since: Option<PathBuf>,
    /// How many seconds an answer may take
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    timeout: f64,
}

const EXAMPLES: &str = "\
Examples:
  atoll checkpoint counter now.checkpoint       the guest goes on as it was
  atoll checkpoint show now.checkpoint
  atoll restore counter now.checkpoint          it becomes what it was then
  atoll run counter.img --restore now.checkpoint --on process
  atoll checkpoint counter more.checkpoint --since now.checkpoint
  atoll checkpoint join then.checkpoint now.checkpoint more.checkpoint

FILE is written when all of it is there, in the place of what had that name.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is in a checkpoint, after all of it was checked
    Show(Show),
    /// Put what changed onto what there was: one file that a guest can go on from
    Join(Join),
}

#[derive(Debug, clap::Args)]
struct Join {
    /// The file to write
    file: PathBuf,
    /// A whole checkpoint
    base: PathBuf,
    /// What changed since, in the order in which they were taken
    #[arg(required = true)]
    since: Vec<PathBuf>,
}

/// The most bytes of guests' memory that are put together.
const MOST: u64 = 4 << 30;

#[derive(Debug, clap::Args)]
struct Show {
    /// The checkpoint
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    #[command(flatten)]
    at: Where,
    /// The checkpoint: of the same image as the guest
    file: PathBuf,
}

pub(super) async fn checkpoint(args: Checkpoint) -> anyhow::Result<bool> {
    match (args.command, args.address, args.file) {
        (Some(Command::Show(show)), ..) => self::show(&show),
        (Some(Command::Join(join)), ..) => self::join(&join),
        (None, Some(address), Some(file)) => {
            let base = args.since.map(|base| open(&base, &mut ())).transpose()?;
            take(&Where::new(address, args.timeout), &file, base.map(|b| b.hash)).await
        }
        _ => Err(Usage("which GUEST, and which FILE?".into()).into()),
    }
}

async fn take(at: &Where, file: &Path, base: Option<Hash>) -> anyhow::Result<bool> {
    let mut conn = at.connect().await?;
    let mut guard = guard()?;
    let taken = match Target::new(file, &mut guard) {
        Ok(to) => {
            let progress = Progress::begin("takes a checkpoint", Size::Unknown);
            checkpoint::take(&mut conn, to, base, &mut |bytes| progress.at(bytes)).await
        }
        Err(e) => Err(e),
    };
    guard.bye();
    taken?;
    Ok(true)
}

fn guard() -> anyhow::Result<Guard> {
    let atoll = std::env::current_exe().context("which program is this?")?;
    Guard::start(&atoll).context("cannot start the guard")
}

fn join(args: &Join) -> anyhow::Result<bool> {
    let _progress = Progress::begin("joins checkpoints", Size::Whole);
    let mut left = MOST;
    let mut read = |path: &Path| -> anyhow::Result<Whole> {
        // So that what is wrong with it is said as elsewhere.
        open(path, &mut ())?;
        let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
        let whole = Whole::read(&bytes, left).with_context(|| format!("{}", path.display()))?;
        left -= whole.components.values().map(|c| (c.chunks.len() * CHUNK) as u64).sum::<u64>();
        Ok(whole)
    };
    let mut whole = read(&args.base)?;
    if whole.header.base.is_some() {
        let e = anyhow::Error::from(checkpoint::Error::Increment);
        return Err(e.context(args.base.display().to_string()));
    }
    for path in &args.since {
        let increment = read(path)?;
        whole = whole.compose(increment).with_context(|| format!("{}", path.display()))?;
    }
    let mut guard = guard()?;
    let done = Target::new(&args.file, &mut guard).and_then(|mut to| {
        to.write(&whole.write().0)?;
        to.finish()
    });
    guard.bye();
    done?;
    Ok(true)
}

pub(super) async fn restore(args: Restore) -> anyhow::Result<bool> {
    let checks = Progress::begin("checks the checkpoint", Size::Whole);
    let from = open(&args.file, &mut ())?;
    drop(checks);
    from.whole().with_context(|| args.file.display().to_string())?;
    let mut conn = args.at.connect().await?;
    let progress = Progress::begin("gives the checkpoint to the guest", Size::Bytes(from.len));
    checkpoint::give(&mut conn, &from, &mut |bytes| progress.at(bytes)).await?;
    Ok(true)
}

fn open(path: &Path, sink: &mut dyn Sink) -> anyhow::Result<Source> {
    Source::open(path, sink).map_err(|e| match e {
        // It names the file already.
        e @ checkpoint::Error::Io { .. } => e.into(),
        e => anyhow::Error::from(e).context(path.display().to_string()),
    })
}

/// What a checkpoint says of its guest.
#[derive(Default)]
struct Found {
    version: u32,
    state: u64,
    components: Vec<Component>,
}

struct Component {
    number: u32,
    name: String,
    memory: u64,
    chunks: u64,
}

impl Sink for Found {
    fn state(&mut self, version: u32, len: u64) -> Result<(), &'static str> {
        (self.version, self.state) = (version, len);
        Ok(())
    }

    fn component(&mut self, number: u32, name: &str, memory: u64) -> Result<(), &'static str> {
        self.components.push(Component { number, name: name.into(), memory, chunks: 0 });
        Ok(())
    }

    fn chunk(&mut self, _: u32, _: &[u8; CHUNK]) -> Result<(), &'static str> {
        if let Some(last) = self.components.last_mut() {
            last.chunks += 1;
        }
        Ok(())
    }
}

fn show(args: &Show) -> anyhow::Result<bool> {
    let mut found = Found::default();
    let progress = (!args.json).then(|| Progress::begin("checks the checkpoint", Size::Whole));
    let source = open(&args.file, &mut found)?;
    drop(progress);
    let (h, hash) = (&source.header, source.hash);
    let mut out = io::stdout().lock();
    if args.json {
        let components: Vec<_> = found
            .components
            .iter()
            .map(|c| json!({ "number": c.number, "name": c.name, "memory": c.memory, "stored": c.chunks * CHUNK as u64 }))
            .collect();
        let value = json!({
            "hash": hash.to_string(), "format": FORMAT, "bytes": source.len,
            "payload_hash": h.payload.to_string(), "base": h.base.map(|b| b.to_string()),
            "time_ns": h.time, "state_version": found.version, "state": found.state,
            "components": components,
        });
        writeln!(out, "{value}")?;
        return Ok(true);
    }
    writeln!(out, "hash {hash}\nformat {FORMAT}\nbytes {}", source.len)?;
    writeln!(out, "payload_hash {}", h.payload)?;
    if let Some(base) = h.base {
        writeln!(out, "base {base}")?;
    }
    writeln!(out, "time {}.{:09}", h.time / 1_000_000_000, h.time % 1_000_000_000)?;
    writeln!(out, "state {} version {}", found.state, found.version)?;
    for c in &found.components {
        let stored = c.chunks * CHUNK as u64;
        writeln!(out, "component {} {} memory {} stored {stored}", c.number, c.name, c.memory)?;
    }
    Ok(true)
}
