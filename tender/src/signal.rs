//! Signals: one asks the guest to stop, the others are how it dies.
//!
//! SIGTERM and SIGINT are blocked and read from a descriptor, like everything
//! else that happens to the guest. The signals of a failure are handled on a stack
//! of their own (the ordinary one may be what ran out), where the record is
//! written and the process ends. Handlers are installed before the sandbox, which
//! would not let them be.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use crate::alloc::Counting;
use crate::record::{self, Kind};

/// Bytes of the handlers' stack: a record is put together on it.
const STACK: usize = 64 << 10;
/// A fault this near to the stack pointer is the stack's own end.
const NEAR: u64 = 64 << 10;

static MEMORY: AtomicPtr<Counting> = AtomicPtr::new(std::ptr::null_mut());

/// A descriptor that becomes readable when the guest is asked to stop.
pub fn stop_requests() -> io::Result<OwnedFd> {
    // SAFETY: the set is written by sigemptyset before it is read, and lives
    // through the calls; the descriptor is new and nobody else's.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Takes over a descriptor that the command line names.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks about a number; whatever it stands for is not touched.
    if fd < 3 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::other(format!("descriptor {fd} was not handed over")));
    }
    // SAFETY: it is open, and nobody here has made or taken it: descriptors of
    // this process's own are opened after those of the command line were taken.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ends this process when its parent does, which must be the one of that number.
pub fn end_with(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have ended before that was said.
    match rustix::process::getppid() {
        Some(p) if p.as_raw_nonzero().get().cast_unsigned() == parent => Ok(()),
        _ => Err(io::Error::other("the parent is gone")),
    }
}

/// From now on a failure leaves a record. `memory` tells why an allocation failed.
pub fn record_failures(memory: &'static Counting) -> io::Result<()> {
    MEMORY.store(std::ptr::from_ref(memory).cast_mut(), Relaxed);
    std::panic::set_hook(Box::new(|info| {
        let what: &str = match info.payload().downcast_ref::<&str>() {
            Some(text) => text,
            None => match info.payload().downcast_ref::<String>() {
                Some(text) => text,
                None => "a panic without a text",
            },
        };
        match info.location() {
            Some(at) => {
                record::write(Kind::Panic, format_args!("{what}"), Some(format_args!("{at}")), &[])
            }
            None => record::write(Kind::Panic, format_args!("{what}"), None, &[]),
        }
        end();
    }));
    // A failed allocation would print a backtrace, for which the sandbox has no files.
    // SAFETY: this is the only thread, and nobody holds a reference into the environment.
    unsafe { std::env::remove_var("RUST_BACKTRACE") };
    let stack = Box::leak(vec![0u8; STACK].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK };
    // SAFETY: the stack is never freed, and the handler has the type that
    // SA_SIGINFO wants; both structures live through their calls.
    unsafe {
        if libc::sigaltstack(&raw const stack, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = failed;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
        for signal in
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGABRT]
        {
            if libc::sigaction(signal, &raw const action, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Ends the process.
pub fn exit(status: libc::c_int) -> ! {
    // SAFETY: ends the process at once, without running anything of it.
    unsafe { libc::_exit(status) }
}

fn end() -> ! {
    exit(record::RECORDED)
}

extern "C" fn failed(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system hands over pointers that are good during the handler.
    let (address, regs) = unsafe {
        let g = &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        ((*info).si_addr() as u64, named(g))
    };
    // SAFETY: only `record_failures` stores there, and what it stores is static.
    let memory = unsafe { MEMORY.load(Relaxed).as_ref() };
    let (rip, rsp) = (regs[0].1, regs[1].1);
    if signal == libc::SIGABRT {
        let refused = memory.map_or(0, Counting::refused);
        if refused > 0 {
            let used = memory.map_or(0, Counting::used);
            record::write(
                Kind::OutOfMemory,
                format_args!("{refused} bytes were asked for and {used} are in use"),
                None,
                &[],
            );
        } else {
            record::write(Kind::Fault, format_args!("the guest's code aborted"), None, &regs);
        }
    } else if signal == libc::SIGSEGV && address.abs_diff(rsp) < NEAR && address != rip {
        record::write(
            Kind::StackOverflow,
            format_args!("the stack was used up at {address:#x}"),
            None,
            &regs,
        );
    } else {
        let what = match signal {
            libc::SIGSEGV => "an access that is not allowed",
            libc::SIGBUS => "an access to memory that is not there",
            libc::SIGILL => "an instruction that does not exist",
            libc::SIGFPE => "an impossible calculation",
            _ => "a trap",
        };
        record::write(Kind::Fault, format_args!("{what}, at {address:#x}"), None, &regs);
    }
    end()
}

fn named(g: &[libc::greg_t; 23]) -> [(&'static str, u64); 17] {
    let reg = |i: libc::c_int| g[i as usize] as u64;
    [
        ("rip", reg(libc::REG_RIP)),
        ("rsp", reg(libc::REG_RSP)),
        ("rbp", reg(libc::REG_RBP)),
        ("rax", reg(libc::REG_RAX)),
        ("rbx", reg(libc::REG_RBX)),
        ("rcx", reg(libc::REG_RCX)),
        ("rdx", reg(libc::REG_RDX)),
        ("rsi", reg(libc::REG_RSI)),
        ("rdi", reg(libc::REG_RDI)),
        ("r8", reg(libc::REG_R8)),
        ("r9", reg(libc::REG_R9)),
        ("r10", reg(libc::REG_R10)),
        ("r11", reg(libc::REG_R11)),
        ("r12", reg(libc::REG_R12)),
        ("r13", reg(libc::REG_R13)),
        ("r14", reg(libc::REG_R14)),
        ("r15", reg(libc::REG_R15)),
    ]
}

/// Dies in the way asked for; returns when a process knows no such way.
pub fn die(how: atoll_runtime::platform::Trap) {
    use atoll_runtime::platform::Trap;
    match how {
        // SAFETY: there is nothing at that address; dying of it is what is wanted.
        Trap::Read => unsafe {
            std::ptr::without_provenance::<u8>(8).read_volatile();
        },
        // SAFETY: code cannot be written; dying of it is what is wanted.
        Trap::Code => unsafe {
            std::ptr::without_provenance_mut::<u8>(die as *const () as usize).write_volatile(0xcc);
        },
        // SAFETY: data cannot be executed; dying of it is what is wanted.
        Trap::Data => unsafe {
            let code: [u8; 16] = [0xc3; 16];
            let call: extern "C" fn() = std::mem::transmute(std::hint::black_box(&code).as_ptr());
            call();
        },
        Trap::Double => {}
    }
}
