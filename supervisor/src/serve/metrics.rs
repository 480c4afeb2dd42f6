//! `/metrics`: figures of the supervisor, for programs that collect such
//! (OpenMetrics 1.0, the text format).
//!
//! Figures of each guest would make the file as long as there are guests; those are in
//! their `stats`.

use std::fmt::Write;

use atoll_9p::fault::Fault;

use super::show::census;
use super::state::State;

/// Writes them down.
pub(super) fn put(s: &mut State, out: &mut String) -> Result<(), Fault> {
    let _ = writeln!(out, "# TYPE atoll_guests gauge\n# HELP atoll_guests Guests in each state.");
    for (state, n) in census(s) {
        let _ = writeln!(out, "atoll_guests{{state=\"{state}\"}} {n}");
    }
    let restarts: u64 = s.core.guests().map(|(_, v)| v.record().restarts).sum();
    let runs: u64 = s.core.guests().map(|(_, v)| v.record().run).sum();
    let used = super::host::used(std::process::id().into()).unwrap_or_default();
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        let total = if kind == "counter" { "_total" } else { "" };
        let _ = writeln!(out, "# TYPE atoll_{name} {kind}\n# HELP atoll_{name} {help}");
        let _ = writeln!(out, "atoll_{name}{total} {value}");
    };
    one("runs", "counter", "Starts of the guests that there are.", runs as f64);
    one("restarts", "counter", "Those of them that nobody asked for.", restarts as f64);
    let slow = s.core.guests().filter(|(_, v)| v.stutter().is_some()).count();
    one("stuttering", "gauge", "Guests that are slower than expected.", slow as f64);
    one("images", "gauge", "Images.", s.images.from(0).count() as f64);
    one("clients", "gauge", "Connections to the control tree.", s.clients as f64);
    one("waiting", "gauge", "Commands that are not answered yet.", s.answers.len() as f64);
    one("events", "counter", "Lines of /log since ever.", (s.core.log().next() - 1) as f64);
    let started = s.started as f64 / 1000.0;
    one("start_time_seconds", "gauge", "When the supervisor was started.", started);
    let cpu = used.cpu as f64 / 1e6;
    one("cpu_seconds", "counter", "Time for which it had a processor.", cpu);
    one("resident_memory_bytes", "gauge", "Its memory.", used.memory as f64);
    out.push_str("# EOF\n");
    Ok(())
}
