//! Networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vswitch_api::network::{IpamConfig, NetworkCreate};
use vswitch_frame::MacAddr;

use super::{
    Family, Faults, GatewayMode, Meeting, NetworkOptions, Overlay, OverlayWish, ParsedOptions, Peering, PolicyRecord,
    ServiceRecord, network_name, subnet,
};
use crate::clock::Moment;
use crate::error::ControlError;
use crate::ids::Id;
use crate::ipam::{GatewayLeg, SubnetPlan, gateway_mac};

/// What makes a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Driver {
    /// A broadcast domain of the switch.
    Bridge,
    /// A broadcast domain of several hosts' switches, joined by tunnels.
    Overlay,
    /// Containers on a LAN of the host, each with a MAC address of its own.
    Macvlan,
    /// Containers on a LAN of the host, all with the parent's MAC address.
    Ipvlan,
    /// The host's own network namespace.
    Host,
    /// No network at all.
    Null,
}

impl Driver {
    /// Docker's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Overlay => "overlay",
            Driver::Macvlan => "macvlan",
            Driver::Ipvlan => "ipvlan",
            Driver::Host => "host",
            Driver::Null => "null",
        }
    }
}

/// Who gives addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpamDriver {
    /// vswitchd.
    Default,
    /// Nobody: endpoints have no addresses unless told.
    Null,
    /// A DHCP server on the network.
    Dhcp,
}

impl IpamDriver {
    /// Docker's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            IpamDriver::Default => "default",
            IpamDriver::Null => "null",
            IpamDriver::Dhcp => "dhcp",
        }
    }
}

/// A network, as decided and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Moment,
    /// What makes it.
    pub driver: Driver,
    /// Nothing leaves it.
    pub internal: bool,
    /// As asked.
    pub attachable: bool,
    /// Who gives addresses.
    pub ipam: IpamDriver,
    /// The IPv4 subnet.
    pub ipv4: Option<SubnetPlan>,
    /// The IPv6 subnet.
    pub ipv6: Option<SubnetPlan>,
    /// Decided options.
    pub options: NetworkOptions,
    /// Options as given.
    pub raw_options: BTreeMap<String, String>,
    /// Labels as given.
    pub labels: BTreeMap<String, String>,
    /// The tunnel of an overlay network.
    #[serde(default)]
    pub overlay: Option<Overlay>,
    /// It is no network, but holds the settings of others.
    #[serde(default)]
    pub settings: Option<NetworkCreate>,
    /// Whose settings it has.
    #[serde(default)]
    pub config_from: String,
    /// The networks that it is joined with, as far as their records do not say so.
    #[serde(default)]
    pub peerings: Vec<Peering>,
    /// Who may open flows to whom, in the order in which it is asked.
    #[serde(default)]
    pub policy: Vec<PolicyRecord>,
    /// What a container engine wants of names on it.
    #[serde(default)]
    pub names: EngineNames,
    /// Addresses of its own behind which members take turns.
    #[serde(default)]
    pub services: Vec<ServiceRecord>,
}

/// What a container engine wants of names on a network of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineNames {
    /// What names may end in, in lower case: `dns.podman`.
    pub domain: Option<String>,
    /// Who is asked for other names; nobody here: as for other networks.
    pub servers: Vec<IpAddr>,
}

