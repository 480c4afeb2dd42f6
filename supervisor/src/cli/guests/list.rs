//! `atoll ps`, `show` and `stats`.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Value, json};

use super::table::table;
use super::{connect, file, text};
use crate::cli::files::print;
use crate::cli::names;
use crate::serve::state::wall;
use crate::serve::units::{show_bytes, show_span};
use crate::show::time_text;

#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Only those that run
    #[arg(short, long)]
    running: bool,
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
    /// Print JSON, a line a guest
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The guest
    #[arg(add = names::guests())]
    guest: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stats {
    /// The guests (default: all that run)
    #[arg(value_name = "GUEST", add = names::guests())]
    guests: Vec<String>,
    /// Print JSON, a line a guest
    #[arg(long)]
    json: bool,
}

/// A line of `/index`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Line<'t> {
    pub(super) name: &'t str,
    pub(super) fields: BTreeMap<&'t str, &'t str>,
}

impl<'t> Line<'t> {
    pub(super) fn parse(line: &'t str) -> Line<'t> {
        let (line, why) = match line.split_once(" why=") {
            Some((line, why)) => (line, Some(why)),
            None => (line, None),
        };
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let mut fields: BTreeMap<_, _> = words.filter_map(|w| w.split_once('=')).collect();
        fields.extend(why.map(|why| ("why", why)));
        Line { name, fields }
    }

    pub(super) fn get(&self, key: &str) -> &'t str {
        self.fields.get(key).copied().unwrap_or_default()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key).parse().ok()
    }

    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.get("state"), "new" | "stopped" | "moved" | "waiting" | "backoff")
    }

    fn json(&self) -> Value {
        let mut value = json!({ "name": self.name });
        for (key, text) in &self.fields {
            value[*key] = match text.parse::<u64>() {
                Ok(n) if !matches!(*key, "why" | "program") => n.into(),
                _ => (*text).into(),
            };
        }
        value
    }

    fn row(&self, now: u64) -> Vec<String> {
        let age = self.number("since").map(|t| show_span(now.saturating_sub(t)));
        let age = match (age, self.is_alive()) {
            (Some(age), true) => age,
            (Some(age), false) => format!("{age} ago"),
            (None, _) => String::new(),
        };
        vec![
            self.name.into(),
            self.get("state").into(),
            self.get("run").into(),
            age,
            self.get("backend").into(),
            self.get("program").into(),
            self.get("why").into(),
        ]
    }
}

pub(crate) async fn ps(args: Ps) -> anyhow::Result<bool> {
    let mut conn = connect().await?;
    let index = text(&mut conn, "index").await?;
    let mut lines: Vec<Line<'_>> = index.lines().map(Line::parse).collect();
    lines.retain(|l| !args.running || l.is_alive());
    lines.sort_by_key(|l| l.name);
    if args.quiet || args.json {
        let show = |l: &Line<'_>| if args.json { l.json().to_string() } else { l.name.to_owned() };
        let all: String = lines.iter().map(|l| show(l) + "\n").collect();
        print(all.as_bytes())?;
        return Ok(true);
    }
    if lines.is_empty() {
        let which = if args.running { "no guest runs" } else { "no guests yet" };
        eprintln!("{which}; start one with: atoll run -d IMAGE");
        return Ok(true);
    }
    let now = wall();
    let rows: Vec<_> = lines.iter().map(|l| l.row(now)).collect();
    let heads = ["NAME", "STATE", ">RUN", "SINCE", "ON", "PROGRAM", "WHY"];
    print(table(&heads, &rows).as_bytes())?;
    Ok(true)
}

/// The lines of a record.
fn record(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter_map(|l| l.split_once(' ')).collect()
}

fn record_json(text: &str) -> Value {
    let mut value = json!({});
    for (key, text) in record(text) {
        value[key] = match (text.parse::<u64>(), text) {
            (Ok(n), _) => n.into(),
            (_, "true") => true.into(),
            (_, "false") => false.into(),
            _ => text.into(),
        };
    }
    value
}

