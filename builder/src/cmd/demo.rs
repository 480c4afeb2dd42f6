//! `demo`: from nothing to a guest whose tree one reads and writes.
//!
//! Everything happens through programs and commands that a user has too; the
//! demo only types them. It owns a temporary folder (in which the guest's socket
//! is) and one background program, and takes both away however it ends.

use std::process::ExitCode;

use anyhow::Result;
use atoll_builder::build::{self, Options};

use super::stage::Stage;
use super::{Context, run, setup};

/// See a guest boot and answer as a tree of files.
///
/// Installs what is missing, builds images/hello, boots it, lists and reads its
/// tree, writes to it, shows the effect and the event, stops it, and leaves
/// nothing behind.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask demo
  cargo xtask demo --on process     the same guest, without a hypervisor")]
pub(crate) struct Demo {
    /// Where the guest runs.
    #[arg(long, value_parser = ["qemu", "process"], default_value = "qemu")]
    on: String,
    /// Do not pause between the steps.
    #[arg(long)]
    fast: bool,
}

impl Demo {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        setup::ensure(cx, "demo")?;
        let atoll = run::atoll(cx)?;
        let mut stage = Stage::new(cx, atoll, self.fast)?;

        stage.heading("A guest is a text file");
        let file = cx.repo.guest("hello")?;
        stage.type_out("cat images/hello/guest.toml");
        let text = std::fs::read_to_string(&file)?;
        let said = text.lines().filter(|l| !l.trim_start().starts_with('#'));
        said.skip_while(|l| l.is_empty()).for_each(|line| println!("{line}"));

        stage
            .heading("Building makes one small ELF of it: a kernel with just what the guest needs");
        stage.type_out("cargo xtask build hello");
        let built = build::build(&cx.repo, &file, &Options::default(), cx.ui)?;
        println!("{}: {} bytes", cx.repo.show(&built.image), built.bytes);

        let place = match self.on.as_str() {
            "process" => "It runs as a sandboxed Linux process",
            _ => "It boots as a virtual machine, in QEMU",
        };
        stage.heading(place);
        let image = cx.repo.show(&built.image).to_string();
        stage.boot(&["run", &image, "--on", &self.on], "hello")?;

        stage.heading("Its whole state is a tree of files, spoken to in 9P");
        stage.atoll(&["ls", "-l", "hello", "/"])?;
        stage.atoll(&["cat", "hello", "/export/motd"])?;
        stage.atoll(&["ls", "-l", "hello", "/export/greeter"])?;
        stage.atoll(&["cat", "hello", "/export/greeter/greeting"])?;

        stage.heading("Writing to a ctl file changes it, and whoever waits for an event gets one");
        let tail = stage.background(&["tail", "hello", "/export/greeter/events"])?;
        stage.atoll(&["write", "hello", "/export/greeter/ctl", "greet reef"])?;
        stage.first_line(tail)?;
        stage.atoll(&["cat", "hello", "/export/greeter/greeting"])?;
        stage.atoll(&["cat", "hello", "/export/greeter/count"])?;

        stage.heading("A wrong command is refused with its reason, and changes nothing");
        stage.atoll_fails(&["write", "hello", "/export/greeter/ctl", "gret reef"])?;

        stage.heading("Stopping it is a write, too");
        stage.atoll(&["write", "hello", "/ctl", "stop"])?;
        stage.ended()?;
        stage.close()?;
        Ok(ExitCode::SUCCESS)
    }
}
