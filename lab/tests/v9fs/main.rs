//! Our server under the 9P client that people have: the Linux kernel's.
//!
//! One guest is booted for all of it, since a boot is what costs. Every case is run
//! and reported, and after each the guest's kernel must have had nothing to complain
//! about.

mod files;
mod live;
mod mounts;
mod report;
mod streams;

use std::path::Path;

use anyhow::Result;
use atoll_lab::linux::{Linux, Setup};

fn setup() -> Result<Setup> {
    let own = std::env::current_exe()?;
    Setup::new()?
        // What busybox has not, or does otherwise.
        .program("usr/bin/flock", Path::new("/usr/bin/flock"))?
        .program("usr/bin/gnu-cat", Path::new("/bin/cat"))?
        // This test as a program of the guest: see `files::lock_in_the_guest`.
        .program("usr/bin/own", &own)
        .map(|s| s.file("etc/passwd", b"root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\n"))
}

#[test]
fn the_kernels_client_is_served() {
    let linux = match setup() {
        Ok(setup) => Linux::boot(setup).unwrap(),
        Err(why) => return atoll_lab::left_out(why),
    };
    let mut report = report::Report::default();
    files::run(&linux, &mut report);
    streams::run(&linux, &mut report);
    live::run(&linux, &mut report);
    println!("the guest used {:.0} ms of CPU time", linux.cpu().unwrap());
    let failed = report.failed;
    assert!(failed.is_empty(), "failed: {failed:#?}\nthe console: {}", linux.console());
}
