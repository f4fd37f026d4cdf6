//! Where remotes and entries come from.
//!
//! Control asks a [`ControlPlane`] from time to time what changed and carries it to its networks; it tells it in return
//! which endpoints are here. [`StaticControlPlane`] knows what people wrote into a file or typed. A store shared by all
//! hosts (leases, watches) fits the same trait: its watch fills the queue that [`ControlPlane::updates`] empties, and a
//! store that is out of reach has no updates, so that what is known stays (fail static).

use std::collections::BTreeMap;
use std::net::IpAddr;

use vswitch_frame::{MacAddr, Vni};

use crate::spec::{EntrySpec, Origin};

/// A change of what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// A remote joined a network.
    RemoteAdded(Vni, IpAddr),
    /// A remote left a network.
    RemoteRemoved(Vni, IpAddr),
    /// A station is where the entry says; in the place of what was known of it.
    EntryPut(Vni, EntrySpec),
    /// Nothing is known of a station any more.
    EntryRemoved(Vni, MacAddr),
}

/// An endpoint of this host, as other hosts should know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEndpoint {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IP addresses.
    pub addresses: Vec<IpAddr>,
}

/// A source of remotes and entries.
pub trait ControlPlane: Send {
    /// The kind of entries that it makes.
    fn origin(&self) -> Origin;

    /// What changed since the last call, oldest first. Does not wait.
    fn updates(&mut self) -> Vec<Update>;

    /// Everything that is known of a network now, as updates from nothing: for a network that was just made.
    fn known(&self, vni: Vni) -> Vec<Update>;

    /// Tells the other hosts that an endpoint is here. What cannot be told at once is kept and told later.
    fn publish(&mut self, vni: Vni, endpoint: LocalEndpoint);

    /// Tells the other hosts that an endpoint is not here any more.
    fn withdraw(&mut self, vni: Vni, mac: MacAddr);
}

/// What people said: remotes and entries that stay until they are taken back. It tells nobody.
#[derive(Debug, Default)]
pub struct StaticControlPlane {
    networks: BTreeMap<Vni, Said>,
    pending: Vec<Update>,
}

#[derive(Debug, Default)]
struct Said {
    remotes: Vec<IpAddr>,
    entries: BTreeMap<MacAddr, EntrySpec>,
}

impl StaticControlPlane {
    /// Adds a remote; `false` when it is there already.
    pub fn add_remote(&mut self, vni: Vni, remote: IpAddr) -> bool {
        let said = self.networks.entry(vni).or_default();
        let new = !said.remotes.contains(&remote);
        if new {
            said.remotes.push(remote);
            self.pending.push(Update::RemoteAdded(vni, remote));
        }
        new
    }

    /// Takes a remote back; `false` when there is none.
    pub fn remove_remote(&mut self, vni: Vni, remote: IpAddr) -> bool {
        let Some(said) = self.networks.get_mut(&vni) else { return false };
        let before = said.remotes.len();
        said.remotes.retain(|&known| known != remote);
        let removed = said.remotes.len() < before;
        if removed {
            self.pending.push(Update::RemoteRemoved(vni, remote));
        }
        removed
    }

    /// Puts an entry in the place of what was said of its station.
    pub fn put_entry(&mut self, vni: Vni, entry: EntrySpec) {
        let entry = EntrySpec { origin: Origin::Static, ..entry };
        self.networks.entry(vni).or_default().entries.insert(entry.mac, entry.clone());
        self.pending.push(Update::EntryPut(vni, entry));
    }

    /// Takes an entry back; `false` when there is none.
    pub fn remove_entry(&mut self, vni: Vni, mac: MacAddr) -> bool {
        let removed = self.networks.get_mut(&vni).is_some_and(|said| said.entries.remove(&mac).is_some());
        if removed {
            self.pending.push(Update::EntryRemoved(vni, mac));
        }
        removed
    }
}

impl ControlPlane for StaticControlPlane {
    fn origin(&self) -> Origin {
        Origin::Static
    }

    fn updates(&mut self) -> Vec<Update> {
        std::mem::take(&mut self.pending)
    }

    fn known(&self, vni: Vni) -> Vec<Update> {
        let Some(said) = self.networks.get(&vni) else { return Vec::new() };
        let remotes = said.remotes.iter().map(|&remote| Update::RemoteAdded(vni, remote));
        remotes.chain(said.entries.values().map(|entry| Update::EntryPut(vni, entry.clone()))).collect()
    }

    fn publish(&mut self, _: Vni, _: LocalEndpoint) {}

    fn withdraw(&mut self, _: Vni, _: MacAddr) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes come out once and in order; a network made later learns all that holds by then, and nothing that was
    /// taken back.
    #[test]
    fn updates_and_what_is_known() {
        let (vni, other) = (Vni::new(4097).unwrap(), Vni::new(4098).unwrap());
        let [a, b] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let entry = EntrySpec { mac, addresses: vec![[10, 0, 0, 2].into()], remote: a, origin: Origin::ControlPlane };
        let mut plane = StaticControlPlane::default();
        assert!(plane.add_remote(vni, a) && plane.add_remote(vni, b) && !plane.add_remote(vni, a));
        plane.put_entry(vni, entry.clone());
        assert!(plane.remove_remote(vni, b) && !plane.remove_remote(vni, b) && !plane.remove_remote(other, b));
        let entry = EntrySpec { origin: Origin::Static, ..entry };
        let [added, put] = [Update::RemoteAdded(vni, a), Update::EntryPut(vni, entry)];
        let all = [added.clone(), Update::RemoteAdded(vni, b), put.clone(), Update::RemoteRemoved(vni, b)];
        assert_eq!(plane.updates(), all);
        assert_eq!(plane.updates(), []);
        assert_eq!(plane.known(vni), [added.clone(), put]);
        assert_eq!(plane.known(other), []);
        assert!(plane.remove_entry(vni, mac) && !plane.remove_entry(vni, mac));
        assert_eq!(plane.updates(), [Update::EntryRemoved(vni, mac)]);
        assert_eq!(plane.known(vni), [added]);
    }
}
