//! The qids of another server, as a client of this one is to see them.
//!
//! The path of the other's root becomes that of the mount point, which is in the
//! listing of the directory that it lies in. All others are changed by a number that comes
//! from the path of the mount point alone: files of two servers are then not one by accident, and
//! a file has the same path in every session.

use crate::msg::ty;
use crate::types::Qid;

/// How the paths of a server are changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paths {
    mount: u64,
    salt: u64,
    /// The server's own for its root.
    root: u64,
}

/// Where the path stands in a qid.
const PATH: usize = 5;
/// Where the qid stands in an entry of 9P2000 (stat(5)), behind size, type and dev.
const STAT_QID: usize = 8;

impl Paths {
    pub(super) fn new(mount: u64, root: u64) -> Paths {
        Paths { mount, salt: mix(mount), root }
    }

    /// What a path is called here.
    pub(super) fn here(&self, path: u64) -> u64 {
        if path == self.root { self.mount } else { path ^ self.salt }
    }

    pub(super) fn qid(&self, qid: Qid) -> Qid {
        Qid { path: self.here(qid.path), ..qid }
    }

    /// Changes the path that stands at a place of a frame.
    fn change(&self, frame: &mut [u8], at: usize) {
        if let Some(slot) = frame.get_mut(at..).and_then(|f| f.first_chunk_mut::<8>()) {
            *slot = self.here(u64::from_le_bytes(*slot)).to_le_bytes();
        }
    }

    /// Changes all paths in an answer to a request of this type. `dir` says that what was
    /// read are the entries of a directory.
    pub(super) fn apply(&self, asked: u8, dir: bool, frame: &mut [u8]) {
        match asked {
            ty::TATTACH
            | ty::TOPEN
            | ty::TCREATE
            | ty::TLOPEN
            | ty::TLCREATE
            | ty::TSYMLINK
            | ty::TMKNOD
            | ty::TMKDIR => self.change(frame, 7 + PATH),
            // Behind the mask.
            ty::TGETATTR => self.change(frame, 7 + 8 + PATH),
            ty::TWALK => {
                let mut at = 9;
                while at + Qid::SIZE <= frame.len() {
                    self.change(frame, at + PATH);
                    at += Qid::SIZE;
                }
            }
            ty::TREADDIR => {
                let mut at = 11;
                // qid, cookie, type, name
                while let Some(n) = two(frame, at + Qid::SIZE + 8 + 1) {
                    self.change(frame, at + PATH);
                    at += Qid::SIZE + 8 + 1 + 2 + n;
                }
            }
            ty::TSTAT => self.change(frame, 9 + STAT_QID + PATH),
            ty::TREAD if dir => {
                let mut at = 11;
                while let Some(n) = two(frame, at) {
                    self.change(frame, at + STAT_QID + PATH);
                    at += 2 + n;
                }
            }
            _ => {}
        }
    }
}

/// Two bytes at a place.
fn two(frame: &[u8], at: usize) -> Option<usize> {
    let bytes = frame.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*bytes).into())
}

/// Spreads a number over all bits (the finish of splitmix64).
fn mix(v: u64) -> u64 {
    let v = v.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let v = (v ^ (v >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let v = (v ^ (v >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    v ^ (v >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn files_of_many_servers_have_paths_of_their_own() {
        let mut all = BTreeSet::new();
        let mounts = (1..200u64).map(|guest| guest << 24 | 7);
        for mount in mounts.clone() {
            let paths = Paths::new(mount, 0);
            assert_eq!(paths.here(0), mount);
            assert!((0..100).all(|path| all.insert(paths.here(path))));
        }
        assert!((0..1000).all(|path| mounts.clone().any(|m| m == path) || !all.contains(&path)));
    }
}
