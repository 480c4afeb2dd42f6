//! Prepared shells: domains that were made ahead of need, and stand before their first
//! instruction until a guest takes one.
//!
//! What is in a domain before it runs is its [`Kind`]; all else a guest is given afterwards: its
//! name, its streams, the time of day. So one is taken by its name being written into XenStore
//! and by being let run, and `xl`, which is what takes long, has no part in it.
//!
//! Whose a shell is, is told by its record, a file with its UUID that is there before the domain
//! is and goes after it, and by the lock of that file. Who has the lock may give the domain a
//! name, let it run or destroy it: the supervisor, then `xl` while it makes the domain, then the
//! process that stands for the guest which takes it, and the keeper, which inherits the lock. The kernel gives the lock back with the process, so what
//! is left of those who were killed is a record that can be locked, and a domain is destroyed
//! for nothing else: its name says nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use atoll_config::xl::{Domain, Then};
use atoll_xen::dom0::{AskError, Store, unpause};
use atoll_xen::store::{Answer, Error, NO_TRANSACTION, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, MemfdFlags, flock, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::pool::Kind;
use super::{AGAIN, XL, complaint, done, give_config, new_uuid, store};

/// How the name of each begins, for people.
const PREFIX: &str = "atoll-shell-";
/// Seconds that `xl` may take to make one.
const MADE_WITHIN: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
/// How long one may take to be gone.
const GOES_WITHIN: Duration = Duration::from_secs(60);
/// How long a guest waits for a lock: a process that is about to be another program has all files
/// of the one before for a moment.
const LOCKED_WITHIN: Duration = Duration::from_millis(300);
/// How often a transaction that others got in the way of is tried.
const TRIES: usize = 16;

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    uuid: String,
    kind: Kind,
}

/// A shell that nobody else may do anything about.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    uuid: String,
    /// None if the record was never written, and so there never was a domain.
    kind: Option<Kind>,
    file: File,
}

/// Why one cannot be had.
#[derive(Debug)]
pub enum Lack {
    /// There is none.
    None,
    /// Somebody has it.
    Busy,
}

/// Where the records are.
pub fn folder(state: &Path) -> PathBuf {
    state.join("shells")
}

fn lock(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

impl Held {
    /// A record for one that is to be made.
    pub fn new(folder: &Path, kind: &Kind) -> Result<Held> {
        let uuid = new_uuid()?;
        let path = folder.join(&uuid);
        let mut file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        ensure!(lock(&file) && file.metadata()?.nlink() > 0, "somebody has taken it");
        let record = Record { uuid: uuid.clone(), kind: kind.clone() };
        if let Err(e) = file.write_all(&serde_json::to_vec(&record)?) {
            let _ = std::fs::remove_file(&path);
            return Err(e).context(path.display().to_string());
        }
        Ok(Held { path, uuid, kind: Some(kind.clone()), file })
    }

    /// One that has a record already, if nobody else has it.
    pub fn lock(path: &Path, patience: Duration) -> Result<Result<Held, Lack>> {
        let until = Instant::now() + patience;
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Err(Lack::None)),
            Err(e) => return Err(e).context(path.display().to_string()),
        };
        while !lock(&file) {
            if Instant::now() >= until {
                return Ok(Err(Lack::Busy));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Who had it may have been done with it just now.
        if file.metadata()?.nlink() == 0 {
            return Ok(Err(Lack::None));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let uuid = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let record = serde_json::from_slice::<Record>(&text).ok().filter(|r| r.uuid == uuid);
        Ok(Ok(Held { path: path.into(), uuid, kind: record.map(|r| r.kind), file }))
    }

    /// Its number for ever.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// What it is called until it is taken.
    fn name(&self) -> String {
        format!("{PREFIX}{}", self.uuid.split('-').next().unwrap_or_default())
    }

    /// Whether it is there as it was made: nobody has begun to take it.
    pub fn is_whole(&self) -> Result<bool> {
        let mut store = store::open()?;
        let Some(domid) = store::by_uuid(&mut store, &self.uuid)? else { return Ok(false) };
        Ok(store::read(&mut store, &store::path(domid, "name"))? == Some(self.name()))
    }

    /// Has `xl` make it.
    pub fn make(&self) -> Result<()> {
        let kind = self.kind.as_ref().context("there is no record")?;
        let config = Domain {
            name: &self.name(),
            uuid: Some(&self.uuid),
            kernel: &kind.image.to_string_lossy(),
            memory: kind.memory,
            cmdline: &kind.launch,
            then: Then::Kept,
        }
        .config();
        let mut said = File::from(memfd_create("said", MemfdFlags::CLOEXEC)?);
        let mut xl = Command::new(XL);
        let file = give_config(&mut xl, &config)?;
        xl.args(["create", "-p", "-e", "-q", &file]);
        // It has the lock for as long as it may still make something.
        xl.stdin(self.file.try_clone()?).stdout(Stdio::null()).stderr(said.try_clone()?);
        let mut xl = xl.spawn().context("cannot start xl")?;
        let ended = pidfd_open(Pid::from_child(&xl), PidfdFlags::empty()).and_then(|process| {
            poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&MADE_WITHIN))
        });
        if !matches!(ended, Ok(1..)) {
            xl.kill()?;
        }
        let status = xl.wait()?;
        if !status.success() {
            let mut text = Vec::new();
            said.rewind()?;
            said.read_to_end(&mut text)?;
            bail!("{}", complaint(&text));
        }
        Ok(())
    }

    /// Destroys what there is of it, and then its record.
    pub fn destroy(self) -> Result<()> {
        let until = Instant::now() + GOES_WITHIN;
        // Without a record `xl` was never asked for it.
        while self.kind.is_some() {
            let Some(domid) = store::by_uuid(&mut store::open()?, &self.uuid)? else { break };
            let destroyed = done(&["destroy", &domid.to_string()]);
            if Instant::now() >= until {
                bail!("domain {domid} is not gone: {}", destroyed.err().unwrap_or_default());
            }
            if destroyed.is_err() {
                std::thread::sleep(AGAIN);
            }
        }
        self.forget()
    }

    /// Its domain is gone: so is its record.
    pub(super) fn forget(self) -> Result<()> {
        std::fs::remove_file(&self.path).with_context(|| self.path.display().to_string())
    }
}

