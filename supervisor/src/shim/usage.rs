//! What a machine uses, as the system knows it (proc_pid_stat(5), proc_pid_smaps(5)).

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time for which it had a processor, in microseconds.
    pub cpu: u64,
    /// Bytes of memory that it shares with nobody.
    pub memory: u64,
}

/// What a process uses now; nothing when it is gone.
pub fn of(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    Some(Usage { cpu: cpu(&stat, 14)?, memory: private(&rollup) })
}

/// Time for which those had a processor that this process started and waited for, in
/// microseconds.
pub(super) fn of_children() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    cpu(&stat, 16).unwrap_or(0)
}

/// The sum of two fields, which are counted from 1 on.
fn cpu(stat: &str, at: usize) -> Option<u64> {
    // The second is a name in parentheses, in which there may be any character.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(at - 3);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let ticks = next()?.checked_add(next()?)?;
    ticks.checked_mul(1_000_000)?.checked_div(rustix::param::clock_ticks_per_second())
}

fn private(rollup: &str) -> u64 {
    let lines = rollup.lines().filter(|l| l.starts_with("Private_"));
    let kib = lines.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.sum::<u64>() << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_to_work() {
        let began = of(std::process::id()).unwrap();
        assert!(began.memory > 0);
        let mut sum = 0u64;
        while of(std::process::id()).unwrap().cpu == began.cpu {
            sum = (0..100_000).fold(sum, |a, b| a.wrapping_mul(31) ^ b);
        }
        assert_eq!(of(u32::MAX >> 1), None);
        let stat = "5 (a) b (c) S 1 5 5 0 -1 4194304 1 2 3 4 100 50 7 3 20 0";
        let tick = 1_000_000 / rustix::param::clock_ticks_per_second();
        assert_eq!((cpu(stat, 14), cpu(stat, 16)), (Some(150 * tick), Some(10 * tick)));
        assert_eq!(private("Rss: 9 kB\nPrivate_Clean: 3 kB\nPrivate_Dirty: 4 kB\n"), 7 << 10);
        for bad in ["", "5 (a) S", "5 (a) S 1 2 3 4 5 6 7 8 9 10 x 1"] {
            assert_eq!(cpu(bad, 14), None);
        }
    }
}
