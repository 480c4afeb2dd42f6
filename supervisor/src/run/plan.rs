//! What is found out before a guest is started: all that may fail and needs no process.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use atoll_config::image::{Image, Manifest, Platform};
use atoll_config::launch::Launch;

use super::{On, Options, Restore, Voice};
use crate::backend::process::Process;
use crate::backend::qemu::{Accel, Qemu};
use crate::backend::xen::Xen;
use crate::backend::{Backend, Spec, find_program, kvm};
use crate::checkpoint::{self, Source, State, state::KEEP};
use crate::namespace::{Import, Namespace};
use crate::stored::{BEFORE, Stored};

/// QEMU's program.
const QEMU: &str = "qemu-system-x86_64";

/// How a guest is to be started.
pub(crate) struct Plan {
    /// What its image says.
    pub(crate) manifest: Manifest,
    /// Where it runs.
    pub(crate) backend: Box<dyn Backend>,
    /// What its machine is told.
    pub(crate) spec: Spec,
    /// What it imports.
    pub(crate) namespace: Namespace,
    /// Where its checkpoints are kept.
    pub(crate) state: Option<State>,
    /// What it goes on from.
    pub(crate) from: Option<Source>,
}

/// What an image says of its guest.
pub(crate) fn manifest(image: &Path) -> anyhow::Result<Manifest> {
    let image = Image::open(image).with_context(|| format!("{}", image.display()))?;
    Ok(image.manifest().clone())
}

impl Plan {
    /// Finds all of it out.
    pub(crate) async fn new(
        options: &Options,
        manifest: Manifest,
        atoll: &Path,
        voice: &dyn Voice,
    ) -> anyhow::Result<Plan> {
        let mut namespace = namespace(&manifest, &options.exports, &options.imports)?;
        let backend = choose(options, &manifest, atoll, voice).await?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let state = match (&options.state, options.print) {
            (Some(path), false) => Some(State::open(path, options.keep.unwrap_or(KEEP))?),
            _ => None,
        };
        let from = from(options, &manifest, state.as_ref(), voice)?;
        let memory = options.memory.unwrap_or(manifest.memory);
        if let Some(state) = &state {
            namespace.store(stored(state, memory, from.is_some(), voice)?);
        }
        let wall = u64::try_from(wall.as_nanos()).unwrap_or(0);
        let launch = Launch { wall, restore: from.is_some(), store: state.is_some() };
        let spec = Spec {
            image: std::path::absolute(&options.image)?,
            memory,
            launch: launch.to_string(),
            calls: state.is_some() || !manifest.imports.is_empty() || !manifest.modules.is_empty(),
        };
        Ok(Plan { manifest, backend, spec, namespace, state, from })
    }
}

/// What the guest has stored. One that goes back to a checkpoint takes it along: then what
/// there was is kept beside it.
fn stored(state: &State, memory: u64, back: bool, voice: &dyn Voice) -> anyhow::Result<Stored> {
    let stored = Stored::open(state.folder(), memory.saturating_mul(8).saturating_add(64 << 20))?;
    if stored.torn() > 0 {
        voice.tell(&format!(
            "the end of what was stored was not whole: {} bytes that were never synced are dropped",
            stored.torn()
        ));
    }
    if back && !stored.is_empty() {
        stored.keep_before()?;
        voice.say(&format!("its store goes back too: what it was is in {BEFORE}"));
    }
    Ok(stored)
}

/// The checkpoint that the guest is to go on from, checked.
fn from(
    options: &Options,
    manifest: &Manifest,
    state: Option<&State>,
    voice: &dyn Voice,
) -> anyhow::Result<Option<Source>> {
    if (options.state.is_some() || options.restore.is_some()) && !manifest.can_checkpoint() {
        return Err(checkpoint::Error::Cannot.into());
    }
    let path = match &options.restore {
        None => return Ok(None),
        Some(Restore::File(path)) => path.clone(),
        Some(Restore::Latest) => match state.map(State::latest).transpose()?.flatten() {
            Some(path) => path,
            None => {
                voice.say("there is no checkpoint yet: it begins anew");
                return Ok(None);
            }
        },
    };
    let source = Source::open(&path, &mut ()).and_then(|from| {
        from.fits(manifest.payload_hash)?;
        Ok(from)
    });
    source.map(Some).map_err(|e| match e {
        // It names the file already.
        e @ checkpoint::Error::Io { .. } => e.into(),
        e => anyhow::Error::from(e).context(path.display().to_string()),
    })
}

