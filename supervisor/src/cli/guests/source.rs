//! What a guest is made of: an image's file, a kernel of somebody else's, or an image that
//! the supervisor has.

use std::path::{Path, PathBuf};

use anyhow::Context;
use atoll_config::image::Image;

use super::images::find;
use super::text;
use crate::address::is_name;
use crate::cli::Usage;
use crate::conn::Conn;
use crate::foreign;

/// A kernel of somebody else's.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Kernel {
    /// Instead of an image, a kernel that is none of Atoll's: Linux (bzImage), or an ELF
    /// program with a PVH entry
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub(crate) kernel: Option<PathBuf>,
    /// With --kernel: its initial file system
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,
    /// With --kernel: its command line (default for Linux: console=ttyS0 panic=-1, which has
    /// it speak where it is heard, and end when it fails)
    #[arg(long, value_name = "LINE", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
}

impl Kernel {
    /// Its file; an error where only what belongs to one is named.
    pub(crate) fn file(&self) -> Result<Option<&Path>, Usage> {
        match &self.kernel {
            Some(path) => Ok(Some(path)),
            None if self.initrd.is_some() => Err(Usage("--initrd goes with --kernel".into())),
            None if self.append.is_some() => Err(Usage("--append goes with --kernel".into())),
            None => Ok(None),
        }
    }
}

/// An image, wherever it is.
pub(super) struct Source {
    /// What it calls itself.
    pub(super) name: String,
    /// Its hash.
    pub(super) hash: String,
    /// Its bytes, where the supervisor may not have them.
    pub(super) bytes: Option<Vec<u8>>,
}

impl Source {
    /// An image's file.
    pub(super) fn file(path: &Path) -> anyhow::Result<Source> {
        let image = Image::open(path).with_context(|| path.display().to_string())?;
        Ok(Source {
            name: image.manifest().name.clone(),
            hash: image.hash().to_string(),
            bytes: Some(image.bytes().to_vec()),
        })
    }

    /// A kernel's file, with what belongs to it.
    pub(super) fn kernel(args: &Kernel, path: &Path, name: Option<&str>) -> anyhow::Result<Source> {
        let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
        let kernel = read(path)?;
        if Image::parse(&kernel[..]).is_ok() {
            let text =
                format!("{}: this is an image of Atoll's: leave --kernel out", path.display());
            return Err(Usage(text).into());
        }
        let initrd = args.initrd.as_deref().map(read).transpose()?.unwrap_or_default();
        let name = name.map_or_else(|| usual_name(path), str::to_owned);
        let bytes = foreign::pack(&name, &kernel, &initrd, args.append.as_deref())
            .with_context(|| path.display().to_string())?;
        let hash = blake3::hash(&bytes).to_string();
        Ok(Source { name, hash, bytes: Some(bytes) })
    }

    /// One of the supervisor's, by how its hash begins.
    async fn known(conn: &mut Conn, short: &str) -> anyhow::Result<Source> {
        let hash = find(conn, short).await?;
        let status = text(conn, &format!("images/{hash}/status")).await?;
        let name = status.lines().find_map(|l| l.strip_prefix("name ")).unwrap_or("guest");
        Ok(Source { name: name.into(), hash, bytes: None })
    }

    /// What a command line names.
    pub(super) async fn named(
        conn: &mut Conn,
        image: Option<&Path>,
        kernel: &Kernel,
    ) -> anyhow::Result<Source> {
        if let Some(path) = kernel.file()? {
            return Source::kernel(kernel, path, None);
        }
        let path = image.context("an image, or --kernel FILE")?;
        let short = path.to_str().filter(|t| is_hash(t));
        match short {
            Some(short) if !path.exists() => Source::known(conn, short).await,
            _ => Source::file(path),
        }
    }
}

/// Whether a text can be how a hash begins, and is hardly a file's name.
fn is_hash(text: &str) -> bool {
    (4..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A kernel's name: that of its file, as guests are called.
fn usual_name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = file.chars().map(plain).take(63).collect();
    let name = name.trim_matches('-');
    if is_name(name) { name.into() } else { "foreign".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_called_as_their_files_and_hashes_are_none() {
        for (file, name) in [
            ("/boot/vmlinuz-6.1.0-56-amd64", "vmlinuz-6-1-0-56-amd64"),
            ("hello.elf", "hello-elf"),
            ("_", "foreign"),
            ("/", "foreign"),
        ] {
            assert_eq!(usual_name(Path::new(file)), name);
        }
        assert!(is_hash("beef") && is_hash(&"0".repeat(64)));
        for no in ["bee", "hello.img", "beef.img", "BEEF", ""] {
            assert!(!is_hash(no), "{no}");
        }
    }
}
