//! Finding the payload: it begins on the first page behind the kernel.
//!
//! The builder appends it to the image as one more segment, so the host has
//! loaded it together with the kernel. Its length is a claim, and is checked
//! against the memory that is there before anything of it is mapped or read.

#[cfg(feature = "atoms")]
use atoll_config::packed::{self, Lengths};
use atoll_config::payload::{BadPayload, HEADER, MAGIC, Sealed};

#[cfg(feature = "atoms")]
use crate::arch::paging::reach_to_write;
use crate::arch::paging::{Image, reach};
use crate::logic::ram::{PAGE, Ram};

unsafe extern "C" {
    static __text: u8;
    static __rodata: u8;
    static __data: u8;
    static _end: u8;
}

/// A payload that lies in memory, if there is one.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    start: u64,
    len: u64,
    /// Bytes of the atoms' code, from the first page behind the payload.
    #[cfg(feature = "atoms")]
    code: u64,
}

impl Found {
    /// Looks at the header behind the kernel, before the page tables are made.
    pub(crate) fn find(ram: &Ram) -> Result<Found, &'static str> {
        let start = &raw const _end as u64;
        let around =
            ram.around(start - 1).ok_or("the memory map does not show the kernel's memory")?;
        let room = around.end - start;
        if room < HEADER as u64 || !reach(start, HEADER as u64) {
            return Ok(Found::new(start, 0));
        }
        // SAFETY: it is memory, readable, behind the kernel; nothing writes it.
        let header: &[u8; HEADER] = unsafe { &*(start as *const [u8; HEADER]) };
        let len = match header {
            [m @ .., _, _, _, _] if !m.starts_with(&MAGIC) => 0,
            [_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d, ..] => {
                HEADER as u64 + u64::from(u32::from_le_bytes([*a, *b, *c, *d]))
            }
        };
        if len > room {
            return Err(
                "the payload is longer than the machine's memory: give it more, or build the image again",
            );
        }
        #[allow(unused_mut, reason = "only a kernel with atoms looks on")]
        let mut found = Found::new(start, len);
        #[cfg(feature = "atoms")]
        {
            found.code = code(start + found.len.next_multiple_of(PAGE), around.end)?;
        }
        Ok(found)
    }

    fn new(start: u64, len: u64) -> Found {
        Found {
            start,
            len,
            #[cfg(feature = "atoms")]
            code: 0,
        }
    }

    /// Where all of it ends.
    fn end(self) -> u64 {
        let end = self.start + self.len;
        #[cfg(feature = "atoms")]
        let end = end.next_multiple_of(PAGE) + self.code;
        end
    }

    /// Where everything lies.
    pub(crate) fn image(self) -> Image {
        Image {
            text: &raw const __text as u64,
            rodata: &raw const __rodata as u64,
            data: &raw const __data as u64,
            end: self.start,
            payload_end: self.end().next_multiple_of(PAGE),
        }
    }

    /// The payload, once it is mapped.
    #[cfg_attr(feature = "echo", allow(dead_code, reason = "it runs no payload"))]
    pub(crate) fn sealed(self) -> Result<Sealed<'static>, BadPayload> {
        // SAFETY: `find` saw that these bytes are memory, `map_all` has made them
        // readable and nothing else, and they stay.
        Sealed::parse(unsafe {
            core::slice::from_raw_parts(self.start as *const u8, self.len as usize)
        })
    }

    /// The atoms' code, once it is mapped.
    #[cfg(feature = "atoms")]
    #[cfg_attr(feature = "echo", allow(dead_code, reason = "it runs no payload"))]
    pub(crate) fn code(self) -> &'static [u8] {
        let start = self.start + self.len.next_multiple_of(PAGE);
        // SAFETY: as in `sealed`.
        unsafe { core::slice::from_raw_parts(start as *const u8, self.code as usize) }
    }
}

/// Unpacks the atoms' code that begins there. Its bytes; 0 where there is none.
#[cfg(feature = "atoms")]
fn code(start: u64, end: u64) -> Result<u64, &'static str> {
    const NO_ROOM: &str = "the atoms' code is longer than the machine's memory: give it more";
    let room = end.saturating_sub(start);
    if room < packed::HEADER as u64 || !reach(start, packed::HEADER as u64) {
        return Ok(0);
    }
    // SAFETY: it is memory, readable, behind the payload; nothing writes it.
    let header = unsafe { *(start as *const [u8; packed::HEADER]) };
    let Some(lengths) = Lengths::parse(&header) else { return Ok(0) };
    let lengths = lengths.map_err(|_| "the atoms' code does not decode: build the image again")?;
    let memory = lengths.memory() as u64;
    if memory > room || !reach_to_write(start, memory) {
        return Err(NO_ROOM);
    }
    let (from, aside) = (start + packed::HEADER as u64, start + lengths.aside() as u64);
    // SAFETY: both lie in the segment's memory, which is writable now and nobody else's.
    let (block, out) = unsafe {
        core::ptr::copy(from as *const u8, aside as *mut u8, lengths.block);
        (
            core::slice::from_raw_parts(aside as *const u8, lengths.block),
            core::slice::from_raw_parts_mut(start as *mut u8, lengths.code),
        )
    };
    packed::unpack(block, out)
        .map_err(|_| "the atoms' code does not unpack: build the image again")?;
    Ok(lengths.code as u64)
}
