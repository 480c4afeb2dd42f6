//! Frames, byte by byte: `size[4] type[1] tag[2]`, then the fields, all little
//! endian. Layouts are those of intro(5) and of diod's `protocol.md`.

use anyhow::{Result, bail};

/// Bytes of size, type and tag.
pub const HEADER: usize = 7;
/// Where a Tread or Twrite has its offset: behind header and fid.
pub const OFFSET_AT: usize = HEADER + 4;
/// Where an Rread has its data: behind header and count.
pub const READ_DATA: usize = HEADER + 4;
/// Where a Twrite has its data: behind header, fid, offset and count.
pub const WRITE_DATA: usize = HEADER + 16;
/// What Linux keeps free of a message when it reads or writes (`P9_IOHDRSZ`).
pub const IO_HEADER: u32 = 24;
/// Bytes of a Tgetattr, and of its answer.
pub const GETATTR: (usize, usize) = (HEADER + 12, HEADER + 153);
/// The attributes that `stat` shows (`P9_STATS_BASIC`).
pub const BASIC: u64 = 0x7ff;
/// The tag of Tversion.
pub const NO_TAG: u16 = 0xffff;
/// The fid that is none.
pub const NO_FID: u32 = 0xffff_ffff;

/// Types of requests; an answer's is one more.
pub mod ty {
    #![allow(missing_docs)]
    pub const RLERROR: u8 = 7;
    pub const TLOPEN: u8 = 12;
    pub const TGETATTR: u8 = 24;
    pub const TREADDIR: u8 = 40;
    pub const TVERSION: u8 = 100;
    pub const TATTACH: u8 = 104;
    pub const TFLUSH: u8 = 108;
    pub const TWALK: u8 = 110;
    pub const TREAD: u8 = 116;
    pub const TWRITE: u8 = 118;
    pub const TCLUNK: u8 = 120;
}

/// A request that is being written.
#[derive(Clone, Debug)]
pub struct Frame(Vec<u8>);

impl Frame {
    /// Starts one.
    pub fn new(ty: u8, tag: u16) -> Frame {
        let mut bytes = vec![0, 0, 0, 0, ty];
        bytes.extend_from_slice(&tag.to_le_bytes());
        Frame(bytes)
    }

    /// Two bytes.
    pub fn u16(mut self, v: u16) -> Frame {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }

    /// Four bytes.
    pub fn u32(mut self, v: u32) -> Frame {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }

    /// Eight bytes.
    pub fn u64(mut self, v: u64) -> Frame {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }

    /// A string of at most 65,535 bytes, behind its length.
    pub fn str(self, v: &str) -> Frame {
        let mut frame = self.u16(v.len() as u16);
        frame.0.extend_from_slice(v.as_bytes());
        frame
    }

    /// Data, behind its length.
    pub fn data(self, v: &[u8]) -> Frame {
        let mut frame = self.u32(v.len() as u32);
        frame.0.extend_from_slice(v);
        frame
    }

    /// The whole frame.
    pub fn done(mut self) -> Vec<u8> {
        let size = self.0.len() as u32;
        self.0[..4].copy_from_slice(&size.to_le_bytes());
        self.0
    }
}

/// `fid[4] request_mask[8]`
pub fn getattr(tag: u16, fid: u32) -> Vec<u8> {
    Frame::new(ty::TGETATTR, tag).u32(fid).u64(BASIC).done()
}

/// `fid[4] newfid[4] nwname[2] nwname*(wname[s])`
pub fn walk(tag: u16, fid: u32, new: u32, names: &[&str]) -> Vec<u8> {
    let frame = Frame::new(ty::TWALK, tag).u32(fid).u32(new).u16(names.len() as u16);
    names.iter().fold(frame, |f, n| f.str(n)).done()
}

/// `fid[4] flags[4]`
pub fn lopen(tag: u16, fid: u32, flags: u32) -> Vec<u8> {
    Frame::new(ty::TLOPEN, tag).u32(fid).u32(flags).done()
}

/// `fid[4]`
pub fn clunk(tag: u16, fid: u32) -> Vec<u8> {
    Frame::new(ty::TCLUNK, tag).u32(fid).done()
}

/// `fid[4] offset[8] count[4]`
pub fn read(tag: u16, fid: u32, offset: u64, count: u32) -> Vec<u8> {
    Frame::new(ty::TREAD, tag).u32(fid).u64(offset).u32(count).done()
}

/// `fid[4] offset[8] count[4]`
pub fn readdir(tag: u16, fid: u32, offset: u64, count: u32) -> Vec<u8> {
    Frame::new(ty::TREADDIR, tag).u32(fid).u64(offset).u32(count).done()
}

/// `fid[4] offset[8] count[4] data[count]`
pub fn write(tag: u16, fid: u32, offset: u64, data: &[u8]) -> Vec<u8> {
    Frame::new(ty::TWRITE, tag).u32(fid).u64(offset).data(data).done()
}

/// `oldtag[2]`
pub fn flush(tag: u16, old: u16) -> Vec<u8> {
    Frame::new(ty::TFLUSH, tag).u16(old).done()
}

/// The tag of a whole frame.
pub fn tag(frame: &[u8]) -> u16 {
    u16::from_le_bytes([frame[5], frame[6]])
}

/// Four bytes at a place that is there.
pub fn u32_at(frame: &[u8], at: usize) -> u32 {
    frame[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b))
}

/// Eight bytes at a place that is there.
pub fn u64_at(frame: &[u8], at: usize) -> u64 {
    frame[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
}

/// The fields of an answer to a request of that type, of at least `least` bytes.
#[inline]
pub fn answer(frame: &[u8], request: u8, least: usize) -> Result<&[u8]> {
    if frame[4] != request + 1 || frame.len() < HEADER + least {
        return refused(frame, request);
    }
    Ok(&frame[HEADER..])
}

#[cold]
fn refused(frame: &[u8], request: u8) -> Result<&[u8]> {
    match frame[4] {
        ty::RLERROR if frame.len() >= HEADER + 4 => {
            let errno = std::io::Error::from_raw_os_error(u32_at(frame, HEADER) as i32);
            bail!("a request of type {request} was refused: {errno}")
        }
        ty => bail!("a request of type {request} got {} bytes of type {ty}", frame.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_specification() {
        let walked = walk(1, 2, 3, &["ab"]);
        assert_eq!(walked, b"\x15\0\0\0\x6e\x01\0\x02\0\0\0\x03\0\0\0\x01\0\x02\0ab");
        assert_eq!(getattr(0, 0).len(), GETATTR.0);
        assert_eq!(u64_at(&read(0, 0, 77, 5), OFFSET_AT), 77);
        assert_eq!(&write(0, 0, 0, b"xyz")[WRITE_DATA..], b"xyz");
    }

    #[test]
    fn an_answer_is_what_was_asked_for_or_an_error() {
        let ok = Frame::new(ty::TCLUNK + 1, 4).done();
        assert!(answer(&ok, ty::TCLUNK, 0).is_ok());
        assert!(answer(&ok, ty::TCLUNK, 1).is_err());
        assert!(answer(&ok, ty::TREAD, 0).is_err());
        let error = Frame::new(ty::RLERROR, 4).u32(2).done();
        let why = answer(&error, ty::TREAD, 0).unwrap_err().to_string();
        assert!(why.contains("No such file"), "{why}");
    }
}
