//! Checkpoints: what is written is read, and what is not one is refused with where.

use std::collections::BTreeMap;

use atoll_config::checkpoint::{
    Bad, CHUNK, Component, FORMAT, FRAME, HEADER, Header, MAGIC, Reader, Sink, Whole, Why, Writer,
};
use atoll_config::payload::Hash;
use proptest::prelude::*;

const MOST: u64 = 64 << 20;

fn chunk() -> impl Strategy<Value = Box<[u8; CHUNK]>> {
    // Zeroes, text that packs well, and noise that does not pack at all.
    (0..3, any::<u64>()).prop_map(|(kind, seed)| {
        let mut n = seed | 1;
        let mut noise = || {
            n ^= n << 13;
            n ^= n >> 7;
            n ^= n << 17;
            (n >> 32) as u8
        };
        let mut data = Box::new([0; CHUNK]);
        match kind {
            0 => {}
            1 => data[..100].fill_with(|| noise() & 7),
            _ => data.fill_with(noise),
        }
        data
    })
}

fn component() -> impl Strategy<Value = Component> {
    let chunks = prop::collection::btree_map(0..40_u32, chunk(), 0..12);
    ("[a-z]{1,12}", 0..40 * CHUNK as u64, chunks).prop_map(|(name, memory, mut chunks)| {
        chunks.retain(|n, _| u64::from(*n) * (CHUNK as u64) < memory);
        if let Some((last, data)) = chunks.iter_mut().next_back() {
            let end = (memory - u64::from(*last) * CHUNK as u64) as usize;
            data[end.min(CHUNK)..].fill(0);
        }
        Component { name, memory, chunks }
    })
}

fn whole(base: bool) -> impl Strategy<Value = Whole> {
    let base = if base { any::<[u8; 32]>().prop_map(Some).boxed() } else { Just(None).boxed() };
    let header = (any::<[u8; 32]>(), base, any::<u64>()).prop_map(|(payload, base, time)| Header {
        payload: Hash(payload),
        base: base.map(Hash),
        time,
    });
    let state = prop::collection::vec(any::<u8>(), 0..3000);
    let components = prop::collection::btree_map(0..9_u32, component(), 0..5);
    (header, any::<u32>(), state, components).prop_map(|(header, version, state, components)| {
        Whole { header, hash: Hash([0; 32]), version, state, components }
    })
}

/// Without the chunks that say nothing: those of zeroes.
fn plain(mut whole: Whole) -> Whole {
    let named = |data: &[u8; CHUNK]| data.iter().any(|b| *b != 0);
    whole.components.values_mut().for_each(|c| c.chunks.retain(|_, data| named(data)));
    whole
}

fn sample() -> Vec<u8> {
    let data = Box::new(std::array::from_fn(|i| i as u8));
    let chunks = BTreeMap::from([(0, data.clone()), (9, data)]);
    let component = Component { name: "counter".into(), memory: 10 * CHUNK as u64, chunks };
    let header = Header { payload: Hash([7; 32]), base: None, time: 42 };
    let components = BTreeMap::from([(3, component)]);
    let state = b"the runtime's part".to_vec();
    Whole { header, hash: Hash([0; 32]), version: 1, state, components }.write().0
}

