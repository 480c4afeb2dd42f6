//! `demo --on xen`: guests as domains of a real Xen, in the care of our supervisor in its dom0. One
//! is moved to another host by that; one is saved and restored by it, then moved there by Xen's own
//! tool, and saved and restored there by that.
//!
//! What each command says is checked, so this fails where something is not as it should be. Both
//! hosts are labs, which go with this program however it ends.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use atoll_builder::build::{self, Options};
use atoll_lab::job::Job;
use atoll_lab::xen::{Lab, Store, Wire};

use super::super::{Context, run, setup};

/// What every command in dom0 finds: `atoll` on its path, and its sockets in /run. `awaits` tries
/// until something succeeds.
const BEFORE: &str = "cd /run; export PATH=/mnt:$PATH XDG_RUNTIME_DIR=/run
awaits() { until \"$@\" >/dev/null 2>&1; do [ $((n = n + 1)) -lt 400 ] || exit 1; usleep 50000; done; }";

/// Joins the domain's vchan to the socket /run/counter, by Xen's own program for that.
const PROXY: &str = "id=$(xl domid counter); vchan=/local/domain/$id/data/vchan/control
rm -f counter; awaits xenstore-exists $vchan/event-channel
setsid vchan-socket-proxy $id $vchan counter >/dev/null 2>&1 & echo $! >proxy
awaits [ -S counter ]";

/// The domain cannot go while somebody has its memory.
const NO_PROXY: &str = "kill $(cat proxy); while kill -0 $(cat proxy) 2>/dev/null; do \
    usleep 20000; done";

const COUNT: &str = "/export/counter/count";
const CTL: &str = "/export/counter/ctl";
/// Where a domain leaves its host.
const WIRE: &str = "/run/wire";

struct Host<'c> {
    cx: &'c Context,
    name: &'static str,
    lab: Lab,
}

/// What a command has said, which has been shown.
#[must_use]
struct Said {
    prompt: String,
    text: String,
}

impl Said {
    /// It is just that.
    fn is(&self, want: &str) -> Result<()> {
        ensure!(self.text.trim_end() == want, "`{}` should have said: {want}", self.prompt);
        Ok(())
    }

    /// All of that is in there.
    fn has(&self, all: &[&str]) -> Result<()> {
        for want in all {
            ensure!(self.text.contains(want), "`{}` should have said: {want}", self.prompt);
        }
        Ok(())
    }
}

impl<'c> Host<'c> {
    fn new(cx: &'c Context, name: &'static str) -> Result<Host<'c>> {
        let lab = Lab::with(Store::C, None, &mut |text| cx.ui.step("Lab", text))?;
        println!("(a Xen host after {} ms)", lab.took().clone.as_millis());
        Ok(Host { cx, name, lab })
    }

    /// Does something that needs no showing.
    fn quietly(&self, script: &str) -> Result<String> {
        self.lab.ok(&format!("{BEFORE}\n{script}"))
    }

    fn prompt(&self, command: &str) -> String {
        let prompt = format!("{}# {command}", self.name);
        println!("{}", self.cx.ui.paint("1", &prompt));
        prompt
    }

    /// Shows a command and what it writes.
    fn show(&self, command: &str) -> Result<Said> {
        let prompt = self.prompt(command);
        let text = self.quietly(&format!("({command}) 2>/run/said || {{ cat said; exit 1; }}"))?;
        print!("{text}");
        Ok(Said { prompt, text })
    }

    /// Shows a command that is to be refused.
    fn refused(&self, command: &str) -> Result<Said> {
        let prompt = self.prompt(command);
        let text = self.quietly(&format!("! ({command}) 2>&1"))?;
        print!("{text}");
        Ok(Said { prompt, text })
    }

    /// Shows a program that goes on.
    fn start(&self, command: &str) -> Result<Job> {
        self.prompt(&format!("{command} &"));
        self.lab.job(&format!("{BEFORE}; exec {command} >log 2>&1"))
    }

    /// No domain is there but dom0, no program of ours and no socket.
    fn is_clean(&self) -> Result<()> {
        let left = "xl list | tail -n +3; pidof atoll; ls atoll 2>/dev/null; true";
        let left = self.quietly(left)?;
        ensure!(left.is_empty(), "on host {} this is left:\n{left}", self.name);
        Ok(())
    }
}

