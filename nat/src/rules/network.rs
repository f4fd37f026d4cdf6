//! The networks inside, and which address is in which.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vswitch_frame::NetworkIndex;

use super::{FurtherUplink, RulesError};
use crate::table::Leg;
use crate::tuple::{Zone, mapped};

/// Whether a network has a way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// It has.
    #[default]
    Uplink,
    /// It has none (`--internal`).
    Internal,
}

/// Whether sources of a subnet are replaced on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Translation {
    /// They are.
    #[default]
    Masquerade,
    /// They are not: the uplink's side has routes to the subnet (`masquerade=false`).
    Routed,
}

/// Who else has a network's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addresses {
    /// No other network that shares them.
    #[default]
    Shared,
    /// Whoever likes: they mean nothing beyond the network. Nothing is routed between it and others; published ports lead in.
    Own,
}

/// A network inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Which network of the switch this is.
    pub index: NetworkIndex,
    /// Its subnets, of either family.
    pub subnets: Vec<SubnetSpec>,
    /// Whether it has a way out.
    #[serde(default)]
    pub reach: Reach,
    /// Who else has its addresses.
    #[serde(default)]
    pub addresses: Addresses,
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetSpec {
    /// Its addresses.
    pub net: IpNet,
    /// The gateway leg's address in it, or in another subnet of its network.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Whether sources are replaced on the way out.
    #[serde(default)]
    pub translation: Translation,
}

/// A subnet, as lookups find it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    first: Ipv6Addr,
    last: Ipv6Addr,
    pub(crate) net: IpNet,
    pub(crate) network: NetworkIndex,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) translation: Translation,
    pub(crate) reach: Reach,
    /// By which it is left.
    pub(crate) uplink: Leg,
}

/// All subnets: those that share one zone, and of each network that has one of its own. Sorted, and disjoint within a zone.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    shared: Vec<Place>,
    /// By network.
    own: Vec<Option<Vec<Place>>>,
}

impl Places {
    pub(super) fn new(networks: &[NetworkSpec], further: &[FurtherUplink]) -> Result<Places, RulesError> {
        let mut places = Places::default();
        for network in networks {
            let of_network = places_of(network, uplink_of(network.index, further))?;
            match network.addresses {
                Addresses::Shared => places.shared.extend(of_network),
                Addresses::Own => {
                    let index = network.index.index();
                    if places.own.len() <= index {
                        places.own.resize_with(index + 1, || None);
                    }
                    places.own[index].get_or_insert_default().extend(of_network);
                }
            }
        }
        sort(&mut places.shared)?;
        places.own.iter_mut().flatten().try_for_each(|own| sort(own))?;
        Ok(places)
    }

    /// Whose addresses packets from and to a network have.
    #[inline]
    pub(super) fn zone_of(&self, network: NetworkIndex) -> Zone {
        match self.own.get(network.index()) {
            Some(Some(_)) => Zone::Own(network),
            _ => Zone::Shared,
        }
    }

    #[inline]
    pub(super) fn of(&self, zone: Zone, address: IpAddr) -> Option<&Place> {
        let places = match zone {
            Zone::Shared => &self.shared,
            Zone::Own(network) => self.own.get(network.index())?.as_ref()?,
        };
        let address = mapped(address);
        let behind = places.partition_point(|place| place.first <= address);
        places[..behind].last().filter(|place| address <= place.last)
    }

    /// The gateways, each with its zone.
    pub(super) fn gateways(&self) -> impl Iterator<Item = (Zone, IpAddr)> {
        let own = self.own.iter().flatten().flatten();
        self.shared.iter().chain(own).filter_map(|place| Some((self.zone_of(place.network), place.gateway?)))
    }
}

fn uplink_of(network: NetworkIndex, further: &[FurtherUplink]) -> Leg {
    let by = further.iter().position(|uplink| uplink.networks.contains(&network));
    by.and_then(|number| u8::try_from(number).ok()).map_or(Leg::Uplink, Leg::Further)
}

fn places_of(network: &NetworkSpec, uplink: Leg) -> Result<Vec<Place>, RulesError> {
    let place = |subnet: &SubnetSpec| {
        let is_inside = |gateway: &IpAddr| network.subnets.iter().any(|piece| piece.net.contains(gateway));
        if let Some(gateway) = subnet.gateway.filter(|gateway| !is_inside(gateway)) {
            return Err(RulesError::GatewayOutside { gateway, subnet: subnet.net });
        }
        Ok(Place {
            first: mapped(subnet.net.network()),
            last: mapped(subnet.net.broadcast()),
            net: subnet.net,
            network: network.index,
            gateway: subnet.gateway,
            translation: subnet.translation,
            reach: network.reach,
            uplink,
        })
    };
    network.subnets.iter().map(place).collect()
}

fn sort(places: &mut [Place]) -> Result<(), RulesError> {
    places.sort_unstable_by_key(|place| place.first);
    match places.windows(2).find(|pair| pair[0].last >= pair[1].first) {
        Some(pair) => Err(RulesError::Overlap(pair[0].net, pair[1].net)),
        None => Ok(()),
    }
}
