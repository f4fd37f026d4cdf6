//! `netavark create`, by which podman from 6.1 on completes a network that it is about to write to a file: subnets that
//! nobody has, gateways, the name of the bridge. Nothing is made; the switch hears of a network with its first container.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use anyhow::{Context, bail};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;

use super::translate::parsed;
use super::wire::{Network, Subnet};

/// What `create` reads.
#[derive(Debug, Deserialize)]
pub(super) struct CreateRequest {
    pub(super) network: Network,
    #[serde(default)]
    used: Used,
    options: CreateOptions,
}

/// What other networks and the host have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Used {
    interfaces: BTreeSet<String>,
    names: BTreeMap<String, String>,
    subnets: Vec<IpNet>,
}

/// How what is missing is chosen.
#[derive(Debug, Deserialize)]
struct CreateOptions {
    #[serde(default)]
    subnet_pools: Vec<Pool>,
    default_interface_name: Option<String>,
    #[serde(default)]
    check_used_subnets: bool,
}

/// Subnets to choose from.
#[derive(Debug, Deserialize)]
struct Pool {
    base: IpNet,
    size: u8,
}

/// Options of bridges that podman may be asked for.
const OPTIONS: [&str; 9] =
    ["mtu", "isolate", "mode", "metric", "no_default_route", "vrf", "vlan", "outbound_addr4", "outbound_addr6"];

/// Longest name of an interface, bytes.
const LONGEST_INTERFACE: usize = 15;

/// The network, completed. `seed` chooses an IPv6 subnet.
///
/// # Errors
/// In the sentences that netavark's users know.
pub(super) fn complete(request: CreateRequest, seed: u64, host: &BTreeSet<String>) -> anyhow::Result<Network> {
    let CreateRequest { mut network, used, options } = request;
    check_name(&network, &used)?;
    let managed = check_options(&mut network)?;
    let check_used = managed && options.check_used_subnets;
    name_bridge(&mut network, &used, &options, managed, host)?;
    let subnets = network.subnets.get_or_insert_default();
    match network.ipam_options.as_ref().and_then(|options| options.get("driver")).map_or("", String::as_str) {
        "" | "host-local" => {
            let has = |subnets: &[Subnet], ipv6: bool| subnets.iter().any(|one| one.subnet.contains(':') == ipv6);
            if subnets.is_empty() || (network.ipv6_enabled && !has(subnets, false)) {
                subnets.push(Subnet::of(free_ipv4(&options.subnet_pools, &used, check_used)?.into()));
            }
            if network.ipv6_enabled && !has(subnets, true) {
                subnets.push(Subnet::of(free_ipv6(&used, seed)?.into()));
            }
            network.ipam_options.get_or_insert_default().insert("driver".to_owned(), "host-local".to_owned());
        }
        "none" if !subnets.is_empty() => bail!("None ipam driver is set but subnets are given"),
        "none" => network.dns_enabled = false,
        "dhcp" => {}
        other => bail!("Unsupported ipam driver: {other}"),
    }
    if network.network_dns_servers.is_some() && !network.dns_enabled {
        bail!("cannot set NetworkDNSServers if DNS is not enabled for the network");
    }
    complete_subnets(&mut network, check_used.then_some(&used))?;
    check_routes(&network)?;
    network.created = Some(now());
    Ok(network)
}

fn check_name(network: &Network, used: &Used) -> anyhow::Result<()> {
    let name = &network.name;
    if name.is_empty() {
        bail!("Network name must be supplied");
    }
    if !is_word(name) {
        bail!("Invalid characters in network name {name:?}: must match [a-zA-Z0-9][a-zA-Z0-9_.-]*");
    }
    if used.names.contains_key(name) {
        bail!("network already exists {name}");
    }
    if network.id.is_empty() {
        bail!("Network id must be supplied");
    }
    if network.id.len() != 64 || !network.id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("Network id must be a hexadecimal string of 64 digits: {:?}", network.id);
    }
    Ok(())
}

