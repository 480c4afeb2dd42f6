//! `build`: from a changed value in a configuration to an image.
//!
//! The kernel is in the cache, as it is after the first build, and the builder is
//! the one that `cargo xtask` runs, with its profile. The floor is what any builder
//! must do: write the image's bytes under its name, at once.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::figure::Figure;
use crate::product;
use crate::samples::Samples;

const GOAL: f64 = 200.0;
/// Of other machines: changing one value and making the image again.
const PEER: (&str, f64) = ("Nanos 5.6 s, Unikraft 29 s (quoted)", 5600.0);

/// Measures with that many runs.
pub fn run(root: &Path, runs: usize, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    say("building the builder, and hello once");
    let builder = product::Builder::find(root)?;
    let source = root.join("images/hello/guest.toml");
    let text = std::fs::read_to_string(&source).context("cannot read images/hello/guest.toml")?;
    // Where images are made: another file system would have other figures.
    let kept = root.join("target/atoll/bench");
    std::fs::create_dir_all(&kept).context("cannot make target/atoll/bench")?;
    let dir = tempfile::Builder::new().prefix("build-").tempdir_in(&kept)?;
    let (config, image) = (dir.path().join("guest.toml"), dir.path().join("hello.img"));
    std::fs::write(&config, &text)?;
    builder.build(&config, Some(&image))?;

    let mut phases: Vec<(String, Samples)> = Vec::new();
    let (mut wall, mut floor) = (Samples::default(), Samples::default());
    let mut last = std::fs::read(&image)?;
    for round in 1..=runs {
        say(&format!("a value changes: round {round} of {runs}"));
        let changed = text.replace("\"world\"", &format!("\"world {round}\""));
        if changed == text {
            bail!("images/hello/guest.toml has no value \"world\" to change");
        }
        std::fs::write(&config, changed)?;
        let begin = Instant::now();
        let built = builder.build(&config, Some(&image))?;
        wall.push(begin.elapsed().as_secs_f64() * 1e3);
        if built.kernel != "cached" {
            bail!("the builder compiled something, though only a value had changed");
        }
        for (name, value) in &built.ms {
            let value = value.as_f64().context("a phase that is no number")?;
            match phases.iter_mut().find(|p| p.0 == *name) {
                Some(phase) => phase.1.push(value),
                None => {
                    let mut samples = Samples::default();
                    samples.push(value);
                    phases.push((name.clone(), samples));
                }
            }
        }
        let bytes = std::fs::read(&image)?;
        if bytes == last {
            bail!("another value made the same image");
        }
        let begin = Instant::now();
        let (from, to) = (dir.path().join("copy.tmp"), dir.path().join("copy.img"));
        std::fs::write(&from, &bytes)?;
        std::fs::rename(&from, &to)?;
        floor.push(begin.elapsed().as_secs_f64() * 1e3);
        last = bytes;
    }
    let mut out = Vec::new();
    let least = floor.spread().context("no runs")?;
    let mut add =
        |metric: &str, samples: &Samples, peer: Option<(&str, f64)>, goal: Option<f64>| {
            let Some(spread) = samples.spread() else { return };
            let mut f = Figure::new("build", "one value changed", metric, "ms", spread.median);
            f = peer.into_iter().fold(f, |f, (name, value)| f.beside(name, value));
            f = goal.into_iter().fold(f, Figure::at_most);
            out.extend(f.with(spread));
        };
    for (name, samples) in &phases {
        match name.as_str() {
            "total" => add("inside the builder", samples, Some(PEER), Some(GOAL)),
            "write" => {
                add("phase write", samples, Some(("floor: write and rename", least.median)), None)
            }
            _ => add(&format!("phase {name}"), samples, None, None),
        }
    }
    add("whole program", &wall, None, None);
    add("floor: write and rename", &floor, None, None);
    Ok(out)
}
