//! `/.atoll`: a directory of the mount's own, which no listing shows.
//!
//! `error` holds the text of the last error that anybody was told (the kernel
//! passes only a number on), `status` says what is mounted and how it is.

use atoll_9p::fault::Errno;
use atoll_9p::types::{Qid, Stat, mode, qid_type};

use super::{Fs, Open};
use crate::mount::fuse::{Reply, Request, abi};
use crate::mount::link::Fail;

/// Its name in the root.
pub(super) const NAME: &[u8] = b".atoll";
const DIR: u64 = 2;
const ERROR: u64 = 3;
const STATUS: u64 = 4;
/// The numbers that people see: the highest, which no server uses.
const INO: u64 = u64::MAX - 16;

/// Whether a request is about the mount's own directory.
pub(super) fn is_own(node: u64, request: &Request<'_>) -> bool {
    match request {
        Request::Lookup { name } if node == abi::ROOT => *name == NAME,
        Request::Rename { newdir, .. } => is_file(*newdir) || is_file(node),
        Request::Link { from, .. } => is_file(*from) || is_file(node),
        // Of these the handle says more than the node.
        Request::Statfs => false,
        _ => is_file(node),
    }
}

fn is_file(node: u64) -> bool {
    (DIR..=STATUS).contains(&node)
}

fn stat(node: u64, size: u64) -> Stat {
    let dir = node == DIR;
    let ty = if dir { qid_type::DIR } else { qid_type::FILE };
    Stat {
        qid: Qid { ty, version: 0, path: INO + node },
        mode: if dir { mode::DIR | 0o555 } else { mode::FILE | 0o444 },
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        nlink: 1,
        size,
        ..Stat::default()
    }
}

impl Fs {
    pub(super) fn own(&self, unique: u64, node: u64, request: &Request<'_>) -> Result<Reply, Fail> {
        // Length 0, like all that is computed when it is read.
        Ok(match request {
            Request::Lookup { name } => {
                let found = match (node, *name) {
                    (abi::ROOT, NAME) => DIR,
                    (DIR, b"error") => ERROR,
                    (DIR, b"status") => STATUS,
                    _ => return Err(Errno::ENOENT.into()),
                };
                Reply::entry(unique, found, &stat(found, 0))
            }
            Request::Getattr { .. } => Reply::attr_out(unique, &stat(node, 0)),
            Request::Open { flags } | Request::Opendir { flags } if flags & 3 == 0 => {
                let text = match node {
                    ERROR => self.link.last_error(),
                    STATUS => self.status(),
                    _ => String::new(),
                };
                Reply::ok(unique).open(self.handle(Open::Own(text)), abi::FOPEN_DIRECT_IO)
            }
            Request::Read { fh, offset, size } => {
                let open = self.open_file(*fh)?;
                let Open::Own(text) = &*open else { return Err(Errno::EBADF.into()) };
                let rest = text.as_bytes().get(*offset as usize..).unwrap_or_default();
                Reply::data(unique, rest.get(..*size as usize).unwrap_or(rest))
            }
            Request::Readdir { offset, size, plus, .. } => {
                let mut reply = Reply::ok(unique);
                let names = [(".", DIR), ("..", DIR), ("error", ERROR), ("status", STATUS)];
                for (i, (name, node)) in names.into_iter().enumerate().skip(*offset as usize) {
                    let (stat, cookie) = (stat(node, 0), i as u64 + 1);
                    if *plus && reply.len() + Reply::plus_size(name) <= *size as usize {
                        reply.direntplus(if i < 2 { 0 } else { node }, &stat, cookie, name);
                    } else if *plus || !reply.dirent(*size as usize, stat.qid, cookie, name) {
                        break;
                    }
                }
                reply
            }
            Request::Release { fh, .. } | Request::Releasedir { fh } => {
                self.files.borrow_mut().remove(fh);
                Reply::ok(unique)
            }
            Request::Access { mask } if mask & 2 == 0 => Reply::ok(unique),
            Request::Flush { .. } | Request::Fsync { .. } | Request::Fsyncdir { .. } => {
                Reply::ok(unique)
            }
            Request::Getxattr { .. } => return Err(Errno::ENODATA.into()),
            Request::Listxattr { size } => Reply::xattr(unique, *size, b""),
            _ => return Err(Errno::EROFS.into()),
        })
    }

    fn status(&self) -> String {
        let (losses, why) = self.link.health();
        let state = match self.link.is_up() {
            true => "connected".to_owned(),
            false => format!("waiting: {why}"),
        };
        format!(
            "server {}\nvia fuse\nhelper {}\nstate {state}\nlosses {losses}\nnodes {}\nopen {}\n",
            self.source,
            std::process::id(),
            self.nodes.count(),
            self.files.borrow().len(),
        )
    }
}
