//! Endpoints: what a user may ask of one, and what is decided and stored.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vswitch_api::endpoint::AttachRequest;
use vswitch_api::engine::EngineKey;
use vswitch_api::network::EndpointConfig;
use vswitch_frame::MacAddr;
use vswitch_switch::Allowed;

use super::{Faults, Link, PortOptions, closest, container_name};
use crate::agent::protocol::{NetnsRef, Route};
use crate::ids::Id;
use crate::ipam::parse_station;
use crate::publish::Binding;

/// What a user wants of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Static IPv4 address.
    pub ipv4: Option<StaticAddress>,
    /// Static IPv6 address.
    pub ipv6: Option<StaticAddress>,
    /// Further addresses, of the link alone.
    pub link_local: Vec<IpAddr>,
    /// MAC address.
    pub mac: Option<MacAddr>,
    /// Further names.
    pub aliases: Vec<String>,
    /// Others that it reaches by names of its own.
    pub links: Vec<Link>,
    /// The highest gives the default route.
    pub gw_priority: i64,
    /// Interface name inside.
    pub interface: Option<String>,
    /// Options as given.
    pub driver_opts: BTreeMap<String, String>,
    /// What is kept and of no effect.
    pub warnings: Vec<String>,
    /// For whom it may speak beside itself.
    pub allowed: Allowed,
    /// What its port is asked beyond learning.
    pub options: PortOptions,
}

/// Which of an endpoint's properties a user named, for those who ask what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The IPv4 address.
    pub ipv4: bool,
    /// The IPv6 address.
    pub ipv6: bool,
    /// The MAC address.
    pub mac: bool,
    /// Options as given.
    pub driver_opts: BTreeMap<String, String>,
}

/// `A`, `A/LEN` or `A/LEN@GATEWAY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticAddress {
    /// The address.
    pub address: IpAddr,
    /// Prefix length instead of the subnet's.
    pub prefix: Option<u8>,
    /// Gateway instead of the network's.
    pub gateway: Option<IpAddr>,
}

/// An endpoint, as decided and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: Id,
    /// Where it is.
    pub network: Id,
    /// The network's name, which outlives the network.
    pub network_name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Name of the container, or the one given to `attach`.
    pub name: String,
    /// Endpoints of one container are brought up in this order.
    pub sequence: u64,
    /// Its MAC address.
    pub mac: MacAddr,
    /// IPv4 address, and prefix length and gateway where they differ from the network's.
    pub ipv4: Option<StaticAddress>,
    /// The same for IPv6.
    pub ipv6: Option<StaticAddress>,
    /// Further addresses, of the link alone.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Further names.
    pub aliases: Vec<String>,
    /// Others that it reaches by names of its own.
    #[serde(default)]
    pub links: Vec<Link>,
    /// The highest gives the default route.
    pub gw_priority: i64,
    /// Interface name inside: as asked, or as it came up last.
    pub interface: Option<String>,
    /// For whom it may speak beside itself.
    #[serde(default)]
    pub allowed: Allowed,
    /// What its port is asked beyond learning, before what its network says.
    #[serde(default)]
    pub options: PortOptions,
    /// Its namespace vanished.
    pub lost: bool,
    /// What of this a user named.
    #[serde(default)]
    pub asked: Asked,
    /// Ports of the host that lead to it, if it is not a container's of vswitch.
    #[serde(default)]
    pub ports: Vec<Binding>,
}

/// Whose an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// A container's.
    Container(Id),
    /// A namespace's that somebody else made.
    Attached(Attachment),
    /// The host's own, on a network with the option `host`.
    Host,
    /// Of a port for machines, and gone with it. None is taken up from the store.
    Machine,
}

/// A namespace that somebody else made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Where it is.
    pub netns: NetnsRef,
    /// Whose it is, if a container engine asked for it.
    #[serde(default)]
    pub engine: Option<EngineKey>,
    /// What else that engine asked for.
    #[serde(default)]
    pub wishes: EngineWishes,
}

/// What a container engine asks of an endpoint that nobody else does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineWishes {
    /// Who is asked for names that no network has; nobody here: as the network has it.
    pub resolvers: Vec<IpAddr>,
    /// Whether the endpoint leads out.
    pub default_route: DefaultRoute,
    /// Further routes by it.
    pub routes: Vec<Route>,
    /// Its IPv4 address is for whoever asked to give to the interface.
    pub bare_ipv4: bool,
    /// A TAP that has the interface's name makes room.
    pub replace_tap: bool,
}

