//! Rules about code.

use super::{Found, Source};

/// Crates that touch the machine, or run machine code of atoms.
const UNSAFE: [&str; 7] = ["atom", "engine", "fork", "fuzz", "tender", "unikernel", "xen"];
/// Lines of a file that needs no reason.
const LONG: usize = 600;

fn rust(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|s| s.path.ends_with(".rs"))
}

/// Numbered lines, from 1.
fn lines(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.text.lines().enumerate().map(|(i, l)| (i + 1, l))
}

pub(super) fn forbid_unsafe(sources: &[Source], found: &mut Found) {
    let is_root = |path: &str| {
        path.ends_with("src/lib.rs") || path.ends_with("src/main.rs") || path.contains("/src/bin/")
    };
    for s in rust(sources).filter(|s| is_root(&s.path)) {
        let folder = s.path.split('/').next().unwrap_or_default();
        if !UNSAFE.contains(&folder) && !s.text.contains("#![forbid(unsafe_code)]") {
            let what = "add #![forbid(unsafe_code)] at the top of this crate".to_owned();
            found.push((s.path.clone(), 1, what));
        }
    }
}

pub(super) fn safety_comment(sources: &[Source], found: &mut Found) {
    for s in rust(sources) {
        let all: Vec<&str> = s.text.lines().collect();
        for (i, line) in all.iter().enumerate() {
            let code = line.trim_start();
            let unsafe_here = code.contains("unsafe {") || code.starts_with("unsafe impl");
            if code.starts_with("//") || code.contains('"') || !unsafe_here {
                continue;
            }
            // The comment stands above the statement, which may have some lines.
            let above = &all[i.saturating_sub(8)..=i];
            if !above.iter().any(|l| l.contains("SAFETY:")) {
                let what = "say why this is sound in a // SAFETY: comment above it".to_owned();
                found.push((s.path.clone(), i + 1, what));
            }
        }
    }
}

pub(super) fn short_files(sources: &[Source], found: &mut Found) {
    for s in rust(sources) {
        let n = s.text.lines().count();
        let reason = s
            .text
            .lines()
            .take_while(|l| l.starts_with("//!"))
            .any(|l| l.starts_with("//! Long") && l.contains("because"));
        if n > LONG && !reason {
            let what = format!(
                "{n} lines: split it, or begin a line of its head with //! Long… because …"
            );
            found.push((s.path.clone(), 0, what));
        }
    }
}

pub(super) fn nothing_left_over(sources: &[Source], found: &mut Found) {
    // Written in two parts, so that this file does not break its own rule.
    let words = [
        concat!("todo", "!("),
        concat!("dbg", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ign", "ore"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    for s in rust(sources) {
        for (n, line) in lines(s) {
            if let Some(word) = words.iter().find(|w| line.contains(**w)) {
                found.push((s.path.clone(), n, format!("`{word}` is left over")));
            }
        }
    }
}

pub(super) fn no_machine_paths(sources: &[Source], found: &mut Found) {
    let paths = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
    ];
    for s in sources {
        for (n, line) in lines(s) {
            if let Some(path) = paths.iter().find(|p| line.contains(**p)) {
                found.push((s.path.clone(), n, format!("`{path}…` is a path of one machine")));
            }
        }
    }
}

pub(super) fn pinned(sources: &[Source], found: &mut Found) {
    for s in sources.iter().filter(|s| s.path.ends_with("Cargo.toml")) {
        let mut in_dependencies = false;
        for (n, line) in lines(s) {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| in_dependencies) else {
                continue;
            };
            let ours = value.contains("path =")
                || name.ends_with(".workspace")
                || value.contains("workspace = true");
            let version = !name.contains('.') && !name.starts_with('#') && !ours;
            if version && !value.contains("\"=") {
                let what = format!("`{}` is not pinned: write \"=x.y.z\"", name.trim());
                found.push((s.path.clone(), n, what));
            }
        }
    }
}
