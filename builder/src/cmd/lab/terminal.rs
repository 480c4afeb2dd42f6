//! `lab sh`: a command, a script, or a shell at a person's own terminal.

use std::io::{IsTerminal, Read};
use std::net::Shutdown;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use atoll_lab::xen::session::Session;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Runs what is asked for: its status.
pub(super) fn sh(lab: &Session, command: &[String]) -> Result<ExitCode> {
    if command.is_empty() && std::io::stdin().is_terminal() {
        return shell(lab);
    }
    let mut script = command.join(" ");
    if command.is_empty() {
        std::io::stdin().read_to_string(&mut script).context("cannot read the script")?;
    }
    let status = lab.run(&script, &mut std::io::stdout())?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}

/// Every key goes there, until it is dropped.
struct Raw(Termios);

impl Raw {
    fn new() -> Result<Raw> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn shell(lab: &Session) -> Result<ExitCode> {
    let size = tcgetwinsize(std::io::stdin())?;
    let term = std::env::var("TERM").unwrap_or_else(|_| "vt100".to_owned());
    let plain = term.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let term = if plain { term.as_str() } else { "vt100" };
    let session = format!(
        "EXEC:/lab/session {} {} {term},pty,setsid,ctty,stderr",
        size.ws_row.max(1),
        size.ws_col.max(1)
    );
    let mut stream = lab.open(&session)?;
    let mut keys = stream.try_clone()?;
    let raw = Raw::new()?;
    // Ends with this program: nobody waits for a key that is not pressed.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut keys);
        let _ = keys.shutdown(Shutdown::Both);
    });
    let copied = std::io::copy(&mut stream, &mut std::io::stdout());
    drop(raw);
    copied?;
    Ok(ExitCode::SUCCESS)
}
