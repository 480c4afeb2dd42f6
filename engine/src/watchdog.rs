//! The watchdog of a Linux process: a timer whose signal comes to the thread that runs
//! the atom.
//!
//! Arming it for a dispatch is a few stores. The timer itself runs on from one dispatch
//! to the next, and is set again only when it has come; so a thousand dispatches that
//! are short cost one system call or none. When the signal comes for the second time
//! within one dispatch, it knows how much of the processor's time that one has had.
//! A dispatch over its time is stopped where the signal finds it in a function of its
//! module, by going on at the module's tripwire ([`crate::guard`]), which raises the
//! SIGILL that wasmtime's handler knows. In the runtime or the system a mark is made,
//! and the way back into the module is led to the tripwire ([`crate::exits`]). Anywhere
//! else, which is in a trampoline, the signal comes back soon.
//!
//! All of it is on one thread: the state is the thread's own, and a signal handler of a
//! thread never runs beside that thread. Fields are atomic only so that the compiler
//! keeps them in memory.

use core::ptr;
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::Relaxed, compiler_fence};
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::OnceLock;

use crate::exits::Exits;
use crate::guard::{Code, Guard};

/// Nobody else has a use for it: setitimer(2) is of another age.
const SIGNAL: libc::c_int = libc::SIGVTALRM;
/// How soon the signal comes back to code that could not be stopped, in nanoseconds.
const AGAIN: u64 = 20_000;
/// The shortest and the longest that the timer runs, in nanoseconds.
const SHORTEST: u64 = 50_000;
const LONGEST: u64 = 1_000_000_000;

/// What a thread and its signal handler know of each other.
struct Watch {
    /// The code of the dispatch that runs; null where none does.
    code: AtomicPtr<Code>,
    /// How that code was left. Written while there is no code only.
    exits: Cell<Exits>,
    /// How long it may run.
    limit: AtomicU64,
    /// Counts dispatches.
    number: AtomicU64,
    /// It has run longer.
    fired: AtomicBool,
    /// The dispatch that the signal found when it came last, and the thread's CPU time.
    seen: AtomicU64,
    since: AtomicU64,
    /// For how long the timer is set; 0 while it is not.
    set_for: AtomicU64,
    /// The system's number of the timer, once there is one.
    timer: AtomicPtr<libc::c_void>,
    attended: AtomicBool,
}

std::thread_local! {
    // No destructor and nothing to initialise: the handler may look at it at any time.
    static WATCH: Watch = const { Watch {
        code: AtomicPtr::new(ptr::null_mut()),
        exits: Cell::new(Exits::UNKNOWN),
        limit: AtomicU64::new(0),
        number: AtomicU64::new(0),
        fired: AtomicBool::new(false),
        seen: AtomicU64::new(0),
        since: AtomicU64::new(0),
        set_for: AtomicU64::new(0),
        timer: AtomicPtr::new(ptr::null_mut()),
        attended: AtomicBool::new(false),
    } };
    static TIMER: RefCell<Option<Timer>> = const { RefCell::new(None) };
}

/// See the module's text. Each thread that runs atoms calls [`Watchdog::new`] or
/// [`Watchdog::attend`] before its first.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog(());

impl Watchdog {
    /// Takes over the signal for this process, and attends this thread.
    pub fn new() -> io::Result<Watchdog> {
        static TAKEN: OnceLock<Result<(), i32>> = OnceLock::new();
        let taken = TAKEN.get_or_init(|| take_signal().map_err(|e| e.raw_os_error().unwrap_or(0)));
        taken.map_err(io::Error::from_raw_os_error)?;
        let watchdog = Watchdog(());
        watchdog.attend()?;
        Ok(watchdog)
    }

    /// Makes a timer for this thread, unless it has one.
    pub fn attend(&self) -> io::Result<()> {
        TIMER.with_borrow_mut(|timer| {
            if timer.is_none() {
                let new = Timer::new()?;
                WATCH.with(|w| {
                    w.timer.store(new.0, Relaxed);
                    w.attended.store(true, Relaxed);
                });
                *timer = Some(new);
            }
            Ok(())
        })
    }

    /// The thread is about to sleep: the timer shall not wake it.
    pub fn rest(&self) {
        WATCH.with(|w| {
            if w.set_for.load(Relaxed) != 0 {
                w.set(0);
            }
        });
    }
}

