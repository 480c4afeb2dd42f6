//! The launch line: what a host tells a guest at its start and no image holds.
//!
//! Launch policy is separate from the image and not part of any hash. On a
//! hypervisor it travels as the kernel's command line, for a tender as
//! arguments; it is the same text, `key=value` words between spaces. Words with
//! other keys belong to somebody else (QEMU adds `virtio_mmio.device=`) and are
//! passed over.

use core::fmt;

/// What a host tells a guest at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// `atoll.wall=`: the time of day at the start, nanoseconds since 1970 UTC.
    pub wall: u64,
}

impl Launch {
    /// Reads a command line. A value that is no number counts as not given.
    pub fn parse(line: &str) -> Launch {
        let mut launch = Launch::default();
        for word in line.split_ascii_whitespace() {
            if let Some(("atoll.wall", n)) = word.split_once('=') {
                launch.wall = n.parse().unwrap_or(0);
            }
        }
        launch
    }
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "atoll.wall={}", self.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::Launch;
    use alloc::string::ToString;

    #[test]
    fn a_line_survives_the_trip_and_alien_words() {
        let launch = Launch { wall: 1_790_000_000_000_000_007 };
        let line = alloc::format!("quiet {launch} virtio_mmio.device=512@0xfeb00e00:12");
        assert_eq!(Launch::parse(&line), launch);
        assert_eq!(Launch::parse("atoll.wall=soon"), Launch::default());
        assert_eq!(launch.to_string(), "atoll.wall=1790000000000000007");
    }
}
