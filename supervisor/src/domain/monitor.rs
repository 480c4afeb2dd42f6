//! The monitor: what the supervisor asks of a machine, in the words of QEMU's, done by `xl`.
//!
//! (QEMU, "QEMU Machine Protocol Specification": a greeting, then one object a line.)

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::done;

#[derive(Deserialize)]
struct Asked {
    execute: String,
    #[serde(default)]
    id: Value,
}

/// Serves one who asks after another, for ever.
pub(super) fn serve(listener: &UnixListener, domid: u16) -> Result<()> {
    loop {
        let (socket, _) = listener.accept()?;
        // Who goes away is followed by the next.
        let _ = answer(socket, &domid.to_string());
    }
}

fn answer(mut socket: std::os::unix::net::UnixStream, domid: &str) -> Result<()> {
    socket.write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n")?;
    for line in BufReader::new(socket.try_clone()?).lines() {
        let asked: Asked = serde_json::from_str(&line?)?;
        let done = match asked.execute.as_str() {
            "qmp_capabilities" => Ok(()),
            "stop" => done(&["pause", domid]),
            "cont" => done(&["unpause", domid]),
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
