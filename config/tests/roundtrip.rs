//! TOML → checked → payload → sealed → payload again, for guests nobody thought of.

use std::collections::BTreeMap;
use std::fmt::Write;

use atoll_config::atom::FileKind;
use atoll_config::payload::{BadPayload, HEADER, Sealed, Value};
use atoll_config::rules;
use atoll_config::text::{
    AtomSource, Checked, Files, Language, Modules, OwnedModule, Report, parse,
};
use proptest::prelude::*;

#[derive(Debug)]
struct Guest {
    name: String,
    version: String,
    mib: u64,
    files: BTreeMap<String, String>,
    greeters: BTreeMap<String, String>,
    clocks: BTreeMap<String, u64>,
    imports: BTreeMap<String, String>,
    atoms: BTreeMap<String, Atom>,
}

/// An atom: its module's first byte, pages of memory, milliseconds, what it is told.
type Atom = (u8, u64, u64, String);

/// A place in which every path is the source of an atom.
struct Sources;

impl Files for Sources {
    fn atom(&mut self, path: &str) -> Result<AtomSource, (String, String)> {
        Ok(AtomSource { language: Language::Wat, path: path.into() })
    }

    fn read(&mut self, path: &str, _most: u64) -> Result<Vec<u8>, (String, String)> {
        Err((path.to_owned(), String::new()))
    }
}

fn check(toml: &str) -> Result<Checked, Report> {
    parse("guest.toml", toml, &mut Sources)
}

/// A TOML string that stands for exactly this text.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => write!(out, "\\u{:04X}", c as u32).unwrap(),
            c => out.push(c),
        }
    }
    out + "\""
}

impl Guest {
    fn toml(&self) -> String {
        let (name, version, mib) = (quoted(&self.name), quoted(&self.version), self.mib);
        let mut out =
            format!("[guest]\nname = {name}\nversion = {version}\nmemory = \"{mib}MiB\"\n");
        for (path, text) in &self.files {
            write!(out, "[[file]]\npath = {}\ntext = {}\n", quoted(path), quoted(text)).unwrap();
        }
        for (name, who) in &self.greeters {
            let who = quoted(who);
            write!(
                out,
                "[[component]]\nname = \"{name}\"\nkind = \"greeter\"\nparams.name = {who}\n"
            )
            .unwrap();
        }
        for (name, ms) in &self.clocks {
            let params = format!("{{ period = \"{ms}ms\" }}");
            write!(out, "[[component]]\nname = \"{name}\"\nkind = \"clock\"\nparams = {params}\n")
                .unwrap();
        }
        for (name, (_, pages, ms, told)) in &self.atoms {
            let told = quoted(told);
            let kib = pages * 64;
            write!(out, "[[atom]]\nname = \"{name}\"\npath = \"x.wat\"\nmemory = \"{kib}KiB\"\n")
                .unwrap();
            write!(out, "deadline = \"{ms}ms\"\n[atom.params]\ntold = {told}\n").unwrap();
        }
        for (name, at) in &self.imports {
            write!(out, "[[import]]\nname = \"{name}\"\nat = {}\n", quoted(at)).unwrap();
        }
        out
    }

    /// What a builder would have made of the atoms.
    fn modules(&self) -> Modules {
        let mut modules = Modules::default();
        for (byte, ..) in self.atoms.values() {
            let files = [
                ("a", FileKind::Text),
                ("b", FileKind::Ctl),
                ("c", FileKind::Events { keep: u32::from(*byte) + 1 }),
                ("d", FileKind::Next { keep: 1 << 20 }),
                ("e", FileKind::Names),
            ];
            let files = files.iter().take(usize::from(byte % 6));
            let files = files.map(|(n, k)| ((*n).to_owned(), *k)).collect();
            let wasm = vec![*byte; usize::from(*byte)];
            modules.push(OwnedModule::new(format!("m{byte}"), wasm, files));
        }
        modules
    }
}

