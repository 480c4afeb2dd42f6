//! What the system lets be: numbers of processes and of open files. What has to be raised is
//! said, and put back at the end, also when this program is killed.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::proc;

/// The word on the command line that makes this program the one that puts a limit back.
pub const RESTORE: &str = "__restore";

/// Numbers of processes that there are for all.
const PIDS: &str = "/proc/sys/kernel/pid_max";
/// Threads that there may be of all.
const THREADS: &str = "/proc/sys/kernel/threads-max";
/// The most that [`PIDS`] can be (proc_sys_kernel(5)).
const MOST_PIDS: u64 = 1 << 22;

/// This process may have so many files open, and whoever it starts, while a value lives.
#[derive(Debug)]
pub(crate) struct Descriptors(Rlimit);

impl Descriptors {
    /// Raises the limit, if it has to be.
    pub(crate) fn at_least(wanted: u64, say: &dyn Fn(&str)) -> Result<Descriptors> {
        let before = getrlimit(Resource::Nofile);
        let enough = |limit: Option<u64>| limit.is_none_or(|n| n >= wanted);
        if !enough(before.maximum) {
            say(&format!("open files of a process: raised to {wanted}, for those started here"));
        }
        let maximum = if enough(before.maximum) { before.maximum } else { Some(wanted) };
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).with_context(|| {
            format!("a process needs {wanted} open files, and this user may not raise that limit")
        })?;
        Ok(Descriptors(before))
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Nofile, self.0);
    }
}

/// There may be so many processes more than there are, while a value lives.
#[derive(Debug)]
pub(crate) struct Pids {
    /// Puts it back, if it was raised.
    restorer: Option<Child>,
}

impl Pids {
    /// Raises the limit, if it has to be.
    pub(crate) fn at_least(more: u64, say: &dyn Fn(&str)) -> Result<Pids> {
        let now = tasks()?;
        let wanted = now + more;
        let threads = number(THREADS)?;
        if threads < wanted {
            bail!(
                "{wanted} threads are needed, and {THREADS} says {threads}: ask for fewer guests"
            );
        }
        let most = getrlimit(Resource::Nproc).current;
        if most.is_some_and(|n| n < wanted) && !rustix::process::geteuid().is_root() {
            bail!("{wanted} processes are needed, and `ulimit -u` is less: ask for fewer guests");
        }
        let before = number(PIDS)?;
        if before >= wanted {
            return Ok(Pids { restorer: None });
        }
        // Numbers are given in turn, and those in use are skipped.
        let raised = (2 * wanted).min(MOST_PIDS);
        let restorer = Command::new(proc::own()?)
            .args([RESTORE, PIDS, &before.to_string()])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start this program again")?;
        let pids = Pids { restorer: Some(restorer) };
        std::fs::write(PIDS, raised.to_string()).with_context(|| {
            format!(
                "{wanted} processes are needed, and {PIDS}, which says {before}, cannot be raised"
            )
        })?;
        say(&format!("{PIDS}: raised from {before} to {raised}, and put back at the end"));
        Ok(pids)
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        if let Some(mut restorer) = self.restorer.take() {
            drop(restorer.stdin.take());
            let _ = restorer.wait();
        }
    }
}

/// Waits for the end of whoever started this, and writes a value back.
pub fn restore(file: &Path, value: &str) -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    std::fs::write(file, value).with_context(|| format!("cannot put back {}", file.display()))
}

fn number(path: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    text.trim().parse().with_context(|| format!("{path} is no number"))
}

/// Threads that there are now: the fourth field of proc_loadavg(5), behind the slash.
fn tasks() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    let of = |text: &str| text.split(' ').nth(3)?.split_once('/')?.1.parse().ok();
    of(&text).context("/proc/loadavg has other fields than expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_put_back_when_whoever_raised_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("limit");
        std::fs::write(&file, "2").unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "cat > /dev/null; printf 1 > \"$0\""])
            .arg(&file)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(child.try_wait().unwrap().is_none());
        drop(Pids { restorer: Some(child) });
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "1");
    }

    #[test]
    fn enough_needs_no_change_and_too_much_is_said() {
        let say = |_: &str| panic!("nothing is raised");
        assert!(Pids::at_least(1, &say).unwrap().restorer.is_none());
        let before = getrlimit(Resource::Nofile);
        drop(Descriptors::at_least(1, &say).unwrap());
        assert_eq!(getrlimit(Resource::Nofile), before);
        let why = Pids::at_least(1 << 40, &say).unwrap_err().to_string();
        assert!(why.contains("fewer guests"), "{why}");
    }
}
