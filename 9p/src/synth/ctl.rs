//! Files that take commands: what a command is, and how it is taken apart.

use alloc::string::{String, ToString};
use core::cell::Cell;

use crate::fault::{Errno, Fault};

/// A command that a ctl file takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Verb {
    /// Its first word.
    pub name: &'static str,
    /// Its arguments, for people.
    pub usage: &'static str,
    min: usize,
    max: usize,
}

impl Verb {
    /// A verb with exactly `n` arguments.
    pub const fn new(name: &'static str, usage: &'static str, n: usize) -> Verb {
        Verb { name, usage, min: n, max: n }
    }

    /// A verb with `min` to `max` arguments.
    pub const fn range(name: &'static str, usage: &'static str, min: usize, max: usize) -> Verb {
        Verb { name, usage, min, max }
    }

    /// The only verb of a file that takes any line: all of it is [`Command::rest`].
    pub const fn any(usage: &'static str) -> Verb {
        Verb { name: "", usage, min: 0, max: usize::MAX }
    }
}

/// What a ctl file shows: its verbs.
pub(super) fn usage(verbs: &[Verb], out: &mut String) {
    for v in verbs {
        *out += v.name;
        if !v.usage.is_empty() {
            *out += " ";
            *out += v.usage;
        }
        *out += "\n";
    }
}

/// A line as an error shows it, cut so that the error does not grow with it.
pub(crate) fn echo(line: &str) -> String {
    let part = crate::server::clip(line, 40);
    let more = if part.len() < line.len() { "..." } else { "" };
    // What could move a terminal's cursor is shown as something that cannot.
    let clean = |c: char| if c.is_control() { '?' } else { c };
    let part: String = part.chars().map(clean).collect();
    alloc::format!("\"{part}\"{more}")
}

/// A command line, taken apart.
#[derive(Debug)]
pub struct Command<'c> {
    /// The verb's name.
    pub verb: &'static str,
    /// What stands behind the verb, as it was written.
    pub rest: &'c str,
    line: &'c str,
    ends: Cell<bool>,
}

impl<'c> Command<'c> {
    /// Takes one line apart. Errors echo it and say what would be right.
    pub fn parse(verbs: &'static [Verb], data: &'c [u8]) -> Result<Command<'c>, Fault> {
        let bad = |why: &str| Fault::new(Errno::EINVAL, why.to_string());
        let text = core::str::from_utf8(data).map_err(|_| bad("a command must be UTF-8 text"))?;
        let line = text.trim();
        if line.contains('\n') {
            return Err(bad("one command a write, please"));
        }
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if let [Verb { name: "", .. }] = verbs {
            return Ok(Command { verb: "", rest: line, line, ends: Cell::new(false) });
        }
        let Some(verb) = verbs.iter().find(|v| v.name == name) else {
            let mut text = alloc::format!("no command in {}; there are:", echo(line));
            for (i, v) in verbs.iter().enumerate() {
                text += if i == 0 { " " } else { ", " };
                text += v.name;
            }
            return Err(bad(&text));
        };
        let n = rest.split_whitespace().count();
        if n < verb.min || n > verb.max {
            let (name, usage) = (verb.name, verb.usage);
            let wants = if usage.is_empty() { "no arguments" } else { usage };
            return Err(bad(&alloc::format!("{}: {name} takes {wants}", echo(line))));
        }
        Ok(Command { verb: verb.name, rest: rest.trim(), line, ends: Cell::new(false) })
    }

    /// The argument at `i`, empty when there is none.
    pub fn arg(&self, i: usize) -> &'c str {
        self.rest.split_whitespace().nth(i).unwrap_or_default()
    }

    /// The argument at `i` as a whole number.
    pub fn number(&self, i: usize) -> Result<u64, Fault> {
        self.arg(i)
            .parse()
            .map_err(|_| self.bad(&alloc::format!("{} is no number", echo(self.arg(i)))))
    }

    /// Ends what the file belongs to, once the command is done: a numbered directory
    /// made by a clone file. Elsewhere it has no effect.
    pub fn end(&self) {
        self.ends.set(true);
    }

    pub(super) fn ends(&self) -> bool {
        self.ends.get()
    }

    /// An error that echoes the line.
    pub fn bad(&self, why: &str) -> Fault {
        Fault::new(Errno::EINVAL, alloc::format!("{}: {why}", echo(self.line)))
    }
}