/// Whether an endpoint of an engine's container gives its default route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultRoute {
    /// If no other endpoint does.
    #[default]
    Automatic,
    /// With this metric, whatever others do.
    Metric(u32),
    /// Never.
    Never,
}

impl Endpoint {
    /// What its engine asked for.
    #[must_use]
    pub const fn wishes(&self) -> Option<&EngineWishes> {
        match &self.owner {
            Owner::Attached(attachment) => Some(&attachment.wishes),
            Owner::Container(_) | Owner::Host | Owner::Machine => None,
        }
    }

    /// The container, unless this is an attached namespace.
    #[must_use]
    pub const fn container(&self) -> Option<&Id> {
        match &self.owner {
            Owner::Container(id) => Some(id),
            Owner::Attached(_) | Owner::Host | Owner::Machine => None,
        }
    }

    /// The namespace that somebody else made, if it is in one.
    #[must_use]
    pub const fn attached_to(&self) -> Option<&NetnsRef> {
        match &self.owner {
            Owner::Attached(attachment) => Some(&attachment.netns),
            Owner::Container(_) | Owner::Host | Owner::Machine => None,
        }
    }

    /// The engine's container that it belongs to.
    #[must_use]
    pub const fn engine(&self) -> Option<&EngineKey> {
        match &self.owner {
            Owner::Attached(attachment) => attachment.engine.as_ref(),
            Owner::Container(_) | Owner::Host | Owner::Machine => None,
        }
    }

    /// The agent's name for the namespace it is in.
    #[must_use]
    pub fn sandbox(&self) -> String {
        match &self.owner {
            Owner::Container(id) => id.to_string(),
            Owner::Attached(_) | Owner::Host | Owner::Machine => format!("host-{}", self.id),
        }
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.iter().chain(&self.ipv6).map(|fixed| fixed.address)
    }
}

/// A namespace to attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachSpec {
    /// Name for `detach`.
    pub name: Option<String>,
    /// Where the namespace is.
    pub netns: NetnsRef,
    /// Name or id of the network.
    pub network: String,
    /// What the endpoint should be like.
    pub endpoint: EndpointSpec,
    /// Its default route is the network's, whatever it had.
    pub default_route: bool,
    /// Even if it is the host's own namespace.
    pub force: bool,
    /// Whose it is, if a container engine asks.
    pub engine: Option<EngineKey>,
    /// What else that engine asks for.
    pub wishes: EngineWishes,
}

/// Checks what a user asks of an endpoint.
///
/// # Errors
/// All faults at once.
pub fn parse_endpoint(wire: &EndpointConfig) -> Result<EndpointSpec, Faults> {
    let mut faults = Faults::new("");
    let ipam = wire.ipam_config.clone().unwrap_or_default();
    let ipv4 = parse_static(&ipam.ipv4_address, true, &mut faults);
    let ipv6 = parse_static(&ipam.ipv6_address, false, &mut faults);
    let link_local = ipam.link_local_ips.iter().filter_map(|text| faults.take(parse_link_local(text))).collect();
    let mac = if wire.mac_address.is_empty() { None } else { faults.take(parse_station(&wire.mac_address)) };
    for alias in &wire.aliases {
        if container_name(alias).is_err() {
            faults.add(format!("invalid alias {alias:?}: use letters, digits, '_', '.' and '-'"));
        }
    }
    let links = wire.links.iter().filter_map(|text| faults.take(Link::parse(text))).collect();
    let (mut interface, mut warnings, mut allowed) = (None, Vec::new(), Allowed::NONE);
    let mut options = PortOptions::default();
    for (key, value) in &wire.driver_opts {
        if let Some(set) = options.set(&key.to_ascii_lowercase(), value) {
            faults.take(set);
            continue;
        }
        match key.to_ascii_lowercase().as_str() {
            "com.docker.network.endpoint.ifname" => interface = faults.take(parse_interface(value)),
            "allow-address" => allowed.nets = take_each(value, parse_allowed_address, &mut faults),
            "allow-mac" => allowed.macs = take_each(value, parse_station, &mut faults),
            "com.docker.network.endpoint.sysctls" => warnings.push(format!(
                "endpoint option {key} is not in effect: kernel parameters of one interface are not set here"
            )),
            _ => match closest(key, ENDPOINT_OPTIONS.into_iter().chain(PortOptions::names())).filter(|_| misspelt(key))
            {
                Some(near) => faults.add(format!("unknown endpoint option {key}; did you mean {near}?")),
                None => warnings.push(format!("endpoint option {key} is not known here; it is kept and of no effect")),
            },
        }
    }
    faults.take(options.check());
    let mut aliases = wire.aliases.clone();
    aliases.dedup();
    let (gw_priority, driver_opts) = (wire.gw_priority, wire.driver_opts.clone());
    faults.finish(EndpointSpec {
        ipv4,
        ipv6,
        link_local,
        mac,
        aliases,
        links,
        gw_priority,
        interface,
        driver_opts,
        warnings,
        allowed,
        options,
    })
}

