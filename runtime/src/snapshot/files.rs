//! `checkpoint/` in a guest's tree: how a host takes checkpoints of it, and gives it one.
//!
//! | file | |
//! |---|---|
//! | `new` | opening it takes a checkpoint, which it then reads as; it is kept until the file is closed |
//! | `since` | the same of what has changed since the last that was read to its end |
//! | `restore` | takes a checkpoint, written from its start; with the last byte, the guest becomes it |
//! | `wanted` | lines `checkpoint N` and `restore N`: what the guest's own ctl was told; `stop N STATUS`: it was told to stop, and waits for checkpoint N and then for that line in its ctl again; `back`: the guest is to be given its last one |
//!
//! One of the first three is open at a time, so that a guest holds one checkpoint at most.

use alloc::boxed::Box;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::synth::{Command, Node, Synth, Verb};
use atoll_9p::types::OpenFlags;

use super::cut::Cut;
use super::take::Incoming;
use crate::atoms::tree::is_atom;
use crate::component::ComponentId;
use crate::core::Core;

/// The interrupt that says: the guest goes on from a checkpoint.
const RESTORED: u8 = 63;

/// The verbs of a guest's ctl that are about checkpoints.
pub(crate) const CHECKPOINT: Verb = Verb::new("checkpoint", "", 0);
/// See [`CHECKPOINT`].
pub(crate) const RESTORE: Verb = Verb::new("restore", "N", 1);

/// The three files.
#[derive(Clone, Copy)]
pub(crate) struct Nodes {
    new: Node,
    since: Node,
    restore: Node,
}

/// What is open of them.
enum Busy<'a> {
    /// A checkpoint, and whether it was read to its end.
    Cut(Box<Cut>, bool),
    Restore(Box<Incoming<'a>>),
    /// The guest has become what was written.
    Restored(u64),
}

/// See the module's text.
pub(crate) struct Door<'a> {
    nodes: Option<Nodes>,
    busy: Option<Busy<'a>>,
}

/// Adds the names to a guest's tree.
pub(crate) fn add<'a>(t: &mut Synth<'a, Core<'a>>, root: Node) -> Nodes {
    let dir = t.dir(root, "checkpoint");
    let mut file = |name| t.bytes(dir, name, b"");
    let nodes = Nodes { new: file("new"), since: file("since"), restore: file("restore") };
    t.stream(dir, "wanted", |core: &mut Core<'a>| {
        core.stirred = true;
        &mut core.snaps.lines
    });
    nodes
}

/// Does what the guest's ctl is told of checkpoints: it tells who reads `wanted`.
pub(crate) fn ctl(core: &mut Core<'_>, c: &Command<'_>) -> Result<(), Fault> {
    let n = match c.verb {
        "checkpoint" => {
            core.may_run()?;
            core.snaps.wanted + 1
        }
        _ => c.number(0)?,
    };
    if !core.snaps.lines.has_readers() {
        let text = "nobody keeps checkpoints of this guest: run it with --state DIR, or read \
                    checkpoint/new";
        return Err(Fault::new(Errno::ENXIO, text).blame(Blame::Operator));
    }
    core.snaps.wanted = core.snaps.wanted.max(n);
    let line = alloc::format!("{} {n}", c.verb);
    core.say("ctl", &line);
    core.snaps.lines.push(line);
    Ok(())
}

/// Ends the guest, after a last checkpoint where somebody keeps them: he writes `stop` again
/// when he has it. Whoever else writes it twice does not wait for that.
pub(crate) fn stop(core: &mut Core<'_>, status: u8) {
    let keeps = core.snaps.lines.has_readers() && core.may_run().is_ok() && core.exit().is_none();
    if !keeps || core.snaps.ending {
        return core.stop(status);
    }
    core.snaps.ending = true;
    core.snaps.wanted += 1;
    let line = alloc::format!("stop {} {status}", core.snaps.wanted);
    core.snaps.lines.push(line);
}

impl<'a> Door<'a> {
    pub(crate) fn new(nodes: Option<Nodes>) -> Door<'a> {
        Door { nodes, busy: None }
    }

    /// Whether a file is one of the three.
    pub(crate) fn is(&self, node: Node) -> bool {
        self.nodes.is_some_and(|n| [n.new, n.since, n.restore].contains(&node))
    }

    /// Whether a file is the one that is written.
    pub(crate) fn takes(&self, node: Node) -> bool {
        self.nodes.is_some_and(|n| n.restore == node)
    }

    pub(crate) fn open(
        &mut self,
        core: &mut Core<'a>,
        node: Node,
        flags: OpenFlags,
    ) -> Result<(), Fault> {
        let takes = self.takes(node);
        if flags.writes() != takes {
            return Err(Errno::EACCES.into());
        }
        if self.busy.is_some() {
            return Err(Fault::new(Errno::EBUSY, "another checkpoint is under way"));
        }
        if core.exit().is_some() {
            return Err(Fault::new(Errno::ECANCELED, "the guest has ended"));
        }
        self.busy = Some(if takes {
            Busy::Restore(Box::default())
        } else {
            core.may_run()?;
            let since = self.nodes.is_some_and(|n| n.since == node);
            Busy::Cut(Box::new(core.cut(since)?), false)
        });
        Ok(())
    }

    pub(crate) fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        let Some(Busy::Cut(cut, all)) = &mut self.busy else { return Err(Errno::EBADF.into()) };
        let n = cut.read(offset, buf);
        // Who has looked at all of it in one piece may still not want it: the end is read.
        *all |= !buf.is_empty() && n == 0 && offset >= cut.len();
        Ok(n)
    }

    pub(crate) fn write(
        &mut self,
        core: &mut Core<'a>,
        offset: u64,
        data: &[u8],
    ) -> Result<usize, Fault> {
        let got = match &self.busy {
            Some(Busy::Restore(incoming)) => incoming.len(),
            Some(Busy::Restored(len)) => *len,
            _ => return Err(Errno::EBADF.into()),
        };
        // A write that is made again changes nothing.
        if offset.saturating_add(data.len() as u64) <= got {
            return Ok(data.len());
        }
        if offset != got {
            let text = alloc::format!("a checkpoint is written in order: byte {got} is next");
            return Err(Fault::new(Errno::EINVAL, text));
        }
        let Some(Busy::Restore(incoming)) = &mut self.busy else {
            return Err(Fault::new(Errno::EINVAL, "bytes follow the end of the checkpoint"));
        };
        if incoming.feed(core, data)? {
            let len = incoming.len();
            let fresh = incoming.take().ok_or(Errno::EINVAL)?;
            self.busy = Some(Busy::Restored(len));
            core.become_other(fresh);
            core.announce();
        }
        Ok(data.len())
    }

    pub(crate) fn close(&mut self, core: &mut Core<'a>) {
        match self.busy.take() {
            Some(Busy::Cut(cut, true)) => core.kept(*cut),
            Some(Busy::Cut(cut, false)) => core.give_up(*cut),
            Some(Busy::Restore(_) | Busy::Restored(_)) | None => {}
        }
    }
}

impl Core<'_> {
    /// Tells all atoms that the guest goes on from a checkpoint.
    fn announce(&mut self) {
        let at = self.now.0;
        self.say("checkpoint", &alloc::format!("the guest goes on from {at} ns"));
        let atoms = self.slots.all().filter(|s| is_atom(s)).map(|s| s.id);
        for id in atoms.collect::<alloc::vec::Vec<ComponentId>>() {
            if self.interrupt(id, RESTORED, 0).is_err() {
                self.say_as(id, "the budget has no room to tell it that it was restored");
            }
        }
    }
}
