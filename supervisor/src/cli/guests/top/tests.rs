//! Samples and keys in, pictures and actions out.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::keys::Action;
use super::model::{Mode, Model};
use super::sample::{Figures, Host, Sample};
use super::view::{Look, draw};

/// A guest that runs since second 100.
fn guest(name: &str, cpu: u64, memory: u64) -> Figures {
    Figures {
        name: name.into(),
        state: "running".into(),
        run: 1,
        backend: "process".into(),
        program: "hello".into(),
        since: Some(100_000),
        pid: Some(7),
        cpu: Some(cpu),
        memory: Some(memory),
        ..Figures::default()
    }
}

fn stopped(name: &str, why: &str) -> Figures {
    let (name, why, state) = (name.into(), why.into(), "stopped".into());
    Figures { name, why, state, run: 1, since: Some(5), ..Figures::default() }
}

/// What the supervisor says at a second.
fn sample(second: u64, guests: Vec<Figures>) -> Sample {
    let busy = second * 500_000;
    let host = Host { processors: 2, busy, idle: 0, total: 24 << 30, available: 21 << 30 };
    Sample { at: second * 1000, wall: 100_000 + second * 1000, host, guests }
}

fn press(model: &mut Model, keys: &str) -> Vec<Action> {
    keys.chars().filter_map(|c| model.key(key(KeyCode::Char(c)))).collect()
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn picture(model: &mut Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(model, Look { colours: true }, frame)).unwrap();
    let cells = terminal.backend().buffer().content();
    let line = |row: &[ratatui::buffer::Cell]| -> String {
        let text: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned()
    };
    cells.chunks(width.into()).map(line).collect()
}

fn names(model: &Model) -> Vec<&str> {
    model.order().iter().map(|g| &*g.figures.name).collect()
}

/// Three guests, of which `b` works most, `a` has most memory, and `c` has ended.
fn three() -> Model {
    let mut model = Model::new();
    for second in 0..3 {
        let a = guest("a", second * 10_000, 9 << 20);
        let b = guest("b", second * 250_000, 4 << 20);
        model.sample(sample(second, vec![stopped("c", "it ended with status 3"), a, b]));
        model.dispatched(second * 1000, "a", second * 70);
        model.dispatched(second * 1000, "b", second * 12_345);
    }
    model
}

#[test]
fn the_picture_is_that_of_the_samples() {
    let mut model = three();
    let lines = picture(&mut model, 100, 20);
    let expected = [
        "atoll top  3 guests, 2 running            ",
        "NAME        STATE     ON          CPU %",
        "b           running   process      25.0 ",
        "a           running   process       1.0 ",
        "c           stopped               it ended with status 3",
    ];
    for (line, begin) in lines.iter().zip(expected) {
        assert!(line.starts_with(begin), "{line:?}, not {begin:?}");
    }
    assert!(lines[0].ends_with(" host: CPU 25 % of 2  memory 3.0 GiB of 24 GiB"), "{}", lines[0]);
    assert!(lines[2].contains("██") && lines[2].contains(" 12345 "), "{}", lines[2]);
    assert!(lines[3].contains("9.0 MiB") && lines[3].ends_with(" 2s"), "{}", lines[3]);
    assert_eq!(lines[14], "b  running  run 1  program hello  pid 7");
    let work = "dispatches 12345 a second, at most 12345";
    assert!(lines[18].starts_with("CPU 25.0 %, at most 25.0 %") && lines[18].ends_with(work));
    assert!(lines[19].starts_with("q quit  ? help"));
}

#[test]
fn a_terminal_of_any_size_is_drawn_on() {
    let mut model = three();
    model.said("a", b"not looked at\n");
    for keys in ["", "?", "xk", "nl", "?"] {
        press(&mut model, keys);
        for width in (1..130).step_by(4) {
            for height in [1, 3, 4, 5, 9, 15, 16, 40] {
                picture(&mut model, width, height);
            }
        }
    }
    assert_eq!(picture(&mut model, 17, 5)[0], "too small");
    let mut model = three();
    let narrow = picture(&mut model, 20, 6);
    assert!(narrow[1].starts_with("NAME") && narrow[2].ends_with("25.0"), "{narrow:?}");
}

