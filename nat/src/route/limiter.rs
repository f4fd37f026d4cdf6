//! How many ICMP errors may leave (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f). The numbers are Linux's.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use vswitch_frame::Timestamp;

/// A token bucket for all errors and one for each destination. Destinations are forgotten when their bucket is full again
/// and room is needed; when none is, all share what the global bucket gives.
#[derive(Debug)]
pub struct ErrorLimiter {
    global: Bucket,
    destinations: HashMap<IpAddr, Bucket, FixedState>,
    held_back: u64,
}

/// Tokens in thousandths, so that a millisecond's worth is a whole number.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    millitokens: u64,
    filled: Timestamp,
}

/// What fills a bucket.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: u64,
    burst: u64,
}

impl ErrorLimiter {
    /// A limiter with full buckets. `seed` makes its hashing unpredictable.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let destinations = HashMap::with_hasher(FixedState::with_seed(seed));
        ErrorLimiter { global: Bucket::full(GLOBAL, Timestamp::ZERO), destinations, held_back: 0 }
    }

    /// Whether an error to `destination` may leave now. Echo replies are not to be asked for.
    pub fn allows(&mut self, destination: IpAddr, now: Timestamp) -> bool {
        let allowed = self.bucket(destination, now).is_none_or(|bucket| bucket.has_token(DESTINATION, now))
            && self.global.take(GLOBAL, now);
        if allowed {
            if let Some(bucket) = self.destinations.get_mut(&destination) {
                bucket.take(DESTINATION, now);
            }
        } else {
            self.held_back += 1;
        }
        allowed
    }

    /// How many errors did not leave.
    #[must_use]
    pub const fn held_back(&self) -> u64 {
        self.held_back
    }

    fn bucket(&mut self, destination: IpAddr, now: Timestamp) -> Option<&mut Bucket> {
        if self.destinations.len() >= MAX_DESTINATIONS && !self.destinations.contains_key(&destination) {
            self.destinations.retain(|_, bucket| !bucket.is_full(DESTINATION, now));
            if self.destinations.len() >= MAX_DESTINATIONS {
                return None;
            }
        }
        Some(self.destinations.entry(destination).or_insert_with(|| Bucket::full(DESTINATION, now)))
    }
}

impl Bucket {
    const fn full(rate: Rate, now: Timestamp) -> Bucket {
        Bucket { millitokens: rate.burst * 1000, filled: now }
    }

    fn fill(&mut self, rate: Rate, now: Timestamp) {
        let millis = now.as_millis().saturating_sub(self.filled.as_millis());
        self.millitokens =
            self.millitokens.saturating_add(millis.saturating_mul(rate.per_second)).min(rate.burst * 1000);
        self.filled = now;
    }

    fn is_full(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.fill(rate, now);
        self.millitokens == rate.burst * 1000
    }

    fn has_token(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.fill(rate, now);
        self.millitokens >= 1000
    }

    fn take(&mut self, rate: Rate, now: Timestamp) -> bool {
        let has = self.has_token(rate, now);
        self.millitokens -= if has { 1000 } else { 0 };
        has
    }
}

/// Linux `icmp_msgs_per_sec` and `icmp_msgs_burst`.
const GLOBAL: Rate = Rate { per_second: 1000, burst: 50 };
/// Linux `icmp_ratelimit`, and the burst that its peers' buckets have (G7).
const DESTINATION: Rate = Rate { per_second: 1, burst: 6 };
const MAX_DESTINATIONS: usize = 4096;
