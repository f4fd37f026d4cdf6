//! The forwarding database: which port a station is behind. IEEE 802.1Q clause 8.8; the design follows what Open
//! vSwitch's `lib/mac-learning.h` teaches.
//!
//! One table serves all networks and all workers: the key is the network and the MAC address. Two paths lead to it.
//!
//! - The fast path, taken by every frame: is the source known where it is, and where is the destination? A sharded map
//!   is read; a [`Cache`] of each worker's own in front of it spares even that while nothing changes.
//! - The slow path, taken by new, moved and removed addresses: one mutex guards the [`Ledger`], which counts the entries
//!   of each port, so that the table stays within its capacity and a full table takes room from the port that holds most.
//!   A station that floods random addresses thus pushes out its own.
//!
//! An entry that was not seen for the ageing time is treated as unknown at once and removed by the next
//! [`Fdb::sweep`]. Time is an argument everywhere, in whole seconds: entries are stamped at most once a second.

mod cache;
mod domains;
mod ledger;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use dashmap::DashMap;
use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use std::sync::{Mutex, MutexGuard};
use vswitch_frame::{DropReason, MacAddr, NetworkIndex, PortId, Timestamp, VlanId};

pub use cache::Cache;
use domains::Domains;
pub(crate) use domains::FIRST as FIRST_VLAN;
use ledger::Ledger;

use crate::shared::{lock, wide};
use crate::{FdbEntry, FdbKind, FdbStats, Settings};

/// A network and a MAC address in one integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FdbKey(u64);

impl FdbKey {
    /// The key of `mac` in `network`.
    #[inline]
    #[must_use]
    pub const fn new(network: NetworkIndex, mac: MacAddr) -> Self {
        FdbKey((network.value() as u64) << 48 | mac.to_u64())
    }

    const fn mac(self) -> MacAddr {
        MacAddr::from_u64(self.0)
    }

    const fn domain(self) -> NetworkIndex {
        NetworkIndex::new((self.0 >> 48) as u16)
    }

    /// A well-spread number for direct-mapped tables.
    const fn spread(self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
    }
}

/// What is known of one station.
#[derive(Debug)]
struct Entry {
    port: PortId,
    kind: FdbKind,
    /// Second of the last frame from it.
    seen: AtomicU32,
    /// Moves within second `moves_at`.
    moves: u32,
    moves_at: u32,
    /// The loop guard holds it in place until this second.
    damped_until: u32,
}

impl Entry {
    fn learned(port: PortId, now: u32) -> Self {
        Entry { port, kind: FdbKind::Learned, seen: AtomicU32::new(now), moves: 0, moves_at: now, damped_until: 0 }
    }

    fn expired(&self, now: u32, ageing: u32) -> bool {
        self.kind == FdbKind::Learned && now.saturating_sub(self.seen.load(Relaxed)) >= ageing
    }
}

/// The table. See the module's documentation.
#[derive(Debug)]
pub struct Fdb {
    map: DashMap<FdbKey, Entry, SeedableRandomState>,
    ledger: Mutex<Ledger>,
    /// The numbers of VLANs.
    domains: Domains,
    /// Counts the changes that a cached answer may not survive.
    epoch: AtomicU64,
    ageing: u32,
    guard_moves: u32,
    guard_seconds: u32,
    learned: AtomicU64,
    moved: AtomicU64,
    aged: AtomicU64,
    evicted: AtomicU64,
    limited: AtomicU64,
    damped: AtomicU64,
}

/// Expired entries removed under one lock, so that learning never waits long for a sweep.
const SWEEP_CHUNK: usize = 256;

