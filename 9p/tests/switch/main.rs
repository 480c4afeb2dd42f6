//! A client of a tree in which others are mounted.

mod border;
#[path = "../common/mod.rs"]
mod common;
mod ends;
mod same;
mod world;

use atoll_9p::fault::Errno;
use atoll_9p::server::Limits;
use atoll_9p::types::OpenFlags;
use common::*;
use world::{Net, World, references};
