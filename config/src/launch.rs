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
    /// `atoll.restore=1`: the guest goes on from a checkpoint, and does nothing until it
    /// was given one.
    #[cfg(feature = "atoms")]
    pub restore: bool,
    /// `atoll.store=1`: the host keeps what the guest stores, and has what was stored before.
    #[cfg(feature = "atoms")]
    pub store: bool,
}

impl Launch {
    /// Reads a command line. A value that is no number counts as not given.
    pub fn parse(line: &[u8]) -> Launch {
        let mut launch = Launch::default();
        for wall in values(line, b"atoll.wall=") {
            launch.wall = number(wall).unwrap_or(0);
        }
        #[cfg(feature = "atoms")]
        for restore in values(line, b"atoll.restore=") {
            launch.restore = number(restore) == Some(1);
        }
        #[cfg(feature = "atoms")]
        for store in values(line, b"atoll.store=") {
            launch.store = number(store) == Some(1);
        }
        launch
    }
}

/// What follows `key`, in every word of the line that begins with it.
pub fn values<'l>(line: &'l [u8], key: &'l [u8]) -> impl Iterator<Item = &'l [u8]> {
    line.split(|b| *b == b' ').filter_map(move |word| word.strip_prefix(key))
}

/// A whole number as Linux writes them on command lines: decimal or `0x`
/// hexadecimal, with `K` or `M` behind it or not. Bytes, because this is read in a
/// kernel before anything else is known.
pub fn number(text: &[u8]) -> Option<u64> {
    let (text, unit) = match text {
        [rest @ .., b'k' | b'K'] => (rest, 1 << 10),
        [rest @ .., b'm' | b'M'] => (rest, 1 << 20),
        _ => (text, 1),
    };
    let (digits, base) = match text {
        [b'0', b'x', rest @ ..] => (rest, 16),
        _ => (text, 10),
    };
    let mut value = if digits.is_empty() { None } else { Some(0u64) };
    for b in digits {
        let digit = u64::from((*b as char).to_digit(base)?);
        value = value?.checked_mul(base.into())?.checked_add(digit);
    }
    value?.checked_mul(unit)
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "atoll.wall={}", self.wall)?;
        #[cfg(feature = "atoms")]
        if self.restore {
            f.write_str(" atoll.restore=1")?;
        }
        #[cfg(feature = "atoms")]
        if self.store {
            f.write_str(" atoll.store=1")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Launch, number};
    use alloc::string::ToString;

    #[test]
    fn a_line_survives_the_trip_and_alien_words() {
        let wall = 1_790_000_000_000_000_007;
        let launch = Launch { wall, ..Launch::default() };
        let line = alloc::format!("quiet {launch} virtio_mmio.device=512@0xfeb00e00:12");
        assert_eq!(Launch::parse(line.as_bytes()), launch);
        assert_eq!(Launch::parse(b"atoll.wall=soon"), Launch::default());
        assert_eq!(launch.to_string(), "atoll.wall=1790000000000000007");
    }

    #[test]
    #[cfg(feature = "atoms")]
    fn only_a_guest_that_is_told_so_waits_for_a_checkpoint() {
        let launch = Launch { wall: 7, restore: true, store: false };
        assert_eq!(launch.to_string(), "atoll.wall=7 atoll.restore=1");
        assert_eq!(Launch::parse(b"atoll.wall=7 atoll.restore=1"), launch);
        for line in ["", "atoll.restore=0", "atoll.restore=", "atoll.restore=yes", "restore=1"] {
            assert!(!Launch::parse(line.as_bytes()).restore, "{line}");
        }
        let launch = Launch { store: true, ..launch };
        assert_eq!(launch.to_string(), "atoll.wall=7 atoll.restore=1 atoll.store=1");
        assert_eq!(Launch::parse(launch.to_string().as_bytes()), launch);
    }

    #[test]
    fn numbers_are_those_of_command_lines() {
        for (text, n) in [
            ("0", Some(0)),
            ("0x1fK", Some(31 << 10)),
            ("3m", Some(3 << 20)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("18446744073709551615K", None),
            ("", None),
            ("K", None),
            ("0x", None),
            ("-1", None),
            ("1 ", None),
        ] {
            assert_eq!(number(text.as_bytes()), n, "{text:?}");
        }
    }
}
