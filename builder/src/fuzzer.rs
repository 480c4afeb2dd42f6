//! libFuzzer: building the programs of `fuzz/` for it, running them, reading what
//! they say.
//!
//! The compiler counts which code an input reaches by a pass of LLVM that its stable
//! flags can name, so no other toolchain is needed. There is no address sanitizer: the
//! crates that are fuzzed forbid unsafe code, and what is looked for are panics,
//! overflows, hangs and broken promises.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::repo::Repo;
use crate::rustc::Rustc;
use crate::ui::Ui;
use crate::{cargo, files};

/// Counts edges of the control flow, and tells the fuzzer what is compared with what.
const FLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing";

/// Seconds that one input may take, and megabytes that a program may use.
const LIMITS: [&str; 2] = ["-timeout=30", "-rss_limit_mb=1024"];
/// How often somebody who waits is told how it goes.
const PULSE: Duration = Duration::from_secs(10);

/// Targets that link an engine and a builder: minutes to compile, for a run of seconds.
pub const OF_ATOMS: [&str; 2] = ["abi", "module"];

/// The names of the targets: the programs in `fuzz/targets/`.
pub fn targets(repo: &Repo) -> Result<Vec<String>> {
    let folder = repo.path("fuzz/targets");
    let list = std::fs::read_dir(&folder).context("cannot read fuzz/targets")?;
    let paths = list.flatten().map(|e| e.path());
    let mut names: Vec<_> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .filter_map(|p| Some(p.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// How one program has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Inputs tried.
    pub inputs: u64,
    /// Inputs tried a second, on average.
    pub per_second: u64,
    /// Edges of the control flow that some input took.
    pub edges: u64,
    /// Edges that there are.
    pub of_edges: u64,
}

/// An input that broke its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What happened: the panic's words, or the limit that it broke.
    pub what: String,
    /// The input, as a file.
    pub input: PathBuf,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Of all its programs together.
    pub stats: Stats,
    /// The first input that broke the target.
    pub broken: Option<Broken>,
}

/// What a program has said.
#[derive(Clone, Debug, Default)]
struct Heard {
    stats: Stats,
    what: Vec<String>,
    /// Whether the lines of a panic's message are coming.
    telling: bool,
    input: Option<PathBuf>,
}

impl Heard {
    /// Takes one line that libFuzzer or the panic handler prints.
    fn line(&mut self, line: &str) {
        let after = |key: &str| line.split_once(key).map(|(_, rest)| rest.trim_start());
        let number = |key: &str| -> Option<u64> {
            let digits = after(key)?.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        };
        if self.telling {
            self.telling = !line.starts_with("stack backtrace") && !line.starts_with("note:");
            if self.telling {
                self.what.push(line.trim().to_owned());
            }
        }
        if line.starts_with('#') {
            self.stats.inputs = number("#").unwrap_or(self.stats.inputs);
            self.stats.edges = number("cov:").unwrap_or(self.stats.edges);
            self.stats.per_second = number("exec/s:").unwrap_or(self.stats.per_second);
        } else if line.contains("PC tables (") {
            self.stats.of_edges = number("PC tables (").unwrap_or_default();
        } else if let Some(n) = number("stat::number_of_executed_units:") {
            self.stats.inputs = n;
        } else if let Some(n) = number("stat::average_exec_per_sec:") {
            self.stats.per_second = n;
        } else if let Some(place) = after("panicked at ") {
            self.what = vec![place.trim_end_matches(':').to_owned()];
            self.telling = true;
        } else if let Some(what) = after("ERROR: libFuzzer: ") {
            self.telling = false;
            if self.what.is_empty() {
                self.what.push(what.to_owned());
            }
        } else if let Some(path) = after("Test unit written to ") {
            self.input = Some(path.into());
        }
    }
}

/// The programs, built, and where their files are.
#[derive(Debug)]
pub struct Fuzzer {
    repo: Repo,
    ui: Ui,
    programs: Vec<PathBuf>,
    out: PathBuf,
}

impl Fuzzer {
    /// Builds the programs of these targets, and writes the inputs that they begin with.
    pub fn build(repo: &Repo, targets: &[String], ui: Ui) -> Result<Fuzzer> {
        let out = repo.out().join("fuzz");
        let rustc = Rustc::find(&repo.out().join("rustc.json"))?;
        let host = rustc.version.lines().find_map(|l| l.strip_prefix("host: "));
        let host = host.context("rustc does not say what it runs on")?;
        let mut command = cargo::command(repo.root.clone());
        command.args(["build", "--package", "atoll-fuzz", "--no-default-features"]);
        let atoms = targets.iter().any(|t| OF_ATOMS.contains(&&**t));
        command.args(["--features", if atoms { "atoms,libfuzzer" } else { "libfuzzer" }]);
        // With a target that is named, build scripts and macros have other flags.
        command.args(["--profile", "fuzz", "--target", host]).env("RUSTFLAGS", FLAGS);
        command.arg("--target-dir").arg(out.join("build"));
        for target in targets {
            command.args(["--bin", &program(target)]);
        }
        let programs = cargo::build(command, ui).context("cannot build the fuzzer")?;
        let fuzzer = Fuzzer { repo: repo.clone(), ui, programs, out };
        let seeds = fuzzer.out.join("seeds");
        fuzzer.inputs().arg("seeds").arg(&seeds).status().context("cannot write the seeds")?;
        Ok(fuzzer)
    }

    /// The program that knows inputs, of a plain build.
    fn inputs(&self) -> Command {
        let mut command = cargo::host(&self.repo);
        command.args(["run", "--quiet", "--package", "atoll-fuzz", "--bin", "fuzz-inputs", "--"]);
        command
    }

    /// Where the inputs of a target are that are kept.
    pub fn corpus(&self, target: &str) -> PathBuf {
        self.repo.path("fuzz/corpus").join(target)
    }

    /// Where new ones go.
    pub fn found(&self, target: &str) -> PathBuf {
        self.out.join("found").join(target)
    }

    fn libfuzzer(&self, target: &str) -> Result<Command> {
        let name = program(target);
        let path = self.programs.iter().find(|p| p.file_name().is_some_and(|n| *n == *name));
        let mut command = Command::new(path.with_context(|| format!("no program {name}"))?);
        command.current_dir(&self.repo.root).args(LIMITS).stdin(Stdio::null());
        Ok(command)
    }

    /// Grows inputs of a target for so many seconds with so many programs at a time, or
    /// until one breaks it. Every input that is kept is tried first.
    pub fn run(&self, target: &str, seconds: u64, jobs: usize) -> Result<Outcome> {
        let found = self.found(target);
        // A trailing slash: what is given is put before a file's name.
        let broken = format!("{}/", self.out.join("broken").join(target).display());
        for folder in [&found, &self.corpus(target), Path::new(&broken)] {
            std::fs::create_dir_all(folder).context("cannot make a folder for inputs")?;
        }
        let stopped = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, stopped.clone())?;
        }
        let (said, lines) = mpsc::channel();
        let mut running = Running(Vec::new());
        for job in 0..jobs {
            let mut command = self.libfuzzer(target)?;
            let words = self.out.join("seeds/words");
            command
                .arg(format!("-dict={}", words.display()))
                // No time at all would mean no end.
                .arg(match seconds {
                    0 => "-runs=0".to_owned(),
                    n => format!("-max_total_time={n}"),
                })
                .arg(format!("-artifact_prefix={broken}"))
                .args(["-max_len=1024", "-print_final_stats=1"])
                .args([&found, &self.corpus(target), &self.out.join("seeds").join(target)])
                .env("RUST_BACKTRACE", "0");
            self.ui.detail(format_args!("{command:?}"));
            running.start(command, job, &said)?;
        }
        drop(said);
        let mut heard = vec![Heard::default(); jobs];
        let mut told = Instant::now();
        loop {
            if stopped.load(Ordering::Relaxed) {
                bail!("interrupted; what was found is in {}", self.repo.show(&found));
            }
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok((job, line)) => {
                    self.ui.detail(format_args!("{target} {job}: {line}"));
                    heard[job].line(&line);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if told.elapsed() > PULSE {
                told = Instant::now();
                let Stats { inputs, per_second, edges, .. } = together(&heard);
                let text = format!("{target}: {inputs} inputs, {per_second}/s, {edges} edges");
                self.ui.step("Fuzzing", text);
            }
            // The others would go on to their end.
            if heard.iter().any(|h| h.input.is_some()) && running.any_ended()? {
                break;
            }
        }
        let mut well = true;
        if heard.iter().any(|h| h.input.is_some()) {
            running.stop();
        } else {
            well = running.wait()?;
        }
        lines.iter().for_each(|(job, line)| heard[job].line(&line));
        let first = heard.iter().find(|h| h.input.is_some());
        let broken =
            first.and_then(|h| Some(Broken { what: h.what.join("\n"), input: h.input.clone()? }));
        if broken.is_none() && !well {
            bail!("the fuzzer failed; `--verbose` shows what it prints");
        }
        Ok(Outcome { stats: together(&heard), broken })
    }

    /// Shows one input and tries it; whether it breaks nothing.
    pub fn try_one(&self, target: &str, input: &Path) -> Result<bool> {
        let input = std::path::absolute(input)?;
        self.inputs().args(["show", target]).arg(&input).status().context("cannot run cargo")?;
        let mut command = self.libfuzzer(target)?;
        let status = command.env("RUST_BACKTRACE", "1").arg(&input).stdout(std::io::stderr());
        Ok(status.status().context("cannot run the fuzzer")?.success())
    }

    /// Takes what was found into the corpus: the smallest inputs that together take
    /// every edge. An input that somebody gave a name stays. Says how many there are
    /// now, and their bytes.
    pub fn keep(&self, target: &str) -> Result<(usize, u64)> {
        let corpus = self.corpus(target);
        std::fs::create_dir_all(&corpus).context("cannot make the corpus")?;
        let merged = tempfile::tempdir_in(&self.out)?;
        let mut command = self.libfuzzer(target)?;
        command.args(["-set_cover_merge=1", "-use_counters=0"]).arg(merged.path());
        command.args([&corpus, &self.found(target), &self.out.join("seeds").join(target)]);
        self.ui.detail(format_args!("{command:?}"));
        let out = command.stderr(Stdio::piped()).output().context("cannot run the fuzzer")?;
        if !out.status.success() {
            bail!("the fuzzer cannot merge: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        for old in std::fs::read_dir(&corpus)?.flatten().filter(|e| !is_named(&e.path())) {
            std::fs::remove_file(old.path())?;
        }
        let (mut inputs, mut bytes) = (0, 0);
        for new in std::fs::read_dir(merged.path())?.flatten() {
            let name = new.file_name();
            files::write_atomically(&corpus.join(name), &std::fs::read(new.path())?)?;
        }
        for input in std::fs::read_dir(&corpus)?.flatten() {
            inputs += 1;
            bytes += input.metadata()?.len();
        }
        Ok((inputs, bytes))
    }
}

fn program(target: &str) -> String {
    format!("fuzz-{target}")
}

/// Whether a person named that input: libFuzzer's names are 40 hexadecimal digits.
fn is_named(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() != 40 || !name.bytes().all(|b| b.is_ascii_hexdigit())
}

fn together(heard: &[Heard]) -> Stats {
    let mut all = Stats::default();
    for Heard { stats, .. } in heard {
        all.inputs += stats.inputs;
        all.per_second += stats.per_second;
        // Each takes up what the others find.
        all.edges = all.edges.max(stats.edges);
        all.of_edges = all.of_edges.max(stats.of_edges);
    }
    all
}

/// Programs that are stopped when this is dropped.
struct Running(Vec<Child>);

impl Running {
    fn start(
        &mut self,
        mut command: Command,
        job: usize,
        said: &Sender<(usize, String)>,
    ) -> Result<()> {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run the fuzzer")?;
        let stderr = child.stderr.take().context("the fuzzer has no output")?;
        self.0.push(child);
        let said = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if said.send((job, line)).is_err() {
                    break;
                }
            }
        });
        Ok(())
    }

    fn any_ended(&mut self) -> Result<bool> {
        for child in &mut self.0 {
            if child.try_wait()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits for all; whether they did well.
    fn wait(&mut self) -> Result<bool> {
        let mut well = true;
        for child in &mut self.0 {
            well &= child.wait()?.success();
        }
        Ok(well)
    }

    /// Ends those that still run.
    fn stop(&mut self) {
        for mut child in self.0.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let mut heard = Heard::default();
        for line in [
            "INFO: Loaded 1 PC tables (3955 PCs): 3955 [0x5644d8d9f9c0,0x5644d8daf0f0), ",
            "#1348\tINITED cov: 1349 ft: 6237 corp: 769/987Kb exec/s: 0 rss: 29Mb",
            "#16384\tpulse  cov: 1362 ft: 6542 corp: 881/1239Kb lim: 4096 exec/s: 4096 rss: 32Mb",
            "",
            "thread '<unnamed>' (9) panicked at fuzz/src/server.rs:123:13:",
            "assertion `left == right` failed: requests without an answer",
            "  left: 1",
            " right: 2",
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
            "==9== ERROR: libFuzzer: deadly signal",
            "artifact_prefix='b/'; Test unit written to b/crash-4e1b",
            "stat::number_of_executed_units: 18082",
            "stat::average_exec_per_sec:     4520",
        ] {
            heard.line(line);
        }
        let stats = Stats { inputs: 18_082, per_second: 4520, edges: 1362, of_edges: 3955 };
        assert_eq!(heard.stats, stats);
        assert_eq!(heard.input, Some("b/crash-4e1b".into()));
        assert_eq!(heard.what.len(), 4);
        assert_eq!(heard.what[0], "fuzz/src/server.rs:123:13");
        assert_eq!(heard.what[3], "right: 2");
    }

    #[test]
    fn a_hang_has_no_panic_and_says_what_it_is() {
        let mut heard = Heard::default();
        heard.line("==7== ERROR: libFuzzer: timeout after 10 seconds");
        heard.line("artifact_prefix='b/'; Test unit written to b/timeout-00");
        assert_eq!(heard.what, ["timeout after 10 seconds"]);
    }

    #[test]
    fn inputs_that_somebody_named_are_told_from_the_fuzzers() {
        assert!(is_named(Path::new("corpus/a-flush-of-a-flush")));
        assert!(!is_named(Path::new("corpus/4e1bb91aea450e6cef81bf2be7135efb45d86c81")));
    }
}
