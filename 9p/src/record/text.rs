//! A record as text: `key value`, a field a line.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use super::{Field, Type, Value, Values};
use crate::fault::{Errno, Fault};
use crate::synth::echo;

/// Writes the lines of a record.
pub(crate) fn put(fields: &[Field], values: &[Value<'_>], out: &mut String) {
    put_fields(fields, values, "", out);
}

fn put_fields(fields: &[Field], values: &[Value<'_>], prefix: &str, out: &mut String) {
    for (field, value) in fields.iter().zip(values) {
        put_value(field.name, &field.ty, value, prefix, out);
    }
}

fn put_value(name: &str, ty: &Type, value: &Value<'_>, prefix: &str, out: &mut String) {
    match (value, ty) {
        (Value::Option(None), _) => return,
        (Value::Option(Some(v)), Type::Option(ty)) => return put_value(name, ty, v, prefix, out),
        (Value::List(values), Type::List(Type::Record(fields))) => {
            for (i, v) in values.iter().enumerate() {
                if let Value::Record(v) = v {
                    let mut below = [prefix, name, "."].concat();
                    number_to(i as u64, &mut below);
                    text_to(".", &mut below);
                    put_fields(fields, v, &below, out);
                }
            }
            return;
        }
        (Value::List(values), Type::List(ty)) => {
            values.iter().for_each(|v| put_value(name, ty, v, prefix, out));
            return;
        }
        (Value::Record(v), Type::Record(fields)) => {
            return put_fields(fields, v, &[prefix, name, "."].concat(), out);
        }
        (Value::Numbers(list), _) => {
            for (name, n) in list {
                text_to(name, out);
                text_to(" ", out);
                number_to(*n, out);
                text_to("\n", out);
            }
            return;
        }
        _ => {}
    }
    [prefix, name, " "].into_iter().for_each(|part| text_to(part, out));
    match value {
        Value::Uint(n) => number_to(*n, out),
        Value::Int(n) => {
            text_to(if *n < 0 { "-" } else { "" }, out);
            number_to(n.unsigned_abs(), out);
        }
        Value::Bool(b) => text_to(if *b { "true" } else { "false" }, out),
        Value::Of(used, limit) => {
            number_to(*used, out);
            text_to(" of ", out);
            number_to(*limit, out);
        }
        Value::Hex(bytes) => {
            for b in bytes {
                for digit in [b >> 4, b & 15] {
                    let digit = char::from_digit(digit.into(), 16).unwrap_or_default();
                    text_to(digit.encode_utf8(&mut [0; 4]), out);
                }
            }
        }
        Value::Choice(n) => {
            if let Type::Choice(words) = ty {
                text_to(words.get(*n as usize).copied().unwrap_or_default(), out);
            }
        }
        Value::Text(text) if text.is_empty() => {
            out.pop();
        }
        Value::Text(text) => {
            let mut buf = [0; 4];
            for c in text.chars() {
                let part = match c {
                    '\n' => "\\n",
                    '\\' => "\\\\",
                    c => c.encode_utf8(&mut buf),
                };
                text_to(part, out);
            }
        }
        _ => {}
    }
    text_to("\n", out);
}

/// These two stay apart, so that a guest carries them once.
#[inline(never)]
pub(super) fn number_to(n: u64, out: &mut String) {
    let _ = write!(out, "{n}");
}

#[inline(never)]
pub(super) fn text_to(text: &str, out: &mut String) {
    out.push_str(text);
}

/// A line that was read.
struct Line<'a> {
    number: usize,
    key: &'a str,
    value: &'a str,
    used: bool,
}

/// Reads the lines of a whole record.
pub(crate) fn take<'a>(fields: &'static [Field], text: &'a str) -> Result<Values<'a>, Fault> {
    let mut lines: Vec<Line<'a>> = text
        .split('\n')
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty())
        .map(|(line, number)| {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            Line { number, key, value, used: false }
        })
        .collect();
    // By key, so that finding one takes no longer the more there are; those of one
    // key stay in order.
    lines.sort_by_key(|line| line.key);
    let (known, numbers) = match fields.split_last() {
        Some((Field { ty: Type::Numbers, .. }, known)) => (known, true),
        _ => (fields, false),
    };
    let mut lines = Lines(lines);
    let mut values = lines.record(known, "")?;
    lines.0.retain(|line| !line.used);
    lines.0.sort_by_key(|line| line.number);
    let is_none = |line: &&Line<'_>| !numbers || !is_name(fields, line.key);
    if let Some(line) = lines.0.iter().find(is_none) {
        let mut why = format!("line {}: no field {}; there are:", line.number, echo(line.key));
        for (i, field) in fields.iter().enumerate() {
            why += if i == 0 { " " } else { ", " };
            why += field.name;
        }
        return Err(Fault::new(Errno::EINVAL, why));
    }
    if numbers {
        let list = lines.0.iter().map(|line| {
            let n = scalar(&Type::Uint(64), line)?;
            let Value::Uint(n) = n else { return Err(wrong(&Type::Uint(64), line)) };
            Ok((Cow::Borrowed(line.key), n))
        });
        values.push(Value::Numbers(list.collect::<Result<_, Fault>>()?));
    }
    Ok(values)
}

