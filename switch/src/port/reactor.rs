//! What the devices made of sockets have in common: one poll for all of them, with a timer and a waker in it. Its
//! descriptor is what the port's worker watches: an epoll descriptor is itself readable when there are events.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Registry, Token, Waker};
use vswitch_frame::Timestamp;

use crate::timer::Timer;

/// The part that any thread may use.
#[derive(Debug)]
pub(super) struct Reactor {
    /// Of the poll in [`Turns`], which lives as long.
    poll_fd: RawFd,
    registry: Registry,
    waker: Waker,
    timer: Timer,
}

/// The part that the device's lock protects.
#[derive(Debug)]
pub(super) struct Turns {
    poll: Poll,
    events: Events,
    /// When the timer goes off.
    armed: Option<Timestamp>,
}

const WAKER: Token = Token(0);
const TIMER: Token = Token(1);
/// Events taken from the poll at once.
const EVENTS: usize = 256;
/// The least that a port waits.
const SOONEST: Duration = Duration::from_millis(1);

impl Reactor {
    /// Both parts.
    pub(super) fn new() -> io::Result<(Reactor, Turns)> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, WAKER)?;
        let timer = Timer::new(&registry, TIMER)?;
        let poll_fd = poll.as_raw_fd();
        let turns = Turns { poll, events: Events::with_capacity(EVENTS), armed: None };
        Ok((Reactor { poll_fd, registry, waker, timer }, turns))
    }

    pub(super) const fn raw_fd(&self) -> RawFd {
        self.poll_fd
    }

    pub(super) const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Lets the port's worker receive.
    pub(super) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the worker of a port");
        }
    }

    /// Sets the timer for what is due next, if it is not set for that or earlier.
    pub(super) fn arm(&self, turns: &mut Turns, next: Option<Timestamp>, now: Timestamp) {
        let Some(next) = next else { return };
        if turns.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        match self.timer.set(next.since(now).max(SOONEST)) {
            Ok(()) => turns.armed = Some(next),
            Err(error) => tracing::error!(%error, "cannot set the timer of a port"),
        }
    }

    /// Whether the timer went off; it must be set again then.
    pub(super) fn is_due(&self, turns: &mut Turns) -> bool {
        let due = turns.events.iter().any(|event| event.token() == TIMER);
        if due {
            self.timer.took_note();
            turns.armed = None;
        }
        due
    }
}

impl Turns {
    /// Takes what happened, without waiting.
    pub(super) fn poll(&mut self) -> io::Result<()> {
        loop {
            match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                polled => return polled,
            }
        }
    }

    /// What happened, with tokens of the device's own.
    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| !matches!(event.token(), WAKER | TIMER))
    }

    /// Whether nothing happened at all.
    pub(super) fn is_quiet(&self) -> bool {
        self.events.is_empty()
    }
}