impl Network {
    /// Names that are never a custom network's.
    pub const PREDEFINED: [&'static str; 3] = ["bridge", "host", "none"];

    /// Whether this is one of the three that always exist.
    #[must_use]
    pub fn predefined(&self) -> bool {
        Network::PREDEFINED.contains(&self.name.as_str())
    }

    /// The gateway's MAC address. On an overlay network it is every host's, so it follows from what all hosts know.
    #[must_use]
    pub fn gateway_mac(&self) -> MacAddr {
        let seed = self.overlay.as_ref().map_or_else(|| self.id.seed(), |overlay| overlay.vni.value().to_be_bytes());
        gateway_mac(self.ipv4.as_ref(), seed)
    }

    /// Whether source addresses of a subnet are replaced on the way out.
    #[must_use]
    pub fn masquerades(&self, plan: &SubnetPlan) -> bool {
        let options = &self.options;
        let mode = if plan.net.addr().is_ipv4() { options.gateway_ipv4 } else { options.gateway_ipv6 };
        options.masquerade && mode == GatewayMode::Nat
    }

    /// Whether its ports can be in VLANs: it learns where stations are, and on this host alone.
    #[must_use]
    pub fn has_vlans(&self) -> bool {
        self.driver == Driver::Bridge
    }

    /// Whether it is for one container, which may be whoever it likes.
    #[must_use]
    pub fn is_passthru(&self) -> bool {
        self.options.lan.as_ref().is_some_and(|lan| lan.meeting == Meeting::Passthru)
    }

    /// Whether it is on a LAN, and the switch no router of it.
    #[must_use]
    pub fn routed_elsewhere(&self) -> bool {
        self.options.routed_elsewhere()
    }

    /// What of its subnets is inside, each with its subnet: not the addresses that the gateway answers for.
    pub fn pieces(&self) -> impl Iterator<Item = (&SubnetPlan, IpNet)> {
        self.subnets().flat_map(|plan| {
            let pieces = match plan.range.filter(|_| self.options.rest_proxied) {
                // The gateway's own address is where it is.
                Some(range) => {
                    let own = plan.own().filter(|own| !range.contains(own)).map(IpNet::from);
                    std::iter::once(range).chain(own).collect()
                }
                None => plan.without(&self.options.proxied),
            };
            pieces.into_iter().map(move |net| (plan, net))
        })
    }

    /// The subnets, IPv4 first.
    pub fn subnets(&self) -> impl Iterator<Item = &SubnetPlan> {
        self.ipv4.iter().chain(&self.ipv6)
    }
}

/// A network that a user wants, checked as far as that goes without knowing the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// What makes it.
    pub driver: Driver,
    /// Nothing leaves it.
    pub internal: bool,
    /// As asked.
    pub attachable: bool,
    /// Who gives addresses.
    pub ipam: IpamDriver,
    /// IPv4.
    pub ipv4: Family,
    /// IPv6.
    pub ipv6: Family,
    /// Decided options.
    pub options: NetworkOptions,
    /// Options as given.
    pub raw_options: BTreeMap<String, String>,
    /// Labels as given.
    pub labels: BTreeMap<String, String>,
    /// What is wanted of an overlay network's tunnel; `None`: it is a bridge network.
    pub overlay: Option<OverlayWish>,
    /// It is to be no network, but to hold these settings for others.
    pub settings: Option<NetworkCreate>,
    /// Whose settings it has.
    pub config_from: String,
    /// What is kept and of no effect.
    pub warnings: Vec<String>,
}

impl NetworkSpec {
    /// What the user should know of a network that can be made nevertheless.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let whole = |family: &Family| matches!(family, Family::Given(wish) if wish.plan.range.is_none());
        let shared = (self.overlay.is_some() && (whole(&self.ipv4) || whole(&self.ipv6))).then_some(
            "every host gives addresses from the whole subnet, so two hosts may give the same one; give each host a part \
             of it with --ip-range",
        );
        let all: Vec<&str> = shared.into_iter().chain(self.warnings.iter().map(String::as_str)).collect();
        (!all.is_empty()).then(|| all.join("\n"))
    }

    /// Who has the gateways' addresses, of IPv4 and of IPv6.
    #[must_use]
    pub fn legs(&self) -> (GatewayLeg, GatewayLeg) {
        let leg = |mode: GatewayMode, inhibited: bool| match (mode, inhibited) {
            (GatewayMode::Isolated, _) => GatewayLeg::Nobody,
            (_, true) if self.internal => GatewayLeg::Nobody,
            (_, true) => GatewayLeg::Elsewhere,
            (_, false) => GatewayLeg::Switch,
        };
        let elsewhere = self.options.routed_elsewhere();
        (leg(self.options.gateway_ipv4, self.options.inhibit_ipv4), leg(self.options.gateway_ipv6, elsewhere))
    }
}

