//! `atoll top`: all guests, live.
//!
//! What is known and shown is in [`model`], which has neither clock nor terminal; this file
//! is where it meets both. Keys and figures come as messages, and after each heap of them
//! there is one picture.

mod columns;
mod feed;
mod figures;
mod keys;
mod model;
mod sample;
#[cfg(test)]
mod tests;
mod view;

use std::io::IsTerminal;
use std::rc::Rc;
use std::time::Duration;

use atoll_9p::types::OpenFlags;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;

use super::{connect, path, supervisor, tell};
use crate::cli::Usage;
use crate::cli::tail::follow;
use feed::{News, Task};
use keys::Action;
use model::Model;
use view::Look;

#[derive(Debug, clap::Args)]
pub(crate) struct Top {}

pub(crate) const HELP: &str = "\
Keys: up, down choose a guest; p pauses it or lets it go on, k kills it (and asks first), l shows \
what it says; c m d u n s sort, r reverses; q quits, ? says all of them.

CPU is in percent of one processor. Dispatches are asked of the guests whose rows are in sight. \
Colours are left out if $NO_COLOR is set.";

/// Lines of a log that are shown at first.
const LINES: usize = 100;
/// How long a picture waits for what comes at the same time.
const TOGETHER: Duration = Duration::from_millis(20);

/// Gives the terminal back, whatever happens.
struct Screen(ratatui::DefaultTerminal);

impl Screen {
    fn take() -> anyhow::Result<Screen> {
        // It restores the terminal in a panic too.
        Ok(Screen(ratatui::try_init()?))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// What comes from elsewhere than the supervisor's figures.
enum Word {
    Event(Event),
    /// What came of a command.
    Done(String),
    /// What a guest said.
    Said(String, Vec<u8>),
}

pub(crate) async fn top(_: Top) -> anyhow::Result<bool> {
    let dumb = std::env::var_os("TERM").is_none_or(|t| t.is_empty() || t == "dumb");
    if dumb || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let text = "top needs a terminal; `atoll ps` and `atoll stats` (--json) print the same \
                    figures once";
        return Err(Usage(text.into()).into());
    }
    // What is wrong with the first connection is told in the usual words.
    drop(connect().await?);
    LocalSet::new().run_until(work()).await
}

/// Passes on what happens at the terminal. The thread ends with the process.
fn listen(out: mpsc::UnboundedSender<Word>) {
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if out.send(Word::Event(event)).is_err() {
                return;
            }
        }
    });
}

async fn work() -> anyhow::Result<bool> {
    let colours = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let look = Look { colours };
    let (tell_news, mut news) = mpsc::unbounded_channel();
    let (say, mut words) = mpsc::unbounded_channel();
    let (see, seen) = watch::channel(Vec::new());
    let now = Rc::new(Notify::new());
    let _feed = Task::new(feed::feed(supervisor()?, seen, now.clone(), tell_news));
    let mut signals = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ];
    let [terminate, interrupt, hangup] = &mut signals;
    let mut screen = Screen::take()?;
    listen(say.clone());
    let mut model = Model::new();
    let mut followed = None;
    loop {
        screen.0.draw(|frame| view::draw(&mut model, look, frame))?;
        see.send_if_modified(|names| {
            let now = model.seen();
            let changed = *names != now;
            *names = now;
            changed
        });
        let word = tokio::select! {
            Some(first) = news.recv() => {
                // Guests answer one after the other: one picture for all of them.
                tokio::time::sleep(TOGETHER).await;
                take(&mut model, first);
                while let Ok(more) = news.try_recv() {
                    take(&mut model, more);
                }
                continue;
            }
            Some(word) = words.recv() => word,
            _ = terminate.recv() => return Ok(true),
            _ = interrupt.recv() => return Ok(true),
            _ = hangup.recv() => return Ok(true),
            else => return Ok(false),
        };
        let action = match word {
            Word::Event(Event::Key(key)) => model.key(key),
            Word::Event(_) => None,
            Word::Done(text) => {
                model.note = Some(text);
                now.notify_one();
                None
            }
            Word::Said(guest, bytes) => {
                model.said(&guest, &bytes);
                None
            }
        };
        match action {
            Some(Action::Quit) => return Ok(true),
            Some(Action::Tell(guest, line)) => {
                let say = say.clone();
                tokio::task::spawn_local(async move {
                    let text = command(&guest, line).await;
                    let _ = say.send(Word::Done(text));
                });
            }
            Some(Action::Follow(guest)) => {
                drop(followed.replace(Task::new(said(guest, say.clone()))));
            }
            Some(Action::Ignore) => drop(followed.take()),
            None => {}
        }
    }
}

fn take(model: &mut Model, news: News) {
    match news {
        News::Sample(sample) => model.sample(sample),
        News::Dispatched(at, guest, count) => model.dispatched(at, &guest, count),
        News::Lost(why) => model.lost(why),
    }
}

/// Has a guest do something: what came of it.
async fn command(guest: &str, line: &str) -> String {
    let done = async { tell(&mut connect().await?, guest, line).await };
    match done.await {
        Ok(()) => match line {
            "kill" => format!("{guest} was killed"),
            "pause" => format!("{guest} stands still"),
            _ => format!("{guest} goes on"),
        },
        Err(e) => format!("{e:#}"),
    }
}

/// Passes on what a guest says.
async fn said(guest: String, say: mpsc::UnboundedSender<Word>) {
    let told = async {
        let mut conn = connect().await?;
        conn.walk(&path(&guest, "log")?).await?;
        conn.open_file(OpenFlags::RDONLY).await?;
        let mut pass = |bytes: &[u8]| {
            let _ = say.send(Word::Said(guest.clone(), bytes.to_vec()));
            Ok(())
        };
        follow(&conn, Some(LINES), true, &mut pass).await
    };
    if let Err(e) = told.await {
        let _ = say.send(Word::Done(format!("{guest}: its log cannot be read: {e:#}")));
    }
}
