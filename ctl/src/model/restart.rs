//! When a container's process is started again by itself, as Docker does it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What becomes of a container whose process ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again after a failure.
    OnFailure {
        /// So many times; 0 is without end.
        most: u32,
    },
    /// It is started again, and whenever vswitchd starts.
    Always,
    /// The same, unless somebody stopped it.
    UnlessStopped,
}

/// How the last run of a container ended.
#[derive(Debug, Clone, Copy)]
pub struct LastEnd {
    /// Exit status.
    pub code: i32,
    /// Somebody asked for it.
    pub stopped: bool,
    /// How many times it was started again by itself before.
    pub restarts: u32,
}

impl RestartPolicy {
    /// Reads `no`, `on-failure[:N]`, `always` or `unless-stopped`.
    ///
    /// # Errors
    /// Docker's sentence.
    pub fn parse(text: &str) -> Result<RestartPolicy, String> {
        let (name, most) = text.split_once(':').unwrap_or((text, ""));
        let most = match most {
            "" => 0,
            most => {
                most.parse().map_err(|_| "invalid restart policy format: maximum retry count must be an integer")?
            }
        };
        RestartPolicy::of(name, most)
    }

    /// From Docker's two fields.
    ///
    /// # Errors
    /// Docker's sentence.
    pub fn of(name: &str, most: u32) -> Result<RestartPolicy, String> {
        let policy = match name {
            "" | "no" => RestartPolicy::No,
            "always" => RestartPolicy::Always,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            "on-failure" => return Ok(RestartPolicy::OnFailure { most }),
            _ => {
                return Err(format!(
                    "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
                ));
            }
        };
        if most > 0 {
            return Err("invalid restart policy: maximum retry count can only be used with 'on-failure'".to_owned());
        }
        Ok(policy)
    }

    /// Docker's two fields.
    #[must_use]
    pub const fn fields(self) -> (&'static str, u32) {
        match self {
            RestartPolicy::No => ("no", 0),
            RestartPolicy::OnFailure { most } => ("on-failure", most),
            RestartPolicy::Always => ("always", 0),
            RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        }
    }

    /// Whether it is started again where it ended just now.
    #[must_use]
    pub const fn after_end(self, end: LastEnd) -> bool {
        !end.stopped && self.at_start(end)
    }

    /// Whether it is started again when vswitchd starts.
    #[must_use]
    pub const fn at_start(self, end: LastEnd) -> bool {
        match self {
            RestartPolicy::No => false,
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !end.stopped,
            RestartPolicy::OnFailure { most } => !end.stopped && end.code != 0 && (most == 0 || end.restarts < most),
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fields() {
            (name, 0) => f.write_str(name),
            (name, most) => write!(f, "{name}:{most}"),
        }
    }
}

/// How long to wait before the next start, after one that lasted `lasted` and came `before` the one before it.
#[must_use]
pub fn back_off(before: Option<Duration>, lasted: Duration) -> Duration {
    match before {
        Some(before) if lasted < GOOD_RUN => before.saturating_mul(2).min(LONGEST),
        _ => SHORTEST,
    }
}

/// Docker's.
const SHORTEST: Duration = Duration::from_millis(100);
/// Docker's.
const LONGEST: Duration = Duration::from_secs(60);
/// What lasted so long is no failure to start.
const GOOD_RUN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// Docker's words are read and written, and other words refused with Docker's sentences.
    #[test]
    fn words() {
        for text in ["no", "always", "unless-stopped", "on-failure", "on-failure:5"] {
            assert_eq!(RestartPolicy::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(RestartPolicy::parse(""), Ok(RestartPolicy::No));
        for (text, says) in [
            ("sometimes", "unknown policy 'sometimes'"),
            ("on-failure:x", "must be an integer"),
            ("always:3", "can only be used with 'on-failure'"),
        ] {
            assert!(RestartPolicy::parse(text).unwrap_err().contains(says));
        }
    }

    /// Who stops a container means it; `always` means it more, when vswitchd starts.
    #[test]
    fn decisions() {
        let end = |code, stopped, restarts| LastEnd { code, stopped, restarts };
        let on_failure = RestartPolicy::OnFailure { most: 2 };
        for (policy, end, after, at_start) in [
            (RestartPolicy::No, end(1, false, 0), false, false),
            (RestartPolicy::Always, end(0, false, 9), true, true),
            (RestartPolicy::Always, end(0, true, 0), false, true),
            (RestartPolicy::UnlessStopped, end(0, false, 0), true, true),
            (RestartPolicy::UnlessStopped, end(0, true, 0), false, false),
            (on_failure, end(0, false, 0), false, false),
            (on_failure, end(1, false, 1), true, true),
            (on_failure, end(1, false, 2), false, false),
        ] {
            assert_eq!((policy.after_end(end), policy.at_start(end)), (after, at_start), "{policy} {end:?}");
        }
    }

    /// 100 ms, doubling to a minute, and from the beginning after a good run.
    #[test]
    fn waits() {
        let mut wait = back_off(None, Duration::ZERO);
        let mut all = vec![wait.as_millis()];
        for _ in 0..10 {
            wait = back_off(Some(wait), Duration::ZERO);
            all.push(wait.as_millis());
        }
        assert_eq!(all, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000]);
        assert_eq!(back_off(Some(wait), Duration::from_secs(10)), SHORTEST);
    }
}
