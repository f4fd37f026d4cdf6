//! What the operator decided for all networks and containers: the meaning of Docker's daemon.json, as far as it speaks of
//! networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vswitch_api::network::NetworkCreate;

use super::{Family, NetworkOptions};
use crate::ipam::pools::Pool;
use crate::logfile::Limit;
use crate::userns::RemapWish;

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
    /// Where published ports are that name no address of the host.
    pub publish_host: Option<IpAddr>,
    /// Options, by driver, of networks that do not give them themselves.
    pub network_options: BTreeMap<String, BTreeMap<String, String>>,
    /// How much of a container's output is kept.
    pub log: Limit,
    /// Whose ids those of containers are; the same from the start to the end.
    pub remap: Option<RemapWish>,
}

impl Defaults {
    /// Gives a network that is to be made the options that it leaves open.
    pub fn complete(&self, wire: &mut NetworkCreate) {
        let driver = match wire.driver.as_str() {
            "" | "default" => "bridge",
            other => other,
        };
        // Whoever takes another network's settings over gets those alone.
        if let Some(options) = self.network_options.get(driver).filter(|_| wire.config_from.network.is_empty()) {
            for (key, value) in options {
                wire.options.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }

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

impl BridgeWish {
    /// Whether its addresses are left open.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        !matches!(self.ipv4, Family::Given(_)) && !matches!(self.ipv6, Family::Given(_))
    }
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
