//! What keys do: keys in, actions out.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::{Mode, Model, Sort};

/// What is to be done by whoever has a terminal and a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// End.
    Quit,
    /// Write a line to a guest's ctl.
    Tell(String, &'static str),
    /// Follow this guest's log, and no other.
    Follow(String),
    /// Follow none.
    Ignore,
}

/// What the keys do, for people.
pub(super) const HELP: &[(&str, &str)] = &[
    ("up, down", "choose a guest (also PgUp, PgDn, Home, End)"),
    ("p", "pause it, or let it go on"),
    ("k", "kill it; asks first"),
    ("l", "show what it says, live"),
    ("c", "most CPU first; 100 % is one processor"),
    ("m", "most memory first"),
    ("d", "most dispatches first: of the guests in sight"),
    ("u", "longest running first"),
    ("n, s", "by name, by state"),
    ("r", "the other way round"),
    ("q", "quit"),
];

impl Model {
    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Action::Quit);
        }
        self.note = None;
        match std::mem::take(&mut self.mode) {
            Mode::Kill(name) => {
                let yes = matches!(key.code, KeyCode::Char('y' | 'Y'));
                if !yes {
                    self.note = Some(format!("{name} is not killed"));
                }
                yes.then_some(Action::Tell(name, "kill"))
            }
            Mode::Help => match key.code {
                KeyCode::Char('q') => Some(Action::Quit),
                _ => None,
            },
            Mode::Log(name) => match key.code {
                KeyCode::Char('l' | 'q') | KeyCode::Esc => {
                    self.no_log();
                    Some(Action::Ignore)
                }
                _ => {
                    self.mode = Mode::Log(name);
                    self.table(key.code)
                }
            },
            Mode::Table => self.table(key.code),
        }
    }

    fn table(&mut self, code: KeyCode) -> Option<Action> {
        let page = self.height.saturating_sub(1).max(1);
        match code {
            KeyCode::Up => return self.go(self.place().saturating_sub(1)),
            KeyCode::Down => return self.go(self.place() + 1),
            KeyCode::PageUp => return self.go(self.place().saturating_sub(page)),
            KeyCode::PageDown => return self.go(self.place() + page),
            KeyCode::Home => return self.go(0),
            KeyCode::End => return self.go(usize::MAX),
            KeyCode::Char('q') | KeyCode::Esc => return Some(Action::Quit),
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('n') => self.sort_by(Sort::Name),
            KeyCode::Char('s') => self.sort_by(Sort::State),
            KeyCode::Char('c') => self.sort_by(Sort::Cpu),
            KeyCode::Char('m') => self.sort_by(Sort::Memory),
            KeyCode::Char('d') => self.sort_by(Sort::Dispatches),
            KeyCode::Char('u') => self.sort_by(Sort::Uptime),
            KeyCode::Char('r') => self.reverse = !self.reverse,
            KeyCode::Char('p') => return self.pause(),
            KeyCode::Char('k') => {
                if let Some(guest) = self.current() {
                    let (name, dead) = (guest.figures.name.clone(), guest.figures.cpu.is_none());
                    if dead {
                        self.note = Some(format!("{name} does not run"));
                    } else {
                        self.mode = Mode::Kill(name);
                    }
                }
            }
            KeyCode::Char('l') => {
                self.no_log();
                let name = self.chosen.clone()?;
                self.mode = Mode::Log(name.clone());
                return Some(Action::Follow(name));
            }
            _ => {}
        }
        None
    }

    /// Chooses the guest at a place; where a log is looked at, it is that guest's now.
    fn go(&mut self, place: usize) -> Option<Action> {
        self.choose(place);
        let name = self.chosen.clone()?;
        match &self.mode {
            Mode::Log(before) if *before != name => {
                self.no_log();
                self.mode = Mode::Log(name.clone());
                Some(Action::Follow(name))
            }
            _ => None,
        }
    }

    /// The same key once more turns the order round.
    fn sort_by(&mut self, sort: Sort) {
        self.reverse = self.sort == sort && !self.reverse;
        self.sort = sort;
    }

    fn pause(&mut self) -> Option<Action> {
        let figures = &self.current()?.figures;
        let name = figures.name.clone();
        match &*figures.state {
            "running" => Some(Action::Tell(name, "pause")),
            "paused" => Some(Action::Tell(name, "resume")),
            state => {
                self.note = Some(format!("{name} is {state}: only one that runs can be paused"));
                None
            }
        }
    }
}
