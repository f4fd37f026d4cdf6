//! The networks inside, and which address is in which.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vswitch_frame::NetworkIndex;

use super::RulesError;
use crate::tuple::mapped;

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
}

/// All subnets, sorted and disjoint.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Vec<Place>);

impl Places {
    pub(super) fn new(networks: &[NetworkSpec]) -> Result<Places, RulesError> {
        let mut places = Vec::new();
        for network in networks {
            for subnet in &network.subnets {
                if let Some(gateway) = subnet.gateway
                    && !network.subnets.iter().any(|piece| piece.net.contains(&gateway))
                {
                    return Err(RulesError::GatewayOutside { gateway, subnet: subnet.net });
                }
                places.push(Place {
                    first: mapped(subnet.net.network()),
                    last: mapped(subnet.net.broadcast()),
                    net: subnet.net,
                    network: network.index,
                    gateway: subnet.gateway,
                    translation: subnet.translation,
                    reach: network.reach,
                });
            }
        }
        places.sort_unstable_by_key(|place| place.first);
        match places.windows(2).find(|pair| pair[0].last >= pair[1].first) {
            Some(pair) => Err(RulesError::Overlap(pair[0].net, pair[1].net)),
            None => Ok(Places(places)),
        }
    }

    #[inline]
    pub(super) fn of(&self, address: IpAddr) -> Option<&Place> {
        let address = mapped(address);
        let behind = self.0.partition_point(|place| place.first <= address);
        self.0[..behind].last().filter(|place| address <= place.last)
    }

    pub(super) fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().filter_map(|place| place.gateway)
    }
}
