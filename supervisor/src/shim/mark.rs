//! That a guest was told to go on elsewhere, and what came of it.
//!
//! Who lets it go on there is told so by one word, and answers with another. In between nobody
//! here knows where it runs, and whoever knows that somebody was told may be killed just then. So
//! the mark is in the guest's folder before the word is said, and is taken away only by who knows
//! for certain that the guest goes on here: if that was answered, or if somebody decides it.
//! As long as it is there, nothing else that is known of that run's end is believed.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::{read, write};
use super::order::Place;
use super::spec::{Bad, from_json};
use super::{Error, Spec};
use crate::address::is_name;

/// The file.
const FILE: &str = "move.json";
/// How a text begins if there is no doubt.
const TO: &str = "to ";
/// What it is called before it is whole.
const NEW: &str = "move.new";

/// That a guest was told to go on elsewhere: `move.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// [`super::FORMAT`].
    pub format: u32,
    /// The guest.
    pub name: String,
    /// Its domain's number for ever.
    pub uuid: String,
    /// The owner epoch under which it ran here.
    pub epoch: u64,
    /// Where it goes on, as that was given.
    pub to: String,
    /// Under which epoch.
    pub next: u64,
    /// Whether it was answered that it does.
    pub answered: bool,
}

impl Mark {
    /// Reads what a file holds.
    pub fn from_json(text: &[u8]) -> Result<Mark, Bad> {
        let mark: Mark = from_json(text)?;
        let bad = |field, why| Err(Bad::Field { field, why });
        if !is_name(&mark.name) {
            return bad("name", "is no guest's name");
        }
        if mark.next <= mark.epoch {
            return bad("next", "an epoch is greater than the one before");
        }
        if let Err(why) = mark.to.parse::<Place>() {
            return bad("to", why);
        }
        Ok(mark)
    }

    /// Leaves it in a guest's folder, durably.
    pub fn leave(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(Bad::from);
        let text = text.map_err(|e| Error::Bad(path.clone(), e))? + "\n";
        write(&path, text.as_bytes())
    }

    /// The one that is in a guest's folder.
    pub fn find(folder: &Path) -> Result<Option<Mark>, Error> {
        let path = folder.join(FILE);
        let mark = read(&path)?.map(|text| Mark::from_json(&text)).transpose();
        mark.map_err(|e| Error::Bad(path, e))
    }

    /// Takes away what is there, durably.
    pub fn clear(folder: &Path) -> Result<(), Error> {
        let mut cleared = false;
        for path in [FILE, NEW].map(|name| folder.join(name)) {
            match std::fs::remove_file(&path) {
                Ok(()) => cleared = true,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::Io(path, e)),
            }
        }
        if cleared {
            let synced = std::fs::File::open(folder).and_then(|f| f.sync_all());
            synced.map_err(|e| Error::Io(PathBuf::from(folder), e))?;
        }
        Ok(())
    }

    /// Whether the text of an end says that it is known to run elsewhere.
    pub fn is_sure(why: &str) -> bool {
        why.starts_with(TO)
    }

    /// What is known, for people.
    fn text(&self) -> String {
        let Mark { to, next, .. } = self;
        match self.answered {
            true => format!("{TO}{to} under epoch {next}"),
            false => format!(
                "it was told to go on at {to} under epoch {next}, and nobody answered: it runs \
                 there, or is lost"
            ),
        }
    }
}

/// What a mark in the folder says of a run.
pub(super) struct Moved {
    /// For people.
    pub(super) text: String,
    /// Whether it is known that it runs there.
    pub(super) answered: bool,
}

/// Whether a run was told to go on elsewhere, by the mark in the guest's folder. One that cannot be
/// read may be of any run.
pub(super) fn moved(folder: &Path, name: &str, epoch: u64) -> Option<Moved> {
    match Mark::find(folder) {
        Ok(mark) => {
            let mark = mark.filter(|m| m.name == name && m.epoch == epoch)?;
            Some(Moved { text: mark.text(), answered: mark.answered })
        }
        Err(e) => {
            let text = format!("it is not known whether it runs elsewhere: {e}");
            Some(Moved { text, answered: false })
        }
    }
}

/// The same for a run that was started.
pub(super) fn of(folder: &Path, spec: &Spec) -> Option<Moved> {
    moved(folder, &spec.name, spec.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::FORMAT;

    fn mark() -> Mark {
        let (name, uuid, to) = ("a".into(), "u".into(), "/run/b".into());
        Mark { format: FORMAT, name, uuid, epoch: 3, to, next: 4, answered: false }
    }

    #[test]
    fn a_mark_is_there_until_it_is_cleared_and_is_of_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        Mark::clear(at).unwrap();
        assert!(moved(at, "a", 3).is_none());
        mark().leave(at).unwrap();
        assert_eq!(Mark::find(at).unwrap(), Some(mark()));
        let said = moved(at, "a", 3).unwrap();
        assert!(!said.answered && !Mark::is_sure(&said.text));
        assert_eq!(
            said.text,
            "it was told to go on at /run/b under epoch 4, and nobody answered: it runs there, or \
             is lost"
        );
        assert!(moved(at, "b", 3).is_none() && moved(at, "a", 4).is_none());
        Mark { answered: true, ..mark() }.leave(at).unwrap();
        let said = moved(at, "a", 3).unwrap();
        assert!(said.answered && Mark::is_sure(&said.text));
        assert_eq!(said.text, "to /run/b under epoch 4");
        std::fs::write(at.join(NEW), "half").unwrap();
        Mark::clear(at).unwrap();
        assert_eq!(std::fs::read_dir(at).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_mark_may_be_of_any_run() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let text = serde_json::to_string_pretty(&mark()).unwrap();
        assert_eq!(Mark::from_json(text.as_bytes()).unwrap(), mark());
        for (from, to) in [
            ("\"a\"", "\"../a\""),
            ("\"next\": 4", "\"next\": 3"),
            ("/run/b", "run/b"),
            ("/run/b", "/run/\\nb"),
            ("\"format\": 1", "\"format\": 2"),
            ("\"uuid\"", "\"guid\""),
        ] {
            let text = text.replacen(from, to, 1);
            std::fs::write(at.join(FILE), &text).unwrap();
            let said = moved(at, "z", 9).unwrap_or_else(|| panic!("{text}"));
            assert!(!said.answered && said.text.contains("move.json: "), "{}", said.text);
            assert!(!said.text.contains('\n'), "{}", said.text);
        }
        for cut in 0..text.len() - 1 {
            assert!(Mark::from_json(&text.as_bytes()[..cut]).is_err(), "{cut}");
        }
    }
}
