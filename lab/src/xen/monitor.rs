//! QEMU's monitor, as `docs/interop/qmp-spec.rst` of QEMU has it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::linux::PATIENCE;

/// A monitor that takes commands.
#[derive(Debug)]
pub(super) struct Monitor(BufReader<UnixStream>);

impl Monitor {
    pub(super) fn new(stream: UnixStream) -> Result<Monitor> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut monitor = Monitor(BufReader::new(stream));
        monitor.line()?;
        monitor.ask("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line)? > 0, "QEMU has ended");
        Ok(serde_json::from_str(&line)?)
    }

    /// Gives a command: what it answers.
    pub(super) fn ask(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let what = json!({"execute": command, "arguments": arguments});
        self.0.get_mut().write_all(format!("{what}\n").as_bytes())?;
        loop {
            let mut line = self.line()?;
            if let Some(error) = line.get("error") {
                bail!("QEMU refuses {what}: {error}");
            }
            // Others tell of events.
            if let Some(answer) = line.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }
}
