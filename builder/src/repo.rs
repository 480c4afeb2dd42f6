//! Where things are in a checkout.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A checkout of this project.
#[derive(Clone, Debug)]
pub struct Repo {
    /// Its root folder.
    pub root: PathBuf,
}

impl Repo {
    /// The checkout around the current folder, or around this program's sources
    /// when cargo runs it.
    pub fn find() -> Result<Repo> {
        let here = std::env::current_dir().context("the current folder is gone")?;
        let cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let from = [Some(here), cargo];
        let root = from.iter().flatten().flat_map(|p| p.ancestors()).find(|p| is_root(p));
        match root {
            Some(root) => Ok(Repo { root: root.to_owned() }),
            None => bail!("not inside a checkout of Atoll; change into its folder and try again"),
        }
    }

    /// A folder or file of the checkout.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }

    /// Where everything generated goes.
    pub fn out(&self) -> PathBuf {
        self.path("target/atoll")
    }

    /// Where the image of a guest goes when nobody says.
    pub fn image(&self, name: &str) -> PathBuf {
        self.out().join("images").join(format!("{name}.img"))
    }

    /// A path as a person in the checkout's root would write it.
    pub fn show<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// The `guest.toml` that a person means by a file, a folder, or the name of
    /// a folder in `images/`.
    pub fn guest(&self, named: &str) -> Result<PathBuf> {
        let path = Path::new(named);
        let tries = [
            path.to_owned(),
            path.join("guest.toml"),
            self.path("images").join(path).join("guest.toml"),
        ];
        if let Some(found) = tries.iter().find(|p| p.is_file()) {
            return Ok(found.clone());
        }
        let mut known: Vec<_> = std::fs::read_dir(self.path("images"))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|e| e.path().join("guest.toml").is_file())
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        known.sort();
        let help = match atoll_config::rules::guest_name(named) {
            Ok(()) => format!("`cargo xtask new {named}` makes a guest of that name"),
            Err(_) => "name one of those, or a folder that holds a guest.toml".into(),
        };
        bail!(
            "no guest `{named}`: it is no guest.toml, no folder with one, and not in images/ (there: {})\n\
             help: {help}",
            known.join(", ")
        )
    }
}

fn is_root(p: &Path) -> bool {
    p.join("builder/Cargo.toml").is_file() && p.join("config/Cargo.toml").is_file()
}
