//! Work that blocks (a commit to disk, a port that the workers must let go of, a read of /proc) beside work that waits.
//!
//! A thread of the runtime that takes an event from the kernel runs whatever the event wakes, and until it returns nobody
//! looks at the sockets, however many threads sleep: one slow disk would be a dead API. So what may block is polled inside
//! of `block_in_place`, by which the thread hands its duties to another one first.
//!
//! A thread that handed its duties on is none of the runtime's any more: it does not wait for it when it ends, and a timer
//! that such a poll starts then panics. So the daemon shuts the [`Gate`] before its runtime ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

/// Lets polls in, until it is shut.
#[derive(Debug)]
struct Gate {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug)]
struct State {
    /// Polls inside; one may hold another.
    inside: usize,
    shut: bool,
}

/// This process's.
static GATE: Gate = Gate::new();

impl Gate {
    const fn new() -> Gate {
        Gate { state: Mutex::new(State { inside: 0, shut: false }), left: Condvar::new() }
    }

    /// `None` once it is shut.
    fn enter(&self) -> Option<Inside<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.shut {
            return None;
        }
        state.inside += 1;
        Some(Inside(self))
    }

    fn shut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.shut = true;
        while state.inside > 0 {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Inside<'g>(&'g Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).inside -= 1;
        self.0.left.notify_all();
    }
}

/// A future that may block whenever it is polled, without harm to others.
#[derive(Debug)]
pub(crate) struct MayBlock<F> {
    inner: Pin<Box<F>>,
    gate: &'static Gate,
}

/// Lets `future` block.
pub(crate) fn may_block<F: Future>(future: F) -> MayBlock<F> {
    MayBlock { inner: Box::pin(future), gate: &GATE }
}

/// Runs `future`, which may block, in the background.
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    tokio::spawn(may_block(future))
}

/// Before the runtime ends: waits for the polls that go on, and nothing that may block is polled from here on.
pub(crate) fn end() {
    GATE.shut();
}

impl<F: Future> Future for MayBlock<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(_inside) = self.gate.enter() else { return Poll::Pending };
        // A runtime of one thread (a test's) has nobody to hand anything to.
        let others = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
        if others {
            tokio::task::block_in_place(|| self.inner.as_mut().poll(context))
        } else {
            self.inner.as_mut().poll(context)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// What is in the middle of its work when the runtime is to end is waited for and may start timers; later it is not polled.
    #[test]
    fn the_end_of_the_runtime() {
        let gate: &'static Gate = Box::leak(Box::new(Gate::new()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let work = runtime.spawn(MayBlock {
            gate,
            inner: Box::pin(async move {
                begun.send(()).unwrap();
                gone.recv().unwrap();
                // A runtime that is shut down panics here.
                tokio::time::sleep(Duration::from_millis(1)).await;
                panic!("it was polled after the end");
            }),
        });
        has_begun.recv().unwrap();
        let ended = std::thread::spawn(move || {
            gate.shut();
            drop(runtime);
        });
        while !gate.state.lock().unwrap().shut {
            std::thread::yield_now();
        }
        assert!(!ended.is_finished());
        go.send(()).unwrap();
        ended.join().unwrap();
        let outcome = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
        assert!(outcome.is_err_and(|error| error.is_cancelled()));
    }
}
