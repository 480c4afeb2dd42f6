//! Where the bytes of `source = "…"` come from.
//!
//! A guest's folder is all that its configuration may read: a path that leaves
//! it, by `..`, by being absolute or through a symbolic link, is refused. So a
//! `guest.toml` of a stranger cannot put the builder's own files into an image.

use std::path::{Component, Path, PathBuf};

/// Gives the bytes of a guest's files.
pub trait Files {
    /// Finds the source of an atom. The error says what is wrong and what to do.
    fn atom(&mut self, path: &str) -> Result<AtomSource, (String, String)>;
    /// The bytes of `path`, at most `most`. The error says what is wrong and what to do.
    fn read(&mut self, path: &str, most: u64) -> Result<Vec<u8>, (String, String)>;
}

/// What an atom is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// A cargo package: the folder with its `Cargo.toml`.
    Rust,
    /// A `.c` file.
    C,
    /// A `.wat` file: Wasm as text.
    Wat,
    /// A `.wasm` file: a module as it is.
    Wasm,
}

/// The source of an atom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtomSource {
    /// What it is written in.
    pub language: Language,
    /// The folder or file, without symbolic links.
    pub path: PathBuf,
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

    /// What is at `path`, which must lie inside.
    fn inside(&self, path: &Path) -> Result<PathBuf, (String, String)> {
        let inside = "a source lies inside the guest's folder; copy it there".to_owned();
        if path.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err((format!("`{}` leaves the guest's folder", path.display()), inside));
        }
        let failed = |e: std::io::Error| failed(path, &e);
        let real = self.root.join(path).canonicalize().map_err(failed)?;
        if !real.starts_with(self.root.canonicalize().map_err(failed)?) {
            let what = format!("`{}` leaves the guest's folder by a symbolic link", path.display());
            return Err((what, inside));
        }
        Ok(real)
    }
}

/// Why something in a guest's folder could not be used.
fn failed(path: &Path, e: &std::io::Error) -> (String, String) {
    let help = match e.kind() {
        std::io::ErrorKind::NotFound => format!("create {}", path.display()),
        _ => format!("make {} readable", path.display()),
    };
    (format!("cannot read `{}`: {e}", path.display()), help)
}

impl Files for Folder {
    fn atom(&mut self, path: &str) -> Result<AtomSource, (String, String)> {
        let real = self.inside(Path::new(path))?;
        let kinds = "an atom is the folder of a Rust package, or a .c, .wat or .wasm file";
        let found = |language| Ok(AtomSource { language, path: real.clone() });
        if real.join("Cargo.toml").is_file() {
            return found(Language::Rust);
        }
        if real.is_dir() {
            let help = format!("{kinds}; `cargo xtask new --atom NAME` makes one");
            return Err((format!("the folder `{path}` has no Cargo.toml"), help));
        }
        match real.extension().and_then(|e| e.to_str()) {
            Some("c") => found(Language::C),
            Some("wat") => found(Language::Wat),
            Some("wasm") => found(Language::Wasm),
            _ => Err((format!("`{path}` is of no kind that an atom is made of"), kinds.into())),
        }
    }

    fn read(&mut self, path: &str, most: u64) -> Result<Vec<u8>, (String, String)> {
        let path = Path::new(path);
        let real = self.inside(path)?;
        let failed = |e: std::io::Error| failed(path, &e);
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
    fn atom(&mut self, path: &str) -> Result<AtomSource, (String, String)> {
        let what = format!("cannot read `{path}`: there are no files here");
        Err((what, "use a guest's folder".to_owned()))
    }

    fn read(&mut self, path: &str, _most: u64) -> Result<Vec<u8>, (String, String)> {
        Err((format!("cannot read `{path}`: there are no files here"), "use `text`".to_owned()))
    }
}
