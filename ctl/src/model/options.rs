//! Driver options: `network create --opt KEY=VALUE`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Driver, Faults, Lan, Meeting, OverlayWish, PortOptions};

/// The options of a network, decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkOptions {
    /// Bytes of IP packet.
    pub mtu: u32,
    /// Containers of the network may talk to each other.
    pub icc: bool,
    /// Frames that claim to be from somebody else are dropped.
    pub anti_spoof: bool,
    /// Replace source addresses on the way out.
    pub masquerade: bool,
    /// Most addresses learned behind one port.
    pub mac_limit: Option<usize>,
    /// What the ports of its endpoints are asked beyond learning, unless they say otherwise themselves.
    #[serde(default)]
    pub ports: PortOptions,
    /// Where published ports are that name no address of the host.
    #[serde(default)]
    pub host_binding: Option<IpAddr>,
    /// What interfaces inside are called, before their number.
    #[serde(default)]
    pub interface_prefix: Option<String>,
    /// How IPv4 leaves.
    #[serde(default)]
    pub gateway_ipv4: GatewayMode,
    /// How IPv6 leaves.
    #[serde(default)]
    pub gateway_ipv6: GatewayMode,
    /// The IPv4 gateway's address is not the switch's: somebody else on the network has it, or nobody.
    #[serde(default)]
    pub inhibit_ipv4: bool,
    /// Frames of spanning tree pass.
    #[serde(default)]
    pub bpdus: bool,
    /// Frames to groups go to who asked for them.
    #[serde(default)]
    pub mcast_snooping: bool,
    /// With that, the switch asks its stations.
    #[serde(default)]
    pub mcast_querier: Option<bool>,
    /// Its addresses are its own: others may have the same ones, and nothing is routed between it and them.
    #[serde(default)]
    pub overlap: bool,
    /// The names of the uplinks that it leaves by, by the first that works; none named: any.
    #[serde(default)]
    pub uplinks: Vec<String>,
    /// Docker's name for the host bridge: stored and shown only, there is no host bridge.
    pub bridge_name: Option<String>,
    /// The host is on the network, with an interface of its own.
    #[serde(default)]
    pub host: bool,
    /// Names of containers are in the host's /etc/hosts.
    #[serde(default)]
    pub host_names: bool,
    /// It is on a LAN of the host.
    #[serde(default)]
    pub lan: Option<Lan>,
    /// Addresses of the subnets that nobody on the network has and that the gateway answers for: what is sent there leaves.
    #[serde(default)]
    pub proxied: Vec<IpAddr>,
    /// Of its subnets only the ranges are on the network; the gateway answers for the rest, which is outside.
    #[serde(default)]
    pub rest_proxied: bool,
    /// Further addresses of the gateway's own, at which it answers for names.
    #[serde(default)]
    pub gateway_addresses: Vec<IpAddr>,
    /// The user named the MTU, so that the network does not follow an underlay's or a parent's.
    #[serde(default)]
    pub mtu_given: bool,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        NetworkOptions {
            mtu: DEFAULT_MTU,
            icc: true,
            anti_spoof: true,
            masquerade: true,
            mac_limit: None,
            ports: PortOptions::default(),
            host_binding: None,
            interface_prefix: None,
            gateway_ipv4: GatewayMode::Nat,
            gateway_ipv6: GatewayMode::Nat,
            inhibit_ipv4: false,
            bpdus: false,
            mcast_snooping: false,
            mcast_querier: None,
            overlap: false,
            uplinks: Vec::new(),
            bridge_name: None,
            host: false,
            host_names: false,
            lan: None,
            proxied: Vec::new(),
            rest_proxied: false,
            gateway_addresses: Vec::new(),
            mtu_given: false,
        }
    }
}

/// Docker's `gateway_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum GatewayMode {
    /// Source addresses are replaced on the way out, if the network masquerades at all.
    #[default]
    Nat,
    /// Addresses stay what they are.
    Routed,
    /// There is no gateway; for networks that nothing leaves.
    Isolated,
}

