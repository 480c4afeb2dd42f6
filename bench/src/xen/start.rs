//! From `xl create` to the guest's first answer, and `xl create` alone.
//!
//! Who waits for the guest finds its number as a supervisor does, in XenStore, and waits there
//! for its stream, while `xl` is still at work. Alone, nobody waits for anything. A prepared
//! shell is there before that, paused before its first instruction; it is given its name and
//! let run.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use atoll_xen::dom0::{Store, Stream, unpause};
use atoll_xen::store::{NO_TRANSACTION, Request};
use atoll_xen::vchan::{EVENT_CHANNEL, Takes};

use super::dom0::{self, PATIENCE, control, domains, ms, note, version, xl};
use super::{HELLO, SHELL, Seen};
use crate::load::frame::{answer, ty};

pub(super) fn run(runs: usize) -> Result<Seen> {
    let mut seen = Seen::new();
    for round in 0..=runs {
        // None is always the first.
        let mut took = [0.0; 3];
        for part in 0..3 {
            let i = (round + part) % 3;
            took[i] = match i {
                0 => replied()?,
                1 => alone()?,
                _ => prepared()?,
            };
            xl(&["destroy", HELLO])?;
            gone()?;
        }
        // The first round fills caches and is not counted.
        if round > 0 {
            for (name, took) in ["reply", "alone", "shell"].iter().zip(took) {
                note(&mut seen, name, took);
            }
        }
    }
    Ok(seen)
}

fn create() -> Command {
    let mut xl = Command::new("xl");
    xl.args(["create", "-q", &format!("/mnt/{HELLO}.cfg")]);
    xl.stdin(Stdio::null()).stdout(Stdio::null());
    xl
}

fn alone() -> Result<f64> {
    let begin = Instant::now();
    let status = create().status()?;
    let took = ms(begin);
    ensure!(status.success(), "xl create failed");
    Ok(took)
}

fn replied() -> Result<f64> {
    let mut store = Store::open()?;
    store.ask(NO_TRANSACTION, &Request::Watch("@introduceDomain", "new"))?;
    let before = domains(&mut store)?;
    let begin = Instant::now();
    let mut xl = create().spawn()?;
    let domid = loop {
        if let Some(new) = domains(&mut store)?.into_iter().find(|d| !before.contains(d)) {
            break new;
        }
        store.wait_event(PATIENCE)?.context("there is no new domain")?;
    };
    let reply = first(store, domid)?;
    let took = ms(begin);
    answer(&reply, ty::TVERSION, 6)?;
    ensure!(xl.wait()?.success(), "xl create failed");
    Ok(took)
}

/// From the moment when a shell that is there is taken.
fn prepared() -> Result<f64> {
    xl(&["create", "-q", "-p", &format!("/mnt/{SHELL}.cfg")])?;
    let domid = dom0::domid(SHELL)?;
    let begin = Instant::now();
    let mut store = Store::open()?;
    let name = format!("/local/domain/{domid}/name");
    store.ask(NO_TRANSACTION, &Request::Write(&name, HELLO.as_bytes()))?;
    unpause(domid)?;
    let reply = first(store, domid)?;
    let took = ms(begin);
    answer(&reply, ty::TVERSION, 6)?;
    Ok(took)
}

/// Waits until a domain serves: its answer to the first question of all.
fn first(mut store: Store, domid: u16) -> Result<Vec<u8>> {
    let path = control(domid);
    let port = format!("{path}/{EVENT_CHANNEL}");
    store.ask(NO_TRANSACTION, &Request::Watch(&port, "port"))?;
    while store.ask(NO_TRANSACTION, &Request::Read(&port)).is_err() {
        store.wait_event(PATIENCE)?.context("the guest does not come up")?;
    }
    let mut stream = Stream::open(store, domid, &path, Takes::Fresh, PATIENCE)?;
    dom0::call(&mut stream, &version(8192))
}

/// Waits until XenStore knows of no domain but this one: `xl` has then nothing to do.
fn gone() -> Result<()> {
    let mut store = Store::open()?;
    let until = Instant::now() + PATIENCE;
    while domains(&mut store)?.len() > 1 {
        ensure!(Instant::now() < until, "a domain does not go away");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}
