//! Figures for people: aligned columns, units, goals.

use std::fmt::Write;

use crate::figure::{Figure, Joined, joined};

const HEADS: [&str; 6] = ["case", "metric", "value", "p10–p90", "beside", "goal"];

/// A table of figures, in plain text.
pub fn plain(figures: &[Figure]) -> String {
    let rows = rows(figures);
    let heads = HEADS.map(str::to_owned);
    let all = || std::iter::once(&heads).chain(&rows);
    let wide = |i: usize| all().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(wide);
    let mut out = String::new();
    for row in all() {
        let mut line = String::new();
        for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
            let room = " ".repeat(width - cell.chars().count());
            // Figures end at the same place.
            let _ = match i {
                2 | 3 => write!(line, "{room}{cell}  "),
                _ => write!(line, "{cell}{room}  "),
            };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// The same in Markdown.
pub fn markdown(figures: &[Figure]) -> String {
    let mut out = format!("| {} |\n|---|---|---:|---:|---|---|\n", HEADS.join(" | "));
    for row in rows(figures) {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out
}

fn rows(figures: &[Figure]) -> Vec<[String; 6]> {
    joined(figures).iter().map(row).collect()
}

fn row(j: &Joined) -> [String; 6] {
    let f = &j.figure;
    let beside = match (&f.peer, f.peer_value) {
        (Some(peer), Some(value)) if f.is_rate() => {
            format!("{:.2} × {} {}: {peer}", f.value / value, number(value), f.unit)
        }
        (Some(peer), Some(value)) => format!("{} {}: {peer}", number(value), f.unit),
        _ => String::new(),
    };
    let goal = match (f.goal, f.met) {
        (Some(goal), Some(met)) => {
            let sign = if f.more_is_better() { "≥" } else { "≤" };
            format!("{sign} {} {}: {}", number(goal), f.unit, if met { "met" } else { "missed" })
        }
        _ => String::new(),
    };
    let spread = j.spread.map_or(String::new(), |(a, b)| format!("{}–{}", number(a), number(b)));
    let value = format!("{} {}", number(f.value), f.unit);
    [f.case.clone(), f.metric.clone(), value, spread, beside, goal]
}

/// A number as people read it: thousands apart, no more digits than matter.
fn number(value: f64) -> String {
    if value.abs() < 1000.0 && value.fract() != 0.0 {
        return if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") };
    }
    let digits = format!("{:.0}", value.abs());
    let mut out = String::from(if value < 0.0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let all = [
            (0.5, "0.50"),
            (12.34, "12.3"),
            (4.0, "4"),
            (225_400.0, "225,400"),
            (1e6, "1,000,000"),
        ];
        for (value, want) in all {
            assert_eq!(number(value), want);
        }
    }

    #[test]
    fn columns_are_aligned_and_a_miss_is_said() {
        let figures = [
            Figure::new("boot", "hello", "cpu", "ms", 36.0).beside("floor", 22.0).at_most(32.0),
            Figure::new("boot", "a longer case", "wall", "ms", 5.0),
        ];
        let rate = Figure::new("9p", "getattr", "rate", "/s", 6.0).beside("diod", 4.0);
        let text = plain(&[rate.at_least(8.0)]);
        assert!(text.contains("1.50 × 4 /s: diod") && text.contains("≥ 8 /s: missed"), "{text}");
        let text = plain(&figures);
        assert!(text.contains("36 ms") && text.contains("≤ 32 ms: missed"), "{text}");
        let columns: Vec<_> =
            text.lines().skip(1).map(|l| l.find(" ms ").or(l.rfind(" ms"))).collect();
        assert_eq!(columns[0], columns[1], "{text}");
    }
}
