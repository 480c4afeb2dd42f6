//! `atoll images`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use atoll_9p::types::OpenFlags;

use super::source::{Kernel, Source};
use super::table::table;
use super::{connect, text};
use crate::cli::Usage;
use crate::cli::files::print;
use crate::cli::names;
use crate::conn::Conn;
use crate::serve::units::show_bytes;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Images {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print JSON, a line an image
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Give the supervisor an image
    Add {
        /// The image file
        #[arg(required_unless_present = "kernel")]
        image: Option<PathBuf>,
        #[command(flatten)]
        kernel: Kernel,
        /// With --kernel: what to call it (default: as its file is called)
        #[arg(long, requires = "kernel")]
        name: Option<String>,
    },
    /// Remove images that no guest has
    Rm {
        /// Their hashes, or how those begin
        #[arg(required = true, value_name = "HASH", add = names::images())]
        hashes: Vec<String>,
    },
}

/// The hashes of all images.
async fn all(conn: &mut Conn) -> anyhow::Result<Vec<String>> {
    conn.walk("images").await?;
    conn.open_file(OpenFlags::RDONLY).await?;
    let names = conn.list().await?;
    conn.clunk().await?;
    Ok(names.into_iter().map(|n| n.name).collect())
}

/// The image whose hash begins so.
pub(super) async fn find(conn: &mut Conn, short: &str) -> anyhow::Result<String> {
    let mut found = all(conn).await?;
    found.retain(|h| h.starts_with(short));
    match found.pop() {
        None => Err(Usage(format!("{short}: no image's hash begins so")).into()),
        Some(hash) if found.is_empty() => Ok(hash),
        Some(_) => {
            let text = format!("{short}: the hashes of {} images begin so", found.len() + 1);
            Err(Usage(text).into())
        }
    }
}

pub(crate) async fn images(args: Images) -> anyhow::Result<bool> {
    let mut conn = connect().await?;
    match args.command {
        Some(Command::Add { image, kernel, name }) => {
            let source = match (kernel.file()?, &image) {
                (Some(path), _) => Source::kernel(&kernel, path, name.as_deref())?,
                (None, image) => Source::file(image.as_deref().unwrap_or(Path::new("")))?,
            };
            super::launch::give(&mut conn, &source).await?;
            print(format!("{}\n", source.hash).as_bytes())?;
        }
        Some(Command::Rm { hashes }) => {
            for short in hashes {
                let hash = find(&mut conn, &short).await?;
                let removed = conn.rmdir(&format!("images/{hash}")).await;
                removed.with_context(|| format!("image {short}"))?;
                print(format!("{hash}\n").as_bytes())?;
            }
        }
        None => list(&mut conn, args.json).await?,
    }
    Ok(true)
}

async fn list(conn: &mut Conn, json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for hash in all(conn).await? {
        let status = text(conn, &format!("images/{hash}/status")).await?;
        if json {
            let mut value = serde_json::json!({});
            for (key, text) in status.lines().filter_map(|l| l.split_once(' ')) {
                value[key] = text.parse::<u64>().map_or_else(|_| text.into(), Into::into);
            }
            print(format!("{value}\n").as_bytes())?;
            continue;
        }
        let get = |key: &str| {
            let line = status.lines().filter_map(|l| l.split_once(' ')).find(|l| l.0 == key);
            line.map(|l| l.1.to_owned()).unwrap_or_default()
        };
        let bytes = |key: &str| get(key).parse().map(show_bytes).unwrap_or_default();
        let short = hash.get(..12).unwrap_or(&hash).to_owned();
        let whole = if get("committed") == "true" { "" } else { "not committed" };
        rows.push(vec![
            short,
            get("name"),
            get("version"),
            bytes("bytes"),
            bytes("memory"),
            whole.into(),
        ]);
    }
    if !json {
        let heads = ["HASH", "NAME", "VERSION", ">SIZE", ">MEMORY", ""];
        print(table(&heads, &rows).as_bytes())?;
    }
    Ok(())
}
