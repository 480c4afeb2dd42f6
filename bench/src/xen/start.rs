//! From `xl create` to the guest's first answer, and `xl create` alone.
//!
//! Who waits for the guest finds its number as a supervisor does, in XenStore, and waits there
//! for its stream, while `xl` is still at work. Alone, nobody waits for anything.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use atoll_xen::dom0::{Store, Stream};
use atoll_xen::store::{NO_TRANSACTION, Request};
use atoll_xen::vchan::{EVENT_CHANNEL, Takes};

use super::dom0::{self, PATIENCE, control, domains, ms, note, version, xl};
use super::{HELLO, Seen};
use crate::load::frame::{answer, ty};

pub(super) fn run(runs: usize) -> Result<Seen> {
    let mut seen = Seen::new();
    for round in 0..=runs {
        // Neither is always the first.
        let mut took = [0.0; 2];
        for i in [round % 2, 1 - round % 2] {
            took[i] = if i == 0 { replied()? } else { alone()? };
            xl(&["destroy", HELLO])?;
            gone()?;
        }
        // The first round fills caches and is not counted.
        if round > 0 {
            note(&mut seen, "reply", took[0]);
            note(&mut seen, "alone", took[1]);
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
    let path = control(domid);
    let port = format!("{path}/{EVENT_CHANNEL}");
    store.ask(NO_TRANSACTION, &Request::Watch(&port, "port"))?;
    while store.ask(NO_TRANSACTION, &Request::Read(&port)).is_err() {
        store.wait_event(PATIENCE)?.context("the guest does not come up")?;
    }
    let mut stream = Stream::open(store, domid, &path, Takes::Fresh, PATIENCE)?;
    let reply = dom0::call(&mut stream, &version(8192))?;
    let took = ms(begin);
    answer(&reply, ty::TVERSION, 6)?;
    drop(stream);
    ensure!(xl.wait()?.success(), "xl create failed");
    Ok(took)
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
