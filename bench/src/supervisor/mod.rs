//! `supervisor`: what the daemon costs, beside doing without it.

use std::path::Path;

use anyhow::Result;

use crate::figure::Figure;
use crate::p9::guests;
use crate::p9::place::Place;
use crate::product;

mod daemon;
mod through;

/// The guest that is measured.
const GUEST: &str = "bench";

/// Measures.
pub fn run(root: &Path, runs: usize, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    say("building atoll, the tender and a guest with files");
    let args = ["--release", "--package", "atoll-supervisor", "--bin", "atoll"];
    let atoll = product::cargo(root, &args, "atoll")?;
    let args = ["--release", "--package", "atoll-tender", "--bin", "atoll-tender"];
    let tender = product::cargo(root, &args, "atoll-tender")?;
    let place = Place::new()?;
    let image = guests::image(root, &place)?;
    through::run(&place, &atoll, &tender, &image, runs, say)
}
