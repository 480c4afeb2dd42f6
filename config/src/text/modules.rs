//! Modules that the builder made of a guest's atoms.

use crate::atom::{FileKind, ModuleFile};
use crate::payload::{Hash, Module};

/// The modules of a guest, each once, and which atom has which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// The modules.
    pub list: Vec<OwnedModule>,
    /// For each atom, in the order of the file, its module's place in `list`.
    pub of: Vec<u32>,
}

/// The modules of a guest without atoms.
pub static NO_MODULES: Modules = Modules { list: Vec::new(), of: Vec::new() };

/// A module that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedModule {
    /// What people call it.
    pub name: String,
    /// BLAKE3 of `wasm`.
    pub hash: Hash,
    /// The canonical binary.
    pub wasm: Vec<u8>,
    /// The files that it declares.
    pub files: Vec<(String, FileKind)>,
}

impl OwnedModule {
    /// A module of canonical Wasm.
    pub fn new(name: String, wasm: Vec<u8>, files: Vec<(String, FileKind)>) -> OwnedModule {
        OwnedModule { name, hash: Hash(*blake3::hash(&wasm).as_bytes()), wasm, files }
    }

    /// The same module, borrowed.
    pub fn borrow(&self) -> Module<'_> {
        let files = self.files.iter().map(|(name, kind)| ModuleFile { name, kind: *kind });
        Module { name: &self.name, hash: self.hash, wasm: &self.wasm, files: files.collect() }
    }
}

impl Modules {
    /// Adds the next atom's module. One that is there already is not added again.
    pub fn push(&mut self, module: OwnedModule) {
        let known = self.list.iter().position(|m| m.hash == module.hash);
        let place = known.unwrap_or(self.list.len());
        if known.is_none() {
            self.list.push(module);
        }
        self.of.push(place as u32);
    }
}