/// What options come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedOptions {
    /// Of every network.
    pub options: NetworkOptions,
    /// Of the tunnel of an overlay network.
    pub wish: OverlayWish,
    /// What is kept, shown and of no effect, a sentence each.
    pub warnings: Vec<String>,
}

/// What a key sets. Docker's long spellings are second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Mtu,
    Icc,
    AntiSpoof,
    Masquerade,
    MacLimit,
    HostBinding,
    InterfacePrefix,
    GatewayIpv4,
    GatewayIpv6,
    InhibitIpv4,
    Bpdus,
    McastSnooping,
    McastQuerier,
    Host,
    HostNames,
    ProxyArp,
    GatewayAddresses,
    Overlap,
    Uplink,
    BridgeName,
    Vni,
    EncapChecksum,
    Vtep,
    Parent,
    MacvlanMode,
    IpvlanMode,
    IpvlanFlag,
}

/// What `proxy-arp` calls all that is in no range.
const REST: &str = "rest";

/// The option that names an interface of the host.
pub const PARENT_OPTION: &str = "parent";

const KEYS: [(&str, Key); 32] = [
    ("mtu", Key::Mtu),
    ("icc", Key::Icc),
    ("anti-spoof", Key::AntiSpoof),
    ("masquerade", Key::Masquerade),
    ("mac-limit", Key::MacLimit),
    ("bpdus", Key::Bpdus),
    ("mcast-snooping", Key::McastSnooping),
    ("mcast-querier", Key::McastQuerier),
    ("host", Key::Host),
    ("host-names", Key::HostNames),
    ("proxy-arp", Key::ProxyArp),
    ("gateway-addresses", Key::GatewayAddresses),
    ("overlap", Key::Overlap),
    ("uplink", Key::Uplink),
    (PARENT_OPTION, Key::Parent),
    ("macvlan_mode", Key::MacvlanMode),
    ("ipvlan_mode", Key::IpvlanMode),
    ("ipvlan_flag", Key::IpvlanFlag),
    ("vni", Key::Vni),
    ("encap-checksum", Key::EncapChecksum),
    ("vtep", Key::Vtep),
    ("com.docker.network.driver.mtu", Key::Mtu),
    ("com.docker.network.bridge.enable_icc", Key::Icc),
    ("com.docker.network.bridge.enable_ip_masquerade", Key::Masquerade),
    ("com.docker.network.bridge.host_binding_ipv4", Key::HostBinding),
    ("com.docker.network.bridge.gateway_mode_ipv4", Key::GatewayIpv4),
    ("com.docker.network.bridge.gateway_mode_ipv6", Key::GatewayIpv6),
    ("com.docker.network.bridge.inhibit_ipv4", Key::InhibitIpv4),
    ("com.docker.network.container_iface_prefix", Key::InterfacePrefix),
    ("com.docker.network.bridge.name", Key::BridgeName),
    ("com.docker.network.driver.overlay.vxlanid_list", Key::Vni),
    ("com.docker.network.bridge.default_bridge", Key::BridgeName),
];

/// How many of [`KEYS`] are told to users: the last is Docker's internal mark of its own default network.
const TOLD_KEYS: usize = 30;

/// Docker's keys that a network here has no use for, and why. Compose files carry them.
const NEEDLESS: [(&str, &str); 6] = [
    ("com.docker.network.advertise_addr_ms", "the switch tells who has which address by itself"),
    ("com.docker.network.advertise_addr_nmsgs", "the switch tells who has which address by itself"),
    ("com.docker.network.bridge.trusted_host_interfaces", "there is no bridge of the host"),
    ("com.docker.network.host_ipv4", "what leaves has the address of the uplink"),
    ("com.docker.network.host_ipv6", "what leaves has the address of the uplink"),
    ("com.docker.network.enable_ipv4", "IPv4 is on unless it is switched off with --ipv4=false"),
];

