//! `xen`: guests as domains of a real Xen, beside what their host does without them.
//!
//! All of it in one lab, which has one processor and emulates it: times are long there, so
//! what counts is what a figure is to the one beside it. What is timed is timed in dom0, by
//! this program itself, which is copied there ([`dom0`]); nothing between the lab and its host
//! is a part of any figure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use atoll_config::xl::Domain;
use atoll_lab::xen::{Lab, Store};

use crate::figure::{AS_LONG, Figure, TIMES};
use crate::p9::guests;
use crate::p9::place::Place;
use crate::samples::Samples;
use crate::{proc, product};

pub mod dom0;
mod start;
mod store;
mod stream;
mod trips;

/// The domain that is started again and again.
const HELLO: &str = "hello";
/// The one with a file to read, and rings of 64 KiB.
const FILES: &str = "files";
/// The one that sends back what comes: the same kernel without a guest.
const ECHO: &str = "echo";

/// Where the product's program is in dom0.
const ATOLL: &str = "/run/atoll";

/// Rounds are slow there, so that there are fewer of them.
const MOST: usize = 15;
/// The rate of a vchan with the small rings that libxenvchan's tools make, in MB/s: measured
/// in the same lab at the project's beginning.
const SMALL_RINGS: f64 = 0.24;

/// What a measurement in dom0 saw, by name.
pub(crate) type Seen = BTreeMap<String, Vec<f64>>;

/// Whether there can be a lab here; why not, if there cannot.
pub fn can(root: &Path) -> Result<()> {
    let packages = root.join("target/atoll/debian/xen-4.17");
    ensure!(
        packages.is_dir(),
        "the packages of Xen 4.17 are not here (scripts/setup.sh gets them)"
    );
    Ok(())
}

/// Measures.
pub fn run(root: &Path, runs: usize, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    let runs = runs.min(MOST);
    say("building guests, and a kernel that echoes");
    let place = Place::empty()?;
    let hello = product::Builder::find(root)?.build(Path::new(HELLO), None)?.image;
    let files = guests::image(root, &place)?;
    let echo = echo(root)?;
    let args = ["--release", "--package", "atoll-supervisor", "--bin", "atoll"];
    let atoll = product::cargo(root, &args, "atoll")?;
    let lab = Lab::with(Store::C, None, &mut |line| say(line))?;
    lab.bring("bench", &proc::own()?)?;
    lab.bring("atoll", &atoll)?;
    // In memory, where `xl` is too: what is shared with this host is slow to start programs from.
    lab.ok(&format!("cp /mnt/atoll {ATOLL}"))?;
    let domains = [(HELLO, &hello, 4), (FILES, &files, 16), (ECHO, &echo, 16)];
    for (name, image, memory) in domains {
        let kernel = lab.bring(&format!("{name}.img"), image)?;
        let domain = Domain { name, kernel: &kernel, memory: memory << 20, ..Domain::default() };
        lab.put(&format!("{name}.cfg"), domain.config().as_bytes())?;
    }
    let measure = |what: &str, runs: usize| -> Result<Seen> {
        let bench = format!("/mnt/bench {} {what} {runs}", dom0::INSIDE);
        // `xl` talks of this and that, which is only shown when something fails.
        let text = lab.ok(&format!("{bench} 2>/run/said || {{ cat /run/said; exit 1; }}"))?;
        serde_json::from_str(&text).with_context(|| format!("what dom0 says: {text}"))
    };
    let mut figures = Vec::new();
    say(&format!("starts, {runs} rounds"));
    figures.extend(starts(&measure("start", runs)?)?);
    say(&format!("XenStore, {runs} rounds"));
    figures.extend(stores(&measure("store", runs)?)?);
    lab.ok(&format!("xl create -q /mnt/{FILES}.cfg && xl create -q /mnt/{ECHO}.cfg"))?;
    say(&format!("round trips, {runs} rounds"));
    figures.extend(trips(&measure("trips", runs)?)?);
    say(&format!("streams, {runs} rounds"));
    figures.extend(streams(&measure("stream", runs)?)?);
    say("idle guests, 30 s");
    figures.extend(idle(&measure("idle", 1)?)?);
    Ok(figures)
}

/// Compiles the kernel with nothing in it but an echo.
fn echo(root: &Path) -> Result<PathBuf> {
    let args = ["--release", "--locked", "--no-default-features", "--features", "echo,qemu,xen"];
    let target = root.join("target/atoll/kernel-echo");
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root.join("unikernel"))
        .args(["build", "--quiet"])
        .args(args)
        .arg("--target-dir")
        .arg(&target)
        .status()
        .context("cannot run cargo")?;
    ensure!(built.success(), "the kernel that echoes cannot be built");
    Ok(target.join("x86_64-unknown-linux-gnu/release/atoll-unikernel"))
}

