//! Limits of the system, behind those that the tender keeps by itself.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::Needs;

/// What the tender itself may use, besides the guest's memory and what is mapped
/// when the sandbox begins: its stack, and what the allocator holds in reserve.
pub const ALLOWANCE: u64 = 16 << 20;

/// The most that may be written to a file, should the record go to one.
const RECORD: u64 = 1 << 20;

/// The highest descriptor that is open, standard error at the least.
fn highest_fd() -> io::Result<u64> {
    let open = std::fs::read_dir("/proc/self/fd")?;
    let numbers = open.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.max().unwrap_or(2).max(2))
}

/// Sets the limits.
pub(super) fn set(needs: &Needs) -> io::Result<()> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = |i| {
        let n = statm.split_whitespace().nth(i);
        n.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    let page = rustix::param::page_size() as u64;
    let (mapped, data) = (pages(0) * page, pages(5) * page);
    let more = needs.memory.saturating_add(ALLOWANCE);
    // A memory of an atom is a reservation of 4 GiB, of which nothing is there at first:
    // what is there is data.
    let address = if needs.atoms { Resource::Data } else { Resource::As };
    let data = data.saturating_add(more);
    for (resource, limit) in [
        (address, if needs.atoms { data } else { mapped.saturating_add(more) }),
        (Resource::Data, data),
        (Resource::Nofile, highest_fd()? + 1 + needs.connections),
        (Resource::Core, 0),
        (Resource::Nproc, 0),
        (Resource::Fsize, RECORD),
    ] {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limit)?;
    }
    Ok(())
}
