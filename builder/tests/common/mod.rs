//! A kernel small enough to write by hand, and guests for it.
#![allow(dead_code, reason = "each test file uses its part")]

use atoll_builder::assemble;
use atoll_config::image::{Image, Platform};
use atoll_config::payload;
use atoll_config::text::{AtomSource, Checked, Files, Language, NO_MODULES, NoFiles, parse};

/// A guest with a bit of everything.
pub(crate) const GUEST: &str = r#"
[guest]
name = "hello"
version = "1"
memory = "4MiB"
[[file]]
path = "motd"
text = "Hi\n"
[[component]]
name = "greeter"
kind = "greeter"
[[component]]
name = "clock"
kind = "clock"
[component.params]
period = "250ms"
[[import]]
name = "data"
at = "/data"
[export]
write = ["greeter"]
"#;

/// No files, but every path is the source of an atom.
struct Sources;

impl Files for Sources {
    fn atom(&mut self, path: &str) -> Result<AtomSource, (String, String)> {
        Ok(AtomSource { language: Language::Wat, path: path.into() })
    }

    fn read(&mut self, path: &str, most: u64) -> Result<Vec<u8>, (String, String)> {
        NoFiles.read(path, most)
    }
}

pub(crate) fn guest(text: &str) -> Checked {
    parse("guest.toml", text, &mut Sources).unwrap()
}

fn note(owner: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for n in [owner.len() as u32 + 1, desc.len() as u32, kind] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    for part in [&[owner, b"\0"].concat(), desc] {
        out.extend_from_slice(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// A kernel that says it reads this payload format.
pub(crate) fn kernel_of(format: u32) -> Vec<u8> {
    let notes =
        [note(b"Xen", 18, &0x10_0040u32.to_le_bytes()), note(b"Atoll", 1, &format.to_le_bytes())]
            .concat();
    let code: Vec<u8> = (0..3000u32).map(|i| (i * 7) as u8).collect();
    let data = vec![0xaa; 700];
    // kind, flags, offset, address, bytes, memory, alignment
    let headers: [[u64; 7]; 4] = [
        [4, 4, 0x1000, 0x10_0000, notes.len() as u64, notes.len() as u64, 4],
        [1, 4, 0x1000, 0x10_0000, notes.len() as u64, notes.len() as u64, 4096],
        [1, 5, 0x2000, 0x10_1000, code.len() as u64, code.len() as u64, 4096],
        [1, 6, 0x3010, 0x10_2010, data.len() as u64, 0x5000, 4096],
    ];
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for n in [0x10_0040u64, 64, 0] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out.extend_from_slice(&0u32.to_le_bytes());
    for n in [64u16, 56, headers.len() as u16, 64, 0, 0] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    for [kind, flags, offset, addr, filesz, memsz, align] in headers {
        out.extend_from_slice(&(kind as u32).to_le_bytes());
        out.extend_from_slice(&(flags as u32).to_le_bytes());
        for n in [offset, addr, addr, filesz, memsz, align] {
            out.extend_from_slice(&n.to_le_bytes());
        }
    }
    for (at, bytes) in [(0x1000, &notes), (0x2000, &code), (0x3010, &data)] {
        out.resize(at, 0x5a);
        out.extend_from_slice(bytes);
    }
    out
}

pub(crate) fn kernel() -> Vec<u8> {
    kernel_of(payload::FORMAT)
}

pub(crate) fn image() -> Image {
    assemble::assemble(&kernel(), &guest(GUEST).payload(&NO_MODULES), None, &Platform::ALL).unwrap()
}
