//! One overlay network: who takes part, who is where, what was counted.
//!
//! Workers and control share it. A worker takes a [`View`] for a burst that it sends, and asks [`Overlay::heard`] for
//! frames that come; only a new or moved station takes the lock for writing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use vswitch_frame::{MacAddr, Timestamp, Vni};

use crate::drop::{DropCounters, TunnelDrop};
use crate::remote::{Remote, RemoteStats};
use crate::spec::{EntrySpec, Learning, Origin, OverlayError, OverlaySpec, check_remote};
use crate::stations::{Learned, Station, Stations};

/// Most remotes of one network's flood list: each costs a copy of every flooded frame.
pub const MAX_REMOTES: usize = 1024;
/// Most entries from control.
pub const MAX_ENTRIES: usize = 65_536;

/// One overlay network.
#[derive(Debug)]
pub struct Overlay {
    spec: OverlaySpec,
    tables: RwLock<Tables>,
    /// Packets of this network that were dropped.
    pub drops: DropCounters,
    counts: Counts,
    /// The longest inner packet that fits the paths to all remotes; `u32::MAX`: not known.
    path_limit: AtomicU32,
}

#[derive(Debug, Default)]
struct Tables {
    known: HashMap<IpAddr, Known, RandomState>,
    flood: Vec<Arc<Remote>>,
    stations: Stations,
    bindings: HashMap<IpAddr, MacAddr, RandomState>,
}

/// A believed remote and why it is one.
#[derive(Debug)]
struct Known {
    remote: Arc<Remote>,
    listed: bool,
    /// Entries from control that name it.
    bound: usize,
}

#[derive(Debug, Default)]
struct Counts {
    learned: AtomicU64,
    moved: AtomicU64,
    aged: AtomicU64,
    evicted: AtomicU64,
    suppressed: AtomicU64,
    coalesced: AtomicU64,
    too_big: AtomicU64,
}

/// What an overlay counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayStats {
    /// Its number on the wire.
    pub vni: Vni,
    /// Its remotes, by address.
    pub remotes: Vec<RemoteStats>,
    /// Learned entries now.
    pub learned_entries: u64,
    /// Most learned entries.
    pub capacity: u64,
    /// Entries from control now.
    pub bound_entries: u64,
    /// Stations learned.
    pub learned: u64,
    /// Stations that moved to another remote.
    pub moved: u64,
    /// Learned entries that grew too old.
    pub aged: u64,
    /// Learned entries pushed out by newer ones.
    pub evicted: u64,
    /// Questions for addresses (ARP, ND) that were answered here instead of being flooded.
    pub suppressed: u64,
    /// Received TCP segments that were joined to the one before.
    pub coalesced: u64,
    /// Packets too long for the network or the path, answered with an ICMP error.
    pub too_big: u64,
    /// Drops: reason and count, those that happened.
    pub drops: Vec<(TunnelDrop, u64)>,
}

/// Where one station is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayEntry {
    /// The station.
    pub mac: MacAddr,
    /// Its IP addresses, as far as control said them.
    pub addresses: Vec<IpAddr>,
    /// The VTEP that it is behind.
    pub remote: IpAddr,
    /// Who says so.
    pub origin: Origin,
    /// Seconds since it was heard of; `None` for entries from control.
    pub age_seconds: Option<u64>,
}

/// An IP address that now belongs to another station: local neighbours should be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebound {
    /// The IP address.
    pub address: IpAddr,
    /// Whose it is now.
    pub mac: MacAddr,
}

impl Overlay {
    /// A network without remotes, for a VTEP at `local`.
    ///
    /// # Errors
    /// When the specification breaks a rule.
    pub fn new(spec: OverlaySpec, local: IpAddr) -> Result<Self, OverlayError> {
        spec.check(local)?;
        Ok(Overlay {
            spec,
            tables: RwLock::default(),
            drops: DropCounters::default(),
            counts: Counts::default(),
            path_limit: AtomicU32::new(u32::MAX),
        })
    }

