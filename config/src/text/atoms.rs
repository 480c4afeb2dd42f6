//! `[[atom]]`: a Wasm module of the guest's own, what it may use, what it is told.

use toml::Spanned;

use super::check::Check;
use super::checked::CheckedAtom;
use super::diag::Problem;
use super::files::Files;
use super::raw::{self, Text};
use super::units::{self, BadUnit, show_size, show_span};
use super::walk::Scalar;
use crate::atom::{self, AtomLimits};
use crate::rules::{self, Limits};

/// A path; where it leads is looked at later.
fn not_empty(path: &str) -> Result<(), &'static str> {
    if path.is_empty() { Err("it is empty") } else { Ok(()) }
}

impl Check<'_> {
    pub(super) fn atom(
        &mut self,
        raw: &raw::Atom,
        memory: u64,
        files: &mut dyn Files,
    ) -> Option<CheckedAtom> {
        let name = self.named(&raw.name, "name", "[[atom]]", &raw.span, rules::item_name);
        let path = self.named(&raw.path, "path", "[[atom]]", &raw.span, not_empty);
        let source = match (&raw.path, &path) {
            (Some(text), Some(path)) => self.source(text, path, files),
            _ => None,
        };
        let limits = self.limits(raw, memory);
        let params = self.told(raw);
        Some(CheckedAtom {
            name: name?,
            path: path?,
            source: source?,
            limits: limits?,
            params: params?,
        })
    }

    fn source(
        &mut self,
        text: &Text,
        path: &str,
        files: &mut dyn Files,
    ) -> Option<super::AtomSource> {
        match files.atom(path) {
            Ok(source) => Some(source),
            Err((what, help)) => {
                self.problems.push(Problem::new(text.span(), what).label("no atom").help(help));
                None
            }
        }
    }

    fn limits(&mut self, raw: &raw::Atom, memory: u64) -> Option<AtomLimits> {
        let most = memory - memory % atom::WASM_PAGE;
        let limits = Limits { max: atom::MEMORY.max.min(most), ..atom::MEMORY };
        let bytes = match &raw.memory {
            None => Some(limits.default.min(limits.max)),
            Some(value) => self
                .size("memory", value)
                .and_then(|n| self.within(("[[atom]] memory", ""), value, n, limits, show_size))
                .and_then(|n| self.whole("memory", value, n, atom::WASM_PAGE)),
        };
        let stack = match &raw.stack {
            None => Some(atom::STACK.default),
            Some(value) => self
                .size("stack", value)
                .and_then(|n| self.within(("[[atom]] stack", ""), value, n, atom::STACK, show_size))
                .and_then(|n| self.whole("stack", value, n, 16)),
        };
        let deadline_ns = match &raw.deadline {
            None => Some(atom::DEADLINE.default),
            Some(value) => self.span("deadline", value).and_then(|n| {
                self.within(("[[atom]] deadline", ""), value, n, atom::DEADLINE, show_span)
            }),
        };
        Some(AtomLimits { memory: bytes?, stack: stack?, deadline_ns: deadline_ns? })
    }

    fn whole(&mut self, key: &str, value: &Spanned<Scalar>, n: u64, unit: u64) -> Option<u64> {
        if n.is_multiple_of(unit) {
            return Some(n);
        }
        let what = format!("{key} of {} is no multiple of {}", show_size(n), show_size(unit));
        let help = format!("write {key} = \"{}\"", show_size(n.next_multiple_of(unit)));
        self.problems.push(Problem::new(value.span(), what).label("not possible").help(help));
        None
    }

    /// A span of time with its unit.
    fn span(&mut self, key: &str, value: &Spanned<Scalar>) -> Option<u64> {
        let bad = match value.get_ref() {
            Scalar::Text(t) => match units::span(t) {
                Ok(n) => return Some(n),
                Err(bad) => bad,
            },
            Scalar::Int(n) => BadUnit {
                what: format!("`{n}` has no unit"),
                help: format!("write {key} = \"{n}ms\""),
            },
            other => BadUnit {
                what: format!("{} is not a duration", other.what()),
                help: format!("write a duration such as {key} = \"10ms\""),
            },
        };
        self.unit(key, value.span(), bad);
        None
    }

    /// What the atom is told at its start: lines `key value`, in the file's order. A
    /// text that is a duration, such as `250ms`, becomes nanoseconds, as the ABI has it.
    fn told(&mut self, raw: &raw::Atom) -> Option<String> {
        let before = self.problems.len();
        let mut out = String::new();
        let mut params: Vec<_> = raw.params.iter().collect();
        params.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in params {
            if let Err(why) = atom::param_key(key.get_ref()) {
                let what = format!("`{}` is no parameter's name: {why}", key.get_ref());
                self.problems.push(
                    Problem::new(key.span(), what)
                        .label("not possible")
                        .help("choose another name, such as `period` or `start_at`"),
                );
            }
            let text = match value.get_ref() {
                Scalar::Text(t) if !t.chars().any(char::is_control) => match units::span(t) {
                    Ok(ns) => ns.to_string(),
                    Err(_) => t.clone(),
                },
                Scalar::Int(n) => n.to_string(),
                Scalar::Bool(b) => b.to_string(),
                Scalar::Text(_) => {
                    self.param(key, value, "a text of several lines");
                    continue;
                }
                Scalar::Other(what) => {
                    self.param(key, value, what);
                    continue;
                }
            };
            out += &format!("{} {text}\n", key.get_ref());
        }
        if out.len() > atom::MAX_PARAMS {
            let what = format!("{} bytes of parameters are too many", out.len());
            let help =
                format!("at most {} are possible; a [[file]] can hold more", atom::MAX_PARAMS);
            self.problems.push(Problem::new(raw.span.clone(), what).help(help));
        }
        (self.problems.len() == before).then_some(out)
    }

    fn param(&mut self, key: &Text, value: &Spanned<Scalar>, found: &str) {
        self.problems.push(
            Problem::new(value.span(), format!("parameter `{}`: {found} is not possible", key.get_ref()))
                .label("an atom is told lines `key value`")
                .help("write a text of one line in quotes, a whole number, true or false, or a duration such as \"250ms\""),
        );
    }
}
