//! What processes use that this program did not start itself: those of a supervisor's guests.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// What the kernel keeps for a thread beside its tables of pages: a stack of 16 KiB, and what
/// it knows of it.
const KERNEL_THREAD: u64 = 28;

/// Those that have a place's folder in their environment: all that was started there, whoever
/// started it.
pub fn of(dir: &Path) -> Result<Vec<u32>> {
    let needle = format!("XDG_RUNTIME_DIR={}\0", dir.display());
    let all = std::fs::read_dir("/proc").context("cannot list /proc")?.flatten();
    let ours = all.filter_map(|process| {
        let id = process.file_name().to_str()?.parse().ok()?;
        let environ = std::fs::read(process.path().join("environ")).ok()?;
        environ.windows(needle.len()).any(|w| w == needle.as_bytes()).then_some(id)
    });
    Ok(ours.collect())
}

/// Kills them, and whatever they start meanwhile.
pub fn kill(dir: &Path) -> Result<()> {
    for _ in 0..100 {
        let left = of(dir)?;
        if left.is_empty() {
            break;
        }
        for id in left {
            if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

/// What a process is, in a word: the name of its program, and the hidden command that it runs.
pub fn role(id: u32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{id}/cmdline")).ok()?;
    let mut words = line.split(|b| *b == 0).map(String::from_utf8_lossy);
    let program = words.next()?;
    let program = program.rsplit('/').next()?.to_owned();
    Some(match words.next().as_deref() {
        Some("__zygote") => "zygote".to_owned(),
        Some("__shim") => "shim".to_owned(),
        Some("__guard") => "guard".to_owned(),
        _ if program == "atoll-tender" => "tender".to_owned(),
        _ if program.starts_with("qemu-system") => "QEMU".to_owned(),
        _ => program,
    })
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// What only this process has written.
    pub private: u64,
    /// That, its part of what it shares, and what the kernel keeps for it.
    pub all: u64,
}

/// What a process has now; nothing when it has ended.
pub fn memory(id: u32) -> Option<Memory> {
    let rollup = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let field = |text: &str, name: &str| -> Option<u64> {
        text.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    let kernel = field(&status, "VmPTE:")? + KERNEL_THREAD * field(&status, "Threads:")?;
    Some(Memory {
        private: field(&rollup, "Private_Dirty:")?,
        all: field(&rollup, "Pss:")? + kernel,
    })
}

/// Processor time of all threads of processes, in nanoseconds by process.
#[derive(Clone, Debug, Default)]
pub struct Used(BTreeMap<u32, u64>);

impl Used {
    /// Up to now.
    pub fn by(ids: &[u32]) -> Used {
        let of = |id: u32| -> Option<u64> {
            let tasks = std::fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten();
            let one = |task: std::fs::DirEntry| -> Option<u64> {
                let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
                text.split(' ').next()?.parse().ok()
            };
            Some(tasks.filter_map(one).sum())
        };
        Used(ids.iter().filter_map(|id| Some((*id, of(*id)?))).collect())
    }

    /// What one of them used, in milliseconds.
    pub fn of(&self, id: u32) -> f64 {
        self.0.get(&id).copied().unwrap_or(0) as f64 / 1e6
    }

    /// What was used since then, in milliseconds: all of those that are new.
    pub fn since(&self, before: &Used) -> f64 {
        let one =
            |(id, now): (&u32, &u64)| now.saturating_sub(before.0.get(id).copied().unwrap_or(0));
        self.0.iter().map(one).sum::<u64>() as f64 / 1e6
    }
}

/// Memory of this machine that could be had now, in KiB.
pub fn available() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    text.lines()
        .find_map(|l| {
            l.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse().ok()
        })
        .context("/proc/meminfo has other fields than expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_place_and_killed_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env("XDG_RUNTIME_DIR", dir.path())
            .spawn()
            .unwrap();
        // Between fork and exec it is still a copy of this one.
        while of(dir.path()).unwrap() != [child.id()] {
            std::thread::yield_now();
        }
        assert_eq!(role(child.id()).as_deref(), Some("sleep"));
        let memory = memory(child.id()).unwrap();
        assert!(memory.private > 0 && memory.all > memory.private, "{memory:?}");
        let before = Used::default();
        assert!(Used::by(&[child.id()]).since(&before) > 0.0);
        assert!(available().unwrap() > 0);
        std::thread::scope(|scope| {
            scope.spawn(|| kill(dir.path()).unwrap());
            assert!(!child.wait().unwrap().success());
        });
        assert!(of(dir.path()).unwrap().is_empty());
    }
}
