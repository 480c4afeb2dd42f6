//! What is written right is taken; what is written wrong is told, all of it.

use super::*;
use crate::image::Platform;
use crate::payload::{Budget, OnFault, Sealed};

const LEAST: &str = "[guest]\nname = \"g\"\nmemory = \"4MiB\"\n";

/// Files that are there without a disk.
struct Fake;

impl Files for Fake {
    fn atom(&mut self, path: &str) -> Result<AtomSource, (String, String)> {
        match path {
            "counter" => Ok(AtomSource { language: Language::Rust, path: path.into() }),
            _ => Err((format!("cannot read `{path}`"), format!("create {path}"))),
        }
    }

    fn read(&mut self, path: &str, most: u64) -> Result<Vec<u8>, (String, String)> {
        match path {
            "big" if most < 1 << 20 => Err(("too big".into(), "less".into())),
            "files/motd" | "big" => Ok(b"from a file".to_vec()),
            _ => Err((format!("cannot read `{path}`"), format!("create {path}"))),
        }
    }
}

fn good(text: &str) -> Checked {
    parse("guest.toml", text, &mut Fake).unwrap_or_else(|r| panic!("{}", r.render(false, 100)))
}

/// The least guest, and more text behind it.
fn least(more: &str) -> String {
    format!("{LEAST}{more}")
}

/// Each problem as `line:column message | help`.
fn bad(text: &str) -> Vec<String> {
    let report = parse("guest.toml", text, &mut Fake).expect_err("this must not be taken");
    let show = |p: &Place| {
        format!("{}:{} {} | {}", p.line, p.column, p.message, p.help.as_deref().unwrap_or(""))
    };
    report.places().iter().map(show).collect()
}

