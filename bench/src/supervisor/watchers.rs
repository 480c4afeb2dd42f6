//! From the command that makes something happen to the last of those who watch.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use atoll_9p::types::unlink;

use super::daemon::Daemon;
use crate::density::limits::Descriptors;
use crate::figure::Figure;
use crate::load::frame::{self, READ_DATA, answer, ty};
use crate::load::link::Link;
use crate::p9::place::Place;
use crate::samples::Samples;
use crate::urgent::Urgent;

/// Connections that wait for the next line of `/log`.
const WATCHERS: usize = 1000;
/// Milliseconds until the last has it.
const GOAL: f64 = 50.0;
/// Bytes of a read.
const COUNT: u32 = 4096;
/// The guest whose line is the last that does not count.
const FIRST: &str = "first";
/// The fid of `/log`.
const LOG: u32 = 1;

/// Somebody who watches.
struct Watcher {
    link: Link,
    /// How much was read.
    offset: u64,
}

impl Watcher {
    fn new(socket: &Path) -> Result<Watcher> {
        let socket = UnixStream::connect(socket).context("cannot connect to the supervisor")?;
        let mut link = Link::open(socket, COUNT + frame::IO_HEADER, "", &[])?;
        link.walk(LOG, &["log"])?;
        link.lopen(LOG, 0)?;
        let mut watcher = Watcher { link, offset: 0 };
        // What has happened already is of no interest.
        watcher.ask()?;
        watcher.hear(&format!(" {FIRST} 0 defined"))?;
        watcher.ask()?;
        Ok(watcher)
    }

    fn ask(&mut self) -> Result<()> {
        self.link.send_one(&frame::read(0, LOG, self.offset, COUNT))
    }

    /// Reads until this was told.
    fn hear(&mut self, what: &str) -> Result<()> {
        loop {
            let Some(range) = self.link.take()? else {
                self.link.receive()?;
                continue;
            };
            let read = answer(self.link.bytes(range), ty::TREAD, READ_DATA - frame::HEADER)?;
            let data = read.get(READ_DATA - frame::HEADER..).unwrap_or_default();
            let (told, count) = (String::from_utf8_lossy(data).contains(what), data.len());
            self.offset += count as u64;
            if told {
                return Ok(());
            }
            self.ask()?;
        }
    }
}

pub(super) fn run(
    place: &Place,
    atoll: &Path,
    tender: &Path,
    runs: usize,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>> {
    let _more = Descriptors::at_least(WATCHERS as u64 + 100, say)?;
    let daemon = Daemon::urgent(place, atoll, tender)?;
    let client = daemon.client()?;
    client.mkdir(&format!("guests/{FIRST}"), 0o700)?;
    let socket = daemon.socket();
    let mut watchers: Vec<Watcher> =
        (0..WATCHERS).map(|_| Watcher::new(&socket)).collect::<Result<_>>()?;
    let mut times = Samples::default();
    let _urgent = Urgent::new();
    for round in 0..=runs {
        say(&format!("{WATCHERS} watchers: round {round} of {runs}"));
        let name = format!("event-{round}");
        let begin = Instant::now();
        client.mkdir(&format!("guests/{name}"), 0o700)?;
        for watcher in &mut watchers {
            watcher.hear(&format!(" {name} 0 defined"))?;
        }
        // The first round fills caches and is not counted.
        if round > 0 {
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        watchers.iter_mut().try_for_each(Watcher::ask)?;
        client.remove(&format!("guests/{name}"), unlink::DIR)?;
        // That is an event too. Who had not heard it yet would ask twice in the next round, one
        // after the other, and that would be what is measured.
        for watcher in &mut watchers {
            watcher.hear(&format!(" {name} 0 forgotten"))?;
            watcher.ask()?;
        }
    }
    client.remove(&format!("guests/{FIRST}"), unlink::DIR)?;
    let spread = times.spread().context("no runs")?;
    let case = format!("an event to {WATCHERS} watchers");
    let figure = Figure::new("supervisor", &case, "the last has it after", "ms", spread.median);
    Ok(figure.at_most(GOAL).with(spread))
}
