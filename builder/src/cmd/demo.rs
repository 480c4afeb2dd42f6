//! `demo`: from nothing to a guest whose tree one reads and writes, and to one that
//! changes its machine.
//!
//! Everything happens through programs and commands that a user has too; the
//! demo only types them. It owns a temporary folder (in which the guest's socket
//! is) and one background program, and takes both away however it ends.

use std::process::ExitCode;

use anyhow::Result;
use atoll_builder::build::{self, Options};

use super::stage::Stage;
use super::{Context, run, setup};

mod xen;

/// See a guest boot and answer as a tree of files.
///
/// Installs what is missing, builds images/hello, boots it, lists and reads its
/// tree, writes to it, shows the effect and the event, and stops it. Then a counter
/// that counts on one kind of machine is written down, goes on as the other kind, and
/// comes back. Nothing is left behind.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask demo
  cargo xtask demo --on process     the same, beginning without a hypervisor
  cargo xtask demo --on xen         in the lab: a domain, saved, restored, moved to another host")]
pub(crate) struct Demo {
    /// Where the guest runs.
    #[arg(long, value_parser = ["qemu", "process", "xen"], default_value = "qemu")]
    on: String,
    /// Do not pause between the steps.
    #[arg(long)]
    fast: bool,
}

impl Demo {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        if self.on == "xen" {
            return xen::run(cx);
        }
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

        self.counter(cx, &mut stage)?;
        stage.close()?;
        Ok(ExitCode::SUCCESS)
    }

    /// A guest that changes its machine twice, and goes on counting.
    fn counter(&self, cx: &Context, stage: &mut Stage<'_>) -> Result<()> {
        stage.heading("An atom is a component whose whole state is data: this one counts");
        stage.type_out("cargo xtask build counter");
        let file = cx.repo.guest("counter")?;
        let built = build::build(&cx.repo, &file, &Options::default(), cx.ui)?;
        println!("{}: {} bytes", cx.repo.show(&built.image), built.bytes);
        let image = cx.repo.show(&built.image).to_string();
        let there = if self.on == "qemu" { "process" } else { "qemu" };
        let ctl = "/export/counter/ctl";
        let count = ["cat", "counter", "/export/counter/count"];

        stage.boot(&["run", &image, "--on", &self.on], "counter")?;
        stage.atoll(&["write", "counter", ctl, "add 41"])?;
        stage.atoll(&["write", "counter", ctl, "add 1"])?;
        stage.atoll(&count)?;

        stage.heading("Written down between two events, it is a file");
        let first = stage.file("first.checkpoint");
        stage.atoll(&["checkpoint", "counter", &first])?;
        stage.atoll(&["checkpoint", "show", &first])?;
        stage.atoll(&["write", "counter", "/ctl", "stop"])?;
        stage.ended()?;

        stage.heading(&format!("It goes on from there on another kind of machine: {there}"));
        stage.boot(&["run", &image, "--on", there, "--restore", &first], "counter")?;
        stage.atoll(&count)?;
        stage.atoll(&["write", "counter", ctl, "add 1"])?;
        stage.atoll(&count)?;

        stage.heading(&format!("And back to where it came from: {}", self.on));
        let second = stage.file("second.checkpoint");
        stage.atoll(&["checkpoint", "counter", &second])?;
        stage.atoll(&["write", "counter", "/ctl", "stop"])?;
        stage.ended()?;
        stage.boot(&["run", &image, "--on", &self.on, "--restore", &second], "counter")?;
        stage.atoll(&["write", "counter", ctl, "add 1"])?;
        stage.atoll(&count)?;
        stage.atoll(&["write", "counter", "/ctl", "stop"])?;
        stage.ended()
    }
}
