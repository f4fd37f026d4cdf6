//! From what the command line says and the host has to what vswitchd is asked for. Pure.
//!
//! The namespace has the host's own address, and the host's gateway: nobody is behind that gateway but the switch. To vswitchd
//! the network is one step wider than the host's subnet, so that there is an address of its own that is none of the host's
//! neighbours'; of all of it, the namespace's address alone is on the network, and the gateway answers for the rest
//! (`proxy-arp=rest`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use vswitch_api::engine::{EngineAttach, EngineKey, EngineRoute};
use vswitch_api::network::{Ipam, IpamConfig, NetworkCreate};

use super::NAME;
use super::options::{Family, Options};
use super::upstream::Upstream;

/// What vswitchd knows the namespace by.
const GUEST: &str = "guest";

/// An id for the one network.
const NETWORK_ID: &str = "59";

/// The interface where the host has none that leads out.
const INTERFACE: &str = "tap0";

/// The network where the host has no way out: what rootless engines have had for that since ever.
const ALONE: (Ipv4Addr, u8, Ipv4Addr) = (Ipv4Addr::new(10, 0, 2, 100), 24, Ipv4Addr::new(10, 0, 2, 2));

/// Subnets of a host's address are taken for at least so large.
const NARROWEST: (u8, u8) = (24, 64);
/// vswitchd takes no larger ones.
const WIDEST: u8 = 8;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The way out, as `--uplink` takes it.
    pub(super) uplink: String,
    pub(super) attach: EngineAttach,
}

/// One family, decided.
#[derive(Debug)]
struct Leg {
    address: IpNet,
    gateway: Option<IpAddr>,
    /// The network to vswitchd, and the address of its own.
    net: IpNet,
    own: IpAddr,
    loopback: Option<IpAddr>,
    host: Option<(IpAddr, IpAddr)>,
    names: Vec<IpAddr>,
    routes: Vec<EngineRoute>,
}

/// An endpoint with what the host has.
///
/// # Errors
/// When nothing of the host's can be had.
pub(super) fn mimic(options: &Options, (v4, v6): (Option<&Upstream>, Option<&Upstream>)) -> Result<Plan, String> {
    let nothing = v4.is_none() && v6.is_none() && options.ipv4.address.is_none() && options.ipv6.address.is_none();
    let mut given_v4 = options.ipv4.clone();
    if nothing && !given_v4.off {
        let (address, prefix, gateway) = ALONE;
        (given_v4.address, given_v4.prefix) = (Some(address), Some(prefix));
        given_v4.gateway = given_v4.gateway.or(Some(gateway));
    }
    let legs = [leg(&given_v4, v4, options)?, leg(&options.ipv6, v6, options)?];
    if legs.iter().all(Option::is_none) {
        return Err(
            "the host has no address of the family that is left; leave --ipv4-only or --ipv6-only out".to_owned()
        );
    }
    let interface = [v4, v6].into_iter().flatten().map(|one| one.interface.clone()).next();
    let interface = options.ns_ifname.clone().or(interface).unwrap_or_else(|| INTERFACE.to_owned());
    let legs: Vec<Leg> = legs.into_iter().flatten().collect();
    let proxied = legs.iter().flat_map(|leg| {
        let gateway = leg.gateway.filter(|gateway| leg.loopback == Some(*gateway) || is_link_local(*gateway));
        let others = leg.loopback.filter(|loopback| Some(*loopback) != gateway).into_iter();
        gateway.into_iter().chain(others).chain(leg.host.map(|(inside, _)| inside))
    });
    let proxied: Vec<String> = std::iter::once("rest".to_owned()).chain(proxied.map(|one| one.to_string())).collect();
    let names: Vec<String> = legs.iter().flat_map(|leg| &leg.names).map(ToString::to_string).collect();
    let config = legs.iter().map(|leg| IpamConfig {
        subnet: leg.net.to_string(),
        gateway: leg.own.to_string(),
        ip_range: IpNet::from(leg.address.addr()).to_string(),
        ..IpamConfig::default()
    });
    let mut network_options = vec![
        ("mtu", options.mtu.to_string()),
        ("proxy-arp", proxied.join(",")),
        // The namespace is alone there, and may have what addresses it likes.
        ("anti-spoof", "false".to_owned()),
    ];
    if !names.is_empty() {
        network_options.push(("gateway-addresses", names.join(",")));
    }
    let network = NetworkCreate {
        name: NAME.to_owned(),
        enable_ipv4: Some(legs.iter().any(|leg| leg.own.is_ipv4())),
        enable_ipv6: Some(legs.iter().any(|leg| leg.own.is_ipv6())),
        ipam: Some(Ipam { driver: "default".to_owned(), options: None, config: config.collect() }),
        options: network_options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        ..NetworkCreate::default()
    };
    let attach = EngineAttach {
        key: key(&interface),
        name: GUEST.to_owned(),
        network,
        network_id: NETWORK_ID.repeat(32),
        addresses: legs.iter().map(|leg| leg.address.to_string()).collect(),
        mac_address: options.ns_mac.clone(),
        publish: options.ports.published(),
        network_dns_servers: options.dns_hosts.iter().map(ToString::to_string).collect(),
        no_default_route: true,
        routes: legs.iter().flat_map(|leg| leg.routes.clone()).collect(),
        replace_tap: true,
        ..EngineAttach::default()
    };
    Ok(Plan { uplink: uplink(options, &legs), attach })
}

