//! The guard: a process that cleans up behind a supervisor that was killed.
//!
//! A supervisor that ends by itself cleans up by itself. One that is killed with
//! SIGKILL cannot, so beside it waits this second process (`__guard`), which
//! was told what there is to remove. The pipe between the two tells it when the
//! supervisor is gone; without a `bye` before that, it acts.
//!
//! The order is what makes it hold at every instant: a file is announced before
//! it gets the name that the guard would remove, and a child dies with its parent
//! by itself (PDEATHSIG) until it is announced.

use std::io::{self, BufRead, PipeReader, PipeWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::mount::umount::remove_dead;
use atoll_fork::Fork;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, setpgid, waitpid,
};

/// The hidden command that a guard runs as.
pub const COMMAND: &str = "__guard";

/// How long a process that was killed may take to be gone.
const GONE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// The supervisor's end.
#[derive(Debug)]
pub struct Guard {
    /// A child that nobody else waits for.
    process: Pid,
    to: Option<PipeWriter>,
}

/// Which of the two somebody is ([`Guard::double`]).
#[derive(Debug)]
pub enum Twin {
    /// The one that was there before, and that one's guard.
    Shim(Guard),
    /// The guard, and where it reads what there is to clean up ([`run`]).
    Guard(PipeReader),
}

impl Guard {
    /// Starts a guard, out of reach of the terminal's signals.
    pub fn start(atoll: &Path) -> io::Result<Guard> {
        let (from, to) = io::pipe()?;
        let child = Command::new(atoll)
            .arg(COMMAND)
            .stdin(from)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Guard { process: Pid::from_child(&child), to: Some(to) })
    }

    /// Goes on as two, of which the second is the first one's guard: without what it costs to
    /// start a program. It has all open files that the first one has, and is to close them,
    /// but for what is to be held until all is cleaned up: a file's lock is not free before.
    pub fn double() -> io::Result<Twin> {
        let (from, to) = io::pipe()?;
        Ok(match atoll_fork::fork()? {
            Fork::Parent(process) => Twin::Shim(Guard { process, to: Some(to) }),
            Fork::Child => {
                let _ = setpgid(None, None);
                Twin::Guard(from)
            }
        })
    }

    /// Each word of command is a line; they are written at once, for each one that is read
    /// has the guard woken.
    fn tell(&mut self, what: &str, about: &[&[u8]]) -> io::Result<()> {
        let Some(to) = &mut self.to else { return Ok(()) };
        let mut lines = Vec::new();
        for rest in about {
            lines.extend_from_slice(what.as_bytes());
            lines.push(b' ');
            lines.extend_from_slice(rest);
            lines.push(b'\n');
        }
        to.write_all(&lines)
    }

    /// There is, or soon will be, a folder of that name that is ours.
    pub fn folder(&mut self, path: &Path) -> io::Result<()> {
        self.tell("folder", &[path.as_os_str().as_bytes()])
    }

    /// There is a folder that is to go when nothing is in it any more.
    pub fn empty(&mut self, path: &Path) -> io::Result<()> {
        self.tell("empty", &[path.as_os_str().as_bytes()])
    }

    /// There will be a file of that name, which nobody else would choose.
    pub fn name(&mut self, path: &Path) -> io::Result<()> {
        self.tell("name", &[path.as_os_str().as_bytes()])
    }

    /// The same, of several.
    pub fn names<'p>(&mut self, paths: impl Iterator<Item = &'p Path>) -> io::Result<()> {
        let paths: Vec<&[u8]> = paths.map(|path| path.as_os_str().as_bytes()).collect();
        self.tell("name", &paths)
    }

    /// The file that is now at `from` will have the name `path` too.
    pub fn file(&mut self, from: &Path, path: &Path) -> io::Result<()> {
        let meta = std::fs::symlink_metadata(from)?;
        let mut rest = format!("{} {} ", meta.dev(), meta.ino()).into_bytes();
        rest.extend_from_slice(path.as_os_str().as_bytes());
        self.tell("file", &[&rest])
    }

    /// There is a process that is ours.
    pub fn child(&mut self, pid: u32) -> io::Result<()> {
        self.tell("child", &[pid.to_string().as_bytes()])
    }

    /// There will be a mount there, which is dead when we are.
    pub fn mount(&mut self, path: &Path) -> io::Result<()> {
        self.tell("mount", &[path.as_os_str().as_bytes()])
    }

    /// All was cleaned up: the guard may go.
    pub fn bye(mut self) {
        let _ = self.tell("bye", &[b""]);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Without a `bye`, this is what sets it to work.
        drop(self.to.take());
        while let Err(Errno::INTR) = waitpid(Some(self.process), WaitOptions::empty()) {}
    }
}

