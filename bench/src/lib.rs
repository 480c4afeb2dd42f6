//! Measurements that can be believed: each figure beside a floor or a peer of the
//! same run.
//!
//! What is compared is run interleaved, so that a busy machine is busy for all of
//! it; a figure is a median with its 10th and 90th percentile. CPU time is that of
//! the measured program alone, read at the very moment of its answer. Whatever a
//! peer cannot be run for here is quoted, and says so. Invariant: nothing in the
//! product knows this crate, and this crate meets the product as its users do: by
//! its programs, its images and 9P, and in dom0 by the clients in `xen`.
#![forbid(unsafe_code)]

pub mod atoms;
pub mod boot;
pub mod build;
pub mod density;
pub mod figure;
pub mod floor;
pub mod leash;
pub mod linux;
pub mod load;
pub mod machine;
pub mod nine;
pub mod p9;
pub mod proc;
pub mod processes;
pub mod product;
pub mod qemu;
pub mod readme;
pub mod samples;
pub mod size;
pub mod supervisor;
pub mod table;
pub mod tender;
pub mod urgent;
pub mod xen;
