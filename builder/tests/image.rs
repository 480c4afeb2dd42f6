//! Images: what is put in comes out, and nothing else is ever taken for one.

mod common;

use atoll_builder::assemble::{self, BadKernel};
use atoll_config::atom::FileKind;
use atoll_config::code;
use atoll_config::image::{self, BadImage, Image, Platform, SegmentKind, TRAILER};
use atoll_config::payload::{Component, FORMAT, Module, Payload};
use atoll_config::text::{Checked, Modules, NO_MODULES, OwnedModule};
use common::{GUEST, guest, image, kernel, kernel_of};
use proptest::prelude::*;

#[test]
fn an_image_holds_the_kernel_and_the_payload_and_says_what_it_is() {
    let image = image();
    let checked = guest(GUEST);
    assert_eq!(image.payload(), checked.payload(&NO_MODULES));
    let m = image.manifest();
    assert_eq!((m.name.as_str(), m.version.as_str(), m.memory), ("hello", "1", 4 << 20));
    assert_eq!(m.exports, ["clock", "greeter", "motd"]);
    assert_eq!(m.imports[0].at, "/data");
    assert_eq!(
        m.components.iter().map(|c| c.kind.as_str()).collect::<Vec<_>>(),
        ["clock", "greeter"]
    );
    assert_eq!(m.can, ["stop"]);
    assert_eq!(m.payload_hash, image.sealed().hash);
    let payload = image.segments().last().unwrap();
    // The kernel's last segment ends at 0x102010 + 0x5000.
    assert_eq!((payload.paddr, payload.kind), (0x10_8000, SegmentKind::Load));
    assert_eq!(payload.mode(), "r--");
    let again = Image::parse(image.bytes()).unwrap();
    assert_eq!(again.hash(), image.hash());
}

#[test]
fn the_kernels_segments_and_notes_are_where_its_loader_looks() {
    let image = image();
    let loads: Vec<_> = image.segments().iter().filter(|s| s.kind == SegmentKind::Load).collect();
    assert_eq!(
        loads.iter().map(|s| s.vaddr).collect::<Vec<_>>(),
        [0x10_0000, 0x10_1000, 0x10_2010, 0x10_8000]
    );
    assert_eq!(loads[2].memsz, 0x5000);
    for s in &loads {
        assert_eq!(s.offset % s.align, s.vaddr % s.align);
    }
    // The PVH entry: the first note, inside the first segment.
    let note = image.segments()[0];
    assert_eq!(note.kind, SegmentKind::Note);
    assert_eq!(note.offset, loads[0].offset);
    assert!(
        image.bytes()[note.offset as usize..].starts_with(b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0")
    );
    // Small in the file: no page is padded.
    assert!(image.bytes().len() < kernel().len());
}

#[test]
fn the_same_guest_gives_the_same_bytes_and_another_value_another_identity() {
    assert_eq!(image().bytes(), image().bytes());
    let other = guest(&GUEST.replace("250ms", "251ms"));
    let other =
        assemble::assemble(&kernel(), &other.payload(&NO_MODULES), None, &Platform::ALL).unwrap();
    assert_ne!(other.manifest().payload_hash, image().manifest().payload_hash);
    assert_eq!(other.manifest().kernel_hash, image().manifest().kernel_hash);
    // Where a guest may run is not what it is.
    let narrow =
        assemble::assemble(&kernel(), &guest(GUEST).payload(&NO_MODULES), None, &[Platform::Qemu])
            .unwrap();
    assert_eq!(narrow.manifest().payload_hash, image().manifest().payload_hash);
    assert_ne!(narrow.hash(), image().hash());
}

fn refused(bytes: &[u8]) -> String {
    Image::parse(bytes).unwrap_err().to_string()
}

/// The bytes with one of them changed and the trailer made anew, as somebody
/// who means harm would.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = image().bytes().to_vec();
    bytes.truncate(bytes.len() - TRAILER);
    change(&mut bytes);
    let trailer = image::seal(&bytes);
    bytes.extend_from_slice(&trailer);
    bytes
}

