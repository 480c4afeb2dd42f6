//! QEMU's monitor: enough of QMP to let a machine stand still and go on, to press its power
//! button, and to hear why it was turned off.
//!
//! The crate `qapi` has types for all of it, 26,000 lines that are generated and compiled
//! anew in every build; a few commands without arguments need none of them. (QEMU, "QEMU
//! Machine Protocol Specification": a greeting, `qmp_capabilities`, then one object a line.)

use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;

use crate::stream::Stream;

/// How long QEMU may take to answer. It does at once, or is stuck.
const ANSWER: Duration = Duration::from_secs(5);
/// The longest line that it may say.
const MAX_LINE: usize = 64 << 10;

/// A connection to a monitor.
#[derive(Debug)]
pub(super) struct Monitor {
    stream: Stream,
    line: Vec<u8>,
    /// Whether the greeting is over.
    greeted: bool,
    /// Why the machine was turned off, once it was.
    off: Option<String>,
    /// Numbers the commands: an answer that came too late is not the next one's.
    id: u64,
}

#[derive(Deserialize)]
struct Said {
    id: Option<u64>,
    error: Option<Refused>,
    event: Option<String>,
    data: Option<About>,
}

/// What an event says of itself.
#[derive(Deserialize)]
struct About {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    desc: String,
}

impl Monitor {
    pub(super) fn new(stream: Stream) -> Monitor {
        Monitor { stream, line: Vec::new(), greeted: false, off: None, id: 0 }
    }

    /// Has a command done that takes no arguments.
    pub(super) async fn run(&mut self, command: &str) -> io::Result<()> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "QEMU's monitor does not answer");
        timeout(ANSWER, self.run_to_its_end(command, None)).await.map_err(late)?
    }

    /// Has a command done, however long that takes; `to` is its argument of that name.
    pub(super) async fn run_to_its_end(
        &mut self,
        command: &str,
        to: Option<&str>,
    ) -> io::Result<()> {
        self.greet().await?;
        self.ask(command, to).await
    }

    /// Waits until the machine is made and the monitor answers.
    pub(super) async fn greet(&mut self) -> io::Result<()> {
        if !self.greeted {
            self.ask("qmp_capabilities", None).await?;
            self.greeted = true;
        }
        Ok(())
    }

    /// Listens until QEMU is gone: why the machine was turned off, if it said so. Given up
    /// before that, it has missed nothing.
    pub(super) async fn farewell(&mut self) -> Option<String> {
        while let Ok(line) = self.line().await {
            if let Ok(said) = serde_json::from_slice::<Said>(&line) {
                self.note(said);
            }
        }
        self.off.clone()
    }

    /// Takes note of what it says unasked.
    fn note(&mut self, said: Said) {
        if said.event.as_deref() == Some("SHUTDOWN") {
            self.off = said.data.and_then(|d| d.reason);
        }
    }

    async fn ask(&mut self, command: &str, to: Option<&str>) -> io::Result<()> {
        self.id += 1;
        let arguments = match to {
            Some(to) => format!("\"arguments\":{},", serde_json::json!({ "to": to })),
            None => String::new(),
        };
        let line = format!("{{\"execute\":\"{command}\",{arguments}\"id\":{}}}\r\n", self.id);
        let mut left = line.as_bytes();
        while !left.is_empty() {
            self.stream.writable().await?;
            let n = self.stream.try_write(left)?.unwrap_or(0);
            left = left.get(n..).unwrap_or_default();
        }
        loop {
            let line = self.line().await?;
            // Events and the greeting have no number.
            let said: Said = serde_json::from_slice(&line)?;
            if said.id != Some(self.id) {
                self.note(said);
                continue;
            }
            return said.error.map_or(Ok(()), |e| Err(io::Error::other(e.desc)));
        }
    }

    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut buf = [0; 512];
        loop {
            if let Some(end) = self.line.iter().position(|b| *b == b'\n') {
                let rest = self.line.split_off(end + 1);
                return Ok(std::mem::replace(&mut self.line, rest));
            }
            if self.line.len() > MAX_LINE {
                return Err(io::Error::other("QEMU's monitor says a line without an end"));
            }
            self.stream.readable().await?;
            match self.stream.try_read(&mut buf)? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(n) => self.line.extend_from_slice(buf.get(..n).unwrap_or_default()),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(flavor = "current_thread")]
    async fn answers_are_told_from_what_else_is_said() {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        let mut monitor = Monitor::new(ours.try_into().unwrap());
        let qemu = tokio::spawn(async move {
            theirs.write_all(b"{\"QMP\": {\"version\": {}}}\r\n").await.unwrap();
            let mut asked = String::new();
            let answers = [
                "{\"return\": {}, \"id\": 1}\r\n",
                "{\"event\": \"STOP\"}\r\n{\"return\": {}, \"id\": 1}\r\n{\"id\": 2, \"return\": {}}\r\n",
                "{\"error\": {\"class\": \"x\", \"desc\": \"not now\"}, \"id\": 3}\r\n",
            ];
            for answer in answers {
                let mut buf = [0; 200];
                let n = theirs.read(&mut buf).await.unwrap();
                asked += std::str::from_utf8(&buf[..n]).unwrap();
                for byte in answer.bytes() {
                    theirs.write_all(&[byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
            asked
        });
        monitor.run("stop").await.unwrap();
        assert_eq!(monitor.run("cont").await.unwrap_err().to_string(), "not now");
        assert_eq!(
            qemu.await.unwrap(),
            "{\"execute\":\"qmp_capabilities\",\"id\":1}\r\n{\"execute\":\"stop\",\"id\":2}\r\n\
             {\"execute\":\"cont\",\"id\":3}\r\n"
        );
        assert!(monitor.run("stop").await.is_err());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn why_a_machine_was_turned_off_is_heard_whenever_it_is_said() {
        let off =
            "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}";
        for between in [true, false] {
            let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
            let mut monitor = Monitor::new(ours.try_into().unwrap());
            let greeting = "{\"QMP\": {}}\r\n{\"return\": {}, \"id\": 1}\r\n";
            theirs.write_all(greeting.as_bytes()).await.unwrap();
            monitor.greet().await.unwrap();
            let (before, after) = if between { (off, "{}") } else { ("{}", off) };
            let text = format!("{before}\r\n{{\"return\": {{}}, \"id\": 2}}\r\n{after}\r\n");
            theirs.write_all(text.as_bytes()).await.unwrap();
            monitor.run("stop").await.unwrap();
            drop(theirs);
            assert_eq!(monitor.farewell().await.as_deref(), Some("guest-reset"));
        }
    }
}
