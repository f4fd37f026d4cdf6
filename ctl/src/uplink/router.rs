//! What the router is to do, out of networks, uplink and published ports. Pure.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use vswitch_frame::{MacAddr, NetworkIndex};
use vswitch_switch::nat::route::Route;
use vswitch_switch::nat::rules::{
    Addresses, FurtherUplink, Inbound, NetworkSpec, PortRange, Publish, Reach, RulesSpec, Settings, SubnetSpec,
    Translation,
};
use vswitch_switch::nat::table::Leg;
use vswitch_switch::router::{Peers, RouterConfig};
use vswitch_switch::{Gateway, NetworkConfig};

use super::{PacketUplink, SocketsUplink};
use crate::ipam::SubnetPlan;
use crate::model::Network;
use crate::publish::Published;

/// The uplink's name wherever networks are named. Brackets are in no network's name, so it is the uplink's alone.
pub const NAME: &str = "(uplink)";

/// What an uplink of several is called there; the first keeps the name of an only one.
#[must_use]
pub fn name(number: usize, uplink: &PacketUplink) -> String {
    if number == 0 { NAME.to_owned() } else { format!("(uplink {})", uplink.name) }
}

/// What the translator calls it.
#[must_use]
pub fn leg(number: usize) -> Leg {
    number.checked_sub(1).and_then(|further| u8::try_from(further).ok()).map_or(Leg::Uplink, Leg::Further)
}

/// An uplink that is a network of the switch.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// What it is like.
    pub uplink: &'a PacketUplink,
    /// As a network.
    pub index: NetworkIndex,
}

/// A network that leaves by an uplink.
#[derive(Debug, Clone, Copy)]
pub struct Leaving<'a> {
    /// As a network of the switch.
    pub index: NetworkIndex,
    /// What it is like.
    pub network: &'a Network,
    /// By which one; `None`: by none.
    pub way: Option<usize>,
}

/// The uplink as a network of the switch.
#[must_use]
pub fn network(number: usize, uplink: &PacketUplink, mtu: u32) -> NetworkConfig {
    let (mut ipv4, mut ipv6, mut also) = (None, None, Vec::new());
    for family in uplink.families() {
        for &address in &family.own {
            match address {
                IpAddr::V4(address) if ipv4.is_none() => ipv4 = Some((address, family.net.prefix_len())),
                IpAddr::V6(address) if ipv6.is_none() => ipv6 = Some((address, family.net.prefix_len())),
                further => also.push(further),
            }
        }
    }
    let gateway =
        Some(Gateway { mac: uplink.mac(), ipv4, ipv6, also, proxied: Vec::new(), beyond: Vec::new(), mesh: None });
    NetworkConfig { gateway, mtu, ..NetworkConfig::new(name(number, uplink)) }
}

