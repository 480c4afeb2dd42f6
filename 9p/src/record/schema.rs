//! What the fields of a record are, as text.
//!
//! `record NAME VERSION`, and then `field NAME TYPE MEANING` in the order of the bytes.
//! The fields of an inner record follow it, named as in the text form, with `N` for
//! the place in a list.

use alloc::string::String;

use super::text::{number_to, text_to};
use super::{About, Field, Type};

/// Writes the schema of a record.
pub(crate) fn put(about: &About, out: &mut String) {
    ["record ", about.name, " "].into_iter().for_each(|part| text_to(part, out));
    number_to(about.version.into(), out);
    text_to("\n", out);
    put_fields(about.fields, "", out);
}

fn put_fields(fields: &[Field], prefix: &str, out: &mut String) {
    for field in fields {
        ["field ", prefix, field.name, " "].into_iter().for_each(|part| text_to(part, out));
        put_type(&field.ty, out);
        if !field.doc.is_empty() {
            text_to(" ", out);
            text_to(field.doc.trim(), out);
        }
        text_to("\n", out);
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
            text_to("u", out);
            return number_to((*bits).into(), out);
        }
        Type::Choice(words) => {
            text_to("choice<", out);
            for (i, word) in words.iter().enumerate() {
                text_to(if i == 0 { "" } else { "|" }, out);
                text_to(word, out);
            }
            text_to(">", out);
            return;
        }
        Type::Option(of) | Type::List(of) => {
            text_to(if matches!(ty, Type::Option(_)) { "option<" } else { "list<" }, out);
            put_type(of, out);
            text_to(">", out);
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
    text_to(name, out);
}
