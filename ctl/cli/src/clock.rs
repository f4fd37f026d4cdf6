//! The one place of this package that reads the clocks.

use std::time::{Duration, Instant, SystemTime};

/// Wall clock, to compare with what the daemon wrote.
#[allow(clippy::disallowed_methods, reason = "people want to read 'two minutes ago'")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Monotonic clock, to measure with.
#[allow(clippy::disallowed_methods, reason = "the demo measures, and waits no longer than so long")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// How long ago an RFC 3339 time was; nothing for the future and for nonsense.
pub(crate) fn since(time: &str) -> Option<Duration> {
    now().duration_since(humantime::parse_rfc3339_weak(time).ok()?).ok()
}
