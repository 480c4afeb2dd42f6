//! What a fuzzer is given, and what it gives.
//!
//! `fuzz-inputs seeds FOLDER` writes what the targets begin with: FOLDER/TARGET/ gets a
//! file for each seed, and FOLDER/words the dictionary. `fuzz-inputs show TARGET FILE`
//! prints an input for people.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use atoll_fuzz::{TARGETS, dictionary};

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let done = match *args.as_slice() {
        ["seeds", folder] => seeds(Path::new(folder)),
        ["show", target, file] if TARGETS.iter().any(|t| t.name == target) => show(target, file),
        _ => {
            eprintln!("usage: fuzz-inputs seeds FOLDER\n       fuzz-inputs show TARGET FILE");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn seeds(folder: &Path) -> io::Result<()> {
    for target in TARGETS {
        let dir = folder.join(target.name);
        fs::create_dir_all(&dir)?;
        for (i, seed) in (target.seeds)().iter().enumerate() {
            fs::write(dir.join(format!("seed-{i:03}")), seed)?;
        }
    }
    #[cfg(feature = "compile")]
    fs::write(folder.join("abi.code"), atoll_fuzz::abi::code())?;
    fs::write(folder.join("words"), dictionary())
}

fn show(target: &str, file: &str) -> io::Result<()> {
    let input = fs::read(file)?;
    let known = TARGETS.iter().filter(|t| t.name == target);
    known.for_each(|t| print!("{}", (t.show)(&input)));
    Ok(())
}