proptest! {
    #[test]
    fn what_is_written_is_read(whole in prop_oneof![whole(false), whole(true)]) {
        let (bytes, hash) = whole.write();
        let read = Whole::read(&bytes, MOST).expect("a checkpoint");
        let expected = match whole.header.base {
            Some(_) => Whole { hash, ..whole },
            None => Whole { hash, ..plain(whole) },
        };
        prop_assert_eq!(&read, &expected);
        prop_assert_eq!(read.write(), (bytes, hash));
    }

    #[test]
    fn pieces_do_not_matter(whole in whole(false), cuts in prop::collection::vec(1..5000_usize, 1..9)) {
        let (bytes, hash) = whole.write();
        let (mut reader, mut rest) = (Reader::new(), bytes.as_slice());
        for n in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*n).min(rest.len()));
            prop_assert_eq!(reader.whole(), None);
            reader.feed(now, &mut ()).expect("a piece of a checkpoint");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(reader.finish(), Ok((whole.header, hash)));
        prop_assert_eq!(reader.whole(), Some(hash));
    }

    #[test]
    fn nothing_else_is_taken(whole in whole(true), at in any::<prop::sample::Index>(), bit in 0..8, cut in any::<prop::sample::Index>()) {
        let (bytes, _) = whole.write();
        let mut flipped = bytes.clone();
        flipped[at.index(bytes.len())] ^= 1_u8 << bit;
        prop_assert!(Reader::read(&flipped, &mut ()).is_err());
        let cut = cut.index(bytes.len());
        let bad = Reader::read(&bytes[..cut], &mut ()).expect_err("cut short");
        prop_assert_eq!(bad, Bad { at: cut as u64, why: Why::Cut });
        let longer = [&bytes[..], b"x"].concat();
        let bad = Reader::read(&longer, &mut ()).expect_err("longer");
        prop_assert_eq!(bad, Bad { at: bytes.len() as u64, why: Why::Behind });
    }

    #[test]
    fn an_increment_makes_of_its_base_what_was_cut(before in whole(false), after in whole(false), extra in prop::collection::vec((0..9_u32, 0..40_u32), 0..9)) {
        let (bytes, hash) = before.write();
        let after = Whole { header: Header { payload: before.header.payload, ..after.header }, ..plain(after) };
        // What differs is named, and some that does not.
        let mut increment = after.clone();
        increment.header.base = Some(hash);
        let zero = || Box::new([0; CHUNK]);
        for (number, component) in &mut increment.components {
            let old = before.components.get(number);
            let all = component.memory.div_ceil(CHUNK as u64) as u32;
            for n in 0..all {
                let was = old.and_then(|c| c.chunks.get(&n)).cloned().unwrap_or_else(zero);
                let is = component.chunks.get(&n).cloned().unwrap_or_else(zero);
                if was != is || extra.contains(&(*number, n)) {
                    component.chunks.insert(n, is);
                } else {
                    component.chunks.remove(&n);
                }
            }
        }
        let increment = Whole::read(&increment.write().0, MOST).expect("an increment");
        let composed = Whole::read(&bytes, MOST).expect("a base").compose(increment.clone());
        prop_assert_eq!(composed, Ok(Whole { hash: increment.hash, ..after }));
    }
}

#[test]
fn the_first_bytes_are_those_that_the_documentation_names() {
    let bytes = sample();
    assert_eq!(bytes[..8], MAGIC);
    assert_eq!(bytes[8..12], FORMAT.to_le_bytes());
    assert_eq!(bytes[12..16], [0; 4]);
    assert_eq!(bytes[16..48], [7; 32]);
    assert_eq!(bytes[48..80], [0; 32]);
    assert_eq!(bytes[80..88], 42_u64.to_le_bytes());
    let end = bytes.len() - 32;
    assert_eq!(bytes[end - 8..end], [0; 8]);
    assert_eq!(bytes[end..], *blake3::hash(&bytes[..end]).as_bytes());
}

#[test]
fn a_chain_of_increments_is_put_together_in_its_order_only() {
    let base = Whole::read(&sample(), MOST).expect("a checkpoint");
    let step = |base: Hash, n: u8| {
        let mut next = Whole::read(&sample(), MOST).expect("a checkpoint");
        next.header.base = Some(base);
        next.header.time += u64::from(n);
        next.state = vec![n];
        let component = next.components.get_mut(&3).expect("its component");
        component.chunks = BTreeMap::from([(u32::from(n), Box::new([n; CHUNK]))]);
        Whole::read(&next.write().0, MOST).expect("an increment")
    };
    let (one, start) = (step(base.hash, 1), base.hash);
    let two = step(one.hash, 2);
    let why = base.clone().compose(two.clone()).expect_err("a gap").to_string();
    assert_eq!(why, "the increment builds on another checkpoint than this one");
    let both = base.compose(one).and_then(|w| w.compose(two)).expect("a chain");
    assert_eq!((both.header.time, both.state.as_slice()), (44, &[2][..]));
    let chunks = &both.components[&3].chunks;
    assert_eq!(chunks.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 9]);
    assert_eq!((chunks[&1][0], chunks[&2][0], chunks[&9][1]), (1, 2, 1));
    assert_eq!(both.header.base, None);
    assert_ne!(both.hash, start);
}

