//! The specification and the crate say the same.

mod common;

use std::collections::BTreeMap;

use atoll_atom::{Errno, abi};

/// The imports as `src/abi.rs` declares them.
fn declared() -> BTreeMap<String, String> {
    let source = std::fs::read_to_string(common::folder().join("src/abi.rs")).unwrap();
    let block = source.split("\nimports! {").nth(1).unwrap();
    let ty = |arg: &str| match arg.trim() {
        "" => "",
        arg if arg.starts_with("in ") || arg.starts_with("out ") => "i32 i32",
        arg if arg.starts_with("word ") => "i32",
        arg if arg.ends_with("64") => "i64",
        arg if arg.ends_with("32") => "i32",
        arg => panic!("{arg}"),
    };
    let line = |line: &str| {
        let (name, rest) = line.trim().strip_prefix("fn ")?.split_once('(')?;
        let (args, result) = rest.split_once(')')?;
        let args: Vec<&str> = args.split(',').map(ty).collect();
        let result = result.trim_end_matches(';').trim().trim_start_matches("->").trim();
        Some((name.to_owned(), format!("{} -> {}", args.join(" "), ty(result)).trim().to_owned()))
    };
    block.lines().filter_map(line).collect()
}

#[test]
fn the_imports_are_the_specifications() {
    let page = common::imports();
    assert!(page.len() > 40, "{page:?}");
    assert_eq!(declared(), page);
}

#[test]
fn the_kinds_are_the_specifications() {
    use abi::kind::*;
    let page = common::page();
    for (name, kind) in [
        ("START", START),
        ("MESSAGE", MESSAGE),
        ("ASK", ASK),
        ("READ", READ),
        ("COMMAND", COMMAND),
        ("WATCHED", WATCHED),
        ("NAMES", NAMES),
        ("GET", GET),
        ("PUT", PUT),
        ("REMOVE", REMOVE),
    ] {
        assert!(page.contains(&format!("| {kind} | {name} |")), "{name}");
    }
}

#[test]
fn the_errors_are_the_specifications() {
    let page = common::page();
    let section = page.split("## 9. Errors").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut found = 0;
    for word in section.split([',', '.', '\n']).map(str::trim) {
        let Some((name, number)) = word.split_once(' ') else { continue };
        let Ok(number) = number.parse() else { continue };
        assert_eq!(format!("{:?}", Errno(number)), name);
        found += 1;
    }
    assert_eq!(found, 17);
}

#[test]
fn the_limits_are_the_specifications() {
    let page = common::page();
    for (text, limit) in [
        ("data of one write | {} bytes", abi::MAX_BODY),
        ("answer of READ, NAMES, GET | {} bytes", abi::MAX_ANSWER),
        ("line of `emit`, of a command | {} bytes", abi::MAX_LINE),
        ("line of `log` | {} bytes", abi::MAX_LOG),
        ("parameters of `spawn` | {} bytes", abi::MAX_PARAMS),
        ("files of a module | {} |", abi::MAX_FILES),
        ("A key has 1 to {} bytes", abi::MAX_KEY),
        ("A name has 1 to {} bytes", abi::MAX_ENTRY),
        ("at most {} bytes: ENAMETOOLONG", abi::MAX_PATH),
        ("cut to {} bytes", abi::MAX_TEXT),
        ("A **stat** is {} bytes", abi::STAT),
        ("lock `n` (0 to {})", abi::LOCKS as usize - 1),
        ("number of bytes, 1 to {}", abi::MAX_KEEP as usize),
    ] {
        let text = text.replace("{}", &limit.to_string());
        assert!(page.replace('\n', " ").contains(&text), "{text}");
    }
    assert!(page.contains("65,536 bytes, at first zero"));
    assert_eq!(abi::SCRATCH, 65_536);
    assert!(page.contains("version 1\n") && abi::VERSION == 1);
}
