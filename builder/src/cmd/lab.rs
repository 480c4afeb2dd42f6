//! `lab`: a Xen host on any machine, for a person.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use atoll_lab::xen::Store;
use atoll_lab::xen::session::{self, Session};

use super::{Context, setup};

mod domain;
mod terminal;

/// A Xen host on any machine: real Xen 4.17 and its dom0, in QEMU.
///
/// The first `up` makes dom0 of Debian's packages and boots it, which takes ten seconds and
/// more; later ones go on from a snapshot of that, in less than one. What is in the folder
/// that `status` shows is at /mnt in dom0. A lab stays until `down`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask lab up
  cargo xtask lab sh xl list
  cargo xtask lab sh                       a shell in dom0
  cargo xtask lab run hello                boot images/hello as a PVH domain
  cargo xtask lab up --lab two             a second host
  cargo xtask lab migrate hello --to two   a live domain moves there
  cargo xtask lab down --all")]
pub(crate) struct Lab {
    /// Which lab.
    #[arg(long, global = true, default_value = "lab", value_name = "NAME")]
    lab: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Start a lab, in the background.
    Up {
        /// Run XenStore's daemon in OCaml instead of the one in C.
        #[arg(long)]
        oxenstored: bool,
    },
    /// End a lab, with all its domains.
    Down {
        /// End all of them.
        #[arg(long)]
        all: bool,
    },
    /// Run a command in dom0; without one, a shell, or a script from standard input.
    Sh {
        /// The command, for dom0's shell.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Start an image as a PVH domain and show its console until it ends or Ctrl-C ends it.
    Run(domain::Run),
    /// Move a domain that runs to another lab, by `xl migrate` over a wire.
    Migrate {
        /// The domain's name.
        domain: String,
        /// The lab that it goes to.
        #[arg(long)]
        to: String,
    },
    /// Show which labs are up, and their domains.
    Status {
        /// Print lines of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what Xen and dom0 have written on the serial console.
    Log,
    /// Remove the snapshots; the next `up` makes one.
    Clean,
    #[command(name = "__keep", hide = true)]
    Keep {
        #[arg(long)]
        oxenstored: bool,
    },
}

impl Lab {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let find = || Session::find(&self.lab);
        match self.verb {
            Verb::Up { oxenstored } => up(cx, &self.lab, oxenstored)?,
            Verb::Down { all } => {
                let labs = if all { session::all()? } else { vec![find()?] };
                for lab in labs {
                    lab.down()?;
                    cx.ui.step("Down", lab.name());
                }
            }
            Verb::Sh { command } => return terminal::sh(&find()?, &command),
            Verb::Run(run) => return run.run(cx, &find()?),
            Verb::Migrate { domain, to } => {
                return domain::migrate(cx, &find()?, &domain, &Session::find(&to)?);
            }
            Verb::Status { json } => status(json)?,
            Verb::Log => print!("{}", find()?.log()?),
            Verb::Clean => {
                let up = session::all()?;
                if let Some(lab) = up.first() {
                    bail!("the lab `{}` is up: `cargo xtask lab down --all` ends all", lab.name());
                }
                cx.ui.step("Removed", format_args!("{} MiB", session::clean()? >> 20));
            }
            Verb::Keep { oxenstored } => {
                session::keep(&self.lab, store(oxenstored), &mut std::io::stdout())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn store(oxenstored: bool) -> Store {
    if oxenstored { Store::OCaml } else { Store::C }
}

fn up(cx: &Context, name: &str, oxenstored: bool) -> Result<()> {
    setup::ensure(cx, "test")?;
    let began = Instant::now();
    let mut keeper = Command::new(std::env::current_exe().context("where is this program?")?);
    keeper.args(["lab", "__keep", "--lab", name]).args(oxenstored.then_some("--oxenstored"));
    let lab = Session::up(name, keeper, &mut |text| cx.ui.step("Lab", text))?;
    let status = lab.status()?;
    if let Some(ms) = status["boot_ms"].as_u64() {
        cx.ui.step("Booted", format_args!("Xen and dom0 in {ms} ms; the snapshot is kept"));
    }
    let clone = status["clone_ms"].as_u64().unwrap_or_default();
    cx.ui.step("Cloned", format_args!("the snapshot in {clone} ms"));
    cx.ui.step(
        "Up",
        format_args!(
            "`{name}` after {} ms; its /mnt is {}",
            began.elapsed().as_millis(),
            status["share"].as_str().unwrap_or_default()
        ),
    );
    cx.ui.step("Next", "cargo xtask lab sh xl list");
    Ok(())
}

fn status(json: bool) -> Result<()> {
    let labs = session::all()?;
    for lab in &labs {
        let mut status = lab.status()?;
        if json {
            status["name"] = lab.name().into();
            println!("{status}");
            continue;
        }
        println!(
            "{}: up for {} s, {} s of CPU time, process {}, /mnt is {}",
            lab.name(),
            status["up_s"],
            status["cpu_ms"].as_f64().unwrap_or_default() as u64 / 1000,
            status["pid"],
            status["share"].as_str().unwrap_or_default()
        );
        lab.run("xl list", &mut std::io::stdout())?;
    }
    if labs.is_empty() && !json {
        println!("no lab is up; `cargo xtask lab up` starts one");
    }
    Ok(())
}
