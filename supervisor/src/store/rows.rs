//! The tables of the file, and what changes do to them.
//!
//! Guests, images and events are JSON, which a person can read when all else fails.

use std::path::Path;

use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::apply::check_claim;
use super::{EVENTS, Error, Loaded, Owner};
use crate::core::{Change, ImageHash, Name};

const GUESTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("guests");
const IMAGES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("images");
/// Epochs by the guest's name.
const OWNERS: TableDefinition<'_, &str, u64> = TableDefinition::new("owners");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// In [`META`]: what the tables mean.
const FORMAT: &str = "format";
/// In [`META`]: the greatest epoch that was ever given.
const EPOCH: &str = "epoch";
/// In [`META`]: the identity of the next guest.
const NEXT_ID: &str = "next-id";
/// In [`META`]: the number of the next event.
const NEXT_SEQ: &str = "next-seq";

/// Why a transaction was given up.
pub(super) enum Bad {
    /// For a reason of ours.
    Store(Error),
    /// For one of the file's.
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Bad {
    fn from(error: E) -> Bad {
        Bad::Redb(error.into())
    }
}

/// Makes the tables where there are none; what format they have.
pub(super) fn prepare(txn: &WriteTransaction, format: u64) -> Result<u64, Bad> {
    let mut meta = txn.open_table(META)?;
    let found = meta.get(FORMAT)?.map(|v| v.value());
    if let Some(found) = found {
        return Ok(found);
    }
    meta.insert(FORMAT, format)?;
    txn.open_table(GUESTS)?;
    txn.open_table(IMAGES)?;
    txn.open_table(OWNERS)?;
    txn.open_table(LOG)?;
    Ok(format)
}

/// Reads everything.
pub(super) fn read(db: &Database, path: &Path) -> Result<Loaded, Bad> {
    let txn = db.begin_read()?;
    let mut loaded = Loaded::empty();
    for row in txn.open_table(GUESTS)?.iter()? {
        let (key, value) = row?;
        loaded.guests.insert(name(path, key.value())?, parse(path, key.value(), value.value())?);
    }
    for row in txn.open_table(IMAGES)?.iter()? {
        let (key, value) = row?;
        let hash = ImageHash::new(key.value());
        let hash = hash.map_err(|why| damaged(path, key.value(), &why.to_string()))?;
        loaded.images.insert(hash, parse(path, key.value(), value.value())?);
    }
    for row in txn.open_table(OWNERS)?.iter()? {
        let (key, value) = row?;
        loaded.owners.insert(name(path, key.value())?, Owner { epoch: value.value() });
    }
    for row in txn.open_table(LOG)?.iter()? {
        let (key, value) = row?;
        loaded.events.push(parse(path, &format!("event {}", key.value()), value.value())?);
    }
    let meta = txn.open_table(META)?;
    let number = |key: &str| meta.get(key).map(|v| v.map(|v| v.value()));
    loaded.epoch = number(EPOCH)?.unwrap_or(0);
    loaded.next_id = number(NEXT_ID)?.unwrap_or(1);
    loaded.next_seq = number(NEXT_SEQ)?.unwrap_or(1);
    Ok(loaded)
}

/// Makes changes.
pub(super) fn write(txn: &WriteTransaction, path: &Path, changes: &[Change]) -> Result<(), Bad> {
    let mut meta = txn.open_table(META)?;
    let mut owners = txn.open_table(OWNERS)?;
    for change in changes {
        match change {
            Change::Put(name, record) => {
                let json = json(path, record)?;
                txn.open_table(GUESTS)?.insert(name.as_str(), json.as_slice())?;
            }
            Change::Drop(name) => drop(txn.open_table(GUESTS)?.remove(name.as_str())?),
            Change::PutImage(hash, image) => {
                let json = json(path, image)?;
                txn.open_table(IMAGES)?.insert(hash.as_str(), json.as_slice())?;
            }
            Change::DropImage(hash) => drop(txn.open_table(IMAGES)?.remove(hash.as_str())?),
            Change::Claim { guest, held, next } => {
                let found = owners.get(guest.as_str())?.map_or(0, |v| v.value());
                let greatest = meta.get(EPOCH)?.map_or(0, |v| v.value());
                check_claim(guest, found, greatest, *held, *next).map_err(Bad::Store)?;
                owners.insert(guest.as_str(), next)?;
                meta.insert(EPOCH, next)?;
            }
            Change::Own { guest, epoch } => {
                let greatest = meta.get(EPOCH)?.map_or(0, |v| v.value());
                owners.insert(guest.as_str(), epoch)?;
                meta.insert(EPOCH, greatest.max(*epoch))?;
            }
            Change::Release(name) => drop(owners.remove(name.as_str())?),
            Change::NextId(next) => drop(meta.insert(NEXT_ID, next)?),
            Change::Event(event) => {
                let json = json(path, event)?;
                txn.open_table(LOG)?.insert(event.seq, json.as_slice())?;
                meta.insert(NEXT_SEQ, event.seq + 1)?;
            }
        }
    }
    let mut log = txn.open_table(LOG)?;
    while log.len()? > EVENTS {
        log.pop_first()?;
    }
    Ok(())
}

/// Under which epoch a guest is held.
pub(super) fn owner(db: &Database, guest: &Name) -> Result<Option<Owner>, redb::Error> {
    let txn = db.begin_read()?;
    let found = txn.open_table(OWNERS)?.get(guest.as_str())?.map(|v| v.value());
    Ok(found.map(|epoch| Owner { epoch }))
}

/// Lets go of a guest that is held under this epoch.
pub(super) fn release(txn: &WriteTransaction, guest: &Name, held: u64) -> Result<(), Bad> {
    let mut owners = txn.open_table(OWNERS)?;
    let found = owners.get(guest.as_str())?.map_or(0, |v| v.value());
    check_claim(guest, found, 0, held, 1).map_err(Bad::Store)?;
    owners.remove(guest.as_str())?;
    Ok(())
}

fn name(path: &Path, text: &str) -> Result<Name, Bad> {
    Name::new(text).map_err(|why| damaged(path, text, &why.to_string()))
}

fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, Bad> {
    serde_json::to_vec(value)
        .map_err(|e| Bad::Store(Error::Io { path: path.into(), why: e.to_string() }))
}

fn parse<T: DeserializeOwned>(path: &Path, what: &str, bytes: &[u8]) -> Result<T, Bad> {
    serde_json::from_slice(bytes).map_err(|e| damaged(path, what, &e.to_string()))
}

fn damaged(path: &Path, what: &str, why: &str) -> Bad {
    let why = format!("the entry of {}: {why}", what.escape_default());
    Bad::Store(Error::Damaged { path: path.into(), why })
}
