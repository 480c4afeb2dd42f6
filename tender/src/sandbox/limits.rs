//! Limits of the system, behind those that the tender keeps by itself.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::Needs;

/// What the tender itself may use, besides the guest's memory and what is mapped
/// when the sandbox begins: its stack, and what the allocator holds in reserve.
pub const ALLOWANCE: u64 = 16 << 20;

/// The most that may be written to a file, should the record go to one.
const RECORD: u64 = 1 << 20;

/// Sets the limits.
pub(super) fn set(needs: &Needs<'_>) -> io::Result<()> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = |i| {
        let n = statm.split_whitespace().nth(i);
        n.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    let page = rustix::param::page_size() as u64;
    let (mapped, data) = (pages(0) * page, pages(5) * page);
    let more = needs.memory.saturating_add(ALLOWANCE);
    let highest = needs.fds.iter().max().map_or(2, |&fd| fd as u64);
    for (resource, limit) in [
        (Resource::As, mapped.saturating_add(more)),
        (Resource::Data, data.saturating_add(more)),
        (Resource::Nofile, highest + 1 + needs.connections),
        (Resource::Core, 0),
        (Resource::Nproc, 0),
        (Resource::Fsize, RECORD),
    ] {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limit)?;
    }
    Ok(())
}
