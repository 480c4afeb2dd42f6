//! What atoms ask for, by random programs against a small model: `runtime/MODEL.md`
//! names these tests.

mod common;

use std::collections::BTreeMap;

use common::acts::{ATOMS, act};
use common::script::*;
use proptest::prelude::*;

/// Who does what, and how it ends: nothing, `refuse` or `trap`.
type Command = (usize, Vec<String>, &'static str);

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let end = prop_oneof![8 => Just(""), 1 => Just("refuse"), 1 => Just("trap")];
    prop::collection::vec((0..ATOMS.len(), prop::collection::vec(act(), 1..5), end), 1..40)
}

/// What must be, given what was committed.
#[derive(Default)]
struct Model {
    /// Calls that have not returned, and whose they are.
    calls: BTreeMap<u64, (usize, String)>,
    /// Who holds the lock, alone or not.
    holders: Vec<(usize, bool)>,
    stores: [BTreeMap<String, String>; 3],
    logs: [usize; 3],
    count: u64,
}

impl Model {
    /// What a committed command says of what it asked for.
    fn wished(&mut self, me: usize, acts: &[String], lines: &[String]) {
        for act in acts {
            let words: Vec<&str> = act.split(' ').collect();
            match words[..] {
                ["put", k, v] => drop(self.stores[me].insert(k.into(), v.into())),
                ["del", k] => drop(self.stores[me].remove(k)),
                ["append", _] => self.logs[me] += 1,
                ["add", ..] => self.count += 1,
                _ => {}
            }
        }
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                [_, kind, "=", n] => {
                    let n = n.parse().expect("a number");
                    let old = self.calls.insert(n, (me, kind.into()));
                    assert_eq!(old, None, "a number was used twice");
                }
                [_, "lose", n] if n.parse::<u64>().is_ok() => {
                    let lost = self.calls.remove(&n.parse().expect("a number"));
                    assert_eq!(lost.map(|c| c.0), Some(me), "{line}");
                }
                [_, "unlock", "unlocked"] => {
                    let at = self.holders.iter().position(|h| h.0 == me);
                    self.holders.remove(at.expect("it held the lock"));
                }
                _ => {}
            }
        }
    }

    /// What happened to whom.
    fn happened(&mut self, lines: &[String]) {
        for line in lines {
            let Some((who, rest)) = line.split_once(" #") else { continue };
            let who: usize = who.parse().expect("a number");
            let n = rest.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
            let (owner, kind) = self.calls.remove(&n).expect("a call that had not returned");
            assert_eq!(owner, who, "{line}");
            let shared = match kind.as_str() {
                "lock" => false,
                "share" => true,
                _ => continue,
            };
            let free = self.holders.iter().all(|h| shared && h.1);
            assert!(free, "{who} got a lock that {:?} hold", self.holders);
            self.holders.push((who, shared));
        }
    }

    /// An atom is made anew.
    fn abandoned(&mut self, me: usize) {
        self.calls.retain(|_, c| c.0 != me);
        self.holders.retain(|h| h.0 != me);
    }
}

/// Runs all commands; what everybody saw.
fn run(commands: &[Command]) -> Vec<String> {
    let mut g = Guest::new(atoms(&ATOMS.map(|name| (name, ""))));
    let (rest, mut model, mut all) = (g.used(), Model::default(), Vec::new());
    for (i, (me, acts, end)) in commands.iter().enumerate() {
        let line = format!("{};{end}", acts.join(";"));
        let told = g.try_tell(ATOMS[*me], &line);
        if g.w.rt.exit().is_some() {
            return all; // abandoned too often in a row
        }
        let lines = match told {
            Ok(lines) => {
                assert_eq!(*end, "");
                // What the atom says of its wishes comes before all that follows.
                model.wished(*me, acts, &lines);
                lines
            }
            Err(_) => {
                assert_ne!(*end, "");
                if *end == "trap" {
                    model.abandoned(*me);
                }
                seen()
            }
        };
        model.happened(&lines);
        all.extend(lines);
        let passed = g.until(i as u64 * 10);
        model.happened(&passed);
        all.extend(passed);
    }
    model.happened(&g.until(10_000));
    assert!(model.calls.values().all(|c| c.1 != "sleep"), "{:?}", model.calls);
    // What is stored is what was committed.
    for (me, name) in ATOMS.iter().enumerate() {
        let shown = g.tell(name, "get k0; get k1; get k2");
        for (k, line) in shown.iter().enumerate() {
            let want = model.stores[me].get(&format!("k{k}")).map_or("ENOENT", |v| v);
            assert_eq!(line, &format!("{me} get {want}"));
        }
        let next = model.logs[me];
        assert_eq!(g.tell(name, "append end"), [format!("{me} append {next}")]);
    }
    let count = model.count;
    assert_eq!(g.tell("a", "add 8 0"), [format!("0 add {count}")]);
    // Everything else is given back, once.
    let mut held = rest;
    for atom in g.w.ls(&mut g.p, "atom").expect("a directory").lines() {
        let n: usize = atom.trim_end_matches('/').parse().expect("a number");
        let verb = if n < ATOMS.len() { "restart" } else { "kill" };
        g.w.echo(&mut g.p, &format!("atom/{n}/ctl"), verb).expect("a good command");
    }
    seen();
    for name in ATOMS {
        let mem = g.w.cat(&mut g.p, &format!("atom/{name}/mem")).expect("a file");
        let store = mem.lines().find_map(|l| l.strip_prefix("store ")).expect("a line");
        held.0 += store.parse::<u64>().expect("a number");
    }
    held.0 += 65_536;
    assert_eq!(g.used(), held);
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    /// Calls return once and to whom they belong, locks exclude, what is stored is what was
    /// committed, every charge is given back once, and the same commands give the same.
    #[test]
    fn what_atoms_get_is_what_they_asked_for(commands in commands()) {
        let once = run(&commands);
        prop_assert_eq!(once, run(&commands));
    }
}