/// Options of endpoints that a network may have for all of its own.
const PORT_KEYS: [&str; 11] = [
    "mirror",
    "mirror-to",
    "rate-in",
    "rate-out",
    "isolation-group",
    "mac-sticky",
    "mcast-fast-leave",
    "mcast-router",
    "storm-broadcast",
    "storm-multicast",
    "storm-unknown",
];

const DEFAULT_MTU: u32 = 1500;
/// IPv4 needs 68 (RFC 791); IPv6 needs 1280 (RFC 8200 section 5).
const MIN_MTU: u32 = 68;
/// Least MTU with IPv6.
pub const MIN_MTU_IPV6: u32 = 1280;
/// Largest IP packet.
const MAX_MTU: u32 = 65_535;

/// Options of the network itself that may change while it is in use, beside [`PORT_KEYS`].
const CHANGEABLE: [&str; 5] = ["icc", "bpdus", "mcast-snooping", "mcast-querier", "uplink"];

impl NetworkOptions {
    /// These options, and those of the network as they are given, with some changed; an empty value is the default.
    ///
    /// # Errors
    /// What makes no sense, or does not change while the network is in use.
    pub fn changed(
        &self,
        given: &BTreeMap<String, String>,
        changes: &BTreeMap<String, String>,
        driver: Driver,
    ) -> Result<(NetworkOptions, BTreeMap<String, String>), Faults> {
        let mut faults = Faults::new("");
        let mut given = given.clone();
        for (name, value) in changes {
            let key = |name: &str| KEYS.iter().find(|(known, _)| *known == name).map(|(_, key)| *key);
            let is_one = |known: &&&str| **known == *name || key(known).is_some_and(|known| Some(known) == key(name));
            let Some(known) = CHANGEABLE.iter().chain(&PORT_KEYS).find(is_one) else {
                let all: Vec<&str> = CHANGEABLE.into_iter().chain(PORT_KEYS).collect();
                let (all, near) = (all.join(", "), closest(name, all.into_iter()));
                faults.add(match near {
                    Some(near) => format!("option {name} cannot be changed; did you mean {near}?"),
                    None => format!("option {name} stays as the network was made; these change: {all}"),
                });
                continue;
            };
            // By whichever of its names it was given.
            given.retain(|other, _| *other != **known && (key(other).is_none() || key(other) != key(known)));
            if !value.is_empty() {
                given.insert(name.clone(), value.clone());
            }
        }
        let NetworkOptions { ports, icc, bpdus, mcast_snooping, mcast_querier, uplinks, .. } =
            NetworkOptions::parse(&given, driver, &mut faults).options;
        let changed = NetworkOptions { ports, icc, bpdus, mcast_snooping, mcast_querier, uplinks, ..self.clone() };
        changed.check_together(&mut faults);
        faults.finish((changed, given))
    }

    /// Of options that may change, those that contradict others.
    pub(super) fn check_together(&self, faults: &mut Faults) {
        if self.mcast_querier.is_some() && !self.mcast_snooping {
            faults.add(
                "mcast-querier is of use where the network snoops: add --opt mcast-snooping=true, or leave it out",
            );
        }
        if self.host && !self.icc {
            faults.add(
                "with icc=false nobody on the network is reached, by the host neither; leave host=true or icc=false out",
            );
        }
    }

