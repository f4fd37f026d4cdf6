//! A client's connection: a Unix stream that keeps descriptors which come beside bytes, and gives up on a client that
//! does not read.
//!
//! Descriptors must be caught by every read, not only after an upgrade: the HTTP layer may read ahead, and a plain
//! `read` would let the kernel drop them.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::Sleep;

use super::orders::Usher;
use super::stdio::STREAMS;

/// How long a client may leave an answer unread.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks whether a client that sends no more is still there.
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// How long a client that was told everything may take to close its end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// Descriptors that one message may carry without the kernel cutting it.
const MAX_DESCRIPTORS: usize = 8;

/// The descriptors that have come with a connection, until somebody takes them.
#[derive(Debug, Clone, Default)]
pub(super) struct Carried(Arc<Mutex<Vec<OwnedFd>>>);

impl Carried {
    /// All of them, in order.
    pub(super) fn take(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is more than anybody needs is closed at once.
    fn add(&self, more: impl Iterator<Item = OwnedFd>) {
        let mut descriptors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = STREAMS.saturating_sub(descriptors.len());
        descriptors.extend(more.take(room));
    }
}

impl<S: Sync> FromRequestParts<S> for Carried {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.remove().unwrap_or_default())
    }
}

/// One client's connection.
#[derive(Debug)]
pub(crate) struct FdStream {
    stream: UnixStream,
    carried: Carried,
    stuck: Option<Pin<Box<Sleep>>>,
    usher: Option<Usher>,
    /// It may leave unread what it likes.
    patient: bool,
}

impl FdStream {
    /// With an usher, orders are shown to the agent before they are read.
    /// What comes beside bytes is put into `carried`.
    pub(super) const fn new(stream: UnixStream, usher: Option<Usher>, carried: Carried) -> Self {
        FdStream { stream, carried, stuck: None, usher, patient: false }
    }

    /// The descriptors that have come so far.
    pub(crate) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        self.carried.take()
    }

    /// Lets the client read when it likes: what it does not read now waits where it comes from.
    /// What it sends from here on are no requests.
    pub(crate) fn be_patient(&mut self) {
        self.patient = true;
        self.usher = None;
    }

    /// Ends when the client is gone altogether, which the end of what it sends does not say.
    pub(crate) fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        let copy = self.stream.as_fd().try_clone_to_owned();
        async move {
            let Ok(copy) = copy else { return std::future::pending().await };
            let none = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
            loop {
                let mut asked = [PollFd::new(&copy, PollFlags::empty())];
                if poll(&mut asked, Some(&none)).is_ok() && asked[0].revents().contains(PollFlags::HUP) {
                    return;
                }
                tokio::time::sleep(WATCH_PAUSE).await;
            }
        }
    }

    /// Ends a connection that has become a stream: the client reads to a clean end, whatever it sent that nobody took.
    ///
    /// A Unix socket that is closed over bytes that were not read resets the other end, which then fails instead of ending. So
    /// what still comes is dropped until the client closes, too, or has had long enough.
    pub(crate) async fn finish(self) {
        self.finish_within(CLOSE_PATIENCE).await;
    }

    async fn finish_within(mut self, patience: Duration) {
        self.usher = None;
        if self.shutdown().await.is_err() {
            return;
        }
        let drain = async {
            let mut piece = [0; 4096];
            while matches!(self.read(&mut piece).await, Ok(1..)) {
                drop(self.carried.take());
            }
        };
        let _ = tokio::time::timeout(patience, drain).await;
    }

    fn receive(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let (stream, carried) = (&self.stream, &self.carried);
        stream.try_io(Interest::READABLE, || {
            let mut control = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut control);
            let received =
                recvmsg(stream.as_fd(), &mut [IoSliceMut::new(space)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(more) = message {
                    carried.add(more);
                }
            }
            Ok(received.bytes)
        })
    }

    /// Answers an error once the client has left its answer unread for too long.
    fn check_patience(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_PATIENCE)));
        ready!(stuck.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for FdStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let this = &mut *self;
            if let Some(usher) = &mut this.usher {
                ready!(usher.poll(&this.stream, context));
            }
            ready!(self.stream.poll_read_ready(context))?;
            match self.receive(buffer.initialize_unfilled()) {
                Ok(count) => {
                    if let Some(usher) = &mut self.usher {
                        usher.read();
                    }
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for FdStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(result) => {
                self.stuck = None;
                Poll::Ready(result)
            }
            Poll::Pending if self.patient => Poll::Pending,
            Poll::Pending => self.check_patience(context),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A client whose bytes nobody took reads what was written, and then the end and no error; so does one that goes on
    /// sending meanwhile.
    #[tokio::test]
    async fn a_clean_end() {
        for later in [0, 3] {
            let (ours, client) = std::os::unix::net::UnixStream::pair().unwrap();
            [&ours, &client].into_iter().for_each(|end| end.set_nonblocking(true).unwrap());
            (&client).write_all(&[b'x'; 100]).unwrap();
            let mut stream = FdStream::new(UnixStream::from_std(ours).unwrap(), None, Carried::default());
            stream.write_all(b"all of it").await.unwrap();
            let finished = tokio::spawn(stream.finish());
            let mut client = UnixStream::from_std(client).unwrap();
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"all of it");
            for _ in 0..later {
                client.write_all(&[b'y'; 100]).await.unwrap();
            }
            drop(client);
            finished.await.unwrap();
        }
    }

    /// Nobody holds the daemon's end for longer than it is patient by never closing, or by never ceasing to send.
    #[tokio::test]
    async fn an_end_in_any_case() {
        let (ours, mut client) = UnixStream::pair().unwrap();
        FdStream::new(ours, None, Carried::default()).finish_within(Duration::from_millis(1)).await;
        assert!(client.write_all(b"too late").await.is_err());
        let (ours, mut client) = UnixStream::pair().unwrap();
        let talker = async { while client.write_all(&[0; 4096]).await.is_ok() {} };
        tokio::join!(talker, FdStream::new(ours, None, Carried::default()).finish_within(Duration::from_millis(1)));
    }
}
