//! The one place that reads a clock.

use std::time::Instant;

use vswitch_frame::Timestamp;

/// Milliseconds since it was made.
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
        Timestamp::from_millis(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