fn heading(cx: &Context, text: &str) {
    println!("\n{}", cx.ui.paint("1;36", &format!("== {text}")));
}

pub(super) fn run(cx: &Context) -> Result<ExitCode> {
    setup::ensure(cx, "test")?;
    let atoll = run::atoll(cx)?;
    let image = |name| -> Result<_> {
        Ok(build::build(&cx.repo, &cx.repo.guest(name)?, &Options::default(), cx.ui)?.image)
    };
    let (hello, counter) = (image("hello")?, image("counter")?);

    heading(cx, "A Xen host: Xen 4.17 and its dom0, in QEMU");
    let one = Host::new(cx, "one")?;
    one.lab.bring("atoll", &atoll)?;
    one.lab.bring("hello.img", &hello)?;
    one.lab.bring("counter.img", &counter)?;
    one.show("atoll doctor --state state | grep xen")?.has(&["ok ", "xenstored answers"])?;

    heading(cx, "The images that boot in QEMU are PVH domains here, and their trees are files");
    let serve = one.start("atoll serve -q --state state")?;
    one.quietly("awaits [ -S atoll/supervisor ]")?;
    for name in ["hello", "counter"] {
        one.show(&format!("atoll run -d /mnt/{name}.img --on xen"))?.is(name)?;
        one.quietly(&format!("awaits atoll cat {name} /name"))?;
    }
    one.show("xl list")?.has(&["\nhello ", "\ncounter "])?;
    one.show("atoll ls -l hello /export")?.has(&["greeter", "motd"])?;
    one.show("atoll write hello /export/greeter/ctl 'greet reef'")?.is("")?;
    one.show("atoll cat hello /export/greeter/greeting")?.is("Hello, reef!")?;
    one.show(&format!("atoll write counter {CTL} 'add 41'"))?.is("")?;
    one.show(&format!("atoll cat counter {COUNT}"))?.is("41")?;

    heading(cx, "XenStore is files, too, in the supervisor's tree");
    let domain = "/xen/store/local/domain/$(xl domid counter)";
    one.show(&format!("atoll cat @ {domain}/name/value; echo"))?.is("counter")?;
    let vchan = one.show(&format!("atoll ls @ {domain}/data/vchan/control"))?;
    vchan.has(&["event-channel", "ring-ref"])?;

    heading(cx, "Saved between two events; another domain goes on from there");
    one.show("atoll ctl counter checkpoint")?.is("")?;
    one.show("atoll kill counter; xl list")?.has(&["hello"])?;
    one.refused("xl domid counter")?.has(&["counter"])?;
    one.show("atoll ctl counter 'restore 1'")?.is("")?;
    one.quietly("awaits atoll cat counter /name")?;
    one.show(&format!("atoll cat counter {COUNT}"))?.is("41")?;
    one.show(&format!("atoll write counter {CTL} 'add 1'; atoll cat counter {COUNT}"))?.is("42")?;

    heading(cx, "A guest moves to another host while it runs, and its files with it");
    let two = Host::new(cx, "two")?;
    two.lab.bring("atoll", &atoll)?;
    two.lab.bring("hello.img", &hello)?;
    relocate(&one, &two)?;

    heading(cx, "So does the counter, by Xen's own tool; our supervisor does not start it again");
    migrate(&one, &two)?;
    serve.signal("INT")?;
    serve.wait().context("the supervisor did not end")?;

    heading(cx, "There it is without a supervisor: saved to a file and restored, it goes on");
    save(&two)?;
    two.show("xl destroy counter; xl list")?.has(&["Domain-0"])?;

    one.is_clean()?;
    two.is_clean()?;
    drop((one, two));
    heading(cx, "Nothing is left: no domain, no process, no socket; and both hosts are gone");
    println!("Next: cargo xtask lab up && cargo xtask lab run hello");
    Ok(ExitCode::SUCCESS)
}

