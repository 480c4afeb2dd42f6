//! `lab run`: an image as a PVH domain, with its console.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use atoll_config::xl;
use atoll_lab::xen::session::Session;
use atoll_lab::xen::wire;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::super::{Context, run};

/// Start an image as a PVH domain and show its console until it ends or Ctrl-C ends it.
#[derive(clap::Args)]
pub(super) struct Run {
    /// An image, a guest.toml, its folder, or a name in images/.
    image: String,
    /// What the domain is called; else as its image.
    #[arg(long)]
    name: Option<String>,
    /// RAM of the domain, in MiB.
    #[arg(long, default_value_t = 32)]
    memory: u32,
    /// Its command line.
    #[arg(long, default_value = "")]
    cmdline: String,
}

impl Run {
    pub(super) fn run(self, cx: &Context, lab: &Session) -> Result<ExitCode> {
        let image = run::image(cx, &self.image)?;
        let stem = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = self.name.unwrap_or(stem);
        check(&name)?;
        let share = lab.share()?;
        std::fs::copy(&image, share.join(format!("{name}.img")))
            .with_context(|| format!("cannot copy {}", image.display()))?;
        let domain = xl::Domain {
            name: &name,
            kernel: &format!("/mnt/{name}.img"),
            memory: u64::from(self.memory) << 20,
            cmdline: &self.cmdline,
            then: xl::Then::Gone,
            ..xl::Domain::default()
        };
        std::fs::write(share.join(format!("{name}.cfg")), domain.config())?;
        // Interrupted, it takes its domain with it. `tail` looks once a second only.
        let script = format!(
            "cd /mnt; log=/var/log/xen/console/guest-{name}.log; : >$log\n\
             tail -f $log & tail=$!\n\
             trap 'xl destroy {name}' INT\n\
             xl create -F -q {name}.cfg >/tmp/{name}.xl 2>&1 & wait $!\n\
             status=$?; sleep 1; kill $tail\n\
             [ $status = 0 ] || cat /tmp/{name}.xl\n\
             rm -f {name}.cfg {name}.img /tmp/{name}.xl\n\
             exit $status"
        );
        let stopped = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, stopped.clone())?;
        }
        let status = std::thread::scope(|scope| {
            let running = scope.spawn(|| lab.run(&script, &mut std::io::stdout()));
            while !running.is_finished() {
                if stopped.swap(false, Ordering::Relaxed) {
                    lab.run(&format!("xl destroy {name}"), &mut std::io::sink())?;
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            running.join().unwrap_or_else(|_| bail!("the console was lost"))
        })?;
        cx.ui.step("Ended", &name);
        Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
    }
}

fn check(name: &str) -> Result<()> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        bail!("`{name}` is no name for a domain: use letters, digits and `-`");
    }
    Ok(())
}

/// Moves a domain to another lab.
pub(super) fn migrate(cx: &Context, from: &Session, name: &str, to: &Session) -> Result<ExitCode> {
    check(name)?;
    let wire = format!("/run/to-{}", to.name());
    let there = to.open("EXEC:xl migrate-receive")?;
    let here = from.open(&wire::listener(&wire))?;
    from.run(&wire::awaited(&wire), &mut std::io::sink())?;
    let began = Instant::now();
    let carrying = std::thread::spawn(move || wire::join(here, there));
    let script = format!("xl migrate -s '' {name} 'socat - UNIX-CONNECT:{wire}' 2>&1");
    let mut said = Vec::new();
    let status = from.run(&script, &mut said)?;
    if status != 0 {
        std::io::stderr().write_all(&said)?;
        // Its other end waits for nobody.
        from.run(&format!("socat /dev/null UNIX-CONNECT:{wire}"), &mut std::io::sink())?;
    }
    let (bytes, _) = carrying.join().unwrap_or(Ok((0, 0)))?;
    if status == 0 {
        cx.ui.step(
            "Moved",
            format_args!(
                "{name} to `{}` in {} ms, with {} KiB",
                to.name(),
                began.elapsed().as_millis(),
                bytes >> 10
            ),
        );
    }
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}
