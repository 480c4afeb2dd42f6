//! From what is written to what is meant.
//!
//! Every rule that concerns a value alone is in [`crate::rules`], because images
//! are held to it too; here are the defaults, the comparisons between tables,
//! and the words.

use std::ops::Range;

use toml::Spanned;

use super::checked::{Checked, CheckedComponent, CheckedImport};
use super::diag::Problem;
use super::files::Files;
use super::raw::{self, Raw, Text};
use super::units::{self, BadUnit, show_size};
use super::walk::Scalar;
use super::{params, suggest};
use crate::image::Platform;
use crate::payload::OnFault;
use crate::rules::{self, Limits};

/// What the steps of a check have in common.
pub(super) struct Check<'p> {
    pub(super) problems: &'p mut Vec<Problem>,
}

/// Checks it all. None when something is missing that no default can replace.
pub(super) fn check(
    raw: &Raw,
    files: &mut dyn Files,
    problems: &mut Vec<Problem>,
) -> Option<Checked> {
    let mut c = Check { problems };
    let name = c.named(&raw.guest.name, "name", "[guest]", &raw.guest.span, rules::guest_name);
    let version = match &raw.guest.version {
        None => Some("0".to_owned()),
        some => c.named(some, "version", "[guest]", &raw.guest.span, rules::version),
    };
    let memory = c.memory(&raw.guest);
    let platforms = c.platforms(raw.guest.platforms.as_ref());
    let on_fault = c.on_fault(raw.guest.on_fault.as_ref(), !raw.atoms.is_empty());
    let components: Vec<_> =
        raw.components.iter().filter_map(|r| c.component(r, raw.guest.test)).collect();
    let whole = memory.unwrap_or(rules::MAX_MEMORY);
    let atoms: Vec<_> = raw.atoms.iter().filter_map(|r| c.atom(r, whole, files)).collect();
    // A wrong size has been told; the rest is checked as if it were the default.
    let linear = atoms.iter().map(|a| a.limits.memory).sum();
    let budget = c.budget(&raw.sponsor, memory.unwrap_or(4 << 20), linear, &raw.guest.span);
    let files = c.files(&raw.files, whole, files);
    let imports = raw.imports.iter().filter_map(|r| c.import(r)).collect();
    c.paths(raw);
    let writable = c.writable(raw);
    Some(Checked {
        name: name?,
        version: version?,
        memory: memory?,
        platforms,
        on_fault,
        test: raw.guest.test,
        budget: budget?,
        files,
        components,
        atoms,
        imports,
        writable,
    })
}

