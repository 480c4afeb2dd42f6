//! A whole supervisor in one process, from a seed.

mod chaos;
mod shims;
mod table;
mod world;
