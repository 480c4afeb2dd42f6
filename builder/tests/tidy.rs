//! The rules of `tidy`, on this checkout and on files that break them.

use atoll_builder::repo::Repo;
use atoll_builder::tidy::{self, Source};

#[test]
fn this_checkout_keeps_every_rule() {
    let repo = Repo::find().unwrap();
    let findings = tidy::check(&repo).unwrap();
    let shown: Vec<String> =
        findings.iter().map(|f| format!("{}:{}: {}", f.file, f.line, f.what)).collect();
    assert!(shown.is_empty(), "run `cargo xtask tidy`:\n{}", shown.join("\n"));
}

fn broken(path: &str, text: &str) -> Vec<&'static str> {
    let source = Source { path: path.into(), text: text.into() };
    tidy::check_sources(&[source]).iter().map(|f| f.rule).collect()
}

#[test]
fn each_rule_finds_what_it_is_for() {
    assert_eq!(broken("9p/src/lib.rs", "fn main() {}"), ["forbid-unsafe"]);
    assert_eq!(broken("tender/src/main.rs", "fn main() {}"), [""; 0]);
    assert_eq!(broken("tender/src/a.rs", "let x = unsafe { *p };"), ["safety-comment"]);
    let sound = "// SAFETY: p is valid.\nlet x = unsafe { *p };";
    assert_eq!(broken("tender/src/a.rs", sound), [""; 0]);
    assert_eq!(broken("9p/src/a.rs", &"x\n".repeat(601)), ["short-files"]);
    let long = format!("//! Long because: a table.\n{}", "x\n".repeat(601));
    assert_eq!(broken("9p/src/a.rs", &long), [""; 0]);
    let left = concat!("to", "do!()");
    assert_eq!(broken("9p/src/a.rs", left), ["nothing-left-over"]);
    let path = concat!("see /ho", "me/me/notes");
    assert_eq!(broken("docs/a.md", path), ["no-machine-paths"]);
    assert_eq!(broken("x/Cargo.toml", "[dependencies]\nserde = \"1\"\n"), ["pinned"]);
    let pinned =
        "[dependencies]\nserde = \"=1.0.1\"\na = { path = \"../a\" }\nb.workspace = true\n";
    assert_eq!(broken("x/Cargo.toml", pinned), [""; 0]);
    assert_eq!(broken("docs/adr/0002-b.md", "# b"), ["adr-numbers"]);
    assert_eq!(broken("images/a/guest.toml", ""), ["guest-readme"]);
    assert_eq!(broken("README.md", "nothing"), ["readme-figures"]);
    let listed = "- `gone/` was here\n<!-- bench:begin -->\n<!-- bench:end -->\n";
    assert_eq!(broken("README.md", listed), ["readme-folders"]);
}
