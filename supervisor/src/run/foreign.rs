//! The life of a guest that is none of ours: a machine, what it says, and its end.
//!
//! There is no tree that it could be asked through, so what it is asked goes to the machine:
//! to stop is its power button, and it is up as soon as the machine is.

use std::cell::RefCell;
use std::fs::File;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::ending::Ending;
use super::{On, Options, Outcome, Voice, plan};
use crate::backend::foreign::Foreign as Qemu;
use crate::backend::{self, Backend, Ended, Machine, Spec, Still};
use crate::foreign::Foreign as Image;
use crate::guard::Guard;
use crate::shim::{Order, Report};
use crate::socket::Private;

/// How long what it has said before its end may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The longest line of its log.
const MAX_LINE: usize = 4096;
/// Why it was turned off, as QEMU says it (QAPI, `ShutdownCause`), where that was its own
/// doing.
const SHUTDOWN: &str = "guest-shutdown";

/// A foreign guest that was started.
pub(crate) struct Foreign {
    backend: Box<dyn Backend>,
    voice: Rc<dyn Voice>,
    machine: Machine,
}

impl Foreign {
    /// Starts its machine, which holds `held` for as long as it lives. Its kernel is unpacked
    /// in `folder`.
    pub(crate) async fn start(
        options: &Options,
        folder: &Path,
        voice: &Rc<dyn Voice>,
        atoll: &Path,
        private: &Private,
        guard: &Rc<RefCell<Guard>>,
        held: Option<File>,
    ) -> anyhow::Result<Foreign> {
        if options.on == On::Process {
            bail!("this is no image of Atoll's: it runs on qemu only, not on process");
        }
        let at = || options.image.display().to_string();
        let image = Image::open(&options.image).with_context(at)?;
        let (program, accel) = plan::qemu(options, atoll, &**voice).await?;
        let spec = Spec {
            image: options.image.clone(),
            memory: options.memory.unwrap_or(image.about.memory),
            launch: image.about.append.clone(),
            calls: false,
        };
        let (kernel, initrd) = image.unpack(folder).with_context(at)?;
        let backend = Qemu { program, accel, kernel, initrd };
        let machine = backend::start(&backend, &spec, private, &mut guard.borrow_mut(), held)?;
        Ok(Foreign { backend: Box::new(backend), voice: voice.clone(), machine })
    }

    /// The number of its machine's process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.machine.pid()
    }

    /// Lives its life, to the end.
    pub(crate) async fn run(
        self,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) -> anyhow::Result<Outcome> {
        let Foreign { backend, voice, mut machine } = self;
        let (Some(serial), Some(still)) = (machine.debug.take(), machine.still.take()) else {
            bail!("a machine has its streams once");
        };
        let log = spawn_local(listen(serial, voice.clone()));
        let (to, wanted) = mpsc::unbounded_channel();
        let mut tended = spawn_local(tend(still, backend.name(), wanted, voice.clone()));
        let mut ending = Ending::default();
        let kill = ending.kill();
        let mut wait = spawn_local(async move { machine.wait(&*backend, &kill).await });
        let ended = loop {
            tokio::select! {
                ended = &mut wait => break ended??,
                Some(order) = orders.recv() => match order {
                    Order::Kill => ending.now(),
                    Order::Stop(ms) => {
                        if ending.stop(ms) {
                            voice.say("its power button is pressed");
                            voice.report(&Report::Stopping);
                            let _ = to.send(order);
                        }
                    }
                    Order::Pause | Order::Resume => drop(to.send(order)),
                    Order::Checkpoint | Order::Restore(_) | Order::Relocate(_) => {
                        let why = "it is no guest of Atoll's, and keeps no checkpoints";
                        voice.report(&Report::Failed(order, why.into()));
                    }
                },
                () = ending.late() => {}
            }
        };
        let _ = timeout(LAST_WORDS, log).await;
        let why = timeout(LAST_WORDS, &mut tended).await.ok().and_then(Result::ok).flatten();
        let (ended, asked) = (judge(ended, why.as_deref()), ending.is_asked());
        Ok(Outcome { ended, record: None, asked, refused: None })
    }
}

/// How it ended, with what the monitor said of that.
fn judge(ended: Ended, why: Option<&str>) -> Ended {
    match (ended, why) {
        (Ended::Status(0), Some(SHUTDOWN)) => Ended::Status(0),
        (Ended::Status(0), Some("guest-reset")) => {
            Ended::Lost("the machine reset itself: a reboot, a panic or a triple fault".into())
        }
        (Ended::Status(0), Some(why)) => Ended::Lost(format!("the machine was turned off: {why}")),
        (Ended::Status(0), None) => Ended::Lost("the machine was turned off".into()),
        (ended, _) => ended,
    }
}

/// Has the machine do what is wanted, in that order, and tells what came of it; at its end,
/// why it was turned off.
async fn tend(
    mut still: Still,
    on: String,
    mut wanted: mpsc::UnboundedReceiver<Order>,
    voice: Rc<dyn Voice>,
) -> Option<String> {
    // It answers once the kernel is loaded, or QEMU says why not and ends.
    match still.ready().await {
        Ok(()) => {
            voice.say(&format!("on {on}, its log is its serial port"));
            voice.report(&Report::Running(on));
        }
        Err(e) => voice.say(&format!("the machine does not answer: {e}")),
    }
    let mut stands = false;
    loop {
        let order = tokio::select! {
            why = still.farewell() => return why,
            order = wanted.recv() => order?,
        };
        let done = match order {
            Order::Pause if !stands => still.pause().await,
            Order::Resume if stands => still.resume().await,
            Order::Stop(_) => {
                let resumed = if stands { still.resume().await } else { Ok(()) };
                match resumed {
                    Ok(()) => still.press().await,
                    no => no,
                }
            }
            _ => continue,
        };
        match (done, order) {
            (Ok(()), Order::Pause) => {
                stands = true;
                voice.report(&Report::Paused);
            }
            (Ok(()), order) => {
                let resumes = order == Order::Resume;
                if stands && resumes {
                    voice.report(&Report::Resumed);
                }
                stands = false;
            }
            (Err(e), order) => voice.report(&Report::Failed(order, e.to_string())),
        }
    }
}

/// Passes on what the machine says on its serial port, line by line.
async fn listen(mut serial: pipe::Receiver, voice: Rc<dyn Voice>) {
    let (mut line, mut buf) = (Vec::new(), [0; 4096]);
    while let Ok(n) = serial.read(&mut buf).await {
        if n == 0 {
            break;
        }
        for &b in buf.get(..n).unwrap_or_default() {
            match b {
                b'\n' => {
                    voice.log(&line);
                    line.clear();
                }
                b'\r' => {}
                b if line.len() < MAX_LINE => line.push(b),
                _ => {}
            }
        }
    }
    if !line.is_empty() {
        voice.log(&line);
    }
}
