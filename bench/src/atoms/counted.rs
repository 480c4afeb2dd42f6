//! The same work on QEMU, by instructions.
//!
//! Time means little there, since every instruction is imitated by a dozen of the host's.
//! So they are counted: QEMU lets the guest's clock tick once for each, and the guest's own
//! account of its time is then their number. The program beside it is counted by valgrind.
//! Neither count depends on what else the machine does; one piece less is subtracted, and
//! with it all that is not work.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{MemfdFlags, memfd_create};

use super::compute::{COMPILERS, KINDS, compiled};
use super::worker::{ANSWERS, Follows, LINES};
use super::{Bench, MEMORY};
use crate::boot::field;
use crate::figure::Figure;
use crate::nine::Nine;
use crate::proc::Program;
use crate::qemu::{Kernel, PATIENCE, Shell};

/// How many times the instructions an atom may take.
const GOAL: f64 = 1.7;
/// Pieces that are counted, after one that is not.
const PIECES: u32 = 8;
const VALGRIND: &str = "valgrind";

/// Measures.
pub(super) fn run(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    (bench.say)("instructions on QEMU");
    let programs: Vec<_> =
        COMPILERS.iter().filter_map(|c| Some((c, compiled(bench, c).ok()?))).collect();
    let shell = Shell { icount: true, ..Shell::guest(MEMORY) };
    let mut machine = shell.start(&Kernel::open(&bench.image)?, None)?;
    let control = machine.control.take().context("a shell without streams")?;
    let mut nine = Nine::new(control, PATIENCE)?;
    let answered = nine.version().and_then(|()| nine.attach());
    answered.with_context(|| format!("{} {}", machine.state(), machine.record()))?;
    let mut done = Follows::default();
    let mut out = Vec::new();
    for what in KINDS {
        let mut used = |n: u32| -> Result<(String, f64)> {
            let before = field(&String::from_utf8(nine.read("stats")?)?, "cpu_ns")?;
            let answer = done.ask(&mut nine, "compute", &format!("{what} {n}"))?;
            let after = field(&String::from_utf8(nine.read("stats")?)?, "cpu_ns")?;
            Ok((answer, after - before))
        };
        let ((_, one), (answer, all)) = (used(1)?, used(1 + PIECES)?);
        let ours = (all - one) / f64::from(PIECES);
        let mut best: Option<(&str, f64)> = None;
        for (compiler, program) in &programs {
            let ((_, one), (theirs, all)) =
                (counted(program, what, 1)?, counted(program, what, 1 + PIECES)?);
            ensure!(theirs == answer, "{what}: {compiler} gives {theirs}, the atom {answer}");
            let each = (all - one) / f64::from(PIECES);
            if best.is_none_or(|(_, least)| each < least) {
                best = Some((compiler, each));
            }
        }
        let (compiler, theirs) = best.context("there is no C compiler to compare with")?;
        let case = format!("{what}, atom on QEMU");
        let metric = format!("instructions beside {compiler} -O2");
        let times = Figure::new("atoms", &case, &metric, "× as many", ours / theirs);
        let each = Figure::new("atoms", &case, "instructions of a piece", "instructions", ours);
        out.push(times.at_most(GOAL));
        out.push(each.beside(&format!("{compiler} -O2"), theirs));
    }
    Ok(out)
}

/// What a program answers to one line, and the instructions of its whole life.
fn counted(program: &std::path::Path, what: &str, n: u32) -> Result<(String, f64)> {
    let file = |text: &str| -> Result<File> {
        let mut file = File::from(memfd_create("atoll-bench", MemfdFlags::CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        Ok(file)
    };
    let (line, mut answer) = (file(&format!("{what} {n}\n"))?, file("")?);
    let folder = tempfile::tempdir()?;
    let counts = folder.path().join("counts");
    let mut option = std::ffi::OsString::from("--callgrind-out-file=");
    option.push(&counts);
    Program::new(VALGRIND)?
        .args(["--quiet", "--tool=callgrind"])
        .arg(option)
        .arg(program)
        .fd(LINES, OwnedFd::from(line))
        .fd(ANSWERS, OwnedFd::from(answer.try_clone()?))
        .start()?
        .spent_in_all()?;
    let mut text = String::new();
    answer.rewind()?;
    answer.read_to_string(&mut text)?;
    let Ok(counts) = std::fs::read_to_string(&counts) else {
        bail!("{VALGRIND} counted nothing (scripts/setup.sh bench installs it)");
    };
    Ok((text.trim().to_owned(), field(&counts, "summary:")?))
}
