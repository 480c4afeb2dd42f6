//! Native code beside a payload: what is put in comes out, and nothing else.

use atoll_config::code::{self, BadCode, Code, HEADER, PAGE};
use atoll_config::payload::Hash;
use proptest::prelude::*;

fn sealed(code: &[Vec<u8>]) -> Vec<u8> {
    let list: Vec<_> =
        code.iter().enumerate().map(|(i, c)| (Hash([i as u8; 32]), c.as_slice())).collect();
    code::seal("a compiler 1.2", "x86-64-v2", &list).unwrap()
}

fn codes() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 0..5)
}

proptest! {
    #[test]
    fn every_module_finds_its_code_at_a_page(codes in codes()) {
        let bytes = sealed(&codes);
        // A loader may leave zeroes behind it.
        let longer = [bytes.clone(), vec![0; 100]].concat();
        let code = Code::parse(&longer).unwrap();
        prop_assert!(code.intact());
        prop_assert_eq!(code.bytes(), bytes.as_slice());
        prop_assert_eq!((code.compiler(), code.level()), ("a compiler 1.2", "x86-64-v2"));
        prop_assert_eq!(code.artefacts().count(), codes.len());
        for (i, one) in codes.iter().enumerate() {
            prop_assert_eq!(code.find(&Hash([i as u8; 32])), Some(one.as_slice()));
        }
        prop_assert!(code.artefacts().all(|a| a.offset % PAGE == 0));
        prop_assert_eq!(code.find(&Hash([99; 32])), None);
    }

    #[test]
    fn a_cut_is_refused_and_a_flipped_bit_is_seen(
        codes in codes(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut bytes = sealed(&codes);
        let at = at.index(bytes.len());
        prop_assert!(Code::parse(&bytes[..at]).is_err());
        bytes[at] ^= 1 << bit;
        if let Ok(code) = Code::parse(&bytes) {
            let shorter = code.bytes().len() != bytes.len();
            prop_assert!(!code.intact() || (at < HEADER && shorter));
        }
    }

    /// Also when the hash is right: a table may say anything.
    #[test]
    fn no_table_leads_outside(
        codes in codes(),
        changes in prop::collection::vec((0..300usize, any::<u8>()), 1..8),
    ) {
        let mut bytes = sealed(&codes);
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(8 + at) {
                *place = byte;
            }
        }
        if let Ok(code) = Code::parse(&bytes) {
            let whole = bytes.as_ptr_range();
            for a in code.artefacts() {
                prop_assert_eq!(a.offset % PAGE, 0);
                let range = a.code.as_ptr_range();
                prop_assert!(whole.start <= range.start && range.end <= whole.end);
            }
            prop_assert!(!code.compiler().is_empty());
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let good = sealed(&[vec![1; 10], vec![2; 5000]]);
    let with = |at: usize, bytes: &[u8]| {
        let mut out = good.clone();
        out[at..at + bytes.len()].copy_from_slice(bytes);
        Code::parse(&out).unwrap_err()
    };
    assert_eq!(with(0, b"x"), BadCode::Magic);
    assert_eq!(with(8, &[9]), BadCode::Format(9));
    assert_eq!(with(12, &[0xff; 4]), BadCode::Length(u32::MAX));
    assert_eq!(with(48, &[0]), BadCode::Table);
    assert_eq!(with(96, &[7]), BadCode::Table);
    assert_eq!(with(112, &[0xff; 4]), BadCode::Table);
    // The first entry's offset and length, then the second's.
    assert_eq!(with(148, &[1]), BadCode::Entry(0));
    assert_eq!(with(148, &[0; 4]), BadCode::Entry(0));
    assert_eq!(with(152, &[0xff; 4]), BadCode::Entry(0));
    assert_eq!(with(188, &good[148..152]), BadCode::Entry(1));
    assert_eq!(Code::parse(&good[..10]).unwrap_err(), BadCode::Magic);
    assert_eq!(code::seal("", "x", &[]), None);
    assert_eq!(code::seal("x", &"x".repeat(17), &[]), None);
}