/// What a guest's imports are bound to: each to one thing, and nothing else.
fn namespace(
    manifest: &Manifest,
    folders: &[(String, PathBuf)],
    guests: &[Import],
) -> anyhow::Result<Namespace> {
    let mut namespace = Namespace::default();
    let folders_given = folders.iter().map(|(name, _)| ("--export", name));
    let given: Vec<_> = folders_given.chain(guests.iter().map(|i| ("--import", &i.name))).collect();
    for (at, (option, name)) in given.iter().enumerate() {
        if !manifest.imports.iter().any(|m| m.name == **name) {
            let known: Vec<&str> = manifest.imports.iter().map(|m| m.name.as_str()).collect();
            let known = if known.is_empty() { "nothing".into() } else { known.join(", ") };
            bail!("{option} {name}: {} imports {known}", manifest.name);
        }
        if given[..at].iter().any(|(_, n)| n == name) {
            bail!("{option} {name}: given twice");
        }
    }
    for (name, dir) in folders {
        namespace.add(name, dir).with_context(|| format!("--export {name}={}", dir.display()))?;
    }
    guests.iter().for_each(|import| namespace.import(import.clone()));
    for import in &manifest.imports {
        if !given.iter().any(|(_, n)| **n == import.name) {
            bail!(
                "{} imports {name} (at {}): say which folder that is with --export {name}=DIR, \
                 or which guest's tree with --import {name}=GUEST",
                manifest.name,
                import.at,
                name = import.name,
            );
        }
    }
    Ok(namespace)
}

/// Where to run, and with what.
async fn choose(
    options: &Options,
    manifest: &Manifest,
    atoll: &Path,
    voice: &dyn Voice,
) -> anyhow::Result<Box<dyn Backend>> {
    let can = |p: Platform| manifest.platforms.contains(&p);
    let program = || find_program(QEMU, "ATOLL_QEMU", atoll);
    let platform = match options.on {
        On::Qemu => Platform::Qemu,
        On::Xen => Platform::Xen,
        On::Process => Platform::Process,
        On::Auto if can(Platform::Qemu) && program().is_some() => Platform::Qemu,
        On::Auto if can(Platform::Process) => Platform::Process,
        On::Auto => Platform::Qemu,
    };
    if !can(platform) {
        let names: Vec<&str> = manifest.platforms.iter().map(|p| p.name()).collect();
        bail!("this image runs on {} only, not on {}", names.join(", "), platform.name());
    }
    if platform == Platform::Xen {
        let name = options.name.clone().unwrap_or_else(|| manifest.name.clone());
        return Ok(Box::new(Xen {
            atoll: atoll.to_owned(),
            name,
            payload: manifest.payload_hash.to_string(),
            epoch: options.epoch,
            home: options.home.clone(),
            shell: options.shell.clone(),
            arrival: None,
        }));
    }
    if platform == Platform::Process {
        let program = find_program("atoll-tender", "ATOLL_TENDER", atoll)
            .context("atoll-tender is neither beside atoll nor on the PATH")?;
        return Ok(Box::new(Process { program }));
    }
    let (program, accel) = qemu(options, atoll, voice).await?;
    Ok(Box::new(Qemu { program, accel }))
}

/// QEMU, and what it is to use.
pub(super) async fn qemu(
    options: &Options,
    atoll: &Path,
    voice: &dyn Voice,
) -> anyhow::Result<(PathBuf, Accel)> {
    let program = find_program(QEMU, "ATOLL_QEMU", atoll).context(
        "qemu-system-x86_64 is not on the PATH: install it (qemu-system-x86), or use --on process",
    )?;
    let (accel, why) = match options.accel {
        Some(accel) => (accel, "as asked for".into()),
        None => kvm::choose(&program).await,
    };
    if options.verbose {
        voice.tell(&format!("{accel:?}: {why}").to_lowercase());
    }
    Ok((program, accel))
}