pub(crate) async fn show(args: Show) -> anyhow::Result<bool> {
    let mut conn = connect().await?;
    let status = file(&mut conn, &args.guest, "status").await?;
    let stats = file(&mut conn, &args.guest, "stats").await?;
    let config = file(&mut conn, &args.guest, "config").await?;
    let takes = file(&mut conn, &args.guest, "ctl").await?;
    let takes: Vec<&str> = takes.lines().collect();
    if args.json {
        let mut value = record_json(&status);
        value["stats"] = record_json(&stats);
        value["config"] = config.into();
        value["takes"] = takes.into();
        print(format!("{value}\n").as_bytes())?;
        return Ok(true);
    }
    let mut out = String::new();
    let mut line = |key: &str, value: &str| out += &format!("{key:<9} {value}\n");
    for (key, value) in record(&status) {
        match (key, value.parse::<u64>()) {
            ("started" | "ended", Ok(ms)) => line(key, &time_text(ms / 1000)),
            ("changed", _) if value == "true" => line("config", "changed and not committed"),
            ("changed", _) | ("restarts" | "failures", Ok(0)) => {}
            _ => line(key, value),
        }
    }
    for (key, value) in record(&stats) {
        match (key, value.parse::<u64>()) {
            ("cpu", Ok(us)) if us > 0 => line(key, &format!("{:.2} s", us as f64 / 1e6)),
            ("memory" | "log", Ok(n)) if n > 0 => line(key, &show_bytes(n)),
            ("uptime", Ok(ms)) if ms > 0 => line(key, &show_span(ms)),
            _ => {}
        }
    }
    line("takes", &takes.join(", "));
    for (i, text) in config.lines().enumerate() {
        line(if i == 0 { "config" } else { "" }, text);
    }
    print(out.as_bytes())?;
    Ok(true)
}

pub(crate) async fn stats(args: Stats) -> anyhow::Result<bool> {
    let mut conn = connect().await?;
    let guests = if args.guests.is_empty() {
        let index = text(&mut conn, "index").await?;
        let alive = index.lines().map(Line::parse).filter(Line::is_alive);
        let mut names: Vec<String> = alive.map(|l| l.name.to_owned()).collect();
        names.sort();
        names
    } else {
        args.guests
    };
    let mut rows = Vec::new();
    for guest in guests {
        let stats = file(&mut conn, &guest, "stats").await?;
        if args.json {
            let mut value = record_json(&stats);
            value["name"] = guest.into();
            print(format!("{value}\n").as_bytes())?;
            continue;
        }
        let all: BTreeMap<_, _> = record(&stats).into_iter().collect();
        let number = |key: &str| -> anyhow::Result<u64> {
            all.get(key).and_then(|v| v.parse().ok()).with_context(|| format!("no {key} in stats"))
        };
        rows.push(vec![
            guest,
            format!("{:.2} s", number("cpu")? as f64 / 1e6),
            show_bytes(number("memory")?),
            show_span(number("uptime")?),
            show_bytes(number("log")?),
            number("restarts")?.to_string(),
        ]);
    }
    if !args.json {
        let heads = ["NAME", ">CPU", ">MEMORY", ">UP", ">LOG", ">RESTARTS"];
        print(table(&heads, &rows).as_bytes())?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_index_is_taken_apart() {
        let line = Line::parse("web state=stopped run=3 since=5 how=crashed why=panic: a=b c");
        assert_eq!(
            (line.name, line.get("state"), line.get("why")),
            ("web", "stopped", "panic: a=b c")
        );
        assert_eq!((line.number("run"), line.is_alive()), (Some(3), false));
        let json = line.json();
        assert_eq!((&json["run"], &json["why"]), (&3.into(), &"panic: a=b c".into()));
        assert_eq!(Line::parse("a").row(0).len(), 7);
        assert_eq!(record_json("a 5\nb true\nc x y\n"), json!({"a": 5, "b": true, "c": "x y"}));
    }
}
