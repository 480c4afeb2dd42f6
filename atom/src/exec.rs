//! The executor: an atom's logical threads as ordinary values.
//!
//! A task is a Rust future in linear memory. It is polled when it is made and when one
//! of the runtime's futures that it waits for has fired, until it waits again; so
//! between two dispatches there is nothing but data. The table of futures maps the
//! runtime's numbers to whoever waits.
//!
//! Everything is in order: tasks run in the order in which they were woken, which is
//! that in which futures fired.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

use crate::error::Result;

/// What a task is.
pub(crate) type Thread = Pin<Box<dyn Future<Output = Result<()>>>>;

#[cfg(target_arch = "wasm32")]
type Queue = crate::abi::Local<Vec<usize>>;
/// Wakers may be sent anywhere; on a host there may be more than one thread.
#[cfg(not(target_arch = "wasm32"))]
type Queue = std::sync::Mutex<Vec<usize>>;

fn queue<R>(queue: &Queue, f: impl FnOnce(&mut Vec<usize>) -> R) -> R {
    #[cfg(target_arch = "wasm32")]
    return queue.with(f);
    #[cfg(not(target_arch = "wasm32"))]
    f(&mut queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Wakes a task: puts its place into the queue, once.
struct Bell {
    task: usize,
    rung: AtomicBool,
    ready: Arc<Queue>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::Relaxed) {
            queue(&self.ready, |q| q.push(self.task));
        }
    }
}

struct Task {
    /// None while it is polled.
    thread: Option<Thread>,
    bell: Arc<Bell>,
}

/// What is known of one of the runtime's futures.
enum State {
    Waiting(Option<Waker>),
    Fired(i32, Vec<u8>),
    /// Taken or dropped; cleared away later.
    Gone,
}

struct Entry {
    id: i64,
    /// Tells two futures of one number apart: those of a dispatch that was refused
    /// are void, and their numbers come again.
    serial: u32,
    state: State,
}

/// The runtime's futures that are waited for, by number. New ones have greater
/// numbers than all before, so the list is in order.
#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    gone: usize,
    serial: u32,
}

impl Table {
    fn add(&mut self, id: i64) -> u32 {
        // Those of a refused dispatch.
        while let Some(last) = self.entries.pop_if(|e| e.id >= id) {
            self.gone -= usize::from(matches!(last.state, State::Gone));
        }
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        self.entries.push(Entry { id, serial, state: State::Waiting(None) });
        serial
    }

    fn get(&mut self, id: i64) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by_key(&id, |e| e.id).ok()?;
        self.entries.get_mut(at)
    }

    /// Ends an entry, and says what it was.
    fn end(&mut self, id: i64, serial: u32) -> State {
        let Some(entry) = self.get(id).filter(|e| e.serial == serial) else { return State::Gone };
        let state = mem::replace(&mut entry.state, State::Gone);
        self.gone += usize::from(!matches!(state, State::Gone));
        if self.gone > 16 && self.gone * 2 > self.entries.len() {
            self.entries.retain(|e| !matches!(e.state, State::Gone));
            self.gone = 0;
        }
        state
    }
}

/// The executor of one atom.
#[derive(Default)]
pub(crate) struct Exec {
    tasks: RefCell<Vec<Option<Task>>>,
    free: RefCell<Vec<usize>>,
    table: RefCell<Table>,
    ready: Arc<Queue>,
    /// Tasks that this dispatch made: they go if it is refused.
    born: RefCell<Vec<usize>>,
    /// A handler runs that can still refuse.
    first: Cell<bool>,
}

impl Exec {
    /// Before a dispatch.
    pub(crate) fn begin(&self) {
        self.born.borrow_mut().clear();
    }

    /// After a dispatch that is refused: what it made is not there.
    pub(crate) fn undo(&self) {
        for at in self.born.take() {
            self.remove(at);
        }
    }

    fn add(&self, thread: Thread) -> usize {
        let mut tasks = self.tasks.borrow_mut();
        let at = self.free.borrow_mut().pop().unwrap_or(tasks.len());
        let bell = Bell { task: at, rung: AtomicBool::new(false), ready: self.ready.clone() };
        let task = Some(Task { thread: Some(thread), bell: Arc::new(bell) });
        match tasks.get_mut(at) {
            Some(slot) => *slot = task,
            None => tasks.push(task),
        }
        self.born.borrow_mut().push(at);
        at
    }

    fn remove(&self, at: usize) {
        let task = self.tasks.borrow_mut().get_mut(at).and_then(Option::take);
        if task.is_some() {
            self.free.borrow_mut().push(at);
        }
        // Dropped here, where nothing is borrowed: it drops its futures.
        drop(task);
    }

