//! Values as people read them, the same wherever they are shown.

use std::time::Duration;

/// A time as Docker says it: `3 minutes`, `About an hour`.
#[must_use]
pub fn duration(time: Duration) -> String {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    match time.as_secs() {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        seconds @ 2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        seconds @ 120..HOUR => format!("{} minutes", seconds / 60),
        seconds if (seconds + HOUR / 2) / HOUR < 2 => "About an hour".into(),
        seconds if seconds < 2 * DAY => format!("{} hours", (seconds + HOUR / 2) / HOUR),
        seconds if seconds < 14 * DAY => format!("{} days", seconds / DAY),
        seconds if seconds < 60 * DAY => format!("{} weeks", seconds / DAY / 7),
        seconds if seconds < 730 * DAY => format!("{} months", seconds / DAY / 30),
        seconds => format!("{} years", seconds / DAY / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times read as Docker's do.
    #[test]
    fn times() {
        let cases = [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (200, "3 minutes"),
            (3700, "About an hour"),
            (7200, "2 hours"),
            (3 * 86_400, "3 days"),
            (15 * 86_400, "2 weeks"),
            (800 * 86_400, "2 years"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
