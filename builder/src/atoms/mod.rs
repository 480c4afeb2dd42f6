//! Atoms: from a source to the canonical Wasm that a payload carries, and from that to
//! the native code beside it.
//!
//! ```text
//! source ── source ──▶ Wasm ── check, canon ──▶ canonical Wasm ── native ──▶ code
//! ```

pub mod abi;
mod canon;
mod check;
pub mod native;
mod record;
mod refusal;
mod rust;
mod segments;
mod source;
mod toolchain;

use anyhow::{Context, Result, bail};
use atoll_config::text::{CheckedAtom, Modules, OwnedModule, show_size};

pub use canon::{Canonical, canonical, memory_at_start};
pub use check::{FEATURES, MAX_WASM};
pub use refusal::Refusal;

use crate::repo::Repo;
use crate::ui::Ui;

/// The modules of a guest's atoms.
pub fn modules(repo: &Repo, atoms: &[CheckedAtom], ui: Ui) -> Result<Modules> {
    let mut modules = Modules::default();
    for atom in atoms {
        let module = module(repo, atom, ui).with_context(|| format!("atom `{}`", atom.name))?;
        modules.push(module);
    }
    Ok(modules)
}

fn module(repo: &Repo, atom: &CheckedAtom, ui: Ui) -> Result<OwnedModule> {
    let wasm = source::wasm(repo, &atom.source, atom.limits.stack, ui)?;
    let made = canonical(&atom.name, &wasm)?;
    if made.memory > atom.limits.memory {
        bail!(
            "its module has {} of memory at its start, but memory = \"{}\"\nhelp: write memory = \"{}\" or more",
            show_size(made.memory),
            show_size(atom.limits.memory),
            show_size(made.memory)
        );
    }
    Ok(OwnedModule::new(atom.name.clone(), made.wasm, made.files))
}
