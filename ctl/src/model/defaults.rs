//! What the operator decided for all networks and containers: the meaning of Docker's daemon.json, as far as it speaks of
//! networks.

use std::net::IpAddr;

use super::{Family, NetworkOptions};
use crate::ipam::pools::Pool;

/// Settings that hold where a network or a container does not say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// The network `bridge`.
    pub bridge: BridgeWish,
    /// Where automatic subnets come from; those of a family that has none here come from the built-in pools.
    pub pools: Vec<Pool>,
    /// Resolvers of containers.
    pub dns: DnsDefaults,
    /// The network of containers that name none, instead of `bridge`.
    pub network: Option<String>,
}

impl Defaults {
    /// The network of containers that name none.
    #[must_use]
    pub fn network(&self) -> &str {
        self.network.as_deref().unwrap_or("bridge")
    }
}

/// How the network `bridge` should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeWish {
    /// Automatic, or as `bip` and `fixed-cidr` say.
    pub ipv4: Family,
    /// Off, automatic, or as `fixed-cidr-v6` says.
    pub ipv6: Family,
    /// `mtu` and `icc`.
    pub options: NetworkOptions,
}

impl Default for BridgeWish {
    fn default() -> Self {
        BridgeWish { ipv4: Family::Automatic, ipv6: Family::Off, options: NetworkOptions::default() }
    }
}

/// Resolvers of containers that name none; what is empty here comes from the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsDefaults {
    /// Nameservers.
    pub servers: Vec<IpAddr>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options of resolv.conf.
    pub options: Vec<String>,
}