prop_compose! {
    fn guest()(
        name in "[a-z0-9-]{1,63}",
        version in "[^\\p{Cc}]{1,12}",
        mib in 2..3073u64,
        // Of different first letters, so that none is or holds another.
        files in prop::collection::btree_map("f[a-z]{1,8}", any::<String>(), 0..6),
        greeters in prop::collection::btree_map("g[a-z0-9-]{1,9}", "[^\\p{Cc}]{0,12}", 0..4),
        clocks in prop::collection::btree_map("c[a-z0-9-]{1,9}", 1..3_600_000u64, 0..4),
        imports in prop::collection::btree_map("[a-z][a-z0-9-]{1,9}", "/[^/\\p{Cc}]{3,12}", 0..2),
        atoms in prop::collection::btree_map(
            "a[a-z0-9-]{1,9}",
            (any::<u8>(), 1..32u64, 1..60_000u64, "([^\\p{Cc}\\p{Nd}][^\\p{Cc}]{0,12})?"),
            0..4,
        ),
    ) -> Guest {
        Guest { name, version, mib, files, greeters, clocks, imports, atoms }
    }
}

proptest! {
    #[test]
    fn what_a_guest_says_is_what_its_payload_says(guest in guest()) {
        let values: Vec<_> = guest.imports.values().collect();
        prop_assume!(values.windows(2).all(|w| w[0] != w[1]));
        let checked =
            check(&guest.toml()).map_err(|r| TestCaseError::fail(r.render(false, 100)))?;
        let modules = guest.modules();
        let sealed = checked.payload(&modules).seal();
        let read = Sealed::parse(&sealed).unwrap();
        prop_assert!(read.intact());
        let p = read.open().unwrap();
        prop_assert_eq!(&p, &checked.payload(&modules));
        prop_assert_eq!(rules::payload(&p), Ok(()));
        prop_assert_eq!((p.name, p.version), (guest.name.as_str(), guest.version.as_str()));
        prop_assert_eq!(p.memory, guest.mib << 20);
        let files: Vec<_> = p.files.iter().map(|f| (f.path, f.data)).collect();
        let wanted: Vec<_> = guest.files.iter().map(|(p, t)| (p.as_str(), t.as_bytes())).collect();
        prop_assert_eq!(files, wanted);
        for c in &p.components {
            match c.kind {
                "atom" => {
                    let (byte, pages, ms, told) = &guest.atoms[c.name];
                    let module = &p.modules[c.module.unwrap() as usize];
                    prop_assert_eq!(module.wasm, vec![*byte; usize::from(*byte)]);
                    prop_assert_eq!(module.files.len(), usize::from(byte % 6));
                    let limits = (c.limits.memory, c.limits.deadline_ns);
                    prop_assert_eq!(limits, (pages << 16, ms * 1_000_000));
                    let told = format!("told {told}\n");
                    prop_assert_eq!(c.params[0], Value::Text(&told));
                }
                "greeter" => prop_assert_eq!(c.params[1], Value::Text(&guest.greeters[c.name])),
                _ => prop_assert_eq!(c.params[0], Value::Span(guest.clocks[c.name] * 1_000_000)),
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = check(&text);
    }

    #[test]
    fn no_slip_in_a_guest_makes_it_panic(
        guest in guest(),
        at in any::<prop::sample::Index>(),
        c in any::<char>(),
    ) {
        let mut text: Vec<char> = guest.toml().chars().collect();
        let at = at.index(text.len());
        text[at] = c;
        let text: String = text.into_iter().collect();
        if let Err(report) = check(&text) {
            prop_assert!(!report.problems().is_empty());
            report.render(false, 80);
            report.places();
        }
    }

    #[test]
    fn a_cut_or_changed_payload_is_never_the_same_and_never_panics(
        guest in guest(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        prop_assume!(guest.imports.values().collect::<Vec<_>>().windows(2).all(|w| w[0] != w[1]));
        let checked = check(&guest.toml()).unwrap();
        let modules = guest.modules();
        let mut bytes = checked.payload(&modules).seal();
        let cut = at.index(bytes.len());
        prop_assert!(Sealed::parse(&bytes[..cut]).is_err());
        bytes[cut] ^= 1 << bit;
        if let Ok(read) = Sealed::parse(&bytes) {
            prop_assert!(!read.intact() || cut < HEADER && read.body.len() != bytes.len() - HEADER);
            let _ = read.open();
        }
    }

    #[test]
    fn no_bytes_make_a_payload_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Sealed::parse(&bytes).unwrap_err(), BadPayload::Magic);
        if let Ok(p) = (Sealed { hash: atoll_config::payload::Hash([0; 32]), body: &bytes }).open() {
            let _ = rules::payload(&p);
        }
    }
}