/// Ends the `xl` that has the lock of a shell and makes it for nobody: the supervisor that told it to
/// has the file too, unless it was killed, and waits no longer for an `xl` than this does. Whether there
/// was one.
pub fn end_maker(record: &Path, kill: bool) -> Result<bool> {
    let age = std::fs::metadata(record)?.modified()?.elapsed().unwrap_or_default();
    let holders = holders(record)?;
    if age.as_secs() <= MADE_WITHIN.tv_sec as u64 || holders.is_empty() {
        return Ok(false);
    }
    let mut all = Vec::new();
    for pid in holders {
        // Whoever is gone meanwhile has no name, and is none.
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let path = format!("/proc/{}/comm", pid.as_raw_nonzero());
        if std::fs::read_to_string(path)?.trim_end() != XL {
            return Ok(false);
        }
        all.push(process);
    }
    if kill {
        for process in &all {
            super::keeper::kill(process);
        }
    }
    Ok(true)
}

/// The processes that have a file open.
fn holders(file: &Path) -> Result<Vec<Pid>> {
    let file = std::fs::canonicalize(file)?;
    let has = |pid: &Pid| {
        let all = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()));
        all.into_iter()
            .flatten()
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == file))
    };
    let number = |name: std::ffi::OsString| Pid::from_raw(name.to_str()?.parse().ok()?);
    let all = std::fs::read_dir("/proc")?.flatten().filter_map(|e| number(e.file_name()));
    Ok(all.filter(has).collect())
}

/// What a guest takes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) record: PathBuf,
    pub(super) kind: Kind,
    pub(super) name: String,
}

impl Claim {
    /// Takes it, and lets it run under the guest's name: its number. If that does not come about the shell
    /// is as it was, or is gone.
    pub(super) fn take(&self, store: &mut Store) -> Result<(u16, Held)> {
        let held = match Held::lock(&self.record, LOCKED_WITHIN)? {
            Ok(held) => held,
            Err(Lack::None) => bail!("it is gone"),
            Err(Lack::Busy) => bail!("somebody else has it"),
        };
        ensure!(held.kind.as_ref() == Some(&self.kind), "it is of another kind");
        let domid = store::by_uuid(store, &held.uuid)?.context("there is no such domain")?;
        rename(store, domid, &held, &self.name)?;
        // Without the hypercall `xl` does it, which takes longer.
        let runs = match unpause(domid) {
            Ok(()) => Ok(()),
            Err(_) => done(&["unpause", &domid.to_string()]),
        };
        if let Err(why) = runs {
            held.destroy()?;
            bail!("{why}");
        }
        Ok((domid, held))
    }
}

/// Gives a shell the name of its guest, as `xl rename` does, if no domain has that and it has its
/// own: all at once, or not.
fn rename(store: &mut Store, domid: u16, held: &Held, name: &str) -> Result<()> {
    for _ in 0..TRIES {
        let tx = match store.ask(NO_TRANSACTION, &Request::TransactionStart) {
            Ok(Answer::Transaction(tx)) => tx,
            Ok(other) => bail!("no transaction: {other:?}"),
            Err(e) => bail!("no transaction: {e}"),
        };
        let written = (|| {
            let is = |store: &mut Store, path: &str| store::read_in(store, tx, path);
            let (own, vm) = (store::path(domid, "name"), format!("/vm/{}", held.uuid));
            ensure!(is(store, &store::path(domid, "vm"))?.as_ref() == Some(&vm), "it is gone");
            ensure!(is(store, &own)? == Some(held.name()), "it has another name");
            if let Some(other) = store::find_in(store, tx, "name", name)? {
                bail!("there is a domain called {name} already (number {other})");
            }
            for path in [own, format!("{vm}/name")] {
                let asked = store.ask(tx, &Request::Write(&path, name.as_bytes())).map(drop);
                asked.map_err(|e| anyhow::anyhow!("{path}: {e}"))?;
            }
            Ok(())
        })();
        match store.ask(tx, &Request::TransactionEnd(written.is_ok())) {
            Ok(_) => return written,
            Err(AskError::Store(Error::EAGAIN)) if written.is_ok() => {}
            Err(e) => return written.and(Err(anyhow::anyhow!("its name cannot be written: {e}"))),
        }
    }
    bail!("its name cannot be written: others write all the time")
}

/// The records that there are.
pub fn records(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|e| Ok(e?.path())).collect::<std::io::Result<Vec<_>>>()?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e).context(folder.display().to_string()),
    };
    all.sort();
    Ok(all)
}

/// Memory that no domain has, as `xl` says it, in bytes.
pub fn free_memory() -> Option<u64> {
    let out = super::run(&["info", "free_memory"]).ok()?;
    let mib: u64 = String::from_utf8_lossy(&out.stdout).trim().parse().ok()?;
    Some(mib << 20)
}
