//! Measuring before everybody else: on a busy machine nobody waits here for others'
//! programs. Only while something is measured: what is built in between has time.

use rustix::process::{getpriority_process, setpriority_process};

/// The highest there is (`setpriority(2)`).
pub(crate) const NICE: i32 = -20;

/// This thread is urgent while a value lives, if it has the right to be.
#[derive(Debug)]
pub struct Urgent(Option<i32>);

impl Urgent {
    /// From now on.
    pub fn new() -> Urgent {
        let before = getpriority_process(None).ok();
        let raised = setpriority_process(None, NICE).is_ok();
        Urgent(before.filter(|_| raised))
    }
}

impl Default for Urgent {
    fn default() -> Urgent {
        Urgent::new()
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            let _ = setpriority_process(None, before);
        }
    }
}