impl Guard for Watchdog {
    unsafe fn arm(&self, ns: u64, code: &Code, exits: Exits) {
        WATCH.with(|w| {
            assert!(w.attended.load(Relaxed), "this thread did not call Watchdog::attend");
            w.fired.store(false, Relaxed);
            w.limit.store(ns, Relaxed);
            w.number.store(w.number.load(Relaxed) + 1, Relaxed);
            w.exits.set(exits);
            compiler_fence(SeqCst);
            w.code.store(ptr::from_ref(code).cast_mut(), Relaxed);
            compiler_fence(SeqCst);
            let (period, set_for) = (period(ns), w.set_for.load(Relaxed));
            if set_for == 0 || set_for > period {
                w.set(period);
            }
        });
    }

    fn fired(&self) -> bool {
        WATCH.with(|w| w.fired.load(Relaxed))
    }

    fn disarm(&self) -> bool {
        WATCH.with(|w| {
            compiler_fence(SeqCst);
            w.code.store(ptr::null_mut(), Relaxed);
            compiler_fence(SeqCst);
            w.fired.load(Relaxed)
        })
    }
}

/// How often to look at a dispatch that may take so long: it is stopped at most a
/// quarter late.
fn period(ns: u64) -> u64 {
    (ns / 4).clamp(SHORTEST, LONGEST)
}

impl Watch {
    /// Sets the timer, once. 0: takes it back. May be called in a signal handler.
    fn set(&self, ns: u64) {
        self.set_for.store(ns, Relaxed);
        let after = libc::timespec { tv_sec: 0, tv_nsec: ns.min(999_999_999) as libc::c_long };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = libc::itimerspec { it_interval: never, it_value: after };
        // SAFETY: the timer is this thread's and lives as long; the system only reads.
        unsafe {
            libc::timer_settime(self.timer.load(Relaxed), 0, &raw const spec, ptr::null_mut())
        };
    }

    /// The signal has come, to an instruction at `pc` with the stack at `sp`. Where to
    /// go on instead.
    fn came(&self, pc: usize, sp: usize) -> Option<usize> {
        let code = self.code.load(Relaxed);
        // SAFETY: whoever armed keeps it alive until it is null again, on this thread.
        let Some(code) = (unsafe { code.as_ref() }) else {
            // Nothing runs: the next dispatch sets the timer.
            self.set_for.store(0, Relaxed);
            return None;
        };
        let (number, limit, now) =
            (self.number.load(Relaxed), self.limit.load(Relaxed), cpu_time());
        if self.seen.load(Relaxed) != number {
            self.seen.store(number, Relaxed);
            self.since.store(now, Relaxed);
            self.set(period(limit));
            return None;
        }
        let rest = limit.saturating_sub(now.saturating_sub(self.since.load(Relaxed)));
        if rest > 0 {
            self.set(rest.clamp(AGAIN, period(limit)));
            return None;
        }
        self.fired.store(true, Relaxed);
        if code.holds(pc) {
            self.set_for.store(0, Relaxed);
            return Some(code.tripwire());
        }
        if !code.covers(pc) {
            // SAFETY: this is the handler of the thread that runs the code, and whoever
            // armed keeps the store alive.
            unsafe { self.exits.get().trip(sp, code) };
        }
        self.set(AGAIN);
        None
    }
}

/// This thread's CPU time in nanoseconds.
fn cpu_time() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the system writes to a place that is there.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    t.tv_sec.cast_unsigned() * 1_000_000_000 + t.tv_nsec.cast_unsigned()
}

/// A timer that signals the thread that made it.
struct Timer(libc::timer_t);

impl Timer {
    fn new() -> io::Result<Timer> {
        let mut timer = ptr::null_mut();
        // SAFETY: zero is a valid value of that structure, and the system only reads
        // it; the timer's number is written to a place that is there.
        let made = unsafe {
            let mut event: libc::sigevent = core::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = SIGNAL;
            event.sigev_notify_thread_id = libc::gettid();
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer)
        };
        if made == 0 { Ok(Timer(timer)) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: it was made here, and is used no more: this is the thread's end.
        unsafe { libc::timer_delete(self.0) };
    }
}

fn take_signal() -> io::Result<()> {
    // SAFETY: zero is a valid value of that structure, and the handler is of the type
    // that SA_SIGINFO wants.
    let taken = unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handler;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigaction(SIGNAL, &raw const action, ptr::null_mut())
    };
    if taken == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn handler(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system hands over the thread's registers, which nobody else has now.
    // errno belongs to whoever was interrupted, and is given back.
    unsafe {
        let errno = *libc::__errno_location();
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let (pc, sp) = (registers[libc::REG_RIP as usize], registers[libc::REG_RSP as usize]);
        if let Some(instead) = WATCH.with(|w| w.came(pc as usize, sp as usize)) {
            registers[libc::REG_RIP as usize] = instead as libc::greg_t;
        }
        *libc::__errno_location() = errno;
    }
}