#[test]
fn every_refusal_names_the_place_and_what_to_do() {
    let image = image();
    let good = image.bytes();
    let end = good.len();
    assert!(refused(b"").contains("not an image"));
    assert!(refused(b"#!/bin/sh").contains("does not begin with an ELF header"));
    let cut = refused(&good[..end - 500]);
    assert!(cut.contains(&format!("truncated at byte {}", end - 500)), "{cut}");
    assert!(cut.contains(&format!("the whole image has {end} bytes")), "{cut}");
    assert!(refused(&kernel()).contains("trailer is missing"), "{}", refused(&kernel()));
    let mut other = good.to_vec();
    other[end - TRAILER + 8] = 1;
    assert!(refused(&other).contains("image format 1, but this atoll reads format 3"));

    let flip = |at: usize| {
        let mut bytes = good.to_vec();
        bytes[at] ^= 0x10;
        refused(&bytes)
    };
    let payload = image.segments().last().unwrap().offset as usize;
    let found = flip(payload + 60);
    assert!(
        found.contains(&format!("the payload segment at offset {payload} does not match")),
        "{found}"
    );
    assert!(found.contains("cargo xtask build"), "{found}");
    let code = image.segments()[2].offset as usize;
    assert!(flip(code + 1000).contains("the kernel at offset"), "{}", flip(code + 1000));
    let json = good.windows(6).position(|w| w == b"Atoll\0").unwrap();
    assert!(flip(json + 1).contains("at offset"));
    assert!(flip(end - 1).contains("trailer"));
}

#[test]
fn a_forged_image_is_refused_though_its_trailer_is_right() {
    let at = image().segments().last().unwrap().offset as usize;
    assert!(matches!(Image::parse(forged(|b| b[at + 60] ^= 1)), Err(BadImage::Damaged { .. })));
    let mut long = forged(|b| b.extend_from_slice(&[0; 64]));
    assert!(Image::parse(&long[..]).is_ok(), "bytes behind the ELF are in no segment");
    long.push(0);
    assert!(Image::parse(&long[..]).is_err());
    let renamed = forged(|b| {
        let at = b.windows(7).position(|w| w == b"\"hello\"").unwrap();
        b[at + 1] = b'j';
    });
    assert!(refused(&renamed).contains("manifest"), "{}", refused(&renamed));
    let far = forged(|b| {
        let header = 64 + 56 * 5;
        b[header + 24..header + 32].copy_from_slice(&u64::MAX.to_le_bytes());
    });
    assert!(refused(&far).contains("not an image"), "{}", refused(&far));
}

#[test]
fn a_payload_that_breaks_a_rule_is_refused() {
    let guest = guest(GUEST);
    let try_it = |change: &dyn Fn(&mut Payload<'_>)| {
        let mut p = guest.payload(&NO_MODULES);
        change(&mut p);
        assemble::assemble(&kernel(), &p, None, &Platform::ALL).unwrap_err().to_string()
    };
    assert!(try_it(&|p| p.name = "Hello").contains("a to z"));
    assert!(try_it(&|p| p.files[0].path = "a/../b").contains(".."));
    assert!(try_it(&|p| p.files[0].path = "greeter/x").contains("collide"));
    assert!(try_it(&|p| p.imports[0].at = "data").contains("absolute"));
    assert!(try_it(&|p| p.components[0].kind = "greter").contains("unknown kind"));
    assert!(try_it(&|p| p.components[0].params.clear()).contains("made for another"));
    assert!(try_it(&|p| p.components[0].state_version = 9).contains("made for another"));
    assert!(try_it(&|p| p.budget.messages = 0).contains("sponsor"));
}

