//! A guest that has become another one tells the host all that it has stored.
//!
//! It is told in the order of components and keys while the guest goes on. What changes
//! meanwhile waits behind it, and belongs to the same group: so the host has what
//! the guest had stored before it became another, until it has all that it has then.

use alloc::vec::Vec;
use core::mem;

use atoll_config::kept::{BODY, Op, frame};

use super::super::futures::On;
use super::super::store::Store;
use super::{Keep, Out};
use crate::component::{CallId, ComponentId};
use crate::core::Core;
use crate::sponsor::Amount;

/// How far it was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    /// The number of its group.
    group: u64,
    begun: bool,
    component: u32,
    /// The last key.
    key: Vec<u8>,
    /// The next record.
    record: u64,
}

impl Keep {
    /// It is another guest's from now on: nothing is known of what the host has.
    fn start_over(&mut self) {
        self.groups.clear();
        self.syncs.clear();
        self.out.iter_mut().for_each(|out| out.charged = Amount::default());
        (self.loads, self.stuck) = (false, false);
        self.made += 1;
        (self.over, self.joined) = (Some(Cursor { group: self.made, ..Cursor::default() }), true);
    }
}

impl<'a> Core<'a> {
    /// Takes over from a guest that this one takes the place of.
    pub(crate) fn inherit_keep(&mut self, old: &mut Core<'a>) {
        self.atoms.keep = mem::take(&mut old.atoms.keep);
        if self.atoms.keep.is_on() {
            self.atoms.keep.start_over();
        }
        let waits = self.atoms.futures.iter().filter(|(_, f)| matches!(f.on, On::Sync));
        for call in waits.map(|(call, _)| *call).collect::<Vec<CallId>>() {
            self.wait_for_sync(call);
        }
    }

    /// The next frame of all that is stored.
    pub(super) fn next_over(&mut self) -> Option<Out> {
        let mut cursor = self.atoms.keep.over.take()?;
        let mut body = Vec::new();
        if !mem::replace(&mut cursor.begun, true) {
            Op::Clear.write(&mut body);
        }
        let group = cursor.group;
        let whole = self.tell(&mut cursor, &mut body);
        let keep = &mut self.atoms.keep;
        if !whole {
            keep.over = Some(cursor);
        }
        let more = !whole || !keep.groups.is_empty();
        keep.joined = more;
        let ends = (!more).then_some(group);
        Some(Out { frame: frame(&body, more), sent: 0, ends, charged: Amount::default() })
    }

    /// Fills a body with what comes next; whether that was all.
    fn tell(&self, at: &mut Cursor, body: &mut Vec<u8>) -> bool {
        while at.component < self.payload.components.len() as u32 {
            let slot = self.slots.get(ComponentId(at.component));
            if let Some((of, own)) = slot.and_then(|s| Some((&*s.name, s.own.as_ref()?))) {
                while let Some(key) = own.store.next(&at.key) {
                    let value = own.store.get(key).unwrap_or_default();
                    let op = Op::Put { of, key, value };
                    if body.len() + op.size() > BODY {
                        return false;
                    }
                    op.write(body);
                    at.key = key.to_vec();
                }
                while let Some(record) = own.store.record(at.record) {
                    let op = Op::Append { of, n: at.record, record };
                    if body.len() + op.size() > BODY {
                        return false;
                    }
                    op.write(body);
                    at.record += 1;
                }
            }
            at.component += 1;
            at.key.clear();
            at.record = 0;
        }
        true
    }
}