    /// What control said.
    #[must_use]
    pub const fn spec(&self) -> &OverlaySpec {
        &self.spec
    }

    /// Puts a remote on the flood list; `false` when it is there already.
    ///
    /// # Errors
    /// When the address cannot be a remote, or the list is full.
    pub fn add_remote(&self, address: IpAddr, local: IpAddr) -> Result<bool, OverlayError> {
        check_remote(address, local)?;
        let mut tables = self.write();
        if tables.flood.iter().any(|remote| remote.address == address) {
            return Ok(false);
        }
        if tables.flood.len() >= MAX_REMOTES {
            return Err(OverlayError::TooManyRemotes(MAX_REMOTES));
        }
        let known = tables.know(address);
        known.listed = true;
        let remote = Arc::clone(&known.remote);
        tables.flood.push(remote);
        Ok(true)
    }

    /// Takes a remote off the flood list, and what was learned from it out of the table; `false` when it is not there.
    /// Entries from control that name it stay, and it stays believed for them.
    pub fn remove_remote(&self, address: IpAddr) -> bool {
        let mut tables = self.write();
        let Some(known) = tables.known.get_mut(&address).filter(|known| known.listed) else { return false };
        known.listed = false;
        tables.flood.retain(|remote| remote.address != address);
        tables.stations.forget(|station| station.remote.address == address);
        tables.release(address);
        self.renew_path_limit(&tables);
        true
    }

    /// Puts an entry in the place of what was known of its station, and returns the IP addresses that changed hands.
    ///
    /// # Errors
    /// When the entry breaks a rule, one of its addresses belongs to a static entry, or the table is full.
    pub fn put_entry(&self, entry: &EntrySpec, local: IpAddr) -> Result<Vec<Rebound>, OverlayError> {
        entry.check(local)?;
        let mut tables = self.write();
        let mut taken_over = Vec::new();
        for &address in &entry.addresses {
            let Some(&mac) = tables.bindings.get(&address).filter(|&&mac| mac != entry.mac) else { continue };
            let fixed = tables.stations.find(mac).is_some_and(|station| station.origin == Origin::Static);
            // A control plane may reuse an address; of two people's entries neither may silently win.
            if fixed || entry.origin == Origin::Static {
                return Err(OverlayError::AddressTaken { address, mac });
            }
            taken_over.push(Rebound { address, mac: entry.mac });
        }
        let known = tables.stations.find(entry.mac).is_some_and(|station| station.origin != Origin::Learned);
        if !known && tables.stations.counts().1 >= MAX_ENTRIES {
            return Err(OverlayError::TooManyEntries(MAX_ENTRIES));
        }
        tables.unbind(entry.mac);
        let known = tables.know(entry.remote);
        known.bound += 1;
        let remote = Arc::clone(&known.remote);
        tables.stations.insert(Station { mac: entry.mac, remote, origin: entry.origin, seen: AtomicU32::new(0) });
        for &address in &entry.addresses {
            tables.bindings.insert(address, entry.mac);
        }
        Ok(taken_over)
    }

    /// Removes an entry of any kind; `false` when there is none.
    pub fn remove_entry(&self, mac: MacAddr) -> bool {
        let mut tables = self.write();
        let removed = tables.unbind(mac) || tables.stations.remove(mac).is_some();
        self.renew_path_limit(&tables);
        removed
    }

    /// Removes what was learned and returns how many entries there were.
    pub fn flush(&self) -> usize {
        self.write().stations.forget(|_| true)
    }

    /// Whether `local` may become this host's VTEP address.
    ///
    /// # Errors
    /// When a remote or the specification speaks against it.
    pub fn check_local(&self, local: IpAddr) -> Result<(), OverlayError> {
        self.spec.check(local)?;
        let tables = self.read();
        let mut addresses: Vec<_> = tables.known.keys().copied().collect();
        addresses.sort_unstable();
        addresses.into_iter().try_for_each(|remote| check_remote(remote, local))
    }

