//! The monitor: what the supervisor asks of a machine, in the words of QEMU's, done by `xl`.
//!
//! (QEMU, "QEMU Machine Protocol Specification": a greeting, then one object a line.)

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::depart::{self, Leaver, Left};
use super::front::Event;
use super::gate::Gate;
use super::travel::Hello;
use super::{HELD, RELOCATE, done};
use crate::shim::Mark;

#[derive(Default, Deserialize)]
struct Arguments {
    /// A socket.
    to: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Asked {
    execute: String,
    #[serde(default)]
    arguments: Arguments,
    #[serde(default)]
    id: Value,
}

/// What is done to a domain that has no QEMU's word for it.
pub(super) struct Domain {
    pub(super) domid: u16,
    /// Its number for ever.
    pub(super) uuid: String,
    /// The guest's folder, if a supervisor has one for it.
    pub(super) home: Option<PathBuf>,
    /// What it says of itself when it moves.
    pub(super) hello: Hello,
    pub(super) gate: Arc<Gate>,
    /// Told when it has moved.
    pub(super) moved: mpsc::Sender<Event>,
}

impl Domain {
    /// Lets it go on, also after a relocation of which nobody knows how it went.
    fn go_on(&self) -> Result<(), String> {
        // Who wants that has looked. It must not run here and be taken for one that does not.
        if let Some(home) = &self.home {
            Mark::clear(home).map_err(|e| e.to_string())?;
        }
        done(&["unpause", &self.domid.to_string()])?;
        if self.gate.is_shut() {
            self.gate.open();
        }
        Ok(())
    }

    /// Moves it. It goes on here if it cannot, but for one case, which begins with [`HELD`].
    fn relocate(&self, to: &Path) -> Result<(), String> {
        let Some(home) = &self.home else {
            return Err("only a guest of `atoll serve` can be moved: it has a folder here".into());
        };
        let Domain { domid, uuid, hello, gate, .. } = self;
        match depart::send(&Leaver { domid: *domid, uuid, to, hello, home, gate }) {
            Ok(Left::Moved) => {
                let _ = self.moved.send(Event::Moved);
                Ok(())
            }
            Ok(Left::Unknown(why)) => Err(format!(
                "{HELD}it may run there by now, which was not answered ({why}): look, and then \
                 resume it or kill it here"
            )),
            Err(why) => Err(format!("{why:#}")),
        }
    }
}

/// Serves one who asks after another, for ever.
pub(super) fn serve(listener: &UnixListener, domain: &Domain) -> Result<()> {
    loop {
        let (socket, _) = listener.accept()?;
        // Who goes away is followed by the next.
        let _ = answer(socket, domain);
    }
}

fn answer(mut socket: std::os::unix::net::UnixStream, domain: &Domain) -> Result<()> {
    let domid = &domain.domid.to_string();
    socket.write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n")?;
    for line in BufReader::new(socket.try_clone()?).lines() {
        let asked: Asked = serde_json::from_str(&line?)?;
        let done = match asked.execute.as_str() {
            "qmp_capabilities" => Ok(()),
            "stop" => done(&["pause", domid]),
            "cont" => domain.go_on(),
            RELOCATE => match &asked.arguments.to {
                Some(to) => domain.relocate(to),
                None => Err("nowhere to go".into()),
            },
            "system_powerdown" => done(&["shutdown", domid]),
            other => Err(format!("`{other}` is nothing that a domain does")),
        };
        let said = match done {
            Ok(()) => json!({"return": {}, "id": asked.id}),
            Err(why) => json!({"error": {"class": "GenericError", "desc": why}, "id": asked.id}),
        };
        socket.write_all(format!("{said}\r\n").as_bytes())?;
    }
    Ok(())
}