    /// From `--opt`, with what is for the tunnel of an overlay network; faults go to `faults`. As with Docker, keys that nobody
    /// knows are kept, except where one was misspelt.
    #[must_use]
    pub fn parse(given: &BTreeMap<String, String>, driver: Driver, faults: &mut Faults) -> ParsedOptions {
        let mut parsed = ParsedOptions::default();
        let on_lan = matches!(driver, Driver::Macvlan | Driver::Ipvlan);
        if on_lan {
            let one_mac = driver == Driver::Ipvlan;
            parsed.options.lan = Some(Lan { parent: None, meeting: Meeting::Bridge, one_mac });
        }
        for (key, value) in given {
            let Some((name, key)) = KEYS.iter().find(|(name, _)| name == key) else {
                if let Some(set) = set_for_all(&mut parsed.options.ports, key, value) {
                    faults.take(set);
                    continue;
                }
                match unknown(key) {
                    Ok(warning) => parsed.warnings.push(warning),
                    Err(sentence) => faults.add(sentence),
                }
                continue;
            };
            if !driver.knows(*key) {
                faults.add(format!("option {name} is of no use with the driver {}; leave it out", driver.word()));
            } else if driver != Driver::Overlay && matches!(key, Key::Vni | Key::EncapChecksum | Key::Vtep) {
                faults.add(format!("option {name} is for overlay networks; add --driver overlay, or leave it out"));
            } else if matches!(key, Key::Host | Key::HostNames)
                && !matches!(driver, Driver::Bridge | Driver::Macvlan | Driver::Ipvlan)
            {
                faults.add(format!("option {name} is for bridge networks, macvlan and ipvlan; leave it out"));
            } else if driver != Driver::Bridge
                && matches!(
                    key,
                    Key::GatewayIpv4
                        | Key::GatewayIpv6
                        | Key::InhibitIpv4
                        | Key::ProxyArp
                        | Key::GatewayAddresses
                        | Key::Overlap
                )
            {
                faults.add(format!("option {name} is for bridge networks; leave it out"));
            } else if let Err(sentence) = parsed.set(*key, name, value) {
                faults.add(sentence);
            }
        }
        // A router of the LAN's own is the gateway there, unless the user says otherwise.
        let said = |wanted: Key| KEYS.iter().any(|(name, key)| *key == wanted && given.contains_key(*name));
        if parsed.options.lan.is_some() && !said(Key::InhibitIpv4) {
            parsed.options.inhibit_ipv4 = true;
        }
        parsed
    }

    /// Whether the gateway of a network is the LAN's own router.
    #[must_use]
    pub const fn routed_elsewhere(&self) -> bool {
        self.lan.is_some() && self.inhibit_ipv4
    }

    /// Whether nothing leaves with the network's own addresses.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        self.masquerade && ![self.gateway_ipv4, self.gateway_ipv6].contains(&GatewayMode::Routed)
    }

    /// Whether the MTU is large enough for IPv6.
    ///
    /// # Errors
    /// One sentence.
    pub fn check_ipv6(&self) -> Result<(), String> {
        match self.mtu {
            0..MIN_MTU_IPV6 => Err(format!("invalid MTU number: {}; IPv6 needs at least {MIN_MTU_IPV6}", self.mtu)),
            _ => Ok(()),
        }
    }
}

/// Names of uplinks, the first choice first.
fn parse_uplinks(name: &str, value: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = value.split(',').map(str::to_owned).collect();
    let twice = (1..names.len()).any(|at| names[..at].contains(&names[at]));
    if twice || !names.iter().all(|one| crate::uplink::is_name(one)) {
        return Err(format!("failed to parse {name} value: {value} (write names of uplinks, as in {name}=wan2,wan1)"));
    }
    Ok(names)
}

impl Driver {
    /// Whether an option can mean anything for its networks.
    const fn knows(self, key: Key) -> bool {
        match key {
            Key::Parent => matches!(self, Driver::Bridge | Driver::Macvlan | Driver::Ipvlan),
            Key::Uplink => matches!(self, Driver::Bridge | Driver::Overlay),
            Key::MacvlanMode => matches!(self, Driver::Macvlan),
            Key::IpvlanMode | Key::IpvlanFlag => matches!(self, Driver::Ipvlan),
            _ => true,
        }
    }
}

