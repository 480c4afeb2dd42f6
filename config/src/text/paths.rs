//! Files, and everything that may not have the same place as something else.

use toml::Spanned;

use super::check::Check;
use super::checked::CheckedFile;
use super::diag::Problem;
use super::files::Files;
use super::raw::{self, Raw, Text};
use super::suggest;
use crate::{payload, rules};

impl Check<'_> {
    pub(super) fn files(
        &mut self,
        raw: &[raw::File],
        memory: u64,
        files: &mut dyn Files,
    ) -> Vec<CheckedFile> {
        let mut left = memory.saturating_sub(rules::KERNEL_BASE).min(payload::MAX_BODY as u64 / 2);
        let mut out = Vec::new();
        for file in raw {
            let path = self.named(&file.path, "path", "[[file]]", &file.span, rules::path);
            let (at, data) = match (&file.text, &file.source) {
                (Some(t), None) if t.get_ref().len() as u64 > left => (
                    t.span(),
                    Err((
                        "the text is larger than the guest's memory".to_owned(),
                        "give the guest more memory".to_owned(),
                    )),
                ),
                (Some(t), None) => (t.span(), Ok(t.get_ref().clone().into_bytes())),
                (None, Some(s)) => (s.span(), files.read(s.get_ref(), left)),
                (None, None) => (
                    file.span.clone(),
                    Err((
                        "this file has no content".to_owned(),
                        "add text = \"…\" or source = \"a file beside guest.toml\"".to_owned(),
                    )),
                ),
                (Some(_), Some(s)) => (
                    s.span(),
                    Err((
                        "a file has `text` or `source`, not both".to_owned(),
                        "remove one of the two".to_owned(),
                    )),
                ),
            };
            match (path, data) {
                (Some(path), Ok(data)) => {
                    left -= data.len() as u64;
                    let source = file.source.as_ref().map(|s| s.get_ref().clone());
                    out.push(CheckedFile { path, data, source });
                }
                (_, Ok(_)) => {}
                (_, Err((what, help))) => self.problems.push(Problem::new(at, what).help(help)),
            }
        }
        out.sort_by(|a, b| a.path.cmp(&b.path));
        out
    }

    /// What may not be the same, or one inside the other.
    pub(super) fn paths(&mut self, raw: &Raw) {
        let names = |texts: Vec<&Option<Text>>| -> Vec<Text> {
            texts.into_iter().flatten().cloned().collect()
        };
        let mut export = names(raw.components.iter().map(|c| &c.name).collect());
        export.extend(names(raw.atoms.iter().map(|a| &a.name).collect()));
        export.extend(names(raw.files.iter().map(|f| &f.path).collect()));
        self.apart(
            &export,
            "is taken: below export/ each component and atom has a folder of its name",
        );
        let mounts = names(raw.imports.iter().map(|i| &i.at).collect());
        self.apart(&mounts, "is taken by another import");
        let imports = names(raw.imports.iter().map(|i| &i.name).collect());
        for (i, name) in imports.iter().enumerate() {
            if imports[..i].iter().any(|n| n.get_ref() == name.get_ref()) {
                self.problems.push(
                    Problem::new(
                        name.span(),
                        format!("import `{}` is there twice", name.get_ref()),
                    )
                    .label("again")
                    .help("an import is mounted at one place; give this one another name"),
                );
            }
        }
    }

    fn apart(&mut self, paths: &[Text], why: &str) {
        for (i, path) in paths.iter().enumerate() {
            let mine = path.get_ref();
            let other = paths[..i].iter().map(Spanned::get_ref);
            let Some(other) = other.into_iter().find(|o| {
                !o.is_empty()
                    && !mine.is_empty()
                    && (rules::covers(o, mine) || rules::covers(mine, o))
            }) else {
                continue;
            };
            let what = match other == mine {
                true => format!("`{mine}` {why}"),
                false => format!("`{mine}` collides with `{other}`: one lies inside the other"),
            };
            self.problems.push(
                Problem::new(path.span(), what).label("taken").help("choose another name or path"),
            );
        }
    }

    pub(super) fn writable(&mut self, raw: &Raw) -> Vec<String> {
        let Some(given) = &raw.write else {
            return vec![String::new()];
        };
        let names = || {
            let atoms = raw.atoms.iter().map(|a| &a.name);
            let all = raw.components.iter().map(|c| &c.name).chain(atoms);
            all.flatten().map(|n| n.get_ref().as_str())
        };
        let mut out = Vec::new();
        for text in given {
            let path = text.get_ref();
            if path.is_empty() {
                out.push(String::new());
                continue;
            }
            let first = path.split('/').next().unwrap_or("");
            let problem = match rules::path(path) {
                Err(why) => Some((
                    format!("`{path}` is no path: {why}"),
                    "write a path below export/, such as \"greeter\"".to_owned(),
                )),
                Ok(()) if !names().any(|n| n == first) => Some((
                    format!("`{path}` belongs to no component or atom, so it can never be written"),
                    suggest::help(first, names()),
                )),
                Ok(()) => None,
            };
            match problem {
                Some((what, help)) => self
                    .problems
                    .push(Problem::new(text.span(), what).label("not writable").help(help)),
                None => out.push(path.clone()),
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }
}
