//! Pages of other domains: `/dev/xen/gntdev`.
//!
//! A mapped page is the other domain's memory: it changes at any time, so it is never a
//! reference here, only atomics and copies. It stays what it is for as long as it is mapped,
//! whatever that domain does: neither a revoked grant nor the domain's end takes it away.

use core::ops::Deref;
use core::ptr::NonNull;
use std::fs::{File, OpenOptions};
use std::io;
use std::string::String;
use std::vec::Vec;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::evtchn::Port;
use super::ioctl::call;
use crate::vchan::{Bytes, Page, Raw};

const DEVICE: &str = "/dev/xen/gntdev";
const GROUP: u8 = b'G';
/// A page of Xen's on x86.
pub const PAGE: usize = 4096;
/// Pages that are mapped at once: a mebibyte, the largest ring that a vchan may have.
const MAX_PAGES: usize = 256;

/// Says which device it was.
pub(super) fn named(device: &str, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), std::format!("{device}: {e}"))
}

/// An open device.
#[derive(Debug)]
pub struct GntDev {
    device: File,
}

impl GntDev {
    /// Opens the device.
    pub fn open() -> io::Result<GntDev> {
        let device = OpenOptions::new().read(true).write(true).open(DEVICE);
        Ok(GntDev { device: device.map_err(|e| named(DEVICE, &e))? })
    }

    /// Maps pages that a domain granted, one after the other, to be read and written. A
    /// reference that does not grant that is [`io::ErrorKind::InvalidData`], and none is mapped
    /// then.
    pub fn map(&self, domid: u16, refs: &[u32]) -> io::Result<Mapping> {
        if refs.is_empty() || refs.len() > MAX_PAGES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "1 to 256 grants are mapped"));
        }
        let device = self.device.try_clone()?;
        // struct ioctl_gntdev_map_grant_ref: count, pad, index, then a domain and a reference
        // for each.
        let mut words: Vec<u32> = std::vec![refs.len() as u32, 0, 0, 0];
        words.extend(refs.iter().flat_map(|grant| [u32::from(domid), *grant]));
        // SAFETY: it reads the words, as many as the count says, and writes the index.
        unsafe { call(&self.device, GROUP, 0, 24, &mut *words) }?;
        let index = match &*words {
            [_, _, low, high, ..] => u64::from(*high) << 32 | u64::from(*low),
            _ => 0,
        };
        let len = refs.len() * PAGE;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: nothing is at an address that the kernel chooses.
        let at = unsafe {
            mmap(core::ptr::null_mut(), len, prot, MapFlags::SHARED, &self.device, index)
        };
        let mapped = match at {
            Ok(at) => NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mapped at 0")),
            // All that the kernel says of what Xen refused.
            Err(Errno::INVAL) => Err(io::Error::new(io::ErrorKind::InvalidData, not_lent(refs))),
            Err(e) => Err(e.into()),
        };
        match mapped {
            Ok(at) => {
                // SAFETY: it is mapped until the mapping is dropped, and so is this; no
                // reference is made to what rings have.
                let raw = unsafe { Raw::new(at, len) };
                Ok(Mapping { at, raw, len, index, device })
            }
            Err(e) => {
                unmap(&device, index, len);
                Err(e)
            }
        }
    }
}

/// Xen says of each reference what is wrong with it; its Linux does not.
fn not_lent(refs: &[u32]) -> String {
    match refs {
        [one] => std::format!("grant reference {one} is not lent to this domain to be written"),
        all => {
            std::format!("its {} pages are not all lent to this domain to be written", all.len())
        }
    }
}

fn unmap(device: &File, index: u64, len: usize) {
    let mut words = [index as u32, (index >> 32) as u32, (len / PAGE) as u32, 0];
    // SAFETY: struct ioctl_gntdev_unmap_grant_ref is a double word and two words.
    // What fails here is undone when the device is closed.
    let _ = unsafe { call(device, GROUP, 1, 16, &mut words) };
}

/// Mapped pages. They are unmapped when it is dropped.
#[derive(Debug)]
pub struct Mapping {
    at: NonNull<u8>,
    raw: Raw,
    len: usize,
    index: u64,
    device: File,
}

// SAFETY: what it points to is reached by atomics and copies alone, whoever does it.
unsafe impl Send for Mapping {}
// SAFETY: the same.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// What the kernel does when the mapping ends, also when this process dies: it clears a byte
    /// and sends an event. The port has to be one of an [`super::EvtChn`] of this process.
    pub fn on_unmap(&self, clear: usize, port: Port) -> io::Result<()> {
        if clear >= self.len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let index = self.index + clear as u64;
        let mut words = [index as u32, (index >> 32) as u32, 1 | 2, port.0];
        // SAFETY: struct ioctl_gntdev_unmap_notify is a double word and two words, read alone.
        unsafe { call(&self.device, GROUP, 7, 16, &mut words) }.map(drop)
    }

    /// It as the page of a vchan, if it is one page.
    pub fn page(self) -> Option<MappedPage> {
        (self.len == PAGE).then_some(MappedPage(self))
    }
}

impl Bytes for Mapping {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        self.raw.read(at, out);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.raw.write(at, bytes);
    }
}

/// A page that is shared by the rules of a vchan.
#[derive(Debug)]
pub struct MappedPage(Mapping);

impl MappedPage {
    /// What the kernel does when it is unmapped: [`Mapping::on_unmap`].
    pub fn on_unmap(&self, clear: usize, port: Port) -> io::Result<()> {
        self.0.on_unmap(clear, port)
    }
}

impl Deref for MappedPage {
    type Target = Page;

    fn deref(&self) -> &Page {
        // SAFETY: a page is mapped there as long as this lives, at a page's boundary, and all
        // that a `Page` has are atomics, for which every value is one.
        unsafe { self.0.at.cast().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and nobody has a reference into it any more.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), self.len) };
        unmap(&self.device, self.index, self.len);
    }
}