/// The guest hello moves by our supervisor, and ends there.
fn relocate(one: &Host<'_>, two: &Host<'_>) -> Result<()> {
    let guest = two.start("atoll run /mnt/hello.img --on xen --receive in")?;
    two.quietly("awaits [ -S in ]")?;
    let wire = Wire::new(&one.lab, WIRE, &two.lab, "UNIX-CONNECT:/run/in")?;
    one.show(&format!("atoll write --timeout 90 @ /guests/hello/ctl 'relocate {WIRE}'"))?.is("")?;
    let (bytes, _) = wire.wait()?;
    println!("({} KiB went over the wire)", bytes >> 10);
    let end = one.show("atoll cat @ /guests/hello/wait")?;
    end.is(&format!("1 moved to {WIRE} under epoch 2"))?;
    two.show("xl list")?.has(&["\nhello "])?;
    two.show("atoll cat hello /export/greeter/greeting")?.is("Hello, reef!")?;
    two.show("atoll write hello /ctl stop")?.is("")?;
    let ended = guest.wait().context("the guest did not end")?;
    if ended.status != 0 {
        bail!("the guest did not end well: {}", two.quietly("cat log")?);
    }
    Ok(())
}

/// The guest counter moves by `xl`.
fn migrate(one: &Host<'_>, two: &Host<'_>) -> Result<()> {
    let wire = Wire::new(&one.lab, WIRE, &two.lab, "EXEC:xl migrate-receive")?;
    let _ = one.show(&format!("xl migrate -s '' counter 'socat - UNIX-CONNECT:{WIRE}'"))?;
    let (bytes, _) = wire.wait()?;
    println!("({} KiB went over the wire)", bytes >> 10);
    let end = one.show("atoll cat @ /guests/counter/wait")?;
    end.is("2 moved somebody else has saved it or moved it, by xl")?;
    one.refused("atoll start counter")?.has(&["takes", "start anyway", "moved"])?;
    let list = one.show("xl list")?;
    ensure!(!list.text.contains("counter"), "the counter is here still");
    two.show("xl list")?.has(&["\ncounter "])?;
    two.quietly(PROXY)?;
    two.show(&format!("atoll cat /run/counter {COUNT}"))?.is("42")
}

/// There it is saved and restored by `xl`.
fn save(two: &Host<'_>) -> Result<()> {
    two.show(&format!("atoll write /run/counter {CTL} 'add 1'"))?.is("")?;
    two.quietly(NO_PROXY)?;
    two.show("xl save counter save; ls -l save")?.has(&["save"])?;
    let _ = two.show("xl restore save; rm save")?;
    two.quietly(PROXY)?;
    two.show(&format!("atoll cat /run/counter {COUNT}"))?.is("43")?;
    two.show(&format!("atoll write /run/counter {CTL} 'add 1'"))?.is("")?;
    two.show(&format!("atoll cat /run/counter {COUNT}"))?.is("44")?;
    two.quietly(NO_PROXY)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Said;

    #[test]
    fn what_is_not_said_as_it_should_be_ends_the_demo() {
        let said = |text: &str| Said { prompt: "one# count".into(), text: text.into() };
        said("42\n").is("42").unwrap();
        said("").is("").unwrap();
        let why = said("41\n").is("42").unwrap_err().to_string();
        assert_eq!(why, "`one# count` should have said: 42");
        said("a\nb\n").has(&["a", "b"]).unwrap();
        said("a\nb\n").has(&["a", "c"]).unwrap_err();
    }
}
