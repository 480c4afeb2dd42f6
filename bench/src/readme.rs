//! The figures in the README and on their own page: made from the last runs, never by hand.
//!
//! The README has what a reader asks first: what there is a goal for, and what a guest's
//! start costs beside others'. `docs/figures.md` has all. A bench that was not run here keeps
//! the section that it has, with the machine and the day above it.

use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::figure::Figure;
use crate::machine::Host;
use crate::table;

/// The benches whose figures are kept, in the order of the table.
pub const NAMES: [&str; 8] = ["boot", "size", "build", "9p", "atoms", "supervisor", "xen", DENSITY];
/// The one that takes most of a machine: it is run only when it is named.
pub const DENSITY: &str = "density";

/// The page of all figures.
const PAGE: &str = "docs/figures.md";
const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";
const INTRO: &str = "\
# Figures

All that the last runs of `cargo xtask bench` measured; `cargo xtask bench readme` writes this
page. CPU time is that of the guest's whole process; a floor is the least that could be, in the
same run; what stands beside a figure is a peer of the same run, unless it says quoted.
";

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

/// Writes the tables into README.md and the page of all figures.
pub fn update(root: &Path) -> Result<()> {
    let readme = root.join("README.md");
    let old = std::fs::read_to_string(&readme)
        .context("there is no README.md in the root to write the tables into")?;
    let mut runs = Vec::new();
    for name in NAMES {
        match Run::load(root, name)? {
            Some(run) => runs.push((name, run)),
            None => eprintln!("no figures of `{name}` here: its section stays as it is"),
        }
    }
    if runs.is_empty() {
        bail!("there are no figures yet; README.md is unchanged");
    }
    let page = std::fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    let all = sections(&page, &runs, "##", <[Figure]>::to_vec);
    let first = sections(&old[marked(&old)?], &runs, "###", first);
    write(&readme, &replaced(&old, &first)?)?;
    write(&root.join(PAGE), &format!("{INTRO}\n{all}\n"))
}

