//! Where the bytes of `source = "…"` come from.
//!
//! A guest's folder is all that its configuration may read: a path that leaves
//! it, by `..`, by being absolute or through a symbolic link, is refused. So a
//! `guest.toml` of a stranger cannot put the builder's own files into an image.

use std::path::{Component, Path, PathBuf};

/// Gives the bytes of a guest's files.
pub trait Files {
    /// The bytes of `path`, at most `most`. The error says what is wrong and what to do.
    fn read(&mut self, path: &str, most: u64) -> Result<Vec<u8>, (String, String)>;
}

/// The files below a folder.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// All below `root`.
    pub fn new(root: &Path) -> Folder {
        Folder { root: root.to_owned() }
    }
}

impl Files for Folder {
    fn read(&mut self, path: &str, most: u64) -> Result<Vec<u8>, (String, String)> {
        let inside = "a source is a file inside the guest's folder; copy it there".to_owned();
        let path = Path::new(path);
        if path.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err((format!("`{}` leaves the guest's folder", path.display()), inside));
        }
        let full = self.root.join(path);
        let failed = |e: std::io::Error| {
            let help = match e.kind() {
                std::io::ErrorKind::NotFound => format!("create {}", full.display()),
                _ => format!("make {} readable", full.display()),
            };
            (format!("cannot read `{}`: {e}", path.display()), help)
        };
        let real = full.canonicalize().map_err(failed)?;
        if !real.starts_with(self.root.canonicalize().map_err(failed)?) {
            let what = format!("`{}` leaves the guest's folder by a symbolic link", path.display());
            return Err((what, inside));
        }
        let meta = real.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err((format!("`{}` is not a file", path.display()), "name a file".to_owned()));
        }
        if meta.len() > most {
            return Err((
                format!("`{}` has {} bytes; {most} are left for files", path.display(), meta.len()),
                "give the guest more memory, or the file fewer bytes".to_owned(),
            ));
        }
        std::fs::read(&real).map_err(failed)
    }
}

/// No files at all.
#[derive(Debug)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&mut self, path: &str, _most: u64) -> Result<Vec<u8>, (String, String)> {
        Err((format!("cannot read `{path}`: there are no files here"), "use `text`".to_owned()))
    }
}
