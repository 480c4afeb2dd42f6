//! Reads the `stats` of guests of which something is expected, and tells the core what comes
//! of it.
//!
//! What to ask and when is [`Watch`]'s to say; this is the waiting in between. The guest is
//! reached at a socket of its shim's for that alone, so that to be looked at is no work; the
//! shim says when somebody else asks something. While nobody does, this holds no connection
//! and does nothing.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::daemon::Daemon;
use crate::address::Address;
use crate::conn::{Conn, Error};
use crate::core::define::Expect;
use crate::core::stutter::{Verdict, WINDOW};
use crate::core::watch::{Figures, Watch};
use crate::core::{Input, Name};
use crate::shim::Shim;

/// How long an answer is waited for before the connection is given up. That it is late is
/// told long before.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// What is known of a run that is watched. Clones are the same.
#[derive(Clone)]
pub(super) struct Watched {
    watch: Rc<RefCell<Watch>>,
    asked: Rc<Notify>,
}

impl Watched {
    pub(super) fn new(expect: Expect) -> Watched {
        Watched { watch: Rc::new(RefCell::new(Watch::new(expect))), asked: Rc::default() }
    }

    /// Somebody has asked something of the guest.
    pub(super) fn asked(&self) {
        self.asked.notify_one();
    }

    /// It stands still, as was wanted.
    pub(super) fn rest(&self) {
        self.watch.borrow_mut().rest();
    }

    /// Watches it for as long as it is let.
    pub(super) async fn go_on(self, daemon: &Daemon, guest: &Name, run: u64, shim: &Shim) {
        // A shim of an older program knows no such thing, and one that is gone says so by
        // other means.
        if self.look(daemon, guest, run, shim).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn look(
        &self,
        daemon: &Daemon,
        guest: &Name,
        run: u64,
        shim: &Shim,
    ) -> Result<Infallible, crate::shim::Error> {
        let now = || daemon.with(|s| s.now().mono);
        let tell = |verdict: Option<Verdict>| {
            if let Some(verdict) = verdict {
                daemon.input(Input::Judged { guest: guest.clone(), run, verdict });
            }
        };
        let at = Address::Unix(shim.own_socket());
        let mut conn = None;
        loop {
            // Before the question: what is asked behind it is not missed.
            shim.heed().await?;
            self.watch.borrow_mut().ask(now());
            let answer = {
                let answer = stats(&mut conn, &at);
                tokio::pin!(answer);
                loop {
                    tokio::select! {
                        answer = &mut answer => break answer,
                        () = sleep(Duration::from_millis(WINDOW)) => {
                            let verdict = self.watch.borrow_mut().silence(now());
                            tell(verdict);
                        }
                    }
                }
            };
            match answer.map(|text| Figures::parse(&text)) {
                Ok(Some(figures)) => {
                    let verdict = self.watch.borrow_mut().answer(now(), figures);
                    tell(verdict);
                }
                // It is no guest of ours, and says nothing of what it does.
                Ok(None) | Err(Error::Refused(_)) => std::future::pending().await,
                Err(_) => {
                    conn = None;
                    sleep(Duration::from_millis(WINDOW)).await;
                    continue;
                }
            }
            let mut asked = false;
            let due = loop {
                let due = self.watch.borrow().due(now(), asked);
                if let Some(due) = due {
                    break due;
                }
                conn = None;
                self.asked.notified().await;
                asked = true;
            };
            sleep(Duration::from_millis(due.saturating_sub(now()))).await;
        }
    }
}

/// Reads a guest's `stats`, over the connection that there is or a new one.
async fn stats(conn: &mut Option<Conn>, at: &Address) -> Result<String, Error> {
    let conn = match conn {
        Some(conn) => conn,
        None => conn.insert(Conn::open(at, NEVER).await?),
    };
    let bytes = conn.read_file("stats").await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
