//! Running cargo, and learning what it made.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::repo::Repo;
use crate::ui::Ui;

/// Variables that a user or an outer cargo set and that are not meant for an
/// inner one: they would change what is built, or rebuild it for nothing.
fn is_ours(name: &str) -> bool {
    let kept = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_TERM_"];
    let cargo = name.starts_with("CARGO") && !kept.iter().any(|k| name.starts_with(k));
    cargo || ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"].contains(&name)
}

/// A cargo to run in a folder, undisturbed by the cargo that runs us.
pub fn command(dir: PathBuf) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    command_of(Path::new(&cargo), dir)
}

/// A certain cargo to run in a folder, undisturbed likewise.
pub(crate) fn command_of(cargo: &Path, dir: PathBuf) -> Command {
    let mut command = Command::new(cargo);
    command.current_dir(dir);
    for (name, _) in std::env::vars_os() {
        if is_ours(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    command
}

/// A cargo for the host's programs, in the root. Their target folder may be elsewhere.
pub fn host(repo: &Repo) -> Command {
    let mut command = command(repo.root.clone());
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        command.env("CARGO_TARGET_DIR", target);
    }
    command
}

/// What a cargo made.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Programs.
    pub(crate) programs: Vec<PathBuf>,
    /// All files, programs and libraries.
    pub(crate) files: Vec<PathBuf>,
}

/// Runs a `cargo build` and returns the programs that it made.
pub fn build(mut command: Command, ui: Ui) -> Result<Vec<PathBuf>> {
    command.arg("--message-format=json-render-diagnostics");
    if ui.quiet {
        command.arg("--quiet");
    }
    Ok(run(command, ui)?.programs)
}

/// Runs a cargo that was told to say in JSON what it makes.
pub(crate) fn run(mut command: Command, ui: Ui) -> Result<Output> {
    ui.detail(format_args!("{command:?}"));
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut made = Output::default();
    for line in BufReader::new(stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(&line?).unwrap_or_default();
        if let Some(path) = message["executable"].as_str() {
            made.programs.push(PathBuf::from(path));
        }
        let files = message["filenames"].as_array().into_iter().flatten();
        made.files.extend(files.filter_map(|f| f.as_str()).map(PathBuf::from));
    }
    if !child.wait()?.success() {
        bail!("the build failed; cargo's messages above say why");
    }
    Ok(made)
}

/// Builds programs of this workspace for the host, and says where each is.
pub fn programs<const N: usize>(
    repo: &Repo,
    programs: [(&str, &str); N],
    ui: Ui,
) -> Result<[PathBuf; N]> {
    let mut command = host(repo);
    command.args(["build", "--release"]);
    for (package, _) in programs {
        command.args(["--package", package]);
    }
    let made = build(command, ui).context("cannot build the host's programs")?;
    let mut out = [const { PathBuf::new() }; N];
    for (path, (package, name)) in out.iter_mut().zip(programs) {
        let found = made.iter().find(|p| p.file_name().is_some_and(|n| n == name));
        *path = found.with_context(|| format!("{package} made no program `{name}`"))?.clone();
    }
    Ok(out)
}