/// The whole configuration. Published ports that cannot be reached by any of these uplinks are left out.
#[must_use]
pub fn plan<'a>(
    ways: &[Way<'_>],
    inside: impl IntoIterator<Item = Leaving<'a>>,
    published: &[Published],
    settings: &Settings,
) -> RouterConfig {
    let mut routes: Vec<Route> =
        ways.iter().enumerate().flat_map(|(number, way)| uplink_routes(number, way.uplink)).collect();
    let mut networks = Vec::new();
    let external = |way: &Way<'_>| way.uplink.own().collect();
    let further = ways.iter().skip(1).map(|way| FurtherUplink { external: external(way), networks: Vec::new() });
    let mut further: Vec<FurtherUplink> = further.collect();
    for Leaving { index, network, way } in inside {
        if let Some(by) = way.and_then(|way| further.get_mut(way.checked_sub(1)?)) {
            by.networks.push(index);
        }
        // Addresses of its own mean nothing to others.
        let replaced = network.options.overlap || way.is_none_or(|way| ways[way].uplink.masquerade);
        let translation = |plan: &SubnetPlan| match replaced && network.masquerades(plan) {
            true => Translation::Masquerade,
            false => Translation::Routed,
        };
        let reach = if network.internal || way.is_none() { Reach::Internal } else { Reach::Uplink };
        routes.extend(network.pieces().map(|(_, net)| connected(net, Leg::Inside(index))));
        let (subnets, addresses) = (subnets(network, translation), addresses(network));
        networks.push(NetworkSpec { index, subnets, reach, addresses });
    }
    let lies_inside = |one: &Published| {
        let of = networks.iter().filter(|network| network.index == one.network && network.reach == Reach::Uplink);
        of.flat_map(|network| &network.subnets).any(|subnet| subnet.net.contains(&one.address))
    };
    let reached =
        |host: IpAddr| host.is_unspecified() || ways.iter().any(|way| way.uplink.own().any(|own| own == host));
    let usable = published.iter().filter(|one| {
        reached(one.binding.host) && one.binding.host.is_ipv4() == one.address.is_ipv4() && lies_inside(one)
    });
    let publish = in_ranges(usable, &networks);
    let external = ways.first().map(external).unwrap_or_default();
    let rules = RulesSpec { networks, external, further, publish, settings: settings.clone(), ..RulesSpec::default() };
    let mut indices = ways.iter().map(|way| way.index);
    RouterConfig { uplink: indices.next(), further: indices.collect(), rules, routes, ..RouterConfig::default() }
}

/// The uplink of sockets as a network of the switch: the router and one station, which takes whatever is sent there.
#[must_use]
pub fn sockets_network(uplink: &SocketsUplink) -> NetworkConfig {
    let gateway = Some(Gateway {
        mac: ROUTER_MAC,
        ipv4: None,
        ipv6: None,
        also: Vec::new(),
        proxied: uplink.host_inside().collect(),
        beyond: Vec::new(),
        mesh: None,
    });
    NetworkConfig { gateway, mtu: SOCKETS_MTU, ..NetworkConfig::new(NAME) }
}

/// The whole configuration over sockets: everything from inside goes to one of the stations there untranslated, and whatever that
/// one sends to an endpoint may come in. As many stations as there are `shards` serve the networks that share their addresses, and
/// one each of the others.
#[must_use]
pub fn plan_sockets<'a>(
    index: NetworkIndex,
    shards: usize,
    inside: impl IntoIterator<Item = (NetworkIndex, &'a Network)>,
    published: &[Published],
    settings: &Settings,
) -> RouterConfig {
    let all = [Ipv4Net::default().into(), Ipv6Net::default().into()];
    let mut routes: Vec<Route> = all.map(|destination| connected(destination, Leg::Uplink)).to_vec();
    let (mut networks, mut own) = (Vec::new(), Vec::new());
    for (index, network) in inside {
        let reach = if network.internal { Reach::Internal } else { Reach::Uplink };
        routes.extend(network.pieces().map(|(_, net)| connected(net, Leg::Inside(index))));
        if network.options.overlap {
            own.push((index, own_mac(index)));
        }
        let (subnets, addresses) = (subnets(network, |_| Translation::Routed), addresses(network));
        networks.push(NetworkSpec { index, subnets, reach, addresses });
    }
    // From inside a published port is also reached by the address of a gateway, which is no address of the host's.
    let is_gateway = |host: IpAddr| {
        let gateways = networks.iter().flat_map(|network| &network.subnets).filter_map(|subnet| subnet.gateway);
        host.is_unspecified() || gateways.into_iter().any(|gateway| gateway == host)
    };
    let usable = published
        .iter()
        .filter(|one| is_gateway(one.binding.host) && one.binding.host.is_ipv4() == one.address.is_ipv4());
    let publish = in_ranges(usable, &networks);
    let inbound = Inbound::Trusted;
    let rules = RulesSpec { networks, publish, inbound, settings: settings.clone(), ..RulesSpec::default() };
    let peers = Peers { shared: (0..shards).map(shard_mac).collect(), own };
    RouterConfig { uplink: Some(index), peers, rules, routes, ..RouterConfig::default() }
}

