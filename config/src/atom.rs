//! Atoms, as those see them who carry them and do not run them.
//!
//! What an atom may use is said in its guest's `[[atom]]` table; which files it has
//! is said by its module itself, in a custom section, because code and files belong
//! together. Both are checked by the builder and carried in the payload.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use crate::payload::Value;
use crate::rules::Limits;

/// The version of the interface between an atom and its runtime (`atom/ABI.md`).
pub const ABI: u16 = 1;
/// The kind of a component that is an atom.
pub const KIND: &str = "atom";
/// The custom section in which a module declares its files.
pub const FILES_SECTION: &str = "atoll.files";
/// A page of Wasm's memory, in bytes.
pub const WASM_PAGE: u64 = 64 << 10;
/// The most files of a module.
pub const MAX_FILES: usize = 64;
/// The most bytes of a file's name.
pub const MAX_NAME: usize = 63;
/// The most bytes that an event file keeps.
pub const MAX_KEEP: u32 = 1 << 20;
/// The most bytes of an atom's parameters, as it gets them.
pub const MAX_PARAMS: usize = 64 << 10;

const MS: u64 = 1_000_000;

/// Limits of a linear memory, in bytes.
pub const MEMORY: Limits = Limits { min: WASM_PAGE, max: 1 << 30, default: 1 << 20 };
/// Limits of a stack, in bytes.
pub const STACK: Limits = Limits { min: 4 << 10, max: 256 << 10, default: 64 << 10 };
/// Limits of one dispatch, in nanoseconds.
pub const DEADLINE: Limits = Limits { min: MS / 10, max: 60_000 * MS, default: 10 * MS };

/// What an atom may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AtomLimits {
    /// The most bytes that its linear memory may grow to.
    pub memory: u64,
    /// Bytes of its stack.
    pub stack: u64,
    /// Nanoseconds after which a dispatch is abandoned.
    pub deadline_ns: u64,
}

impl AtomLimits {
    /// Whether a configuration may say these.
    pub fn check(&self) -> Result<(), String> {
        let within = |what: &str, n: u64, l: Limits| match (l.min..=l.max).contains(&n) {
            true => Ok(()),
            false => Err(format!("{what} of {n} is not between {} and {}", l.min, l.max)),
        };
        within("memory", self.memory, MEMORY)?;
        within("stack", self.stack, STACK)?;
        within("deadline", self.deadline_ns, DEADLINE)?;
        match self.memory.is_multiple_of(WASM_PAGE) {
            true => Ok(()),
            false => Err(format!("memory of {} is no multiple of 64 KiB", self.memory)),
        }
    }
}

/// A file of a module's atoms, in `export/ATOM/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ModuleFile<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub kind: FileKind,
}

/// What a file of an atom is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum FileKind {
    /// Rendered by the atom whenever it is read.
    Text,
    /// Takes commands.
    Ctl,
    /// Lines that the atom emits, the newest `keep` bytes; a new reader starts with the
    /// oldest of them.
    Events {
        /// Bytes kept.
        keep: u32,
    },
    /// The same, but a new reader waits for the next line.
    Next {
        /// Bytes kept.
        keep: u32,
    },
    /// A directory whose entries are the atom's own.
    Names,
}

/// Reads the text of a custom section [`FILES_SECTION`]: lines `text NAME`, `ctl NAME`,
/// `events NAME KEEP`, `next NAME KEEP` and `names NAME`. The error names the line and
/// says what is wrong with it.
pub fn files(text: &str) -> Result<Vec<ModuleFile<'_>>, String> {
    let mut out = Vec::new();
    for (i, line) in text.split_terminator('\n').enumerate() {
        let wrong = |what: &str| format!("line {}, {line:?}: {what}", i + 1);
        let words: Vec<&str> = line.split(' ').collect();
        let keep = |word: &str| match word.parse::<u32>() {
            Ok(keep) => Ok(keep),
            Err(_) => Err(wrong("the bytes to keep are a whole number")),
        };
        let (name, kind) = match words[..] {
            ["text", name] => (name, FileKind::Text),
            ["ctl", name] => (name, FileKind::Ctl),
            ["names", name] => (name, FileKind::Names),
            ["events", name, n] => (name, FileKind::Events { keep: keep(n)? }),
            ["next", name, n] => (name, FileKind::Next { keep: keep(n)? }),
            _ => {
                return Err(wrong(
                    "a line is `text NAME`, `ctl NAME`, `events NAME KEEP`, `next NAME KEEP` or `names NAME`",
                ));
            }
        };
        let file = ModuleFile { name, kind };
        file.check().map_err(|why| wrong(&why))?;
        out.push(file);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no line end".into());
    }
    distinct(&out)?;
    Ok(out)
}

