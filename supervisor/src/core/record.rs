//! What is stored: one record for each guest and image, and the changes to them.

use std::path::PathBuf;

use atoll_config::image::Manifest;
use serde::{Deserialize, Serialize};

use super::define::Definition;
use super::event::Event;
use super::life::Goal;
use super::name::{ImageHash, Name};
use crate::foreign::About;
use crate::shim::End;

/// All that is stored of a guest. A supervisor that starts has this and what it finds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its identity: never used twice, whatever it is called.
    pub id: u64,
    /// When it was made, milliseconds since 1970 UTC.
    pub made: u64,
    /// What was written to `config` and not committed.
    #[serde(default)]
    pub draft: Option<String>,
    /// What was committed.
    #[serde(default)]
    pub config: Option<Config>,
    /// What is wanted of it.
    #[serde(default)]
    pub goal: Goal,
    /// How often it was started: the number of its latest run.
    #[serde(default)]
    pub run: u64,
    /// The epoch of that run, 0 before the first.
    #[serde(default)]
    pub epoch: u64,
    /// The latest run that has ended.
    #[serde(default)]
    pub ended: u64,
    /// How it ended.
    #[serde(default)]
    pub last: Option<End>,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// Starts that nobody asked for.
    #[serde(default)]
    pub restarts: u64,
    /// Where the next run, or the one underway, goes on from.
    #[serde(default)]
    pub from: Option<From>,
    /// The guest from which it was forked.
    #[serde(default)]
    pub fork_of: Option<Name>,
    /// It was forgotten, and its folder may still be there.
    #[serde(default)]
    pub gone: bool,
}

impl Record {
    /// Of a guest that was just made.
    pub fn new(id: u64, made: u64) -> Record {
        Record {
            id,
            made,
            draft: None,
            config: None,
            goal: Goal::Down,
            run: 0,
            epoch: 0,
            ended: 0,
            last: None,
            failures: 0,
            restarts: 0,
            from: None,
            fork_of: None,
            gone: false,
        }
    }

    /// Whether a run was begun whose end is not known.
    pub fn is_underway(&self) -> bool {
        self.run > self.ended
    }
}

/// A committed configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What it says.
    pub definition: Definition,
    /// Its text, as it was written.
    pub text: String,
}

/// Where a run goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// The guest's own checkpoint of this number.
    Number(u64),
    /// The checkpoint in this file, which belongs to another guest: a fork.
    File(PathBuf),
}

/// What is to be known of an image to judge what may be asked of its guests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// What it calls itself.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Memory that its machine has where nothing else is said, in bytes.
    pub memory: u64,
    /// The imports that must be bound.
    pub imports: Vec<String>,
    /// What its guest can do when it is asked ([`Manifest::can`]).
    pub can: Vec<String>,
    /// Whether it is none of ours: its guest has no tree. Rows that do not say so are of
    /// ours.
    #[serde(default)]
    pub foreign: bool,
}

impl Image {
    /// Of an image of ours with this manifest and so many bytes.
    pub fn of(manifest: &Manifest, size: u64) -> Image {
        Image {
            name: manifest.name.clone(),
            size,
            memory: manifest.memory,
            imports: manifest.imports.iter().map(|i| i.name.clone()).collect(),
            can: manifest.can.clone(),
            foreign: false,
        }
    }

    /// Of a foreign image of so many bytes.
    pub fn of_foreign(about: &About, size: u64) -> Image {
        let (name, memory) = (about.name.clone(), about.memory);
        Image { name, size, memory, foreign: true, ..Image::default() }
    }

    /// Whether its guest can be written down as a checkpoint, and go on from one.
    pub fn can_checkpoint(&self) -> bool {
        self.can.iter().any(|c| c == "checkpoint")
    }
}

/// One change to what is stored. A list of them is stored as a whole or not at all.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A guest's record, new or in place of the one before.
    Put(Name, Box<Record>),
    /// A guest is forgotten.
    Drop(Name),
    /// An image is known.
    PutImage(ImageHash, Image),
    /// An image is forgotten.
    DropImage(ImageHash),
    /// Who may run a guest; refused when `held` is not the epoch that is stored
    /// ([`crate::store::Ownership`]).
    Claim {
        /// The guest.
        guest: Name,
        /// The epoch under which it was held, 0 for not at all.
        held: u64,
        /// The epoch from now on, greater than every one before.
        next: u64,
    },
    /// A guest was found to run under this epoch, which is greater than the one that was
    /// stored: what is stored is older than what runs, which counts.
    Own {
        /// The guest.
        guest: Name,
        /// The epoch.
        epoch: u64,
    },
    /// Nobody runs a guest of this name any more.
    Release(Name),
    /// Something happened.
    Event(Event),
    /// Identities below this one were given away.
    NextId(u64),
}
