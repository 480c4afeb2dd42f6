//! A record as bytes: postcard's format, written by hand.
//!
//! The format is that of postcard 1 ("The postcard wire specification"): numbers of
//! more than 8 bits are varints of 7 bits a byte, least first; negative ones are
//! zigzagged; a text or a list begins with its length; an option with 0 or 1; a
//! choice is its number. Tests compare both directions with the `postcard` crate.
//! Reading checks every length against what is left before anything is reserved.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;

use super::text::is_name;
use super::{About, Type, Value, Values};
use crate::fault::{Errno, Fault};
use crate::synth::echo;

/// Writes the version of a record and its fields.
pub(crate) fn put(about: &About, values: &[Value<'_>], out: &mut Vec<u8>) {
    varint(about.version.into(), out);
    let types = about.fields.iter().map(|f| &f.ty);
    types.zip(values).for_each(|(ty, v)| put_value(ty, v, out));
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_str(text: &str, out: &mut Vec<u8>) {
    varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn put_value(ty: &Type, value: &Value<'_>, out: &mut Vec<u8>) {
    match (value, ty) {
        (Value::Uint(n), Type::Uint(8)) => out.push(*n as u8),
        (Value::Uint(n), _) => varint(*n, out),
        (Value::Int(n), _) => varint((*n as u64) << 1 ^ (*n >> 63) as u64, out),
        (Value::Bool(b), _) => out.push((*b).into()),
        (Value::Text(text), _) => put_str(text, out),
        (Value::Hex(bytes), _) => out.extend_from_slice(bytes),
        (Value::Choice(n), _) => varint((*n).into(), out),
        (Value::Of(used, limit), _) => {
            varint(*used, out);
            varint(*limit, out);
        }
        (Value::Option(None), _) => out.push(0),
        (Value::Option(Some(v)), Type::Option(ty)) => {
            out.push(1);
            put_value(ty, v, out);
        }
        (Value::List(values), Type::List(ty)) => {
            varint(values.len() as u64, out);
            values.iter().for_each(|v| put_value(ty, v, out));
        }
        (Value::Record(values), Type::Record(fields)) => {
            fields.iter().zip(values).for_each(|(f, v)| put_value(&f.ty, v, out));
        }
        (Value::Numbers(list), _) => {
            varint(list.len() as u64, out);
            for (name, n) in list {
                put_str(name, out);
                varint(*n, out);
            }
        }
        // What a record gives is of the types in its table.
        (Value::Option(_) | Value::List(_) | Value::Record(_), _) => {}
    }
}

/// Reads a whole record.
pub(crate) fn take<'a>(about: &About, bytes: &'a [u8]) -> Result<Values<'a>, Fault> {
    let mut r = Reader(bytes);
    let version = r.varint(32).ok_or_else(|| bad(about, "its version cannot be read"))?;
    if version != about.version.into() {
        let ours = about.version;
        return Err(bad(about, &alloc::format!("it is of version {version}, known is {ours}")));
    }
    let mut values = Vec::with_capacity(about.fields.len());
    for field in about.fields {
        let value = r.value(&field.ty);
        values.push(value.ok_or_else(|| bad(about, &alloc::format!("at field {}", field.name)))?);
    }
    if let Some(Value::Numbers(list)) = values.last()
        && let Some((name, _)) = list.iter().find(|(name, _)| !is_name(about.fields, name))
    {
        return Err(bad(about, &alloc::format!("{} is no name of a number", echo(name))));
    }
    match r.0.len() {
        0 => Ok(values),
        n => Err(bad(about, &alloc::format!("{n} bytes follow it"))),
    }
}

fn bad(about: &About, why: &str) -> Fault {
    let (name, version) = (about.name, about.version);
    Fault::new(Errno::EINVAL, alloc::format!("no record {name} {version}: {why}"))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: u64) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(usize::try_from(n).ok()?)?;
        self.0 = tail;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number of at most so many bits.
    fn varint(&mut self, bits: u32) -> Option<u64> {
        let mut n = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if bits - shift < 7 && part >> (bits - shift) != 0 {
                return None;
            }
            n |= part << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(n);
            }
            if shift >= bits {
                return None;
            }
        }
    }

    fn str(&mut self) -> Option<&'a str> {
        let n = self.varint(64)?;
        core::str::from_utf8(self.take(n)?).ok()
    }

    /// The length of a list, each of whose values takes at least one byte.
    fn count(&mut self) -> Option<usize> {
        let n = usize::try_from(self.varint(64)?).ok()?;
        (n <= self.0.len()).then_some(n)
    }

    fn value(&mut self, ty: &Type) -> Option<Value<'a>> {
        Some(match ty {
            Type::Uint(8) => Value::Uint(self.byte()?.into()),
            Type::Uint(bits) => Value::Uint(self.varint((*bits).into())?),
            Type::Int => {
                let n = self.varint(64)?;
                Value::Int((n >> 1) as i64 ^ -((n & 1) as i64))
            }
            Type::Bool => match self.byte()? {
                n @ 0..=1 => Value::Bool(n == 1),
                _ => return None,
            },
            Type::Text => Value::Text(Cow::Borrowed(self.str()?)),
            Type::Hex => Value::Hex(self.take(32)?.try_into().ok()?),
            Type::Choice(words) => {
                let n = self.varint(32)? as u32;
                words.get(n as usize)?;
                Value::Choice(n)
            }
            Type::Of => Value::Of(self.varint(64)?, self.varint(64)?),
            Type::Option(ty) => match self.byte()? {
                0 => Value::Option(None),
                1 => Value::Option(Some(Box::new(self.value(ty)?))),
                _ => return None,
            },
            Type::List(ty) => {
                let n = self.count()?;
                let mut values = Vec::new();
                for _ in 0..n {
                    values.push(self.value(ty)?);
                }
                Value::List(values)
            }
            Type::Record(fields) => {
                let values: Option<Vec<_>> = fields.iter().map(|f| self.value(&f.ty)).collect();
                Value::Record(values?)
            }
            Type::Numbers => {
                let n = self.count()?;
                let mut list = Vec::new();
                for _ in 0..n {
                    list.push((Cow::Borrowed(self.str()?), self.varint(64)?));
                }
                Value::Numbers(list)
            }
        })
    }
}
