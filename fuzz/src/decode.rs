//! Target `decode`: the bytes are a frame, of either direction.
//!
//! The decoders are the first code that a stranger's bytes meet. Whatever they make
//! of a frame must be a message that encodes, and what that encodes to must decode to
//! the same message and no other bytes.

use atoll_9p::dialect::Dialect;
use atoll_9p::msg::{Rmsg, Tmsg, encode_walk, entries, tag};

use crate::layout::{self, ANSWERS, REQUESTS};
use crate::rng::Rng;

/// Every dialect, each of which has messages of its own.
pub const DIALECTS: [Dialect; 3] = [Dialect::Plain, Dialect::L, Dialect::Atoll];

/// Tries one input.
pub fn run(frame: &[u8]) {
    for dialect in DIALECTS {
        request(dialect, frame);
    }
    match Rmsg::decode(frame) {
        Ok(Rmsg::Readdir { data }) => {
            let bytes: usize = entries(data).map(|e| 13 + 8 + 1 + 2 + e.name.len()).sum();
            assert!(bytes <= data.len());
        }
        Ok(Rmsg::Walk { count, last }) => assert_eq!(count == 0, last.is_none()),
        Ok(_) | Err(_) => {}
    }
}

fn request(dialect: Dialect, frame: &[u8]) {
    let Ok(m) = Tmsg::decode_in(dialect, frame) else { return };
    let mut once = Vec::new();
    m.encode_in(dialect, tag(frame), &mut once);
    let again = Tmsg::decode_in(dialect, &once).expect("what was encoded decodes");
    assert_eq!(m, again);
    assert_eq!(tag(frame), tag(&once));
    assert_eq!(once[4], frame[4]);
    assert_eq!(once[..4], (once.len() as u32).to_le_bytes());
    let mut twice = Vec::new();
    again.encode_in(dialect, tag(&once), &mut twice);
    assert_eq!(once, twice);
    if let Tmsg::Walk { fid, newfid, names } = m {
        walk(fid, newfid, &names.iter().collect::<Vec<_>>(), &once);
        assert_eq!(names.len(), names.iter().count());
    }
}

/// A path that is cut into the names of a walk is that walk.
fn walk(fid: u32, newfid: u32, names: &[&str], encoded: &[u8]) {
    if names.iter().any(|n| n.is_empty() || *n == "." || n.contains('/')) {
        return;
    }
    let mut out = Vec::new();
    let n = encode_walk(tag(encoded), fid, newfid, &names.join("/"), &mut out);
    assert_eq!(n, Ok(names.len()));
    assert_eq!(out, encoded);
}

/// A frame of each layout, some times over.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(9);
    let mut frames = Vec::new();
    for _ in 0..4 {
        for layout in REQUESTS.iter().chain(ANSWERS) {
            let body = layout::body(layout, &mut rng);
            frames.push(layout::frame(layout.1, rng.below(6) as u16, &body));
        }
    }
    frames
}

/// The message, for people.
pub fn show(frame: &[u8]) -> String {
    let mut out = format!("{frame:02x?}\n");
    for dialect in DIALECTS {
        out += &format!("{}: {:?}\n", dialect.name(), Tmsg::decode_in(dialect, frame));
    }
    out + &format!("as an answer: {:?}\n", Rmsg::decode(frame))
}
