//! Images: what is put in comes out, and nothing else is ever taken for one.

mod common;

use atoll_builder::assemble::{self, BadKernel};
use atoll_config::image::{self, BadImage, Image, Platform, SegmentKind, TRAILER};
use atoll_config::payload::{FORMAT, Payload};
use common::{GUEST, guest, image, kernel, kernel_of};
use proptest::prelude::*;

#[test]
fn an_image_holds_the_kernel_and_the_payload_and_says_what_it_is() {
    let image = image();
    let checked = guest(GUEST);
    assert_eq!(image.payload(), checked.payload());
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
    let other = assemble::assemble(&kernel(), &other.payload(), &Platform::ALL).unwrap();
    assert_ne!(other.manifest().payload_hash, image().manifest().payload_hash);
    assert_eq!(other.manifest().kernel_hash, image().manifest().kernel_hash);
    // Where a guest may run is not what it is.
    let narrow = assemble::assemble(&kernel(), &guest(GUEST).payload(), &[Platform::Qemu]).unwrap();
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
    other[end - TRAILER + 8] = 2;
    assert!(refused(&other).contains("image format 2, but this atoll reads format 1"));

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
        let mut p = guest.payload();
        change(&mut p);
        assemble::assemble(&kernel(), &p, &Platform::ALL).unwrap_err().to_string()
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
    let assemble = |kernel: &[u8]| assemble::assemble(kernel, &guest.payload(), &Platform::ALL);
    let other = assemble(&kernel_of(FORMAT + 1)).unwrap_err().to_string();
    assert!(other.contains(&format!("reads payload format {}", FORMAT + 1)), "{other}");
    assert!(assemble(b"junk").is_err());
    let big = format!("[[file]]\npath = \"big\"\ntext = \"{}\"\n", "x".repeat(900 << 10));
    let big = common::guest(&(GUEST.replace("4MiB", "2MiB") + &big));
    let e = assemble::assemble(&kernel(), &big.payload(), &Platform::ALL).unwrap_err();
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
    }
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
