//! The bytes of a message: few of them lie in place, so that most messages take no
//! memory but that of the queue.

use alloc::vec::Vec;
use core::ops::Deref;

/// Bytes that lie in place.
const SHORT: usize = 30;

/// Bytes on their way.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    Short(u8, [u8; SHORT]),
    Long(Vec<u8>),
}

impl Load {
    #[cfg(feature = "atoms")]
    pub(crate) const NONE: Load = Load::Short(0, [0; SHORT]);
}

impl From<&[u8]> for Load {
    fn from(bytes: &[u8]) -> Load {
        let mut short = [0; SHORT];
        match short.get_mut(..bytes.len()) {
            Some(to) => {
                to.copy_from_slice(bytes);
                Load::Short(bytes.len() as u8, short)
            }
            None => Load::Long(bytes.to_vec()),
        }
    }
}

impl Deref for Load {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Load::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Load::Long(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_come_back() {
        let all: Vec<u8> = (0..100).collect();
        for n in 0..all.len() {
            let load = Load::from(&all[..n]);
            assert_eq!(&*load, &all[..n]);
            assert_eq!(matches!(load, Load::Short(..)), n <= SHORT);
        }
    }
}
