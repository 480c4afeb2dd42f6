//! Open files: a fid of their own each, and whether the kernel may cache them.

use std::rc::Rc;

use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::types::{OpenFlags, Qid, getattr, qid_type};

use super::job::Job;
use super::link::{Fail, Fid, Link};
use super::node::{Node, Nodes, stat_of, walk};

/// What of the kernel's open flags goes to the server.
pub const FLAGS: u32 =
    3 | OpenFlags::TRUNC | OpenFlags::APPEND | OpenFlags::NONBLOCK | OpenFlags::DIRECTORY;

/// An open file or directory.
#[derive(Debug)]
pub struct File {
    /// What it was opened from.
    pub node: Rc<Node>,
    /// Its fid.
    pub fid: Fid,
    /// Whether reads and writes go to the server as they are, and nothing is cached.
    pub direct: bool,
}

impl File {
    /// Opens a node.
    pub async fn open(
        link: &Rc<Link>,
        nodes: &Nodes,
        job: &Job,
        node: &Rc<Node>,
        flags: u32,
    ) -> Result<File, Fail> {
        let flags = OpenFlags(flags & FLAGS);
        let from = nodes.fid(job, node).await?;
        let fid = link.fid();
        let number = fid.number;
        let walk = walk(link, from.number, number, "")?;
        let opened = |r: &Rmsg<'_>| match r {
            Rmsg::Lopen { qid, .. } => Some(*qid),
            _ => None,
        };
        let open = link.ask(&Tmsg::Lopen { fid: number, flags }, opened)?;
        walk.answer(job).await??;
        let qid = open.answer(job).await?;
        let ask = link.ask(&Tmsg::Getattr { fid: number, mask: getattr::BASIC }, stat_of)?;
        let stat = ask.answer(job).await?;
        // A file that is empty only because this open has emptied it is a plain one; one
        // that is empty all the same may be computed when it is read.
        let computed = stat.size == 0 && (node.size.get() == 0 || !flags.has(OpenFlags::TRUNC));
        let direct = !qid.is_dir() && (computed || is_append(qid));
        Ok(File { node: node.clone(), fid, direct })
    }

    /// A file that was created and so is open.
    pub fn created(node: &Rc<Node>, qid: Qid, fid: Fid) -> File {
        File { node: node.clone(), fid, direct: is_append(qid) }
    }

    /// Reads up to so many bytes; fewer are the end, or of a file that is not cached
    /// what there is now.
    pub async fn read(
        &self,
        link: &Rc<Link>,
        job: &Job,
        offset: u64,
        size: u32,
    ) -> Result<Vec<u8>, Fail> {
        let mut got = Vec::new();
        while (got.len() as u32) < size {
            let count = (size - got.len() as u32).min(link.most_read());
            let at = offset + got.len() as u64;
            let ask = link.ask(&Tmsg::Read { fid: self.fid.number, offset: at, count }, data)?;
            let part = match ask.answer(job).await {
                // What was read is told first.
                Err(_) if !got.is_empty() => break,
                part => part?,
            };
            let end = part.is_empty() || self.direct;
            match got.is_empty() {
                true => got = part,
                false => got.extend_from_slice(&part),
            }
            if end {
                break;
            }
        }
        Ok(got)
    }

    /// Writes, with as few messages as it takes; says how much was written. To a file
    /// that is not cached it is one message: the rest is another write.
    pub async fn write(
        &self,
        link: &Rc<Link>,
        job: &Job,
        offset: u64,
        data: &[u8],
    ) -> Result<u32, Fail> {
        let mut at = 0;
        loop {
            let rest = data.get(at..).unwrap_or_default();
            let part = rest.get(..rest.len().min(link.most_written() as usize));
            let part = part.unwrap_or_default();
            let (fid, offset) = (self.fid.number, offset + at as u64);
            let ask = link.ask(&Tmsg::Write { fid, offset, data: part, op: None }, written)?;
            match ask.answer(job).await {
                // What was written is told first.
                Err(_) if at > 0 => break,
                n => at += part.len().min(n? as usize),
            }
            if at >= data.len() || part.is_empty() || self.direct {
                break;
            }
        }
        Ok(at as u32)
    }
}

fn is_append(qid: Qid) -> bool {
    qid.ty & qid_type::APPEND != 0
}

fn data(r: &Rmsg<'_>) -> Option<Vec<u8>> {
    match r {
        Rmsg::Read { data, .. } => Some(data.to_vec()),
        _ => None,
    }
}

fn written(r: &Rmsg<'_>) -> Option<u32> {
    match r {
        Rmsg::Write { count } => Some(*count),
        _ => None,
    }
}
