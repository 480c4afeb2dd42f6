//! Sizes and spans of time as people write them.
//!
//! A number never stands alone: `4MiB` and `250ms` cannot be misread, `4096` can.
//! Sizes are binary only, so that nobody has to ask how many bytes an `MB` has.

/// Why a text is no quantity: what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadUnit {
    pub(super) what: String,
    pub(super) help: String,
}

const SIZES: &[(&str, u64)] = &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const SPANS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads `512KiB`, `4MiB`, `1GiB`: bytes.
pub(super) fn size(text: &str) -> Result<u64, BadUnit> {
    quantity(text, "size", SIZES, "\"4MiB\" or \"512KiB\"").map_err(|mut bad| {
        let (number, unit) = split(text);
        let binary = match unit.to_ascii_lowercase().as_str() {
            "k" | "kb" | "kib" => "KiB",
            "m" | "mb" | "mib" => "MiB",
            "g" | "gb" | "gib" => "GiB",
            _ => return bad,
        };
        if unit != binary {
            bad.help = format!("sizes are binary: write \"{number}{binary}\"");
        }
        bad
    })
}

/// Reads `250ms`, `1s`, `2m`: nanoseconds.
pub(super) fn span(text: &str) -> Result<u64, BadUnit> {
    quantity(text, "duration", SPANS, "\"250ms\", \"1s\" or \"2m\"")
}

fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (&text[..digits], text[digits..].trim())
}

fn quantity(text: &str, thing: &str, units: &[(&str, u64)], example: &str) -> Result<u64, BadUnit> {
    let bad = |what: String| BadUnit { what, help: format!("write a {thing} such as {example}") };
    let (number, unit) = split(text);
    if number.is_empty() {
        return Err(bad(format!("`{text}` is not a {thing}: it begins with no whole number")));
    }
    if unit.is_empty() {
        return Err(bad(format!("`{text}` has no unit")));
    }
    let Some((name, scale)) = units.iter().find(|(u, _)| *u == unit) else {
        let all = units.iter().map(|(u, _)| *u).collect::<Vec<_>>().join(", ");
        return Err(bad(format!("`{unit}` is not a unit of a {thing}; there are {all}")));
    };
    if text.len() != number.len() + name.len() {
        return Err(BadUnit {
            what: format!("`{text}` has a space in it"),
            help: format!("write \"{number}{name}\""),
        });
    }
    let value = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*scale));
    value.ok_or_else(|| bad(format!("`{text}` is too large")))
}

/// A size in the largest unit that fits it exactly.
pub fn show_size(bytes: u64) -> String {
    match show(bytes, SIZES) {
        Some(text) => text,
        None => format!("{bytes} bytes"),
    }
}

/// A span of time in the largest unit that fits it exactly.
pub fn show_span(ns: u64) -> String {
    show(ns, SPANS).unwrap_or_else(|| format!("{ns}ns"))
}

fn show(n: u64, units: &[(&str, u64)]) -> Option<String> {
    let (unit, scale) = units.iter().rev().find(|(_, s)| n >= *s && n.is_multiple_of(*s))?;
    Some(format!("{}{unit}", n / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_right_is_read_and_shown_the_same() {
        for (text, bytes) in [("512KiB", 512 << 10), ("4MiB", 4 << 20), ("3GiB", 3 << 30)] {
            assert_eq!(size(text), Ok(bytes));
            assert_eq!(show_size(bytes), text);
        }
        for (text, ns) in
            [("1ns", 1), ("7us", 7_000), ("250ms", 250_000_000), ("2m", 120 * 1_000_000_000)]
        {
            assert_eq!(span(text), Ok(ns));
            assert_eq!(show_span(ns), text);
        }
        assert_eq!(show_size(1025), "1025 bytes");
        assert_eq!(show_span(0), "0ns");
    }

    #[test]
    fn what_is_written_wrong_says_how_to_write_it() {
        for (text, what, help) in [
            ("4MB", "`MB` is not a unit", "write \"4MiB\""),
            ("4m", "`m` is not a unit", "write \"4MiB\""),
            ("4096", "has no unit", "\"4MiB\""),
            ("", "no whole number", "\"4MiB\""),
            ("-4MiB", "no whole number", "\"4MiB\""),
            ("4 MiB", "a space", "write \"4MiB\""),
            ("99999999999GiB", "too large", "\"4MiB\""),
            ("4.5MiB", "not a unit", "\"4MiB\""),
        ] {
            let bad = size(text).unwrap_err();
            assert!(bad.what.contains(what), "{text}: {}", bad.what);
            assert!(bad.help.contains(help), "{text}: {}", bad.help);
        }
        assert!(span("5sec").unwrap_err().what.contains("`sec` is not a unit"));
        assert!(span("é").is_err());
    }
}
