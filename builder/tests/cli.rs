//! The verbs as a user runs them: what is printed where, and the exit codes.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use atoll_config::image::Image;
use tempfile::TempDir;

fn xtask(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).env("NO_COLOR", "1").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder with a guest and a kernel.
struct Place(TempDir);

impl Place {
    fn new(guest: &str) -> Place {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("guest.toml"), guest).unwrap();
        std::fs::write(dir.path().join("kernel.elf"), common::kernel()).unwrap();
        Place(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn build(&self, more: &[&str]) -> Output {
        let (guest, kernel, out) =
            (self.path("guest.toml"), self.path("kernel.elf"), self.path("out.img"));
        let all = ["build", shown(&guest), "--kernel", shown(&kernel), "-o", shown(&out)];
        xtask(&[&all, more].concat())
    }

    /// The names of the files that are here.
    fn files(&self) -> Vec<String> {
        let list = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            list.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn build_ends_with_a_line_that_says_where_the_image_is() {
    let place = Place::new(common::GUEST);
    let out = place.build(&["--json"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let stdout = text(&out.stdout);
    let line: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let image = Image::open(Path::new(line["image"].as_str().unwrap())).unwrap();
    assert_eq!(line["payload_hash"], image.sealed().hash.to_string());
    assert_eq!(line["image_hash"], image.hash().to_string());
    assert_eq!(line["bytes"], image.bytes().len());
    assert!(line["ms"]["total"].as_f64().is_some());
    assert!(text(&out.stderr).contains("Built"));
    assert_eq!(text(&place.build(&["-q"]).stderr), "");
}

#[test]
fn a_mistake_is_shown_and_nothing_is_written() {
    let place = Place::new(&common::GUEST.replace("greeter\"\n[[", "greter\"\n[["));
    let out = place.build(&[]);
    assert_eq!(out.status.code(), Some(1));
    let shown = text(&out.stderr);
    for words in
        ["unknown kind `greter`", "guest.toml:11:8", "did you mean `greeter`?", "1 problem"]
    {
        assert!(shown.contains(words), "no {words:?} in:\n{shown}");
    }
    assert_eq!(text(&out.stdout), "");
    assert_eq!(place.files(), ["guest.toml", "kernel.elf"]);
}

#[test]
fn an_image_that_cannot_be_made_leaves_the_old_one() {
    let place = Place::new(common::GUEST);
    assert!(place.build(&[]).status.success());
    let old = std::fs::read(place.path("out.img")).unwrap();
    let big = format!("[[file]]\npath = \"big\"\ntext = \"{}\"\n", "x".repeat(900 << 10));
    let text_of = common::GUEST.replace("4MiB", "2MiB") + &big;
    std::fs::write(place.path("guest.toml"), text_of).unwrap();
    let out = place.build(&[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("too little memory"), "{}", text(&out.stderr));
    assert_eq!(std::fs::read(place.path("out.img")).unwrap(), old);
    std::fs::write(place.path("kernel.elf"), common::kernel_of(99)).unwrap();
    assert!(text(&place.build(&[]).stderr).contains("payload format"));
    std::fs::write(place.path("kernel.elf"), "junk").unwrap();
    assert!(text(&place.build(&[]).stderr).contains("kernel cannot be used"));
    assert_eq!(place.files(), ["guest.toml", "kernel.elf", "out.img"]);
}

#[test]
fn two_builders_at_once_make_one_whole_image() {
    let place = Place::new(common::GUEST);
    std::thread::scope(|s| {
        let all: Vec<_> = (0..4).map(|_| s.spawn(|| place.build(&["-q"]))).collect();
        assert!(all.into_iter().all(|t| t.join().unwrap().status.success()));
    });
    assert!(Image::open(&place.path("out.img")).is_ok());
    assert_eq!(place.files(), ["guest.toml", "kernel.elf", "out.img"]);
}

#[test]
fn check_tells_programs_too() {
    let place = Place::new(&common::GUEST.replace("\"4MiB\"", "4"));
    let out = xtask(&["check", shown(place.0.path()), "--json"]);
    assert_eq!(out.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_str(&text(&out.stdout)).unwrap();
    assert_eq!((&line["line"], &line["column"]), (&5.into(), &10.into()));
    assert_eq!(line["help"], "write a size such as memory = \"4MiB\"");
    let place = Place::new(common::GUEST);
    assert_eq!(xtask(&["check", shown(&place.path("guest.toml"))]).status.code(), Some(0));
}

#[test]
fn what_new_makes_is_checked_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("weather");
    let out = xtask(&["new", "weather", shown(&folder)]);
    assert!(out.status.success());
    let checked = xtask(&["check", shown(&folder)]);
    assert!(checked.status.success());
    let said = text(&checked.stderr);
    assert!(said.contains("1 component, 1 file\n"), "{said}");
    assert!(folder.join("README.md").is_file());
    let again = xtask(&["new", "weather", shown(&folder)]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is there already"));
    let bad = xtask(&["new", "Weather"]);
    assert!(text(&bad.stderr).contains("only a to z"));
}

#[test]
fn what_does_not_exist_is_told_with_what_to_do() {
    for (args, want) in [
        (["build", "nosuch"], "`cargo xtask new nosuch` makes"),
        (["build", "/nosuch/guest.toml"], "a folder that holds a guest.toml"),
        (["build", "."], "a folder that holds a guest.toml"),
        (["inspect", "nosuch"], "no image `nosuch`"),
    ] {
        let out = xtask(&args);
        assert_eq!(out.status.code(), Some(1));
        let said = text(&out.stderr);
        assert!(said.contains(want), "{args:?}: {said}");
    }
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let out = xtask.args(["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), String::new()));
}

#[test]
fn inspect_verifies_and_shows_all() {
    let place = Place::new(common::GUEST);
    assert!(place.build(&[]).status.success());
    let image = place.path("out.img");
    let out = xtask(&["inspect", shown(&image)]);
    let all = text(&out.stdout);
    for words in
        ["verified", "payload   r--", "0x108000", "export/greeter/ kind greeter", "\"can\""]
    {
        assert!(all.contains(words), "no {words:?} in:\n{all}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&xtask(&["inspect", shown(&image), "--json"]).stdout).unwrap();
    assert_eq!(json["payload"]["components"][1]["params"]["period"], "250ms");
    let mut bytes = std::fs::read(&image).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&image, bytes).unwrap();
    let out = xtask(&["inspect", shown(&image)]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("does not match its hash"));
}

#[test]
fn usage_is_two_and_unknown_guests_say_which_there_are() {
    assert_eq!(xtask(&["bild"]).status.code(), Some(2));
    assert_eq!(xtask(&["build", "--nope"]).status.code(), Some(2));
    let out = xtask(&["build", "helo"]);
    assert_eq!(out.status.code(), Some(1));
    let shown = text(&out.stderr);
    assert!(shown.contains("hello") && shown.contains("cargo xtask new helo"), "{shown}");
    let help = text(&xtask(&["build", "--help"]).stdout);
    assert!(help.contains("Examples:") && help.contains("cargo xtask build hello"));
    assert!(text(&xtask(&["completions", "bash"]).stdout).contains("_xtask"));
}
