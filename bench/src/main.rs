//! `cargo xtask bench`: the measurements, and their table in the README.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use atoll_bench::atoms::{self, actors, interpreter};
use atoll_bench::density::limits;
use atoll_bench::figure::Figure;
use atoll_bench::load::echo;
use atoll_bench::machine::Host;
use atoll_bench::p9::{self, place};
use atoll_bench::readme::{DENSITY, NAMES, Run};
use atoll_bench::{
    boot, build, density, leash, proc, product, readme, size, supervisor, table, xen,
};
use clap::Parser;

/// Measure, each figure beside a peer or a floor of the same run.
///
/// Figures go to stdout, progress to stderr; the last run of each is kept in
/// target/atoll/bench, where `readme` takes them from.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
#[command(after_help = "Examples:
  cargo xtask bench                  all of it
  cargo xtask bench boot --runs 50
  cargo xtask bench 9p --only getattr --servers ours,diod --runs 10
  cargo xtask bench size --json | jq 'select(.met == false)'
  cargo xtask bench density --process 200 --qemu 20
  cargo xtask bench readme")]
struct Args {
    /// What to measure, or `readme` to write the last figures into README.md and docs/figures.md.
    #[arg(default_value = "all", value_parser = ["all", "boot", "size", "build", "9p", "atoms", "supervisor", "xen", "density", "readme"])]
    what: String,
    /// Print a line of JSON for each figure.
    #[arg(long)]
    json: bool,
    /// Runs of each case that is compared.
    #[arg(long, default_value_t = 25)]
    runs: usize,
    #[command(flatten)]
    choice: p9::Choice,
    #[command(flatten)]
    guests: density::Crowd,
    /// Say nothing but figures and errors.
    #[arg(short, long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match words.split_first() {
        Some((first, rest)) if first == proc::BECOME => proc::become_it(rest),
        Some((first, [socket, data, size])) if first == echo::ECHO => {
            echo::run(socket, data, &size.to_string_lossy())
        }
        Some((first, _)) if first == leash::LEASH => leash::hold(std::io::stdin().lock()),
        Some((first, [])) if first == actors::ACTIX => actors::run(),
        Some((first, [wasm])) if first == interpreter::WASMI => interpreter::run(Path::new(wasm)),
        Some((first, rest)) if first == xen::dom0::INSIDE => xen::dom0::run(rest),
        Some((first, [dir])) if first == place::SWEEP => place::sweep(Path::new(dir)),
        Some((first, [file, value])) if first == limits::RESTORE => {
            limits::restore(Path::new(file), &value.to_string_lossy())
        }
        _ => run(&Args::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let root = product::root()?;
    if args.what == "readme" {
        return readme::update(&root);
    }
    for name in NAMES {
        if args.what == name || args.what == "all" && name != DENSITY {
            if args.what == "all"
                && name == "xen"
                && let Err(why) = xen::can(&root)
            {
                eprintln!("xen is left out: {why}");
                continue;
            }
            let figures = measure(name, &root, args)?;
            show(&figures, args.json)?;
            // A part of them would stand for all in the README.
            if args.choice.is_all() || !matches!(name, "9p" | "atoms") {
                Run { host: Host::here(), figures }.save(&root, name)?;
            }
        }
    }
    Ok(())
}

fn measure(name: &str, root: &Path, args: &Args) -> Result<Vec<Figure>> {
    let say = |line: &str| {
        if !args.quiet {
            eprintln!("{:>12} {line}", "Measuring");
        }
    };
    match name {
        "boot" => boot::run(root, args.runs, &say),
        "size" => size::run(root, &say),
        "9p" => p9::run(root, &args.choice, args.runs, &say),
        "atoms" => atoms::run(root, &args.choice.only, args.runs, &say),
        "supervisor" => supervisor::run(root, args.runs, &say),
        "xen" => xen::run(root, args.runs, &say),
        DENSITY => density::run(root, &args.guests, &say),
        _ => build::run(root, args.runs, &say),
    }
}

fn show(figures: &[Figure], json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        for figure in figures {
            writeln!(out, "{}", serde_json::to_string(figure)?)?;
        }
    } else {
        writeln!(out, "{}", table::plain(figures))?;
    }
    Ok(())
}
