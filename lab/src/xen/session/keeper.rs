//! The process that has a lab.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::super::{Lab, Store};
use super::{Frame, Place, check};
use crate::job::Job;

/// How long a script may take to end when it is interrupted.
const GOES_WITHIN: Duration = Duration::from_secs(10);

/// Has a lab of this name until somebody asks for its end. What happens until it is up
/// is said as lines: `say TEXT`, and at last `up STATUS` or `failed WHY`.
pub fn keep(name: &str, store: Store, tell: &mut dyn Write) -> Result<()> {
    // Out of reach of the terminal's signals, and of its end.
    let _ = rustix::process::setsid();
    match begin(name, store, tell) {
        Ok((keeper, listener)) => {
            // Whoever has asked for it may have gone: then nobody wants it.
            writeln!(tell, "up {}", keeper.status())?;
            tell.flush()?;
            keeper.serve(listener)
        }
        Err(e) => {
            writeln!(tell, "failed {}", format!("{e:#}").replace('\n', "\\n"))?;
            Ok(())
        }
    }
}

struct Keeper {
    lab: Lab,
    since: Instant,
}

fn begin(name: &str, store: Store, tell: &mut dyn Write) -> Result<(Arc<Keeper>, UnixListener)> {
    check(name)?;
    let place = Place::new()?;
    if UnixStream::connect(place.address(name)).is_ok() {
        bail!("a lab `{name}` is up already");
    }
    // Of one that was killed together with its guard.
    let _ = std::fs::remove_file(place.path(name));
    // A name is taken from its begin.
    let listener = UnixListener::bind(place.address(name)).context("cannot make a socket")?;
    let mut say = |text: &str| drop(writeln!(tell, "say {text}").and_then(|()| tell.flush()));
    let lab = match Lab::with(store, Some(&place.path(name)), &mut say) {
        Ok(lab) => lab,
        Err(e) => {
            let _ = std::fs::remove_file(place.path(name));
            return Err(e);
        }
    };
    Ok((Arc::new(Keeper { lab, since: Instant::now() }), listener))
}

impl Keeper {
    fn status(&self) -> Value {
        let took = self.lab.took();
        json!({
            "pid": std::process::id(),
            "share": self.lab.share(),
            "boot_ms": took.boot.map(|t| t.as_millis() as u64),
            "clone_ms": took.clone.as_millis() as u64,
            "up_s": self.since.elapsed().as_secs(),
            "cpu_ms": self.lab.cpu().unwrap_or_default().round(),
        })
    }

    fn serve(self: Arc<Self>, listener: UnixListener) -> Result<()> {
        let (down, end) = mpsc::channel::<UnixStream>();
        let keeper = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (keeper, down) = (keeper.clone(), down.clone());
                std::thread::spawn(move || drop(keeper.answer(stream, &down)));
            }
        });
        // Also when the machine has ended by itself, so that nothing is left of it.
        let mut wants = None;
        while wants.is_none() && self.lab.is_alive() {
            wants = end.recv_timeout(Duration::from_millis(500)).ok();
        }
        // Threads may still hold it.
        self.lab.end();
        self.lab.remove();
        if let Some(mut stream) = wants {
            let _ = stream.write_all(b"\"gone\"\n");
        }
        Ok(())
    }

    fn answer(&self, mut stream: UnixStream, down: &mpsc::Sender<UnixStream>) -> Result<()> {
        let mut line = String::new();
        let mut reader = BufReader::new(stream.try_clone()?);
        reader.read_line(&mut line)?;
        let request: Value = serde_json::from_str(&line)?;
        if let Some(script) = request["run"].as_str() {
            let frame = match self.lab.job(script).and_then(|job| relay(job, &stream)) {
                Ok(status) => Frame::End(status),
                Err(e) => Frame::Failed(format!("{e:#}")),
            };
            frame.write(&mut stream)?;
        } else if let Some(address) = request["open"].as_str() {
            match self.lab.open(address) {
                Ok(mut there) => {
                    stream.write_all(b"ok\n")?;
                    let mut socket = there.socket()?;
                    socket.write_all(reader.buffer())?;
                    let mut input = stream.try_clone()?;
                    let up = std::thread::spawn(move || {
                        let _ = std::io::copy(&mut input, &mut socket);
                        let _ = socket.shutdown(Shutdown::Both);
                    });
                    let _ = std::io::copy(&mut there, &mut stream);
                    let _ = stream.shutdown(Shutdown::Both);
                    let _ = up.join();
                }
                Err(e) => writeln!(stream, "{}", format!("{e:#}").replace('\n', " "))?,
            }
        } else {
            match request.as_str() {
                Some("status") => writeln!(stream, "{}", self.status())?,
                Some("log") => writeln!(stream, "{}", Value::from(self.lab.log()))?,
                Some("down") => down.send(stream)?,
                _ => bail!("a request that is not known"),
            }
        }
        Ok(())
    }
}

/// Passes on what a script writes. When nobody is left to hear it, it is interrupted.
fn relay(mut job: Job, stream: &UnixStream) -> Result<i32> {
    let ended = Arc::new(Mutex::new(false));
    if let Some((shell, port)) = job.signals() {
        let (mut input, ended) = (stream.try_clone()?, ended.clone());
        std::thread::spawn(move || {
            let _ = input.read(&mut [0]);
            let signal = |name| {
                let ended = ended.lock().unwrap_or_else(|e| e.into_inner());
                if !*ended {
                    let _ = shell.signal(port, name);
                }
            };
            signal("INT");
            std::thread::sleep(GOES_WITHIN);
            signal("KILL");
        });
    }
    let mut out = stream.try_clone()?;
    while let Some(bytes) = job.more()? {
        // It is to end in its own way when nobody hears it.
        let _ = Frame::Output(bytes).write(&mut out);
    }
    *ended.lock().unwrap_or_else(|e| e.into_inner()) = true;
    Ok(job.wait()?.status)
}
