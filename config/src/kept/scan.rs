//! How much of a file is good.

use super::{Bad, Frames, HEADER, Head, MAGIC, is_sealed, ops};

/// Reads a file from its beginning.
#[derive(Debug, Default)]
pub struct Scan {
    frames: Frames,
    /// Bytes of the frames that were looked at.
    seen: u64,
    /// The number of the last of them.
    number: u64,
    /// Where the last whole group ends, and the number of its last frame.
    good: (u64, u64),
    bad: bool,
}

impl Scan {
    /// Takes the next bytes of the file, and shows the frames that are good, body and all.
    /// What comes behind one that is not is not looked at.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut dyn FnMut(u64, &Head, &[u8])) {
        if self.bad {
            return;
        }
        self.frames.feed(bytes);
        loop {
            match self.frames.take() {
                Ok(None) => return,
                Ok(Some((head, frame))) if self.is_next(&head, &frame) => {
                    sink(self.seen, &head, frame.get(HEADER..).unwrap_or_default());
                    self.seen += frame.len() as u64;
                    self.number = head.number;
                    if !head.more {
                        self.good = (self.seen, self.number);
                    }
                }
                Ok(Some(_)) | Err(_) => {
                    self.bad = true;
                    return;
                }
            }
        }
    }

    fn is_next(&self, head: &Head, frame: &[u8]) -> bool {
        let body = frame.get(HEADER..).unwrap_or_default();
        head.number == self.number + 1
            && is_sealed(frame)
            && ops(body).all(|op: Result<_, Bad>| op.is_ok())
    }

    /// How many bytes of the file are whole groups.
    pub fn good(&self) -> u64 {
        self.good.0
    }

    /// The number of the last frame in them; 0 where there is none.
    pub fn number(&self) -> u64 {
        self.good.1
    }
}

/// Whether what lies behind the good part of a file shows that more was lost than what was
/// never told to last: a good frame there that was written when the frame behind `number`
/// was known to.
pub fn is_damage(behind: &[u8], number: u64) -> bool {
    let mut at = 0;
    while let Some(found) = find(behind.get(at..).unwrap_or_default()) {
        at += found;
        let rest = behind.get(at..).unwrap_or_default();
        if let Ok(Some(head)) = Head::parse(rest)
            && head.synced > number
            && rest.get(..HEADER + head.len).is_some_and(is_sealed)
        {
            return true;
        }
        at += 1;
    }
    false
}

fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MAGIC.len()).position(|w| w == MAGIC)
}
