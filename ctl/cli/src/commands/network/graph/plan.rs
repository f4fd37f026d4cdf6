//! What is drawn: networks, members, and which member has which addresses where.

use std::collections::BTreeMap;

use anyhow::bail;
use vswitch_api::container::{Container, ContainerState};
use vswitch_api::endpoint::{Endpoint, EndpointState};
use vswitch_api::topology::{Topology, TopologyNetwork, TopologyUplink};

use crate::commands::bridge::ID_PREFIX;
use crate::commands::port;
use crate::natural;

/// Networks and members. Links refer to both by their place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Graph {
    /// The way out, in lines: what it is, then its addresses.
    pub(super) uplink: Option<Vec<String>>,
    pub(super) networks: Vec<Net>,
    pub(super) members: Vec<Member>,
    pub(super) links: Vec<Link>,
    /// Networks that are joined, both of which are drawn: which, and what may pass.
    pub(super) peerings: Vec<Peering>,
}

/// Two networks are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peering {
    pub(super) networks: [usize; 2],
    pub(super) allow: Vec<String>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Net {
    pub(super) name: String,
    /// Driver, subnets, and what else is special.
    pub(super) details: Vec<String>,
    /// Joined to the way out.
    pub(super) outside: bool,
}

/// A container, or an attached namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// State if it does not run, and who shares its namespace.
    pub(super) details: Vec<String>,
    /// Published ports.
    pub(super) ports: Vec<String>,
}

/// A member is on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) network: usize,
    pub(super) member: usize,
    /// Interface, addresses, and what its port is asked beyond learning.
    pub(super) details: Vec<String>,
}

/// The graph of what `topology` says: only the networks in `wanted`, if there are any, and only what is in use unless
/// `all`.
pub(super) fn graph(topology: &Topology, wanted: &[String], all: bool) -> anyhow::Result<Graph> {
    let mut networks = choose(&topology.networks, wanted)?;
    let links = links(topology, all);
    // Nobody on it, and nobody asked: not worth a line, as `host` and `none` mostly.
    let used = |network: &TopologyNetwork| links.iter().any(|(id, _, _)| *id == network.id);
    networks.retain(|network| all || !wanted.is_empty() || used(network) || network.gateway_mac.is_some());
    networks.sort_by(|a, b| b.outside.cmp(&a.outside).then(natural::compare(&a.name, &b.name)));
    let place: BTreeMap<&str, usize> =
        networks.iter().enumerate().map(|(place, one)| (one.id.as_str(), place)).collect();
    let mut graph = Graph { networks: networks.iter().map(|network| net(network)).collect(), ..Graph::default() };
    graph.uplink = graph.networks.iter().any(|one| one.outside).then(|| {
        let all = std::iter::once(&topology.uplink).chain(&topology.further_uplinks);
        all.flat_map(uplink).collect()
    });
    let mut members: Vec<Party<'_>> = Vec::new();
    for (network, party, details) in links {
        let Some(&network) = place.get(network.as_str()) else { continue };
        let known = members.iter().position(|one| one.key() == party.key());
        let member = known.unwrap_or_else(|| {
            graph.members.push(party.member(topology));
            members.push(party);
            members.len() - 1
        });
        graph.links.push(Link { network, member, details });
    }
    graph.peerings = peerings(&networks);
    let names: Vec<_> = graph.members.iter().map(|one| one.name.clone()).collect();
    graph.links.sort_by(|a, b| {
        a.network
            .cmp(&b.network)
            .then_with(|| natural::compare(&names[a.member], &names[b.member]))
            .then(a.member.cmp(&b.member))
    });
    Ok(graph)
}

/// Each once, by the places of the two networks.
fn peerings(networks: &[&TopologyNetwork]) -> Vec<Peering> {
    let place = |name: &str| networks.iter().position(|one| one.name == name);
    let of = |(at, network): (usize, &&TopologyNetwork)| {
        let others = network.peerings.iter().filter_map(|one| {
            let other = place(&one.network).filter(|&other| other > at)?;
            let allow = if one.allow.is_empty() { vec!["everything".to_owned()] } else { one.allow.clone() };
            Some(Peering { networks: [at, other], allow })
        });
        others.collect::<Vec<_>>()
    };
    networks.iter().enumerate().flat_map(of).collect()
}

