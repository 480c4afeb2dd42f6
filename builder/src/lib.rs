//! From a guest's configuration to its image.
//!
//! ```text
//! guest.toml ── config::text ──▶ Checked ─┬─▶ Payload ────────┐
//!                                         └─▶ kinds ▶ Flavour ┴─▶ assemble ─▶ image
//! ```
//!
//! Only a [`flavour`] needs a compiler, and only when its sources change: that is
//! why a changed value becomes an image in milliseconds. The verbs of `cargo
//! xtask` are in `src/cmd/`, one file each.
#![forbid(unsafe_code)]

pub mod assemble;
pub mod atoms;
pub mod build;
pub mod cargo;
pub mod files;
pub mod flavour;
pub mod fuzzer;
pub mod inputs;
pub mod pack;
pub mod plan;
pub mod repo;
pub mod rustc;
pub mod show;
pub mod sizes;
pub mod tidy;
pub mod ui;
