//! What was asked of a server, and whether its answers are answers.
//!
//! It reads the client's bytes apart from the session, and knows nothing of files. A
//! tag may be asked twice at once, which a session refuses with an error of the same
//! tag: an Rlerror then stands for either, and both are kept in mind as one.

use std::collections::{BTreeMap, BTreeSet};

use atoll_9p::dialect::Dialect;
use atoll_9p::msg::{Rmsg, Tmsg, tag, ty};
use atoll_9p::wire::MIN_MSIZE;

use crate::decode::DIALECTS;

/// A request.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Its place among all requests.
    number: u64,
    ty: u8,
    /// What a Tflush names.
    oldtag: Option<u16>,
}

/// Those of which one has no answer: several when it is not known which.
type OneOf = Vec<Asked>;

/// Requests that may wait while later ones are answered.
const MAY_WAIT: [u8; 2] = [ty::TREAD, ty::TWRITE];

/// The requests and answers of one session.
#[derive(Debug)]
pub struct Ledger {
    /// What was sent and does not make up a frame yet.
    partial: Vec<u8>,
    /// The sizes make no sense any more.
    broken: bool,
    /// By tag, in the order of asking.
    asked: BTreeMap<u16, Vec<OneOf>>,
    /// Whole requests so far.
    pub requests: u64,
    answered: Vec<u8>,
    /// The largest frame that may come.
    msize: u32,
    limit: u32,
    /// What was agreed on.
    dialect: Option<Dialect>,
    /// What is sent first need not be answered first.
    muxed: bool,
    /// Tags that were asked twice at once of a mux: nobody can tell what is answered.
    vague: BTreeSet<u16>,
}

impl Ledger {
    /// For a session with that limit on messages.
    pub fn new(limit: u32) -> Ledger {
        Ledger {
            partial: Vec::new(),
            broken: false,
            asked: BTreeMap::new(),
            requests: 0,
            answered: Vec::new(),
            msize: MIN_MSIZE,
            limit,
            dialect: None,
            muxed: false,
            vague: BTreeSet::new(),
        }
    }

    /// For a client of a mux, which passes some requests on and refuses others at once.
    pub fn behind_mux(limit: u32) -> Ledger {
        Ledger { muxed: true, ..Ledger::new(limit) }
    }

    /// The session took these bytes.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        while let (Some(size), false) = (self.partial.first_chunk(), self.broken) {
            let size = u32::from_le_bytes(*size) as usize;
            self.broken = size < 7;
            if self.broken || size > self.partial.len() {
                return;
            }
            let frame: Vec<u8> = self.partial.drain(..size).collect();
            let oldtag = match Tmsg::decode(&frame) {
                Ok(Tmsg::Flush { oldtag }) => Some(oldtag),
                _ => None,
            };
            let asked = Asked { number: self.requests, ty: frame[4], oldtag };
            self.requests += 1;
            let of_tag = self.asked.entry(tag(&frame)).or_default();
            of_tag.push(vec![asked]);
            if self.muxed && of_tag.len() > 1 {
                self.vague.insert(tag(&frame));
            }
        }
    }

    /// The session gave these bytes. Its last words may be about a frame that is
    /// not whole.
    pub fn received(&mut self, bytes: &[u8], dead: bool) {
        self.answered.extend_from_slice(bytes);
        while let Some(size) = self.answered.first_chunk() {
            let size = u32::from_le_bytes(*size) as usize;
            assert!(size >= 7 && size <= self.msize as usize, "an answer of {size} bytes");
            if size > self.answered.len() {
                return;
            }
            let frame: Vec<u8> = self.answered.drain(..size).collect();
            self.answer(&frame, dead);
        }
    }

    fn answer(&mut self, frame: &[u8], dead: bool) {
        let m = Rmsg::decode(frame).unwrap_or_else(|e| panic!("{e:?}: {frame:?}"));
        // A mux has answers underway when it says why it hears no more.
        if self.vague.contains(&tag(frame)) || self.muxed && dead {
            if let Rmsg::Version { msize, version } = m {
                self.msize = self.msize.max(msize);
                self.dialect = DIALECTS.into_iter().find(|d| d.name() == version);
            }
            return;
        }
        let error = matches!(m, Rmsg::Lerror { .. } | Rmsg::Error { .. });
        let linux = matches!(m, Rmsg::Lerror { .. });
        let of_dialect = self.dialect.is_none_or(|d| d.is_linux() == linux);
        assert!(!error || of_dialect, "an error of another dialect: {m:?}");
        let of_tag = self.asked.entry(tag(frame)).or_default();
        if error {
            match of_tag.as_mut_slice() {
                [] => assert!(
                    dead && self.answered.is_empty(),
                    "an error that nobody asked for: {m:?}"
                ),
                [first, second, ..] if first.iter().any(|a| MAY_WAIT.contains(&a.ty)) => {
                    first.append(second);
                    of_tag.remove(1);
                }
                _ => drop(of_tag.remove(0)),
            }
            return;
        }
        let fits = |a: &&Asked| a.ty.checked_add(1) == Some(frame[4]);
        let find = |one_of: &OneOf| one_of.iter().rfind(fits).copied();
        let at = of_tag.iter().position(|one_of| find(one_of).is_some());
        let at = at.unwrap_or_else(|| panic!("nobody asked: {m:?}"));
        let Some(Asked { number, oldtag, .. }) = find(&of_tag.remove(at)) else { return };
        match (m, oldtag) {
            // Nothing from before is answered after it.
            (Rmsg::Version { msize, version }, _) => {
                assert!((MIN_MSIZE..=self.limit).contains(&msize), "msize {msize}");
                self.dialect = DIALECTS.into_iter().find(|d| d.name() == version);
                assert!(self.dialect.is_some() || version == "unknown", "{version}");
                self.msize = msize;
                self.asked.values_mut().for_each(|all| settle(all, number));
            }
            (Rmsg::Flush, Some(oldtag)) => {
                if let Some(all) = self.asked.get_mut(&oldtag) {
                    settle(all, number);
                }
            }
            _ => {}
        }
    }

    /// Requests that have no answer, if that can be told. Panics when half an answer has
    /// come.
    pub fn open(&self) -> Option<usize> {
        assert!(self.answered.is_empty(), "half an answer: {:?}", self.answered);
        self.vague.is_empty().then(|| self.asked.values().map(Vec::len).sum())
    }
}

/// Takes out what was asked before that number.
fn settle(all: &mut Vec<OneOf>, number: u64) {
    all.iter_mut().for_each(|one_of| one_of.retain(|a| a.number > number));
    all.retain(|one_of| !one_of.is_empty());
}