/// Who can be on a network.
#[derive(Debug, Clone, Copy)]
enum Party<'a> {
    Container(&'a Container),
    Attached(&'a Endpoint),
}

impl Party<'_> {
    fn key(&self) -> &str {
        match self {
            Party::Container(container) => &container.id,
            Party::Attached(endpoint) => &endpoint.id,
        }
    }

    fn member(&self, topology: &Topology) -> Member {
        match self {
            Party::Container(container) => {
                let state = match container.state {
                    ContainerState::Running => None,
                    ContainerState::Created => Some("not started".to_owned()),
                    ContainerState::Restarting => Some("restarting".to_owned()),
                    ContainerState::Exited => Some("exited".to_owned()),
                };
                let mode = format!("container:{}", container.id);
                let guests = topology.containers.iter().filter(|one| one.network_mode == mode && is_running(one));
                let guests = guests.map(|one| format!("with {}", one.name));
                Member {
                    name: container.name.clone(),
                    details: state.into_iter().chain(guests).collect(),
                    ports: container.ports.iter().map(|one| port::summary(std::slice::from_ref(one))).collect(),
                }
            }
            Party::Attached(endpoint) => {
                Member { name: endpoint.name.clone(), details: vec!["attached".to_owned()], ports: Vec::new() }
            }
        }
    }
}

/// Id of the network, who is on it, and how.
fn links(topology: &Topology, all: bool) -> Vec<(String, Party<'_>, Vec<String>)> {
    let mut links = Vec::new();
    let by_id: BTreeMap<&str, &Container> = topology.containers.iter().map(|one| (one.id.as_str(), one)).collect();
    for endpoint in topology.endpoints.iter().filter(|one| all || one.state != EndpointState::Down) {
        let party = match &endpoint.container_id {
            None => Party::Attached(endpoint),
            Some(id) => match by_id.get(id.as_str()) {
                Some(container) => Party::Container(container),
                None => continue,
            },
        };
        let bare = |address: &String| address.split('/').next().unwrap_or_default().to_owned();
        let addresses = [&endpoint.ipv4_address, &endpoint.ipv6_address].into_iter().flatten().map(bare);
        let lost = match endpoint.state {
            EndpointState::Lost => Some("lost".to_owned()),
            EndpointState::NoCarrier => Some("no-carrier".to_owned()),
            EndpointState::Up | EndpointState::Down => None,
        };
        let options = endpoint.options.iter().map(|(name, value)| format!("{name}={value}"));
        let details = endpoint.interface.iter().cloned().chain(addresses).chain(lost).chain(options).collect();
        links.push((endpoint.network_id.clone(), party, details));
    }
    for name in ["host", "none"] {
        let Some(network) = topology.networks.iter().find(|one| one.name == name && one.gateway_mac.is_none()) else {
            continue;
        };
        for container in topology.containers.iter().filter(|one| one.network_mode == name && (all || is_running(one))) {
            links.push((network.id.clone(), Party::Container(container), Vec::new()));
        }
    }
    links
}

fn is_running(container: &Container) -> bool {
    container.state == ContainerState::Running
}

fn choose<'a>(networks: &'a [TopologyNetwork], wanted: &[String]) -> anyhow::Result<Vec<&'a TopologyNetwork>> {
    if wanted.is_empty() {
        return Ok(networks.iter().collect());
    }
    let mut chosen: Vec<&TopologyNetwork> = Vec::new();
    for name in wanted {
        let by_name = networks.iter().find(|one| one.name == *name);
        let by_id = || networks.iter().find(|one| name.len() >= ID_PREFIX && one.id.starts_with(name.as_str()));
        match by_name.or_else(by_id) {
            Some(network) if chosen.iter().any(|one| one.id == network.id) => {}
            Some(network) => chosen.push(network),
            None => bail!("network {name} not found; 'vswitchctl network ls' lists those that there are"),
        }
    }
    Ok(chosen)
}

