//! The habits of this project as rules that run as a test, each with its reason.
//!
//! A rule is here only when no compiler or linter knows it. A finding names the
//! file and line, and why anyone would want that rule.

mod code;
mod docs;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::repo::Repo;

/// A file of the checkout that git knows or would take.
#[derive(Clone, Debug)]
pub struct Source {
    /// Path below the root, `/` between names.
    pub path: String,
    /// What is in it. Files that are no text are not looked at.
    pub text: String,
}

/// File, line and what is wrong.
type Found = Vec<(String, usize, String)>;

/// A rule.
struct Rule {
    name: &'static str,
    reason: &'static str,
    check: fn(&[Source], &mut Found),
}

/// A place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule.
    pub rule: &'static str,
    /// The file.
    pub file: String,
    /// The line, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// Why there is such a rule.
    pub reason: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        name: "forbid-unsafe",
        reason: "memory safety is reviewed in a few places, so the others must be unable to need it",
        check: code::forbid_unsafe,
    },
    Rule {
        name: "safety-comment",
        reason: "an unsafe block is sound for a reason, and the next reader cannot guess it",
        check: code::safety_comment,
    },
    Rule {
        name: "short-files",
        reason: "a file over 600 lines has more than one subject, or a reason that it should state",
        check: code::short_files,
    },
    Rule {
        name: "nothing-left-over",
        reason: "what is unfinished or switched off looks finished to everyone else",
        check: code::nothing_left_over,
    },
    Rule {
        name: "no-machine-paths",
        reason: "a path of one machine means nothing on another, and images must not depend on it",
        check: code::no_machine_paths,
    },
    Rule {
        name: "pinned",
        reason: "two builds of one commit must use the same code",
        check: code::pinned,
    },
    Rule {
        name: "adr-numbers",
        reason: "decisions are cited by number, so numbers must be unique and without gaps",
        check: docs::adr_numbers,
    },
    Rule {
        name: "readme-folders",
        reason: "the folder list is the first map that a newcomer uses",
        check: docs::readme_folders,
    },
    Rule {
        name: "readme-figures",
        reason: "a figure that nobody measured is a rumour; the table is written by `cargo xtask bench`",
        check: docs::readme_figures,
    },
    Rule {
        name: "guest-readme",
        reason: "an image without a page that says what to type is an image nobody tries",
        check: docs::guest_readme,
    },
];

/// Checks a checkout.
pub fn check(repo: &Repo) -> Result<Vec<Finding>> {
    Ok(check_sources(&sources(&repo.root)?))
}

/// Checks files.
pub fn check_sources(sources: &[Source]) -> Vec<Finding> {
    let mut out = Vec::new();
    for rule in RULES {
        let mut found = Found::new();
        (rule.check)(sources, &mut found);
        out.extend(found.into_iter().map(|(file, line, what)| Finding {
            rule: rule.name,
            file,
            line,
            what,
            reason: rule.reason,
        }));
    }
    out
}

/// Every text file that git knows or would take.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let list = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    if !list.status.success() {
        bail!("git cannot list the files: {}", String::from_utf8_lossy(&list.stderr).trim());
    }
    let mut paths: Vec<_> = list.stdout.split(|b| *b == 0).filter(|p| !p.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    let read = |path: &&[u8]| {
        let path = String::from_utf8(path.to_vec()).ok()?;
        // A file that was deleted but is still known to git is no file.
        let text = std::fs::read_to_string(root.join(&path)).ok()?;
        Some(Source { path, text })
    };
    Ok(paths.iter().filter_map(read).collect())
}
