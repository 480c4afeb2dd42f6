//! Requests that wait for their answer.
//!
//! Nothing here is searched from end to end, however many wait: a request is found
//! by its tag when it is flushed, by its node when that wakes, and by its fid when
//! that goes. Those on one fid keep their order: of its reads only the first
//! waits for the node, the others stand in line behind it, and so do its writes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::index::{Index, NONE};
use crate::types::OpId;

/// A request that waits. What it asked for is kept, not what it would have sent.
pub(super) struct Waiter<N> {
    pub(super) tag: u16,
    pub(super) fid: u32,
    pub(super) node: N,
    pub(super) offset: u64,
    /// Bytes that a read asked for.
    pub(super) count: u32,
    /// What is to be written, if it is a write.
    pub(super) write: Option<Box<Kept>>,
}

/// A write that waits.
pub(super) struct Kept {
    pub(super) data: Vec<u8>,
    pub(super) op: Option<OpId>,
}

impl<N> Waiter<N> {
    /// Which of its fid's two lines it stands in.
    fn line(&self) -> usize {
        self.write.is_some().into()
    }
}

/// Neighbours in a ring. A ring is known by its first; the one before that is its last.
#[derive(Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

/// Where a request waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nowhere: the slot is free, `lines.after` is the next free one.
    Free,
    /// Behind another of its fid.
    Line,
    /// For its node.
    Node,
    /// To be asked again.
    Ready,
}

struct Slot<N> {
    waiter: Waiter<N>,
    place: Place,
    line: Link,
    ring: Link,
}

/// Which of a slot's links.
type Which<N> = fn(&mut Slot<N>) -> &mut Link;

/// The memory of more than this many is given back when none waits any more.
const FEW: usize = 32;

/// All requests of a session that wait.
pub(super) struct Waiting<N> {
    slots: Vec<Slot<N>>,
    free: u32,
    live: u32,
    tags: Index,
    /// Sorted by node. A ring may be empty.
    nodes: Vec<(N, u32)>,
    ready: u32,
    bytes: usize,
}

impl<N> Default for Waiting<N> {
    fn default() -> Self {
        Waiting {
            slots: Vec::new(),
            free: NONE,
            live: 0,
            tags: Index::default(),
            nodes: Vec::new(),
            ready: NONE,
            bytes: 0,
        }
    }
}