/// Checks the body of `POST /networks/create`.
///
/// # Errors
/// All faults of the request at once, in Docker's words.
pub fn parse_network(wire: NetworkCreate) -> Result<NetworkSpec, ControlError> {
    // Another name of Docker's for its default network.
    if Network::PREDEFINED.contains(&wire.name.as_str()) || wire.name == "default" {
        return Err(ControlError::PredefinedName(wire.name));
    }
    let settings = wire.clone();
    let mut general = Faults::new("");
    let name = general.take(network_name(&wire.name)).unwrap_or_default();
    let driver = parse_driver(&wire, &mut general);
    let ipam_wire = wire.ipam.unwrap_or_default();
    let ipam = general.take(parse_ipam_driver(&ipam_wire.driver)).unwrap_or(IpamDriver::Default);
    let overlay = driver == Driver::Overlay;
    let ParsedOptions { options, wish, warnings } = NetworkOptions::parse(&wire.options, driver, &mut general);

    let mut config = Faults::new("invalid network config:");
    let (mut ipv4, mut ipv6) = parse_configs(&ipam_wire.config, &mut config);
    let ipv6_wanted = wire.enable_ipv6 == Some(true) || matches!(ipv6, Family::Given(_));
    if ipam != IpamDriver::Default {
        if !ipam_wire.config.is_empty() {
            general.add(match ipam {
                IpamDriver::Dhcp => {
                    "the ipam driver dhcp has its addresses from a server on the network: leave --subnet out"
                }
                _ => "the ipam driver null gives no addresses: leave --subnet out, or use --ipam-driver default",
            });
        }
        (ipv4, ipv6) = (Family::Off, Family::Off);
    } else {
        settle(&mut ipv4, wire.enable_ipv4 != Some(false));
        settle(&mut ipv6, ipv6_wanted && wire.enable_ipv6 != Some(false));
        if ipv4 == Family::Off && ipv6 == Family::Off && config.is_empty() {
            general.add("IPv4 or IPv6 must be enabled");
        }
    }
    for &address in &options.proxied {
        general.take(set_apart(if address.is_ipv4() { &mut ipv4 } else { &mut ipv6 }, address));
    }
    let given = |family: &Family| match family {
        Family::Given(wish) => wish.plan.range.is_some(),
        Family::Off => true,
        Family::Automatic => false,
    };
    if options.rest_proxied && !(given(&ipv4) && given(&ipv6)) {
        general.add("option proxy-arp=rest is for all of a subnet that is not in its range: name both with --subnet and --ip-range");
    }
    if overlay && ipam == IpamDriver::Default {
        check_spanning(&ipv4, &ipv6, &mut general);
    }
    if ipv6 != Family::Off {
        general.take(options.check_ipv6());
    }
    options.check_together(&mut general);
    if options.host
        && let Some(lan) = &options.lan
    {
        if matches!(lan.meeting, Meeting::Private | Meeting::Passthru) {
            general.add("with macvlan_mode=private or passthru the host meets nobody; leave host=true out, or use macvlan_mode=bridge");
        }
        // Of the LAN's subnet the host has a route already, by the parent.
        let beside = options.routed_elsewhere() && lan.parent.as_ref().is_some_and(|parent| parent.vlan.is_none());
        if beside && ipam == IpamDriver::Default && !(given(&ipv4) && given(&ipv6)) {
            general.add(
                "the host reaches containers in the network's own part of the LAN's subnet, and the rest by its interface as before: name \
                 both with --subnet and --ip-range, or leave host=true out",
            );
        }
    }
    if options.host_names && !options.host {
        general.add(
            "names of containers are for a host that reaches them: add --opt host=true, or leave host-names=true out",
        );
    }
    if options.host && ipam != IpamDriver::Default {
        let ipam = ipam.word();
        general.add(format!("the host needs an address of the network's: leave --ipam-driver {ipam} or host=true out"));
    }
    if options.overlap && !options.is_translated() {
        general.add(
            "addresses that others may have, too, cannot be routed to: leave masquerade and the gateway modes as they are with \
             overlap=true",
        );
    }
    if options.overlap && options.host {
        general.add(
            "the host knows one network by an address, and others may have this one's, too; leave host=true or overlap=true out",
        );
    }
    if options.overlap && (options.rest_proxied || !options.proxied.is_empty()) {
        general.add(
            "what the gateway answers for may be another network's address, too, which is not outside; leave proxy-arp or \
             overlap=true out",
        );
    }
    if !wire.internal && [options.gateway_ipv4, options.gateway_ipv6].contains(&GatewayMode::Isolated) {
        general.add("gateway mode 'isolated' can only be used for an internal network; add --internal");
    }
    let settings = wire.config_only.then(|| settings.clone());
    let faults = if general.is_empty() {
        config
    } else {
        general.append(config);
        general
    };
    let (internal, attachable) = (wire.internal, wire.attachable);
    let (raw_options, labels) = (wire.options, wire.labels);
    let overlay = overlay.then_some(wish);
    let config_from = wire.config_from.network;
    let spec = NetworkSpec {
        name,
        driver,
        internal,
        attachable,
        ipam,
        ipv4,
        ipv6,
        options,
        raw_options,
        labels,
        overlay,
        settings,
        config_from,
        warnings,
    };
    Ok(faults.finish(spec)?)
}

