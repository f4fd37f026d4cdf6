//! The names of one network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use ipnet::IpNet;

/// Somebody on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// All its names; the first one is its canonical one.
    pub names: Vec<&'a str>,
    /// Its addresses on this network.
    pub addresses: Vec<IpAddr>,
}

/// The names of one network at one moment. Names are compared without regard to case.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    forward: HashMap<Box<str>, Vec<IpAddr>>,
    reverse: HashMap<IpAddr, Names>,
    subnets: Vec<IpNet>,
    joined: Vec<Joined>,
}

/// A network that another one is joined with, as the other's members see it: by `name.network` alone.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its name in lower case.
    pub name: Box<str>,
    /// Its names. Two networks that are joined know each other, and neither shall keep the other.
    pub zone: Weak<ZoneCell>,
    /// Whether packets of these families pass, IPv4 and IPv6.
    pub families: [bool; 2],
}

/// The names of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The canonical one, with the network's behind it.
    pub canonical: Box<str>,
    /// All, each once, as they are.
    pub all: Vec<Box<str>>,
}

/// Where a network's present zone is found.
pub type ZoneCell = ArcSwap<Zone>;

impl Zone {
    /// The zone of a network called `network`.
    #[must_use]
    pub fn new<'a>(
        network: &str,
        subnets: impl Iterator<Item = IpNet>,
        members: impl Iterator<Item = Member<'a>>,
    ) -> Self {
        let mut zone = Zone { subnets: subnets.collect(), ..Zone::default() };
        for member in members {
            for name in &member.names {
                let addresses = zone.forward.entry(name.to_ascii_lowercase().into()).or_default();
                for address in &member.addresses {
                    if !addresses.contains(address) {
                        addresses.push(*address);
                    }
                }
            }
            if let Some(name) = member.names.first() {
                let mut names = Names { canonical: format!("{name}.{network}").into(), all: Vec::new() };
                for name in &member.names {
                    if !names.all.iter().any(|other| **other == **name) {
                        names.all.push((*name).into());
                    }
                }
                zone.reverse.extend(member.addresses.iter().map(|address| (*address, names.clone())));
            }
        }
        zone
    }

    /// An empty cell.
    #[must_use]
    pub fn cell() -> Arc<ZoneCell> {
        Arc::new(ArcSwap::from_pointee(Zone::default()))
    }

    /// With the names of networks that this one is joined with.
    #[must_use]
    pub fn joined_with(mut self, joined: Vec<Joined>) -> Self {
        self.joined = joined;
        self
    }

    /// The networks that this one is joined with.
    #[must_use]
    pub fn joined(&self) -> &[Joined] {
        &self.joined
    }

    /// The addresses of a name in lower case; `None` if nobody has it.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.forward.get(name).map(Vec::as_slice)
    }

    /// Who has an address.
    #[must_use]
    pub fn names(&self, address: IpAddr) -> Option<&Names> {
        self.reverse.get(&address)
    }

    /// Whether an address belongs to the network, whoever has it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|net| net.contains(&address))
    }
}

impl Joined {
    /// The addresses by which a name `bare.network` in lower case is reached from the other network.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let bare = name.strip_suffix(&*self.name)?.strip_suffix('.')?;
        let zone = self.zone.upgrade()?.load_full();
        Some(zone.addresses(bare)?.iter().copied().filter(|address| self.passes(*address)).collect())
    }

    /// What is known of an address, if it belongs to the network and packets pass there.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<Option<Names>> {
        let zone = self.zone.upgrade()?.load_full();
        (zone.contains(address) && self.passes(address)).then(|| zone.names(address).cloned())
    }

    fn passes(&self, address: IpAddr) -> bool {
        self.families[usize::from(address.is_ipv6())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member<'a>(names: &[&'a str], addresses: &[&str]) -> Member<'a> {
        Member { names: names.to_vec(), addresses: addresses.iter().map(|text| text.parse().unwrap()).collect() }
    }

    /// Every name leads to its addresses, a shared one to those of all, and each address back to its names.
    #[test]
    fn forward_and_reverse() {
        let members = [
            member(&["Web", "abc", "front"], &["10.0.0.2", "fd00::2"]),
            member(&["db", "def", "front", "front"], &["10.0.0.3"]),
            member(&["silent"], &[]),
        ];
        let zone = Zone::new("red", ["10.0.0.0/24".parse().unwrap()].into_iter(), members.into_iter());
        let of = |name| zone.addresses(name).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of("web").unwrap(), ["10.0.0.2", "fd00::2"]);
        assert_eq!(of("front").unwrap(), ["10.0.0.2", "fd00::2", "10.0.0.3"]);
        assert_eq!(of("silent").unwrap().len(), 0);
        assert_eq!(of("nobody"), None);
        assert_eq!(*zone.names("fd00::2".parse().unwrap()).unwrap().canonical, *"Web.red");
        let db = zone.names("10.0.0.3".parse().unwrap()).unwrap();
        assert_eq!(db.all.iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["db", "def", "front"]);
        assert_eq!(zone.names("10.0.0.9".parse().unwrap()), None);
        assert!(zone.contains("10.0.0.9".parse().unwrap()) && !zone.contains("10.0.1.1".parse().unwrap()));
    }
}
