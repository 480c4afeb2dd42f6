//! What a shim is to start.
//!
//! The file lies in a folder that only its owner can write to; it is read as if anybody
//! could: its size is limited, a field that nobody knows is refused, and so is a value
//! that no daemon would have written.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::address::{self, is_name};
use crate::backend::qemu::Accel;
use crate::namespace::Import;
use crate::run::{On, Restore};

/// The format of the files in a guest's folder.
pub const FORMAT: u32 = 1;
/// Exports, and places to listen at.
const MAX_LIST: usize = 256;

/// Why a file of a guest's folder is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Bad {
    /// It is no such text.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It is of another version of this program.
    #[error("it has format {0}; this atoll reads format {FORMAT}")]
    Format(u32),
    /// A field has a value that it cannot have.
    #[error("{field}: {why}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What a shim is to start: `spec.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// [`FORMAT`].
    pub format: u32,
    /// The guest, as its folder and its sockets are called. Not always what its image
    /// calls it: two guests may have one image.
    pub name: String,
    /// Counts the guest's starts, from 1 on. It only grows.
    pub run: u64,
    /// The owner epoch under which it is started.
    pub epoch: u64,
    /// The image file.
    pub image: PathBuf,
    /// Whether that is a foreign image ([`crate::foreign`]); not in the file when it is not.
    #[serde(default, skip_serializing_if = "is_ours")]
    pub foreign: bool,
    /// Where to run.
    pub on: On,
    /// What QEMU is to use, if that is not to be found out.
    pub accel: Option<Accel>,
    /// Memory in bytes, if not what the image says.
    pub memory: Option<u64>,
    /// Host folders by the name of the import.
    pub exports: Vec<(String, PathBuf)>,
    /// Other guests' trees by the name of the import; not in the file when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,
    /// More places on this machine where its tree is served.
    pub listen: Vec<SocketAddr>,
    /// Where to go on from a checkpoint.
    pub restore: Option<Restore>,
    /// The folder in which its checkpoints are kept.
    pub state: Option<PathBuf>,
    /// How many of them; not in the file when nobody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<NonZeroU32>,
    /// The record of a domain made ahead of need, which it may take; not in the file when
    /// there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<PathBuf>,
    /// The socket that everybody knows it by.
    pub socket: PathBuf,
    /// The folder of its other sockets, which is its own alone.
    pub sockets: PathBuf,
}

impl Spec {
    /// The first run of a guest, wherever its image can run, with the usual sockets.
    pub fn new(name: &str, image: &Path) -> Spec {
        Spec {
            format: FORMAT,
            name: name.into(),
            run: 1,
            epoch: 1,
            image: image.into(),
            foreign: false,
            on: On::Auto,
            accel: None,
            memory: None,
            exports: Vec::new(),
            imports: Vec::new(),
            listen: Vec::new(),
            restore: None,
            state: None,
            keep: None,
            shell: None,
            socket: address::default_socket(name),
            sockets: address::guest_sockets(name),
        }
    }

    /// Reads what a file holds.
    pub fn from_json(text: &[u8]) -> Result<Spec, Bad> {
        let spec: Spec = from_json(text)?;
        spec.check()?;
        Ok(spec)
    }