fn is_word(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Whether the bridge is podman's own.
fn check_options(network: &mut Network) -> anyhow::Result<bool> {
    if let Some(options) = &mut network.options {
        if let Some(mtu) = options.remove("com.docker.network.driver.mtu") {
            options.insert("mtu".to_owned(), mtu);
        }
        if let Some(name) = options.remove("com.docker.network.bridge.name") {
            network.network_interface = Some(name);
        }
        let unknown = |key: &&String| !OPTIONS.contains(&key.as_str()) && !key.starts_with("com.docker.network.");
        if let Some(key) = options.keys().find(unknown) {
            bail!("unsupported bridge network option: {key}");
        }
    }
    parsed::<u32>(network, "mtu")?;
    parsed::<u32>(network, "metric")?;
    parsed::<bool>(network, "no_default_route")?;
    if !matches!(network.option("isolate"), None | Some("true" | "false" | "strict")) {
        bail!("unable to parse \"isolate\": write true, false or strict");
    }
    let vlan = parsed::<u16>(network, "vlan")?;
    if vlan.is_some_and(|vlan| vlan > 4094) {
        bail!("vlan must be between 0 and 4094");
    }
    Ok(vlan.is_none() && network.option("mode").is_none_or(|mode| mode == "managed"))
}

fn name_bridge(
    network: &mut Network,
    used: &Used,
    options: &CreateOptions,
    managed: bool,
    host: &BTreeSet<String>,
) -> anyhow::Result<()> {
    if let Some(name) = network.network_interface.as_ref().filter(|name| !name.is_empty()) {
        if managed && used.interfaces.contains(name) {
            bail!("bridge name {name} already in use");
        }
        if !is_word(name) || name.len() > LONGEST_INTERFACE {
            bail!("bridge name {name} is invalid");
        }
        return Ok(());
    }
    let prefix = options.default_interface_name.as_deref().context("default interface name is not set")?;
    let taken = |name: &String| used.interfaces.contains(name) || used.names.contains_key(name) || host.contains(name);
    let free = (1..1_000_000).map(|number| format!("{prefix}{number}")).find(|name| !taken(name));
    network.network_interface = Some(free.context("could not find a free device name")?);
    Ok(())
}

fn overlaps(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn free_ipv4(pools: &[Pool], used: &Used, check: bool) -> anyhow::Result<Ipv4Net> {
    for pool in pools {
        let IpNet::V4(base) = pool.base else { continue };
        let subnets = base
            .trunc()
            .subnets(pool.size)
            .ok()
            .with_context(|| format!("the subnet pool {} has no subnets of the size {}", pool.base, pool.size))?;
        let mut subnets =
            subnets.filter(|one| !check || !used.subnets.iter().any(|used| overlaps(used, &(*one).into())));
        if let Some(free) = subnets.next() {
            return Ok(free);
        }
    }
    bail!("could not find free subnet from subnet pools")
}

/// RFC 4193: a random one, not one after the other.
fn free_ipv6(used: &Used, seed: u64) -> anyhow::Result<Ipv6Net> {
    let candidate = |round: u64| {
        let bits = seed.wrapping_add(round).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
        Ipv6Net::new_assert(((0xfd00_0000_0000_0000 | u128::from(bits)) << 64).into(), 64)
    };
    let free = |net: &Ipv6Net| !used.subnets.iter().any(|used| overlaps(used, &(*net).into()));
    (0..10_000).map(candidate).find(free).context("failed to get random ipv6 subnet")
}

fn complete_subnets(network: &mut Network, used: Option<&Used>) -> anyhow::Result<()> {
    let with_gateway = !network.internal || network.dns_enabled;
    let mut before: Vec<IpNet> = Vec::new();
    for one in network.subnets.iter_mut().flatten() {
        let subnet = one.subnet.parse::<IpNet>().with_context(|| format!("invalid subnet {:?}", one.subnet))?.trunc();
        if before.contains(&subnet) {
            bail!("duplicate subnet defined: {subnet}");
        }
        if let Some(other) = before.iter().find(|other| overlaps(other, &subnet)) {
            bail!("overlapping subnets: {other} and {subnet}");
        }
        if used.is_some_and(|used| used.subnets.iter().any(|other| overlaps(other, &subnet))) {
            bail!("subnet {subnet} is already used on the host or by another config");
        }
        one.subnet = subnet.to_string();
        match one.gateway {
            Some(gateway) if !subnet.contains(&gateway) => bail!("gateway {gateway} not in subnet {subnet}"),
            None if with_gateway => one.gateway = Some(first_address(&subnet)?),
            _ => {}
        }
        check_range(one, &subnet)?;
        network.ipv6_enabled |= subnet.addr().is_ipv6();
        before.push(subnet);
    }
    Ok(())
}

fn first_address(subnet: &IpNet) -> anyhow::Result<IpAddr> {
    // The first address of an IPv4 subnet is the network's, the last one the broadcast's.
    let longest = if subnet.addr().is_ipv4() { 31 } else { 128 };
    if subnet.prefix_len() >= longest {
        bail!("could not create gateway for subnet {subnet} because it has a {longest} or greater subnet prefix");
    }
    Ok(match subnet.network() {
        IpAddr::V4(address) => std::net::Ipv4Addr::from_bits(address.to_bits() + 1).into(),
        IpAddr::V6(address) => std::net::Ipv6Addr::from_bits(address.to_bits() + 1).into(),
    })
}

fn check_range(subnet: &Subnet, net: &IpNet) -> anyhow::Result<()> {
    let Some(range) = &subnet.lease_range else { return Ok(()) };
    let bound = |name: &str, address: Option<IpAddr>| match address {
        Some(address) if !net.contains(&address) => bail!("lease range {name} {address} not in subnet {net}"),
        address => Ok(address),
    };
    let (start, end) = (bound("start_ip", range.start_ip)?, bound("end_ip", range.end_ip)?);
    match (start, end) {
        (Some(start), Some(end)) if start > end => {
            bail!("lease range start_ip {start} must be less than or equal to end_ip {end}")
        }
        _ => Ok(()),
    }
}

fn check_routes(network: &Network) -> anyhow::Result<()> {
    for route in network.routes.iter().flatten() {
        let destination = route.destination;
        if destination != destination.trunc() {
            bail!("route destination {destination} is an address of a host, not of a network");
        }
        match (route.route_type.as_deref().unwrap_or("unicast"), route.gateway) {
            ("unicast", None) => bail!("route {destination} requires a gateway for type unicast"),
            (kind @ ("blackhole" | "unreachable" | "prohibit"), Some(_)) => {
                bail!("route {destination} must not have a gateway for type {kind}")
            }
            ("unicast" | "blackhole" | "unreachable" | "prohibit", _) => {}
            (other, _) => bail!("unknown route type {other:?} of route {destination}"),
        }
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "the network's file has the time at which it was made")]
fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    humantime::format_rfc3339_nanos(UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "abc123def4567890123456789012345678901234567890123456789012345678";

    fn create(change: impl FnOnce(&mut Value)) -> Result<Network, String> {
        let mut request = json!({
            "network": {"name": "n", "id": ID, "driver": "bridge", "x": 1},
            "used": {"interfaces": ["podman1"], "names": {"podman2": "y"}, "subnets": ["10.89.0.0/24"]},
            "options": {"subnet_pools": [{"base": "10.89.0.0/16", "size": 24}], "default_interface_name": "podman",
                "check_used_subnets": true}
        });
        change(&mut request);
        let request = serde_json::from_value(request).map_err(|error| error.to_string())?;
        let host = BTreeSet::from(["podman3".to_owned()]);
        complete(request, 1, &host).map_err(|error| error.to_string())
    }

    /// What is missing is chosen where nobody is, what is there is kept, and what this program does not know, too.
    #[test]
    fn completed() {
        let network = create(|_| {}).unwrap();
        assert_eq!(network.network_interface.as_deref(), Some("podman4"));
        let subnets = network.subnets.as_ref().unwrap();
        assert_eq!(
            (subnets[0].subnet.as_str(), subnets[0].gateway.unwrap().to_string()),
            ("10.89.1.0/24", "10.89.1.1".into())
        );
        assert_eq!(network.more["x"], 1);
        assert!(network.created.is_some());
        let both = create(|one| one["network"]["ipv6_enabled"] = true.into()).unwrap();
        assert!(both.subnets.unwrap()[1].subnet.starts_with("fd"));
        let internal = create(|one| one["network"]["internal"] = true.into()).unwrap();
        assert!(internal.subnets.unwrap()[0].gateway.is_none());
    }

    /// Each refusal in the words that netavark's callers look for.
    #[test]
    fn refused() {
        let options = |key: &'static str, value: &'static str| {
            move |one: &mut Value| one["network"]["options"] = json!({key: value})
        };
        let subnets = |value: Value| move |one: &mut Value| one["network"]["subnets"] = value;
        for (sentence, result) in [
            ("must match", create(|one| one["network"]["name"] = "a!".into())),
            ("network already exists podman2", create(|one| one["network"]["name"] = "podman2".into())),
            ("must be supplied", create(|one| one["network"]["id"] = "".into())),
            (
                "bridge name podman1 already in use",
                create(|one| one["network"]["network_interface"] = "podman1".into()),
            ),
            ("unsupported bridge network option: mtuu", create(options("mtuu", "1"))),
            ("unable to parse \"mtu\": invalid digit", create(options("mtu", "x"))),
            ("between 0 and 4094", create(options("vlan", "5000"))),
            ("is already used", create(subnets(json!([{"subnet": "10.89.0.128/25"}])))),
            ("duplicate subnet", create(subnets(json!([{"subnet": "10.1.0.0/24"}, {"subnet": "10.1.0.0/24"}])))),
            ("overlapping subnets", create(subnets(json!([{"subnet": "10.1.0.0/16"}, {"subnet": "10.1.3.0/24"}])))),
            ("31 or greater", create(subnets(json!([{"subnet": "10.1.0.0/32"}])))),
            ("not in subnet", create(subnets(json!([{"subnet": "10.1.0.0/24", "gateway": "10.2.0.1"}])))),
            ("requires a gateway", create(|one| one["network"]["routes"] = json!([{"destination": "10.2.0.0/24"}]))),
            ("invalid IP address", create(|one| one["network"]["network_dns_servers"] = json!(["x"]))),
            ("not enabled", create(|one| one["network"]["network_dns_servers"] = json!(["1.1.1.1"]))),
            (
                "could not find free",
                create(|one| one["options"]["subnet_pools"] = json!([{"base": "10.89.0.0/24", "size": 24}])),
            ),
        ] {
            let error = result.unwrap_err();
            assert!(error.contains(sentence), "{sentence}: {error}");
        }
    }
}
