//! The product, met as its users meet it: by its programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use atoll_config::image::Image;
use serde::Deserialize;

/// The root of the checkout around the current folder, or around these sources
/// when cargo runs this.
pub fn root() -> Result<PathBuf> {
    let here = std::env::current_dir().context("the current folder is gone")?;
    let cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let is_root = |p: &&Path| p.join("builder/Cargo.toml").is_file();
    let from = [Some(here), cargo];
    let found = from.iter().flatten().flat_map(|p| p.ancestors()).find(is_root);
    found.map(Path::to_owned).context("not inside a checkout of Atoll; change into its folder")
}

/// What `build --json` says; see `builder/src/build.rs`.
#[derive(Clone, Debug, Deserialize)]
pub struct Built {
    /// The image.
    pub image: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// `cached`, or `compiled`.
    pub kernel: String,
    /// Milliseconds by phase.
    pub ms: serde_json::Map<String, serde_json::Value>,
}

/// The builder's program.
#[derive(Clone, Debug)]
pub struct Builder {
    program: PathBuf,
    root: PathBuf,
}

impl Builder {
    /// Compiles it as `cargo xtask` does, if that is not done yet.
    pub fn find(root: &Path) -> Result<Builder> {
        let program = cargo(root, &["--package", "atoll-builder", "--bin", "xtask"], "xtask")?;
        Ok(Builder { program, root: root.to_owned() })
    }

    /// Its path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Builds the image of a guest.
    pub fn build(&self, guest: &Path, out: Option<&Path>) -> Result<Built> {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.root).args(["--quiet", "build", "--json"]).arg(guest);
        if let Some(out) = out {
            command.arg("--out").arg(out);
        }
        let output = command.stderr(Stdio::inherit()).output().context("cannot run the builder")?;
        if !output.status.success() {
            bail!("the image of {} was not built; the lines above say why", guest.display());
        }
        let text = String::from_utf8(output.stdout)?;
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).context("`build --json` ends with an unknown line")
    }
}

/// An image, and what it says about itself.
pub fn image(path: &Path) -> Result<Image> {
    Image::open(path).with_context(|| format!("cannot use the image {}", path.display()))
}

/// Compiles a program of the workspace and says where it is.
pub fn cargo(root: &Path, args: &[&str], name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "--message-format=json-render-diagnostics"])
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("`{name}` cannot be built; cargo's messages above say why");
    }
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
        .filter_map(|m| m["executable"].as_str().map(PathBuf::from))
        .find(|p| p.file_name().is_some_and(|n| n == name))
        .with_context(|| format!("cargo made no program `{name}`"))
}
