//! What names, paths and numbers a guest may have.
//!
//! The same rules hold for a `guest.toml` (where a broken one gets a caret) and
//! for a payload found in an image (where it refuses the image): whoever holds
//! an [`crate::image::Image`] or a checked configuration need not look again.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::atom::{self, AtomLimits};
use crate::kinds::{self, Type};
use crate::payload::{Budget, Component, Payload, Value};

/// The least memory of a guest's machine, in bytes.
pub const MIN_MEMORY: u64 = 2 << 20;
/// The most: a guest's machine has no memory beyond the hole for devices.
pub const MAX_MEMORY: u64 = 3 << 30;
/// Below this address lies what the machine needs for itself.
pub const KERNEL_BASE: u64 = 1 << 20;
/// The longest name in a path, in bytes.
pub const MAX_NAME: usize = 255;
/// The longest path, in bytes.
pub const MAX_PATH: usize = 1024;
/// The most files, components or imports.
pub const MAX_ITEMS: usize = 4096;

/// The limits of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The least.
    pub min: u64,
    /// The greatest.
    pub max: u64,
    /// What it is when nobody says.
    pub default: u64,
}

/// Limits of a sponsor's numbers, in the order memory, messages, sessions, fids.
pub fn budget_limits(memory: u64) -> [Limits; 4] {
    // An eighth of a machine for what is on its way, half of it at most: the
    // rest is for the kernel, the payload and the components themselves.
    let default = (memory / 8).min(8 << 20) & !0xfff;
    [
        Limits { min: 64 << 10, max: memory / 2, default },
        Limits { min: 16, max: 65_536, default: 256 },
        Limits { min: 1, max: 1024, default: 16 },
        Limits { min: 8, max: 65_536, default: 256 },
    ]
}

/// Bytes of memory that tables of that many messages, sessions and fids take at most.
pub fn budget_tables(budget: &Budget) -> u64 {
    let (sessions, fids) = (u64::from(budget.sessions), u64::from(budget.fids));
    u64::from(budget.messages) * 64 + sessions * (1024 + fids * 64)
}

/// A guest's name: `[a-z0-9-]`, 1 to 63 characters.
pub fn guest_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("it is empty"),
        _ if name.len() > 63 => Err("it has more than 63 characters"),
        _ if !name.bytes().all(label) => Err("only a to z, 0 to 9 and - may stand in it"),
        _ => Ok(()),
    }
}

/// A component's or an import's name: as a guest's, and begins with a letter.
pub fn item_name(name: &str) -> Result<(), &'static str> {
    guest_name(name)?;
    match name.as_bytes().first() {
        Some(b'a'..=b'z') => Ok(()),
        _ => Err("it must begin with a letter"),
    }
}

fn label(b: u8) -> bool {
    matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')
}

/// A guest's version: one line of text.
pub fn version(text: &str) -> Result<(), &'static str> {
    match text {
        "" => Err("it is empty"),
        _ if text.len() > 64 => Err("it has more than 64 bytes"),
        _ if text.chars().any(char::is_control) => Err("it must be one line of text"),
        _ => Ok(()),
    }
}

/// A path below `export/`.
pub fn path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("it is empty");
    }
    if path.starts_with('/') {
        return Err("it must not begin with /: it is below export/");
    }
    if path.len() > MAX_PATH {
        return Err("it has more than 1024 bytes");
    }
    path.split('/').try_for_each(|name| match name {
        "" => Err("it has an empty name in it (a / too many)"),
        "." | ".." => Err("`.` and `..` may not stand in it"),
        _ if name.len() > MAX_NAME => Err("a name in it has more than 255 bytes"),
        _ if name.chars().any(char::is_control) => Err("a control character stands in it"),
        _ => Ok(()),
    })
}

/// Where an import is mounted: an absolute path, and not the root.
pub fn mount(at: &str) -> Result<(), &'static str> {
    match at.strip_prefix('/') {
        None => Err("it must be absolute, that is begin with /"),
        Some("") => Err("nothing can be mounted over the root"),
        Some(below) => path(below),
    }
}

