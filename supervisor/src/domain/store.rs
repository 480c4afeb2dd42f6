//! What XenStore knows of domains.

use std::time::{Duration, Instant};

use anyhow::Result;
use atoll_xen::dom0::{AskError, Store};
use atoll_xen::store::{Answer, Error, NO_TRANSACTION, Request, TxId};

/// Where each domain has its nodes.
const DOMAINS: &str = "/local/domain";

/// A connection to the host's xenstored.
pub fn open() -> Result<Store> {
    Store::open().map_err(|e| match e.is_denied() {
        true => anyhow::Error::new(e).context("making domains needs root: use sudo"),
        false => anyhow::Error::new(e).context("this is no dom0"),
    })
}

/// A node's value as text; none where there is no such node.
pub(super) fn read(store: &mut Store, path: &str) -> Result<Option<String>> {
    read_in(store, NO_TRANSACTION, path)
}

/// The same, in a transaction.
pub(super) fn read_in(store: &mut Store, tx: TxId, path: &str) -> Result<Option<String>> {
    match store.ask(tx, &Request::Read(path)) {
        Ok(Answer::Value(value)) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        Ok(_) | Err(AskError::Store(Error::ENOENT)) => Ok(None),
        Err(e) => Err(anyhow::anyhow!("{path}: {e}")),
    }
}

/// Asks to be told of changes.
pub(super) fn watch(store: &mut Store, path: &str) -> Result<()> {
    let asked = store.ask(NO_TRANSACTION, &Request::Watch(path, "domain"));
    asked.map_err(|e| anyhow::anyhow!("{path}: {e}"))?;
    Ok(())
}

fn all(store: &mut Store, tx: TxId) -> Result<Vec<u16>> {
    match store.ask(tx, &Request::Directory(DOMAINS)) {
        Ok(Answer::Names(names)) => Ok(names.iter().filter_map(|n| n.parse().ok()).collect()),
        Ok(_) => Ok(Vec::new()),
        Err(e) => Err(anyhow::anyhow!("{DOMAINS}: {e}")),
    }
}

/// The domain of which a node has that value, in a transaction.
pub(super) fn find_in(store: &mut Store, tx: TxId, key: &str, value: &str) -> Result<Option<u16>> {
    for domid in all(store, tx)? {
        if read_in(store, tx, &format!("{DOMAINS}/{domid}/{key}"))?.as_deref() == Some(value) {
            return Ok(Some(domid));
        }
    }
    Ok(None)
}

/// The domain of this name.
pub(super) fn by_name(store: &mut Store, name: &str) -> Result<Option<u16>> {
    find_in(store, NO_TRANSACTION, "name", name)
}

/// The domain of this number for ever.
pub(super) fn by_uuid(store: &mut Store, uuid: &str) -> Result<Option<u16>> {
    find_in(store, NO_TRANSACTION, "vm", &format!("/vm/{uuid}"))
}

/// The name by which `xl` knows a domain now, so that it may end.
pub(super) fn path(domid: u16, rest: &str) -> String {
    format!("{DOMAINS}/{domid}/{rest}")
}

/// Waits until a name is free; that of a domain that is being destroyed soon is. Whose it
/// is if it is not.
pub(super) fn wait_free(store: &mut Store, name: &str, patience: Duration) -> Result<Option<u16>> {
    if by_name(store, name)?.is_none() {
        return Ok(None);
    }
    watch(store, "@releaseDomain")?;
    let until = Instant::now() + patience;
    loop {
        let Some(domid) = by_name(store, name)? else { return Ok(None) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Some(domid));
        }
        store.wait_event(left).map_err(|e| anyhow::anyhow!("{e}"))?;
    }
}
