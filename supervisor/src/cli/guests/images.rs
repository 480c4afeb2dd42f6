//! `atoll images`.

use std::path::PathBuf;

use anyhow::Context;
use atoll_9p::types::OpenFlags;
use atoll_config::image::Image;

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
        image: PathBuf,
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

pub(crate) async fn images(args: Images) -> anyhow::Result<bool> {
    let mut conn = connect().await?;
    match args.command {
        Some(Command::Add { image }) => {
            let image = Image::open(&image).with_context(|| image.display().to_string())?;
            super::launch::give(&mut conn, &image).await?;
            print(format!("{}\n", image.hash()).as_bytes())?;
        }
        Some(Command::Rm { hashes }) => {
            for short in hashes {
                let found: Vec<String> =
                    all(&mut conn).await?.into_iter().filter(|h| h.starts_with(&short)).collect();
                let hash = match &found[..] {
                    [hash] => hash,
                    [] => return Err(Usage(format!("{short}: no image's hash begins so")).into()),
                    _ => return Err(Usage(format!("{short}: {} do", found.len())).into()),
                };
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
