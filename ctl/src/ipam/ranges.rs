//! A set of addresses, kept as ranges that neither touch nor overlap.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A set of numbers; see [`number`] for how an address becomes one. IPv4 and IPv6 do not go into the same set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// First to last number of each range.
    by_start: BTreeMap<u128, u128>,
}

impl Ranges {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Ranges { by_start: BTreeMap::new() }
    }

    /// Whether `value` is in the set.
    #[must_use]
    pub fn contains(&self, value: u128) -> bool {
        self.overlaps(value, value)
    }

    /// Whether any number of `first..=last` is in the set.
    #[must_use]
    pub fn overlaps(&self, first: u128, last: u128) -> bool {
        self.by_start.range(..=last).next_back().is_some_and(|(_, &end)| end >= first)
    }

    /// Adds `first..=last`, merging it with what it touches.
    pub fn insert(&mut self, first: u128, last: u128) {
        let (mut start, mut end) = (first, last);
        while let Some((&old_start, &old_end)) = self.by_start.range(..=end.saturating_add(1)).next_back() {
            if old_end.saturating_add(1) < start {
                break;
            }
            self.by_start.remove(&old_start);
            start = start.min(old_start);
            end = end.max(old_end);
        }
        self.by_start.insert(start, end);
    }

    /// Adds all addresses of `net`.
    pub fn insert_net(&mut self, net: IpNet) {
        let (first, last) = bounds(net);
        self.insert(first, last);
    }

    /// Takes one number out. Returns whether it was there.
    pub fn remove(&mut self, value: u128) -> bool {
        let Some((&start, &end)) = self.by_start.range(..=value).next_back() else { return false };
        if end < value {
            return false;
        }
        self.by_start.remove(&start);
        if start < value {
            self.by_start.insert(start, value - 1);
        }
        if value < end {
            self.by_start.insert(value + 1, end);
        }
        true
    }

    /// The lowest number of `first..=last` that is not in the set.
    #[must_use]
    pub fn lowest_free(&self, first: u128, last: u128) -> Option<u128> {
        // Ranges never touch, so the number after the range that holds `first` is free.
        let candidate = match self.by_start.range(..=first).next_back() {
            Some((_, &end)) if end >= first => end.checked_add(1)?,
            _ => first,
        };
        (candidate <= last).then_some(candidate)
    }

    /// The end of the last range that meets `first..=last`.
    #[must_use]
    pub fn end_of(&self, first: u128, last: u128) -> Option<u128> {
        self.by_start.range(..=last).next_back().filter(|(_, end)| **end >= first).map(|(_, &end)| end)
    }
}

/// The address as a number.
#[must_use]
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of the same family as `like` with this number.
#[must_use]
pub(super) fn address(value: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => {
            IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(value).expect("ranges of IPv4 subnets stay below 2^32")))
        }
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(value)),
    }
}

/// First and last address of `net`.
#[must_use]
pub(super) fn bounds(net: IpNet) -> (u128, u128) {
    let last = match net {
        IpNet::V4(v4) => IpAddr::V4(v4.broadcast()),
        IpNet::V6(v6) => IpAddr::V6(v6.broadcast()),
    };
    (number(net.network()), number(last))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is inserted and removed, the set answers as a plain set of numbers does and its ranges never touch.
        #[test]
        fn behaves_as_a_set(steps in proptest::collection::vec((any::<bool>(), 0u128..40, 0u128..6), 0..60)) {
            let mut ranges = Ranges::new();
            let mut model = BTreeSet::new();
            for (add, first, length) in steps {
                if add {
                    ranges.insert(first, first + length);
                    model.extend(first..=first + length);
                } else {
                    prop_assert_eq!(ranges.remove(first), model.remove(&first));
                }
                for value in 0..50 {
                    prop_assert_eq!(ranges.contains(value), model.contains(&value));
                }
                for start in 0..50u128 {
                    let free = (start..=45).find(|value| !model.contains(value));
                    prop_assert_eq!(ranges.lowest_free(start, 45), free);
                    prop_assert_eq!(ranges.overlaps(start, start + 3), (start..=start + 3).any(|v| model.contains(&v)));
                }
                let edges: Vec<_> = ranges.by_start.iter().collect();
                prop_assert!(edges.windows(2).all(|pair| *pair[0].1 + 1 < *pair[1].0));
            }
        }
    }

    /// The ends of the IPv6 space neither overflow nor wrap.
    #[test]
    fn the_ends_of_the_space() {
        let mut ranges = Ranges::new();
        ranges.insert(u128::MAX - 1, u128::MAX);
        ranges.insert(0, 1);
        assert_eq!(ranges.lowest_free(u128::MAX - 1, u128::MAX), None);
        assert_eq!(ranges.lowest_free(0, 5), Some(2));
        assert!(ranges.remove(u128::MAX));
        assert_eq!(ranges.lowest_free(u128::MAX - 1, u128::MAX), Some(u128::MAX));
    }
}