fn parse_link_local(text: &str) -> Result<IpAddr, String> {
    let address = text.parse().ok().filter(|address| match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    });
    address.ok_or_else(|| format!("invalid link-local IP address: {text}; use one of 169.254.0.0/16 or fe80::/10"))
}

/// Options of endpoints.
const ENDPOINT_OPTIONS: [&str; 3] = ["com.docker.network.endpoint.ifname", "allow-address", "allow-mac"];

/// Whether a key can be a slip of the pen: other programs' may end in the same words.
fn misspelt(key: &str) -> bool {
    !key.contains('.') || key.starts_with("com.docker.network.")
}

/// Values that stand between commas.
fn take_each<T, E: std::fmt::Display>(text: &str, parse: impl Fn(&str) -> Result<T, E>, faults: &mut Faults) -> Vec<T> {
    text.split(',')
        .map(str::trim)
        .filter_map(|one| faults.take(parse(one).map_err(|error| error.to_string())))
        .collect()
}

/// An address, or all those of a subnet.
fn parse_allowed_address(text: &str) -> Result<IpNet, String> {
    let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map(|net: IpNet| net.trunc())
        .map_err(|_| format!("invalid allowed address {text:?}: write ADDRESS or ADDRESS/LENGTH"))
}

/// Checks the body of `POST /endpoints`.
///
/// # Errors
/// All faults at once.
pub fn parse_attach(wire: AttachRequest) -> Result<AttachSpec, Faults> {
    let mut faults = Faults::new("");
    let name = wire.name.and_then(|name| faults.take(container_name(&name)));
    let netns = match (wire.pid, wire.netns) {
        (Some(pid), None) if pid > 0 && i32::try_from(pid).is_ok() => NetnsRef::Pid(pid),
        (Some(pid), None) => {
            faults.add(format!("{pid} is no process id"));
            NetnsRef::Pid(0)
        }
        (None, Some(path)) => {
            if !path.starts_with('/') || path.contains('\0') {
                faults.add(format!("the namespace path {path:?} is not absolute; write it from / on"));
            }
            NetnsRef::Path(path)
        }
        _ => {
            faults.add("name exactly one of pid and netns");
            NetnsRef::Pid(0)
        }
    };
    if wire.network.is_empty() {
        faults.add("name the network to attach to with --network");
    }
    let mut endpoint = match parse_endpoint(&wire.endpoint) {
        Ok(spec) => spec,
        Err(more) => {
            faults.append(more);
            EndpointSpec::default()
        }
    };
    if let Some(text) = wire.interface {
        endpoint.interface = faults.take(parse_interface(&text));
    }
    let AttachRequest { default_route, force, network, .. } = wire;
    faults.finish(AttachSpec {
        name,
        netns,
        network,
        endpoint,
        default_route,
        force,
        engine: None,
        wishes: EngineWishes::default(),
    })
}

/// Linux takes at most 15 bytes, no slash, colon or space, and neither `.` nor `..`.
pub(super) fn parse_interface(text: &str) -> Result<String, String> {
    let good = (1..=15).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'))
        && !matches!(text, "." | ".." | "lo" | "all" | "default");
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid interface name {text:?}: use 1 to 15 letters, digits, '_', '.' or '-'"))
    }
}

fn parse_static(text: &str, ipv4: bool, faults: &mut Faults) -> Option<StaticAddress> {
    if text.is_empty() {
        return None;
    }
    let family = if ipv4 { "IPv4" } else { "IPv6" };
    let (rest, gateway) = match text.split_once('@') {
        Some((rest, gateway)) => (rest, Some(gateway)),
        None => (text, None),
    };
    let (address, prefix) = match rest.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (rest, None),
    };
    let address_of = |text: &str| text.parse::<IpAddr>().ok().filter(|address| address.is_ipv4() == ipv4);
    let bad = || format!("invalid {family} address: {text} (write ADDRESS, ADDRESS/LENGTH or ADDRESS/LENGTH@GATEWAY)");
    let Some(address) = address_of(address).filter(|address| !address.is_unspecified() && !address.is_multicast())
    else {
        faults.add(bad());
        return None;
    };
    let longest = if ipv4 { 32 } else { 128 };
    let prefix = prefix.map(|prefix| prefix.parse::<u8>().ok().filter(|length| (1..=longest).contains(length)));
    let gateway = gateway.map(address_of);
    if prefix == Some(None) || gateway == Some(None) {
        faults.add(bad());
        return None;
    }
    Some(StaticAddress { address, prefix: prefix.flatten(), gateway: gateway.flatten() })
}

