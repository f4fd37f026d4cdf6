//! The time that engines are given.

use std::time::Duration;

/// Milliseconds of a clock that never goes back (CLOCK_MONOTONIC in the daemon, a counter in tests).
///
/// Engines never read a clock: the shell passes `now` in. Milliseconds suffice for every timer of a switch, and one
/// 64-bit integer can be stored in an atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's zero.
    pub const ZERO: Timestamp = Timestamp(0);

    /// The moment `millis` after the clock's zero.
    #[inline]
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Timestamp(millis)
    }

    /// Milliseconds since the clock's zero.
    #[inline]
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the clock's zero, cut to 32 bits (136 years).
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a monotonic clock of seconds outlives no machine in 32 bits")]
    pub const fn as_secs(self) -> u32 {
        (self.0 / 1000) as u32
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_add(millis))
    }
}