#[derive(Debug, Default)]
struct Ours {
    children: Vec<OwnedFd>,
    names: Vec<PathBuf>,
    files: Vec<(u64, u64, PathBuf)>,
    folders: Vec<PathBuf>,
    empty: Vec<PathBuf>,
    trees: Vec<PathBuf>,
    mounts: Vec<PathBuf>,
}

/// The guard's end: reads what there is to clean up, and does when it is time.
pub fn run(from: impl BufRead) -> io::Result<()> {
    let mut ours = Ours::default();
    for line in from.split(b'\n') {
        // A line that is cut off is one whose writer was killed.
        let Ok(line) = line else { break };
        let cut = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
        let (what, rest) = line.split_at(cut);
        let rest = rest.get(1..).unwrap_or_default();
        match what {
            b"bye" => return Ok(()),
            b"empty" => ours.empty.push(path(rest)),
            b"folder" => ours.folders.push(path(rest)),
            // Only the demo's word; it starts this command by itself.
            b"tree" => ours.trees.push(path(rest)),
            b"mount" => ours.mounts.push(path(rest)),
            b"name" => ours.names.push(path(rest)),
            b"file" => {
                let mut parts = rest.splitn(3, |&b| b == b' ');
                let mut number = || {
                    let text = std::str::from_utf8(parts.next()?).ok()?;
                    text.parse::<u64>().ok()
                };
                if let (Some(dev), Some(ino), Some(name)) = (number(), number(), parts.next()) {
                    ours.files.push((dev, ino, path(name)));
                }
            }
            b"child" => {
                let text = std::str::from_utf8(rest).unwrap_or_default();
                let pid = text.parse().ok().and_then(Pid::from_raw);
                // One that is gone already needs no guard.
                if let Some(fd) = pid.and_then(|p| pidfd_open(p, PidfdFlags::empty()).ok()) {
                    ours.children.push(fd);
                }
            }
            _ => {}
        }
    }
    clean(&ours);
    Ok(())
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

fn clean(ours: &Ours) {
    for child in &ours.children {
        let _ = pidfd_send_signal(child, Signal::KILL);
    }
    // What is held is held until they are gone.
    for child in &ours.children {
        let mut ends = [PollFd::new(child, PollFlags::IN)];
        let _ = poll(&mut ends, Some(&GONE));
    }
    for mount in &ours.mounts {
        remove_dead(mount);
    }
    for name in &ours.names {
        let _ = std::fs::remove_file(name);
    }
    for (dev, ino, path) in &ours.files {
        // Another may have come in the meantime and taken the name.
        match std::fs::symlink_metadata(path) {
            Ok(m) if (m.dev(), m.ino()) == (*dev, *ino) => drop(std::fs::remove_file(path)),
            _ => {}
        }
    }
    for folder in &ours.folders {
        let _ = std::fs::remove_dir_all(folder);
        // The folder of all sockets goes with the last of them.
        if let Some(parent) = folder.parent() {
            let _ = std::fs::remove_dir(parent);
        }
    }
    for folder in &ours.empty {
        let _ = std::fs::remove_dir(folder);
    }
    for tree in &ours.trees {
        remove_tree(tree);
    }
}

/// Removes a folder in which others, who end too, may still make or remove something.
fn remove_tree(tree: &Path) {
    for _ in 0..100 {
        match std::fs::remove_dir_all(tree) {
            Ok(()) => return,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !tree.exists() => return,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn without_a_goodbye_everything_goes_and_a_stranger_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("all/ours")).unwrap();
        std::fs::create_dir_all(at("other/tree")).unwrap();
        for name in ["all/ours/x", "other/tree/log", "mine", "named", "stranger"] {
            std::fs::write(at(name), "").unwrap();
        }
        let meta = std::fs::metadata(at("mine")).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let orders = format!(
            "folder {}\ntree {}\ntree {0}\nname {}\nfile {} {} {}\nfile {} 1 {}\nchild {}\nchild 999999999\nnonsense\n",
            at("all/ours").display(),
            at("other/tree").display(),
            at("named").display(),
            meta.dev(),
            meta.ino(),
            at("mine").display(),
            meta.dev(),
            at("stranger").display(),
            child.id(),
        );
        run(Cursor::new(format!("{orders}bye \n"))).unwrap();
        assert!(at("mine").exists() && child.try_wait().unwrap().is_none());
        run(Cursor::new(orders)).unwrap();
        assert!(
            !at("named").exists()
                && !at("mine").exists()
                && !at("all").exists()
                && !at("other/tree").exists()
                && at("other").exists()
                && at("stranger").exists()
        );
        assert!(!child.wait().unwrap().success());
    }
}
