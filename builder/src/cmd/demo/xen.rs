//! `demo --on xen`: guests as domains of a real Xen. One lives with our supervisor in dom0, which
//! moves it to another host; one with Xen's own tools alone, which save and restore it.
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
    [ $((n = n + 1)) -lt 400 ] || exit 1; usleep 50000; done";

/// Waits until the supervisor is there.
const SUPERVISED: &str = "until [ -S atoll/supervisor ]; do [ $((n = n + 1)) -lt 400 ] || exit 1; \
    usleep 50000; done";

/// What it has counted.
const COUNT: &str = "atoll cat /run/counter /export/counter/count";

/// Joins the domain's vchan to the socket /run/counter, by Xen's own program for that.
const PROXY: &str = "id=$(xl domid counter); rm -f counter; \
    until xenstore-exists /local/domain/$id/data/vchan/control/event-channel; do \
    usleep 50000; done; \
    setsid vchan-socket-proxy $id /local/domain/$id/data/vchan/control counter >/dev/null 2>&1 & \
    echo $! >proxy; until [ -S counter ]; do usleep 20000; done";

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
    let counter =
        build::build(&cx.repo, &cx.repo.guest("counter")?, &Options::default(), cx.ui)?.image;
    let config = Domain {
        name: "counter",
        kernel: "/mnt/counter.img",
        memory: 8 << 20,
        ..Domain::default()
    };
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
    one.show("atoll doctor --state /run/state | grep xen")?;

    heading("The image that boots in QEMU is a PVH domain here, and its tree is files");
    let serve = one.lab.job(&format!("{BEFORE}; exec atoll serve -q --state /run/state"))?;
    one.quietly(SUPERVISED)?;
    one.show("atoll run -d /mnt/hello.img --on xen")?;
    one.quietly(ANSWERS)?;
    one.show("xl list")?;
    one.show("atoll ls -l hello /export")?;
    one.show("atoll write hello /export/greeter/ctl 'greet reef'")?;
    one.show("atoll cat hello /export/greeter/greeting")?;

    heading("XenStore says where its two streams are");
    one.show("xenstore-ls /local/domain/$(xl domid hello)/data")?;

    heading("It moves to another host while it runs, and its files with it");
    let two = host("two")?;
    two.lab.bring("hello.img", &image)?;
    let receive = "atoll run /mnt/hello.img --on xen --receive /run/in";
    println!("{}", cx.ui.paint("1", &format!("two# {receive}")));
    let guest = two.lab.job(&format!("{BEFORE}; exec {receive} >log 2>&1"))?;
    two.quietly("until [ -S in ]; do [ $((n = n + 1)) -lt 400 ] || exit 1; usleep 50000; done")?;
    let wire = Wire::new(&one.lab, "/run/wire", &two.lab, "UNIX-CONNECT:/run/in")?;
    one.show("atoll write --timeout 90 @ /guests/hello/ctl 'relocate /run/wire'")?;
    let (bytes, _) = wire.wait()?;
    println!("({} KiB went over the wire)", bytes >> 10);
    one.show("atoll cat @ /guests/hello/wait; xl list")?;
    two.show("xl list")?;
    two.show("atoll cat hello /export/greeter/greeting")?;
    two.show("atoll write hello /ctl stop")?;
    guest.wait().context("the guest did not end")?;
    serve.signal("INT")?;
    serve.wait().context("the supervisor did not end")?;

    heading("A counter without our supervisor: Xen's own tools, and a socket to its tree");
    one.lab.bring("counter.img", &counter)?;
    one.lab.put("counter.cfg", config.config().as_bytes())?;
    one.show("cat /mnt/counter.cfg")?;
    one.show("xl create -q /mnt/counter.cfg")?;
    one.quietly(PROXY)?;
    one.show("atoll write /run/counter /export/counter/ctl 'add 42'")?;
    one.show(COUNT)?;
    one.quietly(NO_PROXY)?;

    heading("Saved to a file and restored, it goes on counting");
    one.show("xl save counter /run/save; ls -l /run/save")?;
    one.show("xl restore /run/save; rm /run/save; xl list")?;
    one.quietly(PROXY)?;
    one.show("atoll write /run/counter /export/counter/ctl 'add 1'")?;
    one.show(COUNT)?;
    one.quietly(NO_PROXY)?;

    one.show("xl destroy counter")?;

    drop((one, two));
    heading("Nothing is left: both hosts are gone");
    println!("Next: cargo xtask lab up && cargo xtask lab run hello");
    Ok(ExitCode::SUCCESS)
}