impl ModuleFile<'_> {
    fn check(&self) -> Result<(), String> {
        let sound = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if self.name.is_empty() || self.name.len() > MAX_NAME {
            return Err(format!("a file's name has 1 to {MAX_NAME} bytes"));
        }
        if self.name.starts_with('.') || !self.name.bytes().all(sound) {
            return Err(
                "in a file's name stand a to z, 0 to 9, ., _ and -, and no . at its start".into()
            );
        }
        match self.kind {
            FileKind::Events { keep } | FileKind::Next { keep }
                if !(1..=MAX_KEEP).contains(&keep) =>
            {
                Err(format!("{keep} bytes cannot be kept; 1 to {MAX_KEEP} can"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether these are files that [`files`] gives.
pub(crate) fn check_files(files: &[ModuleFile<'_>]) -> Result<(), String> {
    files.iter().try_for_each(|f| f.check().map_err(|why| format!("file {:?}: {why}", f.name)))?;
    distinct(files)
}

fn distinct(files: &[ModuleFile<'_>]) -> Result<(), String> {
    if files.len() > MAX_FILES {
        return Err(format!("{} files are too many; {MAX_FILES} are possible", files.len()));
    }
    for (i, file) in files.iter().enumerate() {
        if files[..i].iter().any(|f| f.name == file.name) {
            return Err(format!("the file {:?} is there twice", file.name));
        }
    }
    Ok(())
}

/// A key of an atom's parameters.
pub fn param_key(key: &str) -> Result<(), &'static str> {
    match key {
        "" => Err("it is empty"),
        _ if key.len() > 64 => Err("it has more than 64 bytes"),
        _ if !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') => {
            Err("only letters, digits, _ and - may stand in it")
        }
        _ => Ok(()),
    }
}

/// Whether these are an atom's parameters: one text, lines `key value`.
pub(crate) fn check_params(params: &[Value<'_>]) -> Result<(), String> {
    let [Value::Text(text)] = params else {
        return Err("an atom's parameters are one text".into());
    };
    if text.len() > MAX_PARAMS {
        return Err(format!("{} bytes of parameters; {MAX_PARAMS} are possible", text.len()));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line of the parameters is cut off".into());
    }
    text.lines().try_for_each(|line| {
        let (key, value) = line.split_once(' ').ok_or("a parameter has no value")?;
        param_key(key).map_err(|why| format!("parameter {key:?}: {why}"))?;
        match value.chars().any(char::is_control) {
            true => Err(format!("parameter {key:?} is not one line of text")),
            false => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_declared_a_line_each() {
        let declared = "text count\nctl ctl\nevents log 4096\nnext tick 64\nnames keys\n";
        let kinds: Vec<_> = files(declared).unwrap().iter().map(|f| (f.name, f.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("count", FileKind::Text),
                ("ctl", FileKind::Ctl),
                ("log", FileKind::Events { keep: 4096 }),
                ("tick", FileKind::Next { keep: 64 }),
                ("keys", FileKind::Names),
            ]
        );
        assert_eq!(files(""), Ok(Vec::new()));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, why) in [
            ("text a\nfile b", "line 2, \"file b\": a line is"),
            ("text", "line 1, \"text\": a line is"),
            ("text a b", "a line is"),
            ("events a", "a line is"),
            ("events a many", "a whole number"),
            ("events a 0", "0 bytes cannot be kept"),
            ("next a 1048577", "cannot be kept"),
            ("text a/b", "in a file's name"),
            ("text .a", "in a file's name"),
            ("text A", "in a file's name"),
            ("text ", "1 to 63 bytes"),
            ("text  a", "a line is"),
            ("text a\n\ntext b", "line 2, \"\": a line is"),
            ("text a\nctl a\n", "\"a\" is there twice"),
            ("text a", "no line end"),
        ] {
            let found = files(text).unwrap_err();
            assert!(found.contains(why), "{text:?}: {found}");
        }
        let many: String = (0..65).map(|i| format!("text f{i}\n")).collect();
        assert!(files(&many).unwrap_err().contains("65 files are too many"));
    }

    #[test]
    fn parameters_are_whole_lines() {
        assert_eq!(check_params(&[Value::Text("a 1\nb two words\nc \n")]), Ok(()));
        assert_eq!(check_params(&[Value::Text("")]), Ok(()));
        for text in ["a 1", "a\n", " 1\n", "a b\tc\n", "a.b 1\n"] {
            assert!(check_params(&[Value::Text(text)]).is_err(), "{text:?}");
        }
        assert!(check_params(&[]).is_err());
        assert!(check_params(&[Value::Int(1)]).is_err());
    }
}
