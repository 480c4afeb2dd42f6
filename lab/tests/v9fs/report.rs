//! What came of the cases.

use std::panic::{AssertUnwindSafe, catch_unwind};

use atoll_lab::linux::Linux;

/// What came of the cases.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) failed: Vec<String>,
}

impl Report {
    /// Runs a case. Whatever comes of it, the next one finds nothing mounted.
    pub(crate) fn case(&mut self, linux: &Linux, name: &str, case: impl FnOnce()) {
        let before = linux.cpu().unwrap_or_default();
        let result = catch_unwind(AssertUnwindSafe(|| {
            case();
            assert_eq!(linux.complaints().unwrap(), [""; 0], "the guest's kernel complains");
        }));
        let cost = linux.cpu().unwrap_or_default() - before;
        let done = if result.is_ok() { "ok" } else { "FAILED" };
        println!("v9fs, {name} ... {done}, {cost:.0} ms of CPU time");
        if result.is_err() {
            self.failed.push(name.to_owned());
            // For the next one: no mount, no old complaint. It may also be dead.
            let _ = linux
                .run("for m in $(grep ' 9p ' /proc/mounts | cut -d' ' -f2); do umount -l $m; done");
            let _ = linux.complaints();
        }
    }
}
