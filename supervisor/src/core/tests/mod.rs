//! A whole supervisor in one process, from a seed.

mod behave;
mod chaos;
mod shims;
mod story;
mod table;
mod world;

pub(super) use world::Rng;
