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

/// What a process uses, if it is there (`proc_pid_stat(5)`, `proc_pid_statm(5)`).
pub(super) fn used(pid: u64) -> Option<Used> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    parse(&stat, &statm, ticks, rustix::param::page_size() as u64)
}

fn parse(stat: &str, statm: &str, hertz: u64, page: u64) -> Option<Used> {
    // The name before that may hold anything.
    let fields = stat.rsplit_once(')')?.1;
    // The first field there is the third.
    let field = |n: usize| fields.split_whitespace().nth(n - 3)?.parse::<u64>().ok();
    let ticks = field(14)?.checked_add(field(15)?)?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(Used {
        cpu: ticks.checked_mul(1_000_000)? / hertz.max(1),
        memory: pages.checked_mul(page)?,
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
    Ok(())
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
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 9 9 9";
        let used = parse(stat, "100 25 3 1 0 9 0\n", 100, 4096);
        assert_eq!(used, Some(Used { cpu: 2_000_000, memory: 25 * 4096 }));
        for bad in ["", "7 (a", "7 (a) S 1 2", "7 (a) S 1 7 7 0 -1 4194560 1 0 0 0 x 50"] {
            assert_eq!(parse(bad, "1 2", 100, 4096), None);
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
        assert!(memory.starts_with("total ") && memory.contains("\navailable "), "{memory}");
    }
}