/// Keeps an address that the gateway answers for from being given to anybody.
fn set_apart(family: &mut Family, address: IpAddr) -> Result<(), String> {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    match family {
        // Nobody gives those away.
        _ if is_link_local => Ok(()),
        Family::Given(wish) if wish.plan.net.contains(&address) && address != wish.plan.gateway => {
            wish.plan.aux.insert(format!("proxy-arp {address}"), address);
            Ok(())
        }
        _ => Err(format!(
            "option proxy-arp is for addresses of a subnet that is named with --subnet, beside its gateway, and for link-local ones; \
             leave {address} out"
        )),
    }
}

/// All hosts of an overlay network must agree about its subnets, so none may choose.
fn check_spanning(ipv4: &Family, ipv6: &Family, faults: &mut Faults) {
    for (family, word, example) in [(ipv4, "IPv4", "10.100.0.0/16"), (ipv6, "IPv6", "fd64::/64")] {
        if *family == Family::Automatic {
            faults.add(format!(
                "an overlay network needs the same subnet on all hosts: name its {word} subnet with --subnet {example}, or \
                 switch {word} off"
            ));
        }
    }
}

/// An unnamed family is automatic if it is on; a named one is off if the user switched the family off.
fn settle(family: &mut Family, on: bool) {
    match (on, &family) {
        (false, _) => *family = Family::Off,
        (true, Family::Off) => *family = Family::Automatic,
        (true, _) => {}
    }
}

fn parse_driver(wire: &NetworkCreate, faults: &mut Faults) -> Driver {
    let driver = match wire.driver.as_str() {
        "" | "bridge" | "default" => Driver::Bridge,
        "overlay" => Driver::Overlay,
        "macvlan" => Driver::Macvlan,
        "ipvlan" => Driver::Ipvlan,
        only @ ("host" | "null") => {
            faults.forbid(format!("only one instance of \"{only}\" network is allowed"));
            Driver::Bridge
        }
        other => {
            faults.add(format!(
                "network driver {other} is not available; custom networks use the driver bridge, overlay, macvlan or \
                 ipvlan (host and null exist for the predefined networks host and none only)"
            ));
            Driver::Bridge
        }
    };
    if !matches!(wire.scope.as_str(), "" | "local") {
        faults.add(format!("scope {} is not available; networks of vswitch have the scope local", wire.scope));
    }
    if wire.ingress {
        faults.add("ingress networks belong to swarm mode, which vswitch does not have; leave --ingress out");
    }
    if wire.config_only && !wire.config_from.network.is_empty() {
        faults.add("a configuration network cannot depend on another configuration network");
    }
    if wire.config_only && (wire.internal || wire.attachable || wire.ingress || !wire.scope.is_empty()) {
        faults.forbid(
            "configuration network can only contain network specific fields. Network operator fields like [ ingress | \
             internal | attachable | scope ] are not supported",
        );
    }
    driver
}

