//! The local tree's session, as the switch uses it.
//!
//! What a client asks goes in as it came, and what comes out is the client's. What the
//! switch asks for itself is asked when nothing else is left to be done, so that
//! what comes out is the answer.

use alloc::vec::Vec;

use super::{OWN_TAGS, Switch};
use crate::msg::{Rmsg, Tmsg, ty};
use crate::tree::Tree;
use crate::types::Qid;
use crate::wire::{HEADER, Writer};

/// A walk in the local tree: how far it got, or why it got nowhere.
pub(super) type Walked = Result<Vec<Qid>, Vec<u8>>;

impl<T: Tree> Switch<T> {
    /// Does what is left to be done; its answers go to the client.
    pub(super) fn settle(&mut self, tree: &mut T) {
        while self.local.step(tree) {
            self.drain();
        }
        self.drain();
    }

    fn drain(&mut self) {
        let out = self.local.output();
        if !out.is_empty() {
            self.tx.bytes.extend_from_slice(out);
            let n = out.len();
            self.local.sent(n);
        }
    }

    fn feed(&mut self, tree: &mut T, mut frame: &[u8]) {
        while !frame.is_empty() {
            let n = self.local.feed(frame);
            frame = frame.get(n..).unwrap_or_default();
            if n == 0 && !self.local.step(tree) {
                return;
            }
        }
    }

    /// Passes a request of the client's on.
    pub(super) fn pass(&mut self, tree: &mut T, frame: &[u8]) {
        self.feed(tree, frame);
        self.settle(tree);
    }

    /// Asks a request that never waits, of the client's or not: the answer, which is not yet
    /// the client's.
    pub(super) fn ask(&mut self, tree: &mut T, frame: &[u8]) -> Vec<u8> {
        self.settle(tree);
        self.feed(tree, frame);
        self.local.step(tree);
        let answer = self.local.output().to_vec();
        self.local.sent(answer.len());
        answer
    }

    /// Walks in the local tree. The fid is made if the walk got to its end; the frame of the
    /// error is what there is if it got nowhere.
    pub(super) fn local_walk<'n>(
        &mut self,
        tree: &mut T,
        fid: u32,
        newfid: u32,
        names: impl Iterator<Item = &'n str>,
    ) -> Walked {
        let mut frame = Vec::new();
        put_walk(&mut frame, OWN_TAGS.start, fid, newfid, names);
        let answer = self.ask(tree, &frame);
        walked(&answer).ok_or(answer)
    }

    pub(super) fn local_clunk(&mut self, tree: &mut T, fid: u32) {
        let mut frame = Vec::new();
        Tmsg::Clunk { fid }.encode(OWN_TAGS.start, &mut frame);
        let answers = self.ask(tree, &frame);
        // Before its own answer there are those of requests that waited for the fid.
        let own = answers.len().saturating_sub(HEADER);
        self.tx.bytes.extend_from_slice(answers.get(..own).unwrap_or_default());
    }
}

/// Appends a Twalk of any names.
pub(super) fn put_walk<'n>(
    out: &mut Vec<u8>,
    tag: u16,
    fid: u32,
    newfid: u32,
    names: impl Iterator<Item = &'n str>,
) {
    let mut w = Writer::new(out, ty::TWALK, tag);
    w.u32(fid);
    w.u32(newfid);
    let at = w.len();
    w.u16(0);
    let mut count = 0;
    for name in names {
        w.str(name);
        count += 1;
    }
    w.patch_u16(at, count);
    w.finish();
}

/// The qids of an Rwalk; nothing if it is an error.
pub(super) fn walked(frame: &[u8]) -> Option<Vec<Qid>> {
    let Ok(Rmsg::Walk { .. }) = Rmsg::decode(frame) else { return None };
    let qids = frame.get(HEADER + 2..).unwrap_or_default().chunks_exact(Qid::SIZE);
    Some(qids.filter_map(qid).collect())
}

fn qid(bytes: &[u8]) -> Option<Qid> {
    let (ty, rest) = bytes.split_first()?;
    let (version, path) = rest.split_first_chunk::<4>()?;
    let path = path.first_chunk::<8>()?;
    let version = u32::from_le_bytes(*version);
    Some(Qid { ty: *ty, version, path: u64::from_le_bytes(*path) })
}
