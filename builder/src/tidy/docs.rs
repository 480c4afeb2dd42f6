//! Rules about pages.

use std::collections::BTreeSet;

use super::{Found, Source};

/// The lines between which the figures stand in the README.
const FIGURES: [&str; 2] = ["<!-- bench:begin -->", "<!-- bench:end -->"];

fn page<'a>(sources: &'a [Source], path: &str) -> Option<&'a Source> {
    sources.iter().find(|s| s.path == path)
}

pub(super) fn adr_numbers(sources: &[Source], found: &mut Found) {
    let mut next = 1;
    for s in sources {
        let Some(name) = s.path.strip_prefix("docs/adr/") else { continue };
        if name == "README.md" {
            continue;
        }
        let number = name.split_once('-').and_then(|(n, _)| n.parse::<u32>().ok());
        match number {
            Some(n) if n == next && name.ends_with(".md") && name.find('-') == Some(4) => next += 1,
            _ => {
                let what = format!("expected a page named {next:04}-….md here");
                found.push((s.path.clone(), 0, what));
                next = number.map_or(next, |n| n + 1);
            }
        }
    }
}

pub(super) fn readme_folders(sources: &[Source], found: &mut Found) {
    let Some(readme) = page(sources, "README.md") else { return };
    let folders: BTreeSet<&str> = sources
        .iter()
        .filter_map(|s| s.path.split_once('/'))
        .map(|(folder, _)| folder)
        .filter(|f| !f.starts_with('.'))
        .collect();
    let listed: Vec<(usize, &str)> = readme
        .text
        .lines()
        .enumerate()
        .filter_map(|(i, line)| {
            // A line of a list, a table or a block that begins with `name/`.
            let start = line.trim_start_matches([' ', '|', '-', '*', '`', '[']);
            let (name, rest) = start.split_once('/')?;
            let is_name = !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            // A folder, or one inside it.
            let path = rest.split([' ', '`', '|', ']']).next().unwrap_or_default();
            let ends = path.is_empty() || path.ends_with('/');
            (is_name && ends).then_some((i + 1, name))
        })
        .collect();
    for (line, name) in &listed {
        if !folders.contains(name) {
            let what = format!("`{name}/` is listed, but there is no such folder");
            found.push(("README.md".into(), *line, what));
        }
    }
    for folder in folders {
        if !listed.iter().any(|(_, name)| *name == folder) {
            let what = format!("the folder `{folder}/` is not listed");
            found.push(("README.md".into(), 0, what));
        }
    }
}

pub(super) fn readme_figures(sources: &[Source], found: &mut Found) {
    let Some(readme) = page(sources, "README.md") else { return };
    let at = FIGURES.map(|mark| readme.text.find(mark));
    match at {
        [Some(begin), Some(end)] if begin < end => {}
        _ => {
            let what = format!("no table of figures between `{}` and `{}`", FIGURES[0], FIGURES[1]);
            found.push(("README.md".into(), 0, what));
        }
    }
}

pub(super) fn guest_readme(sources: &[Source], found: &mut Found) {
    for s in sources {
        let Some(folder) = s.path.strip_suffix("/guest.toml").filter(|f| f.starts_with("images/"))
        else {
            continue;
        };
        if page(sources, &format!("{folder}/README.md")).is_none() {
            found.push((s.path.clone(), 0, format!("write {folder}/README.md")));
        }
    }
}