/// What a network is to be that has another one's settings.
///
/// # Errors
/// When it has settings of its own, too.
pub fn apply_settings(wire: NetworkCreate, settings: &NetworkCreate) -> Result<NetworkCreate, Faults> {
    let own_ipam = wire.ipam.as_ref().is_some_and(|ipam| {
        !ipam.config.is_empty()
            || !matches!(ipam.driver.as_str(), "" | "default")
            || ipam.options.as_ref().is_some_and(|options| !options.is_empty())
    });
    if own_ipam || wire.enable_ipv6 == Some(true) || !wire.options.is_empty() {
        return Err(Faults::forbidden_one(
            "user specified configurations are not supported if the network depends on a configuration network",
        ));
    }
    let mut labels = settings.labels.clone();
    labels.extend(wire.labels);
    Ok(NetworkCreate {
        enable_ipv4: settings.enable_ipv4,
        enable_ipv6: settings.enable_ipv6,
        ipam: settings.ipam.clone(),
        options: settings.options.clone(),
        labels,
        ..wire
    })
}

fn parse_ipam_driver(text: &str) -> Result<IpamDriver, String> {
    match text {
        "" | "default" => Ok(IpamDriver::Default),
        "null" => Ok(IpamDriver::Null),
        "dhcp" => Ok(IpamDriver::Dhcp),
        other => Err(format!("ipam driver {other} is not available; use default, null or dhcp")),
    }
}

