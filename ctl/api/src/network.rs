//! Networks, in the shapes of the Docker Engine API 1.47 (`api/types/network/network.go` of moby 28).
//!
//! `vswitchctl`, the docker command line and the Docker SDKs all speak these.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// Body of `POST /networks/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkCreate {
    /// The name, unique among networks.
    #[schema(pattern = "^[a-zA-Z0-9]([a-zA-Z0-9_. -]{0,126}[a-zA-Z0-9_.-])?$")]
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// `bridge` (also when empty).
    #[serde(deserialize_with = "null_as_default")]
    pub driver: String,
    /// `local` (also when empty).
    #[serde(deserialize_with = "null_as_default")]
    pub scope: String,
    /// Nothing leaves the network.
    #[serde(deserialize_with = "null_as_default")]
    pub internal: bool,
    /// Accepted and stored, as Docker does for local networks.
    #[serde(deserialize_with = "null_as_default")]
    pub attachable: bool,
    /// Swarm only: refused.
    #[serde(deserialize_with = "null_as_default")]
    pub ingress: bool,
    /// It is no network, but holds settings for others.
    #[serde(deserialize_with = "null_as_default")]
    pub config_only: bool,
    /// The network whose settings it is to have.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "ConfigFrom::is_empty")]
    pub config_from: ConfigFrom,
    /// `false` switches IPv4 off; absent means on.
    #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
    pub enable_ipv4: Option<bool>,
    /// IPv6 on: an automatic ULA /64 unless `IPAM` names one.
    #[serde(rename = "EnableIPv6", skip_serializing_if = "Option::is_none")]
    pub enable_ipv6: Option<bool>,
    /// Address management.
    #[serde(rename = "IPAM", skip_serializing_if = "Option::is_none")]
    pub ipam: Option<Ipam>,
    /// Driver options.
    #[serde(deserialize_with = "null_as_default")]
    pub options: BTreeMap<String, String>,
    /// Labels.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
}

/// Address management of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipam {
    /// `default`, or `null` for a network without addresses.
    #[serde(deserialize_with = "null_as_default")]
    pub driver: String,
    /// Unused by both drivers.
    pub options: Option<BTreeMap<String, String>>,
    /// At most one entry of each address family.
    #[serde(deserialize_with = "null_as_default")]
    pub config: Vec<IpamConfig>,
}

/// One subnet of a network. All fields are text; an empty or absent one is left to vswitchd.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpamConfig {
    /// CIDR.
    #[schema(pattern = "^([0-9.]+/[0-9]{1,2}|[0-9a-fA-F:.]+/[0-9]{1,3})?$")]
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// CIDR inside the subnet that automatic addresses come from.
    #[schema(pattern = "^([0-9.]+/[0-9]{1,2}|[0-9a-fA-F:.]+/[0-9]{1,3})?$")]
    #[serde(deserialize_with = "null_as_default", rename = "IPRange", skip_serializing_if = "String::is_empty")]
    pub ip_range: String,
    /// Address of the gateway.
    #[schema(pattern = "^[0-9a-fA-F:.]*$")]
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Name to address; never leased.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", alias = "AuxAddress", deserialize_with = "null_as_default")]
    pub auxiliary_addresses: BTreeMap<String, String>,
}

/// Answer of `POST /networks/create` (201).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkCreated {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Empty, or a sentence.
    #[serde(default)]
    pub warning: String,
}

/// A network as `GET /networks` and `GET /networks/{id}` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// The name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// RFC 3339 with nanoseconds.
    #[schema(format = "date-time")]
    pub created: String,
    /// `local`.
    pub scope: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// IPv4 on.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    /// IPv6 on.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Address management, with what vswitchd chose filled in.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Nothing leaves the network.
    pub internal: bool,
    /// As given.
    pub attachable: bool,
    /// Always `false`.
    pub ingress: bool,
    /// The network whose settings it has.
    pub config_from: ConfigFrom,
    /// It is no network, but holds settings for others.
    pub config_only: bool,
    /// Running containers and attached namespaces by container id (or endpoint id).
    pub containers: BTreeMap<String, NetworkContainer>,
    /// Driver options as given.
    pub options: BTreeMap<String, String>,
    /// Labels as given.
    pub labels: BTreeMap<String, String>,
    /// vswitch's own: the networks that it is joined with; absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peerings: Vec<NetworkPeering>,
    /// vswitch's own: the uplink that its packets leave by now; absent where there are not several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
}

/// A network that another one is joined with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkPeering {
    /// Its name.
    pub network: String,
    /// What either side may open towards the other, such as `tcp/5432`; empty: everything.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// Body of `PUT /vswitch/v1/networks/{network}/peerings/{other}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkPeer {
    /// `tcp`, `udp`, `sctp` or `icmp`, the former three also with ports: `tcp/5432`, `udp/5000-5010`. Empty: everything.
    pub allow: Vec<String>,
}

/// Body of `PATCH /vswitch/v1/networks/{network}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkChange {
    /// Options that change at once, for all of its endpoints that say nothing else themselves; an empty value is the default.
    pub options: BTreeMap<String, String>,
}

/// Body of `POST /vswitch/v1/networks/{network}/policy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyAdd {
    /// `allow` or `deny`.
    pub action: String,
    /// Who opens: `any` (also when empty), `outside`, a container's name, `label=KEY`, `label=KEY=VALUE`, `network=NAME`, or
    /// addresses.
    pub from: String,
    /// Towards whom, in the same words.
    pub to: String,
    /// `tcp`, `udp`, `sctp` or `icmp`, the former three also with ports: `tcp/80`. Empty: every kind.
    pub traffic: Vec<String>,
    /// In front of this rule; absent: behind all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u32>,
}