/// The configuration without an uplink: between networks alone.
#[must_use]
pub fn plan_inside<'a>(inside: impl IntoIterator<Item = (NetworkIndex, &'a Network)>) -> RouterConfig {
    let (mut networks, mut routes) = (Vec::new(), Vec::new());
    for (index, network) in inside {
        let subnet =
            |plan: &SubnetPlan| SubnetSpec { net: plan.net, gateway: plan.own(), translation: Translation::Masquerade };
        routes.extend(network.subnets().map(|plan| connected(plan.net, Leg::Inside(index))));
        let subnets = network.subnets().map(subnet).collect();
        networks.push(NetworkSpec { index, subnets, reach: Reach::Internal, addresses: addresses(network) });
    }
    RouterConfig { rules: RulesSpec { networks, ..RulesSpec::default() }, routes, ..RouterConfig::default() }
}

/// What of a network is inside.
fn subnets(network: &Network, translation: impl Fn(&SubnetPlan) -> Translation) -> Vec<SubnetSpec> {
    let subnet =
        |(plan, net): (&SubnetPlan, IpNet)| SubnetSpec { net, gateway: plan.own(), translation: translation(plan) };
    network.pieces().map(subnet).collect()
}

/// The router's own MAC address on the uplink of sockets, where nobody else sees it.
pub const ROUTER_MAC: MacAddr = MacAddr::new([0x02, 0x76, 0x73, 0x77, 0, 1]);

/// The address of a station there that serves networks which share their addresses.
#[must_use]
pub fn shard_mac(shard: usize) -> MacAddr {
    let [high, low] = u16::try_from(shard).unwrap_or(u16::MAX).to_be_bytes();
    MacAddr::new([0x02, 0x76, 0x73, 0x78, high, low])
}

/// The address of the one that serves a network whose addresses are its own.
#[must_use]
pub const fn own_mac(network: NetworkIndex) -> MacAddr {
    let [high, low] = network.value().to_be_bytes();
    MacAddr::new([0x02, 0x76, 0x73, 0x79, high, low])
}

fn addresses(network: &Network) -> Addresses {
    if network.options.overlap { Addresses::Own } else { Addresses::Shared }
}
/// No packet is too long for sockets.
const SOCKETS_MTU: u32 = 65_535;

fn uplink_routes(number: usize, uplink: &PacketUplink) -> Vec<Route> {
    let leg = leg(number);
    let mut routes = Vec::new();
    for family in uplink.families() {
        routes.push(connected(family.net, leg));
        let all = if family.net.addr().is_ipv4() { Ipv4Net::default().into() } else { Ipv6Net::default().into() };
        routes.extend(family.gateway.map(|via| Route { destination: all, leg, via: Some(via) }));
    }
    let further = uplink.routes.iter();
    routes.extend(further.map(|route| Route { destination: route.destination, leg, via: Some(route.via) }));
    routes
}

const fn connected(destination: IpNet, leg: Leg) -> Route {
    Route { destination, leg, via: None }
}

