//! Sizes and spans of time, as people write and read them.

use atoll_config::rules::{MAX_MEMORY, MIN_MEMORY};

fn split(text: &str) -> (&str, &str) {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    (number, unit.trim())
}

/// A size in bytes, or with a unit of powers of 1024.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err(format!("{text}: the units are KiB, MiB and GiB")),
    };
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    bytes.ok_or_else(|| format!("{text}: no size, such as 8MiB"))
}

/// The memory of a guest.
pub fn memory(text: &str) -> Result<u64, String> {
    match bytes(text) {
        Ok(n) if (MIN_MEMORY..=MAX_MEMORY).contains(&n) => Ok(n),
        Err(why) if why.contains("units") => Err(why),
        _ => Err(format!("{text}: from 2MiB to 3GiB")),
    }
}

/// A span of time, in milliseconds.
pub fn span(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{text}: the units are ms, s, min and h")),
    };
    let span = number.parse::<u64>().ok().and_then(|n| n.checked_mul(ms));
    span.ok_or_else(|| format!("{text}: no span of time, such as 10s"))
}

/// A span of time, in microseconds.
pub fn micros(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let us = match unit {
        "us" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        _ => return Err(format!("{text}: the units are us, ms and s")),
    };
    let span = number.parse::<u64>().ok().and_then(|n| n.checked_mul(us));
    span.filter(|us| *us > 0).ok_or_else(|| format!("{text}: a span of time from 1us on"))
}

/// A size for people: three digits and a unit.
pub fn show_bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1000.0 || unit == "GiB" {
            let digits = usize::from(unit != "B" && value < 10.0);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    unreachable!("the last unit takes any size")
}

/// A span of time for people, of so many milliseconds: two units at most.
pub fn show_span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_limits() {
        assert_eq!(memory("4MiB"), Ok(4 << 20));
        assert_eq!(memory("4194304"), Ok(4 << 20));
        assert_eq!(memory("2M"), Ok(2 << 20));
        for bad in ["", "4", "4MB", "1GiB2", "99999999999999GiB", "-4MiB"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_of_time_have_units() {
        assert_eq!(span("10s"), Ok(10_000));
        assert_eq!(span("2 min"), Ok(120_000));
        for bad in ["", "10", "s", "-1s", "1d", "99999999999999999999h"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn short_spans_of_time_have_units_too() {
        assert_eq!(micros("250us"), Ok(250));
        assert_eq!(micros("2 ms"), Ok(2000));
        assert_eq!(micros("1s"), Ok(1_000_000));
        for bad in ["", "10", "us", "-1us", "1min", "0ms", "99999999999999999999s"] {
            assert!(micros(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn people_see_few_digits() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (4 << 20, "4.0 MiB"),
            (64 << 30, "64 GiB"),
        ] {
            assert_eq!(show_bytes(n), text);
        }
        assert_eq!(show_bytes(u64::MAX), "17179869184 GiB");
        for (ms, text) in [
            (5, "5 ms"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (7_260_000, "2 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(show_span(ms), text);
        }
    }
}