/// Answer of `POST /vswitch/v1/networks/{network}/policy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyAdded {
    /// The rule's number.
    pub rule: u32,
}

/// A rule about who may open flows to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyRule {
    /// Its number.
    pub rule: u32,
    /// `allow` or `deny`.
    pub action: String,
    /// Who opens.
    pub from: String,
    /// Towards whom.
    pub to: String,
    /// Of which kinds; empty: every kind.
    pub traffic: Vec<String>,
    /// Flows that it let pass, or packets that it refused.
    pub hits: u64,
}

/// Part of [`Network`] and of [`NetworkCreate`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConfigFrom {
    /// Name of a network that only holds settings.
    pub network: String,
}

impl ConfigFrom {
    fn is_empty(&self) -> bool {
        self.network.is_empty()
    }
}

/// One member of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkContainer {
    /// Name of the container or attached namespace.
    pub name: String,
    /// 64 hexadecimal digits.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// `02:42:…`.
    #[schema(pattern = "^([0-9a-f]{2}(:[0-9a-f]{2}){5})?$")]
    pub mac_address: String,
    /// `a.b.c.d/len`, or empty.
    #[serde(rename = "IPv4Address")]
    #[schema(pattern = r"^([0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2})?$")]
    pub ipv4_address: String,
    /// `…/len`, or empty.
    #[serde(rename = "IPv6Address")]
    #[schema(pattern = "^([0-9a-f:.]+/[0-9]{1,3})?$")]
    pub ipv6_address: String,
    /// vswitch's own: what its port is asked beyond learning and flooding, what the network asks for included; absent where that is
    /// nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Body of `POST /networks/{id}/connect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkConnect {
    /// Id or name of the container.
    #[serde(deserialize_with = "null_as_default")]
    pub container: String,
    /// What the endpoint should be like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_config: Option<EndpointConfig>,
}

/// What a client may ask of an endpoint. Everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointConfig {
    /// Static addresses.
    #[serde(rename = "IPAMConfig", skip_serializing_if = "Option::is_none")]
    pub ipam_config: Option<EndpointIpamConfig>,
    /// Further names of the container on this network.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// `CONTAINER[:ALIAS]`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// Unicast MAC address.
    #[schema(pattern = "^([0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}|[0-9a-fA-F]{2}(-[0-9a-fA-F]{2}){5})?$")]
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Endpoint options.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: BTreeMap<String, String>,
    /// The endpoint of the highest priority gives the default route.
    #[serde(deserialize_with = "null_as_default")]
    pub gw_priority: i64,
}

/// Static addresses of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EndpointIpamConfig {
    /// `A`, or in vswitch's own API also `A/LEN` and `A/LEN@GATEWAY`.
    #[schema(pattern = r"^([0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2}(@[0-9.]+)?)?)?$")]
    #[serde(deserialize_with = "null_as_default", rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
    pub ipv4_address: String,
    /// The same for IPv6.
    #[schema(pattern = "^([0-9a-fA-F:.]+(/[0-9]{1,3}(@[0-9a-fA-F:.]+)?)?)?$")]
    #[serde(deserialize_with = "null_as_default", rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
    pub ipv6_address: String,
    /// Further addresses, of the link alone.
    #[serde(deserialize_with = "null_as_default", rename = "LinkLocalIPs", skip_serializing_if = "Vec::is_empty")]
    pub link_local_ips: Vec<String>,
}

/// Body of `POST /networks/{id}/disconnect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkDisconnect {
    /// Id or name of the container.
    #[serde(deserialize_with = "null_as_default")]
    pub container: String,
    /// Also when the container is gone.
    #[serde(deserialize_with = "null_as_default")]
    pub force: bool,
}

/// Answer of `POST /networks/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworksPruned {
    /// Names.
    #[serde(deserialize_with = "null_as_default")]
    pub networks_deleted: Vec<String>,
}

/// Docker clients send `null` where they mean "nothing".
pub(crate) fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Docker's Python client sends `null` for everything that was not given; all of it means "nothing".
    #[test]
    fn null_means_nothing() {
        let json = r#"{"Name": "n", "CheckDuplicate": null, "Driver": null, "Options": null, "Labels": null,
            "Internal": null, "Attachable": null, "Ingress": null, "Scope": null, "EnableIPv6": null,
            "IPAM": {"Driver": null, "Config": [{"Subnet": "10.0.0.0/24", "IPRange": null, "Gateway": null,
            "AuxiliaryAddresses": null}], "Options": null}}"#;
        let wire: NetworkCreate = serde_json::from_str(json).unwrap();
        let config = IpamConfig { subnet: "10.0.0.0/24".into(), ..IpamConfig::default() };
        let ipam = Some(Ipam { config: vec![config], ..Ipam::default() });
        assert_eq!(wire, NetworkCreate { name: "n".into(), ipam, ..NetworkCreate::default() });
        let json = r#"{"Container": "c", "EndpointConfig": {"IPAMConfig": {"IPv4Address": null}, "Aliases": null,
            "Links": null, "MacAddress": null, "DriverOpts": null, "GwPriority": null}}"#;
        let wire: NetworkConnect = serde_json::from_str(json).unwrap();
        let endpoint_config =
            Some(EndpointConfig { ipam_config: Some(EndpointIpamConfig::default()), ..Default::default() });
        assert_eq!(wire, NetworkConnect { container: "c".into(), endpoint_config });
    }
}