fn net(network: &TopologyNetwork) -> Net {
    let mut details = vec![network.driver.clone()];
    for subnet in &network.subnets {
        details.push(subnet.subnet.clone());
        details.push(format!("gateway {}", subnet.gateway));
    }
    if network.gateway_mac.is_some() && !network.icc {
        details.push("isolated members".to_owned());
    }
    if network.gateway_mac.is_some() && !network.outside {
        details.push("no way out".to_owned());
    }
    details.extend(network.uplink.iter().map(|uplink| format!("leaves by {uplink}")));
    details.extend(network.peerings.iter().map(|peering| match peering.allow.is_empty() {
        true => format!("joined with {}", peering.network),
        false => format!("joined with {}: {}", peering.network, peering.allow.join(", ")),
    }));
    details.extend(network.services.iter().map(|service| {
        let (at, ports) = (service.addresses.join(", "), service.ports.join(", "));
        let who = if service.backends.is_empty() { "nobody".to_owned() } else { service.backends.join(", ") };
        format!("service {} {at}, {ports} to {who}", service.name)
    }));
    Net { name: network.name.clone(), details, outside: network.outside }
}

fn uplink(uplink: &TopologyUplink) -> Vec<String> {
    let named = uplink.name.as_ref().filter(|name| Some(*name) != uplink.interface.as_ref());
    let what = match &uplink.interface {
        Some(interface) if let Some(name) = named => format!("uplink {name} ({}:{interface})", uplink.kind),
        Some(interface) => format!("uplink {}:{interface}", uplink.kind),
        None => format!("uplink {}", uplink.kind),
    };
    let down = (!uplink.up).then(|| "lost".to_owned());
    std::iter::once(what).chain(down).chain(uplink.addresses.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vswitch_api::network::NetworkPeering;

    use super::*;

    fn endpoint(name: &str, network: &str, container: Option<&str>, state: &str) -> serde_json::Value {
        json!({
            "id": format!("{name}-{network}"), "name": name, "network": network, "network_id": format!("{network}-id"),
            "container_id": container, "state": state, "interface": "eth0", "mac_address": "02:42:0a:09:00:02",
            "ipv4_address": "10.9.0.2/24", "ipv6_address": null, "ipv4_gateway": null, "ipv6_gateway": null, "mtu": 1500,
            "port": 3, "aliases": []
        })
    }

    fn container(name: &str, mode: &str, state: &str) -> serde_json::Value {
        json!({
            "id": format!("{name}-id"), "name": name, "hostname": name, "command": ["x"], "created": "", "started": null,
            "finished": null, "state": state, "pid": null, "exit_code": null, "auto_remove": false, "tty": false,
            "network_mode": mode, "dns": [], "extra_hosts": [], "publish": [], "labels": {}, "endpoints": [],
            "ports": [{"protocol": "tcp", "container_port": 80, "host_ip": "0.0.0.0", "host_port": 8080}]
        })
    }

    fn network(name: &str, mac: Option<&str>, outside: bool) -> serde_json::Value {
        json!({
            "id": format!("{name}-id"), "name": name, "driver": "bridge", "mtu": 1500, "gateway_mac": mac, "icc": true,
            "subnets": [{"subnet": "10.9.0.0/24", "gateway": "10.9.0.1"}], "outside": outside
        })
    }

    fn world() -> Topology {
        serde_json::from_value(json!({
            "uplink": {
                "text": "packet:eth1,address=10.0.0.1/24", "kind": "packet", "interface": "eth1", "up": true,
                "addresses": ["10.0.0.1/24"]
            },
            "networks": [
                network("inner", Some("02:42:0a:09:00:01"), false), network("host", None, false),
                network("none", None, false), network("net10", Some("02:42:0a:09:00:01"), true),
                network("net2", Some("02:42:0a:09:00:01"), true),
            ],
            "containers": [
                container("web", "net2", "running"), container("side", "container:web-id", "running"),
                container("old", "net2", "exited"), container("onhost", "host", "running"),
            ],
            "endpoints": [
                endpoint("old", "net2", Some("old-id"), "down"), endpoint("web", "net10", Some("web-id"), "up"),
                endpoint("web", "net2", Some("web-id"), "up"), endpoint("vm", "net2", None, "lost"),
            ],
        }))
        .unwrap()
    }

    fn names(graph: &Graph) -> (Vec<&str>, Vec<(&str, &str)>) {
        let network = |link: &Link| graph.networks[link.network].name.as_str();
        let links = graph.links.iter().map(|link| (network(link), graph.members[link.member].name.as_str()));
        (graph.networks.iter().map(|one| one.name.as_str()).collect(), links.collect())
    }

    /// Networks with a way out first, each in natural order; members once, however many networks they are on; nobody who
    /// does not run, and no `none` that nobody is on.
    #[test]
    fn what_is_in_use() {
        let graph = graph(&world(), &[], false).unwrap();
        let links = vec![("net2", "vm"), ("net2", "web"), ("net10", "web"), ("host", "onhost")];
        assert_eq!(names(&graph), (vec!["net2", "net10", "host", "inner"], links));
        assert_eq!(graph.members.len(), 3);
        let web = graph.members.iter().find(|one| one.name == "web").unwrap();
        assert_eq!((web.details.clone(), web.ports.len()), (vec!["with side".to_owned()], 1));
        let vm = &graph.links[0];
        assert_eq!(vm.details, ["eth0", "10.9.0.2", "lost"]);
        assert_eq!(graph.uplink.unwrap(), ["uplink packet:eth1", "10.0.0.1/24"]);
        assert_eq!(graph.networks[3].details, ["bridge", "10.9.0.0/24", "gateway 10.9.0.1", "no way out"]);
    }

    /// Networks that are joined say so, and are linked once, if both are drawn.
    #[test]
    fn joined() {
        let mut world = world();
        let peering = |network: &str| NetworkPeering { network: network.into(), allow: vec!["tcp/80".into()] };
        world.networks.iter_mut().find(|one| one.name == "net2").unwrap().peerings = vec![peering("inner")];
        world.networks.iter_mut().find(|one| one.name == "inner").unwrap().peerings = vec![peering("net2")];
        let both = graph(&world, &[], false).unwrap();
        assert_eq!(both.peerings, [Peering { networks: [0, 3], allow: vec!["tcp/80".into()] }]);
        assert_eq!(both.networks[0].details.last().unwrap(), "joined with inner: tcp/80");
        assert_eq!(graph(&world, &["net2".into()], false).unwrap().peerings, []);
    }

    /// A member's VLAN, isolation group, rates and mirror are shown where it is on the network.
    #[test]
    fn options_of_ports() {
        let mut world = world();
        let options = [("isolation-group", "red"), ("mirror-to", "monitor"), ("rate-in", "1mbit"), ("vlan", "10")];
        world.endpoints[2].options = options.map(|(name, value)| (name.into(), value.into())).into();
        let graph = graph(&world, &["net2".into()], false).unwrap();
        let web = ["eth0", "10.9.0.2", "isolation-group=red", "mirror-to=monitor", "rate-in=1mbit", "vlan=10"];
        assert_eq!(graph.links.iter().map(|link| link.details.len()).collect::<Vec<_>>(), [3, 6]);
        assert_eq!(graph.links[1].details, web);
    }

    /// All of it, or what was asked for.
    #[test]
    fn choices() {
        let everything = graph(&world(), &[], true).unwrap();
        assert!(names(&everything).0.contains(&"none") && names(&everything).1.contains(&("net2", "old")));
        let one = graph(&world(), &["inner".into(), "inner".into()], false).unwrap();
        assert_eq!(names(&one).0, ["inner"]);
        assert_eq!(one.uplink, None);
        let by_id = graph(&world(), &["net10-".into()], false).unwrap();
        assert_eq!(names(&by_id), (vec!["net10"], vec![("net10", "web")]));
        let refused = graph(&world(), &["nope".into()], false).unwrap_err().to_string();
        assert!(refused.starts_with("network nope not found"), "{refused}");
    }
}
