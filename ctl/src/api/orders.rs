//! Requests that order something to be run: the agent reads them itself, before they are read here
//! (docs/decisions/0018-orders.md).

use std::convert::Infallible;
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::answer::{Answer, Refusal};
use crate::agent::orders::is_order;
use crate::controller::Controller;
use crate::error::ControlError;

/// Enough for the first line of a request that orders something.
const LINE: usize = 512;

/// The number of an order, or why there is none.
type Taken = Result<u64, ControlError>;

/// Where the order of a connection's current request is.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Taken>>>);

impl Slot {
    /// That of the request that begins now.
    pub(super) fn take(&self) -> ClientOrder {
        ClientOrder(self.0.lock().unwrap_or_else(PoisonError::into_inner).take())
    }
}

/// The order that a request is.
#[derive(Debug)]
pub(super) struct ClientOrder(Option<Taken>);

// Extensions are copied with a request that nobody copies here; an order counts once.
impl Clone for ClientOrder {
    fn clone(&self) -> Self {
        ClientOrder(None)
    }
}

impl ClientOrder {
    pub(super) fn of(extensions: &mut Extensions) -> ClientOrder {
        extensions.remove().unwrap_or(ClientOrder(None))
    }

    /// Its number at the agent.
    pub(super) fn number(self) -> Answer<u64> {
        match self.0 {
            Some(taken) => Ok(taken?),
            None => Err(Refusal::bad(
                "the agent of vswitchd could not read this request; send it as the first of a connection or after the last \
                 answer, with its first line in one piece",
            )),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for ClientOrder {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(ClientOrder::of(&mut parts.extensions))
    }
}

/// Shows a connection to the agent whenever an order is at its head.
pub(super) struct Usher {
    controller: Controller,
    slot: Slot,
    asking: Option<Pin<Box<dyn Future<Output = Taken> + Send>>>,
    /// What is at the head has been looked at.
    seen: bool,
}

impl Usher {
    /// Puts the orders of a connection into `slot`.
    pub(super) fn new(controller: Controller, slot: Slot) -> Usher {
        Usher { controller, slot, asking: None, seen: false }
    }

    /// Something was read: another thing is at the head.
    pub(super) fn read(&mut self) {
        self.seen = false;
    }

    /// Ready when what is at the head may be read.
    pub(super) fn poll(&mut self, stream: &UnixStream, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(asking) = &mut self.asking {
                let taken = ready!(asking.as_mut().poll(context));
                *self.slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
                (self.asking, self.seen) = (None, true);
            }
            if self.seen || ready!(stream.poll_read_ready(context)).is_err() {
                return Poll::Ready(());
            }
            let mut line = [0; LINE];
            let peeked = stream.try_io(Interest::READABLE, || {
                Ok(recv(stream.as_fd(), &mut line[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?.0)
            });
            match peeked {
                Ok(count) if is_order(&line[..count]) => self.asking = Some(self.ask(stream)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => self.seen = true,
            }
        }
    }

    fn ask(&self, stream: &UnixStream) -> Pin<Box<dyn Future<Output = Taken> + Send>> {
        let controller = self.controller.clone();
        let copy: std::io::Result<OwnedFd> = stream.as_fd().try_clone_to_owned();
        Box::pin(async move {
            match copy {
                Ok(connection) => controller.take_order(connection).await,
                Err(error) => Err(ControlError::Internal(format!("cannot copy a client's descriptor: {error}"))),
            }
        })
    }
}

impl std::fmt::Debug for Usher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Usher").field("seen", &self.seen).finish_non_exhaustive()
    }
}
