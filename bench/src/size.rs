//! `size`: bytes of an image, and the memory that its guest needs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use atoll_config::image::{Image, SegmentKind};

use crate::figure::Figure;
use crate::nine::Nine;
use crate::qemu::{Kernel, Shell};
use crate::{product, tender};

/// For an image that boots on QEMU and on Xen.
const GOAL_BYTES: f64 = (128 << 10) as f64;
const GOAL_MEMORY: f64 = 4.0;

/// Figures of other projects' guests, measured elsewhere and not run here.
const PEER_BYTES: (&str, f64) = ("Solo5 hello virtio (quoted)", 225_400.0);
const PEER_MEMORY: (&str, f64) = ("Solo5, Unikraft (quoted)", 2.0);

/// What a guest that serves has answered.
const FILE: &str = "export/greeter/greeting";

/// Measures.
pub fn run(root: &Path, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    crate::qemu::find()?;
    say("building hello and the tender");
    let built = product::Builder::find(root)?.build(Path::new("hello"), None)?;
    let image = product::image(&built.image)?;
    let tender = product::cargo(
        root,
        &["--release", "--package", "atoll-tender", "--bin", "atoll-tender"],
        "atoll-tender",
    )?;
    let mut out = bytes(&image);
    out.extend(memory(&built.image, image.manifest().memory.div_ceil(1 << 20), say)?);
    say("memory of the tender");
    let mut guest = tender::start(&tender, &built.image)?;
    serves(&mut guest.nine).context("the tender's guest")?;
    let (all, own) = guest.running.memory()?;
    out.push(Figure::new("size", "hello as a process", "resident", "KiB", all as f64));
    out.push(Figure::new("size", "hello as a process", "resident, written", "KiB", own as f64));
    Ok(out)
}

fn bytes(image: &Image) -> Vec<Figure> {
    let one = |metric: &str, n: u64| Figure::new("size", "hello image", metric, "bytes", n as f64);
    let whole = one("whole file", image.bytes().len() as u64);
    let mut out = vec![whole.beside(PEER_BYTES.0, PEER_BYTES.1).at_most(GOAL_BYTES)];
    let loads: Vec<_> = image.segments().iter().filter(|s| s.kind == SegmentKind::Load).collect();
    for (i, s) in loads.iter().enumerate() {
        // The builder puts the payload behind all of the kernel.
        let name = match s.mode().as_str() {
            _ if i + 1 == loads.len() => "payload".to_owned(),
            mode => format!("kernel {mode}"),
        };
        out.push(one(&name, s.filesz));
    }
    let used: u64 = loads.iter().map(|s| s.filesz).sum();
    out.push(one("notes, headers, seal", image.bytes().len() as u64 - used));
    let end = loads.iter().map(|s| s.paddr + s.memsz).max().unwrap_or(0);
    let begin = loads.iter().map(|s| s.paddr).min().unwrap_or(0);
    out.push(one("in memory", end - begin));
    out
}

fn memory(path: &Path, stated: u64, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    let image = Kernel::open(path)?;
    let mut out = Vec::new();
    let mut why = None;
    for mib in 1..=16 {
        say(&format!("does hello serve with -m {mib}M?"));
        match try_with(&image, mib) {
            Ok(_) => {
                let least = Figure::new("size", "hello on QEMU", "least -m", "MiB", mib as f64);
                out.push(least.beside(PEER_MEMORY.0, PEER_MEMORY.1).at_most(GOAL_MEMORY));
                break;
            }
            Err(e) => why = Some(e),
        }
    }
    if out.is_empty() {
        return Err(why.context("no run")?).context("hello does not serve with 16 MiB either");
    }
    let (all, own) = try_with(&image, stated)?;
    out.push(Figure::new("size", "hello on QEMU", "resident", "KiB", all as f64));
    out.push(Figure::new("size", "hello on QEMU", "resident, written", "KiB", own as f64));
    Ok(out)
}

/// Boots with so much memory and reads a file; says what QEMU's process then has.
fn try_with(image: &Kernel, mib: u64) -> Result<(u64, u64)> {
    let mut machine = Shell::guest(mib).start(image, None)?;
    let control = machine.control.take().context("a shell without streams")?;
    let served = Nine::new(control, Duration::from_secs(3)).and_then(|mut nine| serves(&mut nine));
    served.with_context(|| format!("{} {}", machine.state(), machine.record()))?;
    machine.running.memory()
}

fn serves(nine: &mut Nine) -> Result<()> {
    nine.version()?;
    nine.attach()?;
    nine.read(FILE)?;
    Ok(())
}
