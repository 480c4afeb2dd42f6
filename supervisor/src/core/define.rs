//! What a guest is defined as: the launch policy that no image holds.
//!
//! It is what `config` says once `commit` was told, checked. The text itself is kept
//! beside it, with its comments, by the guest's record.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::name::{ImageHash, Name};
use crate::backend::qemu::Accel;
use crate::namespace::exported;
use crate::run::On;

/// How long a guest may take to stop where nothing else is said, in milliseconds.
pub const STOP: u64 = 10_000;

/// What a guest is defined as. These are the keys of `config` too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The image, by its hash.
    pub image: ImageHash,
    /// Where to run.
    #[serde(default)]
    pub on: On,
    /// What QEMU is to use, if that is not to be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accel: Option<Accel>,
    /// Memory in bytes, if not what the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// What each import of the image is bound to, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub imports: BTreeMap<String, Bind>,
    /// More places on this machine where the guest's tree is served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<SocketAddr>,
    /// What follows an end that nobody asked for.
    #[serde(default)]
    pub restart: Restart,
    /// How long it may take to stop before it is killed, in milliseconds, where `stop`
    /// says nothing else.
    #[serde(default = "stop")]
    pub stop: u64,
    /// Whether a start goes on from the newest checkpoint of the guest's folder, if there
    /// is one.
    #[serde(default)]
    pub resume: bool,
    /// How many of its checkpoints are kept, if somebody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<NonZeroU32>,
    /// What is expected of it while it has work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
    /// Domains that are held ready for its starts, on Xen.
    #[serde(default, skip_serializing_if = "is_none")]
    pub shells: u32,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

fn stop() -> u64 {
    STOP
}

impl Definition {
    /// An image, and all else as it is where nothing is said.
    pub fn new(image: ImageHash) -> Definition {
        Definition {
            image,
            on: On::default(),
            accel: None,
            memory: None,
            imports: BTreeMap::new(),
            listen: Vec::new(),
            restart: Restart::default(),
            stop: STOP,
            resume: false,
            keep: None,
            expect: None,
            shells: 0,
        }
    }

    /// The guests whose trees it imports: they run before it does.
    pub fn needs(&self) -> impl Iterator<Item = &Name> {
        self.imports.values().filter_map(|b| match b {
            Bind::Guest { name, .. } => Some(name),
            Bind::Folder(_) => None,
        })
    }
}

/// What an import is bound to. As text, `/srv/data` is a folder, `db` all that a guest
/// exports, and `db/export/kv` what lies at that path in its tree, which is in `export/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Bind {
    /// A folder of this host, by its absolute path.
    Folder(PathBuf),
    /// A part of a guest's tree.
    Guest {
        /// The guest.
        name: Name,
        /// The path in its tree, without a slash at its ends; empty for all of it.
        path: String,
    },
}

impl TryFrom<String> for Bind {
    type Error = String;
    fn try_from(text: String) -> Result<Bind, String> {
        if text.starts_with('/') {
            return Ok(Bind::Folder(text.into()));
        }
        let (name, path) = text.split_once('/').unwrap_or((&text, ""));
        let name = Name::new(name)
            .map_err(|why| format!("{text:?} is neither a path that begins with / nor {why}"))?;
        let path = path.trim_matches('/');
        if path.split('/').any(|part| part == ".." || part == ".") {
            return Err(format!("{text:?}: a path in a guest's tree has no . or .. in it"));
        }
        if exported(path).is_none() {
            return Err(format!(
                "{text:?}: of a guest's tree what it exports can be imported, {name}/export/PATH, \
                 or {name} for all of that"
            ));
        }
        Ok(Bind::Guest { name, path: path.into() })
    }
}

impl From<Bind> for String {
    fn from(bind: Bind) -> String {
        bind.to_string()
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Folder(path) => write!(f, "{}", path.display()),
            Bind::Guest { name, path } if path.is_empty() => write!(f, "{name}"),
            Bind::Guest { name, path } => write!(f, "{name}/{path}"),
        }
    }
}

