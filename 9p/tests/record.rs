//! Records: their bytes against the `postcard` crate, their text against itself.
#![allow(missing_docs)] // records of tests

use std::borrow::Cow;

use atoll_9p::fault::Errno;
use atoll_9p::record::{Numbers, Of, Record};
use proptest::prelude::*;

atoll_9p::record! {
    /// A word.
    pub enum State { Idle = "idle", Running = "running", Stopped = "stopped" }
}

atoll_9p::record! {
    /// A line of a table.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Port = "port", 1 {
        /// What it is called.
        pub name: String,
        /// Its number.
        pub number: Option<u16>,
    }
}

atoll_9p::record! {
    /// One field of every type.
    #[derive(Clone, Debug, PartialEq)]
    pub struct All = "all", 300 {
        /// Eight bits.
        pub a: u8,
        /// Sixteen bits.
        pub b: u16,
        /// Thirty-two bits.
        pub c: u32,
        /// Sixty-four bits.
        pub d: u64,
        /// Below zero.
        pub e: i64,
        pub f: bool,
        pub g: String,
        pub h: Cow<'static, str>,
        pub hash: [u8; 32],
        pub state: State,
        pub share: Of,
        pub maybe: Option<i64>,
        pub words: Vec<String>,
        pub states: Vec<State>,
        /// A record inside.
        pub main: Port,
        pub other: Option<Port>,
        /// Records in a list.
        pub ports: Vec<Port>,
        pub figures: Numbers,
    }
}

/// The same types as serde sees them.
mod mirror {
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) enum State {
        Idle,
        Running,
        Stopped,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Of {
        pub(super) used: u64,
        pub(super) limit: u64,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Port {
        pub(super) name: String,
        pub(super) number: Option<u16>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct All {
        pub(super) a: u8,
        pub(super) b: u16,
        pub(super) c: u32,
        pub(super) d: u64,
        pub(super) e: i64,
        pub(super) f: bool,
        pub(super) g: String,
        pub(super) h: String,
        pub(super) hash: [u8; 32],
        pub(super) state: State,
        pub(super) share: Of,
        pub(super) maybe: Option<i64>,
        pub(super) words: Vec<String>,
        pub(super) states: Vec<State>,
        pub(super) main: Port,
        pub(super) other: Option<Port>,
        pub(super) ports: Vec<Port>,
        pub(super) figures: Vec<(String, u64)>,
    }
}

fn state(s: State) -> mirror::State {
    match s {
        State::Idle => mirror::State::Idle,
        State::Running => mirror::State::Running,
        State::Stopped => mirror::State::Stopped,
    }
}

fn port(p: Port) -> mirror::Port {
    mirror::Port { name: p.name, number: p.number }
}

fn mirrored(all: All) -> mirror::All {
    mirror::All {
        a: all.a,
        b: all.b,
        c: all.c,
        d: all.d,
        e: all.e,
        f: all.f,
        g: all.g,
        h: all.h.into_owned(),
        hash: all.hash,
        state: state(all.state),
        share: mirror::Of { used: all.share.used, limit: all.share.limit },
        maybe: all.maybe,
        words: all.words,
        states: all.states.into_iter().map(state).collect(),
        main: port(all.main),
        other: all.other.map(port),
        ports: all.ports.into_iter().map(port).collect(),
        figures: all.figures.0.into_iter().map(|(name, n)| (name.into_owned(), n)).collect(),
    }
}

/// Numbers at the borders of varints as well as any.
fn n64() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(n, shift)| n >> shift)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", "[ \\\\n\n\r=of0-9]{0,8}", Just("x".repeat(200))]
}

fn a_state() -> impl Strategy<Value = State> {
    prop::sample::select(vec![State::Idle, State::Running, State::Stopped])
}

fn a_port() -> impl Strategy<Value = Port> {
    (text(), any::<Option<u16>>()).prop_map(|(name, number)| Port { name, number })
}

fn a_figure() -> impl Strategy<Value = (Cow<'static, str>, u64)> {
    ("[A-Z][a-z_.0-9]{0,9}", n64()).prop_map(|(name, n)| (Cow::Owned(name), n))
}

fn a_record() -> impl Strategy<Value = All> {
    let list = |n| 0..n;
    (
        (any::<(u8, u16, u32)>(), n64(), any::<i64>(), 0..64u32, any::<bool>(), text(), text()),
        (any::<[u8; 32]>(), a_state(), n64(), n64(), any::<Option<i64>>()),
        prop::collection::vec(text(), list(4)),
        prop::collection::vec(a_state(), list(4)),
        (a_port(), prop::option::of(a_port()), prop::collection::vec(a_port(), list(12))),
        prop::collection::vec(a_figure(), list(5)),
    )
        .prop_map(|(one, two, words, states, (main, other, ports), figures)| {
            let ((a, b, c), d, e, shift, f, g, h) = one;
            let (hash, state, used, limit, maybe) = two;
            All {
                a,
                b,
                c,
                d,
                e: e >> shift,
                f,
                g,
                h: Cow::Owned(h),
                hash,
                state,
                share: Of { used, limit },
                maybe,
                words,
                states,
                main,
                other,
                ports,
                figures: Numbers(figures),
            }
        })
}

