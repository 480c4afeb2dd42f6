//! Bytes that nobody meant: 9P, the readers of checkpoints and images, the checker of modules,
//! and what atoms call, under inputs that a fuzzer grows.
//!
//! A target takes any bytes, lets the crates work on them, and panics when something is
//! so that must never be. What drives it is libFuzzer, which keeps each input that
//! reaches code no other did (`cargo xtask fuzz`), or the replay of the kept ones, a
//! plain test that needs nothing but these crates.
//!
//! The inputs that are kept lie in `corpus/TARGET/`, one a file. Where they started
//! from is computed: [`Target::seeds`] makes messages and whole sessions out of
//! [`layout`], the fields of every message there is.
#![deny(unsafe_code)]

#[cfg(feature = "atoms")]
pub mod abi;
pub mod checkpoint;
pub mod client;
pub mod decode;
pub mod files;
pub mod image;
pub mod keeper;
pub mod layout;
pub mod ledger;
#[cfg(feature = "atoms")]
pub mod module;
pub mod mux;
pub mod record;
pub mod rng;
pub mod script;
pub mod server;
pub mod tree;
pub mod vchan;
#[cfg(feature = "atoms")]
pub mod wasm;
pub mod xenstore;

use rng::Rng;
use script::{Record, Script};

/// The longest input that is worth growing, in bytes.
pub const MAX_INPUT: usize = 1024;

/// Where the fuzzer finds the native code of the atoms of target `abi`, from the project's
/// root: beside the seeds.
pub const CODE: &str = "target/atoll/fuzz/seeds/abi.code";

/// Something that takes bytes and must not panic.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its program and of its corpus.
    pub name: &'static str,
    /// Tries one input.
    pub run: fn(&[u8]),
    /// Where to begin; the same on every machine.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// An input, for people.
    pub show: fn(&[u8]) -> String,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    #[cfg(feature = "atoms")]
    Target { name: "abi", run: abi::run, seeds: abi::seeds, show: abi::show },
    Target { name: "image", run: image::run, seeds: image::seeds, show: image::show },
    #[cfg(feature = "atoms")]
    Target { name: "module", run: module::run, seeds: module::seeds, show: module::show },
    Target { name: "decode", run: decode::run, seeds: decode::seeds, show: decode::show },
    Target { name: "server", run: server::run, seeds: server::seeds, show: server::show },
    Target { name: "client", run: client::run, seeds: client::seeds, show: client::show },
    Target { name: "keeper", run: keeper::run, seeds: keeper::seeds, show: keeper::show },
    Target { name: "record", run: record::run, seeds: record::seeds, show: record::show },
    Target { name: "mux", run: mux::run, seeds: mux::seeds, show: mux::show },
    Target {
        name: "checkpoint",
        run: checkpoint::run,
        seeds: checkpoint::seeds,
        show: checkpoint::show,
    },
    Target { name: "vchan", run: vchan::run, seeds: vchan::seeds, show: vchan::show },
    Target { name: "xenstore", run: xenstore::run, seeds: xenstore::seeds, show: xenstore::show },
];

/// Words for the fuzzer to put into inputs, in the format of libFuzzer's `-dict`.
pub fn dictionary() -> String {
    let mut out = String::new();
    let mut word = |bytes: &[u8]| {
        let hex: String = bytes.iter().map(|b| format!("\\x{b:02x}")).collect();
        out += &format!("\"{hex}\"\n");
    };
    let texts = layout::NAMES.iter().chain(layout::VERSIONS).chain(layout::COMMANDS);
    for text in texts.filter(|t| !t.is_empty()) {
        word(&[&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat());
    }
    for n in layout::NUMBERS {
        word(&(*n as u32).to_le_bytes());
        word(&n.to_le_bytes());
    }
    for layout in layout::REQUESTS.iter().chain(layout::ANSWERS) {
        word(&[layout.1]);
    }
    out
}

/// A custom mutator: changes the script in `data[..size]` in place, and says its new
/// length, at most `max`. `blind` is the fuzzer's own mutator of the same form.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    max: usize,
    seed: u32,
    fresh: fn(&mut Rng) -> Record,
    blind: fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut rng = Rng::new(seed.into());
    if rng.one_in(8) {
        return blind(data, size, max);
    }
    let mut script = Script::parse(&data[..size]);
    for _ in 0..1 + rng.below(3) {
        script.mutate(&mut rng, fresh, &mut |bytes| {
            let n = bytes.len();
            bytes.resize(n + 64, 0);
            let n = blind(bytes, n, n + 64);
            bytes.truncate(n);
        });
    }
    put(&script, &mut data[..max])
}

/// A custom cross-over: the beginning of one script and the end of another.
pub fn cross(one: &[u8], other: &[u8], out: &mut [u8], seed: u32) -> usize {
    let (one, other) = (Script::parse(one), Script::parse(other));
    put(&one.cross(&other, &mut Rng::new(seed.into())), out)
}

fn put(script: &Script, out: &mut [u8]) -> usize {
    let bytes = script.bytes(out.len());
    out[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}