#[test]
fn without_colours_there_is_none() {
    let mut model = three();
    press(&mut model, "k");
    for (colours, some) in [(false, false), (true, true)] {
        let mut terminal = Terminal::new(TestBackend::new(100, 20)).unwrap();
        terminal.draw(|frame| draw(&mut model, Look { colours }, frame)).unwrap();
        let cells = terminal.backend().buffer().content();
        let coloured = cells.iter().any(|c| c.fg != Color::Reset || c.bg != Color::Reset);
        assert_eq!(coloured, some);
    }
}

#[test]
fn guests_are_sorted_as_the_keys_say() {
    let mut model = three();
    for (keys, order) in [
        ("", ["b", "a", "c"]),
        ("m", ["a", "b", "c"]),
        ("d", ["b", "a", "c"]),
        ("n", ["a", "b", "c"]),
        // Once more turns it round, and so does this.
        ("n", ["c", "b", "a"]),
        ("r", ["a", "b", "c"]),
        ("s", ["a", "b", "c"]),
        ("s", ["c", "a", "b"]),
        ("u", ["a", "b", "c"]),
        ("c", ["b", "a", "c"]),
    ] {
        assert_eq!(press(&mut model, keys), []);
        assert_eq!(names(&model), order, "{keys}");
    }
}

#[test]
fn the_chosen_guest_stays_chosen_and_in_sight() {
    let mut model = Model::new();
    let many = |n: u64| (0..n).map(|i| guest(&format!("g{i:02}"), 0, 0)).collect::<Vec<_>>();
    model.sample(sample(0, many(50)));
    press(&mut model, "n");
    picture(&mut model, 80, 10);
    assert_eq!((model.chosen.as_deref(), model.height), (Some("g00"), 7));
    for (code, chosen) in [
        (KeyCode::Up, "g00"),
        (KeyCode::Down, "g01"),
        (KeyCode::PageDown, "g07"),
        (KeyCode::End, "g49"),
        (KeyCode::Down, "g49"),
        (KeyCode::PageUp, "g43"),
        (KeyCode::Home, "g00"),
    ] {
        assert_eq!(model.key(key(code)), None);
        let lines = picture(&mut model, 80, 10);
        assert_eq!(model.chosen.as_deref(), Some(chosen));
        assert!(lines[2..9].iter().any(|l| l.starts_with(chosen)), "{chosen}: {lines:?}");
    }
    // In the other order it is the same guest, at the other end.
    press(&mut model, "r");
    assert!(picture(&mut model, 80, 10)[8].starts_with("g00"));
    assert_eq!(model.seen(), ["g00", "g01", "g02", "g03", "g04", "g05", "g06"]);
    // The one that takes the place of a guest that is gone.
    model.sample(sample(1, many(50).split_off(1)));
    picture(&mut model, 80, 10);
    assert_eq!(model.chosen.as_deref(), Some("g01"));
    model.sample(sample(2, vec![]));
    let lines = picture(&mut model, 80, 10);
    assert_eq!(model.chosen, None);
    assert!(lines[0].starts_with("atoll top  0 guests, 0 running  "), "{}", lines[0]);
    assert!(lines[2].starts_with("no guests yet; start one with"));
    assert_eq!(press(&mut model, "pkl"), []);
}