/// What the `postcard` crate makes of a record, whole, where the names of its numbers
/// are names.
fn by_postcard(bytes: &[u8]) -> Option<mirror::All> {
    let ((version, all), rest): ((u32, mirror::All), _) = postcard::take_from_bytes(bytes).ok()?;
    let fields = All::ABOUT.fields;
    let named = all.figures.iter().all(|(name, _)| {
        !name.contains([' ', '\n']) && fields.iter().all(|f| Some(f.name) != name.split('.').next())
    });
    (version == 300 && rest.is_empty() && named).then_some(all)
}

proptest! {
    #[test]
    fn its_bytes_are_postcard_s(record in a_record(), flips in prop::collection::vec(any::<(u16, u8)>(), 0..4)) {
        let wire = record.to_wire();
        let theirs = postcard::to_allocvec(&(300u32, mirrored(record.clone()))).unwrap();
        prop_assert_eq!(&wire, &theirs);
        prop_assert_eq!(All::from_wire(&wire).unwrap(), record);
        // What is damaged is read by both alike, or by neither.
        let mut damaged = wire;
        for (at, byte) in flips {
            let at = usize::from(at) % damaged.len();
            match byte % 5 {
                0 => drop(damaged.remove(at)),
                1 => damaged.insert(at, byte),
                _ => damaged[at] = byte,
            }
            if damaged.is_empty() {
                damaged.push(byte);
            }
        }
        let ours = All::from_wire(&damaged).ok().map(mirrored);
        prop_assert_eq!(ours, by_postcard(&damaged));
    }

    #[test]
    fn any_bytes_are_read_as_postcard_reads_them(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(All::from_wire(&bytes).ok().map(mirrored), by_postcard(&bytes));
        let mut versioned = vec![0xac, 0x02];
        versioned.extend(&bytes);
        prop_assert_eq!(All::from_wire(&versioned).ok().map(mirrored), by_postcard(&versioned));
    }

    #[test]
    fn numbers_are_read_as_postcard_reads_them(mut bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x80), Just(0xff), 0..3u8], 0..40)) {
        bytes.insert(0, 7);
        let theirs = postcard::take_from_bytes::<(u32, u16, u32, u64, i64, bool, Option<u64>)>(&bytes);
        let theirs = theirs.ok().filter(|t| t.1.is_empty()).map(|t| t.0);
        let ours = Ints::from_wire(&bytes).ok().map(|i| (7, i.a, i.b, i.c, i.d, i.e, i.f));
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn its_text_says_all_of_it(record in a_record()) {
        let text = record.to_text();
        prop_assert_eq!(All::from_text(&text).unwrap(), record, "{}", text);
    }

    #[test]
    fn the_order_of_lines_means_nothing(record in a_record(), by in any::<u64>()) {
        let text = record.to_text();
        let mut lines: Vec<(u64, &str)> = Vec::new();
        for line in text.split_terminator('\n') {
            // Those of one key, and numbers without known names, keep their order.
            let key = line.split(' ').next().unwrap();
            let free = key.starts_with(|c: char| c.is_ascii_uppercase());
            let seed = if free { 0 } else { key.bytes().fold(by, |h, b| h.wrapping_mul(31) ^ u64::from(b)) };
            lines.push((seed, line));
        }
        lines.sort_by_key(|l| l.0);
        let mixed: String = lines.iter().flat_map(|l| [l.1, "\n"]).collect();
        prop_assert_eq!(All::from_text(&mixed).unwrap(), record);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "([a-z.]{1,6}( [0-9a-z]{0,4})?\n){0,9}") {
        if let Ok(port) = Port::from_text(&text) {
            prop_assert_eq!(Port::from_text(&port.to_text()).unwrap(), port);
        }
    }
}

atoll_9p::record! {
    /// Numbers.
    #[derive(Debug)]
    pub struct Ints = "ints", 7 {
        a: u16,
        b: u32,
        c: u64,
        d: i64,
        e: bool,
        f: Option<u64>,
    }
}

