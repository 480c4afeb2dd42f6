//! `atoll create` and `atoll run -d`: an image becomes a guest.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::Context;
use atoll_9p::fault::Errno;

use super::source::{Kernel, Source};
use super::{about, connect, path, tell};
use crate::address;
use crate::cli::Usage;
use crate::cli::files::print;
use crate::cli::progress::{Progress, Size};
use crate::cli::run::{AccelArg, OnArg, export, import, size};
use crate::conn::{Conn, Error};
use crate::namespace::Import;

/// What a guest is to be.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// The image, as `cargo xtask build` makes it; or how the hash of one begins that the
    /// supervisor has (see atoll images)
    #[arg(required_unless_present = "kernel")]
    pub(crate) image: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) kernel: Kernel,
    /// What to call the guest (default: what its image calls itself)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where to run it
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) on: OnArg,
    /// Serve its tree on a port of this machine too, such as tcp:127.0.0.1:5640
    #[arg(long, value_name = "ADDRESS", value_parser = address::loopback)]
    pub(crate) listen: Vec<SocketAddr>,
    /// Bind an import of the guest's to a folder, read-only
    #[arg(long = "export", value_name = "NAME=DIR", value_parser = export)]
    pub(crate) exports: Vec<(String, PathBuf)>,
    /// Bind an import of the guest's to what another guest exports: all of it, or GUEST/export/PATH
    #[arg(long = "import", value_name = "NAME=GUEST", value_parser = import)]
    pub(crate) imports: Vec<Import>,
    /// Give it more or less memory than the image says, such as 4MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<u64>,
    /// What QEMU is to use (default: KVM where a probe shows that it works)
    #[arg(long, value_enum)]
    pub(crate) accel: Option<AccelArg>,
    /// When to start it again after its end
    #[arg(long, value_enum, default_value = "never")]
    pub(crate) restart: RestartArg,
    /// Let every start go on from its newest checkpoint
    #[arg(long)]
    pub(crate) resume: bool,
    /// How many of its checkpoints are kept, the newest (default: 8)
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<NonZeroU32>,
}

const EXAMPLES: &str = "\
Examples:
  atoll create counter.img --restart on-failure
  atoll start counter
  atoll create --kernel vmlinuz --initrd initrd.img --name linux
  atoll cat @ /guests/counter/config";

/// When to start a guest again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RestartArg {
    /// Not by itself
    #[default]
    Never,
    /// Unless it ended well
    OnFailure,
    /// Whatever happened, unless it was stopped
    Always,
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

/// The guest's config.
fn config(args: &Create, hash: &str) -> anyhow::Result<String> {
    let mut text = format!("image = \"{hash}\"\n");
    match args.on {
        OnArg::Auto => {}
        OnArg::Qemu => text += "on = \"qemu\"\n",
        OnArg::Xen => text += "on = \"xen\"\n",
        OnArg::Process => text += "on = \"process\"\n",
    }
    match args.accel {
        Some(AccelArg::Tcg) => text += "accel = \"tcg\"\n",
        Some(AccelArg::Kvm) => text += "accel = \"kvm\"\n",
        None => {}
    }
    if let Some(bytes) = args.memory {
        let _ = writeln!(text, "memory = {bytes}");
    }
    if !args.listen.is_empty() {
        let places: Vec<String> = args.listen.iter().map(|a| quoted(&a.to_string())).collect();
        let _ = writeln!(text, "listen = [{}]", places.join(", "));
    }
    if args.resume {
        text += "resume = true\n";
    }
    if let Some(n) = args.keep {
        let _ = writeln!(text, "keep = {n}");
    }
    if !args.exports.is_empty() || !args.imports.is_empty() {
        text += "\n[imports]\n";
        let mut given = BTreeSet::new();
        for (name, dir) in &args.exports {
            let full = std::path::absolute(dir)?;
            let full = full.to_str().with_context(|| format!("{} is not UTF-8", full.display()))?;
            if !given.insert(name) {
                return Err(Usage(format!("--export {name}: given twice")).into());
            }
            let _ = writeln!(text, "{} = {}", quoted(name), quoted(full));
        }
        for import in &args.imports {
            if !given.insert(&import.name) {
                return Err(Usage(format!("--import {}: given twice", import.name)).into());
            }
            let _ = writeln!(text, "{} = {}", quoted(&import.name), quoted(&import.bind()));
        }
    }
    match args.restart {
        RestartArg::Never => {}
        RestartArg::OnFailure => text += "\n[restart]\npolicy = \"on-failure\"\n",
        RestartArg::Always => text += "\n[restart]\npolicy = \"always\"\n",
    }
    Ok(text)
}

