//! `cargo xtask`: everything that is done with this project from a terminal.
#![forbid(unsafe_code)]

mod cmd;

use std::any::Any;
use std::panic;
use std::process::ExitCode;

use atoll_builder::repo::Repo;
use atoll_builder::ui::Ui;
use clap::Parser;

/// Everything that is done with this project from a terminal.
///
/// A guest is named by its guest.toml, by the folder that holds it, or by the
/// name of a folder in images/.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, propagate_version = true)]
#[command(after_help = "Examples:
  cargo xtask demo                 see a guest boot and answer, from nothing
  cargo xtask new hello2           begin a guest of your own
  cargo xtask build hello --json   make an image; the last line says where it is
  cargo xtask run hello            build when needed, then boot it
  cargo xtask test                 run every test there is

Exit codes: 0 done, 1 failed, 2 wrong usage.")]
struct Args {
    #[command(flatten)]
    talk: Talk,
    #[command(subcommand)]
    verb: cmd::Verb,
}

/// How much is said.
#[derive(clap::Args)]
struct Talk {
    /// Say nothing but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more.
    #[arg(short, long, global = true)]
    verbose: bool,
}

fn main() -> ExitCode {
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !is_unread(info.payload()) {
            told(info);
        }
    }));
    match panic::catch_unwind(run) {
        Ok(code) => code,
        Err(why) if is_unread(&*why) => ExitCode::SUCCESS,
        Err(why) => panic::resume_unwind(why),
    }
}

/// Whether a panic is only that whoever reads our output, such as `head`, has read
/// enough. It is let unwind, so that whatever runs is taken down.
fn is_unread(why: &(dyn Any + Send)) -> bool {
    let why = why.downcast_ref::<String>().map_or("", |s| s);
    why.starts_with("failed printing to stdout") && why.contains("Broken pipe")
}

fn run() -> ExitCode {
    let args = Args::parse();
    let ui = Ui::new(args.talk.quiet, args.talk.verbose);
    match Repo::find().and_then(|repo| args.verb.run(&cmd::Context { repo, ui })) {
        Ok(code) => code,
        Err(e) => {
            ui.error(&e);
            ExitCode::FAILURE
        }
    }
}