/// Puts a whole text in a file's place, if it is another.
fn write(path: &Path, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    if old == text {
        return Ok(());
    }
    let dir = path.parent().context("a page lies in a folder")?;
    let mut temp = tempfile::NamedTempFile::new_in(dir)?;
    std::io::Write::write_all(&mut temp, text.as_bytes())?;
    temp.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    temp.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// A table for each run, of the figures that are picked; for each bench that has no run here,
/// the table that an old text has.
fn sections(
    old: &str,
    runs: &[(&str, Run)],
    head: &str,
    pick: fn(&[Figure]) -> Vec<Figure>,
) -> String {
    let (mut out, mut last) = (String::new(), String::new());
    for name in NAMES {
        let heading = format!("{head} {}", title(name));
        let run = runs.iter().find(|(of, _)| *of == name).map(|(_, run)| {
            (format!("{}:", run.host.line()), table::markdown(&pick(&run.figures)))
        });
        let Some((host, table)) = run.or_else(|| kept(old, &heading)) else { continue };
        // Said once for runs on the same machine and day that follow each other.
        if host != last {
            out += &format!("{host}\n\n");
            last = host;
        }
        out += &format!("{heading}\n\n{table}\n");
    }
    out.trim_end().to_owned()
}

/// The table below a heading, and the line that says where and when it was measured.
fn kept(old: &str, heading: &str) -> Option<(String, String)> {
    let (before, after) = old.split_once(&format!("{heading}\n\n"))?;
    let host = before.lines().rfind(|line| line.ends_with(':'))?;
    let table = after.lines().take_while(|line| line.starts_with('|'));
    Some((host.to_owned(), table.map(|line| format!("{line}\n")).collect()))
}

/// What a bench is about.
fn title(name: &str) -> &str {
    match name {
        "boot" => "Start",
        "size" => "Size",
        "build" => "Build",
        "9p" => "9P, beside diod",
        "atoms" => "Atoms",
        "supervisor" => "Supervisor",
        "xen" => "Xen",
        DENSITY => "Many guests",
        other => other,
    }
}

/// What a reader asks first: what has a goal, the rates behind that, and a start beside
/// others'.
fn first(figures: &[Figure]) -> Vec<Figure> {
    let has_goal = |case: &str| figures.iter().any(|f| f.case == case && f.goal.is_some());
    let is_first = |f: &Figure| {
        let behind = f.bench == "9p" && f.metric == "rate" && has_goal(&f.case);
        f.goal.is_some() || f.peer.is_some() && (behind || f.bench == "boot")
    };
    let of = |f: &Figure| {
        let ends = [f.metric.strip_suffix("_p10"), f.metric.strip_suffix("_p90")];
        ends.into_iter().flatten().next().unwrap_or(&f.metric).to_owned()
    };
    let kept: Vec<(&str, &str)> = figures
        .iter()
        .filter(|f| is_first(f))
        .map(|f| (f.case.as_str(), f.metric.as_str()))
        .collect();
    let is_kept = |f: &&Figure| kept.contains(&(f.case.as_str(), of(f).as_str()));
    figures.iter().filter(is_kept).cloned().collect()
}

/// Where in a text the markers have something between them.
fn marked(text: &str) -> Result<Range<usize>> {
    let (Some(begin), Some(end)) = (text.find(BEGIN), text.find(END)) else {
        bail!("README.md has no lines `{BEGIN}` and `{END}` to write the table between");
    };
    if begin > end {
        bail!("in README.md `{END}` stands before `{BEGIN}`");
    }
    Ok(begin + BEGIN.len()..end)
}

/// The text with something else between the markers.
fn replaced(text: &str, section: &str) -> Result<String> {
    let old = marked(text)?;
    let (before, after) = (&text[..old.start], &text[old.end..]);
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
    fn the_readme_has_what_has_a_goal_and_a_start_beside_others() {
        let spread = crate::samples::Spread { median: 5.0, p10: 4.0, p90: 6.0 };
        let one = |bench: &str, metric: &str| Figure::new(bench, "hello", metric, "/s", 5.0);
        let mut figures = one("9p", "rate beside diod").at_least(2.0).with(spread);
        figures.extend(one("9p", "rate").beside("diod", 3.0).with(spread));
        figures.extend(one("9p", "cpu").beside("diod", 3.0).with(spread));
        assert_eq!(first(&figures), figures[..6]);
        let mut boots = one("boot", "cpu").beside("floor", 3.0).with(spread);
        boots.extend(one("boot", "wall").with(spread));
        assert_eq!(first(&boots), boots[..3]);
    }

    #[test]
    fn a_bench_that_was_not_run_here_keeps_its_section() {
        let run = |day: &str, value| Run {
            host: Host { date: day.into(), ..Host::default() },
            figures: vec![Figure::new("size", "hello", "file", "bytes", value).at_most(9.0)],
        };
        let both = [("size", run("monday", 1.0)), ("xen", run("monday", 2.0))];
        let old = sections("", &both, "##", <[Figure]>::to_vec);
        assert_eq!(old.matches("monday").count(), 1, "{old}");
        assert_eq!(sections(&old, &[], "##", <[Figure]>::to_vec), old);
        let new = sections(&old, &[("size", run("friday", 3.0))], "##", <[Figure]>::to_vec);
        let (size, xen) = new.split_once("## Xen").unwrap();
        assert!(size.contains("| 3 bytes |") && !size.contains("| 1 byte"), "{new}");
        assert!(size.contains("friday") && size.trim_end().ends_with("monday:"), "{new}");
        assert!(xen.contains("| 2 bytes |"), "{new}");
    }

    #[test]
    fn a_readme_without_markers_is_refused() {
        assert!(replaced("nothing", "new").unwrap_err().to_string().contains(BEGIN));
        assert!(replaced(&format!("{END}{BEGIN}"), "new").is_err());
    }
}
