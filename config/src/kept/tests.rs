use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;

use proptest::prelude::*;

use super::*;

/// A change that owns what it has.
#[derive(Clone, Debug)]
enum Change {
    Clear,
    Put(u8, u8, Vec<u8>),
    Del(u8, u8),
    Append(u8, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        1 => Just(Change::Clear),
        6 => (0..3u8, 0..6u8, bytes()).prop_map(|(c, k, v)| Change::Put(c, k, v)),
        2 => (0..3u8, 0..6u8).prop_map(|(c, k)| Change::Del(c, k)),
        2 => (0..3u8, bytes()).prop_map(|(c, r)| Change::Append(c, r)),
    ]
}

/// What is stored: values, and records.
type Stored = BTreeMap<String, (BTreeMap<Vec<u8>, Vec<u8>>, Vec<Vec<u8>>)>;

fn apply(stored: &mut Stored, op: Op<'_>) {
    match op {
        Op::Clear => stored.clear(),
        Op::Put { of, key, value } => {
            stored.entry(of.to_string()).or_default().0.insert(key.to_vec(), value.to_vec());
        }
        Op::Del { of, key } => {
            stored.entry(of.to_string()).or_default().0.remove(key);
        }
        Op::Append { of, n, record } => {
            let log = &mut stored.entry(of.to_string()).or_default().1;
            if n == log.len() as u64 {
                log.push(record.to_vec());
            }
        }
    }
}

/// A file of groups; what is stored after each, with where it ends.
fn file(groups: &[Vec<Change>]) -> (Vec<u8>, Vec<(usize, Stored)>) {
    let (mut bytes, mut ends, mut stored) = (vec![], vec![(0, Stored::new())], Stored::new());
    let mut number = 0;
    for (g, group) in groups.iter().enumerate() {
        for (i, change) in group.iter().enumerate() {
            let mut body = vec![];
            let name = |c: &u8| c.to_string();
            let (of, key, value);
            let op = match change {
                Change::Clear => Op::Clear,
                Change::Put(c, k, v) => {
                    (of, key, value) = (name(c), [*k], v);
                    Op::Put { of: &of, key: &key, value }
                }
                Change::Del(c, k) => {
                    (of, key) = (name(c), [*k]);
                    Op::Del { of: &of, key: &key }
                }
                Change::Append(c, r) => {
                    (of, value) = (name(c), r);
                    let n = stored.get(&of).map_or(0, |s| s.1.len()) as u64;
                    Op::Append { of: &of, n, record: value }
                }
            };
            op.write(&mut body);
            assert_eq!(body.len(), op.size());
            apply(&mut stored, op);
            let mut frame = frame(&body, i + 1 < group.len());
            number += 1;
            // What was written before the last group was made sure of.
            seal(&mut frame, number, if g > 0 { number - 1 - i as u64 } else { 0 });
            assert!(is_sealed(&frame));
            bytes.extend_from_slice(&frame);
        }
        ends.push((bytes.len(), stored.clone()));
    }
    (bytes, ends)
}

/// What a file shows, and up to where it is good; fed in pieces.
fn scan(bytes: &[u8], piece: usize) -> (Stored, Scan) {
    let (mut scan, mut groups, mut stored) = (Scan::default(), vec![], Stored::new());
    for piece in bytes.chunks(piece) {
        scan.feed(piece, &mut |_, head, body| {
            groups.push(body.to_vec());
            if !head.more {
                for body in groups.drain(..) {
                    ops(&body).for_each(|op| apply(&mut stored, op.unwrap()));
                }
            }
        });
    }
    (stored, scan)
}

fn groups(least: usize) -> impl Strategy<Value = Vec<Vec<Change>>> {
    proptest::collection::vec(proptest::collection::vec(change(), 1..4), least..8)
}

proptest! {
    #[test]
    fn what_was_written_is_read_and_an_end_that_is_cut_is_cut_by_groups(
        groups in groups(0),
        piece in 1..200usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let (bytes, ends) = file(&groups);
        let cut = cut.index(bytes.len() + 1);
        for len in [bytes.len(), cut] {
            let (end, expected) = ends.iter().rev().find(|(end, _)| *end <= len).unwrap();
            let (stored, scan) = scan(&bytes[..len], piece);
            prop_assert_eq!(&stored, expected);
            prop_assert_eq!(scan.good(), *end as u64);
            prop_assert!(!is_damage(&bytes[*end..len], scan.number()));
        }
    }

    #[test]
    fn a_changed_byte_is_seen_and_told_from_an_end_that_is_not_whole(
        groups in groups(1),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let (mut bytes, ends) = file(&groups);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let (_, scan) = scan(&bytes, 77);
        let group = ends.iter().filter(|(end, _)| *end <= at).count() - 1;
        prop_assert_eq!(scan.good(), ends[group].0 as u64);
        // Those before the last group are known to have been sure.
        let sure = group + 1 < groups.len();
        prop_assert_eq!(is_damage(&bytes[ends[group].0..], scan.number()), sure);
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (_, found) = scan(&bytes, 50);
        prop_assert!(found.good() <= bytes.len() as u64);
        let mut framed = frame(&bytes, false);
        seal(&mut framed, 1, 0);
        let whole = ops(&bytes).all(|op| op.is_ok());
        prop_assert_eq!(scan(&framed, 50).1.number(), u64::from(whole));
        is_damage(&bytes, 0);
    }
}

#[test]
fn sizes_are_limited() {
    let mut long = frame(&[0; 9], false);
    long[4..8].copy_from_slice(&(BODY as u32 + 1).to_le_bytes());
    assert_eq!(Head::parse(&long), Err(Bad::Length(BODY as u32 + 1)));
    assert_eq!(Head::parse(b"AKPX"), Err(Bad::Magic));
    assert_eq!(Head::parse(b"AK"), Ok(None));
    // The largest change there can be.
    let (of, key, value) = ("c".repeat(63), [7; 255], vec![1; 65_536]);
    assert!(Op::Put { of: &of, key: &key, value: &value }.size() <= BODY);
}