fn parse_configs(configs: &[IpamConfig], faults: &mut Faults) -> (Family, Family) {
    let (mut ipv4, mut ipv6) = (Family::Off, Family::Off);
    let mut seen: Vec<SubnetPlan> = Vec::new();
    for config in configs.iter().filter(|config| **config != IpamConfig::default()) {
        let Some(wish) = subnet::parse(config, faults) else { continue };
        let net = wish.plan.net;
        let family = if net.addr().is_ipv4() { &mut ipv4 } else { &mut ipv6 };
        if let Some(other) = seen.iter().find(|other| other.net.contains(&net) || net.contains(&other.net)) {
            faults.add(format!("multiple overlapping subnet configuration is not supported: {} and {net}", other.net));
        } else if *family != Family::Off {
            faults.forbid("bridge driver doesn't support multiple subnets");
        }
        seen.push(wish.plan.clone());
        *family = Family::Given(wish);
    }
    (ipv4, ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Class;

    fn config(subnet: &str) -> IpamConfig {
        IpamConfig { subnet: subnet.into(), ..IpamConfig::default() }
    }

    fn create(configs: Vec<IpamConfig>) -> Result<NetworkSpec, ControlError> {
        let ipam = Some(vswitch_api::network::Ipam { config: configs, ..Default::default() });
        parse_network(NetworkCreate { name: "web".into(), ipam, ..NetworkCreate::default() })
    }

    fn refusal(configs: Vec<IpamConfig>) -> String {
        create(configs).unwrap_err().to_string()
    }

    /// Docker's sentences for host bits, gateways and ranges outside, and all faults are told at once.
    #[test]
    fn refuses_bad_subnets_in_docker_s_words() {
        assert_eq!(
            refusal(vec![config("10.1.2.3/16")]),
            "invalid network config:\ninvalid subnet 10.1.2.3/16: it should be 10.1.0.0/16"
        );
        let bad = IpamConfig {
            gateway: "10.2.0.1".into(),
            ip_range: "10.0.0.0/8".into(),
            auxiliary_addresses: [("nas".to_owned(), "192.168.0.1".to_owned())].into(),
            ..config("10.1.0.0/16")
        };
        let text = refusal(vec![bad]);
        for says in [
            "* invalid gateway 10.2.0.1: parent subnet 10.1.0.0/16 doesn't contain this address",
            "* invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.1.0.0/16",
            "* invalid auxiliary address nas=192.168.0.1: parent subnet 10.1.0.0/16 doesn't contain this address",
        ] {
            assert!(text.contains(says), "{text}");
        }
        let text = refusal(vec![IpamConfig { gateway: "fd00::1".into(), ..config("10.1.0.0/16") }]);
        assert!(text.contains("invalid gateway fd00::1: parent subnet is an IPv4 block"), "{text}");
    }

    /// A subnet without room for a container is refused, one with room for exactly one is not.
    #[test]
    fn refuses_subnets_without_room() {
        for full in ["10.0.0.0/32", "fd00::/128"] {
            assert!(refusal(vec![config(full)]).contains("no room for a container"), "{full}");
        }
        let aux = IpamConfig {
            auxiliary_addresses: [("a".to_owned(), "10.0.0.2".to_owned())].into(),
            ..config("10.0.0.0/30")
        };
        assert!(refusal(vec![aux]).contains("no room for a container"));
        assert!(create(vec![config("10.0.0.0/30")]).is_ok());
        assert!(create(vec![config("10.0.0.0/31")]).is_ok());
    }

    /// Loopback, multicast, reserved and unreadable subnets are refused.
    #[test]
    fn refuses_subnets_that_cannot_be() {
        for bad in [
            "127.0.0.0/8",
            "224.0.0.0/8",
            "240.0.0.0/8",
            "0.0.0.0/8",
            "0.0.0.0/0",
            "fe80::/64",
            "ff02::/64",
            "::/64",
            "x",
            "10.0.0.0",
            "10.0.0.0/33",
        ] {
            assert!(create(vec![config(bad)]).is_err(), "{bad}");
        }
    }

    /// Two subnets of one family, and overlapping ones, are refused; one of each family is a dual-stack network.
    #[test]
    fn several_subnets() {
        let error = create(vec![config("10.1.0.0/16"), config("10.2.0.0/16")]).unwrap_err();
        assert_eq!(error.class(), Class::Forbidden);
        assert!(error.to_string().contains("bridge driver doesn't support multiple subnets"));
        let text = refusal(vec![config("10.1.0.0/16"), config("10.1.5.0/24")]);
        assert!(text.contains("multiple overlapping subnet configuration"), "{text}");
        let spec = create(vec![config("10.1.0.0/16"), config("fd00:5::/64")]).unwrap();
        assert!(matches!((spec.ipv4, spec.ipv6), (Family::Given(_), Family::Given(_))));
    }

    /// Predefined names, other drivers and swarm's flags are refused, each with its sentence.
    #[test]
    fn refuses_names_and_drivers() {
        let named = |name: &str, driver: &str| {
            parse_network(NetworkCreate { name: name.into(), driver: driver.into(), ..NetworkCreate::default() })
        };
        assert_eq!(named("host", "").unwrap_err().class(), Class::Forbidden);
        assert!(named("n", "vlan").unwrap_err().to_string().contains("use the driver bridge, overlay, macvlan"));
        assert_eq!(named("n", "host").unwrap_err().class(), Class::Forbidden);
        assert!(named("a/b", "bridge").is_err());
        assert!(named("ok", "bridge").is_ok());
    }

    /// An overlay network needs its subnets named, and takes options that a bridge network does not.
    #[test]
    fn overlay() {
        let make = |json: serde_json::Value| parse_network(serde_json::from_value(json).unwrap());
        let ipam = serde_json::json!({"Config": [{"Subnet": "10.100.0.0/16"}]});
        let spec = make(serde_json::json!({"Name": "n", "Driver": "overlay", "IPAM": ipam, "Options": {"vni": "7"}}));
        assert!(spec.as_ref().unwrap().warning().is_some_and(|warning| warning.contains("--ip-range")));
        assert_eq!(spec.unwrap().overlay.and_then(|wish| wish.vni).map(vswitch_frame::Vni::value), Some(7));
        let error = make(serde_json::json!({"Name": "n", "Driver": "overlay"})).unwrap_err().to_string();
        assert!(error.contains("name its IPv4 subnet with --subnet"), "{error}");
        let both = serde_json::json!({"Name": "n", "Driver": "overlay", "EnableIPv6": true, "IPAM": ipam});
        assert!(make(both).unwrap_err().to_string().contains("IPv6 subnet"));
        let without = serde_json::json!({"Name": "n", "Driver": "overlay", "IPAM": {"Driver": "null"}});
        assert!(make(without).unwrap().overlay.is_some());
    }

    /// Addresses that the gateway answers for are of the network's subnets, are never leased, and are not inside.
    #[test]
    fn addresses_that_are_routed() {
        let create = |value: &str| NetworkCreate {
            name: "n".into(),
            ipam: Some(vswitch_api::network::Ipam {
                config: vec![config("10.0.2.0/29"), config("fd00::/64")],
                ..Default::default()
            }),
            options: [("proxy-arp".to_owned(), value.to_owned())].into(),
            ..NetworkCreate::default()
        };
        let spec = parse_network(create("10.0.2.2,fd00::2")).unwrap();
        let Family::Given(wish) = spec.ipv4 else { panic!("the subnet was named") };
        let pieces: Vec<String> = wish.plan.without(&spec.options.proxied).iter().map(ToString::to_string).collect();
        assert_eq!(pieces, ["10.0.2.0/31", "10.0.2.3/32", "10.0.2.4/30"]);
        let mut leases = crate::ipam::Leases::new(&wish.plan);
        let given: Vec<_> = std::iter::from_fn(|| leases.allocate()).collect();
        assert!(!given.is_empty() && !given.contains(&"10.0.2.2".parse().unwrap()), "{given:?}");
        for (value, why) in [
            ("10.0.2.1", "beside its gateway, and for link-local ones; leave 10.0.2.1 out"),
            ("10.9.9.9", "leave 10.9.9.9 out"),
            ("fd01::2", "leave fd01::2 out"),
            ("x", "failed to parse proxy-arp value: x"),
            ("", "failed to parse proxy-arp value"),
        ] {
            let said = parse_network(create(value)).unwrap_err().to_string();
            assert!(said.contains(why), "{value}: {said}");
        }
    }

    /// What a subnet has beside its range is outside, if the network says so and names both.
    #[test]
    fn a_range_and_the_rest() {
        let create = |range: &str, value: &str| {
            let config = IpamConfig { ip_range: range.to_owned(), ..config("10.0.2.0/23") };
            parse_network(NetworkCreate {
                name: "n".into(),
                ipam: Some(vswitch_api::network::Ipam { config: vec![config], ..Default::default() }),
                options: [("proxy-arp".to_owned(), value.to_owned())].into(),
                ..NetworkCreate::default()
            })
        };
        let spec = create("10.0.2.7/32", "rest,10.0.2.2,169.254.1.2").unwrap();
        assert!(spec.options.rest_proxied);
        assert_eq!(spec.options.proxied.len(), 2);
        for (range, value, why) in [
            ("", "rest", "name both with --subnet and --ip-range"),
            ("10.0.2.7/32", "rest,all", "failed to parse proxy-arp value: rest,all"),
            ("10.0.2.7/32", "rest,10.9.9.9", "leave 10.9.9.9 out"),
        ] {
            let said = create(range, value).unwrap_err().to_string();
            assert!(said.contains(why), "{range} {value}: {said}");
        }
    }

    /// Whose the gateway is: inhibit_ipv4 leaves it to somebody else, and on an internal network to nobody, so that a /31 has
    /// room for two; isolated is for internal networks.
    #[test]
    fn gateways_of_others() {
        let make = |internal: bool, key: &str, value: &str| {
            let json = serde_json::json!({"Name": "n", "Internal": internal, "Options": {key: value},
                "IPAM": {"Config": [{"Subnet": "192.168.135.0/31"}]}});
            parse_network(serde_json::from_value(json).unwrap()).map(|spec| {
                let leg = spec.legs().0;
                let Family::Given(wish) = spec.ipv4 else { panic!("{:?}", spec.ipv4) };
                SubnetPlan { leg, ..wish.plan }
            })
        };
        let inhibit = "com.docker.network.bridge.inhibit_ipv4";
        let elsewhere = make(false, inhibit, "true").unwrap();
        assert_eq!((elsewhere.leg, elsewhere.own()), (GatewayLeg::Elsewhere, None));
        assert_eq!(elsewhere.router(), Some(elsewhere.gateway));
        let nobody = make(true, inhibit, "true").unwrap();
        assert_eq!((nobody.leg, nobody.own(), nobody.router()), (GatewayLeg::Nobody, None, None));
        let mut leases = crate::ipam::Leases::new(&nobody);
        let got: Vec<String> = std::iter::from_fn(|| leases.allocate()).map(|address| address.to_string()).collect();
        assert_eq!(got, ["192.168.135.0", "192.168.135.1"]);
        let mode = "com.docker.network.bridge.gateway_mode_ipv4";
        assert_eq!(make(true, mode, "isolated").unwrap().leg, GatewayLeg::Nobody);
        let error = make(false, mode, "isolated").unwrap_err().to_string();
        assert!(error.contains("can only be used for an internal network"), "{error}");
    }

    /// The host is on networks where it has an address and may be heard.
    #[test]
    fn the_host() {
        let make = |json: serde_json::Value| parse_network(serde_json::from_value(json).unwrap());
        assert!(make(serde_json::json!({"Name": "n", "Options": {"host": "true"}})).unwrap().options.host);
        for (json, says) in [
            (serde_json::json!({"Name": "n", "Options": {"host": "true", "icc": "false"}}), "by the host neither"),
            (
                serde_json::json!({"Name": "n", "Options": {"host": "true"}, "IPAM": {"Driver": "null"}}),
                "needs an address",
            ),
            (
                serde_json::json!({"Name": "n", "Options": {"host": "true"}, "IPAM": {"Driver": "dhcp"}}),
                "leave --ipam-driver dhcp",
            ),
            (serde_json::json!({"Name": "n", "Options": {"host-names": "true"}}), "add --opt host=true"),
            (serde_json::json!({"Name": "n", "Options": {"host": "yes"}}), "write true or false"),
            (
                serde_json::json!({"Name": "n", "Options": {"host": "true", "overlap": "true"}}),
                "leave host=true or overlap=true out",
            ),
            (serde_json::json!({"Name": "n", "Driver": "overlay", "Options": {"host": "true"}}), "for bridge networks"),
            (
                serde_json::json!({"Name": "n", "Driver": "macvlan", "Options": {"host": "true", "parent": "eth0"}}),
                "with --subnet and --ip-range",
            ),
            (
                serde_json::json!({"Name": "n", "Driver": "macvlan", "Options": {"host": "true", "macvlan_mode": "private"}}),
                "the host meets nobody",
            ),
        ] {
            let error = make(json).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    /// The ipam driver null makes a network without addresses and takes no subnet.
    #[test]
    fn null_ipam() {
        let with = |driver: &str, config| {
            let ipam = Some(vswitch_api::network::Ipam { driver: driver.into(), config, ..Default::default() });
            parse_network(NetworkCreate { name: "l2".into(), ipam, ..NetworkCreate::default() })
        };
        let spec = with("null", vec![]).unwrap();
        assert_eq!((spec.ipv4, spec.ipv6), (Family::Off, Family::Off));
        assert!(with("null", vec![config("10.0.0.0/8")]).is_err());
        assert!(with("dhcpd", vec![]).unwrap_err().to_string().contains("use default, null or dhcp"));
    }
}
