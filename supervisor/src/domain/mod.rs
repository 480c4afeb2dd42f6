//! A guest as a domain of Xen: the program that the supervisor starts for it in dom0.
//!
//! To the supervisor a machine is a process: it has the streams as sockets, says early lines
//! and the record into a pipe, answers a monitor, and has ended when the guest has. A domain
//! is none, so this is the process that stands for it (`atoll __domain`). It moves bytes
//! between the sockets and the domain's vchans ([`lane`]), reads its console ([`console`]) and
//! does what the monitor is told ([`monitor`]).
//!
//! It may be killed at any time, and a domain must not be left then. So the domain is made
//! by a second process, the keeper ([`keeper`]), which waits for the end of both, and
//! destroys the domain as soon as this one is gone.
//!
//! One may be there already when its guest is started, paused ([`shell`]); how many of those there
//! are is decided by [`pool`].
//!
//! A domain can leave ([`depart`]) for where another is expected ([`arrive`]); what is said
//! then is in [`travel`].
//!
//! Nearly all of it is done by `xl`: made, paused, destroyed. What becomes of a domain is heard from
//! XenStore, and from `xl create -F`, which ends when the domain has.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::{MemfdFlags, memfd_create};

mod arrive;
mod console;
mod depart;
pub mod front;
mod gate;
mod keeper;
mod lane;
mod monitor;
pub mod pool;
pub mod shell;
mod state;
pub mod store;
mod travel;

/// The hidden command that stands for a domain.
pub const COMMAND: &str = "__domain";
/// What the process that keeps it is called.
const KEEPER: &str = "__domain-keeper";

/// The front ends so when the guest has written a record.
pub const RECORDED: i32 = 100;
/// The front ends so when there never was a domain.
pub const UNSTARTED: i32 = 101;
/// The front ends so when the domain died without a word.
pub const LOST: i32 = 102;
/// The front ends so when the domain runs elsewhere, because that was wanted.
pub const MOVED: i32 = 103;
/// The front ends so when somebody else has saved the domain, or moved it.
pub const TAKEN: i32 = 104;

/// What the monitor is asked to move a domain, with the socket as `to`.
pub const RELOCATE: &str = "relocate";
/// How the monitor's refusal of that begins if the domain stands still.
pub const HELD: &str = "it stands still here: ";

/// Where `xl` finds a configuration that it is given.
const CONFIG_FD: i32 = 9;
/// How long is waited before what failed is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// Xen's own program.
pub const XL: &str = "xl";

/// Where that is, if anywhere.
pub fn xl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(XL)).find(|p| p.is_file())
}

/// Why no domain can be made here, or what they are made by.
pub fn look() -> Result<String, String> {
    let kind = std::fs::read_to_string("/sys/hypervisor/type").unwrap_or_default();
    if kind.trim() != "xen" {
        return Err("this is no dom0: Linux does not run on Xen here".into());
    }
    store::open().map_err(|e| format!("{e:#}"))?;
    for device in ["/dev/xen/gntdev", "/dev/xen/evtchn"] {
        std::fs::File::options()
            .read(true)
            .write(true)
            .open(device)
            .map_err(|e| format!("{device}: {e}: needs root, and the module of that name"))?;
    }
    // Which domains have ended is asked of it.
    atoll_xen::dom0::life(0).map_err(|e| format!("Xen does not say what domains do: {e}"))?;
    let xl = xl().ok_or("xl is not on the PATH: install xen-utils")?;
    // It is asked for what it lists as it is for each guest.
    let listed = run(&["list", "-l"]).map_err(|e| format!("{}: {e}", xl.display()))?;
    match serde_json::from_slice::<serde_json::Value>(&listed.stdout) {
        Ok(list) => {
            let count = list.as_array().map_or(0, Vec::len);
            Ok(format!("{}, xenstored answers, {count} domains", xl.display()))
        }
        Err(_) => Err(format!("{} lists no domains: {}", xl.display(), complaint(&listed.stderr))),
    }
}

/// Has `xl` do something to its end.
fn run(args: &[&str]) -> io::Result<Output> {
    Command::new(XL).args(args).stdin(Stdio::null()).output()
}

/// The same, where only what it complains of matters.
fn done(args: &[&str]) -> Result<(), String> {
    match run(args) {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => Err(complaint(&out.stderr)),
        Err(e) => Err(format!("cannot start xl: {e}")),
    }
}

/// A number for ever, which no domain has.
fn new_uuid() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}

/// Gives a program a configuration to read, which is no file on disk; its name there.
fn give_config(xl: &mut Command, config: &str) -> io::Result<String> {
    let file = std::fs::File::from(memfd_create("domain", MemfdFlags::CLOEXEC)?);
    (&file).write_all(config.as_bytes())?;
    xl.fd_mappings(vec![FdMapping { parent_fd: file.into(), child_fd: CONFIG_FD }])
        .map_err(io::Error::other)?;
    Ok(format!("/proc/self/fd/{CONFIG_FD}"))
}

/// What `xl` complains of, in one line: it repeats itself, layer by layer, and what went
/// wrong comes first.
fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().copied().filter(|l| l.contains("error")).collect();
    let said = if errors.is_empty() { &lines } else { &errors };
    match said.as_slice() {
        [] => "xl does not say why".to_owned(),
        said => said.iter().take(3).copied().collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_the_first_errors_are_told() {
        let said =
            b"Parsing config from x\nlibxl: error: a\nxc: error: b\nlibxl: error: c\nerror d\n";
        assert_eq!(complaint(said), "libxl: error: a; xc: error: b; libxl: error: c");
        assert_eq!(complaint(b"\nno luck\n"), "no luck");
        assert_eq!(complaint(b""), "xl does not say why");
    }
}