impl ParsedOptions {
    fn set(&mut self, key: Key, name: &str, value: &str) -> Result<(), String> {
        let ParsedOptions { options, wish, warnings } = self;
        match key {
            Key::Vni => wish.set_vni(name, value)?,
            Key::Vtep => wish.set_vtep(name, value)?,
            Key::EncapChecksum => wish.checksum = Some(parse_bool(name, value)?),
            Key::Mtu => {
                options.mtu = parse_mtu(name, value)?;
                // Docker's zero is no wish.
                options.mtu_given = value.parse() != Ok(0);
            }
            Key::Icc => options.icc = parse_bool(name, value)?,
            Key::AntiSpoof => options.anti_spoof = parse_bool(name, value)?,
            Key::Masquerade => options.masquerade = parse_bool(name, value)?,
            Key::HostBinding => {
                let address = value.parse().ok().filter(IpAddr::is_ipv4);
                options.host_binding = Some(address.ok_or_else(|| {
                    format!("failed to parse {name} value: {value} (write an IPv4 address of the host)")
                })?);
            }
            Key::InterfacePrefix => options.interface_prefix = Some(parse_prefix(name, value)?),
            Key::GatewayIpv4 => options.gateway_ipv4 = parse_gateway_mode(name, value, warnings)?,
            Key::GatewayIpv6 => options.gateway_ipv6 = parse_gateway_mode(name, value, warnings)?,
            Key::InhibitIpv4 => options.inhibit_ipv4 = parse_bool(name, value)?,
            Key::Bpdus => options.bpdus = parse_bool(name, value)?,
            Key::McastSnooping => options.mcast_snooping = parse_bool(name, value)?,
            Key::McastQuerier => options.mcast_querier = Some(parse_bool(name, value)?),
            Key::Host => options.host = parse_bool(name, value)?,
            Key::HostNames => options.host_names = parse_bool(name, value)?,
            Key::ProxyArp => {
                options.rest_proxied = value.split(',').any(|word| word.trim() == REST);
                let words = value.split(',').filter(|word| word.trim() != REST);
                options.proxied = words.map(|text| parse_address(name, value, text)).collect::<Result<_, _>>()?;
            }
            Key::GatewayAddresses => {
                let addresses = value.split(',').map(|text| parse_address(name, value, text));
                options.gateway_addresses = addresses.collect::<Result<_, _>>()?;
            }
            Key::Overlap => options.overlap = parse_bool(name, value)?,
            Key::Uplink => options.uplinks = parse_uplinks(name, value)?,
            Key::Parent => {
                let parent = Some(value.parse()?);
                let lan = Lan { parent: None, meeting: Meeting::Learning, one_mac: false };
                options.lan.get_or_insert(lan).parent = parent;
            }
            Key::MacvlanMode => {
                let meeting = Meeting::parse(name, value)?;
                options.lan.iter_mut().for_each(|lan| lan.meeting = meeting);
            }
            Key::IpvlanMode if matches!(value, "" | "l2") => {}
            Key::IpvlanMode => {
                return Err(format!("requested ipvlan mode '{value}' is not available: {name}=l2 is; leave it out"));
            }
            Key::IpvlanFlag => match value {
                "" | "bridge" => {}
                "private" => options.lan.iter_mut().for_each(|lan| lan.meeting = Meeting::Private),
                "vepa" => options.lan.iter_mut().for_each(|lan| lan.meeting = Meeting::Vepa),
                _ => {
                    return Err(format!("requested ipvlan flag '{value}' is not valid; write bridge, private or vepa"));
                }
            },
            Key::BridgeName => options.bridge_name = Some(value.to_owned()),
            Key::MacLimit => {
                let limit = value.parse().ok().filter(|limit| *limit > 0);
                options.mac_limit = Some(limit.ok_or_else(|| {
                    format!("failed to parse {name} value: {value} (write a number of addresses, at least 1)")
                })?);
            }
        }
        Ok(())
    }
}

