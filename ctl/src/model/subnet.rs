//! What a user wants of a network's addresses: one entry of `IPAM.Config`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use vswitch_api::network::IpamConfig;

use super::Faults;
use crate::ipam::{GatewayLeg, Leases, SubnetPlan, default_gateway};

/// Which addresses of one family a network should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Family {
    /// None.
    Off,
    /// vswitchd chooses the subnet.
    Automatic,
    /// The user named the subnet.
    Given(SubnetWish),
}

/// A subnet as named by the user, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetWish {
    /// What becomes of it.
    pub plan: SubnetPlan,
}

/// One subnet by itself.
///
/// # Errors
/// All faults at once.
pub fn parse_subnet(config: &IpamConfig) -> Result<SubnetWish, Faults> {
    let mut faults = Faults::new("");
    match parse(config, &mut faults) {
        Some(wish) => faults.finish(wish),
        None => Err(faults),
    }
}

/// One entry, or `None` after a fault.
pub(super) fn parse(config: &IpamConfig, faults: &mut Faults) -> Option<SubnetWish> {
    let before = faults.len();
    let net = parse_net(&config.subnet, faults)?;
    let range = parse_range(&config.ip_range, net, faults);
    let gateway = parse_inside(&format!("gateway {}", config.gateway), &config.gateway, net, faults);
    let mut aux = BTreeMap::new();
    for (name, text) in &config.auxiliary_addresses {
        if let Some(address) = parse_inside(&format!("auxiliary address {name}={text}"), text, net, faults) {
            aux.insert(name.clone(), address);
        }
    }
    if let (Some(gateway), Some((name, _))) = (gateway, aux.iter().find(|(_, address)| Some(**address) == gateway)) {
        faults
            .add(format!("failed to allocate gateway ({gateway}): Address already in use by auxiliary address {name}"));
    }
    let Some(gateway) = gateway.or_else(|| default_gateway(net, &aux)) else {
        faults.add(no_room(net));
        return None;
    };
    let plan = SubnetPlan { net, range, gateway, leg: GatewayLeg::Switch, aux, given: true };
    if faults.len() == before && !Leases::new(&plan).has_room() {
        faults.add(no_room(range.unwrap_or(net)));
    }
    (faults.len() == before).then_some(SubnetWish { plan })
}

fn no_room(net: IpNet) -> String {
    format!("invalid subnet {net}: it has no room for a container beside the gateway; use a larger one")
}

fn parse_net(text: &str, faults: &mut Faults) -> Option<IpNet> {
    if text.is_empty() {
        faults.add("every ip-range or gateway must have a corresponding subnet; add --subnet");
        return None;
    }
    let Ok(net) = text.parse::<IpNet>() else {
        faults.add(format!("invalid subnet {text}: write an address and a prefix length such as 10.1.0.0/16"));
        return None;
    };
    if net.network() != net.addr() {
        faults.add(format!("invalid subnet {text}: it should be {}", net.trunc()));
        return None;
    }
    if let Some(why) = unusable(net) {
        faults.add(format!("invalid subnet {text}: {why}"));
        return None;
    }
    Some(net)
}

/// Subnets that no container can live in.
fn unusable(net: IpNet) -> Option<&'static str> {
    let first = net.network();
    if first.is_multicast() {
        return Some("these are multicast addresses; use a private subnet such as 10.1.0.0/16");
    }
    match net {
        IpNet::V4(v4) if v4.prefix_len() < 8 => Some("it is too large; use a prefix length of at least 8"),
        IpNet::V4(_) if first.is_loopback() => Some("these are loopback addresses; use a private subnet"),
        IpNet::V4(v4) if v4.network().octets()[0] == 0 || v4.network().octets()[0] >= 240 => {
            Some("these addresses are reserved; use a private subnet such as 10.1.0.0/16")
        }
        IpNet::V6(v6) if v6.network().is_unicast_link_local() => {
            Some("link-local addresses exist on every interface anyway; use a ULA subnet such as fd00:1::/64")
        }
        IpNet::V6(v6) if v6.prefix_len() < 8 => Some("it is too large; use a prefix length such as 64"),
        IpNet::V6(v6) if v6.network().is_loopback() || v6.network().is_unspecified() => {
            Some("this address is reserved; use a ULA subnet such as fd00:1::/64")
        }
        _ => None,
    }
}

fn parse_range(text: &str, net: IpNet, faults: &mut Faults) -> Option<IpNet> {
    if text.is_empty() {
        return None;
    }
    let Ok(range) = text.parse::<IpNet>() else {
        faults.add(format!("invalid ip-range {text}: write an address and a prefix length such as 10.1.5.0/24"));
        return None;
    };
    let before = faults.len();
    if is_v4(range.addr()) != is_v4(net.addr()) {
        faults.add(format!("invalid ip-range {text}: {}", parent(net)));
        return None;
    }
    if range.prefix_len() < net.prefix_len() {
        faults.add(format!("invalid ip-range {text}: CIDR block is bigger than its parent subnet {net}"));
    }
    if range.network() != range.addr() {
        faults.add(format!("invalid ip-range {text}: it should be {}", range.trunc()));
    }
    if !net.contains(&range.addr()) {
        faults.add(format!("invalid ip-range {text}: parent subnet {net} doesn't contain ip-range"));
    }
    (faults.len() == before).then_some(range)
}

/// An address that must lie in the subnet and not be its network or broadcast address.
fn parse_inside(what: &str, text: &str, net: IpNet, faults: &mut Faults) -> Option<IpAddr> {
    if text.is_empty() {
        return None;
    }
    let Ok(address) = text.parse::<IpAddr>() else {
        faults.add(format!("invalid {what}: it is no IP address"));
        return None;
    };
    if is_v4(address) != is_v4(net.addr()) {
        faults.add(format!("invalid {what}: {}", parent(net)));
        return None;
    }
    if !net.contains(&address) {
        faults.add(format!("invalid {what}: parent subnet {net} doesn't contain this address"));
        return None;
    }
    let edge = address == net.network() || (is_v4(address) && address == net.broadcast());
    if edge && net.prefix_len() + 2 <= net.max_prefix_len() {
        faults.add(format!("invalid {what}: it is the network or broadcast address of {net}"));
        return None;
    }
    Some(address)
}

fn parent(net: IpNet) -> &'static str {
    if is_v4(net.addr()) { "parent subnet is an IPv4 block" } else { "parent subnet is an IPv6 block" }
}

const fn is_v4(address: IpAddr) -> bool {
    address.is_ipv4()
}
