//! What this machine has, and what a process on it uses, as `/proc` tells.

use std::fmt::Write;

use atoll_9p::fault::Fault;

use super::show::none;

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Time for which it had a processor, in microseconds.
    pub(super) cpu: u64,
    /// Bytes of its memory that are present.
    pub(super) memory: u64,
}

/// What a process uses, if it is there (`proc_pid_stat(5)`). One file: `/stats` asks this of
/// every guest.
pub(super) fn used(pid: u64) -> Option<Used> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    parse(&stat, ticks, rustix::param::page_size() as u64)
}

fn parse(stat: &str, hertz: u64, page: u64) -> Option<Used> {
    // The name before that may hold anything.
    let fields = stat.rsplit_once(')')?.1;
    // The first field there is the third.
    let field = |n: usize| fields.split_ascii_whitespace().nth(n - 3)?.parse::<u64>().ok();
    let ticks = field(14)?.checked_add(field(15)?)?;
    Some(Used {
        cpu: ticks.checked_mul(1_000_000)? / hertz.max(1),
        memory: field(24)?.checked_mul(page)?,
    })
}

/// `/host/cpu`
pub(super) fn cpu(out: &mut String) -> Result<(), Fault> {
    let count = std::thread::available_parallelism().map_err(|_| none())?;
    let load = std::fs::read_to_string("/proc/loadavg").map_err(|_| none())?;
    let mut load = load.split_whitespace();
    let _ = writeln!(out, "processors {count}");
    for (name, value) in ["load1", "load5", "load15"].iter().zip(load.by_ref()) {
        let _ = writeln!(out, "{name} {value}");
    }
    let _ = writeln!(out, "kvm {}", std::path::Path::new("/dev/kvm").exists());
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    if let Some((busy, idle)) = worked(&stat, rustix::param::clock_ticks_per_second()) {
        let _ = writeln!(out, "busy {busy}\nidle {idle}");
    }
    Ok(())
}

/// For how long all processors together worked and did not, in microseconds
/// (`proc_stat(5)`: user, nice, system, idle, iowait, irq, softirq, steal).
fn worked(stat: &str, hertz: u64) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
    let &[user, nice, system, idle, iowait, irq, softirq, steal, ..] = &ticks[..] else {
        return None;
    };
    let us = |parts: &[u64]| {
        let sum = parts.iter().try_fold(0u64, |sum, n| sum.checked_add(*n))?;
        Some(sum.checked_mul(1_000_000)? / hertz.max(1))
    };
    Some((us(&[user, nice, system, irq, softirq, steal])?, us(&[idle, iowait])?))
}

/// `/host/memory`, in bytes.
pub(super) fn memory(out: &mut String) -> Result<(), Fault> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(|_| none())?;
    for (key, name) in [("MemTotal:", "total"), ("MemAvailable:", "available")] {
        let line = text.lines().find_map(|l| l.strip_prefix(key)).ok_or_else(none)?;
        let kib = line.trim().split(' ').next().and_then(|n| n.parse::<u64>().ok());
        let _ = writeln!(out, "{name} {}", kib.ok_or_else(none)? << 10);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 9 9 25";
        let used = parse(stat, 100, 4096);
        assert_eq!(used, Some(Used { cpu: 2_000_000, memory: 25 * 4096 }));
        for bad in ["", "7 (a", "7 (a) S 1 2", "7 (a) S 1 7 7 0 -1 4194560 1 0 0 0 x 50"] {
            assert_eq!(parse(bad, 100, 4096), None);
        }
        assert!(super::used(std::process::id().into()).is_some_and(|u| u.memory > 0));
        assert_eq!(super::used(u64::MAX), None);
    }

    #[test]
    fn the_host_says_what_it_has() {
        let (mut cpu, mut memory) = (String::new(), String::new());
        super::cpu(&mut cpu).unwrap();
        super::memory(&mut memory).unwrap();
        assert!(cpu.starts_with("processors ") && cpu.contains("\nload1 "), "{cpu}");
        assert!(cpu.contains("\nbusy ") && cpu.contains("\nidle "), "{cpu}");
        let stat = "cpu  10 20 30 400 50 1 2 3 7 8\ncpu0 1 1";
        assert_eq!(worked(stat, 100), Some((660_000, 4_500_000)));
        for bad in ["", "cpu0 1 2 3 4 5 6 7 8", "cpu  1 2 3 x 5 6 7 8"] {
            assert_eq!(worked(bad, 100), None);
        }
        assert!(memory.starts_with("total ") && memory.contains("\navailable "), "{memory}");
    }
}