#[test]
fn a_guest_is_paused_and_killed_when_it_is_meant() {
    let tell = |line| [Action::Tell("b".into(), line)];
    let mut model = three();
    picture(&mut model, 80, 24);
    assert_eq!(press(&mut model, "p"), tell("pause"));
    let mut still = guest("b", 500_000, 0);
    still.state = "paused".into();
    model.sample(sample(3, vec![guest("a", 0, 0), still, stopped("c", "")]));
    assert_eq!(press(&mut model, "p"), tell("resume"));
    assert_eq!(press(&mut model, "k"), []);
    assert!(picture(&mut model, 80, 24)[23].starts_with("Kill b? y: yes"));
    assert_eq!(press(&mut model, "x"), []);
    assert_eq!(picture(&mut model, 80, 24)[23], "b is not killed");
    assert_eq!(press(&mut model, "ky"), tell("kill"));
    // Asked about a guest that is gone then, nothing is killed.
    press(&mut model, "k");
    model.sample(sample(4, vec![guest("a", 0, 0), stopped("c", "")]));
    assert_eq!(press(&mut model, "y"), []);
    // What does not run is neither paused nor killed.
    model.chosen = Some("c".into());
    assert_eq!(press(&mut model, "k"), []);
    assert_eq!(model.note.as_deref(), Some("c does not run"));
    assert_eq!(press(&mut model, "p"), []);
    assert!(model.note.is_some_and(|n| n.starts_with("c is stopped")));
}

#[test]
fn a_log_is_that_of_the_chosen_guest_and_plain_text() {
    let mut model = three();
    picture(&mut model, 80, 24);
    assert_eq!(press(&mut model, "l"), [Action::Follow("b".into())]);
    model.said("b", b"one\nt\x1b[31mwo\nunfin");
    model.said("a", b"of another\n");
    model.said("b", b"ished\n");
    let lines = picture(&mut model, 80, 24);
    let at = lines.iter().position(|l| l.starts_with("log of b")).unwrap();
    assert_eq!((&*lines[at + 1], &*lines[at + 3]), ("one", "unfinished"));
    assert!(!lines[at + 2].contains('\x1b') && lines[at + 2].contains("[31mwo"), "{lines:?}");
    // Another guest is chosen: it is another log.
    assert_eq!(model.key(key(KeyCode::Down)), Some(Action::Follow("a".into())));
    assert!(model.log.is_empty());
    (0..1000).for_each(|n| model.said("a", format!("{n}\n").as_bytes()));
    model.said("a", &[b'x'; 5000]);
    assert!(model.log.len() <= 200 && model.log.iter().all(|l| l.len() <= 1000));
    assert_eq!(press(&mut model, "l"), [Action::Ignore]);
    assert_eq!(model.mode, Mode::Table);
}

#[test]
fn it_ends_when_it_is_asked_to() {
    for keys in ["q", "?q"] {
        assert_eq!(press(&mut three(), keys), [Action::Quit]);
    }
    let mut model = three();
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    press(&mut model, "?");
    assert_eq!(model.key(control_c), Some(Action::Quit));
    assert_eq!(model.key(key(KeyCode::Esc)), None);
    assert_eq!(model.key(key(KeyCode::Esc)), Some(Action::Quit));
}

#[test]
fn a_supervisor_that_is_away_is_said_to_be() {
    let mut model = Model::new();
    assert!(picture(&mut model, 80, 10)[0].contains("asks the supervisor"));
    model = three();
    model.lost("no supervisor; start one with: atoll serve".into());
    let lines = picture(&mut model, 80, 24);
    assert_eq!(lines[0], "atoll top  no supervisor; start one with: atoll serve");
    assert!(lines[2].starts_with("b "), "what was known stays: {lines:?}");
    // The next one is back after a while: figures begin anew.
    model.sample(sample(60, vec![guest("b", 5, 0)]));
    assert!(picture(&mut model, 80, 24)[0].starts_with("atoll top  1 guest, 1 running"));
}

#[test]
fn another_run_of_a_guest_has_figures_of_its_own() {
    let mut model = three();
    let mut again = guest("b", 4_000_000, 0);
    again.run = 2;
    model.sample(sample(3, vec![again]));
    let b = &model.guests["b"];
    assert_eq!((b.percent(), b.dispatches.now()), (None, None));
}
