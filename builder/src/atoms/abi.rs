//! What an atom may import and must export: `atom/ABI.md`, sections 2 and 6. A test
//! compares this table with that page.

use wasmparser::ValType;

/// The module that all imports come from.
pub const MODULE: &str = "atoll";
/// The prefix of exports that builder and runtime add for their own use.
pub const OWN: &str = "__atoll_";

/// A function's type: a letter for each value, `i` for i32 and `l` for i64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// Its parameters.
    pub params: &'static str,
    /// Its results.
    pub results: &'static str,
}

impl Signature {
    /// Whether a function has this type.
    pub fn fits(&self, params: &[ValType], results: &[ValType]) -> bool {
        let same = |letters: &str, types: &[ValType]| {
            letters.len() == types.len() && letters.bytes().zip(types).all(|(l, t)| ty(l) == *t)
        };
        same(self.params, params) && same(self.results, results)
    }

    /// As people write it: `(i32 i32) -> i32`.
    pub fn show(&self) -> String {
        let types = |letters: &str| letters.bytes().map(ty).collect::<Vec<_>>();
        show(&types(self.params), &types(self.results))
    }
}

fn ty(letter: u8) -> ValType {
    if letter == b'l' { ValType::I64 } else { ValType::I32 }
}

/// A function's type as people write it.
pub fn show(params: &[ValType], results: &[ValType]) -> String {
    let list =
        |types: &[ValType]| types.iter().map(ValType::to_string).collect::<Vec<_>>().join(" ");
    match results {
        [] => format!("({})", list(params)),
        _ => format!("({}) -> {}", list(params), list(results)),
    }
}

const fn f(name: &'static str, params: &'static str, results: &'static str) -> Signature {
    Signature { name, params, results }
}

/// What an atom must export.
pub const NEEDED: [Signature; 2] = [f("atoll_abi", "", "i"), f("invoke", "ili", "i")];

/// What it may export besides, and its memory.
pub const OPTIONAL: [Signature; 3] =
    [f("interrupt", "ili", "i"), f("future", "lii", "i"), f("_initialize", "", "")];

/// What an atom may import.
pub const IMPORTS: &[Signature] = &[
    f("recv", "iii", "i"),
    f("answer", "ii", "i"),
    f("now", "", "l"),
    f("wall", "", "l"),
    f("random", "", "l"),
    f("log", "ii", "i"),
    f("emit", "iii", "i"),
    f("exit", "i", ""),
    f("me", "", "i"),
    f("sender", "", "i"),
    f("find", "ii", "i"),
    f("register", "ii", "i"),
    f("send", "iii", "i"),
    f("call", "iii", "l"),
    f("reply", "liii", "i"),
    f("signal", "iil", "i"),
    f("mask", "l", "l"),
    f("unmask", "l", "l"),
    f("spawn", "iiii", "i"),
    f("kill", "i", "i"),
    f("sleep", "l", "l"),
    f("drop_future", "l", "i"),
    f("file_read", "iili", "l"),
    f("file_write", "iilii", "l"),
    f("file_list", "ii", "l"),
    f("file_stat", "ii", "l"),
    f("open", "iii", "l"),
    f("walk", "iiii", "l"),
    f("read", "ili", "l"),
    f("write", "ilii", "l"),
    f("stat", "i", "l"),
    f("close", "i", "i"),
    f("kv_get", "iiii", "i"),
    f("kv_put", "iiii", "i"),
    f("kv_del", "ii", "i"),
    f("kv_next", "iiii", "i"),
    f("log_append", "ii", "l"),
    f("log_read", "lii", "i"),
    f("sync", "", "l"),
    f("scratch_read", "iii", "i"),
    f("scratch_write", "iii", "i"),
    f("scratch_add", "ili", "i"),
    f("scratch_cas", "illi", "i"),
    f("lock", "ii", "l"),
    f("unlock", "i", "i"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the page's tables of imports, as this module writes them.
    fn page() -> Vec<(String, String, String)> {
        let text = include_str!("../../../atom/ABI.md");
        let from = text.find("\n## 6. Imports").unwrap();
        let to = text[from + 1..].find("\n## ").unwrap() + from;
        let letters = |types: &str| {
            let letter = |t: &str| match t {
                "i32" => "i",
                "i64" | "future" => "l",
                other => panic!("{other}"),
            };
            types.split_whitespace().map(letter).collect::<String>()
        };
        text[from..to]
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split('|');
                let name = cells.next()?.split('(').next()?.to_owned();
                let (params, results) = cells.next()?.split_once('→')?;
                Some((name, letters(params), letters(results)))
            })
            .collect()
    }

    #[test]
    fn the_table_is_the_pages() {
        let ours = IMPORTS.iter().map(|s| (s.name.into(), s.params.into(), s.results.into()));
        assert_eq!(ours.collect::<Vec<_>>(), page());
    }

    #[test]
    fn types_are_shown_as_people_write_them() {
        assert_eq!(f("x", "ili", "l").show(), "(i32 i64 i32) -> i64");
        assert_eq!(f("x", "i", "").show(), "(i32)");
    }
}
