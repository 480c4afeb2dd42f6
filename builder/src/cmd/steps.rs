//! Not a verb: a list of commands, run to the end, with one summary.
//!
//! A step that fails does not stop the others: whoever waits minutes for a run
//! wants to know everything that is wrong.

use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::Result;
use atoll_builder::ui::Ui;
use serde_json::json;

use super::Context;

/// What has been run so far.
pub(super) struct Steps<'c> {
    cx: &'c Context,
    done: Vec<Done>,
}

struct Done {
    name: String,
    /// None when it was left out; then `note` says why.
    ok: Option<bool>,
    seconds: f64,
    note: String,
}

/// Runs a program to its end, all that it prints on stderr.
pub(super) fn visibly(ui: Ui, command: &mut Command) -> Result<ExitStatus> {
    ui.detail(format_args!("{command:?}"));
    Ok(command.stdin(Stdio::null()).stdout(std::io::stderr()).status()?)
}

impl<'c> Steps<'c> {
    pub(super) fn new(cx: &'c Context) -> Steps<'c> {
        Steps { cx, done: Vec::new() }
    }

    /// Runs a step; an error is its failure.
    pub(super) fn step(&mut self, name: &str, run: impl FnOnce() -> Result<String>) {
        self.cx.ui.step("Step", name);
        let start = Instant::now();
        let result = run();
        let seconds = start.elapsed().as_secs_f64();
        if let Err(e) = &result {
            self.cx.ui.error(e);
        }
        let (ok, note) = match result {
            Ok(note) => (true, note),
            Err(e) => (false, e.to_string().lines().next().unwrap_or_default().to_owned()),
        };
        self.done.push(Done { name: name.to_owned(), ok: Some(ok), seconds, note });
    }

    /// Runs a program as a step. What it prints goes to stderr: stdout is for
    /// the summary.
    pub(super) fn program(&mut self, name: &str, command: &mut Command) {
        let ui = self.cx.ui;
        self.step(name, || {
            let status = visibly(ui, command)?;
            match status.success() {
                true => Ok(String::new()),
                false => anyhow::bail!("{status}"),
            }
        });
    }

    /// Says that a step is left out, and why.
    pub(super) fn skip(&mut self, name: &str, why: &str) {
        self.done.push(Done {
            name: name.to_owned(),
            ok: None,
            seconds: 0.0,
            note: why.to_owned(),
        });
    }

    /// Whether any step failed.
    pub(super) fn failed(&self) -> bool {
        self.done.iter().any(|d| d.ok == Some(false))
    }

    /// Prints the summary and says how it all went.
    pub(super) fn finish(self, json: bool) -> ExitCode {
        let failed = self.failed();
        let total: f64 = self.done.iter().map(|d| d.seconds).sum();
        for d in &self.done {
            let how = match d.ok {
                Some(true) => "ok",
                Some(false) => "FAILED",
                None => "left out",
            };
            if json {
                println!(
                    "{}",
                    json!({ "step": d.name, "result": how, "seconds": d.seconds, "note": d.note })
                );
            } else {
                println!(
                    "{how:<8} {:>7.1} s  {}{}{}",
                    d.seconds,
                    d.name,
                    if d.note.is_empty() { "" } else { ": " },
                    d.note
                );
            }
        }
        let bad = self.done.iter().filter(|d| d.ok == Some(false)).count();
        if !json {
            match bad {
                0 => println!("all passed in {total:.0} s"),
                n => println!(
                    "{n} of {} steps failed in {total:.0} s; what they printed is above",
                    self.done.len()
                ),
            }
        }
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
