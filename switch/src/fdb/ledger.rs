//! Who holds how many entries of the FDB, and in which order they came.

use std::collections::{BTreeSet, HashSet, VecDeque};

use vswitch_frame::PortId;

use super::FdbKey;

/// The slow path's bookkeeping. It mirrors the map; the caller keeps both in step under one mutex.
#[derive(Debug)]
pub(super) struct Ledger {
    capacity: usize,
    entries: usize,
    ports: Vec<PortLedger>,
    /// Ports that hold learned entries, by how many.
    by_count: BTreeSet<(usize, PortId)>,
}

#[derive(Debug, Default)]
struct PortLedger {
    learned: usize,
    limit: Option<usize>,
    /// Keys with the second they were queued, oldest first. A key that was removed or moved away stays until it is
    /// met or the queue is compacted.
    queue: VecDeque<(FdbKey, u32)>,
    /// Entries that stay, sticky ones among them.
    statics: Vec<FdbKey>,
    /// Learned addresses stay; so many did.
    sticky: Option<usize>,
}

impl Ledger {
    pub(super) fn new(capacity: usize) -> Self {
        Ledger { capacity, entries: 0, ports: Vec::new(), by_count: BTreeSet::new() }
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) const fn entries(&self) -> usize {
        self.entries
    }

    pub(super) const fn full(&self) -> bool {
        self.entries >= self.capacity
    }

    pub(super) fn at_limit(&self, port: PortId) -> bool {
        let held = |p: &PortLedger| p.learned + p.sticky.unwrap_or(0);
        self.ports.get(port.index()).is_some_and(|p| p.limit.is_some_and(|limit| held(p) >= limit))
    }

    /// Whether what is learned at `port` stays.
    pub(super) fn is_sticky(&self, port: PortId) -> bool {
        self.ports.get(port.index()).is_some_and(|p| p.sticky.is_some())
    }

    /// Says whether what is learned at `port`, which holds nothing learned now, stays from now on.
    pub(super) fn stick(&mut self, port: PortId, sticky: bool) {
        self.port(port).sticky = sticky.then_some(0);
    }

    pub(super) fn add_sticky(&mut self, port: PortId, key: FdbKey) {
        self.add_static(port, key);
        self.port(port).sticky.iter_mut().for_each(|held| *held += 1);
    }

    pub(super) fn forget_sticky(&mut self, port: PortId, key: FdbKey) {
        self.forget_static(port, key);
        self.port(port).sticky.iter_mut().for_each(|held| *held = held.saturating_sub(1));
    }

    pub(super) fn limit(&mut self, port: PortId, limit: Option<usize>) {
        self.port(port).limit = limit;
    }

    pub(super) fn count_of(&self, port: PortId) -> usize {
        self.ports.get(port.index()).map_or(0, |p| p.learned + p.statics.len())
    }

    pub(super) fn add(&mut self, port: PortId, key: FdbKey, now: u32) {
        self.entries += 1;
        let ledger = self.port(port);
        ledger.queue.push_back((key, now));
        let count = ledger.learned;
        ledger.learned += 1;
        self.by_count.remove(&(count, port));
        self.by_count.insert((count + 1, port));
    }

    /// One learned entry of `port` is gone.
    pub(super) fn forget(&mut self, port: PortId) {
        self.entries -= 1;
        let count = self.port(port).learned;
        self.port(port).learned -= 1;
        self.by_count.remove(&(count, port));
        if count > 1 {
            self.by_count.insert((count - 1, port));
        } else {
            self.port(port).queue.clear();
        }
    }

    pub(super) fn add_static(&mut self, port: PortId, key: FdbKey) {
        self.entries += 1;
        self.port(port).statics.push(key);
    }

    pub(super) fn forget_static(&mut self, port: PortId, key: FdbKey) {
        self.entries -= 1;
        self.port(port).statics.retain(|&other| other != key);
    }

    /// Takes the oldest queued key of the port that holds most learned entries, with the second it was queued.
    pub(super) fn oldest_of_largest(&mut self) -> Option<(PortId, FdbKey, u32)> {
        let &(_, port) = self.by_count.last()?;
        let (key, queued) = self.port(port).queue.pop_front()?;
        Some((port, key, queued))
    }

    pub(super) fn queue_again(&mut self, port: PortId, key: FdbKey, now: u32) {
        self.port(port).queue.push_back((key, now));
    }

    /// Keys that may point at `port`.
    pub(super) fn keys_of(&mut self, port: PortId) -> Vec<FdbKey> {
        let ledger = self.port(port);
        ledger.queue.iter().map(|&(key, _)| key).chain(ledger.statics.iter().copied()).collect()
    }

    pub(super) fn wants_compaction(&self, port: PortId) -> bool {
        self.ports.get(port.index()).is_some_and(|p| p.queue.len() > 2 * p.learned + 64)
    }

    /// Drops the queued keys that are not `current`, and repeated ones.
    pub(super) fn compact(&mut self, port: PortId, current: impl Fn(FdbKey) -> bool) {
        let mut met = HashSet::new();
        self.port(port).queue.retain(|&(key, _)| current(key) && met.insert(key));
    }

    fn port(&mut self, port: PortId) -> &mut PortLedger {
        if self.ports.len() <= port.index() {
            self.ports.resize_with(port.index() + 1, PortLedger::default);
        }
        &mut self.ports[port.index()]
    }
}