/// Whether a number beside these fields may have that name: it is one word, and no
/// line of a field begins so.
pub(crate) fn is_name(fields: &[Field], name: &str) -> bool {
    let first = name.split('.').next();
    !name.contains([' ', '\n']) && fields.iter().all(|f| first != Some(f.name))
}

struct Lines<'a>(Vec<Line<'a>>);

impl<'a> Lines<'a> {
    /// The lines of a key.
    fn of(&mut self, key: &str) -> &mut [Line<'a>] {
        let from = self.0.partition_point(|line| line.key < key);
        let rest = self.0.get_mut(from..).unwrap_or_default();
        let n = rest.partition_point(|line| line.key == key);
        rest.get_mut(..n).unwrap_or_default()
    }

    /// Whether any key begins so.
    fn has(&self, prefix: &str) -> bool {
        let from = self.0.partition_point(|line| line.key < prefix);
        self.0.get(from).is_some_and(|line| line.key.starts_with(prefix))
    }

    fn record(&mut self, fields: &'static [Field], prefix: &str) -> Result<Values<'a>, Fault> {
        let field = |f: &'static Field| self.field(&f.ty, &format!("{prefix}{}", f.name));
        fields.iter().map(field).collect()
    }

    fn field(&mut self, ty: &'static Type, key: &str) -> Result<Value<'a>, Fault> {
        match ty {
            Type::Record(fields) => Ok(Value::Record(self.record(fields, &format!("{key}."))?)),
            Type::Option(ty) => {
                let there = match ty {
                    Type::Record(_) => self.has(&format!("{key}.")),
                    _ => !self.of(key).is_empty(),
                };
                let value = there.then(|| self.field(ty, key).map(Box::new)).transpose()?;
                Ok(Value::Option(value))
            }
            Type::List(Type::Record(fields)) => {
                let mut values = Vec::new();
                loop {
                    let prefix = format!("{key}.{}.", values.len());
                    if !self.has(&prefix) {
                        return Ok(Value::List(values));
                    }
                    values.push(Value::Record(self.record(fields, &prefix)?));
                }
            }
            Type::List(ty) => {
                let each = |line: &mut Line<'a>| {
                    line.used = true;
                    scalar(ty, line)
                };
                Ok(Value::List(self.of(key).iter_mut().map(each).collect::<Result<_, _>>()?))
            }
            ty => match self.of(key) {
                [line] => {
                    line.used = true;
                    scalar(ty, line)
                }
                [_, second, ..] => {
                    let why = format!("line {}: {key} is given twice", second.number);
                    Err(Fault::new(Errno::EINVAL, why))
                }
                [] => {
                    let why = format!("{key} is missing: {}", expected(ty));
                    Err(Fault::new(Errno::EINVAL, why))
                }
            },
        }
    }
}

/// The value of a field that has one line.
fn scalar<'a>(ty: &Type, line: &Line<'a>) -> Result<Value<'a>, Fault> {
    parse(ty, line.value).ok_or_else(|| wrong(ty, line))
}

fn wrong(ty: &Type, line: &Line<'_>) -> Fault {
    let (number, key) = (line.number, crate::server::clip(line.key, 80));
    let why = format!("line {number}: {key}: {} is not {}", echo(line.value), expected(ty));
    Fault::new(Errno::EINVAL, why)
}

fn expected(ty: &Type) -> String {
    match ty {
        Type::Uint(bits) => format!("a whole number up to {}", most(*bits)),
        Type::Int => format!("a whole number from {} to {}", i64::MIN, i64::MAX),
        Type::Bool => "true or false".to_string(),
        Type::Hex => "64 hexadecimal digits".to_string(),
        Type::Of => "a number `of` another, as in 3 of 9".to_string(),
        Type::Choice(words) => format!("one of {}", words.join(", ")),
        _ => "a text, in which a backslash is written as two".to_string(),
    }
}

fn most(bits: u8) -> u64 {
    u64::MAX >> (64 - u32::from(bits))
}

/// Digits only: no sign.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn parse<'a>(ty: &Type, text: &'a str) -> Option<Value<'a>> {
    let word = text.trim();
    Some(match ty {
        Type::Uint(bits) => Value::Uint(number(word).filter(|n| *n <= most(*bits))?),
        Type::Int if word.starts_with('+') => return None,
        Type::Int => Value::Int(word.parse().ok()?),
        Type::Bool => Value::Bool(word.parse().ok()?),
        Type::Choice(words) => Value::Choice(words.iter().position(|w| *w == word)? as u32),
        Type::Of => {
            let (used, limit) = word.split_once(" of ")?;
            Value::Of(number(used)?, number(limit)?)
        }
        Type::Hex => {
            let mut bytes = [0; 32];
            let digits = word.as_bytes();
            if digits.len() != 64 {
                return None;
            }
            for (to, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
                for digit in pair {
                    *to = *to << 4 | char::from(*digit).to_digit(16)? as u8;
                }
            }
            Value::Hex(bytes)
        }
        _ if !text.contains('\\') => Value::Text(Cow::Borrowed(text)),
        _ => {
            let mut out = String::new();
            let mut chars = text.chars();
            while let Some(c) = chars.next() {
                out.push(match c {
                    '\\' => match chars.next()? {
                        'n' => '\n',
                        '\\' => '\\',
                        _ => return None,
                    },
                    c => c,
                });
            }
            Value::Text(Cow::Owned(out))
        }
    })
}
