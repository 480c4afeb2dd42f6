//! What machine the figures are of: a figure without it says little.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::qemu::QEMU;

/// A machine, in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Model of its processor.
    pub cpu: String,
    /// How many of them.
    pub cores: usize,
    /// Its kernel.
    pub kernel: String,
    /// Version of QEMU.
    pub qemu: String,
    /// The day, in UTC.
    pub date: String,
}

impl Host {
    /// This one, today.
    pub fn here() -> Host {
        let text = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
        let cpuinfo = text("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
        let version = output(QEMU, &["--version"]).unwrap_or_default();
        let version = version.lines().next().unwrap_or_default();
        Host {
            cpu: model.map_or("unknown processor", |m| m.1).trim().to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("Linux {}", text("/proc/sys/kernel/osrelease").trim()),
            qemu: version
                .replace("emulator version ", "")
                .split(" (")
                .next()
                .unwrap_or_default()
                .to_owned(),
            date: output("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default().trim().to_owned(),
        }
    }

    /// One line about it.
    pub fn line(&self) -> String {
        let Host { cpu, cores, kernel, qemu, date } = self;
        format!("{cpu}, {cores} cores, {kernel}, {qemu} (TCG), {date}")
    }
}

fn output(program: &str, args: &[&str]) -> Result<String> {
    Ok(String::from_utf8(Command::new(program).args(args).output()?.stdout)?)
}
