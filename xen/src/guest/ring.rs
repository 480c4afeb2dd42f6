//! The rings that every domain is born with: XenStore's and the console's.
//!
//! Both are a page that Xen's tools have mapped too. Small ones, so they are read and
//! written byte by byte; the other end's index is a claim, and where it cannot be there
//! is nothing to read and no room to write.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Reads what there is and fits.
fn take(ring: &[AtomicU8], cons: &AtomicU32, prod: &AtomicU32, out: &mut [u8]) -> usize {
    let from = cons.load(Ordering::Relaxed);
    let ready = prod.load(Ordering::Acquire).wrapping_sub(from) as usize;
    if ready > ring.len() {
        return 0;
    }
    let n = ready.min(out.len());
    for (i, to) in out.iter_mut().take(n).enumerate() {
        if let Some(byte) = ring.get((from as usize + i) % ring.len()) {
            *to = byte.load(Ordering::Relaxed);
        }
    }
    cons.store(from.wrapping_add(n as u32), Ordering::Release);
    n
}

/// Writes as much as there is room for.
fn put(ring: &[AtomicU8], cons: &AtomicU32, prod: &AtomicU32, bytes: &[u8]) -> usize {
    let from = prod.load(Ordering::Relaxed);
    let used = from.wrapping_sub(cons.load(Ordering::Acquire)) as usize;
    let Some(room) = ring.len().checked_sub(used) else { return 0 };
    let n = room.min(bytes.len());
    for (i, byte) in bytes.iter().take(n).enumerate() {
        if let Some(to) = ring.get((from as usize + i) % ring.len()) {
            to.store(*byte, Ordering::Relaxed);
        }
    }
    prod.store(from.wrapping_add(n as u32), Ordering::Release);
    n
}

/// `struct xenstore_domain_interface` (`public/io/xs_wire.h`).
#[repr(C)]
#[derive(Debug)]
pub struct StoreRing {
    req: [AtomicU8; 1024],
    rsp: [AtomicU8; 1024],
    req_cons: AtomicU32,
    req_prod: AtomicU32,
    rsp_cons: AtomicU32,
    rsp_prod: AtomicU32,
}

impl StoreRing {
    /// Writes bytes to xenstored, and says how many found room.
    pub fn send(&self, bytes: &[u8]) -> usize {
        put(&self.req, &self.req_cons, &self.req_prod, bytes)
    }

    /// Reads bytes of xenstored.
    pub fn recv(&self, out: &mut [u8]) -> usize {
        take(&self.rsp, &self.rsp_cons, &self.rsp_prod, out)
    }

    /// Whether there are any. An index that cannot be is none: who waits for bytes then
    /// sleeps, and does not look for ever.
    pub fn ready(&self) -> bool {
        let left = self.rsp_prod.load(Ordering::Acquire);
        let ready = left.wrapping_sub(self.rsp_cons.load(Ordering::Relaxed)) as usize;
        (1..=self.rsp.len()).contains(&ready)
    }
}

/// `struct xencons_interface` (`public/io/console.h`).
#[repr(C)]
#[derive(Debug)]
pub struct ConsoleRing {
    input: [AtomicU8; 1024],
    output: [AtomicU8; 2048],
    in_cons: AtomicU32,
    in_prod: AtomicU32,
    out_cons: AtomicU32,
    out_prod: AtomicU32,
}

impl ConsoleRing {
    /// Writes bytes, and says how many found room.
    pub fn send(&self, bytes: &[u8]) -> usize {
        put(&self.output, &self.out_cons, &self.out_prod, bytes)
    }

    /// Bytes that there is room for.
    pub fn room(&self) -> usize {
        let prod = self.out_prod.load(Ordering::Relaxed);
        let used = prod.wrapping_sub(self.out_cons.load(Ordering::Acquire));
        self.output.len().saturating_sub(used as usize)
    }

    /// Drops what was typed: nobody reads it.
    pub fn ignore(&self) {
        self.in_cons.store(self.in_prod.load(Ordering::Acquire), Ordering::Release);
    }
}

#[cfg(test)]
mod faults;

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn ring() -> ([AtomicU8; 8], AtomicU32, AtomicU32) {
        // Just before the indices come round.
        let start = u32::MAX - 3;
        ([const { AtomicU8::new(0) }; 8], AtomicU32::new(start), AtomicU32::new(start))
    }

    #[test]
    fn the_pages_are_laid_out_as_the_headers_say() {
        assert_eq!(core::mem::offset_of!(StoreRing, rsp), 1024);
        assert_eq!(core::mem::offset_of!(StoreRing, req_cons), 2048);
        assert_eq!(core::mem::offset_of!(StoreRing, rsp_prod), 2060);
        assert_eq!(core::mem::offset_of!(ConsoleRing, output), 1024);
        assert_eq!(core::mem::offset_of!(ConsoleRing, in_cons), 3072);
        assert_eq!(core::mem::offset_of!(ConsoleRing, out_prod), 3084);
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let (ring, cons, prod) = ring();
        let (mut sent, mut got, mut out) = (0u8, Vec::new(), [0; 3]);
        for _ in 0..20 {
            let bytes: Vec<u8> = (sent..sent + 5).collect();
            sent += put(&ring, &cons, &prod, &bytes) as u8;
            let n = take(&ring, &cons, &prod, &mut out);
            got.extend_from_slice(&out[..n]);
        }
        assert_eq!(got, (0..got.len() as u8).collect::<Vec<_>>());
        assert_eq!(got.len(), 60);
    }

    #[test]
    fn a_store_with_an_index_that_cannot_be_has_nothing_to_read() {
        let ring = faults::store();
        for (prod, ready) in [(0, false), (1, true), (1024, true), (1025, false), (u32::MAX, false)]
        {
            ring.rsp_prod.store(prod, Ordering::Relaxed);
            assert_eq!(ring.ready(), ready, "{prod}");
        }
    }

    #[test]
    fn an_index_that_cannot_be_is_nothing() {
        let (ring, cons, prod) = ring();
        prod.fetch_add(9, Ordering::Relaxed);
        assert_eq!(take(&ring, &cons, &prod, &mut [0; 8]), 0);
        assert_eq!(put(&ring, &cons, &prod, &[1]), 0);
        prod.fetch_sub(10, Ordering::Relaxed);
        assert_eq!(put(&ring, &cons, &prod, &[1]), 0);
    }
}