/// A checkpoint of these records, hash and all.
fn forged(base: bool, records: &[&[u8]]) -> Vec<u8> {
    let base = base.then_some(Hash([1; 32]));
    let header = Header { payload: Hash([7; 32]), base, time: 0 };
    let mut out = Vec::new();
    let mut writer = Writer::new(&header, &mut out);
    // What a state's bytes are said to be is the writer's caller's word.
    records.iter().for_each(|record| writer.state_bytes(record, &mut out));
    writer.finish(&mut out);
    out
}

#[test]
fn hostile_records_are_refused_with_their_kind() {
    let state = |len: u64| [&[1, 0, 0, 0, 0], &len.to_le_bytes()[..]].concat();
    let component = |n: u32, memory: u64, name: &[u8]| {
        let fields = [&n.to_le_bytes()[..], &memory.to_le_bytes(), &[name.len() as u8], name];
        [&[2][..], &fields.concat()].concat()
    };
    let chunk = |n: u32, data: &[u8]| [&[3][..], &n.to_le_bytes(), data].concat();
    let (none, one) = (state(0), component(1, 5000, b"a"));
    let page = [7; CHUNK];
    let mut short = [0; CHUNK];
    short[..904].fill(1);
    let why =
        |records: &[&[u8]]| Reader::read(&forged(false, records), &mut ()).map_err(|b| b.why).err();
    assert_eq!(why(&[]), Some(Why::State));
    assert_eq!(why(&[&none]), None);
    assert_eq!(why(&[&none, &none]), Some(Why::State));
    assert_eq!(why(&[&one, &none]), Some(Why::State));
    assert_eq!(why(&[&state(u64::MAX), &page]), Some(Why::Cut));
    assert_eq!(why(&[&none, &[9]]), Some(Why::Kind(9)));
    assert_eq!(why(&[&none, &[0]]), Some(Why::Kind(0)));
    assert_eq!(why(&[&none, &one, &one]), Some(Why::Component));
    assert_eq!(why(&[&none, &component(2, 0, b"b"), &one]), Some(Why::Component));
    assert_eq!(why(&[&none, &component(1, (1 << 32) + 1, b"a")]), Some(Why::Component));
    assert_eq!(why(&[&none, &component(1, 1 << 32, b"a")]), None);
    assert_eq!(why(&[&none, &component(1, 0, b"\xff")]), Some(Why::Component));
    assert_eq!(why(&[&none, &component(1, 0, b"a\nb")]), Some(Why::Component));
    assert_eq!(why(&[&none, &component(1, 0, b"")]), None);
    assert_eq!(why(&[&none, &component(1, 0, &[b'a'; 255])]), None);
    assert_eq!(why(&[&none, &one[..10]]), Some(Why::Cut));
    assert_eq!(why(&[&none, &chunk(0, &page)]), Some(Why::Chunk));
    assert_eq!(why(&[&none, &one, &chunk(0, &page), &chunk(1, &short)]), None);
    assert_eq!(why(&[&none, &one, &chunk(1, &page)]), Some(Why::Chunk));
    assert_eq!(why(&[&none, &one, &chunk(2, &[0; CHUNK])]), Some(Why::Chunk));
    assert_eq!(why(&[&none, &one, &chunk(u32::MAX, &page)]), Some(Why::Chunk));
    assert_eq!(why(&[&none, &one, &chunk(0, &page), &chunk(0, &page)]), Some(Why::Chunk));
    assert_eq!(why(&[&none, &one, &chunk(0, &page[1..])]), Some(Why::Cut));
    let zero = [&[4][..], &0_u32.to_le_bytes()].concat();
    assert_eq!(why(&[&none, &one, &zero]), Some(Why::Kind(4)));
    assert!(Reader::read(&forged(true, &[&none, &one, &zero]), &mut ()).is_ok());
}

