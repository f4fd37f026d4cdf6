//! Who holds how much of a bounded table, and what of it was idle longest.
//!
//! What is bounded is bounded by endpoint: a container that has two addresses, or is on two networks, has one share. Where a
//! table is full, whoever holds most makes room, with what it has not used for longest; so nobody can take what others need.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use vswitch_frame::NetworkIndex;

/// Whose something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// An endpoint, or a container with several, by the number that control gave it.
    Endpoint(u64),
    /// Stations of a network that control knows no addresses of, together: whoever may use any address there gets no more by it.
    Network(IpNet),
    /// An address of no subnet that control named, in one of several networks that may have the same ones.
    Address(Option<NetworkIndex>, IpAddr),
}

/// Whose each address inside is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    endpoints: BTreeMap<(Option<NetworkIndex>, IpAddr), u64>,
    networks: Vec<IpNet>,
}

impl Owners {
    /// Says which networks are inside.
    pub fn set_networks(&mut self, networks: Vec<IpNet>) {
        self.networks = networks;
    }

    /// Says whose an address is. Equal numbers share what they hold. The network counts where several are served that may have the
    /// same addresses.
    pub fn assign(&mut self, network: Option<NetworkIndex>, address: IpAddr, endpoint: u64) {
        self.endpoints.insert((network, address), endpoint);
    }

    /// An address that is nobody's any more.
    pub fn forget(&mut self, network: Option<NetworkIndex>, address: IpAddr) {
        self.endpoints.remove(&(network, address));
    }

    /// Whose an address is.
    #[must_use]
    pub fn of(&self, network: Option<NetworkIndex>, address: IpAddr) -> Owner {
        if let Some(&endpoint) = self.endpoints.get(&(network, address)) {
            return Owner::Endpoint(endpoint);
        }
        let subnet = self.networks.iter().find(|net| net.contains(&address));
        subnet.map_or(Owner::Address(network, address), |&net| Owner::Network(net))
    }
}

/// What everybody holds, each with a key whose order is that in which things go: the least first.
#[derive(Debug, Clone)]
pub(super) struct Shares<K> {
    held: BTreeMap<Owner, BTreeSet<K>>,
    /// The same owners by how much they hold.
    sizes: BTreeSet<(usize, Owner)>,
    len: usize,
}

impl<K: Ord + Copy> Shares<K> {
    pub(super) const fn new() -> Self {
        Shares { held: BTreeMap::new(), sizes: BTreeSet::new(), len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// How much somebody holds.
    pub(super) fn of(&self, owner: Owner) -> usize {
        self.held.get(&owner).map_or(0, BTreeSet::len)
    }

    pub(super) fn insert(&mut self, owner: Owner, key: K) {
        let held = self.held.entry(owner).or_default();
        let before = held.len();
        if held.insert(key) {
            self.len += 1;
            self.sizes.remove(&(before, owner));
            self.sizes.insert((before + 1, owner));
        }
    }

    pub(super) fn remove(&mut self, owner: Owner, key: &K) {
        let Some(held) = self.held.get_mut(&owner) else { return };
        let before = held.len();
        if held.remove(key) {
            self.len -= 1;
            self.sizes.remove(&(before, owner));
            if before == 1 {
                self.held.remove(&owner);
            } else {
                self.sizes.insert((before - 1, owner));
            }
        }
    }

    /// Files something under another key; how much its owner holds stays.
    pub(super) fn renew(&mut self, owner: Owner, old: &K, new: K) {
        if let Some(held) = self.held.get_mut(&owner)
            && held.remove(old)
        {
            held.insert(new);
        }
    }

    /// What of somebody's goes first.
    pub(super) fn first(&self, owner: Owner) -> Option<K> {
        self.held.get(&owner)?.first().copied()
    }

    /// Who holds most.
    pub(super) fn greatest(&self) -> Option<Owner> {
        self.sizes.last().map(|(_, owner)| *owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// All addresses of an endpoint are one owner; those that nobody was given are their network's together.
    #[test]
    fn owners() {
        let mut owners = Owners::default();
        owners.set_networks(vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()]);
        owners.assign(None, address("10.0.0.2"), 7);
        owners.assign(None, address("fd00::2"), 7);
        assert_eq!(owners.of(None, address("10.0.0.2")), owners.of(None, address("fd00::2")));
        assert_eq!(owners.of(None, address("fd00::3")), owners.of(None, address("fd00::4")));
        assert_ne!(owners.of(None, address("fd00::3")), owners.of(None, address("10.0.0.3")));
        assert_ne!(owners.of(None, address("10.9.0.2")), owners.of(None, address("10.9.0.3")));
        owners.forget(None, address("fd00::2"));
        assert_eq!(owners.of(None, address("fd00::2")), owners.of(None, address("fd00::3")));
    }

    proptest! {
        /// Against a plain list: counts, the first of each and the greatest are what a look at everything says.
        #[test]
        fn agrees_with_a_list(steps in proptest::collection::vec((0u8..3, 0u64..4, 0u32..8), 1..200)) {
            let (mut shares, mut list) = (Shares::new(), BTreeSet::new());
            for (what, number, key) in steps {
                let owner = Owner::Endpoint(number);
                match what {
                    0 => {
                        shares.insert(owner, key);
                        list.insert((number, key));
                    }
                    1 => {
                        shares.remove(owner, &key);
                        list.remove(&(number, key));
                    }
                    _ if !list.contains(&(number, key + 1)) => {
                        shares.renew(owner, &key, key + 1);
                        if list.remove(&(number, key)) {
                            list.insert((number, key + 1));
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(shares.len(), list.len());
                let mut most = 0;
                for number in 0..4 {
                    let own: Vec<u32> = list.iter().filter(|one| one.0 == number).map(|one| one.1).collect();
                    prop_assert_eq!(shares.of(Owner::Endpoint(number)), own.len());
                    prop_assert_eq!(shares.first(Owner::Endpoint(number)), own.first().copied());
                    most = most.max(own.len());
                }
                prop_assert_eq!(shares.greatest().map_or(0, |owner| shares.of(owner)), most);
            }
        }
    }
}
