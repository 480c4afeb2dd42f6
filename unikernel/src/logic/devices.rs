//! The devices that the host announces on the command line.
//!
//! A microvm has no bus to scan. QEMU appends one word for each virtio-mmio
//! slot, in the notation of Linux' `virtio_mmio.device=`: size, address and
//! interrupt line. An empty slot is announced too; its device id is zero.

/// A virtio-mmio slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Physical address of its registers.
    pub base: u64,
    /// Bytes of registers.
    pub size: u64,
    /// Its input of the interrupt controller.
    pub line: u8,
}

/// Every slot that a command line names, in its order. Words that are not of
/// the form `virtio_mmio.device=SIZE@BASE:LINE` are passed over.
pub fn slots(cmdline: &str) -> impl Iterator<Item = Slot> {
    cmdline
        .split_ascii_whitespace()
        .filter_map(|word| slot(word.strip_prefix("virtio_mmio.device=")?))
}

fn slot(text: &str) -> Option<Slot> {
    let (size, rest) = text.split_once('@')?;
    let mut parts = rest.split(':');
    let base = number(parts.next()?)?;
    let line = u8::try_from(number(parts.next()?)?).ok()?;
    Some(Slot { base, size: number(size)?, line })
}

/// A number as Linux' `memparse` reads it: decimal or `0x`, and a suffix K or M.
fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.get(..text.len() - 1)?, 10),
        b'm' | b'M' => (text.get(..text.len() - 1)?, 20),
        _ => (text, 0),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    value.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::{Slot, slots};

    #[test]
    fn qemu_words_are_read_and_others_passed_over() {
        let line =
            "atoll.wall=7 virtio_mmio.device=512@0xfeb00e00:12 x virtio_mmio.device=1K@4096:3:0";
        let found: Vec<Slot> = slots(line).collect();
        assert_eq!(
            found,
            [
                Slot { base: 0xfeb0_0e00, size: 512, line: 12 },
                Slot { base: 4096, size: 1024, line: 3 },
            ]
        );
    }

    #[test]
    fn what_is_no_slot_is_none() {
        for word in [
            "",
            "512",
            "512@",
            "512@0xfeb",
            "512@0xzz:1",
            "@1:2",
            "1@2:256",
            "1@2:-1",
            "99999999999999999999@1:1",
            "18446744073709551615K@1:1",
        ] {
            assert_eq!(slots(&format!("virtio_mmio.device={word}")).count(), 0, "{word}");
        }
    }
}
