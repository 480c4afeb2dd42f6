//! `supervisor`: what the daemon costs, beside doing without it.

use std::path::Path;

use anyhow::Result;

use crate::figure::Figure;
use crate::p9::guests;
use crate::p9::place::Place;
use crate::product;

pub(crate) mod daemon;
mod launch;
pub(crate) mod memory;
mod through;
mod watchers;

/// The guest that is measured.
const GUEST: &str = "bench";

/// Measures.
pub fn run(root: &Path, runs: usize, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    say("building atoll, the tender and guests");
    let programs = Programs::build(root)?;
    let Programs { atoll, tender, .. } = &programs;
    let place = Place::new()?;
    let image = guests::image(root, &place)?;
    let mut figures = launch::run(&place, &programs, runs, say)?;
    figures.extend(memory::run(&place, &programs, say)?);
    figures.extend(watchers::run(&place, atoll, tender, runs, say)?);
    figures.extend(through::run(&place, atoll, tender, &image, runs, say)?);
    Ok(figures)
}

/// What is run.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) atoll: std::path::PathBuf,
    pub(crate) tender: std::path::PathBuf,
    /// The image of the smallest guest.
    pub(crate) hello: std::path::PathBuf,
}

impl Programs {
    /// Builds them, if that is not done yet.
    pub(crate) fn build(root: &Path) -> Result<Programs> {
        let args = ["--release", "--package", "atoll-supervisor", "--bin", "atoll"];
        let atoll = product::cargo(root, &args, "atoll")?;
        let args = ["--release", "--package", "atoll-tender", "--bin", "atoll-tender"];
        let tender = product::cargo(root, &args, "atoll-tender")?;
        let hello = product::Builder::find(root)?.build(Path::new("hello"), None)?.image;
        Ok(Programs { atoll, tender, hello })
    }
}
