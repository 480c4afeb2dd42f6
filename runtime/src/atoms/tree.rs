//! What people see of a guest's atoms: `atom/N/`, also by name, and `srv`.

use alloc::borrow::Cow;
use alloc::string::String;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::record;
use atoll_9p::synth::{Command, Node, Synth, Verb};

use super::interrupts;
use crate::component::{ComponentId, Memory};
use crate::core::Core;
use crate::slots::{Origin, Slot};

const CTL: &[Verb] = &[
    Verb::new("pause", "", 0),
    Verb::new("resume", "", 0),
    Verb::new("restart", "", 0),
    Verb::new("kill", "", 0),
    Verb::new("interrupt", "CODE", 1),
];

record! {
    /// Whether an atom gets events.
    pub enum Going { Running = "running", Paused = "paused" }
}

record! {
    /// The file `status` of an atom.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Status = "atom-status", 1 {
        /// Its name.
        pub name: Cow<'static, str>,
        /// Whether it gets events.
        pub state: Going,
        /// The place of its module in the payload.
        pub module: u32,
        /// Interrupts that wait.
        pub interrupts: u32,
        /// How often it was made anew.
        pub restarts: u64,
    }
}

record! {
    /// The file `stats` of an atom.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Stats = "atom-stats", 1 {
        /// Dispatches that were committed.
        pub dispatches: u64,
        /// Dispatches that were abandoned since one was handled well.
        pub failures: u32,
        /// Calls that have not returned.
        pub futures: u64,
    }
}

record! {
    /// The file `mem` of an atom, in bytes.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Mem = "atom-mem", 1 {
        /// Its linear memory.
        pub memory: u64,
        /// What that may grow to.
        pub limit: u64,
        /// What it has stored, as it is charged.
        pub store: u64,
    }
}

fn id(n: u64) -> ComponentId {
    ComponentId(u32::try_from(n).unwrap_or(u32::MAX))
}

pub(crate) fn is_atom(slot: &Slot<'_>) -> bool {
    matches!(slot.origin, Origin::Atom { .. })
}

impl<'a> Core<'a> {
    /// Whether it has atoms.
    pub(crate) fn has_atoms(&self) -> bool {
        self.slots.all().any(is_atom)
    }

    /// An atom, and what is only its own.
    fn atom(&mut self, n: u64) -> Result<&mut Slot<'a>, Fault> {
        self.slots.get_mut(id(n)).filter(|s| is_atom(s)).ok_or(Errno::ESTALE.into())
    }

    /// The number of an atom, by that or by name.
    fn atom_of(&self, name: &str) -> Option<u64> {
        let number = name.parse().ok().filter(|n| alloc::format!("{n}") == name);
        let found = number.map(ComponentId).or_else(|| self.atoms.names.get(name).copied())?;
        self.slots.get(found).filter(|s| is_atom(s)).map(|s| s.id.0.into())
    }
}

fn ctl(core: &mut Core<'_>, n: u64, c: &Command<'_>) -> Result<(), Fault> {
    core.atom(n)?;
    let id = id(n);
    match c.verb {
        "pause" | "resume" => {
            core.say_as(id, c.verb);
            core.pause(id, c.verb == "pause");
        }
        "restart" => {
            core.pause(id, false);
            if !core.renew(id) {
                return Err(Fault::new(Errno::EIO, "it cannot be made anew"));
            }
            core.say_as(id, "made anew");
        }
        "kill" => {
            core.say_as(id, "killed");
            core.kill(id);
        }
        _ => {
            let last = u64::from(interrupts::LAST);
            let code = c.number(0)?;
            if code > last {
                return Err(c.bad(&alloc::format!("a code is 0 to {last}")));
            }
            core.interrupt(id, code as u8, 0)?;
        }
    }
    Ok(())
}

fn status(core: &mut Core<'_>, n: u64) -> Result<Status, Fault> {
    let slot = core.atom(n)?;
    let (own, Origin::Atom { module, .. }) = (slot.own.as_ref().ok_or(Errno::EBUSY)?, &slot.origin)
    else {
        return Err(Errno::ESTALE.into());
    };
    Ok(Status {
        name: Cow::Owned(String::from(&*slot.name)),
        state: if own.paused { Going::Paused } else { Going::Running },
        module: *module as u32,
        interrupts: own.interrupts.len() as u32,
        restarts: slot.restarts,
    })
}

fn stats(core: &mut Core<'_>, n: u64) -> Result<Stats, Fault> {
    let futures = core.atoms.futures.values().filter(|f| f.owner == id(n) && !f.dropped).count();
    let slot = core.atom(n)?;
    let (dispatches, failures) = (slot.dispatches, slot.failures);
    Ok(Stats { dispatches, failures, futures: futures as u64 })
}

fn mem(core: &mut Core<'_>, n: u64) -> Result<Mem, Fault> {
    let slot = core.atom(n)?;
    let Origin::Atom { limits, .. } = &slot.origin else { return Err(Errno::ESTALE.into()) };
    let limit = limits.memory;
    let memory = slot.body.as_mut().and_then(|b| b.memory()).map_or(0, |m| Memory::size(m));
    let store = slot.own.as_ref().map_or(0, |own| own.store.price().memory);
    Ok(Mem { memory, limit, store })
}

fn srv(core: &mut Core<'_>, out: &mut String) -> Result<(), Fault> {
    for (name, id) in &core.atoms.srv {
        let of = core.slots.get(*id).map_or("?", |s| &s.name);
        for part in [name, " ", of, "\n"] {
            *out += part;
        }
    }
    Ok(())
}

/// Adds the names to a guest's tree.
pub(crate) fn add<'a>(t: &mut Synth<'a, Core<'a>>, root: Node) {
    let atom = t.huge(
        root,
        "atom",
        |core: &mut Core<'a>, name| core.atom_of(name),
        |core: &mut Core<'a>, from, each| {
            for slot in core.slots.all().filter(|s| is_atom(s) && u64::from(s.id.0) >= from) {
                if !each(slot.id.0.into(), &alloc::format!("{}", slot.id.0)) {
                    return;
                }
            }
        },
    );
    t.each_ctl(atom, "ctl", CTL, ctl);
    t.each_record(atom, "status", status);
    t.each_record(atom, "stats", stats);
    t.each_record(atom, "mem", mem);
    t.each_stream(atom, "log", |core: &mut Core<'a>, n| {
        core.stirred = true;
        core.atom(n).ok()?.own.as_mut().map(|own| &mut own.log)
    });
    t.text(root, "srv", srv);
}
