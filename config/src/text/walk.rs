//! Taking keys out of a TOML table, one by one, by name and type.
//!
//! Whatever nobody took when the walk ends is an unknown key: nothing in a file
//! is ever silently ignored (serde's `deny_unknown_fields`, but for all of them).

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diag::Problem;
use super::suggest;

/// A value that has no parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Int(i64),
    Text(String),
    Bool(bool),
    /// Something else; what it is called.
    Other(&'static str),
}

impl Scalar {
    pub(super) fn what(&self) -> &'static str {
        match self {
            Scalar::Int(_) => "a number",
            Scalar::Text(_) => "a text",
            Scalar::Bool(_) => "a boolean",
            Scalar::Other(what) => what,
        }
    }

    fn of(value: &DeValue<'_>) -> Scalar {
        match value {
            DeValue::String(s) => Scalar::Text(s.clone().into_owned()),
            DeValue::Boolean(b) => Scalar::Bool(*b),
            DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
                Ok(n) => Scalar::Int(n),
                Err(_) => Scalar::Other("a number beyond 64 bits"),
            },
            DeValue::Float(_) => Scalar::Other("a number with a fraction"),
            DeValue::Datetime(_) => Scalar::Other("a date"),
            DeValue::Array(_) => Scalar::Other("an array"),
            DeValue::Table(_) => Scalar::Other("a table"),
        }
    }
}

/// A table on its way to be used up.
pub(super) struct Walk<'t, 'i, 'p> {
    /// How the table is called in messages, such as `[guest]`.
    name: String,
    /// Where it is.
    pub(super) span: Range<usize>,
    rest: BTreeMap<&'t str, (Range<usize>, &'t Spanned<DeValue<'i>>)>,
    known: Vec<&'static str>,
    problems: &'p mut Vec<Problem>,
}

impl<'t, 'i, 'p> Walk<'t, 'i, 'p> {
    pub(super) fn new(
        name: &str,
        span: Range<usize>,
        table: &'t DeTable<'i>,
        problems: &'p mut Vec<Problem>,
    ) -> Walk<'t, 'i, 'p> {
        let rest = table.iter().map(|(k, v)| (k.get_ref().as_ref(), (k.span(), v))).collect();
        Walk { name: name.to_owned(), span, rest, known: Vec::new(), problems }
    }

    fn take(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.rest.remove(key).map(|(_, value)| value)
    }

    fn wrong(&mut self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = Scalar::of(value.get_ref()).what();
        self.problems.push(
            Problem::new(value.span(), format!("`{key}` in {} must be {wanted}", self.name))
                .label(format!("this is {found}"))
                .help(format!("write {key} as {wanted}")),
        );
    }

    /// A value of any simple type.
    pub(super) fn scalar(&mut self, key: &'static str) -> Option<Spanned<Scalar>> {
        let value = self.take(key)?;
        Some(Spanned::new(value.span(), Scalar::of(value.get_ref())))
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Spanned<String>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::String(s) => Some(Spanned::new(value.span(), s.clone().into_owned())),
            _ => {
                self.wrong(key, value, "a text in quotes");
                None
            }
        }
    }

    /// A boolean.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<Spanned<bool>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Boolean(b) => Some(Spanned::new(value.span(), *b)),
            _ => {
                self.wrong(key, value, "true or false");
                None
            }
        }
    }

    /// An array of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Spanned<Vec<Spanned<String>>>> {
        let value = self.take(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, "an array of texts");
            return None;
        };
        let mut out = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(s) => out.push(Spanned::new(item.span(), s.clone().into_owned())),
                _ => self.wrong(key, item, "an array of texts"),
            }
        }
        Some(Spanned::new(value.span(), out))
    }

    /// Hands a table on to `read`.
    pub(super) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Walk<'t, 'i, '_>) -> T,
    ) -> Option<T> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                let name = format!("[{key}]");
                Some(read(Walk::new(&name, value.span(), table, self.problems)))
            }
            _ => {
                self.wrong(key, value, &format!("a table, [{key}]"));
                None
            }
        }
    }

    /// Hands each of an array of tables on to `read`.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(Walk<'t, 'i, '_>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let wanted = format!("a list of tables, each headed [[{key}]]");
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, &wanted);
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    let name = format!("[[{key}]]");
                    out.push(read(Walk::new(&name, item.span(), table, self.problems)));
                }
                _ => self.wrong(key, item, &wanted),
            }
        }
        out
    }

    /// Everything that is left, for tables whose keys are not ours to know.
    pub(super) fn open(self) -> Vec<(Spanned<String>, Spanned<Scalar>)> {
        let each = |(key, (at, value)): (&str, (Range<usize>, &Spanned<DeValue<'_>>))| {
            let scalar = Scalar::of(value.get_ref());
            (Spanned::new(at, key.to_owned()), Spanned::new(value.span(), scalar))
        };
        self.rest.into_iter().map(each).collect()
    }

    /// Ends the walk: what is left is unknown.
    pub(super) fn finish(self) {
        for (key, (at, _)) in self.rest {
            self.problems.push(
                Problem::new(at, format!("unknown key `{key}` in {}", self.name))
                    .label("not known here")
                    .help(suggest::help(key, self.known.iter().copied())),
            );
        }
    }
}
