//! The table of figures in the README: made from the last runs, never by hand.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::figure::Figure;
use crate::machine::Host;
use crate::table;

/// The benches whose figures are kept, in the order of the table.
pub const NAMES: [&str; 7] = ["boot", "size", "build", "9p", "atoms", "supervisor", DENSITY];
/// The one that takes most of a machine: it is run only when it is named.
pub const DENSITY: &str = "density";

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// The figures of a run, as kept in `target/atoll/bench/NAME.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Where.
    pub host: Host,
    /// What.
    pub figures: Vec<Figure>,
}

impl Run {
    /// Keeps it.
    pub fn save(&self, root: &Path, name: &str) -> Result<()> {
        let dir = root.join("target/atoll/bench");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let path = dir.join(format!("{name}.json"));
        let mut temp = tempfile::NamedTempFile::new_in(&dir)?;
        serde_json::to_writer_pretty(&mut temp, self)?;
        temp.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    /// Reads the last one, if there was any.
    pub fn load(root: &Path, name: &str) -> Result<Option<Run>> {
        let path = root.join(format!("target/atoll/bench/{name}.json"));
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        let again = || format!("{} is not of this version: run the bench again", path.display());
        serde_json::from_str(&text).map(Some).with_context(again)
    }
}

/// Writes the table into README.md.
pub fn update(root: &Path) -> Result<()> {
    let path = root.join("README.md");
    let old = std::fs::read_to_string(&path)
        .context("there is no README.md in the root to write the table into")?;
    let mut runs = Vec::new();
    for name in NAMES {
        match Run::load(root, name)? {
            Some(run) => runs.push(run),
            None => eprintln!("no figures of `{name}`: run `cargo xtask bench {name}` first"),
        }
    }
    if runs.is_empty() {
        bail!("there are no figures yet; README.md is unchanged");
    }
    let new = replaced(&old, &section(&runs))?;
    if new != old {
        let mut temp = tempfile::NamedTempFile::new_in(root)?;
        std::io::Write::write_all(&mut temp, new.as_bytes())?;
        temp.as_file().set_permissions(std::fs::metadata(&path)?.permissions())?;
        temp.persist(&path).context("cannot write README.md")?;
    }
    Ok(())
}

fn section(runs: &[Run]) -> String {
    let mut out = String::new();
    for run in runs {
        let line = format!("{}:\n\n", run.host.line());
        // Said once for runs on the same machine and day.
        if !out.contains(&line) {
            out += &line;
        }
        out += &table::markdown(&shown(&run.figures));
        out += "\n";
    }
    out.trim_end().to_owned()
}

/// Of many figures those that say most: all where they are few, else what has a
/// goal, how near it is to the least there could be, and what reaches a guest.
fn shown(figures: &[Figure]) -> Vec<Figure> {
    let is_shown = |f: &Figure| {
        let of_guest = f.case.ends_with("on QEMU") && f.case.contains("depth 1");
        let of_ours = f.metric == "rate" && f.peer.is_some() && !f.case.contains("guest");
        f.bench != "9p" || f.goal.is_some() || f.unit == "%" || of_ours || of_guest
    };
    let of = |f: &Figure| {
        let ends = [f.metric.strip_suffix("_p10"), f.metric.strip_suffix("_p90")];
        ends.into_iter().flatten().next().unwrap_or(&f.metric).to_owned()
    };
    let kept: Vec<(&str, &str)> = figures
        .iter()
        .filter(|f| is_shown(f))
        .map(|f| (f.case.as_str(), f.metric.as_str()))
        .collect();
    let is_kept = |f: &&Figure| kept.contains(&(f.case.as_str(), of(f).as_str()));
    figures.iter().filter(is_kept).cloned().collect()
}

/// The text with a new section between the markers.
fn replaced(text: &str, section: &str) -> Result<String> {
    let (Some(begin), Some(end)) = (text.find(BEGIN), text.find(END)) else {
        bail!("README.md has no lines `{BEGIN}` and `{END}` to write the table between");
    };
    if begin > end {
        bail!("in README.md `{END}` stands before `{BEGIN}`");
    }
    let (before, after) = (&text[..begin + BEGIN.len()], &text[end..]);
    Ok(format!("{before}\n{section}\n{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let once = replaced(&text, "new").unwrap();
        assert_eq!(once, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(replaced(&once, "new").unwrap(), once);
    }

    #[test]
    fn of_many_figures_those_with_a_goal_are_shown() {
        let spread = crate::samples::Spread { median: 5.0, p10: 4.0, p90: 6.0 };
        let one = |case: &str, metric: &str| Figure::new("9p", case, metric, "/s", 5.0);
        let mut figures = one("getattr", "rate").at_least(2.0).with(spread);
        figures.extend(one("getattr", "rate of diod").with(spread));
        figures.extend(one("getattr, depth 1, guest on QEMU", "rate").with(spread));
        figures.extend(one("getattr, depth 8, guest on QEMU", "rate").with(spread));
        assert_eq!(shown(&figures), [&figures[..3], &figures[6..9]].concat());
        let boots = one("boot", "cpu");
        let boots = Figure { bench: "boot".to_owned(), ..boots }.with(spread);
        assert_eq!(shown(&boots), boots);
    }

    #[test]
    fn a_readme_without_markers_is_refused() {
        assert!(replaced("nothing", "new").unwrap_err().to_string().contains(BEGIN));
        assert!(replaced(&format!("{END}{BEGIN}"), "new").is_err());
    }
}