/// Sees to it that the supervisor has an image.
pub(super) async fn give(conn: &mut Conn, source: &Source) -> anyhow::Result<()> {
    let (hash, dir) = (&source.hash, format!("images/{}", source.hash));
    let Some(bytes) = &source.bytes else { return Ok(()) };
    match conn.mkdir(&dir).await {
        Ok(()) => {}
        Err(Error::Refused(f)) if f.errno == Errno::EEXIST => {
            let status = super::text(conn, &format!("{dir}/status")).await?;
            if status.lines().any(|l| l == "committed true") {
                return Ok(());
            }
        }
        Err(e) => return Err(e.into()),
    }
    let given = async {
        let name = &source.name;
        let size = Size::Bytes(bytes.len() as u64);
        let progress = Progress::begin(&format!("sends {name}"), size);
        let told = &mut |bytes| progress.at(bytes);
        conn.put(&format!("{dir}/image"), bytes, told).await?;
        drop(progress);
        let _progress = Progress::begin(&format!("{name} is checked"), Size::Whole);
        conn.tell(&format!("{dir}/ctl"), b"commit").await
    };
    let given = given.await;
    if given.is_err() {
        // What is of no use is not left there.
        let _ = conn.rmdir(&dir).await;
    }
    given.with_context(|| format!("image {hash}"))
}

/// Makes a guest: its name.
async fn make(conn: &mut Conn, args: &Create) -> anyhow::Result<String> {
    let source = Source::named(conn, args.image.as_deref(), &args.kernel).await?;
    let name = args.name.clone().unwrap_or_else(|| source.name.clone());
    let config = config(args, &source.hash)?;
    let dir = path(&name, "")?;
    let dir = dir.trim_end_matches('/');
    match conn.mkdir(dir).await {
        Err(Error::Refused(f)) if f.errno == Errno::EEXIST => {
            let text = format!(
                "there is a guest {name} already: choose another --name, start that one with \
                 `atoll start {name}`, or forget it with `atoll rm {name}`"
            );
            let why = atoll_9p::fault::Fault::new(Errno::EEXIST, text);
            return Err(super::Failed::Refused { guest: name, why }.into());
        }
        done => done.map_err(|e| about(&name, e))?,
    }
    let made = async {
        give(conn, &source).await?;
        conn.write_file(&format!("{dir}/config"), config.as_bytes())
            .await
            .map_err(|e| about(&name, e))?;
        tell(conn, &name, "commit").await
    };
    let made = made.await;
    if made.is_err() {
        let _ = conn.rmdir(dir).await;
    }
    made.map(|()| name)
}

pub(crate) async fn create(args: Create) -> anyhow::Result<bool> {
    let mut conn = connect().await?;
    let name = make(&mut conn, &args).await?;
    print(format!("{name}\n").as_bytes())?;
    Ok(true)
}

/// `atoll run -d`.
pub(crate) async fn run(args: Create) -> anyhow::Result<bool> {
    let mut conn = connect().await?;
    let name = make(&mut conn, &args).await?;
    tell(&mut conn, &name, "start").await?;
    print(format!("{name}\n").as_bytes())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_what_config_says() {
        let args = Create {
            image: Some("x.img".into()),
            kernel: Kernel::default(),
            name: None,
            on: OnArg::Process,
            listen: vec!["127.0.0.1:5640".parse().unwrap()],
            exports: vec![("da ta".into(), "/srv/\"x\"".into())],
            imports: vec![import("kv=db/export/kv").unwrap(), import("all=db").unwrap()],
            memory: Some(8 << 20),
            accel: Some(AccelArg::Tcg),
            restart: RestartArg::OnFailure,
            resume: true,
            keep: NonZeroU32::new(3),
        };
        let hash = "ab".repeat(32);
        let text = config(&args, &hash).unwrap();
        let read = crate::serve::config::parse(&text).unwrap();
        assert_eq!(read.image.as_str(), hash);
        assert_eq!((read.memory, read.resume, read.listen.len()), (Some(8 << 20), true, 1));
        assert_eq!(read.keep, NonZeroU32::new(3));
        assert_eq!(read.on, crate::run::On::Process);
        assert_eq!(read.restart.policy, crate::core::Policy::OnFailure);
        assert_eq!(read.imports["da ta"].to_string(), "/srv/\"x\"");
        assert_eq!(read.imports["kv"].to_string(), "db/export/kv");
        assert_eq!(read.imports["all"].to_string(), "db/export");
        let twice = vec![("a".into(), "/b".into()), ("a".into(), "/c".into())];
        assert!(config(&Create { exports: twice, ..args }, &hash).is_err());
    }
}