impl Check<'_> {
    /// A required text that follows a rule.
    pub(super) fn named(
        &mut self,
        text: &Option<Text>,
        key: &str,
        table: &str,
        span: &Range<usize>,
        rule: fn(&str) -> Result<(), &'static str>,
    ) -> Option<String> {
        let Some(text) = text else {
            self.problems.push(
                Problem::new(span.clone(), format!("{table} has no `{key}`"))
                    .label(format!("add a `{key}` here"))
                    .help(format!("write: {key} = \"…\"")),
            );
            return None;
        };
        if let Err(why) = rule(text.get_ref()) {
            let what = if key == "at" { "path for an import" } else { key };
            self.problems.push(
                Problem::new(text.span(), format!("`{}` is no {what}: {why}", text.get_ref()))
                    .label("not possible")
                    .help(format!("choose another {what}")),
            );
            return None;
        }
        Some(text.get_ref().clone())
    }

    /// A number between its limits. `what` it is, and `when` it may be those.
    pub(super) fn within(
        &mut self,
        (what, when): (&str, &str),
        value: &Spanned<Scalar>,
        n: u64,
        limits: Limits,
        show: fn(u64) -> String,
    ) -> Option<u64> {
        if (limits.min..=limits.max).contains(&n) {
            return Some(n);
        }
        let (min, max) = (show(limits.min), show(limits.max));
        self.problems.push(
            Problem::new(value.span(), format!("{what} of {} is not possible", show(n)))
                .label("out of its limits")
                .help(format!("{when}it may be {min} to {max}")),
        );
        None
    }

    pub(super) fn unit(&mut self, key: &str, span: Range<usize>, bad: BadUnit) {
        self.problems.push(
            Problem::new(span, format!("{key}: {}", bad.what))
                .label("not understood")
                .help(bad.help),
        );
    }

    /// A size with its unit.
    pub(super) fn size(&mut self, key: &str, value: &Spanned<Scalar>) -> Option<u64> {
        let bad = match value.get_ref() {
            Scalar::Text(t) => match units::size(t) {
                Ok(n) => return Some(n),
                Err(bad) => bad,
            },
            Scalar::Int(n) => BadUnit {
                what: format!("`{n}` has no unit"),
                help: match u64::try_from(*n).map(show_size) {
                    Ok(size) if size.ends_with("iB") => format!("write {key} = \"{size}\""),
                    _ => format!("write a size such as {key} = \"4MiB\""),
                },
            },
            other => BadUnit {
                what: format!("{} is not a size", other.what()),
                help: format!("write a size such as {key} = \"4MiB\""),
            },
        };
        self.unit(key, value.span(), bad);
        None
    }

    fn memory(&mut self, guest: &raw::Guest) -> Option<u64> {
        let Some(value) = &guest.memory else {
            self.problems.push(
                Problem::new(guest.span.clone(), "[guest] has no `memory`")
                    .label("add a `memory` here")
                    .help("write: memory = \"4MiB\""),
            );
            return None;
        };
        let n = self.size("memory", value)?;
        let (min, max) = (rules::MIN_MEMORY, rules::MAX_MEMORY);
        let wrong = if n < min {
            format!("{} is too little memory for a guest", show_size(n))
        } else if n > max {
            format!("{} is more memory than a guest can have", show_size(n))
        } else if !n.is_multiple_of(4096) {
            format!("{} is not a whole number of 4 KiB pages", show_size(n))
        } else {
            return Some(n);
        };
        self.problems.push(Problem::new(value.span(), wrong).label("not possible").help(format!(
            "choose a multiple of 4KiB from {} to {}",
            show_size(min),
            show_size(max)
        )));
        None
    }

    fn platforms(&mut self, given: Option<&Spanned<Vec<Text>>>) -> Vec<Platform> {
        let Some(given) = given else {
            return Platform::ALL.to_vec();
        };
        let mut out = Vec::new();
        for text in given.get_ref() {
            match Platform::ALL.iter().find(|p| p.name() == text.get_ref()) {
                Some(p) if out.contains(p) => self.problems.push(
                    Problem::new(text.span(), format!("platform `{}` is named twice", p.name()))
                        .label("again")
                        .help("remove one"),
                ),
                Some(p) => out.push(*p),
                None => {
                    let names = Platform::ALL.iter().map(|p| p.name());
                    self.problems.push(
                        Problem::new(text.span(), format!("unknown platform `{}`", text.get_ref()))
                            .label("not known")
                            .help(suggest::help(text.get_ref(), names)),
                    );
                }
            }
        }
        if given.get_ref().is_empty() {
            self.problems.push(
                Problem::new(given.span(), "a guest must be able to run somewhere")
                    .label("no platform")
                    .help("name a platform, or leave `platforms` out to allow all"),
            );
        }
        out.sort_unstable();
        out
    }

    fn on_fault(&mut self, given: Option<&Text>, atoms: bool) -> OnFault {
        let Some(text) = given else {
            return OnFault::Restart;
        };
        match text.get_ref().as_str() {
            "restart" => return OnFault::Restart,
            "stop" => return OnFault::Stop,
            "restore" if atoms => return OnFault::Restore,
            "restore" => self.problems.push(
                Problem::new(
                    text.span(),
                    "`restore` needs a checkpoint, and only a guest with atoms has any",
                )
                .label("no [[atom]] in this file")
                .help("use `restart` or `stop`"),
            ),
            other => self.problems.push(
                Problem::new(text.span(), format!("unknown `on_fault`: `{other}`"))
                    .label("not known")
                    .help(suggest::help(other, ["restart", "stop", "restore"].into_iter())),
            ),
        }
        OnFault::Restart
    }

    fn component(&mut self, raw: &raw::Component, test: bool) -> Option<CheckedComponent> {
        let name = self.named(&raw.name, "name", "[[component]]", &raw.span, rules::item_name);
        let kind = params::kind(self.problems, raw, test);
        let params = kind.map(|kind| params::params(self.problems, raw, kind));
        Some(CheckedComponent { name: name?, kind: kind?, params: params?? })
    }

    fn import(&mut self, raw: &raw::Import) -> Option<CheckedImport> {
        let name = self.named(&raw.name, "name", "[[import]]", &raw.span, rules::item_name);
        let at = self.named(&raw.at, "at", "[[import]]", &raw.span, rules::mount);
        Some(CheckedImport { name: name?, at: at? })
    }
}
