//! What a domain does, as `xl` lists it: a table whose columns are told apart by spaces.
//! Its JSON says nothing of that.

use std::time::Duration;

use anyhow::Result;

use super::{run, store};

/// What a domain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    /// It runs, or stands still and may go on.
    Alive,
    /// It was suspended, to be saved or moved.
    Suspended,
    /// It has ended, and is still there.
    Ended,
    /// There is none.
    Gone,
}

/// SHUTDOWN_suspend (xen/include/public/sched.h).
const SUSPEND: u32 = 2;

/// Looks at a domain.
pub(super) fn look(domid: u16) -> Is {
    match run(&["list", "-v", &domid.to_string()]) {
        Ok(out) if out.status.success() => parse(&String::from_utf8_lossy(&out.stdout), domid),
        _ => Is::Gone,
    }
}

/// Name, number, memory, processors, state, time, uuid, and the reason of its end if it has
/// ended (`list_domains` in xl_list.c).
fn parse(table: &str, domid: u16) -> Is {
    for line in table.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, number, _, _, _, _, _, reason, ..] = columns.as_slice() else { continue };
        if number.parse() != Ok(domid) {
            continue;
        }
        return match u32::from_str_radix(reason, 16) {
            Ok(SUSPEND) => Is::Suspended,
            Ok(_) => Is::Ended,
            Err(_) => Is::Alive,
        };
    }
    Is::Gone
}

/// Waits until the domain has ended, or is gone. Whether it was seen suspended before.
pub(super) fn wait_end(uuid: &str) -> Result<bool> {
    let mut suspended = false;
    let mut store = store::open()?;
    // Told when any domain has shut down, too.
    store::watch(&mut store, "@releaseDomain")?;
    while let Some(domid) = store::by_uuid(&mut store, uuid)? {
        match look(domid) {
            Is::Ended => break,
            Is::Suspended => suspended = true,
            Is::Alive | Is::Gone => {}
        }
        let event = store.wait_event(Duration::from_secs(3600));
        event.map_err(|e| anyhow::anyhow!("{e}"))?;
    }
    Ok(suspended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let table = |reason: &str| {
            format!(
                "Name      ID   Mem VCPUs\tState\tTime(s)   UUID   Reason-Code\tSecurity Label\n\
                 hello      2     4     1     --p---       0.1 \
                 2a07ca1e-8c37-409e-b652-bcfdfad6a487        {reason}                -\n"
            )
        };
        for (reason, is) in
            [("-", Is::Alive), ("2", Is::Suspended), ("0", Is::Ended), ("3", Is::Ended)]
        {
            assert_eq!(parse(&table(reason), 2), is);
        }
        assert_eq!(parse(&table("-"), 3), Is::Gone);
        assert_eq!(parse("", 3), Is::Gone);
    }
}
