//! The children of a node, which may be more than fit into a message.

use atoll_9p::fault::{Errno, Fault};
use atoll_xen::store::{Answer, Error, Request, TxId};

use crate::backend::{Backend, Failed, garbled};

/// The longest list that is taken, in bytes. A domain may have 1000 nodes.
const MAX_LIST: u32 = 1 << 20;
/// How often a list that changes while it is read is begun anew.
const TRIES: usize = 8;

/// The names of a node's children, in order.
pub(crate) fn children(
    backend: &mut impl Backend,
    tx: TxId,
    path: &str,
) -> Result<Vec<String>, Fault> {
    let mut names = match backend.ask(tx, &Request::Directory(path)) {
        Ok(Answer::Names(names)) => names,
        Ok(_) => return Err(garbled()),
        Err(Failed::Store(Error::E2BIG)) => in_parts(backend, tx, path)?,
        Err(failed) => return Err(failed.into()),
    };
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn in_parts(backend: &mut impl Backend, tx: TxId, path: &str) -> Result<Vec<String>, Fault> {
    'anew: for _ in 0..TRIES {
        let (mut names, mut offset, mut generation) = (Vec::new(), 0_u32, None);
        loop {
            let part = match backend.ask(tx, &Request::DirectoryPart(path, offset)) {
                Ok(Answer::Part(part)) => part,
                Ok(_) => return Err(garbled()),
                // oxenstored of Xen 4.17 knows no parts.
                Err(Failed::Store(Error::ENOSYS | Error::EINVAL)) => {
                    let text = "the node has more children than this xenstored can list";
                    return Err(Fault::new(Errno::EFBIG, text));
                }
                Err(failed) => return Err(failed.into()),
            };
            if *generation.get_or_insert_with(|| part.generation.clone()) != part.generation {
                continue 'anew;
            }
            names.extend(part.names);
            if part.last {
                return Ok(names);
            }
            offset = offset.saturating_add(part.bytes);
            if part.bytes == 0 {
                return Err(garbled());
            }
            if offset > MAX_LIST {
                return Err(Fault::new(Errno::EFBIG, "the node has too many children to list"));
            }
        }
    }
    Err(Fault::new(Errno::EBUSY, "the node's children change faster than they can be listed"))
}