/// One problem, at that place, whose message and help hold these words.
fn one(text: &str, at: &str, words: &[&str]) {
    let all = bad(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert!(all[0].starts_with(&format!("{at} ")), "not at {at}: {}", all[0]);
    for word in words {
        assert!(all[0].contains(word), "no {word:?} in: {}", all[0]);
    }
}

#[test]
fn the_least_guest_has_defaults_for_all_else() {
    let g = good(LEAST);
    assert_eq!((g.name.as_str(), g.version.as_str(), g.memory), ("g", "0", 4 << 20));
    assert_eq!(g.platforms, Platform::ALL);
    assert_eq!(g.on_fault, OnFault::Restart);
    assert_eq!(g.budget, Budget { memory: 512 << 10, messages: 256, sessions: 16, fids: 256 });
    assert_eq!(g.writable, [""]);
    // The least machine has sane defaults too.
    assert_eq!(good(&LEAST.replace("4MiB", "2MiB")).budget.memory, 256 << 10);
}

#[test]
fn everything_can_be_said() {
    let g = good(
        r#"
[guest]
name = "all-1"
version = "1.2 beta"
memory = "1GiB"
platforms = ["process", "qemu"]
on_fault = "stop"
test = true
[sponsor]
memory = "1MiB"
messages = 1_000
sessions = 4
fids = 64
[[file]]
path = "z/motd"
source = "files/motd"
[[file]]
path = "a"
text = "ä\n"
[[component]]
name = "s"
kind = "sensor"
params = { period = "250ms", base = -5, unit = "kelvin" }
[[component]]
name = "boom"
kind = "crash"
[[import]]
name = "data"
at = "/data/in"
[[import]]
name = "more"
at = "/data/out"
[export]
write = ["s/ctl", "boom"]
"#,
    );
    assert_eq!(g.platforms, [Platform::Qemu, Platform::Process]);
    assert_eq!((g.on_fault, g.test, g.budget.messages), (OnFault::Stop, true, 1000));
    let files: Vec<_> = g.files.iter().map(|f| (f.path.as_str(), f.data.len())).collect();
    assert_eq!(files, [("a", 3), ("z/motd", 11)]);
    let s = &g.components[0];
    let text = OwnedValue::Text("kelvin".into());
    let swing = OwnedValue::Int(2_000);
    assert_eq!(s.params, [OwnedValue::Span(250_000_000), OwnedValue::Int(-5), swing, text]);
    assert_eq!(g.imports[1].at, "/data/out");
    assert_eq!(g.writable, ["boom", "s/ctl"]);
    let kinds: Vec<_> = g.kinds().iter().map(|k| k.name).collect();
    assert_eq!(kinds, ["crash", "sensor"]);
    let sealed = g.payload(&NO_MODULES).seal();
    let read = Sealed::parse(&sealed).unwrap();
    assert!(read.intact());
    assert_eq!(read.open().unwrap(), g.payload(&NO_MODULES));
    assert_eq!(crate::rules::payload(&g.payload(&NO_MODULES)), Ok(()));
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let all = bad(r#"
[guest]
name = "No Good"
memory = 4096
platfroms = ["qemu"]
[sponsor]
messages = "many"
sessions = 0
[[component]]
name = "g"
kind = "greter"
[expotr]
"#);
    assert_eq!(all.len(), 7, "{all:#?}");
    for (i, words) in [
        "3:8 `No Good` is no name",
        "4:10 memory: `4096` has no unit | write memory = \"4KiB\"",
        "5:1 unknown key `platfroms` in [guest] | did you mean `platforms`?",
        "7:12 `messages` must be a whole number",
        "8:12 [sponsor] sessions of 0",
        "11:8 unknown kind `greter` | did you mean `greeter`?",
        "12:2 unknown key `expotr` in guest.toml | did you mean `export`?",
    ]
    .iter()
    .enumerate()
    {
        assert!(all[i].starts_with(words), "{:#?}", all[i]);
    }
}

#[test]
fn a_diagnostic_shows_file_line_caret_and_help() {
    let text = LEAST.replace("4MiB", "4MB");
    let report = parse("images/g/guest.toml", &text, &mut NoFiles).unwrap_err();
    let drawn = report.render(false, 100);
    for words in [
        "× memory: `MB` is not a unit of a size",
        "╭─[images/g/guest.toml:3:10]",
        " 3 │ memory = \"4MB\"",
        "·          ──┬──",
        "help: sizes are binary: write \"4MiB\"",
    ] {
        assert!(drawn.contains(words), "no {words:?} in:\n{drawn}");
    }
    assert!(!drawn.contains('\x1b'));
    assert!(report.render(true, 100).contains('\x1b'));
    assert_eq!(report.to_string(), "images/g/guest.toml: 1 problem");
}

#[test]
fn what_is_no_toml_is_told_where() {
    one("[guest\nname = 1", "1:7", &["not TOML"]);
    one(&least("name = \"again\"\n"), "4:1", &["not TOML", "duplicate"]);
    let all = bad("");
    assert!(all.iter().any(|p| p.contains("[guest] has no `name`")), "{all:#?}");
    assert!(all.iter().any(|p| p.contains("[guest] has no `memory`")), "{all:#?}");
}

#[test]
fn types_are_checked() {
    let all = bad(&LEAST.replace("\"g\"", "5"));
    assert!(all.iter().any(|p| p.starts_with("2:8 `name` in [guest] must be a text")), "{all:#?}");
    let all = bad("guest = 5\nfile = {}\nimport = [5]\n");
    assert!(all.iter().any(|p| p.starts_with("1:9 `guest` in guest.toml must be a table")));
    assert!(all.iter().any(|p| p.starts_with("2:8 ") && p.contains("each headed [[file]]")));
    assert!(all.iter().any(|p| p.starts_with("3:11 ") && p.contains("each headed [[import]]")));
}

#[test]
fn memory_has_limits() {
    let memory = |text: &str| LEAST.replace("\"4MiB\"", text);
    one(&memory("\"1MiB\""), "3:10", &["1MiB is too little memory", "from 2MiB to 3GiB"]);
    one(&memory("\"4GiB\""), "3:10", &["more memory than", "from 2MiB to 3GiB"]);
    one(&memory("\"2049KiB\""), "3:10", &["whole number of 4 KiB pages"]);
    one(&memory("true"), "3:10", &["a boolean is not a size"]);
    one(&memory("4.5"), "3:10", &["a number with a fraction is not a size"]);
    one(&memory("-1"), "3:10", &["`-1` has no unit", "\"4MiB\""]);
}

#[test]
fn platforms_and_faults_are_known_ones() {
    let guest = |more: &str| least(more);
    one(&guest("platforms = [\"qmeu\"]"), "4:14", &["unknown platform", "did you mean `qemu`?"]);
    one(&guest("platforms = []"), "4:13", &["able to run somewhere"]);
    one(&guest("platforms = [\"qemu\", \"qemu\"]"), "4:22", &["named twice"]);
    one(&guest("on_fault = \"reboot\""), "4:12", &["unknown `on_fault`", "`restart`, `stop`"]);
    one(
        &guest("on_fault = \"restore\""),
        "4:12",
        &["only a guest with atoms", "use `restart` or `stop`"],
    );
    one(&guest("version = \"a\\nb\""), "4:11", &["one line of text"]);
}

#[test]
fn a_sponsor_has_no_more_than_its_guest() {
    let sponsor = |more: &str| least(&format!("[sponsor]\n{more}\n"));
    one(&sponsor("memory = \"3MiB\""), "5:10", &["[sponsor] memory of 3MiB", "64KiB to 2MiB"]);
    one(&sponsor("fids = 1"), "5:8", &["fids of 1", "8 to 65536"]);
    one(&sponsor("messages = -5"), "5:12", &["messages of 0"]);
    one(&sponsor("sessions = 1024"), "5:12", &["1024 sessions of 256 fids", "2MiB", "lower one"]);
}

#[test]
fn files_have_one_source_and_a_place_of_their_own() {
    let file = |more: &str| least(&format!("[[file]]\n{more}\n"));
    one(&file("path = \"a\""), "4:1", &["no content", "text = "]);
    one(&file("path = \"a\"\ntext = \"x\"\nsource = \"files/motd\""), "7:10", &["not both"]);
    one(&file("path = \"a\"\nsource = \"none\""), "6:10", &["cannot read `none`", "create none"]);
    for (path, why) in [
        ("/a", "must not begin with /"),
        ("a//b", "a / too many"),
        ("a/", "a / too many"),
        ("../a", "`.` and `..`"),
        ("a/./b", "`.` and `..`"),
        ("", "it is empty"),
    ] {
        one(&file(&format!("path = \"{path}\"\ntext = \"\"")), "5:8", &[why]);
    }
    let two = |a: &str, b: &str| {
        file(&format!("path = \"{a}\"\ntext = \"\"\n[[file]]\npath = \"{b}\"\ntext = \"\""))
    };
    one(&two("a", "a"), "8:8", &["`a` is taken"]);
    one(&two("a", "a/b"), "8:8", &["`a/b` collides with `a`"]);
    one(&two("a/b", "a"), "8:8", &["`a` collides with `a/b`"]);
    good(&two("a/b", "a/c"));
    good(&two("a", "ab"));
    let with = "path = \"clock/x\"\ntext = \"\"\n[[component]]\nname = \"clock\"\nkind = \"clock\"";
    one(&file(with), "5:8", &["`clock/x` collides with `clock`"]);
}

#[test]
fn components_are_of_known_kinds_with_known_parameters() {
    let component = |more: &str| least(&format!("[[component]]\nname = \"c\"\n{more}\n"));
    let sensor =
        |params: &str| component(&format!("kind = \"sensor\"\n[component.params]\n{params}"));
    one(&component(""), "4:1", &["[[component]] has no `kind`", "`clock`"]);
    one(&component("kind = \"crash\""), "6:8", &["for tests", "test = true"]);
    one(&component("kind = \"clokc\""), "6:8", &["unknown kind", "did you mean `clock`?"]);
    one(&component("kind = \"clock\"\nparms = {}"), "7:1", &["did you mean `params`?"]);
    one(&sensor("perod = \"1s\""), "8:1", &["no parameter `perod`", "did you mean `period`?"]);
    one(&sensor("period = 5"), "8:10", &["`5` has no unit", "\"5ms\""]);
    one(&sensor("period = \"5sec\""), "8:10", &["`sec` is not a unit"]);
    one(&sensor("period = \"2h\""), "8:10", &["2h is out of its limits", "from \"1ms\" to \"1h\""]);
    one(&sensor("base = \"x\""), "8:8", &["a text is not possible", "whole number from"]);
    one(&sensor("base = 99999999"), "8:8", &["not between -1000000 and 1000000"]);
    one(&sensor("unit = \"longer than sixteen\""), "8:8", &["at most 16"]);
    one(&sensor("unit = \"a\\nb\""), "8:8", &["one line"]);
    one(&sensor("unit = 7"), "8:8", &["a number is not possible", "text in quotes"]);
    let digit = component("kind = \"clock\"").replace("\"c\"", "\"1c\"");
    one(&digit, "5:8", &["must begin with a letter"]);
    let twice = component("kind = \"clock\"\n[[component]]\nname = \"c\"\nkind = \"clock\"");
    one(&twice, "8:8", &["`c` is taken"]);
}

#[test]
fn imports_do_not_hide_each_other() {
    let import = |a: &str, b: &str| {
        least(&format!(
            "[[import]]\nname = \"a\"\nat = \"{a}\"\n[[import]]\nname = \"b\"\nat = \"{b}\"\n"
        ))
    };
    good(&import("/a", "/b/c"));
    one(&import("/a", "/a"), "9:6", &["`/a` is taken by another import"]);
    one(&import("/a", "/a/b"), "9:6", &["one lies inside the other"]);
    one(&import("/a", "b"), "9:6", &["`b` is no path for an import", "must be absolute"]);
    one(&import("/a", "/"), "9:6", &["over the root"]);
    one(&import("/a", "/b").replace("\"b\"", "\"a\""), "8:8", &["import `a` is there twice"]);
}

#[test]
fn only_components_are_written_to() {
    let export = |write: &str| {
        least(&format!(
            "[[file]]\npath = \"motd\"\ntext = \"\"\n[[component]]\nname = \"clock\"\nkind = \"clock\"\n[export]\nwrite = {write}\n"
        ))
    };
    assert!(good(&export("[]")).writable.is_empty());
    assert_eq!(good(&export("[\"\"]")).writable, [""]);
    one(&export("[\"motd\"]"), "11:10", &["belongs to no component", "`clock`"]);
    one(&export("[\"clok\"]"), "11:10", &["did you mean `clock`?"]);
    one(&export("[\"/clock\"]"), "11:10", &["must not begin with /"]);
    one(&export("\"clock\""), "11:9", &["an array of texts"]);
    one(&export("[5]"), "11:10", &["an array of texts"]);
}

#[test]
fn an_atom_has_a_source_limits_and_what_it_is_told() {
    let g = good(&least(
        "[[atom]]\nname = \"c\"\npath = \"counter\"\n[[atom]]\nname = \"d\"\npath = \"counter\"\nmemory = \"192KiB\"\nstack = \"8KiB\"\ndeadline = \"5ms\"\n[atom.params]\nstep = 3\nloud = true\nevery = \"250ms\"\nfor = \"5 minutes\"\n",
    ));
    assert_eq!(g.atoms[0].limits.memory, 1 << 20);
    assert_eq!((g.atoms[0].limits.stack, g.atoms[0].limits.deadline_ns), (64 << 10, 10_000_000));
    assert_eq!((g.atoms[0].params.as_str(), g.atoms[0].source.language), ("", Language::Rust));
    let d = &g.atoms[1];
    assert_eq!(
        (d.limits.memory, d.limits.stack, d.limits.deadline_ns),
        (192 << 10, 8 << 10, 5_000_000)
    );
    assert_eq!(d.params, "step 3\nloud true\nevery 250000000\nfor 5 minutes\n");
    assert_eq!(good(LEAST).atoms, []);
}

#[test]
fn what_is_wrong_with_an_atom_is_told() {
    let atom = |more: &str| least(&format!("[[atom]]\nname = \"c\"\npath = \"counter\"\n{more}\n"));
    let params = |more: &str| atom(&format!("[atom.params]\n{more}"));
    one(&least("[[atom]]\nname = \"c\""), "4:1", &["[[atom]] has no `path`"]);
    one(&least("[[atom]]\npath = \"counter\""), "4:1", &["[[atom]] has no `name`"]);
    one(&atom("").replace("\"c\"", "\"C\""), "5:8", &["only a to z"]);
    one(&atom("").replace("counter", "conter"), "6:8", &["cannot read `conter`", "create conter"]);
    one(&atom("").replace("counter", ""), "6:8", &["it is empty"]);
    one(&atom("pth = \"x\""), "7:1", &["unknown key `pth` in [[atom]]", "did you mean `path`?"]);
    one(&atom("memory = \"1MB\""), "7:10", &["`MB` is not a unit", "\"1MiB\""]);
    one(&atom("memory = \"32KiB\""), "7:10", &["memory of 32KiB is not possible", "64KiB to 4MiB"]);
    one(&atom("memory = \"8MiB\""), "7:10", &["memory of 8MiB is not possible", "64KiB to 4MiB"]);
    one(&atom("memory = \"100KiB\""), "7:10", &["no multiple of 64KiB", "\"128KiB\""]);
    one(&atom("stack = \"1MiB\""), "7:9", &["1MiB is not possible", "4KiB to 256KiB"]);
    one(&atom("deadline = 10"), "7:12", &["`10` has no unit", "\"10ms\""]);
    one(&atom("deadline = \"2m\""), "7:12", &["2m is not possible", "100us to 1m"]);
    one(&atom("deadline = true"), "7:12", &["not a duration"]);
    one(&params("\"a b\" = 1"), "8:1", &["`a b` is no parameter's name"]);
    one(&params("a = [1]"), "8:5", &["an array is not possible", "text of one line"]);
    one(&params("a = \"x\\ny\""), "8:5", &["several lines is not possible"]);
    one(&params("a = 1.5"), "8:5", &["a number with a fraction"]);
    let two = atom("[[component]]\nname = \"c\"\nkind = \"clock\"");
    one(&two, "5:8", &["`c` is taken"]);
    let wrong = least("[[component]]\nname = \"c\"\nkind = \"atom\"\n");
    one(&wrong, "6:8", &["an atom is no [[component]]", "[[atom]] table"]);
}