#[test]
fn a_kernel_that_does_not_fit_is_refused_before_anything_is_written() {
    let guest = guest(GUEST);
    let assemble = |kernel: &[u8]| {
        assemble::assemble(kernel, &guest.payload(&NO_MODULES), None, &Platform::ALL)
    };
    let other = assemble(&kernel_of(FORMAT + 1)).unwrap_err().to_string();
    assert!(other.contains(&format!("reads payload format {}", FORMAT + 1)), "{other}");
    assert!(assemble(b"junk").is_err());
    let big = format!("[[file]]\npath = \"big\"\ntext = \"{}\"\n", "x".repeat(900 << 10));
    let big = common::guest(&(GUEST.replace("4MiB", "2MiB") + &big));
    let e =
        assemble::assemble(&kernel(), &big.payload(&NO_MODULES), None, &Platform::ALL).unwrap_err();
    assert!(matches!(e, BadKernel::Memory { .. }));
    assert!(e.to_string().contains("raise [guest] memory to \""), "{e}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_flipped_bit_is_always_refused(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = image_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Image::parse(bytes).is_err());
    }

    #[test]
    fn a_flipped_bit_in_an_image_with_code_is_always_refused(
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut bytes = with_code().bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Image::parse(bytes).is_err());
        prop_assert!(Image::parse(&with_code().bytes()[..at]).is_err());
    }

    #[test]
    fn a_truncated_image_is_always_refused(at in any::<prop::sample::Index>()) {
        let bytes = image_bytes();
        prop_assert!(Image::parse(&bytes[..at.index(bytes.len())]).is_err());
    }

    /// With the trailer made right again, so that what lies behind it is tried.
    #[test]
    fn no_forgery_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        head in any::<bool>(),
    ) {
        let _ = Image::parse(forged_from(image_bytes(), &changes, head));
        let _ = Image::parse(forged_from(with_code().bytes(), &changes, head));
    }
}

/// Bytes that stand for a module: an image need not know what Wasm is.
const WASM: &[u8] = b"\0asm\x01\0\0\0 and the rest of a module";

/// A guest with two atoms of one module.
fn atoms() -> (Checked, Modules) {
    let atom = |name: &str| format!("[[atom]]\nname = \"{name}\"\npath = \"count.wat\"\n");
    let guest = guest(&format!("{GUEST}{}{}", atom("one"), atom("two")));
    let mut modules = Modules::default();
    for _ in 0..2 {
        let files = vec![("count".to_owned(), FileKind::Text)];
        modules.push(OwnedModule::new("count".to_owned(), WASM.to_vec(), files));
    }
    (guest, modules)
}

fn native(wasm: &[u8]) -> Vec<u8> {
    let hash = OwnedModule::new(String::new(), wasm.to_vec(), Vec::new()).hash;
    let bytes: Vec<u8> = (0..5000u32).map(|i| (i * 3) as u8).collect();
    code::seal("a compiler 1", "x86-64-v2", &[(hash, &bytes)]).unwrap()
}

fn with_code() -> &'static Image {
    static IMAGE: std::sync::OnceLock<Image> = std::sync::OnceLock::new();
    IMAGE.get_or_init(|| {
        let (guest, modules) = atoms();
        let native = native(WASM);
        let payload = guest.payload(&modules);
        assemble::assemble(&kernel(), &payload, Some(&native), &Platform::ALL).unwrap()
    })
}

#[test]
fn native_code_lies_behind_the_payload_and_the_manifest_names_it() {
    let image = with_code();
    let code = image.code().unwrap();
    let payload = image.payload();
    assert_eq!(payload.modules.len(), 1);
    assert_eq!(code.find(&payload.modules[0].hash).unwrap().len(), 5000);
    let [.., before, last] = image.segments() else { panic!("segments") };
    assert_eq!(last.paddr, (before.paddr + before.memsz).next_multiple_of(image::PAGE));
    let m = image.manifest();
    assert_eq!((m.modules[0].name.as_str(), m.modules[0].code), ("count", 5000));
    assert_eq!(m.modules[0].hash, payload.modules[0].hash);
    let native = m.native.as_ref().unwrap();
    assert_eq!((native.compiler.as_str(), native.cpu.as_str()), ("a compiler 1", "x86-64-v2"));
    assert_eq!((native.hash, m.abi.atom), (code.hash, Some(1)));
    assert!(m.exports.contains(&"two".to_owned()));
    let plain = String::from_utf8(common::image().manifest().to_json()).unwrap();
    assert!(!plain.contains("modules") && !plain.contains("native"), "{plain}");
    assert!(common::image().code().is_none());
}

