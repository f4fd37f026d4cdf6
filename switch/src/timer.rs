//! A timer of the kernel's in a poll, whose resolution the poll's own time limit has not (timerfd_create(2)).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// It goes off once each time that it was set.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

/// A timer of nothing would be switched off.
const SOONEST: Duration = Duration::from_nanos(1);

impl Timer {
    /// One that is not set, readable as `token` when it goes off.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Timer(timer))
    }

    /// Lets it go off after this time, instead of when it would have.
    ///
    /// # Errors
    /// Those of timerfd_settime(2).
    pub(crate) fn set(&self, after: Duration) -> io::Result<()> {
        let after = after.max(SOONEST);
        let it_value = Timespec {
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(after.subsec_nanos()),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Makes it unreadable again; only that it went off matters.
    pub(crate) fn took_note(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}
