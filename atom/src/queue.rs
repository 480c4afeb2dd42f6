//! What the threads of an atom give each other.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

struct Inner<T> {
    items: VecDeque<T>,
    waiting: Vec<Waker>,
    open: bool,
}

/// A queue between an atom's threads. A clone is the same queue.
///
/// Whoever waits for an item when there is one more gets it: in turn, if they are
/// several. What is taken from a queue is gone from it, so a [`Queue::next`] may be dropped
/// at any time, and nothing is lost.
pub struct Queue<T>(Rc<RefCell<Inner<T>>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue(self.0.clone())
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        let inner = Inner { items: VecDeque::new(), waiting: Vec::new(), open: true };
        Queue(Rc::new(RefCell::new(inner)))
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("items", &self.len()).finish_non_exhaustive()
    }
}

impl<T> Queue<T> {
    /// An empty one.
    pub fn new() -> Queue<T> {
        Queue::default()
    }

    /// Adds an item. Gives it back when the queue is closed.
    pub fn push(&self, item: T) -> Option<T> {
        let mut inner = self.0.borrow_mut();
        if !inner.open {
            return Some(item);
        }
        inner.items.push_back(item);
        self.wake(&mut inner);
        None
    }

    /// Nothing more comes: who waits gets what is there, and then nothing.
    pub fn close(&self) {
        let mut inner = self.0.borrow_mut();
        inner.open = false;
        self.wake(&mut inner);
    }

    /// All who wait look again, in the order in which they came.
    fn wake(&self, inner: &mut Inner<T>) {
        inner.waiting.drain(..).for_each(Waker::wake);
    }

    /// How many items are in it.
    pub fn len(&self) -> usize {
        self.0.borrow().items.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next item; nothing when the queue is closed and empty.
    pub fn next(&self) -> Next<'_, T> {
        Next(self)
    }
}

/// What [`Queue::next`] gives.
#[derive(Debug)]
#[must_use = "what is not awaited takes nothing"]
pub struct Next<'q, T>(&'q Queue<T>);

impl<T> Future for Next<'_, T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut inner = self.0.0.borrow_mut();
        match inner.items.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None if !inner.open => Poll::Ready(None),
            None => {
                if !inner.waiting.iter().any(|w| w.will_wake(cx.waker())) {
                    inner.waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}