#[test]
fn code_that_is_not_the_payloads_is_refused() {
    let (guest, modules) = atoms();
    let make = |modules: &Modules, native: Option<&[u8]>| {
        let payload = guest.payload(modules);
        assemble::assemble(&kernel(), &payload, native, &Platform::ALL).unwrap_err().to_string()
    };
    assert!(make(&modules, None).contains("there is none, but a module \"count\""));
    assert!(make(&modules, Some(&native(b"other"))).contains("made of other modules"));
    assert!(make(&modules, Some(b"junk")).contains("magic number"));
    let mut other = modules.clone();
    other.list[0].wasm.push(0);
    assert!(make(&other, Some(&native(WASM))).contains("not the one of its hash"));
    let plain = common::guest(GUEST);
    let payload = plain.payload(&NO_MODULES);
    let e = assemble::assemble(&kernel(), &payload, Some(&native(WASM)), &Platform::ALL);
    assert!(e.unwrap_err().to_string().contains("the payload has no modules"));
    let at = with_code().segments().last().unwrap().offset as usize;
    let mut bytes = with_code().bytes().to_vec();
    bytes[at + 40] ^= 1;
    let found = refused(&bytes);
    assert!(found.contains(&format!("the code segment at offset {at} does not match")), "{found}");
}

#[test]
fn atoms_that_break_a_rule_are_refused() {
    let (guest, modules) = atoms();
    let native = native(WASM);
    let try_it = |change: &dyn Fn(&mut Payload<'_>)| {
        let mut p = guest.payload(&modules);
        change(&mut p);
        let made = assemble::assemble(&kernel(), &p, Some(&native), &Platform::ALL);
        made.unwrap_err().to_string()
    };
    let at = |p: &mut Payload<'_>| p.components.len() - 1;
    for (why, change) in [
        ("its module is not there", (|c| c.module = Some(1)) as fn(&mut Component<'_>)),
        ("its module is not there", |c| c.module = None),
        ("ABI 2, but only 1", |c| c.state_version = 2),
        ("beyond its guest's memory", |c| c.limits.memory = 1 << 30),
        ("no multiple of 64 KiB", |c| c.limits.memory = 100_000),
        ("stack of 0", |c| c.limits.stack = 0),
        ("deadline of 1 ", |c| c.limits.deadline_ns = 1),
        ("one text", |c| c.params.clear()),
        ("is no atom and has a module", |c| c.kind = "clock"),
    ] {
        let found = try_it(&|p| {
            let at = at(p);
            change(&mut p.components[at]);
        });
        assert!(found.contains(why), "{why}: {found}");
    }
    for (why, change) in [
        ("no name", (|m| m.name = "a/b") as fn(&mut Module<'_>)),
        ("is there twice", |m| m.files.push(m.files[0])),
        ("in a file's name stand", |m| m.files[0].name = "a b"),
        ("0 bytes cannot be kept", |m| m.files[0].kind = FileKind::Next { keep: 0 }),
    ] {
        let found = try_it(&|p| change(&mut p.modules[0]));
        assert!(found.contains(why), "{why}: {found}");
    }
    assert!(try_it(&|p| p.modules.push(p.modules[0].clone())).contains("is there twice"));
    let unused = try_it(&|p| p.components.retain(|c| c.module.is_none()));
    assert!(unused.contains("no atom uses it"), "{unused}");
}

fn image_bytes() -> &'static [u8] {
    static IMAGE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    IMAGE.get_or_init(|| image().bytes().to_vec())
}

fn forged_from(image: &[u8], changes: &[(prop::sample::Index, u8)], head: bool) -> Vec<u8> {
    let mut bytes = image[..image.len() - TRAILER].to_vec();
    let range = if head { 64 + 56 * 6 } else { bytes.len() };
    for (at, value) in changes {
        bytes[at.index(range)] = *value;
    }
    let trailer = image::seal(&bytes);
    bytes.extend_from_slice(&trailer);
    bytes
}
