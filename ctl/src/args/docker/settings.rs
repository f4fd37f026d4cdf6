//! dockerd's settings of networks, as written: one shape for the flags and for the file.

use std::str::FromStr;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The keys of `daemon.json` that speak of networks, and the flags of dockerd that go with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "As dockerd (each is a key of --config-file, too)")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DockerSettings {
    /// Address of the gateway and subnet of the network bridge [default: automatic]
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bip: Option<String>,
    /// The same for IPv6; needs --ipv6
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bip6: Option<String>,
    /// Where automatic IPv4 addresses of the network bridge come from
    #[arg(long, value_name = "CIDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_cidr: Option<String>,
    /// IPv6 subnet of the network bridge; needs --ipv6
    #[arg(long, value_name = "CIDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_cidr_v6: Option<String>,
    /// Largest IP packet on the network bridge [default: 1500]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<i64>,
    /// IPv4 router of containers on the network bridge, if it is not vswitchd; needs --bip or --fixed-cidr
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_gateway: Option<String>,
    /// The same for IPv6; needs --fixed-cidr-v6
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_gateway_v6: Option<String>,
    /// Replace source addresses on the way out of the network bridge [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_masq: Option<bool>,
    /// Address of the host for published ports that name none [default: all]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Option of networks of this driver that do not give it themselves (repeatable; in the file: default-network-opts)
    #[arg(long = "default-network-opt", value_name = "DRIVER=KEY=VALUE")]
    #[serde(skip_serializing_if = "Vec::is_empty", with = "by_driver")]
    pub default_network_opts: Vec<NetworkOptSetting>,
    /// Nameserver of containers that name none (repeatable) [default: the host's]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Search domain of containers that name none (repeatable) [default: the host's]
    #[arg(long, value_name = "DOMAIN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Option of resolv.conf in containers that name none (repeatable; in the file: dns-opts)
    #[arg(long = "dns-opt", value_name = "OPTION")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_opts: Vec<String>,
    /// Where automatic subnets come from (repeatable; in the file: default-address-pools) [default: Docker's pools]
    #[arg(long = "default-address-pool", value_name = "base=CIDR,size=LENGTH")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_address_pools: Vec<PoolSetting>,
    /// Whether containers on the network bridge may talk to each other [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icc: Option<bool>,
    /// Another network for containers that name none, made if there is none of that name [default: bridge]
    #[arg(long, short = 'b', value_name = "NETWORK")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// IPv6 on the network bridge [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<bool>,
    /// How much output of containers is kept that do not say: max-size=SIZE of a file, max-file=N (repeatable; in the file:
    /// log-opts) [default: max-size=10m, max-file=3]
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    #[serde(with = "options", skip_serializing_if = "Vec::is_empty")]
    pub log_opts: Vec<OptionSetting>,
    /// User namespaces for containers, with the subordinate ids of this user and group; root's daemon only, and default means
    /// the user dockremap [default: the host's users]
    #[arg(long, value_name = "default|USER[:GROUP]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userns_remap: Option<String>,
}

impl DockerSettings {
    /// These, and `others` where they say nothing.
    #[must_use]
    pub fn or(&self, others: &DockerSettings) -> DockerSettings {
        let mut all = others.said();
        all.extend(self.said());
        serde_json::from_value(Value::Object(all)).expect("both were such settings")
    }

    /// What they say, by key.
    pub(super) fn said(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }
}

/// The keys of the file that speak of networks.
pub(crate) const KEYS: [&str; 19] = [
    "bip",
    "bip6",
    "bridge",
    "default-address-pools",
    "default-gateway",
    "default-gateway-v6",
    "default-network-opts",
    "dns",
    "dns-opts",
    "dns-search",
    "fixed-cidr",
    "fixed-cidr-v6",
    "icc",
    "ip",
    "ip-masq",
    "ipv6",
    "log-opts",
    "mtu",
    "userns-remap",
];

/// One of `default-network-opts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOptSetting {
    /// Of networks of this driver.
    pub driver: String,
    /// The option.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl FromStr for NetworkOptSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '=');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(driver), Some(key), Some(value)) if !driver.is_empty() && !key.is_empty() => {
                Ok(NetworkOptSetting { driver: driver.to_owned(), key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(format!(
                "write DRIVER=KEY=VALUE such as bridge=com.docker.network.driver.mtu=1400 instead of {text}"
            )),
        }
    }
}

/// `{"bridge": {"com.docker.network.driver.mtu": "1400"}}`.
mod by_driver {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::NetworkOptSetting;

    type Drivers = BTreeMap<String, BTreeMap<String, String>>;

    pub(super) fn serialize<S: Serializer>(all: &[NetworkOptSetting], serializer: S) -> Result<S::Ok, S::Error> {
        let mut drivers = Drivers::new();
        for one in all {
            drivers.entry(one.driver.clone()).or_default().insert(one.key.clone(), one.value.clone());
        }
        drivers.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NetworkOptSetting>, D::Error> {
        let drivers = Drivers::deserialize(deserializer)?;
        let of = |(driver, options): (String, BTreeMap<String, String>)| {
            let one = move |(key, value)| NetworkOptSetting { driver: driver.clone(), key, value };
            options.into_iter().map(one).collect::<Vec<_>>()
        };
        Ok(drivers.into_iter().flat_map(of).collect())
    }
}

/// One of `default-address-pools`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSetting {
    /// CIDR.
    pub base: String,
    /// Prefix length of the subnets.
    pub size: u8,
}

impl FromStr for PoolSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("write base=CIDR,size=LENGTH such as base=10.200.0.0/16,size=24 instead of {text}");
        let (mut base, mut size) = (None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("base", value)) if base.is_none() => base = Some(value.to_owned()),
                Some(("size", value)) if size.is_none() => size = value.parse().ok(),
                _ => return Err(bad()),
            }
        }
        match (base, size) {
            (Some(base), Some(size)) => Ok(PoolSetting { base, size }),
            _ => Err(bad()),
        }
    }
}

/// One of `log-opts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionSetting {
    /// Before the `=`.
    pub key: String,
    /// Behind it.
    pub value: String,
}

impl FromStr for OptionSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("write KEY=VALUE such as max-size=10m instead of {text}");
        let (key, value) = text.split_once('=').ok_or_else(bad)?;
        Ok(OptionSetting { key: key.to_owned(), value: value.to_owned() })
    }
}

/// In the file they are an object of texts.
mod options {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::OptionSetting;

    pub(super) fn serialize<S: Serializer>(all: &[OptionSetting], to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(all.iter().map(|one| (&one.key, &one.value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<OptionSetting>, D::Error> {
        let all = BTreeMap::<String, String>::deserialize(from)?;
        Ok(all.into_iter().map(|(key, value)| OptionSetting { key, value }).collect())
    }
}
