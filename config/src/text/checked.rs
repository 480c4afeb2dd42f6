//! A checked configuration: it owns everything, and the payload borrows from it.

use std::collections::BTreeMap;

use super::files::AtomSource;
use super::modules::Modules;
use crate::atom::{self, AtomLimits};
use crate::image::Platform;
use crate::kinds::Kind;
use crate::payload::{self, Budget, OnFault, Payload, Value};

/// A guest, checked. Whoever holds one can make an image of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The guest's name.
    pub name: String,
    /// The guest's version.
    pub version: String,
    /// Memory of its machine, in bytes.
    pub memory: u64,
    /// Where it may run.
    pub platforms: Vec<Platform>,
    /// What follows an abandoned dispatch.
    pub on_fault: OnFault,
    /// Whether it is a test of the system itself.
    pub test: bool,
    /// What it may use.
    pub budget: Budget,
    /// Its files, by path.
    pub files: Vec<CheckedFile>,
    /// Its components, in the order of the file.
    pub components: Vec<CheckedComponent>,
    /// Its atoms, in the order of the file; they start after the components.
    pub atoms: Vec<CheckedAtom>,
    /// Its imports, in the order of the file.
    pub imports: Vec<CheckedImport>,
    /// What clients may write to.
    pub writable: Vec<String>,
}

/// A file and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedFile {
    /// Path below `export/`.
    pub path: String,
    /// Its bytes.
    pub data: Vec<u8>,
    /// Where they came from, if not from the `guest.toml` itself.
    pub source: Option<String>,
}

/// A component with a value for each parameter of its kind.
#[derive(Clone, Debug)]
pub struct CheckedComponent {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static Kind,
    /// One value for each of the kind's parameters, in the kind's order.
    pub params: Vec<OwnedValue>,
}

impl PartialEq for CheckedComponent {
    fn eq(&self, other: &Self) -> bool {
        let key = |c: &Self| (c.name.clone(), c.kind.name, c.params.clone());
        key(self) == key(other)
    }
}

/// An atom, before anybody has compiled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedAtom {
    /// Its name.
    pub name: String,
    /// Its source, as the file says it.
    pub path: String,
    /// Its source, found.
    pub source: AtomSource,
    /// What it may use.
    pub limits: AtomLimits,
    /// What it is told at its start: lines `key value`.
    pub params: String,
}

/// An import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedImport {
    /// The name that the host binds.
    pub name: String,
    /// Where the guest sees it.
    pub at: String,
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedValue {
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// A span of time in nanoseconds.
    Span(u64),
}

impl OwnedValue {
    /// The same value, borrowed.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            OwnedValue::Int(n) => Value::Int(*n),
            OwnedValue::Text(t) => Value::Text(t),
            OwnedValue::Bool(b) => Value::Bool(*b),
            OwnedValue::Span(n) => Value::Span(*n),
        }
    }
}

impl Checked {
    /// The payload of an image of this guest, with the modules that were made of its
    /// atoms: one place for each atom, in their order ([`super::NO_MODULES`] for a guest
    /// without atoms).
    ///
    /// # Panics
    /// When there are not as many places as atoms.
    pub fn payload<'a>(&'a self, modules: &'a Modules) -> Payload<'a> {
        assert_eq!(modules.of.len(), self.atoms.len(), "each atom needs a module");
        let atoms = self.atoms.iter().zip(&modules.of).map(|(a, module)| payload::Component {
            name: &a.name,
            kind: atom::KIND,
            state_version: atom::ABI,
            params: vec![Value::Text(&a.params)],
            module: Some(*module),
            limits: a.limits,
        });
        Payload {
            name: &self.name,
            version: &self.version,
            memory: self.memory,
            on_fault: self.on_fault,
            budget: self.budget,
            files: self
                .files
                .iter()
                .map(|f| payload::File { path: &f.path, data: &f.data })
                .collect(),
            components: self
                .components
                .iter()
                .map(|c| payload::Component {
                    name: &c.name,
                    kind: c.kind.name,
                    state_version: c.kind.state_version,
                    params: c.params.iter().map(OwnedValue::as_value).collect(),
                    module: None,
                    limits: AtomLimits::default(),
                })
                .chain(atoms)
                .collect(),
            imports: self
                .imports
                .iter()
                .map(|i| payload::Import { name: &i.name, at: &i.at })
                .collect(),
            writable: self.writable.iter().map(String::as_str).collect(),
            modules: modules.list.iter().map(super::OwnedModule::borrow).collect(),
        }
    }

    /// The kinds that it needs, each once, by name: what a flavour must link.
    pub fn kinds(&self) -> Vec<&'static Kind> {
        let kinds: BTreeMap<_, _> = self.components.iter().map(|c| (c.kind.name, c.kind)).collect();
        kinds.into_values().collect()
    }
}
