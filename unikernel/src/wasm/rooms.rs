//! Rooms: the addresses of linear memories, and their pages.
//!
//! A page is made when it is first touched: read, it is the image's own or a page of
//! zeroes that all share; written, it is a copy. What a room may come to hold was
//! set aside in the heap when it was asked for, so that no touch fails for want of
//! memory.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::tables::{self, DIRTY, NO_EXECUTE, OWN, PRESENT, WRITE};
use crate::arch::Lone;
use crate::heap;
use crate::logic::areas::{Area, Areas, Content};
use crate::logic::ram::PAGE;

/// The first room's address.
const FIRST: u64 = 1 << 40;
/// Addresses of a room.
const ROOM: u64 = 8 << 30;
/// The most rooms.
const ROOMS: usize = 512;

/// What a memory begins with.
#[repr(C, align(4096))]
struct Zeroes([u8; PAGE as usize]);
static ZEROES: Zeroes = Zeroes([0; PAGE as usize]);

/// The first content of a memory: whole pages.
pub(super) struct Image {
    frames: Vec<u64>,
}

impl Image {
    /// A copy of bytes, which are whole pages.
    pub(super) fn new(bytes: &[u8]) -> Option<Image> {
        let mut image = Image { frames: Vec::new() };
        for page in bytes.chunks_exact(PAGE as usize) {
            let frame = tables::frame()?;
            image.frames.push(frame);
            // SAFETY: a fresh frame, as long as the page.
            unsafe { (frame as *mut u8).copy_from_nonoverlapping(page.as_ptr(), page.len()) };
        }
        Some(image)
    }

    fn page(&self, at: u64) -> u64 {
        let zeroes = (&raw const ZEROES) as u64;
        self.frames.get((at / PAGE) as usize).copied().unwrap_or(zeroes)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: the rooms that show them hold the image too.
        self.frames.drain(..).for_each(|f| unsafe { tables::free(f) });
    }
}

/// An image, told from others by its address.
#[derive(Clone)]
struct Shared(Arc<Image>);

impl PartialEq for Shared {
    fn eq(&self, other: &Shared) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

struct Room {
    areas: Areas<Shared>,
    /// Set aside in the heap, and not used yet.
    left: u64,
}

static ALL: Lone<Vec<Option<Room>>> = Lone::new(Vec::new());

/// The room of an address, and where in it that is.
fn place(at: u64) -> Option<(usize, u64)> {
    let from = at.checked_sub(FIRST)?;
    let room = (from / ROOM) as usize;
    (room < ROOMS).then_some((room, from % ROOM))
}

fn with<R>(at: u64, f: impl FnOnce(&mut Room, u64) -> Option<R>) -> Option<R> {
    let (room, at) = place(at)?;
    ALL.with(|all| f(all.get_mut(room)?.as_mut()?, at)).flatten()
}

/// A range of a room's addresses, as addresses of the machine.
fn machine(at: u64, range: Range<u64>) -> Range<u64> {
    let base = at - (at - FIRST) % ROOM;
    base + range.start..base + range.end
}

/// What a room needs in the heap when so much of it may be written: the pages, and the
/// tables for them.
fn need(writable: u64) -> u64 {
    let tables = if writable == 0 { 0 } else { 3 + writable.div_ceil(2 << 20) };
    writable + tables * PAGE
}

impl Room {
    /// Changes the areas, unless the heap has too little for what they may come to hold.
    fn change(&mut self, f: impl FnOnce(&mut Areas<Shared>)) -> bool {
        let mut areas = self.areas.clone();
        let before = need(areas.writable());
        f(&mut areas);
        let after = need(areas.writable());
        if after > before {
            if !heap::reserve(after - before) {
                return false;
            }
            self.left += after - before;
        }
        self.areas = areas;
        true
    }

