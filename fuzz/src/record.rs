//! Target `record`: the bytes are what a client wrote to a record, as text or as bytes.
//!
//! What is no record is refused, with an error that a message has room for. What is one
//! reads back as it was written, in both forms.

use std::borrow::Cow;

use atoll_9p::record::{Numbers, Of, Record};

use crate::rng::Rng;

atoll_9p::record! {
    /// A word.
    pub enum Mood { Idle = "idle", Running = "running", Stopped = "stopped" }
}

atoll_9p::record! {
    /// A record inside others.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Port = "port", 1 {
        /// A text.
        pub name: String,
        /// A number that may be missing.
        pub number: Option<u16>,
    }
}

atoll_9p::record! {
    /// One field of every type.
    #[derive(Clone, Debug, PartialEq)]
    pub struct All = "all", 300 {
        /// Eight bits.
        pub a: u8,
        /// Sixteen.
        pub b: u16,
        /// Thirty-two.
        pub c: u32,
        /// Sixty-four.
        pub d: u64,
        /// Below zero too.
        pub e: i64,
        /// True or false.
        pub f: bool,
        /// A text.
        pub g: String,
        /// A text that may be borrowed.
        pub h: Cow<'static, str>,
        /// 32 bytes.
        pub hash: [u8; 32],
        /// A word.
        pub mood: Mood,
        /// A share.
        pub share: Of,
        /// A number that may be missing.
        pub maybe: Option<i64>,
        /// Texts.
        pub words: Vec<String>,
        /// Words.
        pub moods: Vec<Mood>,
        /// A record.
        pub main: Port,
        /// One that may be missing.
        pub other: Option<Port>,
        /// Some.
        pub ports: Vec<Port>,
        /// Names that are not known before.
        pub figures: Numbers,
    }
}

fn both_ways<R: Record + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let of_text = std::str::from_utf8(bytes).map(R::from_text);
    let read = [Some(R::from_wire(bytes)), of_text.ok()];
    for read in read.into_iter().flatten() {
        match read {
            Ok(record) => {
                let text = record.to_text();
                assert_eq!(R::from_text(&text).as_ref(), Ok(&record), "{text}");
                let wire = record.to_wire();
                assert_eq!(R::from_wire(&wire).as_ref(), Ok(&record), "{wire:02x?}");
            }
            Err(fault) => assert!(fault.text().len() < 1000, "{}", fault.text()),
        }
    }
}

/// Tries one input: its first byte says which type.
pub fn run(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 2 {
        0 => both_ways::<All>(bytes),
        _ => both_ways::<Port>(bytes),
    }
}

/// Records in both forms.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(11);
    let mut out = Vec::new();
    for i in 0..8_u64 {
        let port = |i: u64| Port {
            name: ["", "a b", "line\nline", "back\\slash"][i as usize % 4].into(),
            number: i.is_multiple_of(2).then_some(i as u16),
        };
        let all = All {
            a: rng.next() as u8,
            b: rng.next() as u16,
            c: rng.next() as u32,
            d: rng.next(),
            e: rng.next() as i64,
            f: rng.one_in(2),
            g: "text".into(),
            h: "".into(),
            hash: [i as u8; 32],
            mood: [Mood::Idle, Mood::Running, Mood::Stopped][i as usize % 3],
            share: Of { used: i, limit: 9 },
            maybe: rng.one_in(2).then_some(-1),
            words: vec!["one".into(); i as usize % 3],
            moods: vec![Mood::Running; i as usize % 2],
            main: port(i),
            other: rng.one_in(2).then(|| port(i + 1)),
            ports: (0..i % 3).map(port).collect(),
            figures: Numbers((0..i % 4).map(|n| (format!("n{n}").into(), n)).collect()),
        };
        let with = |which: u8, bytes: &[u8]| [&[which], bytes].concat();
        out.push(with(0, all.to_text().as_bytes()));
        out.push(with(0, &all.to_wire()));
        out.push(with(1, port(i).to_text().as_bytes()));
        out.push(with(1, &port(i).to_wire()));
    }
    out
}

/// What was written, for people.
pub fn show(input: &[u8]) -> String {
    let (which, bytes) = input.split_first().unwrap_or((&0, &[]));
    let name = if which % 2 == 0 { "all" } else { "port" };
    format!("{name}: {bytes:02x?}\n{}\n", String::from_utf8_lossy(bytes))
}
