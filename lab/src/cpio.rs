//! A cpio archive (the `newc` form) as Linux takes it for its first file system.
//!
//! Layout: `Documentation/driver-api/early-userspace/buffer-format.rst` of Linux.
//! Every field is eight hexadecimal digits; names and data are padded to four bytes.

/// An archive being written.
#[derive(Debug, Default)]
pub struct Cpio {
    out: Vec<u8>,
    inode: u32,
}

impl Cpio {
    /// Adds a folder.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, 0o040_755, (0, 0), &[]);
    }

    /// Adds a program.
    pub fn program(&mut self, path: &str, bytes: &[u8]) {
        self.entry(path, 0o100_755, (0, 0), bytes);
    }

    /// Adds a plain file.
    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        self.entry(path, 0o100_644, (0, 0), bytes);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, 0o120_777, (0, 0), target.as_bytes());
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, 0o020_600, (major, minor), &[]);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.out
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), bytes: &[u8]) {
        let (size, name) = (bytes.len() as u32, path.len() as u32 + 1);
        self.inode += 1;
        // inode mode uid gid links time size, device of the file, device it is,
        // length of the name, checksum
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name, 0];
        self.out.extend_from_slice(b"070701");
        for field in fields {
            self.out.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.out.extend_from_slice(path.as_bytes());
        self.out.push(0);
        self.pad();
        self.out.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_end_with_the_trailer() {
        let mut cpio = Cpio::default();
        cpio.folder("dev");
        cpio.program("init", b"12345");
        let out = cpio.finish();
        assert_eq!(out.len() % 4, 0);
        assert!(out.starts_with(b"070701"));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("070701").count(), 3);
        assert!(text.contains("init\0") && text.contains("12345\0\0\x00070701"), "{text:?}");
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
    }
}
