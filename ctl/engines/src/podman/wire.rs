//! The words of podman and netavark, as far as they mean something here. Unknown fields are podman's business and kept.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What `netavark setup` and `netavark teardown` read.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Request {
    pub(super) container_id: String,
    pub(super) container_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) port_mappings: Option<Vec<PortMapping>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dns_servers: Option<Vec<IpAddr>>,
    pub(super) networks: Networks,
    pub(super) network_info: BTreeMap<String, Network>,
    #[serde(flatten)]
    pub(super) more: Map<String, Value>,
}

impl Request {
    /// Of a container of which nothing else is said.
    pub(super) fn of_one(container_id: String, container_name: String) -> Request {
        Request {
            container_id,
            container_name,
            port_mappings: None,
            dns_servers: None,
            networks: Networks::List(Vec::new()),
            network_info: BTreeMap::new(),
            more: Map::new(),
        }
    }
}

/// Up to podman 5 a map, from 6 on a list: the order counts.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Networks {
    Map(BTreeMap<String, NetworkOptions>),
    List(Vec<NamedOptions>),
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct NamedOptions {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) options: NetworkOptions,
}

impl Networks {
    /// Names and options, in order.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = (&str, &NetworkOptions)> + '_> {
        match self {
            Networks::Map(map) => Box::new(map.iter().map(|(name, options)| (name.as_str(), options))),
            Networks::List(list) => Box::new(list.iter().map(|one| (one.name.as_str(), &one.options))),
        }
    }

    /// Only those of these names.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        match self {
            Networks::Map(map) => map.retain(|name, _| keep(name)),
            Networks::List(list) => list.retain(|one| keep(&one.name)),
        }
    }
}

/// What a container wants of a network.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(super) struct NetworkOptions {
    pub(super) interface_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) static_ips: Option<Vec<IpAddr>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) static_mac: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) aliases: Option<Vec<String>>,
    #[serde(flatten)]
    pub(super) more: Map<String, Value>,
}

/// A network, as in its file.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) driver: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) network_interface: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subnets: Option<Vec<Subnet>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) routes: Option<Vec<Route>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) network_dns_servers: Option<Vec<IpAddr>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ipam_options: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) ipv6_enabled: bool,
    #[serde(default)]
    pub(super) internal: bool,
    #[serde(default)]
    pub(super) dns_enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) options: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    pub(super) more: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Subnet {
    pub(super) subnet: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease_range: Option<LeaseRange>,
    #[serde(flatten)]
    pub(super) more: Map<String, Value>,
}

impl Network {
    /// The value of an option.
    pub(super) fn option(&self, key: &str) -> Option<&str> {
        self.options.as_ref()?.get(key).map(String::as_str)
    }

    /// Who gives addresses: podman itself, if this is empty.
    pub(super) fn ipam_driver(&self) -> &str {
        self.ipam_options.as_ref().and_then(|options| options.get("driver")).map_or("", String::as_str)
    }
}

impl Subnet {
    /// One of which nothing else is said.
    pub(super) fn of(subnet: IpNet) -> Subnet {
        Subnet { subnet: subnet.to_string(), gateway: None, lease_range: None, more: Map::new() }
    }
}

/// Where podman gives addresses from.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct LeaseRange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end_ip: Option<IpAddr>,
}

/// A route of a network's containers.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Route {
    pub(super) destination: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) metric: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) route_type: Option<String>,
}

/// A published port or range of ports.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct PortMapping {
    #[serde(default)]
    pub(super) host_ip: String,
    pub(super) container_port: u16,
    #[serde(default)]
    pub(super) host_port: u16,
    #[serde(default)]
    pub(super) range: u16,
    #[serde(default)]
    pub(super) protocol: String,
}

impl PortMapping {
    /// The protocols that it is for.
    pub(super) fn protocols(&self) -> impl Iterator<Item = &str> {
        self.protocol.split(',').map(str::trim).map(|word| if word.is_empty() { "tcp" } else { word })
    }

    /// In Docker's words, one for each protocol.
    pub(super) fn texts(&self) -> Result<Vec<String>, String> {
        let range = |first: u16| {
            let last = first.checked_add(self.range.max(1) - 1);
            let last = last.ok_or_else(|| format!("{} ports from {first} on are more than there are", self.range))?;
            Ok::<_, String>(if last == first { first.to_string() } else { format!("{first}-{last}") })
        };
        let host = match self.host_ip.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:"),
            Ok(IpAddr::V4(address)) => format!("{address}:"),
            Err(_) if self.host_ip.is_empty() => String::new(),
            Err(_) => return Err(format!("invalid host ip {:?} provided for port {}", self.host_ip, self.host_port)),
        };
        let (outside, inside) = (range(self.host_port)?, range(self.container_port)?);
        Ok(self.protocols().map(|protocol| format!("{host}{outside}:{inside}/{protocol}")).collect())
    }
}

/// All of a container's, in Docker's words.
pub(super) fn publish(mappings: &[PortMapping]) -> Result<Vec<String>, String> {
    let texts: Result<Vec<_>, _> = mappings.iter().map(PortMapping::texts).collect();
    Ok(texts?.concat())
}

/// What `setup` answers for a network.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Status {
    pub(super) interfaces: BTreeMap<String, Interface>,
    pub(super) dns_server_ips: Vec<String>,
    pub(super) dns_search_domains: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Interface {
    pub(super) mac_address: String,
    pub(super) subnets: Vec<Assigned>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Assigned {
    pub(super) ipnet: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn mapping(json: &str) -> Result<Vec<String>, String> {
        serde_json::from_str::<PortMapping>(json).unwrap().texts()
    }

    /// Ranges, lists of protocols, addresses of both families, and what cannot be.
    #[test]
    fn published_ports() {
        let one = r#"{"host_ip":"","container_port":80,"host_port":8080,"range":1,"protocol":"tcp"}"#;
        assert_eq!(mapping(one).unwrap(), ["8080:80/tcp"]);
        let many = r#"{"host_ip":"::1","container_port":80,"host_port":8080,"range":3,"protocol":"tcp,udp"}"#;
        assert_eq!(mapping(many).unwrap(), ["[::1]:8080-8082:80-82/tcp", "[::1]:8080-8082:80-82/udp"]);
        assert!(mapping(r#"{"container_port":65535,"host_port":1,"range":2}"#).is_err());
        assert!(mapping(r#"{"host_ip":"x","container_port":1,"host_port":1}"#).is_err());
    }

    /// Networks come as a map or as a list, and what is not known goes on as it came.
    #[test]
    fn requests() {
        let info = r#""network_info":{"n":{"name":"n","id":"ab","driver":"bridge","network_interface":"podman1"}}"#;
        for networks in [r#"{"n":{"interface_name":"eth0","x":1}}"#, r#"[{"name":"n","interface_name":"eth0","x":1}]"#]
        {
            let text = format!(r#"{{"container_id":"c","container_name":"web","networks":{networks},{info},"y":2}}"#);
            let request: Request = serde_json::from_str(&text).unwrap();
            assert_eq!(request.networks.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["n"]);
            let again = serde_json::to_value(&request).unwrap();
            assert_eq!(again["y"], 2);
            assert_eq!(again["networks"], serde_json::from_str::<Value>(networks).unwrap());
            assert_eq!(again["network_info"]["n"]["network_interface"], "podman1");
        }
    }
}
