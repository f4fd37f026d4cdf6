//! Which remote a station is behind.
//!
//! Entries lie in a slab, found by a map from MAC address to slot. Learned ones are bounded by a capacity of their own;
//! when it is reached, a hand that goes round the slab looks at a few learned entries and takes the place of the one that
//! was silent longest. Entries from control are never pushed out, never age and never move by themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use foldhash::fast::RandomState;
use vswitch_frame::MacAddr;

use crate::Origin;
use crate::remote::Remote;

/// Learned entries among which the one to push out is chosen.
const CANDIDATES: usize = 8;

/// One station's place.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) mac: MacAddr,
    pub(crate) remote: Arc<Remote>,
    pub(crate) origin: Origin,
    /// Second of the last frame from it.
    pub(crate) seen: AtomicU32,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Stations {
    slots: Vec<Option<Station>>,
    free: Vec<usize>,
    by_mac: HashMap<MacAddr, usize, RandomState>,
    learned: usize,
    hand: usize,
}

/// What came of learning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Learned {
    /// A new entry; `evicted`: in the place of another.
    New { evicted: bool },
    /// The station moved here.
    Moved,
    /// It was known to be here.
    Same,
}

impl Stations {
    #[inline]
    pub(crate) fn find(&self, mac: MacAddr) -> Option<&Station> {
        self.by_mac.get(&mac).and_then(|&slot| self.slots[slot].as_ref())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Station> {
        self.slots.iter().flatten()
    }

    /// Learned entries, and those from control.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.learned, self.by_mac.len() - self.learned)
    }

    /// A frame from `mac` came from `remote`, and no entry from control says otherwise.
    pub(crate) fn learn(&mut self, mac: MacAddr, remote: &Arc<Remote>, now: u32, capacity: usize) -> Learned {
        if let Some(&slot) = self.by_mac.get(&mac)
            && let Some(station) = &mut self.slots[slot]
        {
            station.seen.store(now, Relaxed);
            if Arc::ptr_eq(&station.remote, remote) || station.origin != Origin::Learned {
                return Learned::Same;
            }
            station.remote = Arc::clone(remote);
            return Learned::Moved;
        }
        let evicted = self.learned >= capacity && self.evict();
        self.insert(Station { mac, remote: Arc::clone(remote), origin: Origin::Learned, seen: AtomicU32::new(now) });
        Learned::New { evicted }
    }

    /// Puts an entry, in the place of what was there for its address; returns that.
    pub(crate) fn insert(&mut self, station: Station) -> Option<Station> {
        let before = self.remove(station.mac);
        self.learned += usize::from(station.origin == Origin::Learned);
        let mac = station.mac;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(station);
        self.by_mac.insert(mac, slot);
        before
    }

    pub(crate) fn remove(&mut self, mac: MacAddr) -> Option<Station> {
        let slot = self.by_mac.remove(&mac)?;
        let station = self.slots[slot].take()?;
        self.free.push(slot);
        self.learned -= usize::from(station.origin == Origin::Learned);
        Some(station)
    }

    /// Removes the learned entries that `doomed` says and returns how many there were.
    pub(crate) fn forget(&mut self, doomed: impl Fn(&Station) -> bool) -> usize {
        let goes = |station: &&Station| station.origin == Origin::Learned && doomed(station);
        let macs: Vec<_> = self.iter().filter(goes).map(|station| station.mac).collect();
        for &mac in &macs {
            self.remove(mac);
        }
        macs.len()
    }

    /// Removes the learned entry that was silent longest among the next few; `false` when there is none.
    fn evict(&mut self) -> bool {
        let mut oldest: Option<(u32, MacAddr)> = None;
        let mut looked_at = 0;
        for _ in 0..self.slots.len() {
            self.hand = (self.hand + 1) % self.slots.len();
            let Some(station) = self.slots[self.hand].as_ref().filter(|one| one.origin == Origin::Learned) else {
                continue;
            };
            let seen = station.seen.load(Relaxed);
            if oldest.is_none_or(|(least, _)| seen < least) {
                oldest = Some((seen, station.mac));
            }
            looked_at += 1;
            if looked_at == CANDIDATES {
                break;
            }
        }
        oldest.is_some_and(|(_, mac)| self.remove(mac).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: u64) -> MacAddr {
        MacAddr::from_u64(0x0242_0000_0000 + number)
    }

    fn remote(last: u8) -> Arc<Remote> {
        Arc::new(Remote::new([192, 0, 2, last].into()))
    }

    /// A full table takes the place of the entry that was silent longest, and never of one from control.
    #[test]
    fn eviction() {
        let (mut table, here) = (Stations::default(), remote(1));
        let bound = Station { mac: mac(99), remote: remote(2), origin: Origin::Static, seen: AtomicU32::new(0) };
        assert!(table.insert(bound).is_none());
        for number in 0..4 {
            let at = 10 + u32::try_from(number).unwrap();
            assert_eq!(table.learn(mac(number), &here, at, 4), Learned::New { evicted: false });
        }
        assert_eq!(table.learn(mac(0), &here, 50, 4), Learned::Same);
        assert_eq!(table.learn(mac(4), &here, 51, 4), Learned::New { evicted: true });
        assert!(table.find(mac(1)).is_none(), "seen at 11, before all others");
        assert!([0, 2, 3, 4, 99].into_iter().all(|number| table.find(mac(number)).is_some()));
        assert_eq!(table.counts(), (4, 1));
    }

    /// However many addresses come, learned entries stay within the capacity, and slots are used again.
    #[test]
    fn bounded() {
        let (mut table, here) = (Stations::default(), remote(1));
        for number in 0..10_000 {
            table.learn(mac(number), &here, 0, 100);
        }
        assert_eq!((table.counts(), table.slots.len()), ((100, 0), 100));
        assert_eq!(table.forget(|_| true), 100);
        assert_eq!(table.counts(), (0, 0));
    }
}