fn set_for_all(ports: &mut PortOptions, name: &str, value: &str) -> Option<Result<(), String>> {
    if PORT_KEYS.contains(&name) {
        return ports.set(name, value);
    }
    let of_one = PortOptions::names().any(|known| known == name);
    of_one.then(|| {
        Err(format!("option {name} is for one endpoint: use 'run', 'network connect' or 'endpoint set' with it"))
    })
}

/// The texts that Go's strconv.ParseBool takes, since Docker's users write them.
fn parse_bool(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("failed to parse {name} value: {value} (write true or false)")),
    }
}

fn parse_gateway_mode(name: &str, value: &str, warnings: &mut Vec<String>) -> Result<GatewayMode, String> {
    match value {
        "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => {
            warnings.push(format!("{name}={value} is taken for nat: from outside, published ports alone are reached"));
            Ok(GatewayMode::Nat)
        }
        "routed" => Ok(GatewayMode::Routed),
        "isolated" => Ok(GatewayMode::Isolated),
        _ => Err(format!(
            "failed to parse {name} value: {value} (unknown gateway mode {value}; write nat, nat-unprotected, routed or \
             isolated)"
        )),
    }
}

/// One of the addresses of an option's value.
fn parse_address(name: &str, value: &str, text: &str) -> Result<IpAddr, String> {
    let refused = |_| format!("failed to parse {name} value: {value} (write addresses with ',' between them)");
    text.trim().parse().map_err(refused)
}

/// With room for a number behind it, in the 15 bytes that an interface's name has.
fn parse_prefix(name: &str, value: &str) -> Result<String, String> {
    let good = (1..=11).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        && value.bytes().any(|byte| byte.is_ascii_alphabetic());
    match good {
        true => Ok(value.to_owned()),
        false => Err(format!("failed to parse {name} value: {value} (write 1 to 11 letters, digits, '_', '.' or '-')")),
    }
}

fn parse_mtu(name: &str, value: &str) -> Result<u32, String> {
    let number: i64 = value
        .parse()
        .map_err(|_| format!("failed to parse {name} value: {value} (write a number of bytes such as 1500)"))?;
    match u32::try_from(number) {
        Ok(0) => Ok(DEFAULT_MTU),
        Ok(mtu) if (MIN_MTU..=MAX_MTU).contains(&mtu) => Ok(mtu),
        _ => Err(format!("invalid MTU number: {number}; use {MIN_MTU} to {MAX_MTU}")),
    }
}

/// A warning about a key that is kept, or why it is not: it asks for what would be dangerous to believe, or is misspelt.
fn unknown(key: &str) -> Result<String, String> {
    if key == "encrypted" {
        return Err(
            "option encrypted is not available: tunnels are not encrypted; leave it out, and let the hosts' network \
                    do that (WireGuard, IPsec)"
                .to_owned(),
        );
    }
    if let Some((_, why)) = NEEDLESS.iter().find(|(name, _)| *name == key) {
        return Ok(format!("network option {key} is of no effect: {why}"));
    }
    let known: Vec<&str> = KEYS[..TOLD_KEYS].iter().map(|(name, _)| *name).chain(PORT_KEYS).collect();
    // Keys of other programs may end in the same words.
    let ours = !key.contains('.') || key.starts_with("com.docker.network.");
    match closest(key, known.iter().copied()).filter(|_| ours) {
        Some(near) => {
            Err(format!("unknown network option {key}; did you mean {near}? (known options: {})", known.join(", ")))
        }
        None => Ok(format!("network option {key} is not known here; it is kept and of no effect")),
    }
}

/// The candidate that differs least from `text`, if it is near enough to be meant.
pub(crate) fn closest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    candidates
        .map(|name| (distance(text, name).min(distance(text.rsplit('.').next().unwrap_or(text), last(name))), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= last(name).len().div_ceil(2))
        .map(|(_, name)| name)
}

