//! A component's kind and parameters, checked against the table of kinds.

use toml::Spanned;

use super::checked::OwnedValue;
use super::diag::Problem;
use super::walk::Scalar;
use super::{raw, suggest, units};
use crate::atom;
use crate::kinds::{self, KINDS, Kind, Param, Type};
use crate::payload::Value;
use crate::rules;

/// The kind that a component names.
pub(super) fn kind(
    problems: &mut Vec<Problem>,
    raw: &raw::Component,
    test: bool,
) -> Option<&'static Kind> {
    let names = KINDS.iter().filter(|k| test || !k.test_only).map(|k| k.name);
    let Some(text) = &raw.kind else {
        let all = names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        problems.push(
            Problem::new(raw.span.clone(), "[[component]] has no `kind`")
                .label("add a `kind` here")
                .help(format!("there are {all}")),
        );
        return None;
    };
    let name = text.get_ref();
    let problem = match kinds::find(name) {
        Some(kind) if kind.test_only && !test => {
            Problem::new(text.span(), format!("kind `{name}` is for tests of the system itself"))
                .label("not in a product")
                .help("use another kind, or say `test = true` in [guest]")
        }
        Some(kind) => return Some(kind),
        None if name == atom::KIND => Problem::new(text.span(), "an atom is no [[component]]")
            .label("it has a table of its own")
            .help("write an [[atom]] table with a `name` and a `path`"),
        None => Problem::new(text.span(), format!("unknown kind `{name}`"))
            .label("not known")
            .help(suggest::help(name, names)),
    };
    problems.push(problem);
    None
}

/// One value for each parameter of the kind. None when one is missing or wrong.
pub(super) fn params(
    problems: &mut Vec<Problem>,
    raw: &raw::Component,
    kind: &'static Kind,
) -> Option<Vec<OwnedValue>> {
    let before = problems.len();
    for (key, _) in &raw.params {
        let known = kind.params.iter().map(|p| p.name);
        if !known.clone().any(|n| n == key.get_ref()) {
            let what = format!("kind `{}` has no parameter `{}`", kind.name, key.get_ref());
            problems.push(
                Problem::new(key.span(), what)
                    .label("not known here")
                    .help(suggest::help(key.get_ref(), known)),
            );
        }
    }
    let values: Vec<_> = kind.params.iter().map(|p| param(problems, raw, kind, p)).collect();
    if problems.len() > before {
        return None;
    }
    values.into_iter().collect()
}

fn param(
    problems: &mut Vec<Problem>,
    raw: &raw::Component,
    kind: &Kind,
    param: &Param,
) -> Option<OwnedValue> {
    let given = raw.params.iter().find(|(key, _)| key.get_ref() == param.name);
    let Some((_, given)) = given else {
        let default = param.default().map(owned);
        if default.is_none() {
            let what = format!("kind `{}` needs the parameter `{}`", kind.name, param.name);
            problems.push(
                Problem::new(raw.span.clone(), what)
                    .label("missing here")
                    .help(format!("`{}` is {}", param.name, param.about)),
            );
        }
        return default;
    };
    match convert(&param.ty, given.get_ref()) {
        Ok(value) => Some(value),
        Err((what, help)) => {
            problems.push(wrong(given, param, &what).help(help));
            None
        }
    }
}

fn wrong(given: &Spanned<Scalar>, param: &Param, what: &str) -> Problem {
    Problem::new(given.span(), format!("parameter `{}`: {what}", param.name)).label(param.about)
}

/// The value, or what is wrong and what to write.
fn convert(ty: &Type, given: &Scalar) -> Result<OwnedValue, (String, String)> {
    let value = match (ty, given) {
        (Type::Int { .. }, Scalar::Int(n)) => OwnedValue::Int(*n),
        (Type::Text { .. }, Scalar::Text(t)) => OwnedValue::Text(t.clone()),
        (Type::Span { .. }, Scalar::Text(t)) => {
            OwnedValue::Span(units::span(t).map_err(|bad| (bad.what, bad.help))?)
        }
        (Type::Span { .. }, Scalar::Int(n)) => {
            let help = format!("write a unit too, such as \"{n}ms\" or \"{n}s\"");
            return Err((format!("`{n}` has no unit"), help));
        }
        (_, other) => return Err((format!("{} is not possible", other.what()), wanted(ty))),
    };
    rules::value(ty, &value.as_value()).map_err(|why| match (ty, &value) {
        (Type::Span { .. }, OwnedValue::Span(n)) => {
            (format!("{} is out of its limits", units::show_span(*n)), wanted(ty))
        }
        _ => (why, wanted(ty)),
    })?;
    Ok(value)
}

fn wanted(ty: &Type) -> String {
    match ty {
        Type::Int { min, max, .. } => format!("write a whole number from {min} to {max}"),
        Type::Text { max, .. } => {
            format!("write a text in quotes, one line of at most {max} bytes")
        }
        Type::Span { min, max, .. } => format!(
            "write a duration from \"{}\" to \"{}\"",
            units::show_span(*min),
            units::show_span(*max)
        ),
    }
}

fn owned(value: Value<'_>) -> OwnedValue {
    match value {
        Value::Int(n) => OwnedValue::Int(n),
        Value::Text(t) => OwnedValue::Text(t.to_owned()),
        Value::Bool(b) => OwnedValue::Bool(b),
        Value::Span(n) => OwnedValue::Span(n),
    }
}
