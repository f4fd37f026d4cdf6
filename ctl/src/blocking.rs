//! Work that blocks (a commit to disk, a port that the workers must let go of, a read of /proc) beside work that waits.
//!
//! A thread of the runtime that takes an event from the kernel runs whatever the event wakes, and until it returns nobody
//! looks at the sockets, however many threads sleep: one slow disk would be a dead API. So what may block is polled inside
//! of `block_in_place`, by which the thread hands its duties to another one first.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

/// A future that may block whenever it is polled, without harm to others.
#[derive(Debug)]
pub(crate) struct MayBlock<F> {
    inner: Pin<Box<F>>,
}

/// Lets `future` block.
pub(crate) fn may_block<F: Future>(future: F) -> MayBlock<F> {
    MayBlock { inner: Box::pin(future) }
}

/// Runs `future`, which may block, in the background.
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    tokio::spawn(may_block(future))
}

impl<F: Future> Future for MayBlock<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // A runtime of one thread (a test's) has nobody to hand anything to.
        let others = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
        if others {
            tokio::task::block_in_place(|| self.inner.as_mut().poll(context))
        } else {
            self.inner.as_mut().poll(context)
        }
    }
}
