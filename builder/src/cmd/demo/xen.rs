//! `demo --on xen`: a guest as a domain of a real Xen, first with our supervisor in dom0, then
//! with Xen's own tools alone, which save it, restore it and move it to another host.
//!
//! Both hosts are labs, which go with this program however it ends.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use atoll_builder::build::{self, Options};
use atoll_config::xl::Domain;
use atoll_lab::xen::{Lab, Store, Wire};

use super::super::{Context, run, setup};

/// What every command in dom0 finds: `atoll` on its path, and its sockets in /run.
const BEFORE: &str = "cd /run; export PATH=/mnt:$PATH XDG_RUNTIME_DIR=/run";

/// Waits until the tree of the guest hello is there.
const ANSWERS: &str = "until atoll cat hello /name >/dev/null 2>&1; do \
    [ $((n = n + 1)) -lt 400 ] || { cat log; exit 1; }; usleep 50000; done";

/// Joins the domain's vchan to the socket /run/hello, by Xen's own program for that.
const PROXY: &str = "id=$(xl domid hello); rm -f hello; \
    until xenstore-exists /local/domain/$id/data/vchan/control/event-channel; do \
    usleep 50000; done; \
    setsid vchan-socket-proxy $id /local/domain/$id/data/vchan/control hello >/dev/null 2>&1 & \
    echo $! >proxy; until [ -S hello ]; do usleep 20000; done";

/// The domain cannot go while somebody has its memory.
const NO_PROXY: &str = "kill $(cat proxy); while kill -0 $(cat proxy) 2>/dev/null; do \
    usleep 20000; done";

struct Host<'c> {
    cx: &'c Context,
    name: &'static str,
    lab: Lab,
}

impl Host<'_> {
    /// Does something that needs no showing.
    fn quietly(&self, script: &str) -> Result<String> {
        self.lab.ok(&format!("{BEFORE}\n{script}"))
    }

    /// Shows a command and what it writes.
    fn show(&self, command: &str) -> Result<()> {
        let prompt = format!("{}# {command}", self.name);
        println!("{}", self.cx.ui.paint("1", &prompt));
        print!("{}", self.quietly(&format!("({command}) 2>/run/said || {{ cat said; exit 1; }}"))?);
        Ok(())
    }
}

pub(super) fn run(cx: &Context) -> Result<ExitCode> {
    setup::ensure(cx, "test")?;
    let atoll = run::atoll(cx)?;
    let image = build::build(&cx.repo, &cx.repo.guest("hello")?, &Options::default(), cx.ui)?.image;
    let config =
        Domain { name: "hello", kernel: "/mnt/hello.img", memory: 4 << 20, ..Domain::default() };
    let heading = |text: &str| println!("\n{}", cx.ui.paint("1;36", &format!("== {text}")));
    let host = |name| -> Result<Host<'_>> {
        let lab = Lab::with(Store::C, None, &mut |text| cx.ui.step("Lab", text))?;
        lab.bring("atoll", &atoll)?;
        println!("(a Xen host after {} ms)", lab.took().clone.as_millis());
        Ok(Host { cx, name, lab })
    };

    heading("A Xen host: Xen 4.17 and its dom0, in QEMU");
    let one = host("one")?;
    one.lab.bring("hello.img", &image)?;
    one.lab.put("hello.cfg", config.config().as_bytes())?;
    one.show("atoll doctor --state /run/state | grep xen")?;

    heading("The image that boots in QEMU is a PVH domain here, and its tree is files");
    let guest =
        one.lab.job(&format!("{BEFORE}; exec atoll run /mnt/hello.img --on xen >log 2>&1"))?;
    one.quietly(ANSWERS)?;
    one.show("xl list")?;
    one.show("atoll ls -l hello /export")?;
    one.show("atoll write hello /export/greeter/ctl 'greet reef'")?;
    one.show("atoll cat hello /export/greeter/greeting")?;

    heading("XenStore says where its two streams are");
    one.show("xenstore-ls /local/domain/$(xl domid hello)/data")?;
    one.show("atoll write hello /ctl stop")?;
    guest.wait().context("the guest did not end")?;
    one.show("xl list")?;

    heading("The same image without our supervisor: Xen's own tools, and a socket to its tree");
    one.show("cat /mnt/hello.cfg")?;
    one.show("xl create -q /mnt/hello.cfg")?;
    one.quietly(PROXY)?;
    one.show("atoll write /run/hello /export/greeter/ctl 'greet atoll'")?;
    one.quietly(NO_PROXY)?;

    heading("Saved to a file and restored, its files are as they were");
    one.show("xl save hello /run/hello.save; ls -l /run/hello.save")?;
    one.show("xl restore /run/hello.save; rm /run/hello.save; xl list")?;
    one.quietly(PROXY)?;
    one.show("atoll cat /run/hello /export/greeter/greeting")?;
    one.quietly(NO_PROXY)?;

    heading("And so they are on another host, to which it moves while it runs");
    let two = host("two")?;
    let wire = Wire::new(&one.lab, "/run/wire", &two.lab, "EXEC:xl migrate-receive")?;
    one.show("xl migrate -s '' hello 'socat - UNIX-CONNECT:/run/wire'")?;
    let (bytes, _) = wire.wait()?;
    println!("({} KiB went over the wire)", bytes >> 10);
    one.show("xl list")?;
    two.show("xl list")?;
    two.quietly(PROXY)?;
    two.show("atoll cat /run/hello /export/greeter/greeting")?;
    two.quietly(NO_PROXY)?;
    two.show("xl destroy hello")?;

    drop((one, two));
    heading("Nothing is left: both hosts are gone");
    println!("Next: cargo xtask lab up && cargo xtask lab run hello");
    Ok(ExitCode::SUCCESS)
}
