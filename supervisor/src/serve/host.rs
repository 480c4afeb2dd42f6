//! What this machine has, as `/proc` tells.

use std::fmt::Write;

use atoll_9p::fault::Fault;

use super::show::none;
use crate::shim::usage::{self, Usage};

/// What a process uses, if it is there.
pub(super) fn used(pid: u64) -> Option<Usage> {
    usage::of(u32::try_from(pid).ok()?)
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
