//! What talks to the process that has a lab.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::super::snapshot;
use super::{Frame, Place, check};

/// A lab that is up.
#[derive(Debug)]
pub struct Session {
    place: Place,
    name: String,
}

/// All labs that are up, by name.
pub fn all() -> Result<Vec<Session>> {
    let mut names: Vec<_> = std::fs::read_dir(Place::new()?.path)?
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names.iter().filter_map(|name| Session::find(name).ok()).collect())
}

/// Removes all snapshots: how many bytes they had on the disk.
pub fn clean() -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(snapshot::folder()).into_iter().flatten().flatten() {
        if entry.file_name() != "up" && entry.path().is_dir() {
            let files = std::fs::read_dir(entry.path())?.flatten();
            bytes += files.filter_map(|f| f.metadata().ok()).map(|m| m.blocks() * 512).sum::<u64>();
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(bytes)
}

impl Session {
    /// The lab of that name, which must be up.
    pub fn find(name: &str) -> Result<Session> {
        check(name)?;
        let session = Session { place: Place::new()?, name: name.to_owned() };
        session.connect()?;
        Ok(session)
    }

    /// Starts a lab in a process of its own: a command that ends in [`super::keep`]. What
    /// takes long is said before it begins.
    pub fn up(name: &str, mut keeper: Command, say: &mut dyn FnMut(&str)) -> Result<Session> {
        check(name)?;
        let mut child = keeper
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the lab's process")?;
        for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
            let line = line?;
            match line.split_once(' ') {
                Some(("say", text)) => say(text),
                Some(("up", _)) => return Session::find(name),
                Some(("failed", why)) => bail!("{}", why.replace("\\n", "\n")),
                // It may be the test of a harness, which says things of its own.
                _ => {}
            }
        }
        bail!("the lab's process has ended: {}", child.wait()?)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `pid`, `share` (the folder that is `/mnt` in dom0), `boot_ms` (null if there was a
    /// snapshot), `clone_ms`, `up_s`, `cpu_ms`.
    pub fn status(&self) -> Result<Value> {
        self.ask(json!("status"))
    }

    /// The folder that is `/mnt` in dom0.
    pub fn share(&self) -> Result<PathBuf> {
        let status = self.status()?;
        status["share"].as_str().map(PathBuf::from).context("the lab does not say its folder")
    }

    /// What Xen and dom0 have written on the serial console.
    pub fn log(&self) -> Result<String> {
        Ok(self.ask(json!("log"))?.as_str().unwrap_or_default().to_owned())
    }

    /// Ends it.
    pub fn down(&self) -> Result<()> {
        self.ask(json!("down"))?;
        Ok(())
    }

    /// Runs a script: its status. What it writes goes where it is told.
    pub fn run(&self, script: &str, out: &mut dyn Write) -> Result<i32> {
        let mut stream = self.connect()?;
        writeln!(stream, "{}", json!({"run": script}))?;
        let mut stream = BufReader::new(stream);
        loop {
            match Frame::read(&mut stream)? {
                Frame::Output(bytes) => {
                    out.write_all(&bytes)?;
                    out.flush()?;
                }
                Frame::End(status) => return Ok(status),
                Frame::Failed(why) => bail!(why),
            }
        }
    }

    /// Opens a stream to what socat in dom0 knows by this address.
    pub fn open(&self, address: &str) -> Result<UnixStream> {
        let mut stream = self.connect()?;
        writeln!(stream, "{}", json!({"open": address}))?;
        // Byte by byte: what follows the line is not ours to read.
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            std::io::Read::read_exact(&mut stream, &mut byte).context("the lab has gone")?;
            line.extend_from_slice(&byte);
        }
        match String::from_utf8_lossy(&line).trim() {
            "ok" => Ok(stream),
            why => bail!("{why}"),
        }
    }

    fn ask(&self, request: Value) -> Result<Value> {
        let mut stream = self.connect()?;
        writeln!(stream, "{request}")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        serde_json::from_str(&line).context("the lab has gone")
    }

    fn connect(&self) -> Result<UnixStream> {
        let (name, place) = (&self.name, &self.place);
        UnixStream::connect(place.address(name)).map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                anyhow::anyhow!("no lab `{name}` is up: `cargo xtask lab up` starts one")
            }
            _ => anyhow::anyhow!("cannot reach the lab `{name}`: {e}"),
        })
    }
}
