//! What `atoll top` asks, once a second: three files for everything, however many guests
//! there are, and of the guests whose rows are in sight how much they do, which only they
//! themselves can tell.
//!
//! All of it is on one connection. When that breaks it says so and tries for another one.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use atoll_9p::client::tokio::{Connection, Error as Failure, File};
use atoll_9p::types::OpenFlags;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::sample::Sample;
use crate::address::Address;
use crate::conn::{Conn, Error};
use crate::serve::state::wall;

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(3);
/// How often to try for a supervisor that is not there.
const AGAIN: Duration = Duration::from_millis(500);
/// The most bytes of a file.
const MOST: usize = 16 << 20;

/// What becomes known.
#[derive(Debug)]
pub(super) enum News {
    /// How things are.
    Sample(Sample),
    /// How many dispatches a guest has committed, at a time.
    Dispatched(u64, String, u64),
    /// There is no supervisor, and why.
    Lost(String),
}

/// A task that ends with this value.
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn new(f: impl Future<Output = ()> + 'static) -> Task {
        Task(spawn_local(f))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks, for as long as somebody listens. `seen` are the guests in sight; `now` asks out of
/// turn.
pub(super) async fn feed(
    address: Address,
    mut seen: watch::Receiver<Vec<String>>,
    now: Rc<Notify>,
    out: mpsc::UnboundedSender<News>,
) {
    let begun = Instant::now();
    while !out.is_closed() {
        let why = match Conn::open(&address, LIMIT).await {
            Ok(conn) => {
                let why = attend(&conn.shared(), begun, &mut seen, &now, &out).await;
                format!("lost the supervisor: {why}")
            }
            Err(Error::NoSupervisor { .. }) => "no supervisor; start one with: atoll serve".into(),
            Err(e) => e.to_string(),
        };
        let _ = out.send(News::Lost(why));
        sleep(AGAIN).await;
    }
}

fn ms(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn text(file: &File) -> Result<String, Failure> {
    let bytes = file.read_to_end(0, MOST).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Asks until the connection fails: why.
async fn attend(
    conn: &Connection,
    begun: Instant,
    seen: &mut watch::Receiver<Vec<String>>,
    now: &Notify,
    out: &mpsc::UnboundedSender<News>,
) -> String {
    let open = |path| conn.open(path, OpenFlags::RDONLY);
    let files = async {
        Ok::<_, Failure>((
            open("stats").await?,
            open("host/cpu").await?,
            open("host/memory").await?,
        ))
    };
    let (stats, cpu, memory) = match timeout(LIMIT, files).await {
        Ok(Ok(files)) => files,
        Ok(Err(e)) => return format!("its files cannot be read: {e}"),
        Err(_) => return format!("no answer within {LIMIT:?}"),
    };
    let mut meters: HashMap<String, Task> = HashMap::new();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    seen.mark_changed();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = now.notified() => {}
            changed = seen.changed() => {
                if changed.is_err() {
                    return String::new();
                }
                let names = seen.borrow_and_update().clone();
                meters.retain(|name, _| names.contains(name));
                for name in names {
                    let (conn, out) = (conn.clone(), out.clone());
                    let begin = || Task::new(meter(conn, begun, name.clone(), out));
                    meters.entry(name.clone()).or_insert_with(begin);
                }
                continue;
            }
        }
        let asked = async {
            Ok::<_, Failure>((text(&stats).await?, text(&cpu).await?, text(&memory).await?))
        };
        let (stats, cpu, memory) = match timeout(LIMIT, asked).await {
            Ok(Ok(texts)) => texts,
            Ok(Err(e)) => return e.to_string(),
            Err(_) => return format!("no answer within {LIMIT:?}"),
        };
        let sample = Sample::read(ms(begun), wall(), &stats, &cpu, &memory);
        if out.send(News::Sample(sample)).is_err() {
            return String::new();
        }
    }
}

/// Asks one guest how much it does. It may take its time for an answer, and may end.
async fn meter(conn: Connection, begun: Instant, guest: String, out: mpsc::UnboundedSender<News>) {
    let path = format!("guests/{guest}/fs/stats");
    loop {
        if let Ok(file) = conn.open(&path, OpenFlags::RDONLY).await {
            while let Ok(text) = text(&file).await {
                let found = text.lines().find_map(|l| l.strip_prefix("dispatches "));
                let Some(count) = found.and_then(|n| n.parse().ok()) else { break };
                if out.send(News::Dispatched(ms(begun), guest.clone(), count)).is_err() {
                    return;
                }
                sleep(EVERY).await;
            }
        }
        sleep(EVERY).await;
    }
}
