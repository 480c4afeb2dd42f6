//! The runtime's futures as Rust's.
//!
//! The call is made when the function is called, not when its result is awaited:
//! `let late = sleep(SECOND);` runs from there on. Dropping a future takes it back
//! from the runtime (`drop_future`); so a loser of [`select`] costs nothing more.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, ready};
use core::time::Duration;

use serde::de::DeserializeOwned;

use crate::abi;
use crate::error::{Errno, Error, Result};
use crate::exec;

/// A call that takes time: its body, or why there is none.
#[derive(Debug)]
#[must_use = "what is not awaited is taken back"]
pub struct Call {
    /// 0 when it is over, below 0 when the call failed at once.
    id: i64,
    serial: u32,
}

impl Call {
    /// From what an import of the ABI gave.
    pub fn new(result: i64) -> Call {
        match exec::current() {
            Some(exec) if result > 0 => Call { id: result, serial: exec.expect(result) },
            _ => Call { id: result.min(-1), serial: 0 },
        }
    }
}

impl Future for Call {
    type Output = Result<Vec<u8>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>>> {
        let (status, body) = match self.id {
            id if id > 0 => match exec::current() {
                Some(exec) => ready!(exec.ask(id, self.serial, cx.waker())),
                None => (-Errno::ECANCELED.0, Vec::new()),
            },
            0 => (-Errno::ECANCELED.0, Vec::new()),
            id => (i32::try_from(id).unwrap_or(-Errno::EIO.0), Vec::new()),
        };
        self.id = 0;
        Poll::Ready(match status {
            0.. => Ok(body),
            _ => Err(Error::received(status, &body)),
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.id > 0
            && let Some(exec) = exec::current()
            && exec.forget(self.id, self.serial)
        {
            // What it says makes no difference: it is not ours any more.
            let _ = abi::drop_future(self.id);
        }
    }
}

/// A call whose body is something else than bytes.
#[derive(Debug)]
#[must_use = "what is not awaited is taken back"]
pub struct Typed<T> {
    call: Call,
    read: fn(Vec<u8>) -> Result<T>,
    of: PhantomData<fn() -> T>,
}

impl<T> Typed<T> {
    pub(crate) fn new(call: Call, read: fn(Vec<u8>) -> Result<T>) -> Typed<T> {
        Typed { call, read, of: PhantomData }
    }
}

impl<T: DeserializeOwned> Typed<T> {
    pub(crate) fn postcard(call: Call) -> Typed<T> {
        Typed::new(call, |body| Ok(postcard::from_bytes(&body)?))
    }
}

impl<T> Future for Typed<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let body = ready!(Pin::new(&mut self.call).poll(cx));
        Poll::Ready(body.and_then(self.read))
    }
}

/// What [`sleep`] gives.
#[derive(Debug)]
#[must_use = "what is not awaited is taken back"]
pub struct Sleep(Call);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // It fails only when the dispatch will be abandoned.
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

/// Comes after this time or later, never before. Runs from now on.
pub fn sleep(span: Duration) -> Sleep {
    Sleep(Call::new(abi::sleep(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))))
}

/// Lets everything that waits be dispatched first: what cuts a long computation into
/// pieces, each of which keeps to the deadline of a dispatch.
pub fn yield_now() -> Sleep {
    sleep(Duration::ZERO)
}

/// The same, but ETIMEDOUT if it takes longer than that. Then `future` is dropped.
pub async fn timeout<T>(span: Duration, future: impl Future<Output = Result<T>>) -> Result<T> {
    match select(future, sleep(span)).await {
        Either::First(result) => result,
        Either::Second(()) => Err(Errno::ETIMEDOUT.into()),
    }
}

/// What [`select`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first was there.
    First(A),
    /// The second was there, and the first was not.
    Second(B),
}

/// Waits for whichever comes first, and drops the other.
pub async fn select<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    core::future::poll_fn(move |cx| {
        if let Poll::Ready(a) = a.as_mut().poll(cx) {
            return Poll::Ready(Either::First(a));
        }
        b.as_mut().poll(cx).map(Either::Second)
    })
    .await
}

enum Half<F: Future> {
    Waits(Pin<Box<F>>),
    Has(Option<F::Output>),
}

impl<F: Future> Half<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if let Half::Waits(f) = self
            && let Poll::Ready(out) = f.as_mut().poll(cx)
        {
            *self = Half::Has(Some(out));
        }
        matches!(self, Half::Has(_))
    }

    fn take(&mut self) -> Option<F::Output> {
        match self {
            Half::Has(out) => out.take(),
            Half::Waits(_) => None,
        }
    }
}

/// Waits for both.
pub async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (Half::Waits(Box::pin(a)), Half::Waits(Box::pin(b)));
    core::future::poll_fn(move |cx| {
        let both = a.poll(cx) & b.poll(cx);
        match (both, if both { (a.take(), b.take()) } else { (None, None) }) {
            (true, (Some(a), Some(b))) => Poll::Ready((a, b)),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Waits for all of them, in any order; their results are in the order of the list.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<Half<F>> = futures.into_iter().map(|f| Half::Waits(Box::pin(f))).collect();
    core::future::poll_fn(move |cx| {
        let missing = all.iter_mut().filter_map(|h| (!h.poll(cx)).then_some(())).count();
        match missing {
            0 => Poll::Ready(all.iter_mut().filter_map(Half::take).collect()),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Begins a logical thread beside the one that runs: it is first run when this one
/// waits or ends. Its error goes to the log.
pub fn task(thread: impl Future<Output = Result<()>> + 'static) {
    if let Some(exec) = exec::current() {
        exec.spawn(Box::pin(thread));
    }
}