/// What follows the end of a run that nobody asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// It stays stopped.
    #[default]
    Never,
    /// It is started again unless it ended well ([`crate::shim::End::is_well`]).
    OnFailure,
    /// It is started again.
    Always,
}

/// When a guest is started again, and how long after its end. Each failure in a row
/// doubles the delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// After which ends.
    pub policy: Policy,
    /// The first delay, in milliseconds.
    pub delay: u64,
    /// The longest delay, in milliseconds.
    pub limit: u64,
    /// After how many failures in a row it stays stopped; 0 for never.
    pub tries: u32,
    /// A run of so many milliseconds ends the row of failures.
    pub healthy: u64,
}

impl Default for Restart {
    fn default() -> Restart {
        Restart { policy: Policy::Never, delay: 500, limit: 60_000, tries: 0, healthy: 10_000 }
    }
}

impl Restart {
    /// The delay before a start after so many failures in a row, in milliseconds.
    pub fn delay(&self, failures: u32) -> u64 {
        let doubled = failures.saturating_sub(1).min(32);
        self.delay.saturating_mul(1 << doubled).min(self.limit.max(self.delay))
    }
}

/// What is expected of a guest while it has work to do (`[expect]`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// 99 of 100 dispatches take at most so many microseconds.
    pub dispatch_p99: Option<u64>,
    /// At least so many dispatches a second while events wait.
    pub progress: Option<f64>,
    /// What is not stated is learned from a steady state.
    pub learn: bool,
    /// What follows.
    pub then: Then,
}

impl Default for Expect {
    fn default() -> Expect {
        Expect { dispatch_p99: None, progress: None, learn: true, then: Then::Tell }
    }
}

/// What follows when a guest is slower than expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// An event, and no more.
    #[default]
    Tell,
    /// It is restarted, as by `restart`.
    Restart,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash() -> ImageHash {
        ImageHash::new(&"a".repeat(64)).unwrap()
    }

    #[test]
    fn a_definition_needs_an_image_and_nothing_else() {
        let json = serde_json::json!({ "image": hash() });
        let read: Definition = serde_json::from_value(json).unwrap();
        assert_eq!(read, Definition::new(hash()));
        let more = serde_json::json!({ "image": hash(), "colour": 1 });
        let why = serde_json::from_value::<Definition>(more).unwrap_err().to_string();
        assert!(why.contains("colour"), "{why}");
    }

    #[test]
    fn an_import_is_bound_to_a_folder_or_to_a_guest() {
        for text in ["/srv/data", "db", "db/export", "db/export/kv"] {
            let bind = Bind::try_from(text.to_owned()).unwrap();
            assert_eq!(bind.to_string(), text);
        }
        for bad in ["", "Db", "./a", "db/../x", "db/./x", "db/ctl", "db/exports", "db/export/.."] {
            assert!(Bind::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        let mut def = Definition::new(hash());
        def.imports.insert("data".into(), Bind::Folder("/srv".into()));
        def.imports.insert("db".into(), Bind::try_from("db/export/x/".to_owned()).unwrap());
        assert_eq!(def.needs().map(Name::as_str).collect::<Vec<_>>(), ["db"]);
        let json = serde_json::to_string(&def).unwrap();
        assert_eq!(serde_json::from_str::<Definition>(&json).unwrap(), def);
    }

    #[test]
    fn the_delay_doubles_up_to_its_limit() {
        let restart = Restart { delay: 100, limit: 1000, ..Restart::default() };
        let delays: Vec<u64> = (0..7).map(|n| restart.delay(n)).collect();
        assert_eq!(delays, [100, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(restart.delay(u32::MAX), 1000);
        // A limit below the delay does not make it shorter than was asked for.
        assert_eq!(Restart { delay: 500, limit: 1, ..restart }.delay(9), 500);
        let most = Restart { delay: u64::MAX, limit: u64::MAX, ..restart };
        assert_eq!(most.delay(u32::MAX), u64::MAX);
    }
}
