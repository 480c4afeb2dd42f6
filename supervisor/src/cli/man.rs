//! The manual pages, made of what `--help` is made of: `atoll.1`, and one for each verb.

use std::io;
use std::path::Path;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

/// What `cargo xtask man` calls: a folder follows.
pub(super) const COMMAND: &str = "__man";

/// Writes all pages into a folder.
pub(super) fn write(dir: &Path) -> anyhow::Result<bool> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    for (_, name, text) in pages()? {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(true)
}

/// The pages: of which command, the file's name, its text.
fn pages() -> io::Result<Vec<(Command, String, Vec<u8>)>> {
    let mut all = Vec::new();
    let mut atoll = super::Cli::command().disable_help_subcommand(true);
    atoll.build();
    let mut rest = vec![atoll];
    while let Some(command) = rest.pop() {
        rest.extend(command.get_subcommands().filter(|c| !c.is_hide_set()).cloned());
        let man = Man::new(command.clone()).source(version()).manual("Atoll");
        let mut text = Vec::new();
        man.render(&mut text)?;
        // What stands below an option's list there has no name of its own.
        let examples = command.get_after_help().is_some_and(|t| t.to_string().starts_with("Ex"));
        let head = if examples { ".SH EXAMPLES" } else { ".SH NOTES" };
        let text = String::from_utf8_lossy(&text).replace(".SH EXTRA", head).into_bytes();
        all.push((command, man.get_filename(), text));
    }
    Ok(all)
}

fn version() -> String {
    format!("atoll {}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command as Process, Stdio};

    #[test]
    fn every_verb_has_a_page_that_names_its_options() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|p| &*p.1).collect();
        for name in ["atoll.1", "atoll-run.1", "atoll-top.1", "atoll-images-add.1"] {
            assert!(names.contains(&name), "{name} is not there: {names:?}");
        }
        for (command, name, text) in &pages {
            let text = String::from_utf8(text.clone()).unwrap();
            let mut heads = text.lines().filter_map(|l| l.strip_prefix(".SH "));
            assert_eq!(heads.next(), Some("NAME"), "{name}");
            assert_eq!(heads.next(), Some("SYNOPSIS"), "{name}");
            assert!(text.contains("\n.TH "), "{name}");
            for arg in command.get_arguments().filter(|a| !a.is_hide_set()) {
                let value = arg.get_value_names().and_then(|v| v.first());
                let sign = match (arg.get_long(), arg.get_short(), value) {
                    (Some(long), ..) => format!("\\-\\-{}", long.replace('-', "\\-")),
                    (None, Some(short), _) => format!("\\-{short}"),
                    (None, None, value) => value.unwrap().to_string(),
                };
                assert!(text.contains(&sign), "{name} lacks {sign}");
            }
            for verb in command.get_subcommands().filter(|c| !c.is_hide_set()) {
                let page = format!("{}(1)", verb.get_display_name().unwrap().replace('-', "\\-"));
                assert!(text.contains(&page), "{name} lacks {page}");
            }
        }
    }

    /// Where groff or mandoc is, it has nothing to complain about.
    #[test]
    fn every_page_is_rendered() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        let line = |program: &str| match program {
            "groff" => vec!["-man", "-Tutf8", "-ww", "-z"],
            _ => vec!["-T", "lint", "-W", "error"],
        };
        let there = |program: &&str| {
            let mut process = Process::new(program);
            process.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            process.stdin(Stdio::null()).status().is_ok()
        };
        let files: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(files.len() > 30, "{files:?}");
        for program in ["groff", "mandoc"].iter().filter(|p| there(p)) {
            let out = Process::new(program).args(line(program)).args(&files).output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success() && said.is_empty(), "{program}: {said}");
        }
    }
}
