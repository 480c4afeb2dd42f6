//! From `xl create` to the guest's first answer, `xl create` alone, and the same by the supervisor.
//!
//! Who waits for the guest finds its number as a supervisor does, in XenStore, and waits there
//! for its stream, while `xl` is still at work. Alone, nobody waits for anything. The supervisor
//! is told to start a guest by a line in its `ctl`, and the guest asked for a file through it, as
//! a user does both. It is there all the time, and at rest when others are timed; a prepared shell is
//! there only for the start that takes it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use atoll_9p::client::blocking::Connection;
use atoll_xen::dom0::{Store, Stream};
use atoll_xen::store::{NO_TRANSACTION, Request};
use atoll_xen::vchan::{EVENT_CHANNEL, Takes};

use super::dom0::{self, PATIENCE, control, domains, ms, note, version, xl};
use super::{ATOLL, HELLO, Seen};
use crate::load::frame::{answer, ty};
use crate::p9::place::Place;
use crate::supervisor::daemon::{self, Daemon};

/// The supervisor's guest.
const GUEST: &str = "supervised";

pub(super) fn run(runs: usize) -> Result<Seen> {
    let mut seen = Seen::new();
    let place = Place::empty()?;
    let daemon = Daemon::in_dom0(&place, Path::new(ATOLL), "16M")?;
    let client = daemon.client()?;
    let hash = daemon.image(Path::new(&format!("/mnt/{HELLO}.img")))?;
    let config = format!("image = \"{hash}\"\non = \"xen\"\n");
    daemon::define_as(&client, GUEST, &config)?;
    let has_shells = |n: usize| -> Result<()> {
        let config = format!("{config}shells = {n}\n");
        client.write(&format!("guests/{GUEST}/config"), config.as_bytes())?;
        daemon::tell(&client, GUEST, "commit")?;
        calm(&client, n)
    };
    for round in 0..=runs {
        // None is always the first.
        let mut took = [0.0; 4];
        for part in 0..4 {
            let i = (round + part) % 4;
            has_shells(usize::from(i == 3))?;
            took[i] = match i {
                0 => replied()?,
                1 => alone()?,
                _ => supervised(&client)?,
            };
            if i < 2 {
                xl(&["destroy", HELLO])?;
            }
        }
        // The first round fills caches and is not counted.
        if round > 0 {
            for (name, took) in ["reply", "alone", "plain", "shelled"].iter().zip(took) {
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

/// The supervisor's guest, which is killed afterwards.
fn supervised(client: &Connection) -> Result<f64> {
    let begin = Instant::now();
    daemon::tell(client, GUEST, "start")?;
    daemon::ask(client, GUEST)?;
    let took = ms(begin);
    // If there was a shell it is the supervisor's no more.
    ensure!(!listed(client)?.contains(&"ready".to_owned()), "the shell was not taken");
    daemon::tell(client, GUEST, "kill")?;
    Ok(took)
}

/// The phases of the supervisor's shells.
fn listed(client: &Connection) -> Result<Vec<String>> {
    let shown = String::from_utf8(client.read("xen/shells")?)?;
    let words = shown.lines().filter_map(|line| line.split(' ').next());
    Ok(words.filter(|w| !["most", "cost"].contains(w)).map(str::to_owned).collect())
}

/// Waits until there are so many shells and no other domain: nobody has anything to do then.
fn calm(client: &Connection, shells: usize) -> Result<()> {
    let mut store = Store::open()?;
    let until = Instant::now() + PATIENCE;
    while domains(&mut store)?.len() != 1 + shells || listed(client)? != vec!["ready"; shells] {
        ensure!(Instant::now() < until, "domains do not go away, or no shell is made");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}
