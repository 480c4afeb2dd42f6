//! Who may do what in the control tree.
//!
//! Whoever can connect to the socket is known by what the kernel says of the other end,
//! and an [`Authority`] is asked for every attach and for every verb. Each answer to a verb
//! is a line of `/log`. Today's only authority is that of a machine with one owner; tokens
//! are to be another one, which is why `--listen` takes no address but loopback.

use std::fmt;

use atoll_9p::fault::{Errno, Fault};

/// A client, as far as the system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Which connection.
    pub client: u64,
    /// Its user; none where the transport cannot tell, as on TCP.
    pub uid: Option<u32>,
    /// The group of that user's process.
    pub gid: Option<u32>,
    /// It came through a socket to which its mode lets the owner and the members of the
    /// group alone. The system has looked at all of its groups for that, and tells us one.
    pub member: bool,
    /// Its process, when it connected.
    pub pid: Option<u32>,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.uid, self.pid) {
            (Some(uid), Some(pid)) => write!(f, "uid={uid} pid={pid}"),
            (Some(uid), None) => write!(f, "uid={uid}"),
            _ => f.write_str("loopback"),
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act<'a> {
    /// To see the tree at all.
    Attach,
    /// To do something to the supervisor or to an image: the verb.
    Host(&'a str),
    /// To see and change the host's XenStore, by which every domain of it can be told
    /// anything.
    XenStore,
    /// To do something to a guest: its name, the verb.
    Guest(&'a str, &'a str),
}

/// Decides what a client may do.
pub trait Authority {
    /// EACCES, with a text that says who could, if this client may not.
    fn may(&self, caller: &Caller, act: Act<'_>) -> Result<(), Fault>;
}

/// The user whose supervisor it is may do anything, and so may user 0 and whoever is in
/// the group that the socket was given to.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The user that the supervisor runs as.
    pub uid: u32,
    /// The group of the socket, if it may use it.
    pub gid: Option<u32>,
}

impl Authority for Owner {
    fn may(&self, caller: &Caller, act: Act<'_>) -> Result<(), Fault> {
        let named = caller.uid.is_some_and(|uid| uid == self.uid || uid == 0);
        if act == Act::XenStore {
            if named {
                return Ok(());
            }
            let text = format!("{caller} may not: XenStore is for uid={} and root", self.uid);
            return Err(Fault::new(Errno::EACCES, text));
        }
        let user = named || caller.uid.is_none();
        let group = self.gid.is_some() && (caller.member || caller.gid == self.gid);
        if user || group {
            return Ok(());
        }
        let text = format!("{caller} may not: this supervisor is that of uid={}", self.uid);
        Err(Fault::new(Errno::EACCES, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_the_group_and_root_may_and_nobody_else() {
        let caller = |uid, gid| Caller { client: 1, uid, gid, member: false, pid: Some(7) };
        let may = |gid, who| {
            let owner = Owner { uid: 1000, gid };
            owner.may(&who, Act::Guest("web", "kill")).map_err(|f| f.text().to_owned())
        };
        for who in [caller(Some(1000), Some(5)), caller(Some(0), Some(0)), caller(None, None)] {
            assert_eq!(may(None, who), Ok(()));
        }
        let stranger = caller(Some(1001), Some(5));
        let why = may(None, stranger).unwrap_err();
        assert_eq!(why, "uid=1001 pid=7 may not: this supervisor is that of uid=1000");
        assert_eq!(may(Some(5), stranger), Ok(()));
        assert!(may(Some(6), stranger).is_err());
        // One who is in the group beside another.
        let member = Caller { member: true, ..stranger };
        assert!(may(Some(6), member).is_ok() && may(None, member).is_err());
        let owner = Owner { uid: 1000, gid: Some(6) };
        let store = |who| owner.may(&who, Act::XenStore).is_ok();
        assert!(store(caller(Some(1000), Some(5))) && store(caller(Some(0), Some(0))));
        assert!(!store(member) && !store(caller(None, None)) && !store(stranger));
    }
}