    /// What a file is to hold.
    pub fn to_json(&self) -> Result<String, Bad> {
        self.check()?;
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Whether a guest could be started like this.
    pub fn check(&self) -> Result<(), Bad> {
        let bad = |field, why| Err(Bad::Field { field, why });
        if self.format != FORMAT {
            return Err(Bad::Format(self.format));
        }
        if !is_name(&self.name) {
            return bad("name", "is no guest's name");
        }
        if self.run == 0 {
            return bad("run", "runs are counted from 1 on");
        }
        let restore = match &self.restore {
            Some(Restore::File(path)) => Some(path),
            _ => None,
        };
        let paths = [Some(&self.image), self.state.as_ref(), restore];
        let exports = self.exports.iter().map(|(_, path)| path);
        let sockets = [&self.socket, &self.sockets];
        let others = self.imports.iter().map(|i| &i.socket);
        for path in paths.into_iter().flatten().chain(exports).chain(sockets).chain(others) {
            if !path.is_absolute() {
                return bad(
                    "image, exports, imports, restore, state, sockets",
                    "paths begin with /",
                );
            }
        }
        if !self.sockets.ends_with(Path::new("guests").join(&self.name)) {
            return bad("sockets", "a guest's own folder is called guests/NAME");
        }
        let (least, most) = (atoll_config::rules::MIN_MEMORY, atoll_config::rules::MAX_MEMORY);
        if self.memory.is_some_and(|m| !(least..=most).contains(&m)) {
            return bad("memory", "it is from 2 MiB to 3 GiB");
        }
        let lists = [self.exports.len(), self.imports.len(), self.listen.len()];
        if lists.iter().any(|n| *n > MAX_LIST) {
            return bad("exports, imports, listen", "there are too many");
        }
        if self.imports.iter().any(|i| !is_name(&i.guest) || exported_below(&i.path).is_none()) {
            return bad("imports", "they are of what guests export");
        }
        if self.listen.iter().any(|a| !a.ip().is_loopback()) {
            return bad("listen", "only this machine's own addresses are served");
        }
        let tree = lists.iter().any(|n| *n > 0);
        let kept = self.restore.is_some() || self.state.is_some();
        if self.foreign && (tree || kept || self.on == On::Process) {
            return bad("foreign", "such a guest has no tree, no checkpoints, and is on QEMU");
        }
        if matches!(self.restore, Some(Restore::Latest)) && self.state.is_none() {
            return bad("restore", "the latest of no folder");
        }
        Ok(())
    }
}

/// A path that leads nowhere but down.
fn exported_below(path: &str) -> Option<&str> {
    let plain = |part: &str| !matches!(part, "." | "..");
    (!path.starts_with('/') && path.split('/').all(plain)).then_some(path)
}

fn is_ours(foreign: &bool) -> bool {
    !foreign
}

/// Reads a file's text, the format first: another one may have other fields.
pub(super) fn from_json<'t, T: Deserialize<'t>>(text: &'t [u8]) -> Result<T, Bad> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let Versioned { format } = serde_json::from_slice(text)?;
    if format != FORMAT {
        return Err(Bad::Format(format));
    }
    Ok(serde_json::from_slice(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Spec {
        Spec {
            run: 7,
            epoch: 3,
            on: On::Qemu,
            accel: Some(Accel::Tcg),
            memory: Some(4 << 20),
            exports: vec![("data".into(), "/srv/data".into())],
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            restore: Some(Restore::File("/srv/7.checkpoint".into())),
            state: Some("/srv/kept".into()),
            keep: NonZeroU32::new(3),
            ..Spec::new("reader-2", Path::new("/srv/reader.img"))
        }
    }

    #[test]
    fn a_spec_is_read_as_it_was_written() {
        let latest = Spec { restore: Some(Restore::Latest), ..full() };
        let plain = Spec::new("a", Path::new("/a.img"));
        let foreign = Spec { foreign: true, ..plain.clone() };
        assert!(!plain.to_json().unwrap().contains("foreign"), "older ones read it");
        for spec in [full(), latest, plain, foreign] {
            let text = spec.to_json().unwrap();
            assert_eq!(Spec::from_json(text.as_bytes()).unwrap(), spec);
        }
    }

    #[test]
    fn what_no_daemon_writes_is_refused() {
        let wrong: [fn(&mut Spec); 11] = [
            |s| s.foreign = true,
            |s| s.format = 2,
            |s| s.name = "../a".into(),
            |s| s.run = 0,
            |s| s.image = "a.img".into(),
            |s| s.sockets = "a".into(),
            |s| s.sockets = "/srv/somebody".into(),
            |s| s.memory = Some(1),
            |s| s.listen = vec!["192.0.2.1:5".parse().unwrap()],
            |s| s.exports = vec![("a".into(), "b".into())],
            |s| (s.restore, s.state) = (Some(Restore::Latest), None),
        ];
        for change in wrong {
            let mut spec = full();
            change(&mut spec);
            let text = serde_json::to_string(&spec).unwrap();
            assert!(Spec::from_json(text.as_bytes()).is_err(), "{text}");
            assert!(spec.to_json().is_err());
        }
        let text = full().to_json().unwrap();
        let more = text.replacen('{', "{ \"colour\": 1,", 1);
        let why = Spec::from_json(more.as_bytes()).unwrap_err().to_string();
        assert!(why.contains("colour"), "{why}");
        for cut in 0..text.len() - 2 {
            assert!(Spec::from_json(&text.as_bytes()[..cut]).is_err(), "{cut}");
        }
        // Of a later version, that is what is said, not which field it has more.
        let later = more.replacen("\"format\": 1", "\"format\": 9", 1);
        assert!(matches!(Spec::from_json(later.as_bytes()), Err(Bad::Format(9))));
    }
}
