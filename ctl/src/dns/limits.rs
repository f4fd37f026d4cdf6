//! How much one client may ask. Time is an argument.

use std::time::Duration;

/// What one client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Questions a second.
    pub questions: u32,
    /// Of these, forwarded ones.
    pub forwarded: u32,
    /// Forwarded ones at the same time.
    pub waiting: usize,
    /// Connections at the same time.
    pub connections: usize,
}

impl Default for Limits {
    /// A busy client resolves some hundred names a second; what is answered from the snapshot costs a fiftieth of what a
    /// forwarded question costs.
    fn default() -> Self {
        Limits { questions: 50_000, forwarded: 2_000, waiting: 1024, connections: 32 }
    }
}

/// So many a second, and as many at once as a second's worth.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: u32,
    /// Millionths.
    tokens: u64,
    filled: Duration,
}

const MILLION: u64 = 1_000_000;

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: u32, now: Duration) -> Bucket {
        Bucket { rate, tokens: u64::from(rate) * MILLION, filled: now }
    }

    /// Takes one, if there is one. `now` never goes back; if it does, nothing is filled in.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let micros = u64::try_from(now.saturating_sub(self.filled).as_micros()).unwrap_or(u64::MAX);
        if micros > 0 {
            let full = u64::from(self.rate) * MILLION;
            self.tokens = self.tokens.saturating_add(micros.saturating_mul(self.rate.into())).min(full);
            self.filled = now;
        }
        let taken = self.tokens.checked_sub(MILLION);
        self.tokens = taken.unwrap_or(self.tokens);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A second's worth at once, then the rate, never more.
    #[test]
    fn fills_at_its_rate() {
        let mut bucket = Bucket::new(10, Duration::ZERO);
        let burst = (0..100).filter(|_| bucket.take(Duration::ZERO)).count();
        assert_eq!(burst, 10);
        assert!(!bucket.take(Duration::from_millis(99)));
        assert!(bucket.take(Duration::from_millis(100)));
        assert!(!bucket.take(Duration::from_millis(100)));
        assert_eq!((0..100).filter(|_| bucket.take(Duration::from_secs(3600))).count(), 10);
        assert!(!bucket.take(Duration::ZERO), "time that goes back fills nothing");
    }

    proptest! {
        /// In any stretch of time no more pass than the burst and the rate allow.
        #[test]
        fn never_more(rate in 1u32..1000, steps in proptest::collection::vec(0u64..5000, 1..500)) {
            let mut bucket = Bucket::new(rate, Duration::ZERO);
            let (mut now, mut taken) = (Duration::ZERO, 0u64);
            for step in steps {
                now += Duration::from_micros(step);
                taken += u64::from(bucket.take(now));
            }
            let allowed = u64::from(rate) + u64::try_from(now.as_micros()).unwrap() * u64::from(rate) / MILLION;
            prop_assert!(taken <= allowed + 1);
        }
    }
}
