//! Target `checkpoint`: the bytes are a checkpoint, its frames, or its records.
//!
//! A guest takes checkpoints from whoever may write its tree. A hash ends each, which no
//! fuzzer guesses; so the bytes are tried as they are, and again as what stands between a
//! header and a hash that are right. Whatever is taken must be the same in pieces, and
//! written again be read again.

use atoll_config::checkpoint::{Bad, CHUNK, FRAME, Header, Reader, Whole, Writer};
use atoll_config::payload::Hash;

use crate::rng::Rng;

/// The most bytes that an input may unpack to.
const MOST: u64 = 4 << 20;

/// Tries one input.
pub fn run(bytes: &[u8]) {
    read(bytes);
    for base in [None, Some(Hash([1; 32]))] {
        let header = Header { payload: Hash([7; 32]), base, time: 0 };
        read(&sealed(&header, bytes));
        let mut records = Vec::new();
        let mut writer = Writer::new(&header, &mut records);
        writer.state_bytes(bytes, &mut records);
        writer.finish(&mut records);
        read(&records);
    }
}

/// These frames, with a header before and the last frame and the hash behind them.
fn sealed(header: &Header, frames: &[u8]) -> Vec<u8> {
    let mut out = [&header.bytes(), frames, &[0; 8]].concat();
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}

fn read(bytes: &[u8]) {
    let at_once = Reader::read(bytes, &mut ());
    let mut reader = Reader::new();
    let done = bytes.chunks(7).try_for_each(|piece| reader.feed(piece, &mut ()));
    assert_eq!(done.and_then(|()| reader.finish()), at_once);
    assert_eq!(reader.whole(), at_once.ok().map(|(_, hash)| hash));
    if let Err(Bad { at, .. }) = at_once {
        assert!(at <= bytes.len() as u64, "refused at {at} of {} bytes", bytes.len());
        return;
    }
    let Ok(whole) = Whole::read(bytes, MOST) else { return };
    let held = whole.components.values().map(|c| c.chunks.len() * CHUNK).sum::<usize>();
    assert!(held as u64 <= MOST);
    let (again, hash) = whole.write();
    let twice = Whole::read(&again, MOST).expect("what was written is read");
    assert_eq!(twice.hash, hash);
    assert_eq!(twice.state, whole.state);
    assert_eq!(twice.write().0, again);
}

/// Checkpoints, their frames, and their records.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(11);
    let mut seeds = vec![Vec::new()];
    for n in 0..8_u8 {
        let base = (n % 2 == 1).then_some(Hash([n; 32]));
        let header = Header { payload: Hash([n; 32]), base, time: n.into() };
        let mut out = Vec::new();
        let mut writer = Writer::new(&header, &mut out);
        let mut state = vec![n; usize::from(n) * 9];
        state.iter_mut().step_by(3).for_each(|b| *b = rng.below(256) as u8);
        writer.state(1, state.len() as u64, &mut out);
        writer.state_bytes(&state, &mut out);
        for number in 0..u32::from(n) {
            let memory = rng.below(1 << 20) + 3 * CHUNK;
            writer.component(number, &"name"[..rng.below(5)], memory as u64, &mut out);
            let data = [number as u8 * (n & 1); CHUNK];
            (0..3).for_each(|chunk| writer.chunk(chunk, &data, &mut out));
        }
        writer.finish(&mut out);
        let frames = &out[88..out.len() - 40];
        let records = [&[1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, n, 2][..], &[0; 13]].concat();
        let plain = [&(records.len() as u32).to_le_bytes()[..], &[records.len() as u8, 0, 0, 0]];
        seeds.push([&plain.concat()[..], &records].concat());
        seeds.push(records);
        seeds.push(frames.to_vec());
        seeds.push(out);
    }
    seeds.push([(FRAME as u32).to_le_bytes(), 20_u32.to_le_bytes()].concat());
    seeds.retain(|seed| seed.len() <= crate::MAX_INPUT);
    seeds
}

/// What becomes of the bytes, for people.
pub fn show(bytes: &[u8]) -> String {
    let header = Header { payload: Hash([7; 32]), base: None, time: 0 };
    format!(
        "{bytes:02x?}\nas it is: {:?}\nas frames: {:?}\n",
        Reader::read(bytes, &mut ()),
        Reader::read(&sealed(&header, bytes), &mut ()),
    )
}