    /// A task that runs when whoever made it waits.
    pub(crate) fn spawn(&self, thread: Thread) {
        let at = self.add(thread);
        if let Some(Some(task)) = self.tasks.borrow().get(at) {
            task.bell.wake_by_ref();
        }
    }

    /// Runs a handler to its first await. If it ends there it may refuse its event.
    pub(crate) fn first(&self, thread: Thread) -> Result<()> {
        let at = self.add(thread);
        self.first.set(true);
        let result = self.poll(at);
        self.first.set(false);
        match result {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Whether an error now refuses the event.
    pub(crate) fn is_first(&self) -> bool {
        self.first.get()
    }

    fn poll(&self, at: usize) -> Poll<Result<()>> {
        let taken = self.tasks.borrow_mut().get_mut(at).and_then(|slot| {
            let task = slot.as_mut()?;
            Some((task.thread.take()?, task.bell.clone()))
        });
        let Some((mut thread, bell)) = taken else { return Poll::Pending };
        bell.rung.store(false, Ordering::Relaxed);
        let waker = Waker::from(bell);
        let result = thread.as_mut().poll(&mut Context::from_waker(&waker));
        if result.is_ready() {
            drop(thread);
            self.remove(at);
        } else if let Some(Some(task)) = self.tasks.borrow_mut().get_mut(at) {
            task.thread = Some(thread);
        }
        result
    }

    /// Runs the tasks that were woken, until all wait.
    pub(crate) fn run(&self) {
        loop {
            let woken = queue(&self.ready, mem::take);
            if woken.is_empty() {
                return;
            }
            for at in woken {
                if let Poll::Ready(Err(e)) = self.poll(at) {
                    // Whoever caused it has had its answer.
                    crate::warn!("{e}");
                }
            }
        }
    }

    /// One of the runtime's futures fires. One that is not known is none of ours any
    /// more.
    pub(crate) fn fire(&self, id: i64, status: i32, body: Vec<u8>) {
        let waker = {
            let mut table = self.table.borrow_mut();
            let Some(entry) = table.get(id) else { return };
            match mem::replace(&mut entry.state, State::Gone) {
                State::Waiting(waker) => {
                    entry.state = State::Fired(status, body);
                    waker
                }
                other => {
                    entry.state = other;
                    None
                }
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A future that the runtime gave.
    pub(crate) fn expect(&self, id: i64) -> u32 {
        self.table.borrow_mut().add(id)
    }

    /// What a future has become.
    pub(crate) fn ask(&self, id: i64, serial: u32, waker: &Waker) -> Poll<(i32, Vec<u8>)> {
        let mut table = self.table.borrow_mut();
        if let Some(entry) = table.get(id).filter(|e| e.serial == serial)
            && let State::Waiting(old) = &mut entry.state
        {
            if !old.as_ref().is_some_and(|w| w.will_wake(waker)) {
                *old = Some(waker.clone());
            }
            return Poll::Pending;
        }
        match table.end(id, serial) {
            State::Fired(status, body) => Poll::Ready((status, body)),
            // Void: the dispatch that asked for it was refused.
            _ => Poll::Ready((-crate::Errno::ECANCELED.0, Vec::new())),
        }
    }

    /// Forgets a future. Whether the runtime still has it.
    pub(crate) fn forget(&self, id: i64, serial: u32) -> bool {
        let state = self.table.borrow_mut().end(id, serial);
        matches!(state, State::Waiting(_))
    }
}

#[cfg(target_arch = "wasm32")]
static CURRENT: crate::abi::Local<Option<Rc<Exec>>> = crate::abi::Local::new(None);
#[cfg(not(target_arch = "wasm32"))]
std::thread_local! {
    static CURRENT: RefCell<Option<Rc<Exec>>> = const { RefCell::new(None) };
}

fn swap(exec: Option<Rc<Exec>>) -> Option<Rc<Exec>> {
    #[cfg(target_arch = "wasm32")]
    return CURRENT.with(|c| mem::replace(c, exec));
    // No thread-local is left when a thread ends: then nothing is current.
    #[cfg(not(target_arch = "wasm32"))]
    CURRENT.try_with(|c| c.replace(exec)).ok().flatten()
}

/// Makes an executor the present one while `f` runs.
pub(crate) fn enter<R>(exec: &Rc<Exec>, f: impl FnOnce() -> R) -> R {
    struct Back(Option<Rc<Exec>>);
    impl Drop for Back {
        fn drop(&mut self) {
            swap(self.0.take());
        }
    }
    let _back = Back(swap(Some(exec.clone())));
    f()
}

/// The executor of the atom that is being dispatched. None outside a dispatch, which
/// only a test can see.
pub(crate) fn current() -> Option<Rc<Exec>> {
    let exec = swap(None);
    swap(exec.clone());
    exec
}
