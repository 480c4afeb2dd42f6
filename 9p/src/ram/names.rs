//! Names of files: given, moved and taken away.

use super::{Node, Ram, cost};
use crate::fault::{Errno, Fault};
use crate::tree::Remove;

impl Ram {
    /// Puts a name that there is room for, and is not there, into a directory.
    pub(super) fn attach_name(&mut self, dir: Node, name: &str, node: Node) -> Result<(), Fault> {
        let now = self.now;
        let above = self.get_mut(dir)?;
        above.dir_mut()?.put(name, node);
        above.changed(now);
        self.bytes += cost(name);
        let inode = self.get_mut(node)?;
        inode.parent = dir;
        inode.ctime = now;
        match inode.is_dir() {
            true => self.get_mut(dir)?.nlink += 1,
            false => inode.nlink += 1,
        }
        Ok(())
    }

    /// Says that a file has lost a name that was in a directory.
    fn lost_name(&mut self, dir: Node, node: Node) -> Result<(), Fault> {
        let now = self.now;
        let inode = self.get_mut(node)?;
        inode.ctime = now;
        match inode.is_dir() {
            true => {
                inode.nlink = 0;
                self.get_mut(dir)?.nlink -= 1;
            }
            false => inode.nlink -= 1,
        }
        self.reap(node);
        Ok(())
    }

    /// The directory that a new name may be put into: one that is not removed.
    fn living(&self, dir: Node) -> Result<(), Fault> {
        let inode = self.get(dir)?;
        inode.dir()?;
        if inode.nlink == 0 { Err(Errno::ENOENT.into()) } else { Ok(()) }
    }

    pub(super) fn make_in(
        &mut self,
        dir: Node,
        make: &crate::tree::Make<'_>,
    ) -> Result<Node, Fault> {
        self.living(dir)?;
        self.make(dir, make)
    }

    pub(super) fn link_in(&mut self, node: Node, dir: Node, name: &str) -> Result<(), Fault> {
        self.living(dir)?;
        let inode = self.get(node)?;
        if inode.is_dir() {
            return Err(Fault::new(Errno::EPERM, "a directory has one name"));
        }
        if inode.nlink == 0 {
            return Err(Errno::ENOENT.into());
        }
        if self.get(dir)?.dir()?.get(name).is_some() {
            return Err(Errno::EEXIST.into());
        }
        self.room(cost(name))?;
        self.attach_name(dir, name, node)
    }

    pub(super) fn remove_in(&mut self, dir: Node, name: &str, what: Remove) -> Result<(), Fault> {
        let node = self.get(dir)?.dir()?.get(name).ok_or(Errno::ENOENT)?;
        let inode = self.get(node)?;
        match (inode.dir(), what) {
            (Ok(_), Remove::File) => return Err(Errno::EISDIR.into()),
            (Err(_), Remove::Dir) => return Err(Errno::ENOTDIR.into()),
            (Ok(names), Remove::Dir) if !names.is_empty() => return Err(Errno::ENOTEMPTY.into()),
            _ => {}
        }
        self.detach_name(dir, name)?;
        self.lost_name(dir, node)
    }

    fn detach_name(&mut self, dir: Node, name: &str) -> Result<(), Fault> {
        let now = self.now;
        let above = self.get_mut(dir)?;
        above.dir_mut()?.remove(name);
        above.changed(now);
        self.bytes -= cost(name);
        Ok(())
    }

    /// As rename(2) has it.
    pub(super) fn rename_in(
        &mut self,
        from: Node,
        name: &str,
        to: Node,
        newname: &str,
    ) -> Result<(), Fault> {
        let node = self.get(from)?.dir()?.get(name).ok_or(Errno::ENOENT)?;
        self.living(to)?;
        let over = self.get(to)?.dir()?.get(newname);
        if over == Some(node) {
            return Ok(()); // two names of one file: both stay
        }
        let is_dir = self.get(node)?.is_dir();
        if is_dir {
            self.not_below(node, to)?;
        }
        match over {
            Some(over) => match (self.get(over)?.dir(), is_dir) {
                (Ok(_), false) => return Err(Errno::EISDIR.into()),
                (Err(_), true) => return Err(Errno::ENOTDIR.into()),
                (Ok(names), true) if !names.is_empty() => return Err(Errno::ENOTEMPTY.into()),
                _ => {}
            },
            None => self.room(cost(newname).saturating_sub(cost(name)))?,
        }
        // Nothing fails from here on.
        let now = self.now;
        self.detach_name(from, name)?;
        if is_dir {
            self.get_mut(from)?.nlink -= 1;
        } else {
            self.get_mut(node)?.nlink -= 1;
        }
        if over.is_some() {
            self.bytes -= cost(newname); // charged again with the name
        }
        self.attach_name(to, newname, node)?;
        match over {
            Some(over) => self.lost_name(to, over),
            None => {
                self.get_mut(node)?.ctime = now;
                Ok(())
            }
        }
    }

    /// A directory cannot be moved into itself.
    fn not_below(&self, node: Node, mut at: Node) -> Result<(), Fault> {
        loop {
            if at == node {
                return Err(Fault::new(Errno::EINVAL, "a directory cannot be moved below itself"));
            }
            let up = self.get(at)?.parent;
            if up == at {
                return Ok(());
            }
            at = up;
        }
    }
}
