//! One thing that is done with several guests, at the same time.
//!
//! A guest may take its time to start or to stop, and what one of them does or fails to do
//! is nothing to the others. So each is asked for at once, over a connection of its own, and
//! each is reported, in the order in which they were named.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use super::connect;
use crate::cli::files::print;
use crate::cli::progress::{Progress, Size};
use crate::conn::{Conn, Error};

/// Guests that are asked something of at the same time, as long as there are more.
const AT_ONCE: usize = 32;

/// What has become of the guests, by their place in the list of them.
type Done = mpsc::UnboundedSender<(usize, anyhow::Result<()>)>;

/// What is left to be done.
struct Work<F> {
    guests: Vec<String>,
    next: RefCell<std::ops::Range<usize>>,
    what: F,
    done: Done,
}

impl<F: AsyncFn(&mut Conn, &str) -> anyhow::Result<()>> Work<F> {
    async fn run(&self, mut conn: Conn) {
        loop {
            let Some(i) = self.next.borrow_mut().next() else { return };
            let done = (self.what)(&mut conn, &self.guests[i]).await;
            let _ = self.done.send((i, done));
        }
    }
}

/// Does it, which is called so. Every name is printed that it was done with; of those it
/// failed for, all are told why, the last one by whoever called this.
pub(super) async fn each<F>(guests: Vec<String>, verb: &str, what: F) -> anyhow::Result<bool>
where
    F: AsyncFn(&mut Conn, &str) -> anyhow::Result<()> + 'static,
{
    // Where there is no supervisor, that is said once.
    let first = connect().await?;
    let (done, results) = mpsc::unbounded_channel();
    let next = RefCell::new(0..guests.len());
    let names = guests.clone();
    let work = Rc::new(Work { guests, next, what, done });
    let local = LocalSet::new();
    let mut workers = JoinSet::new();
    let more = names.len().min(AT_ONCE) - 1;
    let mine = work.clone();
    workers.spawn_local_on(async move { mine.run(first).await }, &local);
    for _ in 0..more {
        let work = work.clone();
        let worker = async move {
            // Who gets no connection leaves it to the others.
            if let Ok(conn) = connect().await {
                work.run(conn).await;
            }
        };
        workers.spawn_local_on(worker, &local);
    }
    drop(work);
    local.run_until(report(&names, verb, results)).await
}

/// Tells what becomes of each.
async fn report(
    guests: &[String],
    verb: &str,
    mut results: mpsc::UnboundedReceiver<(usize, anyhow::Result<()>)>,
) -> anyhow::Result<bool> {
    let mut early: Vec<Option<anyhow::Result<()>>> = guests.iter().map(|_| None).collect();
    let mut failed: Option<anyhow::Error> = None;
    let mut told = 0;
    while told < guests.len() {
        let left = &guests[told..];
        let begun = match left {
            [one] => format!("{verb} {one}"),
            _ => format!("{verb} {} guests", left.len()),
        };
        let progress = Progress::begin(&begun, Size::Whole);
        let Some((i, done)) = results.recv().await else {
            anyhow::bail!("{verb}: nothing is known of {}", left.join(", "));
        };
        early[i] = Some(done);
        drop(progress);
        while let Some(done) = early.get_mut(told).and_then(Option::take) {
            match done {
                Ok(()) => print(format!("{}\n", guests[told]).as_bytes())?,
                Err(e) => {
                    let e = named(&guests[told], e);
                    if let Some(before) = failed.replace(e) {
                        eprintln!("atoll: {before:#}");
                    }
                }
            }
            told += 1;
        }
    }
    failed.map_or(Ok(true), Err)
}

/// What is wrong with a connection does not say whom it was about.
fn named(guest: &str, e: anyhow::Error) -> anyhow::Error {
    if e.is::<Error>() { e.context(guest.to_owned()) } else { e }
}
