//! The devices that the host announces on the command line.
//!
//! A microvm has no bus to scan. QEMU appends one word for each virtio-mmio
//! slot, in the notation of Linux' `virtio_mmio.device=`: size, address and
//! interrupt line. An empty slot is announced too; its device id is zero.

use atoll_config::launch::{number, values};

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
pub fn slots(cmdline: &[u8]) -> impl Iterator<Item = Slot> {
    values(cmdline, b"virtio_mmio.device=").filter_map(slot)
}

fn slot(text: &[u8]) -> Option<Slot> {
    let mut parts = text.splitn(4, |b| matches!(b, b'@' | b':'));
    let size = number(parts.next()?)?;
    let base = number(parts.next()?)?;
    let line = u8::try_from(number(parts.next()?)?).ok()?;
    Some(Slot { base, size, line })
}

#[cfg(test)]
mod tests {
    use super::{Slot, slots};

    #[test]
    fn qemu_words_are_read_and_others_passed_over() {
        let line =
            b"atoll.wall=7 virtio_mmio.device=512@0xfeb00e00:12 x virtio_mmio.device=1K@4096:3:0";
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
            assert_eq!(slots(format!("virtio_mmio.device={word}").as_bytes()).count(), 0, "{word}");
        }
    }
}