#[test]
fn hostile_headers_and_frames_are_refused_where_they_are() {
    let bytes = sample();
    let with = |at: usize, new: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        Reader::read(&bytes, &mut ()).expect_err("refused")
    };
    assert_eq!(with(0, b"ATOLLPLD"), Bad { at: 0, why: Why::Magic });
    assert_eq!(with(8, &[2]), Bad { at: 8, why: Why::Format(2) });
    assert_eq!(with(12, &[2]), Bad { at: 12, why: Why::Flags(2) });
    assert_eq!(with(48, &[1]), Bad { at: 48, why: Why::Flags(0) });
    let frame = HEADER as u64;
    let lengths = |n: u32, m: u32| with(HEADER, &[n.to_le_bytes(), m.to_le_bytes()].concat());
    assert_eq!(lengths(u32::MAX, 9), Bad { at: frame, why: Why::Frame });
    assert_eq!(lengths(FRAME as u32 + 1, 9), Bad { at: frame, why: Why::Frame });
    assert_eq!(lengths(9, 10), Bad { at: frame, why: Why::Frame });
    assert_eq!(lengths(9, 0), Bad { at: frame, why: Why::Frame });
    assert_eq!(lengths(0, 9), Bad { at: frame, why: Why::Frame });
    assert_eq!(lengths(0, 0), Bad { at: frame, why: Why::State });
    assert_eq!(lengths(FRAME as u32, 20), Bad { at: frame + 8, why: Why::Packed });
    assert_eq!(with(16, &[8]), Bad { at: bytes.len() as u64 - 32, why: Why::Hash });
    assert_eq!(with(bytes.len() - 1, &[0x55]).why, Why::Hash);
    let text = Reader::read(&bytes[..40], &mut ()).expect_err("cut").to_string();
    assert_eq!(text, "it is cut short here (at byte 40)");
    let text = Reader::read(b"#!/bin/sh", &mut ()).expect_err("a script").to_string();
    assert_eq!(text, "no checkpoint: it does not begin with ATOLLCKP (at byte 0)");
    assert_eq!(Reader::read(b"", &mut ()), Err(Bad { at: 0, why: Why::Cut }));
}

#[test]
fn a_refusal_is_the_sinks_own_word_and_lasts() {
    struct Other;
    impl Sink for Other {
        fn header(&mut self, _: &Header) -> Result<(), &'static str> {
            Err("another payload")
        }
    }
    let (bytes, mut reader) = (sample(), Reader::new());
    let bad = reader.feed(&bytes, &mut Other).expect_err("refused");
    assert_eq!(bad.to_string(), "another payload");
    assert_eq!(reader.feed(&bytes, &mut ()), Err(bad));
    assert_eq!(reader.finish(), Err(bad));
    assert_eq!(reader.whole(), None);
}

#[test]
fn what_unpacks_to_more_than_is_allowed_is_not_kept() {
    let header = Header { payload: Hash([7; 32]), base: None, time: 0 };
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&header, &mut bytes);
    writer.state(1, 16 << 20, &mut bytes);
    (0..16 << 8).for_each(|_| writer.state_bytes(&[0; CHUNK], &mut bytes));
    writer.finish(&mut bytes);
    assert!(bytes.len() < 100_000, "{} bytes", bytes.len());
    let why = Whole::read(&bytes, 1 << 20).expect_err("too much").to_string();
    assert_eq!(why, "it unpacks to more bytes than are read");
    assert_eq!(Whole::read(&bytes, 16 << 20).map(|w| w.state.len()), Ok(16 << 20));
}