atoll_9p::record! {
    /// What a person may write.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Plan = "plan", 2 {
        /// What it is to do.
        pub state: State,
        pub speed: u8,
        pub hash: Option<[u8; 32]>,
        pub on: bool,
        pub note: String,
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let good = "state idle\nspeed 9\non true\nnote x\n";
    assert!(Plan::from_text(good).is_ok());
    for (from, to, want) in [
        ("idle", "fast", "line 1: state: \"fast\" is not one of idle, running, stopped"),
        ("speed 9", "speed 256", "line 2: speed: \"256\" is not a whole number up to 255"),
        ("speed 9", "speed +9", "line 2: speed: \"+9\" is not a whole number up to 255"),
        ("speed 9", "speed", "line 2: speed: \"\" is not a whole number up to 255"),
        ("speed 9\n", "", "speed is missing: a whole number up to 255"),
        ("on true", "on yes", "line 3: on: \"yes\" is not true or false"),
        (
            "note x",
            "note a\\b",
            "line 4: note: \"a\\b\" is not a text, in which a backslash is written as two",
        ),
        ("on true", "hash 00\non true", "line 3: hash: \"00\" is not 64 hexadecimal digits"),
        ("note x", "\nnote x\nnote y", "line 6: note is given twice"),
        (
            "note x",
            "note x\nfoo 1",
            "line 5: no field \"foo\"; there are: state, speed, hash, on, note",
        ),
    ] {
        let fault = Plan::from_text(&good.replace(from, to)).unwrap_err();
        assert_eq!((fault.text(), fault.errno), (want, Errno::EINVAL));
    }
    let long = format!("{good}{} 1\n", "k".repeat(50_000));
    assert!(Plan::from_text(&long).unwrap_err().text().len() < 300);
    let long = good.replace('9', &"9".repeat(50_000));
    assert!(Plan::from_text(&long).unwrap_err().text().len() < 300);
}

#[test]
fn another_version_is_refused_and_so_is_what_follows() {
    let plan = Plan { state: State::Idle, speed: 1, hash: None, on: true, note: "n".into() };
    let wire = plan.to_wire();
    assert_eq!(wire, [2, 0, 1, 0, 1, 1, b'n']);
    let other = [&[3], &wire[1..]].concat();
    assert_eq!(
        Plan::from_wire(&other).unwrap_err().text(),
        "no record plan 2: it is of version 3, known is 2"
    );
    let more = [&wire[..], &[0, 0]].concat();
    assert_eq!(Plan::from_wire(&more).unwrap_err().text(), "no record plan 2: 2 bytes follow it");
    assert_eq!(Plan::from_wire(&wire[..5]).unwrap_err().text(), "no record plan 2: at field note");
    assert!(Plan::from_wire(&[]).is_err());
    // A length that no bytes stand behind reserves nothing.
    let huge = [2, 0, 1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert!(Plan::from_wire(&huge).is_err());
}

#[test]
fn a_schema_tells_every_field() {
    let want = "record plan 2\n\
        field state choice<idle|running|stopped> What it is to do.\n\
        field speed u8\n\
        field hash option<hex32>\n\
        field on bool\n\
        field note text\n";
    assert_eq!(Plan::to_schema(), want);
    let all = All::to_schema();
    for line in [
        "record all 300",
        "field main record A record inside.",
        "field main.name text What it is called.",
        "field other option<record>",
        "field other.number option<u16> Its number.",
        "field ports list<record> Records in a list.",
        "field ports.N.name text What it is called.",
        "field figures numbers",
        "field share of",
    ] {
        assert!(all.lines().any(|l| l == line), "{line} in {all}");
    }
}

#[test]
fn many_lines_do_not_take_long() {
    // Quadratic would be 10,000,000,000 comparisons of strings.
    let ports: Vec<Port> =
        (0..100_000).map(|i| Port { name: i.to_string(), number: None }).collect();
    let list = Ports { ports };
    assert_eq!(Ports::from_text(&list.to_text()).unwrap(), list);
}

atoll_9p::record! {
    /// A table.
    #[derive(Debug, PartialEq)]
    pub struct Ports = "ports", 1 {
        pub ports: Vec<Port>,
    }
}

atoll_9p::record! {
    /// A field, and numbers.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Counts = "counts", 1 {
        pub a: u8,
        pub figures: Numbers,
    }
}

#[test]
fn a_number_is_named_by_one_word_that_is_no_fields() {
    let named = |name: &str| Counts { a: 1, figures: Numbers(vec![(name.to_owned().into(), 2)]) };
    for name in ["b 1\nc", "b ", "b\n", "a", "a.b"] {
        let bad = Counts::from_wire(&named(name).to_wire()).unwrap_err();
        assert_eq!(bad.errno, Errno::EINVAL, "{name:?}");
        assert!(bad.text().contains("is no name of a number"), "{}", bad.text());
    }
    for name in ["b", "b.a", "\u{e4}", ""] {
        let counts = named(name);
        assert_eq!(Counts::from_wire(&counts.to_wire()), Ok(counts.clone()));
        assert_eq!(Counts::from_text(&counts.to_text()), Ok(counts));
    }
    assert_eq!(Counts::from_text("a 1\na.b 2\n").unwrap_err().errno, Errno::EINVAL);
}