fn samples(seen: &Seen, name: &str) -> Result<Samples> {
    let mut samples = Samples::default();
    let all = seen.get(name).with_context(|| format!("dom0 saw no {name}"))?;
    all.iter().for_each(|v| samples.push(*v));
    Ok(samples)
}

/// A figure of a case with its spread, beside the median of another.
fn beside(
    case: &str,
    metric: &str,
    unit: &str,
    of: &Samples,
    peer: Option<(&str, &Samples)>,
) -> Result<Vec<Figure>> {
    let spread = of.spread().context("no runs")?;
    let mut figure = Figure::new("xen", case, metric, unit, spread.median);
    if let Some((name, peer)) = peer {
        figure = figure.beside(name, peer.spread().context("no runs")?.median);
    }
    Ok(figure.with(spread))
}

/// What one is of the other, round by round, and the most that is good enough.
fn times(case: &str, metric: &str, of: &Samples, peer: &Samples, goal: f64) -> Result<Vec<Figure>> {
    let spread = of.over(peer).spread().context("no runs")?;
    let figure = Figure::new("xen", case, metric, AS_LONG, spread.median);
    Ok(figure.at_most(goal).with(spread))
}

fn starts(seen: &Seen) -> Result<Vec<Figure>> {
    let (reply, alone) = (samples(seen, "reply")?, samples(seen, "alone")?);
    let case = "start of hello";
    let peer = Some(("xl create alone", &alone));
    let mut out = beside(case, "first 9P reply after", "ms", &reply, peer)?;
    out.extend(times(case, "first 9P reply, of xl create alone", &reply, &alone, 1.1)?);
    for (name, case, goal) in [
        ("plain", "start of hello by the supervisor", 1.1),
        ("shelled", "start of hello by the supervisor, in a prepared shell", 0.5),
    ] {
        let took = samples(seen, name)?;
        out.extend(beside(case, "first 9P reply after", "ms", &took, peer)?);
        out.extend(times(case, "first 9P reply, of xl create alone", &took, &alone, goal)?);
    }
    Ok(out)
}

fn stores(seen: &Seen) -> Result<Vec<Figure>> {
    let mut out = Vec::new();
    for (what, case) in
        [("read", "xenstore-fs, a value read"), ("write", "xenstore-fs, a value written")]
    {
        let (ours, bare) = (samples(seen, what)?, samples(seen, &format!("bare {what}"))?);
        let peer = Some(("xenstored's own protocol", &bare));
        out.extend(beside(case, "round trip", "µs", &ours, peer)?);
        out.extend(times(case, "round trip, of xenstored's own", &ours, &bare, 2.0)?);
    }
    Ok(out)
}

fn trips(seen: &Seen) -> Result<Vec<Figure>> {
    let (nine, echo) = (samples(seen, "getattr")?, samples(seen, "echo")?);
    let case = "getattr over vchan";
    let peer = Some(("bare vchan echo", &echo));
    let mut out = beside(case, "round trip", "µs", &nine, peer)?;
    out.extend(times(case, "round trip, of a bare echo", &nine, &echo, 2.0)?);
    Ok(out)
}

fn streams(seen: &Seen) -> Result<Vec<Figure>> {
    let (read, echo) = (samples(seen, "read")?, samples(seen, "echo")?);
    let mut out = beside(
        "read over vchan",
        "rate",
        "MB/s",
        &read,
        Some(("bare vchan echo, each way", &echo)),
    )?;
    let spread = echo.spread().context("no runs")?;
    let rate = Figure::new("xen", "vchan stream, each way", "rate", "MB/s", spread.median);
    out.extend(rate.beside("small rings (quoted)", SMALL_RINGS).with(spread));
    for (case, of) in [("read over vchan", &read), ("vchan stream, each way", &echo)] {
        let median = of.spread().context("no runs")?.median;
        let over = median / SMALL_RINGS;
        let figure = Figure::new("xen", case, "of small rings (quoted)", TIMES, over);
        out.push(figure.at_least(20.0));
    }
    Ok(out)
}

fn idle(seen: &Seen) -> Result<Vec<Figure>> {
    let mut out = Vec::new();
    for (name, case) in [("connected", "idle, connected"), ("alone", "idle")] {
        let spread = samples(seen, name)?.spread().context("no runs")?;
        let metric = "vCPU time in 30 s, as xl shows it (steps of 100 ms)";
        out.push(Figure::new("xen", case, metric, "ms", spread.median).at_most(0.0));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_packages_of_xen_there_is_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let why = can(dir.path()).unwrap_err().to_string();
        assert!(why.contains("scripts/setup.sh"), "{why}");
        std::fs::create_dir_all(dir.path().join("target/atoll/debian/xen-4.17")).unwrap();
        assert!(can(dir.path()).is_ok());
    }
}