/// An endpoint on a network that exists.
pub(super) fn join(options: &Options, network: &str, container: &str) -> EngineAttach {
    let name = options.name.clone().unwrap_or_else(|| container.to_owned());
    let interface = options.ns_ifname.as_deref().unwrap_or(INTERFACE);
    let v4 = options.ipv4.address.map(|address| address.to_string());
    let v6 = options.ipv6.address.map(|address| address.to_string());
    EngineAttach {
        key: EngineKey { container: container.to_owned(), ..key(interface) },
        name,
        network: NetworkCreate { name: network.to_owned(), ..NetworkCreate::default() },
        addresses: v4.into_iter().chain(v6).collect(),
        mac_address: options.ns_mac.clone(),
        publish: options.ports.published(),
        replace_tap: true,
        ..EngineAttach::default()
    }
}

fn key(interface: &str) -> EngineKey {
    EngineKey { engine: NAME.to_owned(), container: GUEST.to_owned(), interface: interface.to_owned() }
}

fn uplink(options: &Options, legs: &[Leg]) -> String {
    let loopbacks = legs.iter().filter_map(|leg| leg.loopback).map(|address| format!(",host-loopback={address}"));
    let hosts = legs.iter().filter_map(|leg| leg.host).map(|(inside, host)| format!(",host-address={inside}@{host}"));
    let sources = [options.ipv4.outbound.map(IpAddr::V4), options.ipv6.outbound.map(IpAddr::V6)];
    let sources = sources.into_iter().flatten().map(|address| format!(",outbound-address={address}"));
    std::iter::once("sockets".to_owned()).chain(loopbacks).chain(hosts).chain(sources).collect()
}

/// `None`: there is none of this family.
fn leg<A: Copy + Into<IpAddr>>(
    given: &Family<A>,
    upstream: Option<&Upstream>,
    options: &Options,
) -> Result<Option<Leg>, String> {
    let Some(address) = given.address.map(Into::into).or_else(|| Some(upstream?.address.addr())) else {
        return Ok(None);
    };
    if given.off {
        return Ok(None);
    }
    let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
    let of_host = upstream.filter(|one| one.address.contains(&address)).map(|one| one.address.prefix_len());
    let prefix = given.prefix.or(of_host).unwrap_or_else(|| if address.is_ipv4() { class(address) } else { 64 });
    let invalid = |_| format!("invalid prefix length {prefix} of {address}");
    let address = IpNet::new(address, prefix).map_err(invalid)?;
    let gateway: Option<IpAddr> = given.gateway.map(Into::into).or_else(|| upstream?.gateway);
    let (net, own) = around(address).map_err(|_| invalid(ipnet::PrefixLenError))?;
    let loopback = match given.map_loopback {
        Some(named) => named.map(Into::into),
        None => gateway.filter(|gateway| options.map_gw && !is_link_local(*gateway)),
    };
    let host = given.map_guest.map(Into::into).zip(upstream.map(|one| one.address.addr()));
    let mut routes = Vec::new();
    // Whom the default route leads to: also where the host's own has no gateway.
    let router = gateway.unwrap_or(own);
    if !address.contains(&router) && !is_link_local(router) || (is_link_local(router) && router.is_ipv4()) {
        routes.push(route(IpNet::new(router, longest).map_err(invalid)?, None));
    }
    let default =
        IpNet::new(if router.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }, 0);
    routes.push(route(default.map_err(invalid)?, Some(router)));
    let copied = upstream.filter(|_| options.copies_routes && given.gateway.is_none() && given.address.is_none());
    for one in copied.into_iter().flat_map(|upstream| &upstream.routes) {
        // The host's way to its gateway is there already; who is on the host's link is behind the gateway here.
        if one.gateway.is_none() && one.destination.addr() == router {
            continue;
        }
        let via = one.gateway.filter(|via| address.contains(via)).unwrap_or(router);
        routes.push(route(one.destination, Some(via)));
    }
    let names = given.dns_forward.iter().map(|&address| address.into()).collect();
    Ok(Some(Leg { address, gateway, net, own, loopback, host, names, routes }))
}

/// A network one step wider than an address's subnet, and an address in its other half: at the end that is nobody's.
fn around(address: IpNet) -> Result<(IpNet, IpAddr), ipnet::PrefixLenError> {
    let narrowest = if address.addr().is_ipv4() { NARROWEST.0 } else { NARROWEST.1 };
    let half = IpNet::new(address.addr(), address.prefix_len().min(narrowest))?.trunc();
    if half.prefix_len() <= WIDEST {
        let last = before(half.broadcast());
        return Ok((half, if last == address.addr() { before(last) } else { last }));
    }
    let net = IpNet::new(half.addr(), half.prefix_len() - 1)?.trunc();
    let own = if net.addr() == half.addr() { after(half.broadcast()) } else { before(half.addr()) };
    Ok((net, own))
}

fn after(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_add(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_add(1)).into(),
    }
}

fn before(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_sub(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_sub(1)).into(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The prefix length of an IPv4 address of which nothing else is said, as pasta has it.
fn class(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) if address.octets()[0] < 128 => 8,
        IpAddr::V4(address) if address.octets()[0] < 192 => 16,
        _ => 24,
    }
}

fn route(destination: IpNet, gateway: Option<IpAddr>) -> EngineRoute {
    let gateway = gateway.map(|gateway| gateway.to_string());
    EngineRoute { destination: destination.to_string(), gateway, ..EngineRoute::default() }
}

#[cfg(test)]
mod tests;
