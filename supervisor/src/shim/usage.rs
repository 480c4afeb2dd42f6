//! What a process uses, as the system knows it (proc_pid_stat(5)).
//!
//! One file is read, and it is a short one: a daemon asks for every guest, and `smaps_rollup`,
//! which tells what is shared with nobody, has the kernel walk all pages of the process. That is
//! more than a millisecond for one of QEMU.

use std::fs::File;
use std::io::Read;

/// The file is shorter than this.
const STAT: usize = 2 << 10;

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time for which it had a processor, in microseconds.
    pub cpu: u64,
    /// Bytes of its memory that are present.
    pub memory: u64,
}

/// What a process uses now; nothing when it is gone.
pub fn of(pid: u32) -> Option<Usage> {
    let stat = stat(&format!("/proc/{pid}/stat"))?;
    let page = rustix::param::page_size() as u64;
    Some(Usage { cpu: cpu(&stat, 14)?, memory: field(&stat, 24)?.checked_mul(page)? })
}

/// Time for which those had a processor that this process started and waited for, in
/// microseconds.
pub(super) fn of_children() -> u64 {
    stat("/proc/self/stat").and_then(|stat| cpu(&stat, 16)).unwrap_or(0)
}

/// The text of such a file, in one read: it says nothing of its length, and who does not know
/// that begins with a few bytes.
fn stat(path: &str) -> Option<String> {
    let mut text = vec![0; STAT];
    let n = File::open(path).and_then(|mut file| file.read(&mut text)).ok()?;
    text.truncate(n);
    String::from_utf8(text).ok()
}

/// The sum of two fields, which are of time.
fn cpu(stat: &str, at: usize) -> Option<u64> {
    let ticks = field(stat, at)?.checked_add(field(stat, at + 1)?)?;
    ticks.checked_mul(1_000_000)?.checked_div(rustix::param::clock_ticks_per_second())
}

/// A field behind the name; they are counted from 1 on.
fn field(stat: &str, at: usize) -> Option<u64> {
    // The second is a name in parentheses, in which there may be any character.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(at.checked_sub(3)?)?.trim_end().parse().ok()
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
        let stat = "5 (a) b (c)) S 1 5 5 0 -1 4194304 1 2 3 4 100 50 7 3 20 0 1 0 9 9 25\n";
        let tick = 1_000_000 / rustix::param::clock_ticks_per_second();
        assert_eq!((cpu(stat, 14), cpu(stat, 16)), (Some(150 * tick), Some(10 * tick)));
        assert_eq!(field(stat, 24), Some(25));
        for bad in ["", "5 (a", "5 (a) S", "5 (a) S 1 2 3 4 5 6 7 8 9 10 x 1"] {
            assert_eq!((cpu(bad, 14), field(bad, 24)), (None, None));
        }
    }
}
