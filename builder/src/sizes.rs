//! Where a kernel's bytes are: by segment, by crate, by symbol.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSymbol, SymbolKind};
use serde::Serialize;

/// A symbol and its size.
#[derive(Clone, Debug, Serialize)]
pub struct Symbol {
    /// Its crate, as well as its name tells.
    pub krate: String,
    /// Its name, demangled.
    pub name: String,
    /// `code` or `data`.
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
            let name = demangle(mangled);
            let kind = if s.kind() == SymbolKind::Text { "code" } else { "data" };
            Some(Symbol { krate: krate(mangled, &name), name, kind, bytes: s.size() })
        })
        .collect();
    out.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    Ok(out)
}

/// Bytes by crate, largest first.
pub fn crates(symbols: &[Symbol]) -> Vec<(String, u64)> {
    let mut sums = BTreeMap::new();
    for s in symbols {
        *sums.entry(s.krate.clone()).or_insert(0) += s.bytes;
    }
    let mut out: Vec<_> = sums.into_iter().collect();
    out.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    out
}

/// A path out of the names in a mangled symbol (v0 or legacy). Types and
/// generics are left out: a table needs to be read, not to be parsed.
fn demangle(mangled: &str) -> String {
    let Some(rest) = mangled.strip_prefix("_R").or_else(|| mangled.strip_prefix("_ZN")) else {
        return mangled.to_owned();
    };
    let legacy = mangled.starts_with("_ZN");
    let (bytes, mut at, mut names) = (rest.as_bytes(), 0, Vec::<&str>::new());
    while at < bytes.len() {
        let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        // In v0, `s_` and `s1x_` before a name, and base-62 numbers, are skipped.
        if digits == 0 || bytes[at] == b'0' {
            if !legacy && bytes[at] == b's' {
                at += bytes[at..].iter().position(|b| *b == b'_').unwrap_or(0);
            }
            at += 1;
            continue;
        }
        let Ok(len) = rest[at..at + digits].parse::<usize>() else {
            break;
        };
        let start = at + digits + usize::from(!legacy && bytes.get(at + digits) == Some(&b'_'));
        let Some(name) = rest.get(start..start + len) else {
            break;
        };
        names.push(name);
        at = start + len;
    }
    if legacy && names.last().is_some_and(|n| n.len() == 17 && n.starts_with('h')) {
        names.pop();
    }
    let name = names.join("::").replace("$LT$", "<").replace("$GT$", ">").replace("$u20$", " ");
    if name.is_empty() { mangled.to_owned() } else { name.replace("..", "::") }
}

/// The first crate in a name, or what stands for "no Rust".
fn krate(mangled: &str, name: &str) -> String {
    if !mangled.starts_with("_R") && !mangled.starts_with("_ZN") {
        return "(no crate)".into();
    }
    let first = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let end = first.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(first.len());
    first[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_manglings_are_readable() {
        let legacy = "_ZN4core3fmt5write17h0123456789abcdefE";
        assert_eq!(demangle(legacy), "core::fmt::write");
        assert_eq!(krate(legacy, &demangle(legacy)), "core");
        let v0 = "_RNvNtCs5kGr0fLNUza_4core3fmt5write";
        assert_eq!(demangle(v0), "core::fmt::write");
        assert_eq!(demangle("memcpy"), "memcpy");
        assert_eq!(krate("memcpy", "memcpy"), "(no crate)");
        let generic =
            "_ZN50_$LT$atoll_runtime..Guest$u20$as$u20$core..Tree$GT$4read17h0123456789abcdefE";
        assert_eq!(krate(generic, &demangle(generic)), "atoll_runtime");
    }
}