    /// The tables for one burst. Nobody can change them while it is held.
    #[inline]
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View(self.read())
    }

    /// The remote with this address, if it is believed.
    #[must_use]
    pub fn remote(&self, address: IpAddr) -> Option<Arc<Remote>> {
        self.read().known.get(&address).map(|known| Arc::clone(&known.remote))
    }

    /// Every believed remote's address, sorted.
    #[must_use]
    pub fn remotes(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<_> = self.read().known.keys().copied().collect();
        addresses.sort_unstable();
        addresses
    }

    /// Takes note that a frame from `mac` came from `remote`.
    ///
    /// # Errors
    /// [`TunnelDrop::BoundElsewhere`] when an entry from control says that the station is elsewhere (V24).
    #[inline]
    pub fn heard(&self, mac: MacAddr, remote: &Arc<Remote>, now: Timestamp) -> Result<(), TunnelDrop> {
        let second = now.as_secs();
        let tables = self.read();
        match tables.stations.find(mac) {
            Some(station) if station.remote.address == remote.address => {
                if station.seen.load(Relaxed) != second {
                    station.seen.store(second, Relaxed);
                }
                return Ok(());
            }
            Some(station) if station.origin != Origin::Learned => return Err(TunnelDrop::BoundElsewhere),
            _ if self.spec.learning == Learning::Off => return Ok(()),
            _ => drop(tables),
        }
        self.learn(mac, remote, second);
        Ok(())
    }

    #[cold]
    fn learn(&self, mac: MacAddr, remote: &Arc<Remote>, second: u32) {
        let mut tables = self.write();
        // It may have been removed since the packet was accepted.
        if !tables.known.get(&remote.address).is_some_and(|known| Arc::ptr_eq(&known.remote, remote)) {
            return;
        }
        match tables.stations.learn(mac, remote, second, self.spec.capacity) {
            Learned::New { evicted } => {
                self.counts.learned.fetch_add(1, Relaxed);
                self.counts.evicted.fetch_add(u64::from(evicted), Relaxed);
            }
            Learned::Moved => {
                self.counts.moved.fetch_add(1, Relaxed);
            }
            Learned::Same => {}
        }
    }

    /// Forgets the learned entries whose stations were silent for the ageing time (V25: what is sent to them does not
    /// keep them).
    pub fn sweep(&self, now: Timestamp) {
        let (now, ageing) = (now.as_secs(), self.spec.ageing_seconds);
        let old = |station: &Station| now.saturating_sub(station.seen.load(Relaxed)) >= ageing;
        if self.read().stations.iter().any(|station| station.origin == Origin::Learned && old(station)) {
            let aged = self.write().stations.forget(old);
            self.counts.aged.fetch_add(u64::try_from(aged).unwrap_or(u64::MAX), Relaxed);
        }
    }

    /// Says what the underlay's path MTU towards a remote is, in bytes.
    pub fn set_path_mtu(&self, address: IpAddr, mtu: u32) {
        let tables = self.read();
        if tables.known.get(&address).is_some_and(|known| known.remote.set_path_mtu(mtu)) {
            self.renew_path_limit(&tables);
        }
    }

    fn renew_path_limit(&self, tables: &Tables) {
        let limit = tables.known.values().filter_map(|known| known.remote.inner_mtu()).min();
        self.path_limit.store(limit.unwrap_or(u32::MAX), Relaxed);
    }

    /// The longest inner IP packet that fits the paths to all remotes, in bytes; `u32::MAX` while that is not known.
    #[inline]
    #[must_use]
    pub fn path_limit(&self) -> u32 {
        self.path_limit.load(Relaxed)
    }

    /// Whose an IP address is, as far as control said it.
    #[must_use]
    pub fn binding(&self, address: IpAddr) -> Option<MacAddr> {
        self.read().bindings.get(&address).copied()
    }

    /// A question was answered here.
    pub fn count_suppressed(&self) {
        self.counts.suppressed.fetch_add(1, Relaxed);
    }

    /// Received segments were joined to others.
    pub fn count_coalesced(&self, segments: u64) {
        self.counts.coalesced.fetch_add(segments, Relaxed);
    }

    /// A packet was answered because it is too long.
    pub fn count_too_big(&self) {
        self.counts.too_big.fetch_add(1, Relaxed);
    }

    /// Every entry, by MAC address.
    #[must_use]
    pub fn entries(&self, now: Timestamp) -> Vec<OverlayEntry> {
        let tables = self.read();
        let mut addresses: HashMap<MacAddr, Vec<IpAddr>, RandomState> = HashMap::default();
        for (&address, &mac) in &tables.bindings {
            addresses.entry(mac).or_default().push(address);
        }
        let age = |station: &Station| u64::from(now.as_secs().saturating_sub(station.seen.load(Relaxed)));
        let mut entries: Vec<_> = tables
            .stations
            .iter()
            .map(|station| OverlayEntry {
                mac: station.mac,
                addresses: addresses.remove(&station.mac).unwrap_or_default(),
                remote: station.remote.address,
                origin: station.origin,
                age_seconds: (station.origin == Origin::Learned).then(|| age(station)),
            })
            .collect();
        entries.sort_unstable_by_key(|entry| entry.mac);
        entries.iter_mut().for_each(|entry| entry.addresses.sort_unstable());
        entries
    }

    /// Everything that is counted.
    #[must_use]
    pub fn stats(&self, now: Timestamp) -> OverlayStats {
        let tables = self.read();
        let mut remotes: Vec<_> = tables.known.values().map(|known| known.remote.stats(known.listed, now)).collect();
        remotes.sort_unstable_by_key(|remote| remote.address);
        let (learned, bound) = tables.stations.counts();
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        OverlayStats {
            vni: self.spec.vni,
            remotes,
            learned_entries: wide(learned),
            capacity: wide(self.spec.capacity),
            bound_entries: wide(bound),
            learned: self.counts.learned.load(Relaxed),
            moved: self.counts.moved.load(Relaxed),
            aged: self.counts.aged.load(Relaxed),
            evicted: self.counts.evicted.load(Relaxed),
            suppressed: self.counts.suppressed.load(Relaxed),
            coalesced: self.counts.coalesced.load(Relaxed),
            too_big: self.counts.too_big.load(Relaxed),
            drops: self.drops.happened().collect(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn know(&mut self, address: IpAddr) -> &mut Known {
        let fresh = || Known { remote: Arc::new(Remote::new(address)), listed: false, bound: 0 };
        self.known.entry(address).or_insert_with(fresh)
    }

    /// Stops believing a remote that nothing names any more.
    fn release(&mut self, address: IpAddr) {
        if self.known.get(&address).is_some_and(|known| !known.listed && known.bound == 0) {
            self.known.remove(&address);
            self.stations.forget(|station| station.remote.address == address);
        }
    }

    /// Removes an entry from control with its addresses; `false` when there is none.
    fn unbind(&mut self, mac: MacAddr) -> bool {
        if self.stations.find(mac).is_none_or(|station| station.origin == Origin::Learned) {
            return false;
        }
        let Some(station) = self.stations.remove(mac) else { return false };
        self.bindings.retain(|_, owner| *owner != mac);
        if let Some(known) = self.known.get_mut(&station.remote.address) {
            known.bound -= 1;
        }
        self.release(station.remote.address);
        true
    }
}

/// The tables of an overlay, held still for one burst.
#[derive(Debug)]
pub struct View<'o>(RwLockReadGuard<'o, Tables>);

impl View<'_> {
    /// The remotes that a frame to `destination` goes to: the one that it is behind, or all of the flood list.
    #[inline]
    #[must_use]
    pub fn towards(&self, destination: MacAddr) -> &[Arc<Remote>] {
        if !destination.is_multicast()
            && let Some(station) = self.0.stations.find(destination)
        {
            return std::slice::from_ref(&station.remote);
        }
        &self.0.flood
    }
}
