//! The one place of vswitchd that reads the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment: nanoseconds since 1970. Written as RFC 3339 with nanoseconds, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// This moment.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everybody else is given")]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// This many seconds after 1970.
    #[must_use]
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Moment(seconds.saturating_mul(1_000_000_000))
    }

    /// Whole seconds from `earlier` to this moment; none if it is later.
    #[must_use]
    pub const fn seconds_since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000_000
    }

    /// From `earlier` to this moment; nothing if it is later.
    #[must_use]
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub const fn unix_seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub const fn unix_nanos(self) -> u64 {
        self.0
    }

    /// `seconds` earlier.
    #[must_use]
    pub const fn earlier(self, seconds: u64) -> Self {
        Moment(self.0.saturating_sub(seconds.saturating_mul(1_000_000_000)))
    }
}

/// Time since it was started, which never goes back.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// One that starts at zero now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everybody else is given")]
    pub fn start() -> Self {
        Stopwatch(std::time::Instant::now())
    }

    /// The time.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(self.0)).fmt(f)
    }
}

/// A Unix time, `SECONDS` or `SECONDS.FRACTION`.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<Moment> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    // Nanoseconds are nine digits; more say nothing, fewer stand for their place.
    let nanos: u64 = format!("{fraction:0<9}")[..9].parse().ok()?;
    let seconds: u64 = whole.parse().ok()?;
    Some(Moment(seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?))
}

/// `until=` of a filter: a Unix time, an RFC 3339 time, or a duration such as `24h` before `now`.
#[must_use]
pub fn parse_until(text: &str, now: Moment) -> Option<Moment> {
    if let Some(moment) = parse_timestamp(text) {
        return Some(moment);
    }
    if let Ok(duration) = humantime::parse_duration(text) {
        return Some(now.earlier(duration.as_secs()));
    }
    // As Docker: also without seconds, minutes or a time of the day.
    let whole = ["", ":00", ":00:00", " 00:00:00"].map(|rest| format!("{text}{rest}"));
    let moment = whole.iter().find_map(|text| humantime::parse_rfc3339_weak(text).ok())?;
    Some(Moment(u64::try_from(moment.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments print as RFC 3339, and a filter may say a time or an age.
    #[test]
    fn forms() {
        let moment = Moment::from_unix_seconds(1_700_000_000);
        assert_eq!(moment.to_string(), "2023-11-14T22:13:20.000000000Z");
        assert_eq!(parse_until("1700000000", moment), Some(moment));
        assert_eq!(parse_until("2023-11-14T22:13:20Z", Moment::now()), Some(moment));
        assert_eq!(parse_until("1h30m", moment), Some(Moment::from_unix_seconds(1_700_000_000 - 5400)));
        for (text, same) in [("2023-11-14", "2023-11-14T00:00:00Z"), ("2023-11-14T22:13", "2023-11-14T22:13:00Z")] {
            assert_eq!(parse_until(text, moment), parse_until(same, moment), "{text}");
            assert!(parse_until(text, moment).is_some());
        }
        assert_eq!(parse_until("soon", moment), None);
        assert_eq!(parse_until("2023-11", moment), None);
        assert_eq!(parse_timestamp("1700000000.000000001").unwrap().unix_nanos(), 1_700_000_000_000_000_001);
        assert_eq!(parse_timestamp("1700000000.5").unwrap().unix_nanos(), 1_700_000_000_500_000_000);
        for bad in ["", ".5", "5.", "-1", "1e9", "99999999999999999999", "1.0000000000000000000"] {
            assert_eq!(parse_timestamp(bad), None, "{bad}");
        }
    }
}