/// Levenshtein's distance in characters, letter case and `_`/`-` ignored.
fn distance(a: &str, b: &str) -> usize {
    let fold = |text: &str| -> Vec<char> {
        text.chars().take(64).map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    let (a, b) = (fold(a), fold(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<NetworkOptions, String> {
        let mut faults = Faults::new("");
        let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let parsed = NetworkOptions::parse(&map, Driver::Bridge, &mut faults);
        faults.finish(parsed.options).map_err(|faults| faults.to_string())
    }

    /// Short and Docker's long spellings set the same things.
    #[test]
    fn spellings() {
        let short = parse(&[("mtu", "9000"), ("icc", "false"), ("masquerade", "0")]).unwrap();
        let long = parse(&[
            ("com.docker.network.driver.mtu", "9000"),
            ("com.docker.network.bridge.enable_icc", "F"),
            ("com.docker.network.bridge.enable_ip_masquerade", "False"),
        ])
        .unwrap();
        assert_eq!(short, long);
        assert_eq!((short.mtu, short.icc, short.masquerade, short.anti_spoof), (9000, false, false, true));
        assert_eq!(parse(&[("mac-limit", "8"), ("anti-spoof", "false")]).unwrap().mac_limit, Some(8));
    }

    /// A misspelt key is refused with the list of known ones and the closest; one that is nobody's is kept with a warning, and
    /// so is one of Docker's that there is no use for.
    #[test]
    fn unknown_keys() {
        let error = parse(&[("mut", "9000")]).unwrap_err();
        assert!(error.contains("did you mean mtu?") && error.contains("mac-limit"), "{error}");
        let error = parse(&[("com.docker.network.bridge.enable-ic", "x")]).unwrap_err();
        assert!(error.contains("did you mean com.docker.network.bridge.enable_icc?"), "{error}");
        assert!(parse(&[("encrypted", "")]).unwrap_err().contains("not encrypted"));
        let warnings = |key: &str| {
            let mut faults = Faults::new("");
            let parsed = NetworkOptions::parse(&[(key.to_owned(), "x".to_owned())].into(), Driver::Bridge, &mut faults);
            faults.finish(parsed.warnings).unwrap().join(" ")
        };
        assert_eq!(warnings("foo"), "network option foo is not known here; it is kept and of no effect");
        assert!(warnings("org.example.mtu").contains("of no effect"));
        assert!(warnings("com.docker.network.bridge.trusted_host_interfaces").contains("no bridge of the host"));
    }

    /// Docker's modes of a gateway, prefix of interfaces and addresses are understood; what they are not is refused.
    #[test]
    fn docker_s_bridge_options() {
        let options = parse(&[
            ("com.docker.network.bridge.gateway_mode_ipv4", "routed"),
            ("com.docker.network.bridge.gateway_mode_ipv6", "nat-unprotected"),
            ("com.docker.network.bridge.inhibit_ipv4", "true"),
            ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
            ("com.docker.network.container_iface_prefix", "bds"),
        ])
        .unwrap();
        assert_eq!((options.gateway_ipv4, options.gateway_ipv6), (GatewayMode::Routed, GatewayMode::Nat));
        assert_eq!((options.inhibit_ipv4, options.interface_prefix.as_deref()), (true, Some("bds")));
        assert_eq!(options.host_binding.unwrap().to_string(), "127.0.0.1");
        for (key, bad) in [
            ("com.docker.network.bridge.gateway_mode_ipv4", "open"),
            ("com.docker.network.bridge.host_binding_ipv4", "::1"),
            ("com.docker.network.bridge.host_binding_ipv4", "eth0"),
            ("com.docker.network.container_iface_prefix", "a/b"),
            ("com.docker.network.container_iface_prefix", "123456789012"),
        ] {
            assert!(parse(&[(key, bad)]).unwrap_err().contains("failed to parse"), "{key}={bad}");
        }
    }

    /// What is for tunnels is for overlay networks only, in both spellings.
    #[test]
    fn overlay_options() {
        let error = parse(&[("vni", "4097")]).unwrap_err();
        assert!(error.contains("add --driver overlay"), "{error}");
        let wish = |key: &str, value: &str| {
            let mut faults = Faults::new("");
            let parsed =
                NetworkOptions::parse(&[(key.to_owned(), value.to_owned())].into(), Driver::Overlay, &mut faults);
            faults.finish(parsed.wish).map_err(|faults| faults.to_string())
        };
        let long = wish("com.docker.network.driver.overlay.vxlanid_list", "4097").unwrap();
        assert_eq!((long, long.vni.map(vswitch_frame::Vni::value)), (wish("vni", "4097").unwrap(), Some(4097)));
        assert_eq!(wish("encap-checksum", "true").unwrap().checksum, Some(true));
        assert!(wish("vtep", "eth0").unwrap_err().contains("write an address of --vtep"));
        assert!(wish("encap-checksum", "perhaps").is_err() && wish("vni", "0").is_err());
    }

    /// A LAN's options are for the drivers that they are of; the LAN's router is the gateway unless the user says otherwise.
    #[test]
    fn lan_options() {
        let of = |driver: Driver, pairs: &[(&str, &str)]| {
            let mut faults = Faults::new("");
            let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let parsed = NetworkOptions::parse(&map, driver, &mut faults);
            faults.finish(parsed.options).map_err(|faults| faults.to_string())
        };
        let bridge = of(Driver::Bridge, &[("parent", "eth0")]).unwrap();
        assert!(bridge.routed_elsewhere() && bridge.lan.unwrap().meeting == Meeting::Learning);
        let own = [("parent", "eth0"), ("com.docker.network.bridge.inhibit_ipv4", "false")];
        assert!(
            !of(Driver::Bridge, &own).unwrap().routed_elsewhere()
                && !of(Driver::Bridge, &[]).unwrap().routed_elsewhere()
        );
        let macvlan = of(Driver::Macvlan, &[("parent", "eth0.50"), ("macvlan_mode", "vepa")]).unwrap();
        let lan = macvlan.lan.clone().unwrap();
        assert_eq!(
            (lan.parent.unwrap().to_string().as_str(), lan.meeting, lan.one_mac),
            ("eth0.50", Meeting::Vepa, false)
        );
        assert!(of(Driver::Macvlan, &[]).unwrap().routed_elsewhere());
        assert!(of(Driver::Ipvlan, &[("ipvlan_mode", "l2")]).unwrap().lan.unwrap().one_mac);
        for (driver, key, value, says) in [
            (Driver::Overlay, "parent", "eth0", "of no use with the driver overlay"),
            (Driver::Bridge, "macvlan_mode", "bridge", "of no use with the driver bridge"),
            (Driver::Macvlan, "ipvlan_mode", "l2", "of no use with the driver macvlan"),
            (Driver::Macvlan, "macvlan_mode", "l3", "requested macvlan mode 'l3' is not valid"),
            (Driver::Macvlan, "com.docker.network.bridge.inhibit_ipv4", "true", "is for bridge networks"),
            (Driver::Ipvlan, "ipvlan_mode", "l3", "requested ipvlan mode 'l3' is not available"),
            (Driver::Macvlan, "parent", "eth0.5000", "VLAN ids are 1 to 4094"),
        ] {
            let refused = of(driver, &[(key, value)]).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }

    /// Bad values are refused, all at once.
    #[test]
    fn bad_values() {
        let error = parse(&[("mtu", "-1"), ("icc", "maybe"), ("mac-limit", "0")]).unwrap_err();
        assert!(error.contains("invalid MTU number: -1"), "{error}");
        assert!(error.contains("failed to parse icc value: maybe"), "{error}");
        assert!(error.contains("failed to parse mac-limit value: 0"), "{error}");
        assert!(parse(&[("mtu", "65536")]).is_err());
        assert_eq!(parse(&[("mtu", "0")]).unwrap().mtu, 1500);
    }
}
