//! Listing directories, by cookie, so one of a million names is no larger here.

use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, Tmsg, entries};
use atoll_9p::types::{Qid, Stat, qid_type};

use super::{Fs, Open};
use crate::mount::file::File;
use crate::mount::fuse::Reply;
use crate::mount::job::Job;
use crate::mount::link::Fail;

/// Where a listing goes on after `.` and `..`, which servers need not list. Numbers
/// that no file system uses: neither small, nor the highest, nor hashes' neighbours.
const DOT: u64 = 0x61_746f_6c6c_2e01;
const DOTDOT: u64 = 0x61_746f_6c6c_2e02;

/// A name in a directory.
#[derive(Debug)]
struct Name {
    qid: Qid,
    cookie: u64,
    name: String,
}

impl Fs {
    pub(super) async fn readdir(
        &self,
        job: &Job,
        unique: u64,
        fh: u64,
        offset: u64,
        size: u32,
        plus: bool,
    ) -> Result<Reply, Fail> {
        let open = self.open_file(fh)?;
        let Open::Theirs(dir) = &*open else { return Err(Errno::EBADF.into()) };
        let (mut reply, max) = (Reply::ok(unique), size as usize);
        let dots: &[(u64, &str)] = match offset {
            0 => &[(DOT, "."), (DOTDOT, "..")],
            DOT => &[(DOTDOT, "..")],
            _ => &[],
        };
        for (cookie, name) in dots {
            let qid = Qid { ty: qid_type::DIR, ..dir.node.qid };
            match plus {
                true => reply.direntplus(0, &Stat { qid, ..Stat::default() }, *cookie, name),
                false => drop(reply.dirent(max, qid, *cookie, name)),
            }
        }
        let cookie = if matches!(offset, DOT | DOTDOT) { 0 } else { offset };
        // The kernel's entries are longer than the protocol's.
        let room = (max - reply.len()) as u32;
        let count = if plus { room / 4 } else { room };
        let names = self.list(job, dir, cookie, count).await?;
        match plus {
            true => self.push_plus(job, dir, names, max, &mut reply).await?,
            false => {
                for n in names {
                    if !reply.dirent(max, n.qid, n.cookie, &n.name) {
                        break;
                    }
                }
            }
        }
        Ok(reply)
    }

    /// Some names from a cookie on; none at the end.
    async fn list(
        &self,
        job: &Job,
        dir: &File,
        mut cookie: u64,
        count: u32,
    ) -> Result<Vec<Name>, Fail> {
        loop {
            let count = count.min(self.link.most_read());
            let ask = Tmsg::Readdir { fid: dir.fid.number, offset: cookie, count };
            let (names, last) = self.ask(job, &ask, names).await?;
            match last {
                // Only `.` and `..`, which are listed already.
                Some(last) if names.is_empty() && last != cookie => cookie = last,
                _ => return Ok(names),
            }
        }
    }

    /// Entries with the attributes of their files, which are looked up side by side.
    async fn push_plus(
        &self,
        job: &Job,
        dir: &File,
        names: Vec<Name>,
        max: usize,
        reply: &mut Reply,
    ) -> Result<(), Fail> {
        let from = self.nodes.fid(job, &dir.node).await?;
        let mut room = max.saturating_sub(reply.len());
        let mut asked = Vec::new();
        for n in names {
            let size = Reply::plus_size(&n.name);
            if size > room {
                break;
            }
            room -= size;
            asked.push((self.nodes.start(&from, &n.name), n));
        }
        for (looking, n) in asked {
            let found = match looking {
                Ok(looking) => looking.end(&self.nodes, job, &dir.node, &n.name).await,
                Err(fail) => Err(fail),
            };
            match found {
                Ok((node, stat)) => reply.direntplus(node.id, &stat, n.cookie, &n.name),
                // It is gone by now, or may not be looked at: its name is there. As is
                // that of one whose caller has lost patience: what the kernel was told
                // of before is not to be forgotten by us.
                Err(_) => {
                    let stat = Stat { qid: n.qid, ..Stat::default() };
                    reply.direntplus(0, &stat, n.cookie, &n.name);
                }
            }
        }
        Ok(())
    }
}

fn names(r: &Rmsg<'_>) -> Option<(Vec<Name>, Option<u64>)> {
    let Rmsg::Readdir { data } = r else { return None };
    let mut last = None;
    let mut names = Vec::new();
    for e in entries(data) {
        last = Some(e.cookie);
        if e.name != "." && e.name != ".." {
            names.push(Name { qid: e.qid, cookie: e.cookie, name: e.name.to_owned() });
        }
    }
    Some((names, last))
}
