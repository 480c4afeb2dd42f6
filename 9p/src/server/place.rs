//! Where a fid's file lies: its directory, and its name there.
//!
//! Most messages name a file by a directory and a name. Tremove, Trename, Tstat and
//! Twstat have only the fid, which remembers the last name that was walked. That
//! name may lead elsewhere by now, so it is walked again before it is used.

use alloc::string::String;
use alloc::vec::Vec;

use super::Session;
use crate::fault::{Errno, Fault};
use crate::msg::{entries, ty};
use crate::tree::{Entries, Tree};
use crate::types::{OpenFlags, Qid};
use crate::wire::Writer;

/// Where a file lies. The directory is held, and must be forgotten.
pub(super) struct Place<N> {
    pub(super) dir: N,
    pub(super) name: String,
    /// The file's own.
    pub(super) qid: Qid,
}

/// Bytes of entries that are looked through at a time, and how many times at most.
const PIECE: usize = 4096;
const PIECES: usize = 256;

impl<T: Tree, const PLAIN: bool> Session<T, PLAIN> {
    /// Where a fid's file lies.
    pub(super) fn place(&mut self, tree: &mut T, fid: u32) -> Result<Place<T::Node>, Fault> {
        let f = self.fids.get(fid)?;
        let (node, root) = (f.node, f.root);
        let name = self.fids.name(fid).map(|n| n.clone()).unwrap_or_default();
        let qid = tree.qid(node)?;
        if qid.path == root {
            return Err(Fault::new(Errno::EBUSY, "this is the root of what was attached"));
        }
        let (dir, _) = tree.walk(node, "..")?;
        match name_in(tree, dir, qid.path, name) {
            Ok(name) => {
                if let Some(known) = self.fids.name(fid) {
                    known.clone_from(&name);
                }
                Ok(Place { dir, name, qid })
            }
            Err(fault) => {
                tree.forget(dir);
                Err(fault)
            }
        }
    }
}

/// The name under which a directory holds a file: the one that is thought to be, or
/// one that is looked for if none is.
fn name_in<T: Tree>(tree: &mut T, dir: T::Node, path: u64, name: String) -> Result<String, Fault> {
    if name.is_empty() {
        return search(tree, dir, path);
    }
    match tree.walk(dir, &name) {
        Ok((node, qid)) => {
            tree.forget(node);
            if qid.path == path { Ok(name) } else { Err(Errno::ESTALE.into()) }
        }
        Err(fault) if fault.errno == Errno::ENOENT => Err(Errno::ESTALE.into()),
        Err(fault) => Err(fault),
    }
}

/// Looks through a directory for a file. Gives up in one of a hundred thousand entries.
fn search<T: Tree>(tree: &mut T, dir: T::Node, path: u64) -> Result<String, Fault> {
    let mut at = tree.again(dir);
    let mut open = tree.open(&mut at, OpenFlags::RDONLY).inspect_err(|_| tree.forget(at))?;
    let found = (|| {
        let (mut cookie, mut piece) = (0, Vec::new());
        for _ in 0..PIECES {
            piece.clear();
            let mut sink = Entries::new(Writer::new(&mut piece, ty::TREADDIR, 0), PIECE);
            tree.list(at, &mut open, cookie, &mut sink)?;
            sink.finish().finish();
            let mut last = None;
            for entry in entries(piece.get(crate::wire::HEADER..).unwrap_or_default()) {
                if entry.qid.path == path {
                    return Ok(String::from(entry.name));
                }
                last = Some(entry.cookie);
            }
            match last {
                Some(last) => cookie = last,
                None => break,
            }
        }
        Err(Errno::ESTALE.into())
    })();
    tree.close(at, open);
    tree.forget(at);
    found
}
