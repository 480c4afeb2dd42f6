//! Reading a payload: postcard's wire format, by hand.
//!
//! A guest reads its payload before it does anything else, on a machine that may
//! be emulated, where every instruction met for the first time is dear. What a
//! derived reader spreads over two hundred places is some twenty here. Hosts
//! write with postcard itself, and a test compares the two.

use alloc::vec::Vec;

use super::{Budget, Component, File, Hash, Import, Module, OnFault, Payload, Value};
use crate::atom::{AtomLimits, FileKind, ModuleFile};

/// Whether this reader takes guests with atoms. A kernel that cannot run them need
/// not carry what reads them.
const ATOMS: bool = cfg!(feature = "atoms");

struct Reader<'a>(&'a [u8]);

/// Reads a whole body; nothing may follow.
pub(super) fn payload(body: &[u8]) -> Option<Payload<'_>> {
    let mut r = Reader(body);
    let payload = Payload {
        name: r.str()?,
        version: r.str()?,
        memory: r.int()?,
        on_fault: match r.int()? {
            0 => OnFault::Restart,
            1 => OnFault::Stop,
            2 if ATOMS => OnFault::Restore,
            _ => return None,
        },
        budget: Budget {
            memory: r.int()?,
            messages: r.int()?.try_into().ok()?,
            sessions: r.int()?.try_into().ok()?,
            fids: r.int()?.try_into().ok()?,
        },
        files: r.list(|r| Some(File { path: r.str()?, data: r.bytes()? }))?,
        components: r.list(|r| {
            Some(Component {
                name: r.str()?,
                kind: r.str()?,
                state_version: r.int()?.try_into().ok()?,
                params: r.list(Reader::value)?,
                module: match r.int()? {
                    0 => None,
                    1 if ATOMS => Some(r.int()?.try_into().ok()?),
                    _ => return None,
                },
                limits: AtomLimits { memory: r.int()?, stack: r.int()?, deadline_ns: r.int()? },
            })
        })?,
        imports: r.list(|r| Some(Import { name: r.str()?, at: r.str()? }))?,
        writable: r.list(Reader::str)?,
        modules: match ATOMS {
            true => r.list(Reader::module)?,
            false if r.int()? == 0 => Vec::new(),
            false => return None,
        },
    };
    r.0.is_empty().then_some(payload)
}

impl<'a> Reader<'a> {
    /// A number: seven bits a byte, the lowest first, the top bit set on all but
    /// the last.
    #[inline(never)]
    fn int(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            value |= bits << shift;
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                return (shift < 63 || bits < 2).then_some(value);
            }
        }
        None
    }

    #[inline(never)]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.int()?.try_into().ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    #[inline(never)]
    fn str(&mut self) -> Option<&'a str> {
        core::str::from_utf8(self.bytes()?).ok()
    }

    fn value(&mut self) -> Option<Value<'a>> {
        Some(match self.int()? {
            0 => {
                let zigzag = self.int()?;
                Value::Int((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
            }
            1 => Value::Text(self.str()?),
            2 => Value::Bool(match self.int()? {
                0 => false,
                1 => true,
                _ => return None,
            }),
            3 => Value::Span(self.int()?),
            _ => return None,
        })
    }

    fn module(&mut self) -> Option<Module<'a>> {
        let name = self.str()?;
        let (hash, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(Module {
            name,
            hash: Hash(*hash),
            wasm: self.bytes()?,
            files: self.list(|r| {
                let name = r.str()?;
                let kind = match r.int()? {
                    0 => FileKind::Text,
                    1 => FileKind::Ctl,
                    2 => FileKind::Events { keep: r.int()?.try_into().ok()? },
                    3 => FileKind::Next { keep: r.int()?.try_into().ok()? },
                    4 => FileKind::Names,
                    _ => return None,
                };
                Some(ModuleFile { name, kind })
            })?,
        })
    }

    /// How many items follow, each of which takes at least one byte.
    #[inline(never)]
    fn count(&mut self) -> Option<usize> {
        let count = self.int()?.try_into().ok()?;
        (count <= self.0.len()).then_some(count)
    }

    /// As many items as are said.
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }
}
