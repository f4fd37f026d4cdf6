//! Counters of the name server.

use std::sync::atomic::{AtomicU64, Ordering};

use vswitch_api::stats::DnsStats;

/// One counter.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) questions: Counter,
    pub(super) answered: Counter,
    pub(super) missing: Counter,
    pub(super) forwarded: Counter,
    pub(super) joined: Counter,
    pub(super) unanswered: Counter,
    pub(super) refused: Counter,
    pub(super) ignored: Counter,
    pub(super) limited: Counter,
    pub(super) connections_refused: Counter,
    pub(super) upstream_failures: Counter,
}

impl Counters {
    pub(super) fn read(&self) -> DnsStats {
        DnsStats {
            questions: self.questions.value(),
            answered: self.answered.value(),
            missing: self.missing.value(),
            forwarded: self.forwarded.value(),
            joined: self.joined.value(),
            unanswered: self.unanswered.value(),
            refused: self.refused.value(),
            ignored: self.ignored.value(),
            limited: self.limited.value(),
            connections_refused: self.connections_refused.value(),
            upstream_failures: self.upstream_failures.value(),
            ..DnsStats::default()
        }
    }
}
