//! Token buckets, by the segment: a super-frame costs what its segments would.

use vswitch_frame::segment::segment;
use vswitch_frame::{Packet, Timestamp};

use super::Limit;
use crate::shared::wide;

/// What a frame costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Frames on a wire.
    pub(crate) packets: u64,
    /// Bits of all of them, headers included.
    pub(crate) bits: u64,
}

impl Cost {
    /// Of a frame, each of a super-frame's segments with headers of its own.
    pub(crate) fn of(packet: &Packet<'_>) -> Cost {
        let bytes = packet.frame().len();
        let whole = (packet.offload().gso.is_some()).then(|| segment(packet).ok()).flatten();
        let (packets, bytes) = match whole {
            Some(segments) => (segments.count(), bytes + (segments.count() - 1) * segments.header_len()),
            None => (1, bytes),
        };
        Cost { packets: wide(packets), bits: wide(bytes) * 8 }
    }
}

/// A limit that is kept.
#[derive(Debug)]
pub(crate) struct Policer {
    packets: Option<Bucket>,
    bits: Option<Bucket>,
}

impl Policer {
    pub(crate) fn new(limit: Limit) -> Policer {
        Policer { packets: limit.packets.map(Bucket::new), bits: limit.bits.map(Bucket::new) }
    }

    /// Whether a frame may pass at `now`; if so, it is paid for.
    pub(crate) fn passes(&mut self, cost: Cost, now: Timestamp) -> bool {
        let mut buckets = [(&mut self.packets, cost.packets), (&mut self.bits, cost.bits)];
        let has_some = |bucket: &mut Option<Bucket>| bucket.as_mut().is_none_or(|bucket| bucket.has_some(now));
        // Both are asked, so that both are filled up.
        let pass = buckets.iter_mut().fold(true, |pass, (bucket, _)| has_some(bucket) && pass);
        if pass {
            for (bucket, cost) in &mut buckets {
                bucket.iter_mut().for_each(|bucket| bucket.take(*cost));
            }
        }
        pass
    }
}

/// A bucket that fills at a rate. While anything is in it a frame passes, whatever it costs, and what is missing is owed: thus a
/// super-frame that is larger than the bucket passes, too, and the rate holds in the long run.
#[derive(Debug)]
struct Bucket {
    /// Units a second, which is also thousandths of a unit a millisecond.
    rate: u64,
    /// Thousandths of a unit; below zero: owed.
    level: i64,
    full: i64,
    filled: Option<Timestamp>,
}

impl Bucket {
    fn new(rate: u64) -> Bucket {
        // A tenth of a second's worth, but one packet at least.
        let full = i64::try_from(rate.saturating_mul(1000) / DEPTH).unwrap_or(i64::MAX).max(1000);
        Bucket { rate, level: full, full, filled: None }
    }

    fn has_some(&mut self, now: Timestamp) -> bool {
        let passed = self.filled.map_or(0, |filled| now.as_millis().saturating_sub(filled.as_millis()));
        let more = i64::try_from(self.rate.saturating_mul(passed)).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(more).min(self.full);
        // Who has no clock at hand asks with an earlier one.
        self.filled = self.filled.max(Some(now));
        self.level > 0
    }

    fn take(&mut self, cost: u64) {
        self.level = self.level.saturating_sub(i64::try_from(cost.saturating_mul(1000)).unwrap_or(i64::MAX));
    }
}

/// A full bucket holds this part of what a second brings.
const DEPTH: u64 = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: Cost = Cost { packets: 1, bits: 12_000 };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// A tenth of a second passes at once, then the rate; packets and bits are limited apart and together.
    #[test]
    fn rates() {
        let passed = |limit: &str, at_millis: u64| {
            let mut policer = Policer::new(limit.parse().unwrap());
            let first = (0..1000).filter(|_| policer.passes(ONE, at(0))).count();
            (first, (0..1000).filter(|_| policer.passes(ONE, at(at_millis))).count())
        };
        assert_eq!(passed("100pps", 50), (10, 5));
        assert_eq!(passed("100pps", 10_000), (10, 10));
        assert_eq!(passed("1pps", 1000), (1, 1));
        assert_eq!(passed("1200kbit", 50), (10, 5));
        assert_eq!(passed("100pps,120kbit", 100), (1, 1));
    }

    /// What is larger than the bucket passes and is paid for afterwards.
    #[test]
    fn debts() {
        let mut policer = Policer::new("10pps".parse().unwrap());
        assert!(policer.passes(Cost { packets: 40, bits: 0 }, at(0)));
        assert!(!policer.passes(ONE, at(3_900)));
        assert!(policer.passes(ONE, at(4_000)));
    }

    proptest! {
        /// Over any time no more passes than the rate, the bucket and one frame.
        #[test]
        fn never_more(rate in 1u64..10_000, steps in prop::collection::vec((0u64..50, 1u64..60), 1..200)) {
            let mut policer = Policer::new(Limit { packets: Some(rate), bits: None });
            let (mut now, mut passed) = (0, 0);
            for (pause, packets) in steps {
                now += pause;
                if policer.passes(Cost { packets, bits: 0 }, at(now)) {
                    passed += packets;
                }
            }
            prop_assert!(passed <= rate * now / 1000 + (rate / DEPTH).max(1) + 60 + 1);
        }
    }
}
