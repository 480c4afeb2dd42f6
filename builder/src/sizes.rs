//! Where a kernel's bytes are: by segment, by crate, by symbol.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use serde::Serialize;

/// A symbol and its size.
#[derive(Clone, Debug, Serialize)]
pub struct Symbol {
    /// Its crate, as well as its name tells.
    pub krate: String,
    /// Its name, demangled.
    pub name: String,
    /// `code`, `data`, or `zero`: memory that takes no bytes of the image.
    pub kind: &'static str,
    /// Its bytes.
    pub bytes: u64,
}

/// The sized symbols of an ELF, largest first.
pub fn symbols(elf: &[u8]) -> Result<Vec<Symbol>> {
    let file = ElfFile64::<object::LittleEndian>::parse(elf).context("not an ELF with symbols")?;
    let mut out: Vec<Symbol> = file
        .symbols()
        .filter(|s| s.size() > 0 && matches!(s.kind(), SymbolKind::Text | SymbolKind::Data))
        .filter_map(|s| {
            let mangled = s.name().ok()?;
            let (name, krate) = demangle(mangled);
            let section = s.section_index().and_then(|i| file.section_by_index(i).ok());
            let kind = match section.map(|s| s.kind()) {
                Some(SectionKind::UninitializedData) => "zero",
                _ if s.kind() == SymbolKind::Text => "code",
                _ => "data",
            };
            Some(Symbol { krate, name, kind, bytes: s.size() })
        })
        .collect();
    out.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    Ok(out)
}

/// Bytes in the image by crate, largest first.
pub fn crates(symbols: &[Symbol]) -> Vec<(String, u64)> {
    let mut sums = BTreeMap::new();
    for s in symbols.iter().filter(|s| s.kind != "zero") {
        *sums.entry(s.krate.clone()).or_insert(0) += s.bytes;
    }
    let mut out: Vec<_> = sums.into_iter().collect();
    out.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    out
}

/// A symbol's name as people read it.
pub(crate) fn readable(mangled: &str) -> String {
    demangle(mangled).0
}

/// A path out of the names in a mangled symbol (v0 or legacy), and its crate.
/// Types and generics are left out: a table needs to be read, not to be parsed.
fn demangle(mangled: &str) -> (String, String) {
    let alien = || (mangled.to_owned(), "(no crate)".to_owned());
    let Some(rest) = mangled.strip_prefix("_R").or_else(|| mangled.strip_prefix("_ZN")) else {
        return alien();
    };
    let legacy = mangled.starts_with("_ZN");
    let bytes = rest.as_bytes();
    let (mut at, mut names, mut krate, mut root) = (0, Vec::<&str>::new(), None, false);
    while at < bytes.len() {
        let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 || bytes[at] == b'0' {
            // In v0, `C` stands before a crate's name, and numbers in base 62,
            // from `s` to `_`, stand before any.
            match bytes[at] {
                b's' if !legacy => at += bytes[at..].iter().position(|b| *b == b'_').unwrap_or(0),
                b => root = b == b'C',
            }
            at += 1;
            continue;
        }
        let Ok(len) = rest[at..at + digits].parse::<usize>() else { break };
        let start = at + digits + usize::from(!legacy && bytes.get(at + digits) == Some(&b'_'));
        let Some(name) = start.checked_add(len).and_then(|end| rest.get(start..end)) else { break };
        if root && krate.is_none() {
            krate = Some(name);
        }
        names.push(name);
        (at, root) = (start + len, false);
    }
    if legacy && names.last().is_some_and(|n| n.len() == 17 && n.starts_with('h')) {
        names.pop();
    }
    let mut name = names.join("::").replace("..", "::");
    for (code, sign) in [("$LT$", "<"), ("$GT$", ">"), ("$u20$", " "), ("$RF$", "&"), ("$C$", ",")]
    {
        name = name.replace(code, sign);
    }
    if name.is_empty() {
        return alien();
    }
    // `<&T as core::fmt::Debug>::fmt` is of core: a crate begins in lower case.
    let first = name
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .map(|word| word.trim_start_matches('_'))
        .find(|word| word.starts_with(|c: char| c.is_ascii_lowercase()) && *word != "as");
    let krate = krate.or(first).unwrap_or("(no crate)").to_owned();
    (name, krate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_manglings_are_readable() {
        for (mangled, name, krate) in [
            ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write", "core"),
            ("_RNvNtCs5kGr0fLNUza_4core3fmt5write", "core::fmt::write", "core"),
            ("memcpy", "memcpy", "(no crate)"),
            (
                "_ZN51_$LT$atoll_runtime..Guest$u20$as$u20$core..Tree$GT$4read17h0123456789abcdefE",
                "_<atoll_runtime::Guest as core::Tree>::read",
                "atoll_runtime",
            ),
            ("_R", "_R", "(no crate)"),
            ("_RNv99999999999999999999x", "_RNv99999999999999999999x", "(no crate)"),
        ] {
            assert_eq!(demangle(mangled), (name.to_owned(), krate.to_owned()));
        }
    }
}