impl Fdb {
    /// An empty table with the bounds of `settings`.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let seconds = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let hasher = match settings.seed {
            Some(seed) => SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            None => SeedableRandomState::random(),
        };
        Fdb {
            map: DashMap::with_hasher(hasher),
            ledger: Mutex::new(Ledger::new(settings.fdb_capacity)),
            domains: Domains::default(),
            epoch: AtomicU64::new(1),
            ageing: seconds(settings.fdb_ageing_seconds).max(1),
            guard_moves: settings.loop_guard_moves,
            guard_seconds: seconds(settings.loop_guard_seconds),
            learned: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            aged: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            limited: AtomicU64::new(0),
            damped: AtomicU64::new(0),
        }
    }

    /// The number under which stations of a VLAN of a network are known, as those of its default one are under the network's; `None`
    /// when all numbers are in use.
    #[must_use]
    pub fn domain(&self, network: NetworkIndex, vlan: VlanId) -> Option<NetworkIndex> {
        self.domains.of(network, vlan)
    }

    fn is_in(&self, key: FdbKey, network: NetworkIndex) -> bool {
        self.domains.owner(key.domain()).0 == network
    }

    /// Where `key` is, if that is known and not too old.
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: FdbKey, now: Timestamp) -> Option<PortId> {
        let entry = self.map.get(&key)?;
        (!entry.expired(now.as_secs(), self.ageing)).then_some(entry.port)
    }

    /// Takes note that `key` sent a frame into `port`.
    ///
    /// # Errors
    /// The reason to drop that frame: a static entry or the loop guard binds the address to another port.
    #[inline]
    pub fn learn(&self, key: FdbKey, port: PortId, now: Timestamp) -> Result<(), DropReason> {
        let now = now.as_secs();
        if let Some(entry) = self.map.get(&key)
            && entry.port == port
        {
            if entry.seen.load(Relaxed) != now {
                entry.seen.store(now, Relaxed);
            }
            return Ok(());
        }
        self.learn_slowly(key, port, now)
    }

    #[cold]
    fn learn_slowly(&self, key: FdbKey, port: PortId, now: u32) -> Result<(), DropReason> {
        let mut ledger = self.ledger();
        let Some(mut entry) = self.map.get_mut(&key) else {
            let sticky = ledger.is_sticky(port);
            if ledger.at_limit(port) || (ledger.full() && !self.evict(&mut ledger)) {
                self.limited.fetch_add(1, Relaxed);
                if sticky {
                    return Err(DropReason::MacViolation);
                }
            } else if sticky {
                self.map.insert(key, Entry { kind: FdbKind::Sticky, ..Entry::learned(port, now) });
                ledger.add_sticky(port, key);
                self.learned.fetch_add(1, Relaxed);
            } else {
                self.map.insert(key, Entry::learned(port, now));
                ledger.add(port, key, now);
                self.compact(&mut ledger, port);
                self.learned.fetch_add(1, Relaxed);
            }
            return Ok(());
        };
        if entry.port == port {
            entry.seen.store(now, Relaxed);
            return Ok(());
        }
        match entry.kind {
            FdbKind::Static => return Err(DropReason::StaticEntry),
            FdbKind::Sticky => return Err(DropReason::MacViolation),
            FdbKind::Learned => {}
        }
        if now < entry.damped_until {
            return Err(DropReason::LoopGuard);
        }
        if entry.moves_at != now {
            (entry.moves_at, entry.moves) = (now, 0);
        }
        entry.moves += 1;
        if entry.moves > self.guard_moves {
            entry.damped_until = now.saturating_add(self.guard_seconds);
            self.damped.fetch_add(1, Relaxed);
            return Err(DropReason::LoopGuard);
        }
        let sticky = ledger.is_sticky(port);
        if ledger.at_limit(port) {
            self.limited.fetch_add(1, Relaxed);
            return if sticky { Err(DropReason::MacViolation) } else { Ok(()) };
        }
        let old = std::mem::replace(&mut entry.port, port);
        entry.seen.store(now, Relaxed);
        if sticky {
            entry.kind = FdbKind::Sticky;
        }
        drop(entry);
        ledger.forget(old);
        if sticky {
            ledger.add_sticky(port, key);
        } else {
            ledger.add(port, key, now);
            self.compact(&mut ledger, port);
        }
        self.moved.fetch_add(1, Relaxed);
        self.changed();
        Ok(())
    }

    /// Binds `mac` to `port` until [`Fdb::remove`]; `false` when the table is full of static entries.
    pub fn add_static(&self, network: NetworkIndex, mac: MacAddr, port: PortId) -> bool {
        let key = FdbKey::new(network, mac);
        let mut ledger = self.ledger();
        self.take_out(&mut ledger, key);
        if ledger.full() && !self.evict(&mut ledger) {
            return false;
        }
        self.map.insert(key, Entry { kind: FdbKind::Static, ..Entry::learned(port, 0) });
        ledger.add_static(port, key);
        self.changed();
        true
    }

    /// Removes one entry of either kind; `false` when there is none.
    pub fn remove(&self, network: NetworkIndex, mac: MacAddr) -> bool {
        let mut ledger = self.ledger();
        let take_out = |domain| self.take_out(&mut ledger, FdbKey::new(domain, mac));
        let removed = self.domains.all_of(network).into_iter().map(take_out).filter(|removed| *removed).count() > 0;
        self.changed();
        removed
    }

    /// Removes the learned entries of a network and returns how many there were.
    pub fn flush_network(&self, network: NetworkIndex) -> usize {
        self.remove_all(|key, entry| self.is_in(key, network) && entry.kind == FdbKind::Learned)
    }

    /// Removes every entry of a network, static ones too.
    pub fn forget_network(&self, network: NetworkIndex) {
        self.remove_all(|key, _| self.is_in(key, network));
        self.domains.forget(network);
    }

    /// Sets the most learned addresses behind `port`.
    pub fn limit_port(&self, port: PortId, limit: Option<usize>) {
        self.ledger().limit(port, limit);
    }

    /// Removes what was learned at `port`.
    pub fn flush_port(&self, port: PortId) {
        let mut ledger = self.ledger();
        for key in ledger.keys_of(port) {
            if self.map.get(&key).is_some_and(|entry| entry.port == port && entry.kind != FdbKind::Static) {
                self.take_out(&mut ledger, key);
            }
        }
        self.changed();
    }

    /// Says whether the addresses learned behind `port` stay there. What it has learned so far is learned anew.
    pub fn stick_port(&self, port: PortId, sticky: bool) {
        if self.ledger().is_sticky(port) != sticky {
            self.flush_port(port);
            self.ledger().stick(port, sticky);
        }
    }

    /// Removes every entry that points at `port`, static ones too, and its limit.
    pub fn forget_port(&self, port: PortId) {
        let mut ledger = self.ledger();
        for key in ledger.keys_of(port) {
            if self.map.get(&key).is_some_and(|entry| entry.port == port) {
                self.take_out(&mut ledger, key);
            }
        }
        ledger.limit(port, None);
        ledger.stick(port, false);
        self.changed();
    }

    /// Removes the entries that grew too old.
    pub fn sweep(&self, now: Timestamp) {
        let now = now.as_secs();
        let removed = self.remove_all(|_, entry| entry.expired(now, self.ageing));
        self.aged.fetch_add(wide(removed), Relaxed);
    }

    /// The entries of a network, by MAC address.
    #[must_use]
    pub fn entries(&self, network: NetworkIndex, now: Timestamp) -> Vec<FdbEntry> {
        let now = now.as_secs();
        let current =
            self.map.iter().filter(|item| self.is_in(*item.key(), network) && !item.expired(now, self.ageing));
        let mut entries: Vec<_> = current
            .map(|item| FdbEntry {
                mac: item.key().mac(),
                vlan: self.domains.owner(item.key().domain()).1,
                port: item.port,
                kind: item.kind,
                age_seconds: (item.kind == FdbKind::Learned)
                    .then(|| u64::from(now.saturating_sub(item.seen.load(Relaxed)))),
            })
            .collect();
        entries.sort_unstable_by_key(|entry| entry.mac);
        entries
    }

    /// Entries that point at `port`.
    #[must_use]
    pub fn count_of(&self, port: PortId) -> usize {
        self.ledger().count_of(port)
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> FdbStats {
        let (entries, capacity) = {
            let ledger = self.ledger();
            (ledger.entries(), ledger.capacity())
        };
        FdbStats {
            entries: wide(entries),
            capacity: wide(capacity),
            learned: self.learned.load(Relaxed),
            moved: self.moved.load(Relaxed),
            aged: self.aged.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            limited: self.limited.load(Relaxed),
            damped: self.damped.load(Relaxed),
        }
    }

    /// Removes what `doomed` says, in chunks, and returns how many.
    fn remove_all(&self, doomed: impl Fn(FdbKey, &Entry) -> bool) -> usize {
        let keys: Vec<_> =
            self.map.iter().filter(|item| doomed(*item.key(), item.value())).map(|item| *item.key()).collect();
        let mut removed = 0;
        for chunk in keys.chunks(SWEEP_CHUNK) {
            let mut ledger = self.ledger();
            for &key in chunk {
                // It may have been seen or moved since.
                if self.map.get(&key).is_some_and(|entry| doomed(key, &entry)) && self.take_out(&mut ledger, key) {
                    removed += 1;
                }
            }
        }
        if removed > 0 {
            self.changed();
        }
        removed
    }

    fn take_out(&self, ledger: &mut Ledger, key: FdbKey) -> bool {
        let Some((_, entry)) = self.map.remove(&key) else { return false };
        match entry.kind {
            FdbKind::Learned => ledger.forget(entry.port),
            FdbKind::Static => ledger.forget_static(entry.port, key),
            FdbKind::Sticky => ledger.forget_sticky(entry.port, key),
        }
        true
    }

    /// Makes room: takes the oldest entry of the port that holds most, giving one seen since it was queued a second
    /// chance. `false` when only static entries are left.
    fn evict(&self, ledger: &mut Ledger) -> bool {
        let mut chances = 8;
        while let Some((port, key, queued)) = ledger.oldest_of_largest() {
            let seen = match self.map.get(&key) {
                Some(entry) if entry.port == port && entry.kind == FdbKind::Learned => entry.seen.load(Relaxed),
                _ => continue,
            };
            if seen > queued && chances > 0 {
                chances -= 1;
                ledger.queue_again(port, key, seen);
                continue;
            }
            self.take_out(ledger, key);
            self.evicted.fetch_add(1, Relaxed);
            self.changed();
            return true;
        }
        false
    }

    fn compact(&self, ledger: &mut Ledger, port: PortId) {
        if ledger.wants_compaction(port) {
            let current = |key| self.map.get(&key).is_some_and(|entry| entry.port == port);
            ledger.compact(port, current);
        }
    }

    fn changed(&self) {
        self.epoch.fetch_add(1, std::sync::atomic::Ordering::Release);
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(std::sync::atomic::Ordering::Acquire)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }
}

#[cfg(test)]
mod tests;
