//! Counters of the name server.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was counted. `questions` is the sum of what became of them, and of those that are being forwarded now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DnsStats {
    /// Datagrams and messages received.
    pub questions: u64,
    /// Answered from a network's names.
    pub answered: u64,
    /// Answered: no such name, though it would be one of a network.
    pub missing: u64,
    /// Answered by an upstream.
    pub forwarded: u64,
    /// Of these, together with an earlier one that asked the same.
    pub joined: u64,
    /// No upstream answered, or there is none.
    pub unanswered: u64,
    /// Refused: malformed, or of a kind that is not answered.
    pub refused: u64,
    /// Not answered: no question at all.
    pub ignored: u64,
    /// Not answered or refused, for a client asked too much.
    pub limited: u64,
    /// Connections closed at once, for a client had too many.
    pub connections_refused: u64,
    /// Upstreams that did not answer in time or could not be reached.
    pub upstream_failures: u64,
}

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
        }
    }
}
