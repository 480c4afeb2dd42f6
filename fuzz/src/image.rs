//! Target `image`: the bytes are what an image carries beside its kernel, a payload or the
//! table of native code.
//!
//! A hash stands before each, which no fuzzer guesses, and which a guest does not look at:
//! so the bytes are tried as they are, and as what stands behind a header that is right.
//! What is taken lies inside of the bytes, and is the same when it is written again.

use atoll_config::atom::{AtomLimits, FileKind, ModuleFile};
use atoll_config::code::{self, Code};
use atoll_config::payload::{
    self, Budget, Component, File, Hash, Import, Module, OnFault, Payload, Sealed, Value,
};
use atoll_config::rules;

/// Tries one input: its first byte says what it is.
pub fn run(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 4 {
        0 => open(bytes),
        1 => open(&headed(&payload::MAGIC, payload::FORMAT, bytes)),
        2 => table(bytes),
        _ => table(&headed(&code::MAGIC, code::FORMAT, bytes)),
    }
}

/// These bytes behind a header of either format.
fn headed(magic: &[u8; 8], format: u32, body: &[u8]) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.extend_from_slice(&format.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(blake3::hash(body).as_bytes());
    out.extend_from_slice(body);
    out
}

fn open(bytes: &[u8]) {
    let Ok(sealed) = Sealed::parse(bytes) else { return };
    assert!(sealed.body.len() + payload::HEADER <= bytes.len());
    let Ok(payload) = sealed.open() else { return };
    if let Err(why) = rules::payload(&payload) {
        assert!(!why.is_empty());
    }
    let again = payload.seal();
    let twice = Sealed::parse(&again).expect("what was sealed is sealed");
    assert!(twice.intact());
    let twice = twice.open().expect("what was sealed opens");
    assert_eq!(twice, payload);
    assert_eq!(twice.seal(), again);
}

fn table(bytes: &[u8]) {
    let Ok(code) = Code::parse(bytes) else { return };
    assert!(code.bytes().len() <= bytes.len());
    assert!(!code.compiler().is_empty() && !code.level().is_empty());
    let mut end = code::HEADER;
    for artefact in code.artefacts() {
        assert!(artefact.offset >= end && artefact.offset % code::PAGE == 0);
        end = artefact.offset + artefact.code.len();
        assert_eq!(code.bytes().get(artefact.offset..end), Some(artefact.code));
        assert!(code.find(&artefact.module).is_some());
    }
    let all: Vec<_> = code.artefacts().map(|a| (a.module, a.code)).collect();
    let again = code::seal(code.compiler(), code.level(), &all).expect("names of a bearable size");
    let again = Code::parse(&again).expect("what was sealed is a table");
    assert!(again.intact());
    let twice: Vec<_> = again.artefacts().map(|a| (a.module, a.code)).collect();
    assert_eq!((again.compiler(), again.level(), twice), (code.compiler(), code.level(), all));
}

/// Payloads with and without atoms, and tables of code, whole and without their headers.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new()];
    let file = |name, kind| ModuleFile { name, kind };
    let kinds = [
        file("text", FileKind::Text),
        file("ctl", FileKind::Ctl),
        file("log", FileKind::Events { keep: 4096 }),
        file("next", FileKind::Next { keep: 64 }),
        file("box", FileKind::Names),
    ];
    for n in 0..6_usize {
        let hash = Hash([n as u8; 32]);
        let module = Module { name: "one", hash, wasm: b"\0asm", files: kinds[..n % 6].to_vec() };
        let atom = |name, module| Component {
            name,
            kind: "atom",
            state_version: 1,
            params: vec![Value::Text("greeting hello\n")],
            module,
            limits: AtomLimits { memory: 1 << 20, stack: 64 << 10, deadline_ns: 10_000_000 },
        };
        let payload = Payload {
            name: "guest",
            version: "1",
            memory: 8 << 20,
            on_fault: if n % 2 == 0 { OnFault::Restart } else { OnFault::Stop },
            budget: Budget { memory: 1 << 20, messages: 256, sessions: 16, fids: 256 },
            files: vec![File { path: "a/b", data: &[7; 40][..n * 8] }],
            components: [atom("one", Some(0)), atom("two", None)][..n % 3].to_vec(),
            imports: vec![Import { name: "data", at: "/data" }],
            writable: vec!["one", ""],
            modules: [module.clone(), module][..n % 3].to_vec(),
        };
        let sealed = payload.seal();
        seeds.push([&[1], &sealed[payload::HEADER..]].concat());
        seeds.push([&[0], &sealed[..]].concat());
        // Artefacts that lie beyond what is worth growing: tables alone.
        let code: Vec<_> = (0..n).map(|m| (Hash([m as u8; 32]), &b""[..])).collect();
        let table = code::seal("a compiler", "x86-64-v2", &code).expect("short names");
        let table = &table[..table.len().min(crate::MAX_INPUT - 1)];
        seeds.push([&[3], &table[code::HEADER..]].concat());
        seeds.push([&[2], table].concat());
    }
    seeds
}

/// What becomes of the bytes, for people.
pub fn show(input: &[u8]) -> String {
    let (which, bytes) = input.split_first().unwrap_or((&0, &[]));
    let said = match which % 4 {
        0 => format!("{:?}", Sealed::parse(bytes).and_then(|s| s.open())),
        1 => {
            let bytes = headed(&payload::MAGIC, payload::FORMAT, bytes);
            format!("{:?}", Sealed::parse(&bytes).and_then(|s| s.open()))
        }
        2 => format!("{:?}", Code::parse(bytes)),
        _ => format!("{:?}", Code::parse(&headed(&code::MAGIC, code::FORMAT, bytes))),
    };
    format!("{bytes:02x?}\n{said}\n")
}