#[cfg(test)]
mod tests {
    use vswitch_api::network::EndpointIpamConfig;

    use super::*;

    fn with(ipv4: &str, ipv6: &str, mac: &str) -> Result<EndpointSpec, Faults> {
        parse_endpoint(&EndpointConfig {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: ipv4.into(),
                ipv6_address: ipv6.into(),
                ..Default::default()
            }),
            mac_address: mac.into(),
            ..EndpointConfig::default()
        })
    }

    /// Static addresses take a length and a gateway; anything else is refused, all faults at once.
    #[test]
    fn static_addresses() {
        let spec = with("10.0.0.220/24@10.0.0.254", "fd00::5", "02:42:0a:00:00:05").unwrap();
        let ipv4 = spec.ipv4.unwrap();
        assert_eq!((ipv4.address.to_string(), ipv4.prefix), ("10.0.0.220".to_owned(), Some(24)));
        assert_eq!(ipv4.gateway.unwrap().to_string(), "10.0.0.254");
        for bad in ["10.0.0", "10.0.0.1/33", "10.0.0.1/0", "10.0.0.1@", "fd00::1", "0.0.0.0", "224.0.0.1"] {
            assert!(with(bad, "", "").is_err(), "{bad}");
        }
        let text = with("x", "10.0.0.1", "01:00:00:00:00:00").unwrap_err().to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    /// Options that are nobody's are kept with a warning; one that is misspelt is refused.
    #[test]
    fn options() {
        let with = |key: &str| {
            let driver_opts = [(key.to_owned(), "on".to_owned())].into();
            parse_endpoint(&EndpointConfig { driver_opts, ..EndpointConfig::default() })
        };
        let spec = with("com.docker-py.setting").unwrap();
        assert!(spec.driver_opts.contains_key("com.docker-py.setting") && spec.warnings[0].contains("of no effect"));
        assert!(with("key1").is_ok() && with("com.docker.network.endpoint.ifname").unwrap().warnings.is_empty());
        let error = with("com.docker.network.endpoint.ifnam").unwrap_err().to_string();
        assert!(error.contains("did you mean com.docker.network.endpoint.ifname?"), "{error}");
    }

    /// For whom an endpoint may speak beside itself: subnets, addresses and MAC addresses, between commas.
    #[test]
    fn allowed_addresses() {
        let with = |key: &str, value: &str| {
            let driver_opts = [(key.to_owned(), value.to_owned())].into();
            parse_endpoint(&EndpointConfig { driver_opts, ..EndpointConfig::default() }).map(|spec| spec.allowed)
        };
        let nets = with("allow-address", "10.8.0.9/24,192.0.2.1, fd00::/8").unwrap().nets;
        let text: Vec<_> = nets.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["10.8.0.0/24", "192.0.2.1/32", "fd00::/8"]);
        assert_eq!(with("allow-mac", "00:00:5e:00:01:07").unwrap().macs[0].to_string(), "00:00:5e:00:01:07");
        for (key, bad) in [("allow-address", "10.0.0.0/33"), ("allow-address", ""), ("allow-mac", "01:00:5e:00:00:01")]
        {
            assert!(with(key, bad).is_err(), "{key}={bad}");
        }
    }

    /// Exactly one of pid and netns, an absolute path, a usable interface name.
    #[test]
    fn attach_requests() {
        let good = AttachRequest { pid: Some(1), network: "n".into(), ..AttachRequest::default() };
        assert!(parse_attach(good.clone()).is_ok());
        assert!(parse_attach(AttachRequest { netns: Some("/x".into()), ..good.clone() }).is_err());
        assert!(parse_attach(AttachRequest { pid: Some(0), ..good.clone() }).is_err());
        assert!(parse_attach(AttachRequest { pid: None, netns: Some("x".into()), ..good.clone() }).is_err());
        for bad in ["", "lo", "a/b", "0123456789abcdef"] {
            assert!(parse_attach(AttachRequest { interface: Some(bad.into()), ..good.clone() }).is_err(), "{bad}");
        }
    }
}