/// Whether `b` is `a` or lies below it.
pub fn covers(a: &str, b: &str) -> bool {
    a.is_empty() || b.strip_prefix(a).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a value is one that a parameter of this type may have.
pub fn value(ty: &Type, value: &Value<'_>) -> Result<(), String> {
    match (ty, value) {
        (Type::Int { min, max, .. }, Value::Int(n)) if n < min || n > max => {
            Err(format!("{n} is not between {min} and {max}"))
        }
        (Type::Text { max, .. }, Value::Text(t)) if t.len() > *max => {
            Err(format!("it has {} bytes; at most {max} are possible", t.len()))
        }
        (Type::Text { .. }, Value::Text(t)) if t.chars().any(char::is_control) => {
            Err("it must be one line of text".into())
        }
        (Type::Span { min, max, .. }, Value::Span(n)) if n < min || n > max => {
            Err(format!("{n} ns is not between {min} and {max} ns"))
        }
        (Type::Int { .. }, Value::Int(_))
        | (Type::Text { .. }, Value::Text(_))
        | (Type::Span { .. }, Value::Span(_)) => Ok(()),
        _ => Err("it is of another type".into()),
    }
}

/// Whether a payload is one that a checked configuration could have given.
pub fn payload(p: &Payload<'_>) -> Result<(), String> {
    let named = |what: &str, name: &str, r: Result<(), &'static str>| {
        r.map_err(|why| format!("{what} {name:?}: {why}"))
    };
    named("name", p.name, guest_name(p.name))?;
    named("version", p.version, version(p.version))?;
    if !(MIN_MEMORY..=MAX_MEMORY).contains(&p.memory) || !p.memory.is_multiple_of(4096) {
        return Err(format!("memory of {} bytes", p.memory));
    }
    let b = &p.budget;
    let given = [b.memory, b.messages.into(), b.sessions.into(), b.fids.into()];
    for (n, limits) in given.iter().zip(budget_limits(p.memory)) {
        if !(limits.min..=limits.max).contains(n) {
            return Err(format!("sponsor: {n} is not between {} and {}", limits.min, limits.max));
        }
    }
    if budget_tables(b) > p.memory / 2 {
        return Err("sponsor: sessions and fids need more than half of the memory".into());
    }
    if p.files.len().max(p.components.len()).max(p.imports.len()) > MAX_ITEMS {
        return Err(format!("more than {MAX_ITEMS} files, components or imports"));
    }
    modules(p)?;
    for c in &p.components {
        named("component", c.name, item_name(c.name))?;
        if c.kind == atom::KIND {
            an_atom(c, p).map_err(|why| format!("atom {:?}: {why}", c.name))?;
            continue;
        }
        if c.module.is_some() || c.limits != AtomLimits::default() {
            return Err(format!("component {:?} is no atom and has a module or limits", c.name));
        }
        let kind = kinds::find(c.kind).ok_or_else(|| format!("unknown kind {:?}", c.kind))?;
        if kind.state_version != c.state_version || kind.params.len() != c.params.len() {
            return Err(format!("component {:?} was made for another {}", c.name, kind.name));
        }
        for (param, v) in kind.params.iter().zip(&c.params) {
            value(&param.ty, v).map_err(|why| format!("{}.{}: {why}", c.name, param.name))?;
        }
    }
    for f in &p.files {
        named("file", f.path, path(f.path))?;
    }
    for i in &p.imports {
        named("import", i.name, item_name(i.name))?;
        named("import at", i.at, mount(i.at))?;
    }
    for w in p.writable.iter().filter(|w| !w.is_empty()) {
        named("export", w, path(w))?;
    }
    apart("export", p.files.iter().map(|f| f.path).chain(p.components.iter().map(|c| c.name)))?;
    apart("import", p.imports.iter().map(|i| i.at))
}

/// An atom among the components.
fn an_atom(c: &Component<'_>, p: &Payload<'_>) -> Result<(), String> {
    if c.state_version != atom::ABI {
        return Err(format!("ABI {}, but only {} is known", c.state_version, atom::ABI));
    }
    if c.module.is_none_or(|m| m as usize >= p.modules.len()) {
        return Err("its module is not there".into());
    }
    if c.limits.memory > p.memory {
        return Err("it may grow beyond its guest's memory".into());
    }
    c.limits.check()?;
    atom::check_params(&c.params)
}

/// The modules: each once, each used, files as they may be declared.
fn modules(p: &Payload<'_>) -> Result<(), String> {
    if p.modules.len() > p.components.len() {
        return Err("more modules than components".into());
    }
    for (i, m) in p.modules.iter().enumerate() {
        let wrong = |why: &str| Err(format!("module {:?}: {why}", m.name));
        if path(m.name).is_err() || m.name.contains('/') {
            return wrong("that is no name");
        }
        if p.modules[..i].iter().any(|o| o.hash == m.hash) {
            return wrong("it is there twice");
        }
        if !p.components.iter().any(|c| c.module == Some(i as u32)) {
            return wrong("no atom uses it");
        }
        atom::check_files(&m.files).map_err(|why| format!("module {:?}: {why}", m.name))?;
    }
    Ok(())
}

/// No path may be another, or lie below another.
fn apart<'a>(what: &str, paths: impl Iterator<Item = &'a str>) -> Result<(), String> {
    // Sorted by names, a path comes directly before the first that lies below it.
    let mut all: Vec<Vec<&str>> = paths.map(|p| p.split('/').collect()).collect();
    all.sort_unstable();
    match all.windows(2).find(|w| w[1].starts_with(&w[0])) {
        Some(w) => Err(format!("{what}: {:?} and {:?} collide", w[0].join("/"), w[1].join("/"))),
        None => Ok(()),
    }
}