    /// A frame out of what was set aside.
    fn frame(&mut self) -> Option<u64> {
        let paid = self.left.min(PAGE);
        self.left -= paid;
        heap::release(paid);
        tables::frame()
    }
}

/// A new room in which nothing may be touched.
pub(super) fn open(size: u64) -> Option<u64> {
    if size > ROOM {
        return None;
    }
    ALL.with(|all| {
        let free = all.iter().position(Option::is_none).unwrap_or(all.len());
        if free == ROOMS {
            return None;
        }
        if free == all.len() {
            all.push(None);
        }
        *all.get_mut(free)? = Some(Room { areas: Areas::new(), left: 0 });
        Some(FIRST + free as u64 * ROOM)
    })
    .flatten()
}

/// Takes the pages of a range away.
fn empty(range: Range<u64>) {
    let mut gone = false;
    tables::each(range, |_, entry| {
        if *entry & OWN != 0 {
            // SAFETY: the page was this entry's alone, which is cleared; the processor
            // forgets it below, before anything can touch it.
            unsafe { tables::free(tables::frame_of(*entry)) };
        }
        *entry = 0;
        gone = true;
    });
    if gone {
        tables::flush();
    }
}

/// Gives a room back with all that is in it.
pub(super) fn close(at: u64) -> Option<()> {
    let (room, _) = place(at)?;
    let gone = ALL.with(|all| all.get_mut(room)?.take()).flatten()?;
    let range = machine(at, 0..ROOM);
    empty(range.clone());
    tables::drop_tables(range);
    heap::release(gone.left);
    Some(())
}

/// Makes a range anew: empty, and zeroes where it may be touched.
pub(super) fn renew(at: u64, size: u64, access: Option<bool>) -> Option<()> {
    with(at, |room, from| {
        let range = from..from.checked_add(size)?;
        empty(machine(at, range.clone()));
        let changed = room.change(|areas| {
            areas.clear(range.clone());
            if let Some(write) = access {
                areas.allow(range, write);
            }
        });
        changed.then_some(())
    })
}

/// Says what may be done in a range. What may not be touched any more is lost.
pub(super) fn protect(at: u64, size: u64, access: Option<bool>) -> Option<()> {
    let Some(write) = access else { return renew(at, size, None) };
    with(at, |room, from| {
        let range = from..from.checked_add(size)?;
        let changed = room.change(|areas| areas.allow(range.clone(), write));
        if !changed {
            return None;
        }
        tables::each(machine(at, range), |page, entry| {
            match write && *entry & OWN != 0 {
                true => *entry |= WRITE,
                false => *entry &= !WRITE,
            }
            tables::forget(page);
        });
        Some(())
    })
}

/// Shows an image in a range: a copy, page for page, once it is written.
pub(super) fn show(image: &Arc<Image>, at: u64, size: u64) -> Option<()> {
    with(at, |room, from| {
        let range = from..from.checked_add(size)?;
        empty(machine(at, range.clone()));
        let content = Content::Image(Shared(image.clone()), 0);
        let changed = room.change(|areas| areas.put(Area { at: range, write: true, content }));
        changed.then_some(())
    })
}

/// A page was touched that is not there. Whether it is now.
pub(super) fn touched(at: u64, write: bool) -> bool {
    let page = at - at % PAGE;
    with(page, |room, from| {
        let area = room.areas.find(from)?;
        if write && !area.write {
            return None;
        }
        let source = match &area.content {
            Content::Zero => (&raw const ZEROES) as u64,
            Content::Image(image, start) => image.0.page(from - area.at.start + start),
        };
        let entry = tables::entry(page, true)?;
        // SAFETY: the entry is good until the room is closed, and only this flow of
        // control uses it.
        let old = unsafe { *entry };
        let new = if !write {
            source | PRESENT | NO_EXECUTE
        } else if old & OWN != 0 {
            return None;
        } else {
            let frame = room.frame()?;
            // SAFETY: a fresh frame, and a page that is there, both mapped where they are.
            unsafe {
                (frame as *mut u8).copy_from_nonoverlapping(source as *const u8, PAGE as usize);
            }
            frame | PRESENT | WRITE | NO_EXECUTE | OWN
        };
        if old & PRESENT != 0 && !write {
            return None;
        }
        // SAFETY: as above.
        unsafe { *entry = new };
        tables::forget(page);
        Some(())
    })
    .is_some()
}

/// Calls a function for every page of a memory that is not as the memory began: with
/// its place, whether it was ever written, and its entry where there is one.
pub(super) fn pages(at: u64, size: u64, mut f: impl FnMut(u64, &mut u64)) {
    tables::each(at..at + size, |page, entry| f((page - at) / PAGE, entry));
}

/// The pages of a memory that show an image and were not written.
pub(super) fn shown(at: u64, size: u64) -> Vec<u64> {
    let mut out = Vec::new();
    with(at, |room, from| {
        for n in 0..size / PAGE {
            let own = tables::entry(at + n * PAGE, false)
                // SAFETY: as in `touched`.
                .is_some_and(|e| unsafe { *e } & OWN != 0);
            let area = room.areas.find(from + n * PAGE);
            if !own && area.is_some_and(|a| a.content != Content::Zero) {
                out.push(n);
            }
        }
        Some(())
    });
    out
}

/// Whether a page was written since this was asked of it last.
pub(super) fn take_dirty(entry: &mut u64, clear: bool) -> bool {
    let dirty = *entry & DIRTY != 0 && *entry & OWN != 0;
    if clear {
        *entry &= !DIRTY;
    }
    dirty
}
