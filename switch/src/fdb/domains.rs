//! Numbers for VLANs, so that one integer is a network, a VLAN and a MAC address (IEEE 802.1Q 8.8.8: a filtering identifier for each
//! VLAN). Those of networks are from zero on, those of VLANs from [`FIRST`] on.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::RwLock;

use vswitch_frame::{NetworkIndex, VlanId};

/// Networks have numbers below this.
pub(crate) const FIRST: u16 = 1 << 15;

/// Which number is whose. Given away when a VLAN is first used, taken back with its network.
#[derive(Debug, Default)]
pub(super) struct Domains(RwLock<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    by_vlan: BTreeMap<(NetworkIndex, VlanId), NetworkIndex>,
    owners: BTreeMap<NetworkIndex, (NetworkIndex, VlanId)>,
}

impl Domains {
    /// That of a VLAN of a network.
    pub(super) fn of(&self, network: NetworkIndex, vlan: VlanId) -> Option<NetworkIndex> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).by_vlan.get(&(network, vlan)).copied();
        known.or_else(|| {
            let mut numbers = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(&known) = numbers.by_vlan.get(&(network, vlan)) {
                return Some(known);
            }
            let last = numbers.owners.last_key_value().map_or(FIRST - 1, |(number, _)| number.value());
            let gap = || (FIRST..=u16::MAX).map(NetworkIndex::new).find(|number| !numbers.owners.contains_key(number));
            let number = last.checked_add(1).map(NetworkIndex::new).or_else(gap)?;
            numbers.by_vlan.insert((network, vlan), number);
            numbers.owners.insert(number, (network, vlan));
            Some(number)
        })
    }

    /// Whose a number is.
    pub(super) fn owner(&self, number: NetworkIndex) -> (NetworkIndex, Option<VlanId>) {
        if number.value() < FIRST {
            return (number, None);
        }
        let numbers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        numbers.owners.get(&number).map_or((number, None), |&(network, vlan)| (network, Some(vlan)))
    }

    /// All of a network, its own among them.
    pub(super) fn all_of(&self, network: NetworkIndex) -> Vec<NetworkIndex> {
        let numbers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let vlans = numbers.by_vlan.iter().filter(|((of, _), _)| *of == network).map(|(_, &number)| number);
        [network].into_iter().chain(vlans).collect()
    }

    /// Takes those of a network back, whose entries are gone.
    pub(super) fn forget(&self, network: NetworkIndex) {
        let mut numbers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        numbers.by_vlan.retain(|(of, _), _| *of != network);
        numbers.owners.retain(|_, (of, _)| *of != network);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each VLAN of each network has a number of its own, which goes back with the network; when none is left there is none.
    #[test]
    fn numbers() {
        let domains = Domains::default();
        let [one, two] = [1, 2].map(NetworkIndex::new);
        let vlan = |id| VlanId::new(id).unwrap();
        let first = domains.of(one, vlan(10)).unwrap();
        assert_eq!(domains.of(one, vlan(10)), Some(first));
        let others = [domains.of(one, vlan(20)).unwrap(), domains.of(two, vlan(10)).unwrap()];
        assert!(!others.contains(&first) && others[0] != others[1]);
        assert_eq!((domains.owner(first), domains.owner(two)), ((one, Some(vlan(10))), (two, None)));
        assert_eq!(domains.all_of(one), [one, first, others[0]]);
        domains.forget(one);
        assert_eq!(domains.all_of(one), [one]);
        let mut network = 100;
        while domains.of(NetworkIndex::new(network), vlan(1)).is_some() {
            network += 1;
        }
        assert_eq!(network - 100, FIRST - 1, "all but the one that is held");
        domains.forget(two);
        assert!(domains.of(one, vlan(10)).is_some());
    }
}