/// Bindings of neighbouring ports become one rule: ten thousand ports of a media server are one lookup.
fn in_ranges<'a>(published: impl Iterator<Item = &'a Published>, networks: &[NetworkSpec]) -> Vec<Publish> {
    let mut sorted: Vec<_> = published.copied().collect();
    let key =
        |one: &Published| (one.binding.transport, one.binding.host, one.network, one.address, one.binding.host_port);
    sorted.sort_by_key(key);
    sorted.dedup();
    let is_alone = |index| networks.iter().any(|one| one.index == index && one.addresses == Addresses::Own);
    let mut rules: Vec<Publish> = Vec::new();
    for Published { binding, network, address: target } in sorted {
        let network = Some(network).filter(|&network| is_alone(network));
        let host = Some(binding.host).filter(|host| !host.is_unspecified());
        if let Some(last) = rules.last_mut()
            && (last.transport, last.host, last.target, last.network) == (binding.transport, host, target, network)
            && last.host_ports.last().checked_add(1) == Some(binding.host_port)
            && last.target_ports.last().checked_add(1) == Some(binding.target_port)
            && let Ok(host_ports) = PortRange::new(last.host_ports.first(), binding.host_port)
            && let Ok(target_ports) = PortRange::new(last.target_ports.first(), binding.target_port)
        {
            (last.host_ports, last.target_ports) = (host_ports, target_ports);
            continue;
        }
        let single = (PortRange::single(binding.host_port), PortRange::single(binding.target_port));
        // Zero is no port, and specs and leases have none.
        let (Ok(host_ports), Ok(target_ports)) = single else { continue };
        rules.push(Publish { transport: binding.transport, host, host_ports, target, network, target_ports });
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Id;
    use crate::publish::{Families, PortLeases, parse};
    use crate::uplink::Uplink;

    fn uplink(text: &str) -> PacketUplink {
        text.parse::<Uplink>().unwrap().packets()[0].clone()
    }

    fn network(subnet: &str, change: impl FnOnce(&mut Network)) -> Network {
        let wire = serde_json::json!({"Name": "n", "IPAM": {"Config": [{"Subnet": subnet}]}});
        let spec = crate::model::parse_network(serde_json::from_value(wire).unwrap()).unwrap();
        let crate::model::Family::Given(wish) = spec.ipv4 else { panic!("a subnet was given") };
        let mut network = Network {
            id: Id::random(&mut rand::rng()),
            name: "n".to_owned(),
            created: crate::clock::Moment::now(),
            driver: crate::model::Driver::Bridge,
            internal: false,
            attachable: false,
            ipam: spec.ipam,
            ipv4: Some(wish.plan),
            ipv6: None,
            options: spec.options,
            raw_options: std::collections::BTreeMap::new(),
            labels: std::collections::BTreeMap::new(),
            overlay: None,
            settings: None,
            config_from: String::new(),
            peerings: Vec::new(),
            policy: Vec::new(),
            names: crate::model::EngineNames::default(),
            services: Vec::new(),
        };
        change(&mut network);
        network
    }

    fn leaving(index: u16, network: &Network) -> Leaving<'_> {
        Leaving { index: NetworkIndex::new(index), network, way: Some(0) }
    }

    /// Each uplink has routes and addresses of its own, and the networks that leave by it; one that leaves by none stays inside.
    #[test]
    fn several_uplinks() {
        let one = uplink("packet:a,address=10.9.0.1/24,gateway=10.9.0.2");
        let two = uplink("packet:b,address=10.8.0.1/24,gateway=10.8.0.2,masquerade=false");
        let ways = [(&one, 8), (&two, 9)].map(|(uplink, index)| Way { uplink, index: NetworkIndex::new(index) });
        let networks = ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"].map(|subnet| network(subnet, |_| ()));
        let goes = [Some(0), Some(1), None];
        let inside = networks
            .iter()
            .zip(1..)
            .zip(goes)
            .map(|((network, index), way)| Leaving { way, ..leaving(index, network) });
        let config = plan(&ways, inside, &[], &Settings::default());
        assert_eq!((config.uplink, config.further), (Some(NetworkIndex::new(8)), vec![NetworkIndex::new(9)]));
        let further = FurtherUplink { external: two.own().collect(), networks: vec![NetworkIndex::new(2)] };
        assert_eq!((&config.rules.external, &config.rules.further), (&one.own().collect(), &vec![further]));
        let defaults = config.routes.iter().filter(|route| route.via.is_some()).map(|route| route.leg);
        assert_eq!(defaults.collect::<Vec<_>>(), [Leg::Uplink, Leg::Further(0)]);
        let reach: Vec<_> = config.rules.networks.iter().map(|network| network.reach).collect();
        assert_eq!(reach, [Reach::Uplink, Reach::Uplink, Reach::Internal]);
        let translated = config.rules.networks.iter().map(|network| network.subnets[0].translation);
        let (masquerade, routed) = (Translation::Masquerade, Translation::Routed);
        assert_eq!(translated.collect::<Vec<_>>(), [masquerade, routed, masquerade]);
        vswitch_switch::nat::Rules::try_from(config.rules).unwrap();
    }

    /// Subnets, reach, translation and routes follow from the networks, and the switch takes the result.
    #[test]
    fn networks_and_routes() {
        let uplink = uplink(
            "packet:e,address=10.9.0.1/24,gateway=10.9.0.2,address=10.9.0.3/24,address=fd09::1/64,gateway=fd09::2,\
             route=10.77.0.0/16@10.9.0.4",
        );
        let config = super::network(0, &uplink, 1500);
        let gateway = config.gateway.unwrap();
        assert_eq!(gateway.ipv4, Some(("10.9.0.1".parse().unwrap(), 24)));
        assert_eq!(gateway.also, ["10.9.0.3".parse::<IpAddr>().unwrap()]);
        let plain = network("10.1.0.0/24", |_| ());
        let internal = network("10.2.0.0/24", |network| network.internal = true);
        let routed = network("10.3.0.0/24", |network| network.options.masquerade = false);
        let inside = [&plain, &internal, &routed];
        let inside = inside.into_iter().zip(1..).map(|(network, index)| leaving(index, network));
        let config = plan(&[Way { uplink: &uplink, index: NetworkIndex::new(0) }], inside, &[], &Settings::default());
        let reach: Vec<_> = config.rules.networks.iter().map(|network| network.reach).collect();
        assert_eq!(reach, [Reach::Uplink, Reach::Internal, Reach::Uplink]);
        assert_eq!(config.rules.networks[2].subnets[0].translation, Translation::Routed);
        assert_eq!(config.rules.external.len(), 3);
        let routes: Vec<_> = config.routes.iter().map(|route| route.destination.to_string()).collect();
        let expected = [
            "10.9.0.0/24",
            "0.0.0.0/0",
            "fd09::/64",
            "::/0",
            "10.77.0.0/16",
            "10.1.0.0/24",
            "10.2.0.0/24",
            "10.3.0.0/24",
        ];
        assert_eq!(routes, expected);
        vswitch_switch::nat::Rules::try_from(config.rules).unwrap();
    }

    /// Neighbouring ports become one rule; what this uplink cannot reach is left out.
    #[test]
    fn published_ports() {
        let uplink = uplink("packet:e,address=10.9.0.1/24");
        let inside = network("10.1.0.0/24", |_| ());
        let mut leases = PortLeases::default();
        let families = Families { ipv4: true, ipv6: false };
        let mut published = Vec::new();
        for raw in ["8000-8009:80-89", "8010:90", "127.0.0.1:9000:80", "10.9.0.1:9001:80", "10.9.9.9:9002:80"] {
            for spec in parse(raw).unwrap() {
                let bindings = leases.lease(&spec, families, &inside.id, &mut |_| Ok(())).unwrap();
                let address = "10.1.0.2".parse::<IpAddr>().unwrap();
                let network = NetworkIndex::new(1);
                published.extend(bindings.into_iter().map(|binding| Published { binding, network, address }));
            }
        }
        let elsewhere = Published { address: "10.5.0.2".parse().unwrap(), ..published[0] };
        published.push(elsewhere);
        let config = plan(
            &[Way { uplink: &uplink, index: NetworkIndex::new(0) }],
            [leaving(1, &inside)],
            &published,
            &Settings::default(),
        );
        let rules: Vec<_> = config.rules.publish.iter().map(ToString::to_string).collect();
        assert_eq!(rules, ["0.0.0.0:8000-8010->10.1.0.2:80-90/tcp", "10.9.0.1:9001->10.1.0.2:80/tcp"]);
        vswitch_switch::nat::Rules::try_from(config.rules).unwrap();
    }
}
