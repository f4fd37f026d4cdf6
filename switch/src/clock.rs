//! The one place that reads a clock.

use std::time::{Instant, SystemTime};

use vswitch_frame::Timestamp;

/// Nanoseconds since 1970, as whoever reads a capture wants it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn wall_nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Time since it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts at zero now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Clock(Instant::now())
    }

    /// The time.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Clock::timestamp(self.nanos())
    }

    /// The time in nanoseconds, to measure what something takes.
    #[inline]
    #[must_use]
    pub fn nanos(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// What [`Clock::nanos`] said, for the engines.
    #[inline]
    #[must_use]
    pub const fn timestamp(nanos: u64) -> Timestamp {
        Timestamp::from_millis(nanos / 1_000_000)
    }
}
