//! The picture of a [`Model`], for a terminal of any size.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Clear, Sparkline, Widget};

use super::columns::{Column, columns};
use super::keys::HELP;
use super::model::{Guest, Mode, Model, Sort};
use crate::serve::units::show_bytes;

/// The smallest terminal that anything is shown on.
const SMALLEST: (u16, u16) = (18, 4);
/// Rows from which on the chosen guest has a part of its own.
const DETAIL: u16 = 16;
/// Microseconds a second that fill a curve of a processor's use; more do where there was
/// more.
const FULL: f64 = 200_000.0;
/// What the keys do, in one line.
const KEYS: &str = "q quit  ? help  p pause  k kill  l log  sort: c m d u n s  r reverse";

/// Colours, where they are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Not with `NO_COLOR`.
    pub(super) colours: bool,
}

impl Look {
    fn of(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn state(self, state: &str) -> Style {
        match state {
            "running" => self.of(Color::Green),
            "paused" | "pausing" | "resuming" => self.of(Color::Yellow),
            "backoff" | "killing" => self.of(Color::Red),
            "starting" | "stopping" | "adopting" | "waiting" => self.of(Color::Cyan),
            _ => self.dim(),
        }
    }
}

/// Draws it. The model is told how many rows there are.
pub(super) fn draw(model: &mut Model, look: Look, frame: &mut Frame<'_>) {
    let all = frame.area();
    let buf = frame.buffer_mut();
    if all.width < SMALLEST.0 || all.height < SMALLEST.1 {
        put(buf, all, 0, "too small", Style::new());
        return;
    }
    let below = match model.mode {
        Mode::Log(_) => all.height.saturating_sub(3) / 2,
        _ if all.height >= DETAIL && !model.guests.is_empty() => 5,
        _ => 0,
    };
    let rows = all.height.saturating_sub(3 + below);
    model.fit(rows.into());
    head(model, look, Rect { height: 1, ..all }, buf);
    table(model, look, Rect { y: 1, height: rows + 1, ..all }, buf);
    let part = Rect { y: 2 + rows, height: below, ..all };
    match &model.mode {
        Mode::Log(name) => log(model, look, name, part, buf),
        _ if below > 0 => detail(model, look, part, buf),
        _ => {}
    }
    foot(model, look, Rect { y: all.bottom() - 1, height: 1, ..all }, buf);
    if model.mode == Mode::Help {
        help(look, all, buf);
    }
}

/// Writes a text into an area's line, as much as there is room for; where it ended.
fn put(buf: &mut Buffer, area: Rect, x: u16, text: &str, style: Style) -> u16 {
    let room = area.width.saturating_sub(x);
    if room == 0 || area.height == 0 {
        return x;
    }
    let (end, _) = buf.set_stringn(area.x + x, area.y, text, room.into(), style);
    end - area.x
}

/// The same, to the right end of a field.
fn right(buf: &mut Buffer, area: Rect, x: u16, wide: u16, text: &str, style: Style) {
    let len = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    let field = Rect { width: area.width.min(x + wide), ..area };
    put(buf, field, x + wide.saturating_sub(len), text, style);
}

fn line_of(area: Rect, n: u16) -> Rect {
    Rect { y: area.y + n, height: u16::from(n < area.height), ..area }
}

fn head(model: &Model, look: Look, area: Rect, buf: &mut Buffer) {
    let mut x = put(buf, area, 0, "atoll top", look.bold());
    if let Some(why) = &model.away {
        put(buf, area, x + 2, why, look.of(Color::Red).add_modifier(Modifier::BOLD));
        return;
    }
    if !model.begun {
        put(buf, area, x, "  asks the supervisor", Style::new());
        return;
    }
    let count = |state| model.guests.values().filter(|g| g.figures.state == state).count();
    let all = model.guests.len();
    let mut text =
        format!("  {all} guest{}, {} running", if all == 1 { "" } else { "s" }, count("running"));
    for state in ["paused", "backoff"] {
        let n = count(state);
        if n > 0 {
            text += &format!(", {n} {state}");
        }
    }
    x = put(buf, area, x, &text, Style::new());
    let host = model.host;
    let percent = model.percent().map_or("-".into(), |p| format!("{p:.0}"));
    let used = show_bytes(host.total.saturating_sub(host.available));
    let text = format!(
        "host: CPU {percent} % of {}  memory {used} of {}",
        host.processors,
        show_bytes(host.total)
    );
    let len = text.chars().count() as u16;
    let curve = 12;
    if x + 2 + len <= area.width {
        right(buf, area, area.width - len, len, &text, Style::new());
        if x + 4 + len + curve <= area.width {
            let at = area.x + area.width - len - curve - 1;
            let full = 1e6 * host.processors.max(1) as f64;
            let place = Rect { x: at, width: curve, ..area };
            curve_of(&model.busy, full, look.of(Color::Cyan), place, buf);
        }
    }
}

fn curve_of(rate: &super::figures::Rate, full: f64, style: Style, area: Rect, buf: &mut Buffer) {
    let max = rate.highest().max(full) * 1000.0;
    let data = rate.last(area.width.into());
    Sparkline::default().data(data).max((max as u64).max(1)).style(style).render(area, buf);
}

/// The heads, and a row for each guest that there is room for.
fn table(model: &Model, look: Look, area: Rect, buf: &mut Buffer) {
    let names = model.guests.keys().map(String::len).max().unwrap_or_default();
    let columns = columns(area.width, names);
    let sorted = match model.sort {
        Sort::Name => Column::Name,
        Sort::State => Column::State,
        Sort::Cpu => Column::Cpu,
        Sort::Memory => Column::Memory,
        Sort::Dispatches => Column::Dispatches,
        Sort::Uptime => Column::Uptime,
    };
    let heads = line_of(area, 0);
    for &(column, x, wide) in &columns {
        let (text, to_right) = column.head();
        let style = look.bold();
        let style = if column == sorted { style.add_modifier(Modifier::UNDERLINED) } else { style };
        if to_right {
            right(buf, heads, x, wide, text, style);
        } else {
            put(buf, heads, x, text, style);
        }
    }
    if model.begun && model.guests.is_empty() {
        let text = "no guests yet; start one with: atoll run -d IMAGE";
        put(buf, line_of(area, 1), 0, text, look.dim());
    }
    for (n, guest) in (1..).zip(model.rows()) {
        let line = line_of(area, n);
        row(model, look, guest, &columns, line, buf);
        if Some(&guest.figures.name) == model.chosen.as_ref() {
            buf.set_style(line, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

fn row(
    model: &Model,
    look: Look,
    guest: &Guest,
    columns: &[(Column, u16, u16)],
    line: Rect,
    buf: &mut Buffer,
) {
    let f = &guest.figures;
    for &(column, x, wide) in columns {
        let field = Rect { width: line.width.min(x + wide), ..line };
        let place = Rect { x: line.x + x, width: wide, ..line };
        let style = Style::new();
        match column {
            Column::Name => drop(put(buf, field, x, &f.name, style)),
            Column::State => drop(put(buf, field, x, &f.state, look.state(&f.state))),
            Column::On => drop(put(buf, field, x, &f.backend, style)),
            Column::Cpu => {
                if let Some(percent) = guest.percent() {
                    right(buf, field, x, wide, &format!("{percent:.1}"), style);
                } else if f.cpu.is_none() {
                    // It has no figures: why that is takes their place.
                    let rest = Rect { width: line.width, ..line };
                    put(buf, rest, x + 1, &f.why, look.dim());
                    return;
                }
            }
            Column::CpuCurve => curve_of(&guest.cpu, FULL, look.of(Color::Green), place, buf),
            Column::Memory => {
                let text = f.memory.map(show_bytes).unwrap_or_default();
                right(buf, field, x, wide, &text, style);
            }
            Column::Dispatches => {
                let now = guest.dispatches.fresh(model.at);
                right(buf, field, x, wide, &now.map(count).unwrap_or_default(), style);
            }
            Column::DispatchCurve => {
                curve_of(&guest.dispatches, 1.0, look.of(Color::Blue), place, buf);
            }
            Column::Uptime => {
                let text = guest.uptime(model.wall).map(span).unwrap_or_default();
                right(buf, field, x, wide, &text, style);
            }
        }
    }
}

/// A number of at most six characters.
fn count(n: f64) -> String {
    match n {
        n if n < 10.0 && n.fract() >= 0.05 => format!("{n:.1}"),
        n if n < 99_999.5 => format!("{n:.0}"),
        n if n < 9_999_500.0 => format!("{:.0}k", n / 1e3),
        n => format!("{:.0}M", n / 1e6),
    }
}

/// A span of time of so many milliseconds, of at most seven characters for three centuries.
fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        86_400..8_640_000 => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
        _ => format!("{}d", s / 86_400),
    }
}

/// The chosen guest, with curves.
fn detail(model: &Model, look: Look, area: Rect, buf: &mut Buffer) {
    let Some(guest) = model.current() else { return };
    let f = &guest.figures;
    let mut text = format!("  run {}", f.run);
    if !f.program.is_empty() {
        text += &format!("  program {}", f.program);
    }
    if let Some(pid) = f.pid {
        text += &format!("  pid {pid}");
    }
    if f.restarts > 0 {
        text += &format!("  restarts {}", f.restarts);
    }
    let first = line_of(area, 0);
    let x = put(buf, first, 0, &f.name, look.bold());
    let x = put(buf, first, x, "  ", Style::new());
    let x = put(buf, first, x, &f.state, look.state(&f.state));
    put(buf, first, x, &text, Style::new());
    if f.cpu.is_none() {
        put(buf, line_of(area, 1), 0, &f.why, look.dim());
        return;
    }
    let half = (area.width - 2) / 2;
    let high = area.height.saturating_sub(2);
    let left = Rect { y: area.y + 1, height: high, width: half, ..area };
    let other = Rect { x: area.x + half + 2, ..left };
    let percent = guest.percent().map_or("-".into(), |p| format!("{p:.1}"));
    let most = guest.cpu.highest() / 10_000.0;
    let cpu = format!("CPU {percent} %, at most {most:.1} %");
    let now = guest.dispatches.fresh(model.at).map_or("-".into(), count);
    let most = count(guest.dispatches.highest());
    let work = format!("dispatches {now} a second, at most {most}");
    let last = line_of(area, area.height - 1);
    for (rate, full, colour, place, label) in [
        (&guest.cpu, FULL, Color::Green, left, cpu),
        (&guest.dispatches, 1.0, Color::Blue, other, work),
    ] {
        curve_of(rate, full, look.of(colour), place, buf);
        put(buf, Rect { width: place.width, x: place.x, ..last }, 0, &label, look.dim());
    }
}

/// What the chosen guest says.
fn log(model: &Model, look: Look, name: &str, area: Rect, buf: &mut Buffer) {
    let head = format!("log of {name}  (l closes it)");
    put(buf, line_of(area, 0), 0, &head, look.bold());
    let room = area.height.saturating_sub(1);
    let skip = model.log.len().saturating_sub(room.into());
    for (n, line) in (1..).zip(model.log.iter().skip(skip)) {
        put(buf, line_of(area, n), 0, line, Style::new());
    }
}

fn foot(model: &Model, look: Look, area: Rect, buf: &mut Buffer) {
    let strong = look.of(Color::Yellow).add_modifier(Modifier::BOLD);
    match (&model.mode, &model.note) {
        (Mode::Kill(name), _) => {
            put(buf, area, 0, &format!("Kill {name}? y: yes, any other key: no"), strong)
        }
        (_, Some(note)) => put(buf, area, 0, note, strong),
        _ => put(buf, area, 0, KEYS, look.dim()),
    };
}

fn help(look: Look, all: Rect, buf: &mut Buffer) {
    let keys = HELP.iter().map(|(key, _)| key.len()).max().unwrap_or_default();
    let wide = HELP.iter().map(|(_, text)| keys + 2 + text.len()).max().unwrap_or_default() + 4;
    let width = all.width.min(wide as u16);
    let height = all.height.min(HELP.len() as u16 + 4);
    let place = Rect {
        x: all.x + (all.width - width) / 2,
        y: all.y + (all.height - height) / 2,
        width,
        height,
    };
    Clear.render(place, buf);
    ratatui::widgets::Block::bordered().title(" atoll top: keys ").render(place, buf);
    let inner = Rect {
        x: place.x + 2,
        y: place.y + 1,
        width: width.saturating_sub(4),
        height: height.saturating_sub(2),
    };
    for (n, (key, text)) in (0..).zip(HELP) {
        put(buf, line_of(inner, n), 0, key, look.bold());
        put(buf, line_of(inner, n), keys as u16 + 2, text, Style::new());
    }
    let last = HELP.len() as u16 + 1;
    put(buf, line_of(inner, last), 0, "any key closes this", look.dim());
}