impl<N: Copy + Ord> Waiting<N> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.live as usize
    }

    /// Bytes of data of writes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory behind it.
    pub(super) fn held(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<N>>()
            + self.nodes.capacity() * size_of::<(N, u32)>()
            + self.tags.held()
            + self.bytes
    }

    /// The request under a tag.
    #[inline]
    pub(super) fn tagged(&self, tag: u16) -> Option<u32> {
        if self.live == 0 {
            return None;
        }
        self.tags.get(tag.into(), |at| tag_of(&self.slots, at))
    }

    /// Adds a request behind those of its fid, whose lines are `waits`.
    pub(super) fn add(&mut self, waits: &mut [u32; 2], waiter: Waiter<N>) {
        self.bytes += waiter.write.as_ref().map_or(0, |w| w.data.len());
        let (tag, line) = (waiter.tag, waiter.line());
        let alone = Link { before: NONE, after: NONE };
        let slot = Slot { waiter, place: Place::Line, line: alone, ring: alone };
        let at = self.free;
        let at = match self.slots.get_mut(at as usize) {
            Some(old) => {
                self.free = old.line.after;
                *old = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.live += 1;
        let slots = &self.slots;
        self.tags.insert(tag.into(), at, |at| tag_of(slots, at));
        if let Some(first) = waits.get_mut(line) {
            let alone = *first == NONE;
            push(&mut self.slots, line_of, first, at);
            if alone {
                self.park(at);
            }
        }
    }

    /// Lets the first of a line wait for its node.
    pub(super) fn park(&mut self, at: u32) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        let (node, was) = (slot.waiter.node, slot.place);
        if was == Place::Ready {
            unlink(&mut self.slots, ring_of, &mut self.ready, at);
        }
        let i = match self.nodes.binary_search_by_key(&node, |n| n.0) {
            Ok(i) => i,
            Err(i) if self.nodes.len() < 2 * self.live as usize + 16 => {
                self.nodes.insert(i, (node, NONE));
                i
            }
            Err(_) => {
                // Nodes that nobody waits for any more are as many as the others.
                self.nodes.retain(|n| n.1 != NONE);
                let i = self.nodes.partition_point(|n| n.0 < node);
                self.nodes.insert(i, (node, NONE));
                i
            }
        };
        if let Some((_, first)) = self.nodes.get_mut(i) {
            push(&mut self.slots, ring_of, first, at);
        }
        self.put(at, Place::Node);
    }

    fn put(&mut self, at: u32, place: Place) {
        if let Some(slot) = self.slots.get_mut(at as usize) {
            slot.place = place;
        }
    }

    /// Says that those who wait for a node are to be asked again.
    pub(super) fn wake(&mut self, node: N) {
        if self.live == 0 {
            return;
        }
        let Ok(i) = self.nodes.binary_search_by_key(&node, |n| n.0) else { return };
        let Some((_, first)) = self.nodes.get_mut(i) else { return };
        let first = core::mem::replace(first, NONE);
        let mut at = first;
        while let Some(slot) = self.slots.get_mut(at as usize) {
            slot.place = Place::Ready;
            at = slot.ring.after;
            if at == first {
                break;
            }
        }
        join(&mut self.slots, &mut self.ready, first);
    }

    /// Whether any is to be asked again.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.ready != NONE
    }

    /// The one that is to be asked again first.
    pub(super) fn ready(&mut self) -> Option<(u32, &mut Waiter<N>)> {
        let at = self.ready;
        self.slots.get_mut(at as usize).map(|s| (at, &mut s.waiter))
    }

    /// The fid of a request that waits.
    pub(super) fn fid(&self, at: u32) -> Option<u32> {
        let slot = self.slots.get(at as usize)?;
        (slot.place != Place::Free).then_some(slot.waiter.fid)
    }

    /// Takes a request away, whose fid's lines are `waits`. Who comes next in its line
    /// is to be asked: what woke this one was for all.
    pub(super) fn remove(&mut self, waits: &mut [u32; 2], at: u32) -> Option<Waiter<N>> {
        let slots = &self.slots;
        let slot = slots.get(at as usize).filter(|s| s.place != Place::Free)?;
        let (tag, place, node, line) =
            (slot.waiter.tag, slot.place, slot.waiter.node, slot.waiter.line());
        self.tags.remove(tag.into(), |at| tag_of(slots, at));
        match place {
            Place::Ready => unlink(&mut self.slots, ring_of, &mut self.ready, at),
            Place::Node => {
                if let Ok(i) = self.nodes.binary_search_by_key(&node, |n| n.0)
                    && let Some((_, first)) = self.nodes.get_mut(i)
                {
                    unlink(&mut self.slots, ring_of, first, at);
                }
            }
            Place::Line | Place::Free => {}
        }
        if let Some(first) = waits.get_mut(line) {
            unlink(&mut self.slots, line_of, first, at);
            let next = *first;
            if place != Place::Line && next != NONE {
                self.put(next, Place::Ready);
                push(&mut self.slots, ring_of, &mut self.ready, next);
            }
        }
        self.live -= 1;
        let free = self.free;
        let slot = self.slots.get_mut(at as usize)?;
        slot.place = Place::Free;
        slot.line.after = free;
        self.free = at;
        let w = &mut slot.waiter;
        let write = w.write.take();
        self.bytes -= write.as_ref().map_or(0, |w| w.data.len());
        let gone = Waiter { tag, fid: w.fid, node, offset: w.offset, count: w.count, write };
        if self.live == 0 && self.slots.len() > FEW {
            self.clear();
        }
        Some(gone)
    }

    /// Takes all away.
    pub(super) fn clear(&mut self) {
        *self = Waiting::default();
    }
}

fn tag_of<N>(slots: &[Slot<N>], at: u32) -> u32 {
    slots.get(at as usize).map_or(NONE, |s| s.waiter.tag.into())
}

fn line_of<N>(slot: &mut Slot<N>) -> &mut Link {
    &mut slot.line
}

fn ring_of<N>(slot: &mut Slot<N>) -> &mut Link {
    &mut slot.ring
}

fn link<N>(slots: &mut [Slot<N>], which: Which<N>, at: u32) -> Link {
    slots.get_mut(at as usize).map_or(Link { before: NONE, after: NONE }, |s| *which(s))
}

fn chain<N>(slots: &mut [Slot<N>], which: Which<N>, before: u32, after: u32) {
    if let Some(slot) = slots.get_mut(before as usize) {
        which(slot).after = after;
    }
    if let Some(slot) = slots.get_mut(after as usize) {
        which(slot).before = before;
    }
}

/// Puts one at the end of a ring.
fn push<N>(slots: &mut [Slot<N>], which: Which<N>, first: &mut u32, at: u32) {
    if *first == NONE {
        *first = at;
        return chain(slots, which, at, at);
    }
    let last = link(slots, which, *first).before;
    chain(slots, which, last, at);
    chain(slots, which, at, *first);
}

/// Puts a whole ring at the end of the ring of those to be asked again.
fn join<N>(slots: &mut [Slot<N>], first: &mut u32, other: u32) {
    if other == NONE {
        return;
    }
    if *first == NONE {
        *first = other;
        return;
    }
    let last = link(slots, ring_of, *first).before;
    let end = link(slots, ring_of, other).before;
    chain(slots, ring_of, last, other);
    chain(slots, ring_of, end, *first);
}

/// Takes one out of a ring.
fn unlink<N>(slots: &mut [Slot<N>], which: Which<N>, first: &mut u32, at: u32) {
    let Link { before, after } = link(slots, which, at);
    if after == at {
        *first = NONE;
        return;
    }
    chain(slots, which, before, after);
    if *first == at {
        *first = after;
    }
}
