//! What the fields of a record are, as text.
//!
//! `record NAME VERSION`, and then `field NAME TYPE MEANING` in the order of the bytes.
//! The fields of an inner record follow it, named as in the text form, with `N` for
//! the place in a list.

use alloc::string::String;

use super::text::number_to;
use super::{About, Field, Type};

/// Writes the schema of a record.
pub(crate) fn put(about: &About, out: &mut String) {
    ["record ", about.name, " "].into_iter().for_each(|part| *out += part);
    number_to(about.version.into(), out);
    *out += "\n";
    put_fields(about.fields, "", out);
}

fn put_fields(fields: &[Field], prefix: &str, out: &mut String) {
    for field in fields {
        ["field ", prefix, field.name, " "].into_iter().for_each(|part| *out += part);
        put_type(&field.ty, out);
        if !field.doc.is_empty() {
            *out += " ";
            *out += field.doc.trim();
        }
        *out += "\n";
        let (inner, place) = match &field.ty {
            Type::List(ty) => (*ty, ".N."),
            Type::Option(ty) => (*ty, "."),
            ty => (ty, "."),
        };
        if let Type::Record(fields) = inner {
            put_fields(fields, &[prefix, field.name, place].concat(), out);
        }
    }
}

fn put_type(ty: &Type, out: &mut String) {
    let name = match ty {
        Type::Uint(bits) => {
            *out += "u";
            return number_to((*bits).into(), out);
        }
        Type::Choice(words) => {
            *out += "choice<";
            for (i, word) in words.iter().enumerate() {
                *out += if i == 0 { "" } else { "|" };
                *out += word;
            }
            *out += ">";
            return;
        }
        Type::Option(of) | Type::List(of) => {
            *out += if matches!(ty, Type::Option(_)) { "option<" } else { "list<" };
            put_type(of, out);
            *out += ">";
            return;
        }
        Type::Int => "i64",
        Type::Bool => "bool",
        Type::Text => "text",
        Type::Hex => "hex32",
        Type::Of => "of",
        Type::Record(_) => "record",
        Type::Numbers => "numbers",
    };
    *out += name;
}
