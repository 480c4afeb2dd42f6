//! The system calls that are left. Any other ends the process (SIGSYS).

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op,
    SeccompCondition as Cond, SeccompFilter, SeccompRule, TargetArch,
};

/// Calls that are harmless with any arguments: they work on descriptors that are
/// open already, on the process's own memory, or on nothing.
const ANY: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_ppoll,
    libc::SYS_poll,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Installs the filter. Nothing can take it away again.
pub(super) fn deny(atoms: bool) -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter(&program(atoms)?)
}

fn program(atoms: bool) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ANY.iter().map(|&call| (call, Vec::new())).collect();
    let mut only = |call: libc::c_long, conditions: Vec<Cond>| {
        rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
        Ok::<_, seccompiler::BackendError>(())
    };
    // Memory of its own only, and none that could be executed.
    let anonymous = libc::MAP_ANONYMOUS as u64;
    let dead = |arg| Cond::new(arg, Len::Dword, Op::MaskedEq(libc::PROT_EXEC as u64), 0);
    let own = Cond::new(3, Len::Dword, Op::MaskedEq(anonymous), anonymous)?;
    only(libc::SYS_mmap, vec![dead(2)?, own])?;
    if atoms {
        // The code of atoms was made executable before. A memory of theirs is reserved
        // and then used, bit by bit, and begins as a copy of what is in a sealed file.
        let kind = libc::MAP_TYPE as u64;
        let copy = Cond::new(3, Len::Dword, Op::MaskedEq(kind), libc::MAP_PRIVATE as u64)?;
        only(libc::SYS_mmap, vec![dead(2)?, copy])?;
        only(libc::SYS_mprotect, vec![dead(2)?])?;
    }
    // Replies on a connection; not to an address.
    only(libc::SYS_sendto, vec![Cond::new(4, Len::Qword, Op::Eq, 0)?])?;
    // A build with debug assertions checks that what it closes was open.
    let getfd = libc::F_GETFD as u64;
    only(libc::SYS_fcntl, vec![Cond::new(1, Len::Dword, Op::Eq, getfd)?])?;
    // `abort`: a signal to itself.
    only(
        libc::SYS_tgkill,
        vec![
            Cond::new(0, Len::Dword, Op::Eq, u64::from(std::process::id()))?,
            Cond::new(2, Len::Dword, Op::Eq, libc::SIGABRT as u64)?,
        ],
    )?;
    if atoms {
        // The watchdog's timer was made before, too.
        rules.insert(libc::SYS_timer_settime, Vec::new());
    }
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?
        .try_into()
}
